// Files that nobody writes by accident: bounded in time, memory and depth, refused with a place and a mend.

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <variant>

#include <gtest/gtest.h>
#include <unistd.h>

#include "config/load.hpp"
#include "config/yaml_tree.hpp"

namespace weir {
namespace {

std::string repeated(std::string_view unit, std::size_t times) {
  std::string text;
  text.reserve(unit.size() * times);
  for (std::size_t i = 0; i < times; ++i) text += unit;
  return text;
}

Problem only_problem(const std::string& text) {
  const auto parsed = parse_policy(text);
  const auto* problems = std::get_if<Problems>(&parsed);
  if (problems == nullptr || problems->size() != 1) {
    ADD_FAILURE() << "expected exactly one problem, got " << (problems == nullptr ? 0 : problems->size());
    return {};
  }
  return problems->front();
}

TEST(HostileFile, DeepNestingIsRefusedAtTheLimit) {
  for (const char* unit : {"[", "{a: ", "- ", "? ", "[a: ", "[{"}) {
    const Problem problem = only_problem(repeated(unit, 20'000));
    EXPECT_EQ(problem.message, "nested more than 32 levels deep") << unit;
    EXPECT_EQ(problem.line, 1U);
    EXPECT_GT(problem.column, 1U);
  }
  const std::string deep_but_allowed = "wan: " + repeated("[", 30) + repeated("]", 30);
  const auto parsed = parse_policy(deep_but_allowed);
  for (const Problem& problem : std::get<Problems>(parsed)) {
    EXPECT_EQ(problem.message.find("nested"), std::string::npos) << problem.message;
  }
}

TEST(HostileFile, AliasesCountAsOftenAsTheyAreUsed) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string alias = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + alias + repeated(", " + alias, 9) +
            "]\n";
  }
  const Problem problem = only_problem(bomb);
  EXPECT_EQ(problem.message, "more than 1000000 values, aliases counted at each use");
  EXPECT_EQ(problem.line, 6U);
}

TEST(HostileFile, AliasesCountTheirDepth) {
  std::string tower = "a0: &a0 [x]\n";
  for (int i = 1; i < 40; ++i) {
    tower += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + "]\n";
  }
  EXPECT_EQ(only_problem(tower).message, "nested more than 32 levels deep");
}

TEST(HostileFile, AnAliasWithinItsOwnNodeIsRefused) {
  const Problem problem = only_problem("sites: &s\n  - *s\n");
  EXPECT_EQ(problem.message, "an alias stands inside the node it refers to");
  EXPECT_EQ(problem.line, 2U);
  EXPECT_EQ(problem.column, 5U);
}

TEST(HostileFile, SizeAndNumberOfValuesAreBounded) {
  EXPECT_EQ(only_problem(std::string(kMostPolicyBytes + 1, '#')).message, "the file is larger than 8 MiB");
  EXPECT_EQ(only_problem(repeated("[", kMostYamlNodes + 1)).message,
            "more than 1000000 values, aliases counted at each use");
}

TEST(HostileFile, OnlyCleanUtf8IsRead) {
  struct Case {
    const char* what;
    std::string text;
    std::size_t line, column;
    const char* message;
  };
  const std::string good = "wan:\n  ";
  for (const auto& [what, text, line, column, message] : std::initializer_list<Case>{
           {"a lone continuation byte", good + "\x80", 2, 3, "this is not UTF-8 text"},
           {"an overlong slash", good + "\xC0\xAF", 2, 3, "this is not UTF-8 text"},
           {"an overlong in three bytes", good + "\xE0\x80\xAF", 2, 3, "this is not UTF-8 text"},
           {"a surrogate", good + "x\xED\xA0\x80", 2, 4, "this is not UTF-8 text"},
           {"beyond U+10FFFF", good + "\xF4\x90\x80\x80", 2, 3, "this is not UTF-8 text"},
           {"cut off", good + "\xE2\x82", 2, 3, "this is not UTF-8 text"},
           {"UTF-16", std::string("\xFF\xFEw\0", 4), 1, 1, "this is not UTF-8 text"},
           {"a zero byte", good + std::string(1, '\0'), 2, 3, "a control character stands here"},
           {"end of transmission, yaml-cpp's own end mark", good + "a: 1\x04", 2, 7,
            "a control character stands here"},
           {"escape behind an umlaut", "# \xC3\xBC\x1B", 1, 5, "a control character stands here"}}) {
    const Problem problem = only_problem(text);
    EXPECT_EQ(problem.message, message) << what;
    EXPECT_EQ(problem.line, line) << what;
    EXPECT_EQ(problem.column, column) << what;
  }
}

TEST(HostileFile, SyntaxErrorsHaveTheirPlace) {
  const Problem tab = only_problem("wan:\n\tinterface: wan0\n");
  EXPECT_EQ(tab.line, 2U);
  EXPECT_EQ(tab.mend, "indent with spaces");
  const Problem open = only_problem("wan: {interface: wan0\nlan: {interface: lan0}\n");
  EXPECT_EQ(open.message.substr(0, 6), "YAML: ");
  EXPECT_GE(open.line, 1U);
}

TEST(HostileFile, EmptyAndForeignDocumentsAreRefused) {
  EXPECT_EQ(only_problem("").message, "the file says nothing");
  EXPECT_EQ(only_problem("# only a comment\n").message, "the file says nothing");
  EXPECT_EQ(only_problem("~\n").message, "the policy file is empty");
  EXPECT_EQ(only_problem("[a, b]\n").message, "the policy file must be a mapping of keys to values");
  EXPECT_EQ(only_problem("hello\n").message, "the policy file must be a mapping of keys to values");
  const Problem second = only_problem("wan: x\n---\nlan: y\n");
  EXPECT_EQ(second.message, "a second YAML document begins here");
  EXPECT_EQ(only_problem("wan: !!python/object:os.system x\n").message,
            "a YAML tag stands before this value");
}

class PolicyOnDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "weir-config-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
};

TEST_F(PolicyOnDisk, AFileThatIsNotThereIsOneProblemWithoutPlace) {
  const auto path = directory_ / "none.yaml";
  const auto loaded = load_policy(path);
  const auto& failure = std::get<LoadFailure>(loaded);
  ASSERT_EQ(failure.problems.size(), 1U);
  EXPECT_EQ(failure.problems[0].message, "cannot read " + path.string() + ": No such file or directory");
  EXPECT_EQ(failure.rendered, path.string() + ": cannot read " + path.string() +
                                  ": No such file or directory\n  mend: check the path\n");
}

TEST_F(PolicyOnDisk, ADirectoryCannotBeRead) {
  const auto loaded = load_policy(directory_);
  EXPECT_NE(std::get<LoadFailure>(loaded).rendered.find("Is a directory"), std::string::npos);
}

TEST_F(PolicyOnDisk, AnEndlessFileIsReadToTheLimitOnly) {
  const auto loaded = load_policy("/dev/zero");
  EXPECT_EQ(std::get<LoadFailure>(loaded).problems.at(0).message, "the file is larger than 8 MiB");
}

TEST_F(PolicyOnDisk, ProblemsAreRenderedWithTheFileName) {
  const auto path = directory_ / "bad.yaml";
  std::ofstream(path) << "wan: {interface: wan0, rate: 622}\nsites: [{name: a, subnets: [10.0.0.0/8], rate: "
                         "{floor: 1mbit}}]\n";
  const auto loaded = load_policy(path);
  EXPECT_EQ(std::get<LoadFailure>(loaded).rendered, path.string() +
                                                        ":1:30: '622' is not a rate\n"
                                                        "    wan: {interface: wan0, rate: 622}\n"
                                                        "                                 ^\n"
                                                        "  mend: add the unit: 622mbit, 622kbit, ...\n");
}

TEST(LargeFile, TenThousandSubnetsAndClassesLoadInWellUnderASecond) {
  std::string text =
      "wan: {interface: wan0, rate: 622mbit}\nsites:\n  - name: coast\n    rate: {floor: 45mbit}\n    "
      "policy: p\n    subnets:\n";
  for (int i = 0; i < 10'000; ++i) {
    text += "      - 10." + std::to_string(i / 250) + "." + std::to_string(i % 250) + ".0/24\n";
  }
  text += "policies:\n  p:\n    classes:\n";
  for (int i = 0; i < 10'000; ++i) {
    const std::string number = std::to_string(i);
    text += "      - {name: c" + number + ", match: [{source: 172.16." + std::to_string(i / 250) + "." +
            std::to_string(i % 250) + ", destination_port: " + std::to_string(i + 1) + "}]}\n";
  }
  text += "      - {name: rest, default: true}\n";

  const auto begin = std::chrono::steady_clock::now();
  const auto parsed = parse_policy(text);
  const auto took = std::chrono::steady_clock::now() - begin;
  ASSERT_TRUE(std::holds_alternative<Policy>(parsed)) << render(std::get<Problems>(parsed), "p", text);
  EXPECT_EQ(std::get<Policy>(parsed).sites[0].subnets.size(), 10'000U);
  EXPECT_EQ(std::get<Policy>(parsed).class_sets[0].classes.size(), 10'001U);
  // About 0.3 s optimised. Sanitizers, debug builds and busy machines are slower; a quadratic check would
  // take minutes.
  EXPECT_LT(took, std::chrono::seconds(10));
  RecordProperty("milliseconds",
                 static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
}

}  // namespace
}  // namespace weir
