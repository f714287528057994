// docs/CONFIGURATION.md explains every key that the parser knows, and none that it does not.

#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <variant>

#include <gtest/gtest.h>

#include "config/load.hpp"
#include "config/manual.hpp"
#include "config/policy_keys.hpp"

namespace weir {
namespace {

std::string documentation() {
  std::ifstream file(WEIR_SOURCE_DIR "/docs/CONFIGURATION.md");
  EXPECT_TRUE(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// "sites[].rate" + "floor" -> "sites[].rate.floor".
std::set<std::string> known_keys() {
  std::set<std::string> paths;
  for (const KeyTable* table : key_tables()) {
    const std::string where(table->where);
    for (const PolicyKey& key : table->keys)
      paths.insert((where.empty() ? "" : where + ".") + std::string(key.name));
  }
  return paths;
}

/// Keys are documented in tables whose rows begin with | `path` |.
std::set<std::string> documented_keys() {
  constexpr std::string_view kRow = "| `";
  std::set<std::string> paths;
  std::istringstream lines(documentation());
  for (std::string line; std::getline(lines, line);) {
    const std::size_t end = line.find("` |");
    if (line.starts_with(kRow) && end != std::string::npos) {
      paths.insert(line.substr(kRow.size(), end - kRow.size()));
    }
  }
  return paths;
}

TEST(Documentation, EveryKeyStandsInConfigurationMdAndNoOther) {
  EXPECT_EQ(documented_keys(), known_keys());
}

TEST(Manual, HasASectionForEachMappingAndAnEntryForEachKey) {
  const std::string page = policy_manual();
  EXPECT_TRUE(page.starts_with(".TH \"WEIR.YAML\" \"5\""));
  for (const KeyTable* table : key_tables()) {
    std::string section = ".SH \"" + (table->where.empty() ? "The file" : std::string(table->where)) + "\"\n";
    const auto begin = page.find(section);
    ASSERT_NE(begin, std::string::npos) << section;
    const std::string body = page.substr(begin, page.find("\n.SH ", begin + 1) - begin);
    for (const PolicyKey& key : table->keys)
      EXPECT_NE(body.find(".TP\n.BR \"" + std::string(key.name) + "\" "), std::string::npos)
          << section << key.name;
  }
}

// A line that begins with a dot or a quote is a request to roff; text must not be one.
TEST(Manual, HoldsNoRequestsButItsOwn) {
  std::istringstream lines(policy_manual());
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('.') && !line.starts_with('\'')) continue;
    const std::string request = line.substr(0, line.find(' '));
    const std::set<std::string> known{".TH", ".SH", ".PP", ".TP", ".B", ".BR",
                                      ".br", ".nf", ".fi", ".RS", ".RE"};
    EXPECT_TRUE(known.contains(request)) << line;
  }
}

TEST(Documentation, EveryYamlBlockThatIsAWholePolicyLoads) {
  const std::string text = documentation();
  int policies = 0;
  for (std::size_t at = 0; (at = text.find("```yaml\n", at)) != std::string::npos;) {
    at += std::string("```yaml\n").size();
    const std::string block = text.substr(at, text.find("```", at) - at);
    if (block.find("wan:") == std::string::npos) continue;
    ++policies;
    const auto parsed = parse_policy(block);
    if (const auto* problems = std::get_if<Problems>(&parsed))
      ADD_FAILURE() << render(*problems, "CONFIGURATION.md", block);
  }
  EXPECT_GE(policies, 1);
}

}  // namespace
}  // namespace weir
