// Paths that change slowly, become longer, or are shared: what the controller must not take for what it is
// not.
#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include "path_simulator.hpp"

namespace weir {
namespace {

using test::PathSetup;
using test::PathSimulator;
using test::Provider;

constexpr ControlLimits kLimits{.floor = Rate::mbps(5), .ceiling = Rate::mbps(400)};

double sine(double t, double mean, double swing, double period) {
  return mean * (1.0 + swing * std::sin(2 * std::numbers::pi * t / period));
}

TEST(ControllerPaths, AQueueThatCreepsUpUnderAFallingCapacityIsNotTakenForNoise) {
  PathSetup path;
  path.provider = Provider::buffer;
  path.buffer_s = 0.2;
  path.capacity_mbps = [](double t) { return sine(t, 40, 0.2, 60); };
  PathSimulator sim(path, kLimits, 38);
  sim.run_for(240);
  EXPECT_LE(sim.queue_ms_percentile(30, 240, 0.95), 25);
  EXPECT_GE(sim.utilisation(30, 240), 0.93);
}

// Each queue shows it a little lower; a probe half a second later would find what was there before.
TEST(ControllerPaths, ABufferWhoseCapacityFallsSlowlyIsFollowedNotProbed) {
  PathSetup path;
  path.provider = Provider::buffer;
  path.buffer_s = 0.24;
  path.rtt_s = 0.06;
  path.capacity_mbps = [](double t) { return 10.0 * std::exp(-0.012 * std::max(0.0, t - 30)); };
  PathSimulator sim(path, {.floor = Rate::mbps(2), .ceiling = Rate::mbps(20)}, 8);
  sim.run_for(90);
  EXPECT_LE(sim.queue_ms_percentile(30, 90, 0.95), 15);
  EXPECT_GE(sim.utilisation(30, 90), 0.97);
}

TEST(ControllerPaths, APolicersLimitThatFallsSlowlyTeachesNoFloorOfLoss) {
  PathSetup path;
  path.provider = Provider::policer;
  path.capacity_mbps = [](double t) { return sine(t, 40, 0.2, 60); };
  PathSimulator sim(path, kLimits, 38);
  sim.run_for(240);
  EXPECT_LE(sim.loss(30, 240), 0.006);
  EXPECT_GE(sim.utilisation(30, 240), 0.94);
}

// What senders' bursts come to is used less; the same path with our own spacing in front of it is there to
// compare.
TEST(ControllerPaths, APolicerThatSendersBurstsComeToIsLeftMoreRoom) {
  PathSetup path;
  path.provider = Provider::policer;
  path.capacity_mbps = [](double) { return 40.0; };
  ControlLimits limits = kLimits;
  PathSimulator paced(path, limits, 30);
  limits.paced = false;
  PathSimulator unpaced(path, limits, 30);
  paced.run_for(60);
  unpaced.run_for(60);
  EXPECT_GE(paced.utilisation(30, 60), 0.97);
  EXPECT_LE(unpaced.utilisation(30, 60), 0.96) << "probes are a part of it";
  EXPECT_GE(unpaced.utilisation(30, 60), 0.92);
}

TEST(ControllerPaths, ALongerRouteCostsNothingForLongAndAQueueOnItIsSeen) {
  PathSetup path;
  path.provider = Provider::buffer;
  path.buffer_s = 0.2;
  path.capacity_mbps = [](double t) { return t < 90 ? 50.0 : 25.0; };
  path.extra_delay_s = [](double t) { return t < 40 ? 0.0 : 0.060; };
  PathSimulator sim(path, kLimits, 48);
  sim.run_for(120);
  EXPECT_GE(sim.utilisation(40, 90), 0.93) << sim.decision().reason;
  const auto halved = sim.settles(90, 0.10, 5);
  ASSERT_TRUE(halved) << sim.decision().reason;
  EXPECT_LE(*halved, 4);
}

TEST(ControllerPaths, SomebodyElsesQueueIsContendedWithSoonAndLeftWhenItGoes) {
  PathSetup path;
  path.provider = Provider::buffer;
  // It breathes, as queues of TCP do: no longer route.
  path.foreign_queue_s = [](double t) {
    return t < 30 || t > 90 ? 0.0 : 0.080 + 0.030 * std::sin(2 * std::numbers::pi * t / 3);
  };
  PathSimulator sim(path, kLimits, 40);
  sim.run_for(30);
  const double before = sim.decision().rate.mbps();
  sim.run_for(5);
  EXPECT_EQ(sim.decision().state, ControlState::contend) << sim.decision().reason;
  EXPECT_GE(sim.decision().rate.mbps(), 0.9 * before);
  sim.run_for(60);
  EXPECT_EQ(sim.decision().mode, PathMode::buffer);
  EXPECT_NE(sim.decision().state, ControlState::contend) << sim.decision().reason;
  double low = 0;
  for (const auto& tick : sim.trace())
    if (tick.at >= 35 && tick.at < 90 && tick.shaped_mbps < 0.8 * before) low += 0.1;
  EXPECT_LE(low, 6) << "seconds of a minute that its trials cost";
}

}  // namespace
}  // namespace weir
