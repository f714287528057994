// The file that outlives the daemon: back as it was, a minute older each minute; anything else in its place
// is told and ignored; and the disk is waited for on another thread.
#include "gateway/memory_file.hpp"

#include <algorithm>
#include <fstream>
#include <future>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/file_descriptor.hpp"

#include "fakes.hpp"
#include "scratch_folder.hpp"

namespace weir::gateway::test {
namespace {

using namespace std::chrono_literals;

SiteMemories two_sites() {
  SiteMemory coast;
  coast.mode = PathMode::policer;
  coast.capacity = {.rate = Rate::bps(46'512'345), .error_ppm = 12'345, .age = 12s + 1ns};
  coast.loss_floor = {.ppm = 12'457, .age = 4min};
  coast.phi_thousandths = 9'700;
  coast.noise = 1234us;
  coast.noise_deviation = 321us;
  coast.base = 20ms;
  coast.probe = {.wait = 8s, .due_in = 3s};
  SiteMemory hills;
  hills.mode = PathMode::unknown;
  return {{"coast", coast}, {"hills", hills}};
}

struct MemoryFileTest : testing::Test {
  ScratchFolder folder;
  MemoryFile file{folder.path() / "state"};

  [[nodiscard]] std::string text() const { return to_text({"wan0", at(0).wall, two_sites()}); }
  void write(const std::string& content) const {
    std::filesystem::create_directories(file.path().parent_path());
    std::ofstream(file.path(), std::ios::trunc | std::ios::binary) << content;
  }
  void expect_ignored(const std::string& why, double s = 5) const {
    const RememberedSites found = file.load("wan0", at(s).wall);
    EXPECT_TRUE(found.sites.empty());
    ASSERT_TRUE(found.ignored) << why;
    EXPECT_TRUE(found.ignored->starts_with(file.path().string() + ": ")) << *found.ignored;
    EXPECT_NE(found.ignored->find(why), std::string::npos) << *found.ignored << " instead of " << why;
  }
};

TEST_F(MemoryFileTest, NothingIsThereBeforeTheFirstRun) {
  const RememberedSites found = file.load("wan0", at(0).wall);
  EXPECT_TRUE(found.sites.empty());
  EXPECT_FALSE(found.ignored);
}

TEST_F(MemoryFileTest, ComesBackAsOldAsTheWallClockSays) {
  file.store({"wan0", at(0).wall, two_sites()});
  EXPECT_EQ(file.load("wan0", at(0).wall).sites, two_sites());
  const RememberedSites found = file.load("wan0", at(100).wall);
  EXPECT_FALSE(found.ignored);
  EXPECT_EQ(found.sites, aged(two_sites(), 100s));
  EXPECT_EQ(found.sites.at("coast").capacity->age, 112s + 1ns);
  EXPECT_FALSE(file.load("wan0", at(361).wall).sites.at("coast").loss_floor) << "its ten minutes are over";
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(file.path().parent_path()))
    files += entry.exists() ? 1U : 0U;
  EXPECT_EQ(files, 1U) << "nothing is left beside it";
}

TEST_F(MemoryFileTest, HasALineForEachSite) {
  const std::string content = text();
  EXPECT_EQ(std::ranges::count(content, '\n'), 3) << content;
  EXPECT_NE(content.find(R"({"site":"hills","mode":"unknown"})"), std::string::npos) << content;
}

TEST_F(MemoryFileTest, WhatIsTooOldOrYetToComeIsIgnored) {
  write(text());
  EXPECT_FALSE(file.load("wan0", at(86'400).wall).ignored);
  expect_ignored("24 h old", 86'401);
  expect_ignored("saved at 2023-11-14T22:13:20.000Z, which is yet to come", -0.001);
  EXPECT_TRUE(file.load("wan0", WallTime()).ignored) << "a machine whose clock begins in 1970";
}

TEST_F(MemoryFileTest, AnotherPortsSitesAreNotOurs) {
  write(text());
  EXPECT_NE(file.load("wan1", at(5).wall).ignored->find("another port than wan1"), std::string::npos);
}

TEST_F(MemoryFileTest, AnythingElseIsToldAndIgnored) {
  const std::string head = R"({"weir_memory":1,"interface":"wan0","saved_ns":1700000000000000000)";
  write("");
  expect_ignored("not JSON");
  write("\xff\xfe nonsense");
  expect_ignored("not JSON");
  write(std::string(100'000, '['));
  expect_ignored("not JSON");
  write("[]");
  expect_ignored("not an object");
  write("{}");
  expect_ignored("'weir_memory'");
  write(R"({"weir_memory":2})");
  expect_ignored("format 2");
  write(R"({"weir_memory":1,"interface":"wan0","saved_ns":-1,"sites":[]})");
  expect_ignored("'saved_ns'");
  write(R"({"weir_memory":1,"interface":"wan0","saved_ns":1e300,"sites":[]})");
  expect_ignored("'saved_ns'");
  write(head + "}");
  expect_ignored("'sites'");
  write(head + R"(,"sites":{}})");
  expect_ignored("'sites'");
  write(head + R"(,"sites":[7]})");
  expect_ignored("'sites'");
  write(head + R"(,"sites":[{"site":"a","mode":"policer","capacity":[NaN,0,0]}]})");
  expect_ignored("not JSON");
  write(head + R"(,"sites":[{"site":"a","mode":"policer","capacity":[-5,0,0]}]})");
  expect_ignored("'capacity'");
  write(head + R"(,"sites":[{"site":"a","mode":"policer"},{"site":"a","mode":"policer"}]})");
  expect_ignored("twice");
  write(head + R"(,"sites":[{"site":"","mode":"policer"}]})");
  expect_ignored("'site'");
  write(std::string(kLargestMemoryFile + 1, ' '));
  expect_ignored("larger than");
  write(head + R"(,"sites":[],"later":"what a newer version adds"})");
  EXPECT_FALSE(file.load("wan0", at(5).wall).ignored);
}

TEST_F(MemoryFileTest, EveryCutAndEveryChangedByteIsTakenOrIgnored) {
  std::string content = text();
  for (std::size_t size = 0; size + 1 < content.size(); ++size) {
    EXPECT_TRUE(std::holds_alternative<UnusableMemory>(
        parse_memories(std::string_view(content).substr(0, size), "wan0", at(5).wall)))
        << size;
  }
  for (char& c : content) {
    const char was = c;
    for (const char other : {'9', '-', '"', '\0'}) {
      c = other;
      static_cast<void>(parse_memories(content, "wan0", at(5).wall));
    }
    c = was;
  }
}

TEST_F(MemoryFileTest, WhatIsNoFileIsNotWaitedFor) {
  std::filesystem::create_directories(file.path());
  expect_ignored("not a file");
  std::filesystem::remove(file.path());
  ASSERT_EQ(::mkfifo(file.path().c_str(), 0600), 0);
  expect_ignored("not a file");
}

TEST_F(MemoryFileTest, StoresOnItsOwnThreadAndTellsHowItWent) {
  std::promise<std::pair<std::optional<std::string>, std::thread::id>> told;
  {
    MemoryWriter writer([&](const KeptMemories& kept) { file.store(kept); },
                        [&](std::optional<std::string> failure) {
                          told.set_value({std::move(failure), std::this_thread::get_id()});
                        });
    writer.store({"wan0", at(0).wall, two_sites()});
    const auto [failure, thread] = told.get_future().get();
    EXPECT_FALSE(failure);
    EXPECT_NE(thread, std::this_thread::get_id());
  }
  EXPECT_EQ(file.load("wan0", at(0).wall).sites, two_sites());
}

TEST_F(MemoryFileTest, StoresWhatWaitsBeforeItEnds) {
  {
    MemoryWriter([&](const KeptMemories& kept) { file.store(kept); }, [](const auto&) {})
        .store({"wan0", at(0).wall, two_sites()});
  }
  EXPECT_EQ(file.load("wan0", at(0).wall).sites, two_sites());
}

TEST_F(MemoryFileTest, AFolderThatCannotBeMadeIsTold) {
  std::ofstream(folder.path() / "state") << "a file where the folder should be";
  std::promise<std::optional<std::string>> told;
  MemoryWriter writer([&](const KeptMemories& kept) { file.store(kept); },
                      [&](std::optional<std::string> failure) { told.set_value(std::move(failure)); });
  writer.store({"wan0", at(0).wall, two_sites()});
  const auto failure = told.get_future().get();
  ASSERT_TRUE(failure);
  EXPECT_NE(failure->find("state"), std::string::npos) << *failure;
}

// A FIFO that nobody reads is as slow as a disk can be.
TEST_F(MemoryFileTest, ADiskThatStandsStillHoldsNobodyUp) {
  std::promise<void> begun;
  std::promise<void> moves;
  std::mutex mutex;
  std::vector<std::optional<std::string>> told;
  {
    bool first = true;
    MemoryWriter writer(
        [&](const KeptMemories& kept) {
          if (std::exchange(first, false)) {
            begun.set_value();
            moves.get_future().wait();
            throw std::runtime_error("it stood");
          }
          file.store(kept);
        },
        [&](std::optional<std::string> failure) {
          const std::lock_guard lock(mutex);
          told.push_back(std::move(failure));
        });
    writer.store({"wan0", at(0).wall, two_sites()});
    begun.get_future().wait();
    // The writer stands. These return all the same, and the newer one wins.
    writer.store({"wan0", at(0).wall, {}});
    writer.store({"wan0", at(0).wall, two_sites()});
    moves.set_value();
  }
  ASSERT_EQ(told.size(), 2U) << "the one that stood, and the last";
  EXPECT_EQ(told[0], "it stood");
  EXPECT_FALSE(told[1]);
  EXPECT_EQ(file.load("wan0", at(0).wall).sites, two_sites());
}

}  // namespace
}  // namespace weir::gateway::test
