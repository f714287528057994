#include "gateway/cli.hpp"

#include <fstream>
#include <vector>

#include <gtest/gtest.h>

#include "scratch_folder.hpp"

namespace weir::gateway::test {
namespace {

struct Outcome {
  int code = 0;
  std::string out;
  std::string complaint;
};

Outcome weir(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "weir");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = run_command_line(static_cast<int>(argv.size()), argv.data());
  return {.code = code,
          .out = testing::internal::GetCapturedStdout(),
          .complaint = testing::internal::GetCapturedStderr()};
}

TEST(CommandLine, TheVersionIsThatOfTheProject) {
  const Outcome outcome = weir({"--version"});
  EXPECT_EQ(outcome.code, kExitOk);
  EXPECT_EQ(outcome.out, "weir " WEIR_PROJECT_VERSION "\n");
}

TEST(CommandLine, HelpNamesTheExitCodesAndEverySubcommandHasAnExample) {
  const Outcome all = weir({"--help"});
  EXPECT_EQ(all.code, kExitOk);
  EXPECT_NE(all.out.find("Exit codes:"), std::string::npos);
  for (const std::string command : {"run", "check", "apply", "plan", "clear", "status"}) {
    EXPECT_NE(all.out.find("  " + command), std::string::npos) << command;
    const Outcome one = weir({command, "--help"});
    EXPECT_EQ(one.code, kExitOk) << command;
    EXPECT_NE(one.out.find("Example: weir " + command), std::string::npos) << one.out;
  }
}

TEST(CommandLine, WrongUseIsTwo) {
  const std::vector<std::vector<std::string>> wrong = {{},
                                                       {"dance"},
                                                       {"run"},
                                                       {"check"},
                                                       {"apply", "x.yaml"},
                                                       {"clear"},
                                                       {"clear", "x.yaml", "--interface", "wan0"},
                                                       {"run", "--config", "x", "--log-level", "loud"},
                                                       {"status", "--nonsense"}};
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

TEST(CommandLine, StatusWithoutADaemonIsFour) {
  const ScratchFolder folder;
  const Outcome outcome = weir({"status", "--socket", (folder.path() / "weir.sock").string()});
  EXPECT_EQ(outcome.code, kExitNotRunning);
  EXPECT_NE(outcome.complaint.find("the daemon is not running"), std::string::npos) << outcome.complaint;
}

}  // namespace
}  // namespace weir::gateway::test
