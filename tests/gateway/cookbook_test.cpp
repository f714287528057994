// docs/POLICY.md: every policy in it loads, its packets get the classes it says, and its tree is the one it
// shows. With WEIR_WRITE_COOKBOOK set the trees are written into the page.
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "config/load.hpp"
#include "gateway/explain.hpp"
#include "shaper/class_allocation.hpp"
#include "shaper/diff.hpp"
#include "shaper/plan.hpp"

namespace weir::gateway::test {
namespace {

constexpr const char* kPage = WEIR_SOURCE_DIR "/docs/POLICY.md";

struct Recipe {
  std::string title;
  std::string yaml;
  std::vector<std::pair<std::string, std::string>> packets;  ///< options of weir explain, class
  std::string tc;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string page() {
  std::ifstream file(kPage);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<Recipe> recipes() {
  std::vector<Recipe> all;
  std::string* block = nullptr;
  for (const std::string& line : lines_of(page())) {
    if (line.starts_with("## "))
      all.push_back({.title = line.substr(3), .yaml = {}, .packets = {}, .tc = {}});
    if (all.empty()) continue;
    if (line.starts_with("```")) {
      block = line == "```yaml" ? &all.back().yaml : line == "```tc" ? &all.back().tc : nullptr;
    } else if (block != nullptr) {
      *block += line + "\n";
    } else if (line.starts_with("| `--")) {
      const auto end = line.find("` | ");
      all.back().packets.emplace_back(line.substr(3, end - 3), line.substr(end + 4, line.size() - end - 6));
    }
  }
  return all;
}

Policy policy_of(const Recipe& recipe) {
  auto read = parse_policy(recipe.yaml);
  if (const auto* problems = std::get_if<Problems>(&read))
    throw std::runtime_error(recipe.title + ": " + problems->front().message);
  return std::get<Policy>(std::move(read));
}

std::string tree_of(const Policy& policy) {
  std::vector<Rate> rates;
  for (const SitePolicy& site : policy.sites) rates.push_back(site.rate.start);
  const auto tree =
      shaper::plan(policy, rates, {.has_fq_codel = true, .mtu = 1500}, shaper::allocate_handles(policy, {}));
  std::string text;
  for (const auto& stage : shaper::diff({}, tree).stages)
    for (const auto& change : stage) text += shaper::tc_command(change, policy.wan.interface) + "\n";
  return text;
}

/// "--from 10.1.0.5 --source-port 22" as the API's words.
QueryWords words_of(const std::string& options) {
  QueryWords words;
  std::istringstream in(options);
  for (std::string option, value; in >> option >> value;) {
    std::string word = option.substr(2);
    for (char& c : word)
      if (c == '-') c = '_';
    words.emplace_back(word, value);
  }
  return words;
}

TEST(Cookbook, EveryPolicyLoadsAndItsPacketsGetTheClassesThatItSays) {
  const auto all = recipes();
  EXPECT_EQ(all.size(), 10U);
  for (const Recipe& recipe : all) {
    const Policy policy = policy_of(recipe);
    EXPECT_FALSE(recipe.packets.empty()) << recipe.title;
    for (const auto& [options, cls] : recipe.packets) {
      const auto query = parse_query(words_of(options));
      ASSERT_TRUE(std::holds_alternative<shaper::PacketQuery>(query))
          << options << ": " << std::get<std::string>(query);
      const auto& packet = std::get<shaper::PacketQuery>(query);
      const auto said = explain_json(policy, packet, shaper::judge(policy, packet), AnsweredBy::policy, {});
      EXPECT_EQ(said.at("class").as_string(), cls) << recipe.title << ": " << options;
    }
  }
}

TEST(Cookbook, TheTreesAreThoseThatItShows) {
  std::string text = page();
  std::size_t at = 0;
  for (const Recipe& recipe : recipes()) {
    const std::string tree = tree_of(policy_of(recipe));
    if (std::getenv("WEIR_WRITE_COOKBOOK") == nullptr) {  // NOLINT(concurrency-mt-unsafe): one thread
      EXPECT_EQ(recipe.tc, tree) << recipe.title;
      continue;
    }
    at = text.find("```tc\n", at) + 6;
    text.replace(at, text.find("```", at) - at, tree);
  }
  if (at != 0) std::ofstream(kPage, std::ios::trunc) << text;
}

}  // namespace
}  // namespace weir::gateway::test
