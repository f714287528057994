#include "gateway/cli.hpp"

#include <fstream>
#include <vector>

#include <gtest/gtest.h>

#include "run_weir.hpp"
#include "scratch_folder.hpp"

namespace weir::gateway::test {
namespace {

TEST(CommandLine, TheVersionIsThatOfTheProject) {
  const Outcome outcome = weir({"--version"});
  EXPECT_EQ(outcome.code, kExitOk);
  EXPECT_EQ(outcome.out, "weir " WEIR_PROJECT_VERSION "\n");
}

TEST(CommandLine, HelpNamesTheExitCodesAndEverySubcommandHasAnExample) {
  const Outcome all = weir({"--help"});
  EXPECT_EQ(all.code, kExitOk);
  EXPECT_NE(all.out.find("Exit codes:"), std::string::npos);
  for (const std::string command :
       {"run", "check", "apply", "confirm", "rollback", "revisions", "diff", "plan", "clear", "observe",
        "status", "why", "explain", "rules", "record", "replay"}) {
    EXPECT_NE(all.out.find("  " + command), std::string::npos) << command;
    const Outcome one = weir({command, "--help"});
    EXPECT_EQ(one.code, kExitOk) << command;
    EXPECT_NE(one.out.find("Example: weir " + command), std::string::npos) << one.out;
  }
}

TEST(CommandLine, WrongUseIsTwo) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"dance"},
      {"run"},
      {"check"},
      {"apply", "--once"},
      {"apply", "x.yaml", "--once", "--confirm", "5m"},
      {"apply", "--confirm", "soon"},
      {"rollback", "0"},
      {"diff", "x"},
      {"clear"},
      {"clear", "x.yaml", "--interface", "wan0"},
      {"run", "--config", "x", "--log-level", "loud"},
      {"observe"},
      {"observe", "--read", "x", "--interface", "wan0"},
      {"observe", "--interface", "wan0", "--duration", "-1"},
      {"observe", "--read", "x", "--most-flows", "5"},
      {"observe", "--read", "x", "--workers", "1"},
      {"observe", "--interface", "wan0", "--inside", "10.1.0.0/16", "--workers", "0"},
      {"observe", "--interface", "wan0", "--workers", "2"},
      {"observe", "--interface", "wan0", "--inside", "10.1.0.0/16", "--workers", "100000"},
      {"observe", "--read", "x", "--flows", "--most-flows", "0"},
      {"status", "--nonsense"},
      {"why"},
      {"why", "dc-coast", "-n", "0"},
      {"why", "dc-coast", "-n", "201"},
      {"explain"},
      {"explain", "--from", "10.0.0.1"},
      {"explain", "--from", "10.0.0.1", "--to", "10.0.0.2", "--config", "x", "--socket", "y"},
      {"record"},
      {"replay"}};
  for (const auto& arguments : wrong) {
    const Outcome outcome = weir(arguments);
    EXPECT_EQ(outcome.code, kExitUsage) << testing::PrintToString(arguments);
    EXPECT_FALSE(outcome.complaint.empty());
  }
}

TEST(CommandLine, CheckSaysGoodOrAllThatIsWrong) {
  const ScratchFolder folder;
  const std::string file = (folder.path() / "policy.yaml").string();
  std::ofstream(file) << "wan: {interface: wan0, rate: 622mbit}\n"
                         "sites:\n  - {name: a, subnets: [10.0.0.0/8], policy: p,"
                         " rate: {floor: 1mbit, ceiling: 2mbit, start: 1mbit}}\n"
                         "policies: {p: {classes: [{name: rest, default: true}]}}\n";
  const Outcome good = weir({"check", file});
  EXPECT_EQ(good.code, kExitOk) << good.complaint;
  EXPECT_EQ(good.out, file + ": good: 1 site(s), 1 subnet(s), 1 class(es) on wan0 at 622mbit\n");
  std::ofstream(file) << "wan: {interface: wan0, rate: fast}\nsurprise: 1\n";
  const Outcome bad = weir({"check", file});
  EXPECT_EQ(bad.code, kExitPolicy);
  EXPECT_NE(bad.complaint.find(file + ":1:"), std::string::npos) << bad.complaint;
  EXPECT_NE(bad.complaint.find(file + ":2:"), std::string::npos) << bad.complaint;
  EXPECT_EQ(weir({"check", file + ".missing"}).code, kExitPolicy);
}

TEST(CommandLine, ObserveComplainsOfItsInput) {
  const ScratchFolder folder;
  const std::string file = (folder.path() / "some.pcap").string();
  EXPECT_EQ(weir({"observe", "--read", file}).code, kExitPolicy);
  std::ofstream(file) << "this is no capture";
  const Outcome not_one = weir({"observe", "--read", file});
  EXPECT_EQ(not_one.code, kExitPolicy);
  EXPECT_NE(not_one.complaint.find("some.pcap"), std::string::npos) << not_one.complaint;
  const Outcome bad_block = weir({"observe", "--read", file, "--inside", "10.1.0.0/99"});
  EXPECT_EQ(bad_block.code, kExitPolicy);
  EXPECT_NE(bad_block.complaint.find("10.1.0.0/99"), std::string::npos);
}

// A capture of nothing: what was asked for is there all the same.
TEST(CommandLine, ObserveListsSitesAndFlowsWhenAsked) {
  const ScratchFolder folder;
  const std::string policy = (folder.path() / "policy.yaml").string();
  std::ofstream(policy) << "wan: {interface: wan0, rate: 622mbit}\n"
                           "sites:\n  - {name: a, subnets: [10.0.0.0/8], policy: p,"
                           " rate: {floor: 1mbit, ceiling: 2mbit, start: 1mbit}}\n"
                           "policies: {p: {classes: [{name: rest, default: true}]}}\n";
  const std::string file = (folder.path() / "empty.pcap").string();
  const std::string header = {'\xd4', '\xc3', '\xb2', '\xa1', 2, 0, 4, 0, 0, 0, 0, 0,
                              0,      0,      0,      0,      0, 0, 4, 0, 1, 0, 0, 0};
  std::ofstream(file, std::ios::binary) << header;
  const Outcome plain = weir({"observe", "--read", file, "--json"});
  EXPECT_EQ(plain.code, kExitOk) << plain.complaint;
  EXPECT_EQ(plain.out.find("\"flows\""), std::string::npos);
  EXPECT_EQ(plain.out.find("\"sites\""), std::string::npos);
  const Outcome all =
      weir({"observe", "--read", file, "--json", "--policy", policy, "--flows", "--most-flows", "5"});
  EXPECT_EQ(all.code, kExitOk) << all.complaint;
  EXPECT_NE(all.out.find("\"flows\":[]"), std::string::npos) << all.out;
  EXPECT_NE(all.out.find("\"flows_omitted\":0"), std::string::npos) << all.out;
  EXPECT_NE(all.out.find("\"sites\":[]"), std::string::npos) << all.out;
}

TEST(CommandLine, StatusWithoutADaemonIsFour) {
  const ScratchFolder folder;
  const Outcome outcome = weir({"status", "--socket", (folder.path() / "weir.sock").string()});
  EXPECT_EQ(outcome.code, kExitNotRunning);
  EXPECT_NE(outcome.complaint.find("the daemon is not running"), std::string::npos) << outcome.complaint;
}

}  // namespace
}  // namespace weir::gateway::test
