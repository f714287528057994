/// A policy file with one fault or several: what is said of each, where, and the mend.
///
/// In the text of a case an '@' stands right before each place that must be blamed; it is taken out before
/// parsing, so the expected line and column come from the text and not from the parser.
#pragma once

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace weir::test {

struct Expected {
  std::string message;
  std::string mend;
};

/// The parts of a policy file, good unless a case says otherwise.
struct Case {
  std::string name;
  std::string wan = "{interface: wan0, rate: 622mbit}";
  std::string lan = "{interface: lan0}";
  std::string sites = "[{name: coast, subnets: [10.20.0.0/16], rate: {floor: 45mbit}, policy: p}]";
  std::string classes = "[{name: rest, default: true}]";
  std::string more = "";
  std::vector<Expected> expected;

  [[nodiscard]] std::string text() const {
    return "wan: " + wan + "\n" + (lan.empty() ? "# no lan" : "lan: " + lan) + "\nsites: " + sites +
           "\npolicies:\n  " + (classes.starts_with("@") ? "@p" : "p") +
           ": {classes: " + (classes.starts_with("@") ? classes.substr(1) : classes) + "}\n" + more + "\n";
  }
};

inline std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.name;
}

/// Takes the '@' marks out of `text` and gives back the places they marked.
inline std::vector<std::pair<std::size_t, std::size_t>> take_marks(std::string& text) {
  std::vector<std::pair<std::size_t, std::size_t>> places;
  std::string clean;
  std::size_t line = 1;
  std::size_t column = 1;
  for (const char c : text) {
    if (c == '@') {
      places.emplace_back(line, column);
      continue;
    }
    clean.push_back(c);
    ++column;
    if (c == '\n') {
      ++line;
      column = 1;
    }
  }
  text = clean;
  return places;
}

class PolicyFault : public ::testing::TestWithParam<Case> {};

inline std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

inline std::string site(const std::string& more) {
  return "[{name: coast, subnets: [10.20.0.0/16], " + more + "}]";
}
inline std::string rate(const std::string& fields) {
  return site("rate: {" + fields + "}");
}
inline std::string match(const std::string& entry) {
  return "[{name: a, match: " + entry + "}, {name: rest, default: true}]";
}

}  // namespace weir::test
