// What a change leaves on disk, and who asked for it.
#include "gateway/revision_log.hpp"

#include <array>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/peer.hpp"
#include "gateway/read_whole.hpp"
#include "gateway/replace_file.hpp"

#include "fakes.hpp"
#include "scratch_folder.hpp"

namespace weir::gateway::test {
namespace {

TEST(RevisionLog, DropsTheOldestAndNeverTheNewest) {
  const ScratchFolder folder;
  RevisionLog log(folder.path());
  for (std::size_t i = 1; i <= RevisionLog::kMost + 5; ++i)
    log.add({{.path = "/p", .text = std::to_string(i)}}, "root", "", RevisionState::good, at(1).wall);
  EXPECT_EQ(log.all().size(), RevisionLog::kMost);
  EXPECT_EQ(log.all().front().number, 6U);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "revisions" / "5.json"));
  const RevisionLog again(folder.path());
  ASSERT_EQ(again.all().size(), RevisionLog::kMost);
  EXPECT_EQ(again.all().back().number, RevisionLog::kMost + 5);
  EXPECT_EQ(std::get<std::vector<PolicyFile>>(again.files(6)).at(0).text, "6");
  EXPECT_TRUE(std::holds_alternative<std::string>(again.files(5)));
}

TEST(RevisionLog, KeepsWhatIsInForceAndLetsGoOfWhatWasRolledBackFirst) {
  const ScratchFolder folder;
  RevisionLog log(folder.path());
  const auto first = log.add({{.path = "/p", .text = "good"}}, "root", "", RevisionState::good, at(1).wall);
  const auto second =
      log.add({{.path = "/p", .text = "good too"}}, "root", "", RevisionState::good, at(1).wall);
  for (std::size_t i = 0; i < RevisionLog::kMost + 20; ++i)
    log.add({{.path = "/p", .text = std::to_string(i)}}, "root", "", RevisionState::rolled_back, at(1).wall,
            first);
  EXPECT_NE(log.find(first), nullptr);
  EXPECT_NE(log.find(second), nullptr) << "what was rolled back goes first";
  EXPECT_EQ(log.all().size(), RevisionLog::kMost);
  // However much it weighs: the newest, and what is in force.
  const std::string heavy(RevisionLog::kMostBytes, 'x');
  const auto last =
      log.add({{.path = "/p", .text = heavy}}, "root", "", RevisionState::good, at(1).wall, first);
  ASSERT_EQ(log.all().size(), 2U);
  EXPECT_EQ(log.all()[0].number, first);
  EXPECT_EQ(log.all()[1].number, last);
}

TEST(ReplaceFile, KeepsOwnerAndModeAndFollowsNoTrap) {
  const ScratchFolder folder;
  const auto file = folder.path() / "weir.yaml";
  const auto victim = folder.path() / "victim";
  std::ofstream(file) << "old";
  std::ofstream(victim) << "precious";
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(file.c_str(), 12, 34), 0);
  }
  ASSERT_EQ(::chmod(file.c_str(), 0604), 0);
  std::filesystem::create_symlink(victim, folder.path() / "weir.yaml.new");
  replace_file(folder.path(), "weir.yaml", "new", Owner::as_was);
  struct stat about {};
  ASSERT_EQ(::lstat(file.c_str(), &about), 0);
  EXPECT_TRUE(S_ISREG(about.st_mode));
  EXPECT_EQ(about.st_mode & 0777U, 0604U);
  if (::geteuid() == 0) {
    EXPECT_EQ(about.st_uid, 12U);
    EXPECT_EQ(about.st_gid, 34U);
  }
  EXPECT_EQ(std::get<std::string>(read_whole(file, 100)), "new");
  EXPECT_EQ(std::get<std::string>(read_whole(victim, 100)), "precious");
}

TEST(ReadWhole, ReadsFilesThatHaveNoSize) {
  const auto status = read_whole("/proc/self/status", 100'000);
  EXPECT_NE(std::get<std::string>(status).find("\nPid:"), std::string::npos);
  EXPECT_EQ(std::get<std::string>(read_whole("/proc/self/status", 10)).size(), 11U)
      << "by which a larger one shows";
}

TEST(RevisionLog, WhatIsDamagedIsSetAside) {
  for (
      const std::string text :
      {"", "[]", "{\"revisions\": 5}", "{\"revisions\": [{\"number\": 1}]}",
       R"({"revisions": [{"number": 0, "unix_ms": 1, "by": "", "comment": "", "state": "good", "note": "", "bytes": 1}]})",
       R"({"revisions": [{"number": 1, "unix_ms": 1, "by": "", "comment": "", "state": "bad", "note": "", "bytes": 1}]})",
       R"({"revisions": [{"number": 1, "unix_ms": 1e300, "by": "", "comment": "", "state": "good", "note": "", "bytes": 1}]})"}) {
    const ScratchFolder folder;
    std::ofstream(folder.path() / "revisions.json") << text;
    RevisionLog log(folder.path());
    EXPECT_TRUE(log.all().empty()) << text;
    EXPECT_TRUE(log.trouble().has_value()) << text;
    EXPECT_TRUE(std::filesystem::exists(folder.path() / "revisions.json.damaged")) << text;
    EXPECT_EQ(log.add({{.path = "/p", .text = "x"}}, "root", "", RevisionState::good, at(1).wall), 1U);
  }
  const ScratchFolder folder;
  RevisionLog log(folder.path());
  log.add({{.path = "/p", .text = "x"}}, "root", "", RevisionState::good, at(1).wall);
  std::ofstream(folder.path() / "revisions" / "1.json") << "nonsense";
  EXPECT_TRUE(std::holds_alternative<std::string>(log.files(1)));
  EXPECT_EQ(log.with_files({{.path = "/p", .text = "x"}}), nullptr);
}

TEST(Peer, OfAUnixSocketIsThisProcess) {
  std::array<int, 2> pair{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()), 0);
  const auto peer = peer_of(pair[0]);
  ASSERT_TRUE(peer.has_value());
  EXPECT_EQ(peer->uid, ::geteuid());
  EXPECT_TRUE(peer->may_change);
  const passwd* const self = ::getpwuid(::geteuid());  // NOLINT(concurrency-mt-unsafe): one thread
  ASSERT_NE(self, nullptr);
  EXPECT_TRUE(name_of(*peer).starts_with(self->pw_name)) << name_of(*peer);
  for (const int fd : pair) ::close(fd);
  const int tcp = ::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_FALSE(peer_of(tcp).has_value());
  ::close(tcp);
}

}  // namespace
}  // namespace weir::gateway::test
