// One direction of the path on made-up frames: who meets which link, when what leaves, and what is counted.
#include "path/way.hpp"

#include <array>

#include <gtest/gtest.h>

#include "path/lateness.hpp"

namespace weir::lab {
namespace {

using namespace std::chrono_literals;
using proving::Buffer;
using proving::DropTail;
using proving::Fate;
using proving::Policer;
using proving::Scenario;
using proving::ScenarioLink;
using proving::Schedule;

constexpr std::size_t kPlaces = 4096;

TimePoint at(Duration d) {
  return TimePoint(d);
}

ScenarioLink buffer(const char* name, double bps, std::optional<std::size_t> site = std::nullopt,
                    bool back = false) {
  return {.name = name,
          .settings = {.capacity = Schedule(bps), .limit = Buffer{.depth = Bytes(10'000), .aqm = DropTail{}}},
          .site = site,
          .back = back};
}

Scenario two_sites() {
  Scenario s;
  s.length = 10s;
  s.sites.resize(2);
  return s;
}

Passenger of_site(std::uint32_t token, std::size_t site, std::uint32_t bytes = 1000) {
  return {.token = token, .bytes = bytes, .site = site};
}

/// Token and time of all that leaves until `end`.
std::vector<std::pair<std::uint32_t, TimePoint>> leaving(Way& way, TimePoint end) {
  way.run_until(end);
  std::vector<std::pair<std::uint32_t, TimePoint>> all;
  while (const auto d = way.take_due(end)) all.emplace_back(d->passenger.token, d->due);
  return all;
}

TEST(WayOfThePath, EachFrameMeetsItsLinksInTheirOrder) {
  Scenario s = two_sites();
  s.links = {buffer("own", 8e6, 1), buffer("shared", 80e6), buffer("back", 8e3, {}, true)};
  Way way(s, false, kPlaces, {}, 1);
  way.arrive(of_site(0, 0), at(0s));                                 // shared: 0.1 ms
  way.arrive(of_site(1, 1), at(0s));                                 // own: 1 ms, then shared
  way.arrive({.token = 2, .bytes = 1000, .foreign = true}, at(0s));  // shared, behind the first
  way.arrive({.token = 3, .bytes = 60, .free_ride = true}, at(0s));  // none
  const auto all = leaving(way, at(1s));
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0], std::pair(3U, at(0s)));
  EXPECT_EQ(all[1], std::pair(0U, at(100us)));
  EXPECT_EQ(all[2], std::pair(2U, at(200us)));
  EXPECT_EQ(all[3], std::pair(1U, at(1100us)));
  EXPECT_EQ(way.waiting(), 0U);
}

TEST(WayOfThePath, BeforeTheBeginningThereAreOnlyDelays) {
  Scenario s = two_sites();
  s.links = {buffer("shared", 8e3)};
  s.extra_delay = Schedule(0.005);
  Way way(s, false, kPlaces, {}, 1);
  for (std::uint32_t i = 0; i < 100; ++i) way.arrive(of_site(i, 0), at(-1s));
  EXPECT_EQ(leaving(way, at(-994ms)).size(), 100U);
  EXPECT_TRUE(way.take_lost().empty());
  way.arrive(of_site(0, 0), at(0s));
  EXPECT_EQ(leaving(way, at(999ms)).size(), 0U);
  EXPECT_EQ(leaving(way, at(2s)).size(), 1U);
}

TEST(WayOfThePath, ANewClockKeepsWhatWaits) {
  const Scenario s = two_sites();
  Way way(s, false, kPlaces, {}, 1);
  way.set_delay(10ms);
  way.arrive(of_site(0, 0), at(-1'000'000s));
  way.shift_clock(999'999s);
  way.arrive(of_site(1, 0), at(-1s + 1ms));
  const auto all = leaving(way, at(0s));
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0], std::pair(0U, at(-990ms)));
  EXPECT_EQ(all[1], std::pair(1U, at(-989ms)));
}

TEST(WayOfThePath, TheWayBackTakesTheRttOfItsHost) {
  const Scenario s = two_sites();
  Way way(s, true, kPlaces, {20ms, 200ms}, 1);
  way.set_delay(1ms);
  way.arrive({.token = 0, .bytes = 60, .delay = 1}, at(0s));
  way.arrive({.token = 1, .bytes = 60, .delay = 0}, at(0s));
  way.arrive({.token = 2, .bytes = 60}, at(0s));
  const auto all = leaving(way, at(1s));
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0], std::pair(2U, at(1ms)));
  EXPECT_EQ(all[1], std::pair(1U, at(21ms)));
  EXPECT_EQ(all[2], std::pair(0U, at(201ms)));
}

TEST(WayOfThePath, NothingOvertakesWhenADelayShrinks) {
  Scenario s = two_sites();
  s.extra_delay = Schedule({{0s, 0.1}, {1ms, 0.01}});
  s.jitter = Schedule(0.02);
  Way way(s, false, kPlaces, {}, 1);
  for (std::uint32_t i = 0; i < 1000; ++i) way.arrive(of_site(i, 0), at(i * 100us));
  const auto all = leaving(way, at(1s));
  ASSERT_EQ(all.size(), 1000U);
  for (std::uint32_t i = 0; i < 1000; ++i) EXPECT_EQ(all[i].first, i);
  EXPECT_GE(all[0].second, at(100ms));
  EXPECT_LE(all.back().second, at(130ms));
}

TEST(WayOfThePath, AShareOfTheFramesOvertakesTheOthers) {
  Scenario s = two_sites();
  s.reorder = 0.1;
  Way way(s, false, kPlaces, {}, 1);
  for (std::uint32_t i = 0; i < 4000; ++i) way.arrive(of_site(i, 0), at(i * 100us));
  int early = 0;
  for (const auto& [token, due] : leaving(way, at(1s))) {
    EXPECT_TRUE(due == at(token * 100us) || due == at(token * 100us + 2ms));
    early += due == at(token * 100us);
  }
  EXPECT_NEAR(early, 400, 100);
}

TEST(WayOfThePath, EveryFrameIsHandedOutOnceAndTheBinsCountThemAll) {
  Scenario s = two_sites();
  s.links = {
      buffer("own", 40e6, 1),
      buffer("shared", 80e6),
      {.name = "policer",
       .settings = {.capacity = Schedule(60e6), .limit = Policer{}, .loss = {.ratio = Schedule(0.01)}}}};
  Way way(s, false, kPlaces, {}, 1);
  std::vector<std::uint32_t> free;
  for (std::uint32_t i = 0; i < kPlaces; ++i) free.push_back(i);
  std::uint64_t left = 0;
  std::array<std::uint64_t, 3> lost{};
  std::uint64_t sent = 0;
  const auto collect = [&](TimePoint now) {
    for (const auto& [token, due] : leaving(way, now)) {
      ++left;
      free.push_back(token);
      EXPECT_LE(due, now);
    }
    for (const LostFrame& f : way.take_lost()) {
      ++lost[f.link];
      free.push_back(f.passenger.token);
    }
  };
  for (TimePoint now; now < at(5s); now += 70us) {
    ASSERT_FALSE(free.empty());
    const std::uint32_t token = free.back();
    free.pop_back();
    way.tell(0, 5e6, true);
    way.arrive(of_site(token, sent++ % 2), now);
    if (sent % 13 == 0) collect(now);
  }
  collect(at(6s));
  EXPECT_EQ(left + lost[0] + lost[1] + lost[2], sent);
  EXPECT_EQ(way.waiting(), 0U);
  EXPECT_EQ(free.size(), kPlaces);
  proving::Truth truth;
  way.add_to(truth);
  ASSERT_EQ(truth.links.size(), 3U);
  EXPECT_EQ(truth.sites[0].size(), 600U) << "as far as the time has come";
  for (std::size_t l = 0; l < 3; ++l) {
    std::uint64_t dropped = 0;
    for (const auto& bin : truth.links[l]) dropped += bin.over_limit + bin.at_random;
    EXPECT_EQ(dropped, lost[l]) << l;
    EXPECT_GT(dropped, 0U) << l;
  }
  std::uint64_t sent_bytes = 0;
  std::uint64_t received = 0;
  std::uint64_t forwarded = 0;
  for (const auto& site : truth.sites) {
    for (const auto& bin : site) {
      sent_bytes += bin.sent_bytes;
      received += bin.received_bytes;
    }
  }
  for (const auto& bin : truth.links[2]) forwarded += bin.forwarded_bytes;
  EXPECT_EQ(sent_bytes, 1000 * sent);
  EXPECT_EQ(received, 1000 * left);
  EXPECT_EQ(forwarded, received);
  EXPECT_EQ(truth.links[2][100].capacity_bps, 60e6);
  EXPECT_GT(truth.links[1][400].queue_ms, 0.0);
  EXPECT_TRUE(truth.sites[0][100].demand);
  EXPECT_EQ(truth.sites[0][100].shaped_bps, 5e6);
  EXPECT_FALSE(truth.sites[1][100].demand);
}

TEST(WayOfThePath, ABinHasTheQueueOfItsOwnEndHoweverLateItIsAsked) {
  Scenario s = two_sites();
  s.links = {
      {.name = "path",
       .settings = {.capacity = Schedule(8e6), .limit = Buffer{.depth = Bytes(100'000), .aqm = DropTail{}}}}};
  Way way(s, false, kPlaces, {}, 1);
  for (std::uint32_t i = 0; i < 100; ++i) way.arrive(of_site(i, 0), at(0s));  // 100 ms
  way.run_until(at(1s));
  proving::Truth truth;
  way.add_to(truth);
  for (std::size_t b = 0; b < 12; ++b)
    EXPECT_NEAR(truth.links[0][b].queue_ms, b < 10 ? 90.0 - 10.0 * static_cast<double>(b) : 0.0, 1e-3);
  EXPECT_EQ(truth.links[0][5].forwarded_bytes, 10'000U);
}

TEST(LatenessOfThePath, KeepsTheWorstAndItsPercentiles) {
  Lateness late;
  EXPECT_EQ(late.quantile(0.99), 0us);
  for (int i = 0; i < 990; ++i) late.add(15us);
  for (int i = 0; i < 9; ++i) late.add(505us);
  late.add(3s);
  EXPECT_EQ(late.quantile(0.5), 20us);
  EXPECT_EQ(late.quantile(0.99), 510us);
  EXPECT_EQ(late.worst(), 3s);
}

}  // namespace
}  // namespace weir::lab
