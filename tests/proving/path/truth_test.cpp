// The score of series made by hand, where every figure can be told by looking.
#include "proving/path/truth.hpp"

#include <fstream>

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace weir::proving {
namespace {

using namespace std::chrono_literals;

std::size_t bin(Duration t) {
  return static_cast<std::size_t>(t / kBin);
}

/// One site behind one buffer of 100 Mbit/s that falls to 60 at 20 s; 40 s long, 10 s of them warm-up.
Scenario scenario() {
  Scenario s;
  s.length = 40s;
  s.warm_up = 10s;
  s.sites.push_back({.name = "a",
                     .floor = Rate::mbps(10),
                     .ceiling = Rate::mbps(200),
                     .start = Rate::mbps(50),
                     .contract = Rate::mbps(45)});
  s.links.push_back({.name = "path",
                     .settings = {.capacity = Schedule({{0s, 100e6}, {20s, 60e6}}),
                                  .limit = Buffer{.depth = Duration(100ms), .aqm = DropTail{}}}});
  return s;
}

Truth empty() {
  Truth t;
  t.links.resize(1);
  t.sites.resize(1);
  return t;
}

/// The rate is the capacity from the first moment on, the link is full, nothing is lost.
Truth ideal(const Scenario& s) {
  Truth t = empty();
  for (Duration at{}; at < s.length; at += kBin) {
    const double capacity = s.links[0].settings.capacity.at(TimePoint(at));
    const auto bytes = static_cast<std::uint64_t>(capacity / 8 * 0.01);
    t.links[0].push_back(
        {.capacity_bps = capacity, .queue_ms = 1.0, .offered = 100, .forwarded_bytes = bytes});
    t.sites[0].push_back(
        {.shaped_bps = capacity, .sent_bytes = bytes, .received_bytes = bytes, .demand = true});
  }
  return t;
}

TEST(Scoring, OfAnIdealRun) {
  const Scenario s = scenario();
  const Score score = weir::proving::score(s, ideal(s));
  ASSERT_EQ(score.links.size(), 1U);
  EXPECT_NEAR(score.links[0].utilisation, 1.0, 1e-9);
  EXPECT_EQ(score.links[0].loss, 0.0);
  EXPECT_EQ(score.links[0].queue_p95_ms, 1.0);
  ASSERT_EQ(score.sites.size(), 1U);
  // 10 s at 100 and 20 s at 60 after the warm-up.
  EXPECT_NEAR(score.sites[0].sent_bps, 2200e6 / 30, 1.0);
  EXPECT_EQ(score.sites[0].shaped_least_bps, 60e6);
  EXPECT_EQ(score.sites[0].shaped_most_bps, 100e6);
  ASSERT_EQ(score.sites[0].settlings.size(), 2U);
  EXPECT_EQ(score.sites[0].settlings[1].at, 20s);
  EXPECT_EQ(score.sites[0].settlings[1].from_bps, 100e6);
  EXPECT_EQ(score.sites[0].settlings[1].to_bps, 60e6);
  EXPECT_EQ(score.sites[0].settlings[1].seconds, 0.0);
}

TEST(Scoring, UtilisationAndQueueCountWhileThereIsDemandAndAfterTheWarmUp) {
  const Scenario s = scenario();
  Truth t = ideal(s);
  for (std::size_t b = 0; b < bin(10s); ++b) t.links[0][b] = {.capacity_bps = 100e6, .queue_ms = 500.0};
  for (std::size_t b = bin(10s); b < bin(15s); ++b) {
    t.links[0][b].forwarded_bytes = 0;  // nobody wants anything
    t.links[0][b].queue_ms = 400.0;
    t.sites[0][b].demand = false;
  }
  for (std::size_t b = bin(30s); b < bin(40s); ++b) t.links[0][b].forwarded_bytes /= 2;
  const Score score = weir::proving::score(s, t);
  // 5 s x 100 + 20 s x 60 could have passed; 10 s x 30 of it did not.
  EXPECT_NEAR(score.links[0].utilisation, 1400.0 / 1700.0, 1e-6);
  EXPECT_EQ(score.links[0].queue_most_ms, 1.0);
}

TEST(Scoring, PercentilesOfTheQueue) {
  const Scenario s = scenario();
  Truth t = ideal(s);
  for (std::size_t b = bin(10s); b < bin(40s); ++b)
    t.links[0][b].queue_ms = static_cast<double>(b - bin(10s));
  const Score score = weir::proving::score(s, t);
  EXPECT_NEAR(score.links[0].queue_p50_ms, 1500.0, 1.0);
  EXPECT_NEAR(score.links[0].queue_p95_ms, 2850.0, 1.0);
  EXPECT_EQ(score.links[0].queue_most_ms, 2999.0);
}

TEST(Scoring, LossIsOfWhatWasOffered) {
  const Scenario s = scenario();
  Truth t = ideal(s);
  t.links[0][bin(5s)].over_limit = 99;  // in the warm-up
  t.links[0][bin(15s)].over_limit = 30;
  t.links[0][bin(16s)].at_random = 60;
  const Score score = weir::proving::score(s, t);
  EXPECT_NEAR(score.links[0].loss, 30.0 / 300'000.0, 1e-12);
  EXPECT_NEAR(score.links[0].random_loss, 60.0 / 300'000.0, 1e-12);
}

TEST(Scoring, ARateHasSettledWhenItStaysForASecond) {
  const Scenario s = scenario();
  Truth t = ideal(s);
  for (std::size_t b = 0; b < bin(3s); ++b) t.sites[0][b].shaped_bps = 50e6;
  // After the jump: at the new rate for half a second, out again for one, then there.
  for (std::size_t b = bin(20s); b < bin(21s); ++b) t.sites[0][b].shaped_bps = 100e6;
  for (std::size_t b = bin(21500ms); b < bin(22500ms); ++b) t.sites[0][b].shaped_bps = 64e6;
  for (std::size_t b = bin(22500ms); b < bin(40s); ++b) t.sites[0][b].shaped_bps = 62.9e6;
  const auto settlings = weir::proving::score(s, t).sites[0].settlings;
  ASSERT_EQ(settlings.size(), 2U);
  EXPECT_EQ(settlings[0].from_bps, 50e6) << "the rate that the box starts with";
  EXPECT_NEAR(settlings[0].seconds.value(), 3.0, 1e-9);
  EXPECT_NEAR(settlings[1].seconds.value(), 2.5, 1e-9);
}

TEST(Scoring, ARateThatNeverArrivesHasNotSettled) {
  const Scenario s = scenario();
  Truth t = ideal(s);
  for (std::size_t b = bin(20s); b < bin(40s); ++b) t.sites[0][b].shaped_bps = 63.1e6;
  EXPECT_FALSE(weir::proving::score(s, t).sites[0].settlings[1].seconds);
}

TEST(Scoring, WhatOthersAreSureToTakeIsNotTheSites) {
  Scenario s = scenario();
  s.links[0].settings.capacity = Schedule(100e6);
  s.loads.push_back({.kind = Load::Kind::udp,
                     .foreign = true,
                     .flows = 3,
                     .rate = Rate::mbps(10),
                     .from = 15s,
                     .until = Duration(25s)});
  s.loads.push_back({.kind = Load::Kind::tcp,
                     .foreign = true,
                     .rate = {},
                     .until = {}});  // takes its share, not a fixed part
  const Truth t = ideal(s);
  const auto settlings = weir::proving::score(s, t).sites[0].settlings;
  ASSERT_EQ(settlings.size(), 3U);
  EXPECT_EQ(settlings[1].at, 15s);
  EXPECT_EQ(settlings[1].to_bps, 70e6);
  EXPECT_EQ(settlings[2].at, 25s);
  EXPECT_EQ(settlings[2].to_bps, 100e6);
}

TEST(Scoring, TheLeastOfASitesLinksWithinFloorAndCeiling) {
  Scenario s = scenario();
  s.sites[0].ceiling = Rate::mbps(80);
  s.links.push_back({.name = "own", .settings = {.capacity = Schedule(5e6), .limit = Policer{}}, .site = 0});
  Truth t = ideal(s);
  t.links.push_back(std::vector<LinkBin>(t.links[0].size(), LinkBin{.capacity_bps = 5e6}));
  EXPECT_EQ(weir::proving::score(s, t).sites[0].settlings.at(0).to_bps, 10e6) << "never under the floor";
  s.links.pop_back();
  t.links.pop_back();
  EXPECT_EQ(weir::proving::score(s, t).sites[0].settlings.at(0).to_bps, 80e6) << "never over the ceiling";
}

TEST(Scoring, ABackOffIsAFallBelowTheRatesOwnMedian) {
  Scenario s = scenario();
  s.links[0].settings.capacity = Schedule(100e6);
  Truth t = ideal(s);
  const auto dip = [&](Duration from, Duration until, double bps) {
    for (std::size_t b = bin(from); b < bin(until); ++b) t.sites[0][b].shaped_bps = bps;
  };
  dip(5s, 6s, 50e6);        // in the warm-up
  dip(12s, 12500ms, 96e6);  // not so deep
  dip(15s, 16s, 80e6);      // one
  dip(20s, 20200ms, 80e6);  // two
  dip(20500ms, 21s, 80e6);  // the same once more
  dip(30s, 30300ms, 94e6);  // three
  const std::vector<Duration> found{15s, 20s, 30s};
  EXPECT_EQ(weir::proving::score(s, t).sites[0].back_offs, found);
}

TEST(Scoring, ABackOffIsFalseWhenNothingOnTheWayOutCalledForIt) {
  Scenario s = scenario();
  s.links[0].settings.capacity = Schedule(100e6);
  s.links.push_back({.name = "back", .settings = {.capacity = Schedule(20e6)}, .back = true});
  Truth t = ideal(s);
  t.links.push_back(std::vector<LinkBin>(t.links[0].size(), LinkBin{.capacity_bps = 20e6}));
  for (const Duration at : {12s, 16s, 20s, 24s, 28s, 32s})
    for (std::size_t b = bin(at); b < bin(at + 500ms); ++b) t.sites[0][b].shaped_bps = 80e6;
  t.links[0][bin(11500ms)].queue_ms = 4.9;      // 12 s: too little
  t.links[1][bin(15500ms)].queue_ms = 190;      // 16 s: of the way back
  t.links[0][bin(19500ms)].queue_ms = 5;        // 20 s: a reason
  t.links[0][bin(23500ms)].over_limit = 1;      // 24 s: a reason
  t.links[0][bin(26900ms)].over_limit = 50;     // 28 s: too long ago
  t.sites[0][bin(31500ms)].shaped_bps = 101e6;  // 32 s: the rate was too much
  const auto scored = weir::proving::score(s, t).sites[0];
  EXPECT_EQ(scored.back_offs, (std::vector<Duration>{12s, 16s, 20s, 24s, 28s, 32s}));
  EXPECT_EQ(scored.false_back_offs, (std::vector<Duration>{12s, 16s, 28s}));
}

TEST(Scoring, ARestartIsSomethingToSettleFrom) {
  Scenario s = scenario();
  s.links[0].settings.capacity = Schedule(100e6);
  s.events.push_back({25s, BoxEvent::Kind::restart});
  Truth t = ideal(s);
  for (std::size_t b = bin(25s); b < bin(28s); ++b) t.sites[0][b].shaped_bps = 50e6;
  const auto settlings = weir::proving::score(s, t).sites[0].settlings;
  ASSERT_EQ(settlings.size(), 2U);
  EXPECT_EQ(settlings[1].at, 25s);
  EXPECT_EQ(settlings[1].from_bps, settlings[1].to_bps);
  EXPECT_EQ(settlings[1].seconds, 3.0);
}

TEST(Scoring, PriorityDelayIsOverTheLeastAndWhatIsLateAtTheEndIsNotLost) {
  const Scenario s = scenario();
  Truth t = ideal(s);
  const auto packet = [&](Duration sent, std::optional<Duration> delay) {
    t.priority.push_back({TimePoint(sent), delay});
  };
  packet(5s, Duration(900ms));  // in the warm-up
  for (int i = 0; i < 98; ++i) packet(11s, Duration(10ms));
  packet(12s, Duration(40ms));
  packet(13s, std::nullopt);
  packet(39500ms, std::nullopt);  // may still be under way
  const Score score = weir::proving::score(s, t);
  EXPECT_EQ(score.priority_p50_ms, 0.0);
  EXPECT_NEAR(score.priority_p99_ms.value(), 0.0, 1e-9);
  EXPECT_NEAR(score.priority_loss, 0.01, 1e-12);
  t.priority.assign(1, {TimePoint(20s), std::nullopt});
  EXPECT_EQ(weir::proving::score(s, t).priority_loss, 1.0) << "all of them";
  EXPECT_FALSE(weir::proving::score(s, t).priority_p99_ms);
}

TEST(Scoring, NothingAtAllScoresNothing) {
  const Scenario s = scenario();
  const Score score = weir::proving::score(s, empty());
  EXPECT_EQ(score.links[0].utilisation, 0.0);
  EXPECT_TRUE(score.sites[0].settlings.empty());
  EXPECT_EQ(score.sites[0].shaped_least_bps, 0.0);
}

TEST(Scoring, IsToldAsJson) {
  const Scenario s = scenario();
  Truth t = ideal(s);
  for (SiteBin& b : t.sites[0]) b.shaped_bps = 1e6;
  const auto told = boost::json::parse(to_json(score(s, t))).as_object();
  EXPECT_EQ(told.at("links").at(0).at("name"), "path");
  EXPECT_TRUE(told.at("sites").at(0).at("settlings").at(0).at("seconds").is_null());
  EXPECT_TRUE(told.at("priority").at("p99_ms").is_null());
}

TEST(Series, HasARowABin) {
  const Scenario s = scenario();
  const auto path = std::filesystem::path(testing::TempDir()) / "weir-truth-test.csv";
  write_csv(s, ideal(s), path);
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  EXPECT_EQ(line.substr(0, 41), "time_s,path_capacity_bps,path_queue_ms,pa");
  std::size_t rows = 0;
  while (std::getline(in, line)) ++rows;
  EXPECT_EQ(rows, 4000U);
  std::filesystem::remove(path);
  EXPECT_THROW(write_csv(s, ideal(s), "/nowhere/x.csv"), std::runtime_error);
}

}  // namespace
}  // namespace weir::proving
