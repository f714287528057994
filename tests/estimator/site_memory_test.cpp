// What outlives a controller: what is kept, how it ages, and that the next one goes on where the last one
// was.
#include "estimator/site_memory.hpp"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "estimator/control_constants.hpp"
#include "estimator/site_memory_json.hpp"

#include "any_record.hpp"
#include "path_simulator.hpp"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

SiteMemory knows(double mbps, Duration age) {
  SiteMemory m;
  m.mode = PathMode::policer;
  m.capacity = {.rate = Rate::bps(static_cast<std::uint64_t>(mbps * 1e6)), .error_ppm = 10'000, .age = age};
  return m;
}

// ---- where a controller begins ----

TEST(SiteStart, WhatStandsInTheKernelIsKeptWhateverIsKnown) {
  const ControlStart start = start_of(kUsualLimits, Rate::mbps(20), Rate::mbps(61), knows(46.5, 12s));
  EXPECT_EQ(start, ControlStart(Rate::mbps(61), StartedFrom::kernel, knows(46.5, 12s)));
  EXPECT_EQ(why_there(start), "as it stood in the kernel; 46.5 Mbit/s were measured 12 s before the restart");
  EXPECT_EQ(why_there(start_of(kUsualLimits, Rate::mbps(20), Rate::mbps(61), std::nullopt)),
            "as it stood in the kernel, nothing measured yet");
}

TEST(SiteStart, WithoutATreeItIsAShareOfWhatThePathCarried) {
  const ControlStart start = start_of(kUsualLimits, Rate::mbps(20), std::nullopt, knows(46.5, 12s));
  EXPECT_EQ(start.rate, Rate::bps(44'175'000));
  EXPECT_EQ(start.from, StartedFrom::memory);
  EXPECT_EQ(SiteController(kUsualLimits, start, at(0)).decision().reason,
            "44.2 Mbit/s: 0.95 of the 46.5 Mbit/s measured 12 s before the restart");
  EXPECT_EQ(why_there(start_of(kUsualLimits, Rate::mbps(20), std::nullopt, knows(46.5, 5min + 1s))),
            "0.95 of the 46.5 Mbit/s measured 5 min before the restart");
  EXPECT_EQ(why_there(start_of(kUsualLimits, Rate::mbps(20), std::nullopt, knows(46.5, 23h + 59min))),
            "0.95 of the 46.5 Mbit/s measured 23 h before the restart");
}

TEST(SiteStart, WithoutEitherItIsTheConfiguredStart) {
  SiteMemory no_capacity = knows(46.5, 12s);
  no_capacity.capacity.reset();
  for (const auto& memory : {std::optional<SiteMemory>(), std::optional(no_capacity)}) {
    const ControlStart start = start_of(kUsualLimits, Rate::mbps(20), std::nullopt, memory);
    EXPECT_EQ(start, ControlStart(Rate::mbps(20), StartedFrom::policy, memory));
    EXPECT_EQ(SiteController(kUsualLimits, start, at(0)).decision().reason,
              "20.0 Mbit/s: where it started, nothing measured yet");
  }
}

TEST(SiteStart, ThePresentLimitsHoldWhateverStoodThere) {
  EXPECT_EQ(start_of(kUsualLimits, Rate::mbps(20), Rate::mbps(3), std::nullopt).rate, Rate::mbps(10));
  EXPECT_EQ(start_of(kUsualLimits, Rate::mbps(20), Rate::mbps(900), std::nullopt).rate, Rate::mbps(500));
  const ControlStart low = start_of(kUsualLimits, Rate::mbps(20), std::nullopt, knows(4, 12s));
  EXPECT_EQ(low.rate, Rate::mbps(10));
  EXPECT_EQ(why_there(low),
            "0.95 of the 4.0 Mbit/s measured 12 s before the restart, within the policy's limits");
  EXPECT_EQ(start_of(kUsualLimits, Rate::mbps(20), std::nullopt, knows(900, 12s)).rate, Rate::mbps(500));
}

TEST(SiteStart, ASiteThatDoesNotAdaptIsAtItsStart) {
  const ControlLimits fixed{.floor = Rate::mbps(10), .ceiling = Rate::mbps(500), .adapt = false};
  EXPECT_EQ(start_of(fixed, Rate::mbps(20), Rate::mbps(61), knows(46.5, 12s)).rate, Rate::mbps(20));
}

// ---- how it ages ----

TEST(SiteMemory, ACapacityIsForgottenAfterADay) {
  EXPECT_EQ(aged(knows(45, 1h), 23h).capacity->age, 24h);
  EXPECT_FALSE(aged(knows(45, 1h), 23h + 1ns).capacity);
  EXPECT_FALSE(SiteController(kUsualLimits, {Rate::mbps(20), StartedFrom::kernel, knows(45, 25h)}, at(0))
                   .memory(at(0))
                   .capacity)
      << "whoever hands it over";
}

TEST(SiteMemory, ALossFloorExpiresAfterItsTenMinutesWhicheverSideOfTheRestart) {
  SiteMemory m;
  m.mode = PathMode::lossy;
  m.loss_floor = {.ppm = 20'000, .age = 4min};
  EXPECT_TRUE(aged(m, 6min).loss_floor);
  EXPECT_FALSE(aged(m, 6min + 1ns).loss_floor);
  SiteController controller(kUsualLimits, {Rate::mbps(20), StartedFrom::kernel, aged(m, 2min)}, at(1000));
  ControlInput quiet;
  quiet.measured.interval = kCohortLength;
  const auto floor_at = [&](double s) {
    quiet.measured.at = at(s);
    static_cast<void>(controller.step(quiet, at(s)));
    return controller.memory(at(s)).loss_floor;
  };
  ASSERT_TRUE(floor_at(1000 + 239));
  EXPECT_EQ(floor_at(1000 + 240)->ppm, 20'000U);
  EXPECT_FALSE(floor_at(1000 + 240.1));
}

TEST(SiteMemory, TheNextProbeComesWhenItWasDue) {
  SiteMemory m;
  m.probe = {.wait = 4s, .due_in = 5s};
  EXPECT_EQ(aged(m, 2s).probe->due_in, 3s);
  EXPECT_EQ(aged(m, 1h).probe->due_in, 0s);
  const SiteController controller(kUsualLimits, {Rate::mbps(20), StartedFrom::kernel, m}, at(7));
  EXPECT_EQ(controller.memory(at(8)).probe->due_in, 4s);
  EXPECT_EQ(controller.memory(at(8)).probe->wait, 4s);
}

TEST(SiteMemory, AnotherControllerKnowsTheSame) {
  Any any(5);
  for (int i = 0; i < 2000; ++i) {
    SiteMemory m = any.memory();
    m.base = 20ms;  // (one is always known: 50 ms until an RTT is)
    m.probe = {.wait = 4s, .due_in = 1s};
    m = aged(m, Duration::zero());
    if (m.capacity) m.capacity->error_ppm = std::max(m.capacity->error_ppm, 5000U);
    const TimePoint now = at(i);
    SiteMemory again = SiteController({.floor = Rate(), .ceiling = Rate::bps(1)},
                                      {Rate::bps(1), StartedFrom::kernel, m}, now)
                           .memory(now);
    // Kept as a variance.
    EXPECT_LE(std::chrono::abs(again.noise_deviation - m.noise_deviation), 2us);
    EXPECT_LE(std::chrono::abs(again.noise - m.noise), 1ns);
    again.noise_deviation = m.noise_deviation;
    again.noise = m.noise;
    ASSERT_EQ(again, m);
  }
}

// ---- as text ----

std::variant<SiteMemory, std::string> read(const std::string& text) {
  LineReader reader;
  const SiteMemory m = read_memory(reader, boost::json::parse(text).as_object());
  if (!reader.ok()) return reader.why();
  return m;
}

TEST(SiteMemory, ComesBackFromItsTextAsItWas) {
  Any any(6);
  for (int i = 0; i < 2000; ++i) {
    const SiteMemory m = any.memory();
    std::string text;
    LineWriter w(text);
    w.open('{');
    write_memory(w, m);
    w.close('}');
    const auto again = read(text);
    ASSERT_TRUE(std::holds_alternative<SiteMemory>(again)) << text << std::get<std::string>(again);
    ASSERT_EQ(std::get<SiteMemory>(again), m) << text;
  }
}

TEST(SiteMemory, WhatNoControllerCanHaveLearntIsRefused) {
  ASSERT_TRUE(std::holds_alternative<SiteMemory>(read(R"({"mode":"policer","capacity":[1,0,0]})")));
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"{}", "'mode'"},
      {R"({"mode":"blind"})", "'mode'"},
      {R"({"mode":"policer","capacity":[0,0,0]})", "'capacity'"},
      {R"({"mode":"policer","capacity":[-1,0,0]})", "'capacity'"},
      {R"({"mode":"policer","capacity":[1e30,0,0]})", "'capacity'"},
      {R"({"mode":"policer","capacity":[100000000000001,0,0]})", "'capacity'"},
      {R"({"mode":"policer","capacity":[1,250001,0]})", "'capacity'"},
      {R"({"mode":"policer","capacity":[1,0,-1]})", "'capacity'"},
      {R"({"mode":"policer","capacity":[1,0]})", "'capacity'"},
      {R"({"mode":"policer","capacity":null})", "'capacity'"},
      {R"({"mode":"policer","loss_floor":[0,0]})", "'loss_floor'"},
      {R"({"mode":"policer","loss_floor":[500001,0]})", "'loss_floor'"},
      {R"({"mode":"policer","phi":999})", "'phi'"},
      {R"({"mode":"policer","phi":1.5})", "'phi'"},
      {R"({"mode":"policer","noise":[-1,0]})", "'noise'"},
      {R"({"mode":"policer","noise":[0,10000000001]})", "'noise'"},
      {R"({"mode":"policer","base":0})", "'base'"},
      {R"({"mode":"policer","probe":[1999999999,0]})", "'probe'"},
      {R"({"mode":"policer","probe":[2000000000,60000000001]})", "'probe'"},
  };
  for (const auto& [text, why] : wrong) {
    const auto found = read(text);
    ASSERT_TRUE(std::holds_alternative<std::string>(found)) << text;
    EXPECT_NE(std::get<std::string>(found).find(why), std::string::npos)
        << std::get<std::string>(found) << " for " << text;
  }
}

// ---- from one run to the next, on a path ----

TEST(SiteMemory, AControllerLeavesWhatItMeasured) {
  PathSetup path;
  path.provider = Provider::policer;
  PathSimulator sim(path, kUsualLimits, 100);
  sim.run_for(30);
  const SiteMemory m = sim.memory();
  ASSERT_TRUE(m.capacity);
  EXPECT_NEAR(m.capacity->rate.mbps(), 45, 2);
  EXPECT_LT(m.capacity->age, 30s);
  EXPECT_EQ(m.mode, PathMode::policer);
  ASSERT_TRUE(m.base);
  EXPECT_NEAR(milliseconds(*m.base), 30, 1);
  ASSERT_TRUE(m.probe);
  EXPECT_EQ(m.probe->wait, control::kProbeWaitMost) << "probes have found nothing";
}

TEST(SiteMemory, TheNextOneIsAtTheCapacityFromItsFirstTickOn) {
  PathSetup path;
  path.provider = Provider::policer;
  PathSimulator sim(path, kUsualLimits, 100);
  sim.run_for(30);
  sim.restart(start_of(kUsualLimits, Rate::mbps(100), std::nullopt, aged(sim.memory(), 1h)));
  EXPECT_NEAR(sim.decision().rate.mbps(), 0.95 * 45, 2);
  EXPECT_EQ(sim.decision().mode, PathMode::policer);
  ASSERT_TRUE(sim.decision().capacity);
  EXPECT_NEAR(sim.decision().capacity->rate.mbps(), 45, 2);
  sim.run_for(10);
  EXPECT_LT(sim.loss(30, 40), 0.002) << "from the configured 100 Mbit/s it would be half of what is sent";
  EXPECT_GT(sim.utilisation(31, 40), 0.9);
}

TEST(SiteMemory, LossThatWasShownToBeChanceIsNotTestedAgain) {
  PathSetup path;
  path.capacity_mbps = [](double) { return 1000.0; };
  path.random_loss = 0.01;
  path.demand_mbps = 25;
  const auto tested_after_restart = [&](bool with_memory) {
    PathSimulator sim(path, kUsualLimits, 30);
    sim.run_for(60);
    const SiteMemory m = sim.memory();
    EXPECT_TRUE(m.loss_floor);
    const Rate rate = sim.decision().rate;
    sim.restart({rate, StartedFrom::kernel, with_memory ? std::optional(m) : std::nullopt});
    sim.run_for(30);
    return std::ranges::count_if(
        sim.trace(), [](const TraceTick& t) { return t.at > 60 && t.state == ControlState::verify; });
  };
  EXPECT_GT(tested_after_restart(false), 0) << "the path would teach it anew, at the cost of a cut";
  EXPECT_EQ(tested_after_restart(true), 0);
}

TEST(SiteMemory, ACapacityThatProbesHaveOutgrownIsNotKept) {
  PathSetup path;
  path.provider = Provider::policer;
  path.capacity_mbps = [](double t) { return t < 20 ? 45.0 : 1000.0; };
  const ControlLimits limits{.floor = Rate::mbps(10), .ceiling = Rate::mbps(90), .adapt = true};
  PathSimulator sim(path, limits, 60);
  sim.run_for(19);
  ASSERT_TRUE(sim.memory().capacity);
  sim.run_for(30);
  ASSERT_EQ(sim.decision().rate, limits.ceiling);
  EXPECT_FALSE(sim.memory().capacity)
      << "a start at 0.95 of 45 Mbit/s would throw away half of what goes through";
}

TEST(SiteMemory, ACapacityBelowTheFloorIsKept) {
  PathSetup path;
  path.provider = Provider::policer;
  path.capacity_mbps = [](double) { return 20.0; };
  const ControlLimits limits{.floor = Rate::mbps(30), .ceiling = Rate::mbps(90), .adapt = true};
  PathSimulator sim(path, limits, 60);
  sim.run_for(20);
  ASSERT_EQ(sim.decision().rate, limits.floor);
  ASSERT_TRUE(sim.memory().capacity);
  EXPECT_EQ(start_of(limits, Rate::mbps(60), std::nullopt, sim.memory()).rate, limits.floor);
}

}  // namespace
}  // namespace weir::test
