// The control law closed over a modelled path whose truth is known.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "path_simulator.hpp"

namespace weir::test {
namespace {

struct Case {
  Provider provider;
  double rtt_s;
  double start_mbps;
  double capacity_mbps;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << (c.provider == Provider::policer ? "policer" : "buffer") << " rtt " << c.rtt_s << " start "
       << c.start_mbps << " capacity " << c.capacity_mbps;
}

class ClosedLoop : public testing::TestWithParam<Case> {};

TEST_P(ClosedLoop, FindsTheCapacityStaysAndFollows) {
  const Case c = GetParam();
  PathSetup path;
  path.provider = c.provider;
  path.rtt_s = c.rtt_s;
  path.capacity_mbps = [c](double t) { return t >= 80 && t < 120 ? 2 * c.capacity_mbps : c.capacity_mbps; };
  PathSimulator sim(path, kUsualLimits, c.start_mbps);
  sim.run_for(135);

  const auto found = sim.settles(0, 0.10, 60);
  ASSERT_TRUE(found) << "never within 10 % for 60 s";
  EXPECT_LE(*found, c.start_mbps > c.capacity_mbps ? 10 : 20);
  EXPECT_GE(sim.utilisation(*found, 80), 0.95);
  EXPECT_LE(sim.loss(*found, 80), 0.005);
  EXPECT_LE(sim.queue_ms_percentile(*found, 80, 0.99), 10);
  const auto doubled = sim.settles(80, 0.10, 5);
  ASSERT_TRUE(doubled);
  EXPECT_LE(*doubled, 30);
  const auto halved = sim.settles(120, 0.10, 5);
  ASSERT_TRUE(halved);
  EXPECT_LE(*halved, 3);
}

INSTANTIATE_TEST_SUITE_P(
    Paths, ClosedLoop,
    testing::Values(Case{Provider::policer, 0.0003, 300, 25}, Case{Provider::policer, 0.030, 300, 45},
                    Case{Provider::policer, 0.0003, 12, 45}, Case{Provider::policer, 0.030, 12, 80},
                    Case{Provider::buffer, 0.0003, 300, 80}, Case{Provider::buffer, 0.030, 300, 25},
                    Case{Provider::buffer, 0.0003, 12, 45}, Case{Provider::buffer, 0.030, 12, 45}));

// In the middle of a hold, of a probe's clean rounds, of its lossy one: nobody tells the provider when to
// change.
TEST(ClosedLoop, FollowsAHalvingInWhateverStateItComes) {
  for (const Provider provider : {Provider::policer, Provider::buffer}) {
    for (int i = 0; i < 12; ++i) {
      const double halved = 20 + 0.37 * i;
      PathSetup path;
      path.provider = provider;
      path.capacity_mbps = [halved](double t) { return t < halved ? 140.0 : 70.0; };
      PathSimulator sim(path, kUsualLimits, 120);
      sim.run_for(halved + 9);
      const auto found = sim.settles(halved, 0.10, 5);
      ASSERT_TRUE(found) << sim.decision().reason << ", halved at " << halved;
      EXPECT_LE(*found, 3) << "halved at " << halved;
    }
  }
}

TEST(ControllerGuards, RandomLossNeverRatchetsTheRateDown) {
  for (const double loss : {0.001, 0.01, 0.06}) {
    PathSetup path;
    path.capacity_mbps = [](double) { return 1000.0; };
    path.random_loss = loss;
    path.demand_mbps = 40;
    PathSimulator sim(path, kUsualLimits, 100);
    sim.run_for(120);
    EXPECT_GE(sim.decision().rate, Rate::mbps(95)) << "at random loss " << loss;
    EXPECT_LE(sim.rate_cuts(0, 120), loss > 0.05 ? 6 : 2)
        << "more than 5 % is congestion until six cuts did not help";
  }
}

TEST(ControllerGuards, HarmlessLossInBurstsIsNotCongestion) {
  PathSetup path;
  path.capacity_mbps = [](double) { return 1000.0; };
  path.random_loss = 0.001;
  path.loss_burst = 10;
  path.demand_mbps = 40;
  PathSimulator sim(path, kUsualLimits, 100);
  sim.run_for(300);
  EXPECT_LE(sim.rate_cuts(0, 300), 1);
  EXPECT_GE(sim.decision().rate, Rate::mbps(95));
}

TEST(ControllerGuards, LossOfOurOwnHostNeverLowersTheRate) {
  PathSetup path;
  path.capacity_mbps = [](double) { return 1000.0; };
  path.local_loss = 0.01;
  path.demand_mbps = 60;
  PathSimulator sim(path, kUsualLimits, 100);
  sim.run_for(60);
  EXPECT_EQ(sim.rate_cuts(0, 60), 0);
  EXPECT_GT(sim.decision().loss_before, 0.005) << "the test lost nothing: it proves nothing";
}

TEST(ControllerGuards, AnOutageIsNotCongestion) {
  PathSetup path;
  path.silent = [](double t) { return t > 40 && t < 50; };
  PathSimulator sim(path, kUsualLimits, 45);
  sim.run_for(39);
  const Rate before = sim.decision().rate;
  sim.run_for(10);
  EXPECT_EQ(sim.decision().state, ControlState::outage);
  EXPECT_GE(sim.decision().rate, before * 0.9);
  sim.run_for(10);
  EXPECT_NE(sim.decision().state, ControlState::outage);
  EXPECT_GE(sim.decision().rate, Rate::mbps(40));
}

TEST(ControllerGuards, AForeignQueueIsYieldedToOnlyForAWhile) {
  PathSetup path;
  path.capacity_mbps = [](double) { return 100.0; };
  path.demand_mbps = 50;
  path.foreign_queue_s = [](double t) { return t > 20 ? 0.05 + 0.01 * std::sin(t * 9) : 0.0; };
  PathSimulator sim(path, kUsualLimits, 60);
  sim.run_for(60);
  EXPECT_GE(sim.decision().rate, Rate::mbps(45)) << sim.decision().reason;
}

TEST(ControllerGuards, AMomentsStallOfThePathIsNoNewCapacity) {
  for (const Provider provider : {Provider::policer, Provider::buffer}) {
    for (int i = 0; i < 10; ++i) {
      const double stall = 40 + 0.9 * i;
      PathSetup path;
      path.provider = provider;
      path.stalled = [stall](double t) { return t > stall && t < stall + 0.04; };
      PathSimulator sim(path, kUsualLimits, 300);
      sim.run_for(60);
      if (provider == Provider::policer) {
        EXPECT_GT(sim.loss(stall - 0.1, stall + 0.2), 0.02) << "the stall cost nothing: this proves nothing";
      } else {
        EXPECT_GE(sim.queue_ms_percentile(stall, stall + 0.3, 0.99), 30) << "the stall made no queue";
        EXPECT_LE(sim.queue_ms_percentile(stall + 2, 60, 0.99), 10);
      }
      for (const TraceTick& t : sim.trace()) {
        if (t.at < 39) continue;
        ASSERT_NEAR(t.shaped_mbps, 45, 4.5) << "at " << t.at << ", stall at " << stall;
      }
    }
  }
}

TEST(ControllerGuards, TheQueueOfAStallIsDrainedFromTheFirstTickThatShowsIt) {
  std::ptrdiff_t high = 0;
  for (int i = 0; i < 10; ++i) {
    const double stall = 40 + 0.93 * i;
    PathSetup path;
    path.stalled = [stall](double t) { return t > stall && t < stall + 0.04; };
    PathSimulator sim(path, kUsualLimits, 300);
    sim.run_for(60);
    high += std::count_if(sim.trace().begin(), sim.trace().end(), [&](const TraceTick& t) {
      return t.at >= stall && t.at < stall + 3 && t.queue_ms > 10;
    });
  }
  EXPECT_GE(high, 10) << "the stalls made no queue";
  EXPECT_LE(high, 45)
      << "ticks above 10 ms: 30 ms of queue at 7 % less take four, waiting for more evidence one each";
}

// A capacity is known, but policy held the rate far under it when the path fell: what was known is no reason
// to send more into a queue.
TEST(ControllerGuards, AQueueFarUnderTheKnownCapacityNeverRaisesTheRate) {
  PathSetup path;
  path.capacity_mbps = [](double t) { return t < 40 ? 100.0 : 30.0; };
  PathSimulator sim(path, kUsualLimits, 300);
  sim.run_for(39.5);
  ASSERT_TRUE(sim.decision().capacity);
  sim.set_limits({.floor = kUsualLimits.floor, .ceiling = Rate::mbps(50), .adapt = true});
  sim.set_limits(kUsualLimits);
  ASSERT_EQ(sim.decision().rate, Rate::mbps(50));
  sim.run_for(3);
  for (const TraceTick& t : sim.trace()) {
    if (t.at > 40.2) {
      ASSERT_LE(t.shaped_mbps, 53) << "at " << t.at << ": " << sim.decision().reason;
    }
  }
  EXPECT_NEAR(sim.decision().rate.mbps(), 30, 3);
}

// A site whose connections are all left out by an overloaded capture shows no loss, whatever it loses.
TEST(ControllerGuards, NothingIsRaisedWhileTheCaptureLeavesConnectionsOut) {
  PathSimulator sim({}, kUsualLimits, 30);  // of 45: it would rise at once
  sim.follow_one_in(64);
  sim.run_for(20);
  for (const TraceTick& t : sim.trace()) ASSERT_LE(t.shaped_mbps, 30) << "at " << t.at;
  sim.follow_one_in(1);
  sim.run_for(20);
  EXPECT_GE(sim.decision().rate, Rate::mbps(40)) << "with all of them followed again it goes on";
}

TEST(ControllerGuards, AProbeEndsWhereItBeganWhenTheCaptureFallsBehind) {
  PathSimulator sim({}, kUsualLimits, 20);
  while (sim.decision().state != ControlState::probe) sim.run_for(0.1);
  const double raised = sim.decision().rate.mbps();
  sim.follow_one_in(2);
  sim.run_for(0.3);
  EXPECT_EQ(sim.decision().state, ControlState::hold);
  EXPECT_LT(sim.decision().rate.mbps(), raised);
}

TEST(ControllerGuards, TheFloorHoldsWhateverThePathDoes) {
  PathSetup path;
  path.provider = Provider::policer;
  path.capacity_mbps = [](double) { return 4.0; };
  PathSimulator sim(path, kUsualLimits, 100);
  sim.run_for(60);
  for (const TraceTick& t : sim.trace()) {
    EXPECT_GE(t.shaped_mbps, 10.0);
    if (t.at < 5) continue;
    // Nothing can be cut any more, and that is no sign that the loss does not answer to the rate.
    EXPECT_LE(t.shaped_mbps, 12.0) << "at " << t.at;
  }
}

TEST(ControllerGuards, ASmallLimitIsFoundToo) {
  PathSetup path;
  path.provider = Provider::policer;
  path.capacity_mbps = [](double) { return 1.0; };
  path.bucket_s = 0.05;
  path.flows = 2;
  PathSimulator sim(path, {Rate::kbps(100), Rate::mbps(20), true}, 2);
  sim.run_for(90);
  EXPECT_LE(sim.loss(30, 90), 0.03) << sim.decision().reason;
  EXPECT_GE(sim.utilisation(30, 90), 0.8);
}

// A site that sends a fifth of its rate is hit once by somebody else's burst: its rate has nothing to do with
// it.
TEST(ControllerGuards, OneBurstOfLossAtASiteThatSendsLittleIsNoLimit) {
  PathSetup path;
  path.provider = Provider::policer;
  path.capacity_mbps = [](double t) { return t < 30 ? 102.0 : t > 40 && t < 40.1 ? 4.0 : 1000.0; };
  path.demand_mbps = 1e9;
  PathSimulator sim(path, kUsualLimits, 100);
  sim.run_for(29);
  sim.set_demand(20);
  sim.run_for(10);
  const Rate before = sim.decision().rate;
  sim.run_for(20);
  EXPECT_GT(sim.loss(39.9, 40.3), 0.1) << "nothing was lost: this proves nothing";
  EXPECT_GE(sim.decision().rate, before * 0.95) << sim.decision().reason;
}

TEST(ControllerGuards, TheCeilingHoldsWhateverThePathCarries) {
  PathSetup path;
  path.capacity_mbps = [](double) { return 200.0; };
  PathSimulator sim(path, {Rate::mbps(10), Rate::mbps(60), true}, 50);
  sim.run_for(30);
  EXPECT_EQ(sim.decision().rate, Rate::mbps(60));
  for (const TraceTick& t : sim.trace()) EXPECT_LE(t.shaped_mbps, 60.0);
}

TEST(ControllerGuards, WithoutDemandNothingIsProbed) {
  PathSetup path;
  path.capacity_mbps = [](double) { return 200.0; };
  path.demand_mbps = 10;
  PathSimulator sim(path, kUsualLimits, 50);
  sim.run_for(60);
  EXPECT_EQ(sim.decision().rate, Rate::mbps(50));
}

TEST(ControllerGuards, AtMostOneCutPerRoundTripAndTick) {
  PathSetup path;
  path.provider = Provider::policer;
  path.rtt_s = 0.2;
  path.capacity_mbps = [](double t) { return t < 30 ? 80.0 : 20.0; };
  PathSimulator sim(path, kUsualLimits, 300);
  sim.run_for(60);
  double last_cut = -1;
  const auto& trace = sim.trace();
  for (std::size_t i = 1; i < trace.size(); ++i) {
    if (trace[i].shaped_mbps >= trace[i - 1].shaped_mbps) continue;
    if (last_cut >= 0) {
      EXPECT_GE(trace[i].at - last_cut, 0.2) << "at " << trace[i].at;
    }
    last_cut = trace[i].at;
  }
}

TEST(ControllerGuards, ReplayGivesTheSameDecisions) {
  PathSetup path;
  path.provider = Provider::policer;
  PathSimulator sim(path, kUsualLimits, 300);
  sim.run_for(30);
  SiteController again(kUsualLimits, Rate::mbps(300), TimePoint{});
  std::size_t i = 0;
  for (const ControlInput& input : sim.inputs()) {
    const RateDecision& d = again.step(input, input.measured.at);
    ASSERT_DOUBLE_EQ(d.rate.mbps(), sim.trace()[i++].shaped_mbps);
  }
}

TEST(ControllerGuards, AdaptFalseMeasuresAndHolds) {
  PathSetup path;
  path.provider = Provider::policer;
  PathSimulator sim(path, {Rate::mbps(10), Rate::mbps(500), false}, 60);
  sim.run_for(20);
  for (const TraceTick& t : sim.trace()) ASSERT_EQ(t.shaped_mbps, 60.0);
  ASSERT_TRUE(sim.decision().capacity) << "it is to be measured all the same";
  EXPECT_NEAR(sim.decision().capacity->rate.mbps(), 45, 3);
}

}  // namespace
}  // namespace weir::test
