// A policy of several files: inclusion, lists of subnets and groups.

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/load.hpp"

namespace weir {
namespace {

constexpr std::string_view kHead = "wan: {interface: wan0, rate: 622mbit}\n";

class FilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "weir-files-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, std::string_view text) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  [[nodiscard]] std::variant<LoadedPolicy, LoadFailure> load() const {
    return load_policy(folder_ / "weir.yaml");
  }
  [[nodiscard]] Policy policy() const {
    auto loaded = load();
    if (const auto* failure = std::get_if<LoadFailure>(&loaded)) {
      ADD_FAILURE() << failure->rendered;
      return {};
    }
    return std::get<LoadedPolicy>(loaded).policy;
  }
  /// What is wrong, the folder's name left out.
  [[nodiscard]] std::string failure() const {
    auto loaded = load();
    if (std::holds_alternative<LoadedPolicy>(loaded)) return "accepted";
    std::string text = std::get<LoadFailure>(loaded).rendered;
    const std::string name = folder_.string() + "/";
    for (std::size_t at = 0; (at = text.find(name)) != std::string::npos;) text.erase(at, name.size());
    return text;
  }
  static std::vector<std::string> subnets(const SitePolicy& site) {
    std::vector<std::string> names;
    for (const Prefix& prefix : site.subnets) names.push_back(prefix.to_string());
    return names;
  }

  std::filesystem::path folder_;
};

std::string site(std::string_view name, std::string_view subnets) {
  return "  - {name: " + std::string(name) + ", subnets: " + std::string(subnets) +
         ", rate: {floor: 10mbit}}\n";
}

TEST_F(FilesTest, SitesOfAllFilesAreTakenInTheOrderOfInclusion) {
  write("weir.yaml", std::string(kHead) + "include: [more/z.yaml, \"sites.d/*.yaml\"]\nsites:\n" +
                         site("own", "10.1.0.0/16"));
  write("more/z.yaml", "sites:\n" + site("z", "10.2.0.0/16") + "include: ../deep.yaml\n");
  write("deep.yaml", "sites:\n" + site("deep", "10.3.0.0/16"));
  write("sites.d/b.yaml", "sites:\n" + site("b", "10.5.0.0/16"));
  write("sites.d/a.yaml", "sites:\n" + site("a", "10.4.0.0/16"));
  write("sites.d/a.yaml.old", "nonsense");
  std::vector<std::string> names;
  for (const SitePolicy& one : policy().sites) names.push_back(one.name);
  EXPECT_EQ(names, (std::vector<std::string>{"own", "z", "deep", "a", "b"}));
}

TEST_F(FilesTest, AFolderOfSitesMayBeEmptyButANamedFileMustBeThere) {
  write("weir.yaml", std::string(kHead) + "include: sites.d/*.yaml\nsites:\n" + site("own", "10.1.0.0/16"));
  EXPECT_EQ(policy().sites.size(), 1U);
  write("weir.yaml", std::string(kHead) + "include: gone.yaml\nsites:\n" + site("own", "10.1.0.0/16"));
  EXPECT_EQ(failure(),
            "weir.yaml:2:10: cannot read gone.yaml: No such file or directory\n"
            "    include: gone.yaml\n"
            "             ^\n"
            "  mend: check the path\n");
}

TEST_F(FilesTest, AProblemNamesItsOwnFileAndTheOtherPlace) {
  write("weir.yaml", std::string(kHead) + "include: more.yaml\nsites:\n" + site("own", "10.1.0.0/16"));
  write("more.yaml", "sites:\n" + site("own", "10.1.0.0/16"));
  EXPECT_EQ(failure(),
            "more.yaml:2:12: site 'own' stands twice, first on line 4, column 12 of weir.yaml\n"
            "      - {name: own, subnets: 10.1.0.0/16, rate: {floor: 10mbit}}\n"
            "               ^\n"
            "  mend: rename or remove one of them\n"
            "more.yaml:2:26: 10.1.0.0/16 belongs to site 'own' (on line 4, column 26 of weir.yaml) and to "
            "site 'own'\n"
            "      - {name: own, subnets: 10.1.0.0/16, rate: {floor: 10mbit}}\n"
            "                             ^\n"
            "  mend: leave it in one site; a longer prefix within it may go to the other\n");
}

TEST_F(FilesTest, WhatStandsOnceMayStandInAnyFile) {
  write("weir.yaml", "include: [port.yaml]\nsites:\n" + site("own", "10.1.0.0/16"));
  write("port.yaml", kHead);
  EXPECT_EQ(policy().wan.interface, "wan0");
  write("weir.yaml", std::string(kHead) + "include: [port.yaml]\nsites:\n" + site("own", "10.1.0.0/16"));
  EXPECT_NE(
      failure().find("port.yaml:1:6: 'wan' stands in two files, first on line 1, column 6 of weir.yaml"),
      std::string::npos)
      << failure();
}

TEST_F(FilesTest, FilesThatIncludeOneAnotherAreToldAndDoNotHang) {
  write("weir.yaml", std::string(kHead) + "include: a.yaml\nsites:\n" + site("own", "10.1.0.0/16"));
  write("a.yaml", "include: [weir.yaml, b.yaml]\n");
  write("b.yaml", "include: a.yaml\n");
  const std::string said = failure();
  EXPECT_NE(said.find("a.yaml:1:11: weir.yaml is the file that includes all others"), std::string::npos)
      << said;
  EXPECT_NE(said.find("b.yaml:1:10: a.yaml is included twice, first on line 2, column 10 of weir.yaml"),
            std::string::npos)
      << said;
}

TEST_F(FilesTest, InclusionHasADepth) {
  write("weir.yaml", std::string(kHead) + "include: 1.yaml\nsites:\n" + site("own", "10.1.0.0/16"));
  for (int i = 1; i < 8; ++i)
    write(std::to_string(i) + ".yaml", "include: " + std::to_string(i + 1) + ".yaml\n");
  write("8.yaml", "groups: {a: 10.0.0.0/8}\n");
  EXPECT_EQ(policy().sites.size(), 1U);
  write("8.yaml", "include: 9.yaml\n");
  EXPECT_NE(failure().find("8.yaml:1:10: files include one another more than 8 deep"), std::string::npos)
      << failure();
}

TEST_F(FilesTest, AListOfSubnetsIsReadFromItsOwnFile) {
  write("weir.yaml", std::string(kHead) + "sites:\n" + site("own", "[10.1.0.0/16, \"@lists/own.txt\"]"));
  write("lists/own.txt", "# the laboratory\n10.2.0.0/16\n\n  2001:db8::/32 \t# and its IPv6\r\n10.3.4.5");
  EXPECT_EQ(subnets(policy().sites.at(0)),
            (std::vector<std::string>{"10.1.0.0/16", "10.2.0.0/16", "2001:db8::/32", "10.3.4.5/32"}));
}

TEST_F(FilesTest, FaultsOfAListStandInTheList) {
  write("weir.yaml", std::string(kHead) + "sites:\n" + site("own", "\"@own.txt\""));
  write("own.txt", "10.2.0.0/16\n  10.3.0.1/16\n");
  EXPECT_EQ(failure(),
            "own.txt:2:3: '10.3.0.1/16' has bits set behind its length\n"
            "      10.3.0.1/16\n"
            "      ^\n"
            "  mend: did you mean 10.3.0.0/16?\n");
  write("own.txt", "# nothing yet\n");
  EXPECT_NE(failure().find("own.txt:1:1: this list of subnets is empty"), std::string::npos) << failure();
  std::string much;
  for (int i = 0; i < 1000; ++i) much += "a novel, line by line\n";
  write("own.txt", much);
  const auto loaded = load();
  EXPECT_EQ(std::get<LoadFailure>(loaded).problems.size(), 20U);
}

TEST_F(FilesTest, GroupsStandForTheirSubnetsWhereverListsStand) {
  write("weir.yaml", std::string(kHead) +
                         "groups: {lab: [10.2.0.0/16, old-lab], old-lab: [\"@old.txt\"], db: 10.9.0.0/24}\n"
                         "sites:\n" +
                         site("own", "[lab, 10.1.0.0/16]") +
                         "policies: {default: {classes: [{name: db, match: [{source: db}]}, {name: rest, "
                         "default: true}]}}\n");
  write("old.txt", "10.3.0.0/16\n");
  const Policy got = policy();
  EXPECT_EQ(subnets(got.sites.at(0)),
            (std::vector<std::string>{"10.2.0.0/16", "10.3.0.0/16", "10.1.0.0/16"}));
  EXPECT_EQ(got.class_sets.at(0).classes.at(0).match.at(0).source.at(0).to_string(), "10.9.0.0/24");
}

TEST_F(FilesTest, FaultsOfGroups) {
  write("weir.yaml",
        std::string(kHead) +
            "groups: {a: [b], b: [a], 7th: 10.7.0.0/16, unused: [10.8.0.1/16], lab: 10.2.0.0/16}\n"
            "sites:\n" +
            site("own", "[lba, 10.1.0.0/16]"));
  const std::string said = failure();
  EXPECT_NE(said.find("group 'a' contains itself"), std::string::npos) << said;
  EXPECT_NE(said.find("the name of a group begins with a letter"), std::string::npos) << said;
  EXPECT_NE(said.find("'10.8.0.1/16' has bits set"), std::string::npos)
      << "also where no list names it: " << said;
  EXPECT_NE(said.find("'lba' is neither an IP address or prefix nor a group"), std::string::npos) << said;
  EXPECT_NE(said.find("did you mean lab?"), std::string::npos) << said;
}

TEST_F(FilesTest, GroupsOfGroupsDoNotGrowBeyondBounds) {
  std::string text(kHead);
  text += "groups:\n  g0: [";
  for (int i = 0; i < 200; ++i) text += (i > 0 ? ", 10." : "10.") + std::to_string(i) + ".0.0/16";
  text += "]\n";
  for (int level = 1; level < 8; ++level) {
    text += "  g" + std::to_string(level) + ": [";
    for (int i = 0; i < 10; ++i) text += (i > 0 ? ", g" : "g") + std::to_string(level - 1);
    text += "]\n";
  }
  write("weir.yaml", text + "sites:\n" + site("own", "g7"));
  EXPECT_NE(failure().find("more than 1000000 subnets, those of groups counted at each use"),
            std::string::npos);
}

TEST_F(FilesTest, GroupsHaveADepth) {
  // A chain as long as a file can hold: no reason to fall over it.
  std::string text(kHead);
  text += "groups:\n";
  constexpr int kGroups = 90'000;
  for (int i = 0; i < kGroups; ++i)
    text += "  g" + std::to_string(i) + ": " +
            (i + 1 < kGroups ? "g" + std::to_string(i + 1) : "10.0.0.0/8") + "\n";
  text += "sites: [{name: coast, subnets: g0, rate: {floor: 1mbit}}]\n";
  write("weir.yaml", text);
  EXPECT_NE(failure().find("groups contain one another more than 32 deep"), std::string::npos);
}

TEST_F(FilesTest, AFolderThatCannotBeLookedIntoIsNotTakenForEmpty) {
  std::filesystem::create_directory_symlink("round", folder_ / "round");
  write("weir.yaml", std::string(kHead) +
                         "include: [\"round/*.yaml\"]\n"
                         "sites: [{name: coast, subnets: [10.0.0.0/8], rate: {floor: 1mbit}}]\n");
  EXPECT_NE(failure().find("cannot read"), std::string::npos) << failure();
}

TEST_F(FilesTest, APipeIsNotWaitedFor) {
  ASSERT_EQ(::mkfifo((folder_ / "list").c_str(), 0600), 0);
  write("weir.yaml",
        std::string(kHead) + "sites: [{name: coast, subnets: [\"@list\"], rate: {floor: 1mbit}}]\n");
  EXPECT_NE(failure().find("cannot read"), std::string::npos) << failure();
}

TEST_F(FilesTest, AliasesOfAllFilesCountTogether) {
  // Each file alone is within the bound.
  std::string bomb = "policies:\n  pNAME:\n    classes:\n";
  bomb += "      - &rule {name: a, match: [";
  for (int i = 0; i < 400; ++i) bomb += (i == 0 ? "" : ", ") + std::string("{dscp: ef}");
  bomb += "]}\n";
  for (int i = 0; i < 400; ++i) bomb += "      - *rule\n";
  for (const std::string name : {"1", "2", "3", "4"}) {
    std::string text = bomb;
    text.replace(text.find("NAME"), 4, name);
    write("more/" + name + ".yaml", text);
  }
  write("weir.yaml", std::string(kHead) +
                         "include: more/*.yaml\n"
                         "sites: [{name: coast, subnets: [10.0.0.0/8], rate: {floor: 1mbit}}]\n");
  EXPECT_NE(failure().find("values in all files together"), std::string::npos);
}

TEST_F(FilesTest, AKeptCopyNeedsNoDisk) {
  write("weir.yaml",
        std::string(kHead) + "include: \"sites.d/*.yaml\"\nsites:\n" + site("own", "\"@own.txt\""));
  write("own.txt", "10.1.0.0/16\n");
  write("sites.d/b.yaml", "sites:\n" + site("b", "10.5.0.0/16"));
  const auto loaded = load();
  ASSERT_TRUE(std::holds_alternative<LoadedPolicy>(loaded));
  std::filesystem::remove_all(folder_);
  const auto again = load_kept(std::get<LoadedPolicy>(loaded).files);
  ASSERT_TRUE(std::holds_alternative<LoadedPolicy>(again)) << std::get<LoadFailure>(again).rendered;
  EXPECT_EQ(std::get<LoadedPolicy>(again).policy, std::get<LoadedPolicy>(loaded).policy);
  EXPECT_EQ(std::get<LoadedPolicy>(again).files, std::get<LoadedPolicy>(loaded).files);
}

TEST(Files, ATextAloneIncludesNothing) {
  const auto parsed = parse_policy("include: /etc/hostname\nwan: {interface: wan0, rate: 622mbit}\n");
  ASSERT_TRUE(std::holds_alternative<Problems>(parsed));
  EXPECT_EQ(std::get<Problems>(parsed).at(1).message, "cannot read /etc/hostname: No such file or directory");
}

}  // namespace
}  // namespace weir
