// The control law beside a remote host that tells losses which never were (docs/CONTROLLER.md, "Forged
// feedback"): it moves no rate; and what all lose is found as soon as without the guard.
#include <algorithm>

#include <gtest/gtest.h>

#include "path_simulator.hpp"

namespace weir::test {
namespace {

const ControlLimits kLimits{.floor = Rate::mbps(5), .ceiling = Rate::mbps(500), .adapt = true};

double least_rate(const PathSimulator& sim, double from, double to) {
  double least = 1e9;
  for (const TraceTick& t : sim.trace()) {
    if (t.at >= from && t.at < to) least = std::min(least, t.shaped_mbps);
  }
  return least;
}

/// 45 Mbit/s to 20 remote hosts, then twice as much. From 10 s on one, which has 5 % of the bytes, tells 30 %
/// of loss.
PathSimulator with_liar(Provider provider, bool corroborate) {
  PathSetup path;
  path.provider = provider;
  path.capacity_mbps = [](double t) { return t < 30 ? 45.0 : 90.0; };
  path.flows = 20;
  path.fair_leaves = true;
  path.forged_loss = [](double t) { return t > 10 ? 0.3 : 0.0; };
  path.corroborate = corroborate;
  return {path, kLimits, 40};
}

// Believed, it would have the rate cut for it, and taken for harmless then.
TEST(ControllerForged, LossThatOneOfTwentyTellsAloneMovesNoRate) {
  for (const Provider provider : {Provider::buffer, Provider::policer}) {
    for (const bool corroborate : {true, false}) {
      PathSimulator sim = with_liar(provider, corroborate);
      sim.run_for(60);
      if (corroborate) {
        EXPECT_GT(least_rate(sim, 10, 30), 45 * 0.95) << sim.decision().reason;
        EXPECT_GT(sim.decision().rate.mbps(), 90 * 0.95) << sim.decision().reason;
      } else if (provider == Provider::buffer) {  // what a policer lets through is read from what passed
        EXPECT_LT(least_rate(sim, 10, 30), 45 * 0.9) << "nobody would need the guard: this proves nothing";
      }
    }
  }
}

// A spurious loss is no end of a span either: the limit is read from what others lost.
TEST(ControllerForged, ALimitThatFallsIsFoundBesideALiar) {
  PathSetup path;
  path.provider = Provider::policer;
  path.flows = 20;
  path.fair_leaves = true;
  path.capacity_mbps = [](double t) { return t < 40 ? 45.0 : 22.0; };
  path.forged_loss = [](double t) { return t > 20 ? 0.3 : 0.0; };
  path.corroborate = true;
  PathSimulator sim(path, kLimits, 40);
  sim.run_for(70);
  const auto settled = sim.settles(40, 0.08, 3);
  ASSERT_TRUE(settled) << sim.decision().reason;
  EXPECT_LE(*settled, 2.0);
}

TEST(ControllerForged, WhatAllLoseIsFoundAsSoonAsWithoutTheGuard) {
  for (const Provider provider : {Provider::buffer, Provider::policer}) {
    for (const int flows : {3, 8, 20}) {
      double cut[2];
      for (const bool corroborate : {false, true}) {
        PathSetup path;
        path.provider = provider;
        path.flows = flows;
        path.fair_leaves = true;
        path.capacity_mbps = [](double t) { return t < 30 ? 45.0 : 22.0; };
        path.corroborate = corroborate;
        PathSimulator sim(path, kLimits, 40);
        sim.run_for(30);
        const double before = sim.decision().rate.mbps();
        while (sim.decision().rate.mbps() > before * 0.75) {
          sim.run_for(0.1);
          ASSERT_LT(sim.trace().back().at, 40) << sim.decision().reason;
        }
        cut[corroborate ? 1 : 0] = sim.trace().back().at - 30;
      }
      EXPECT_LE(cut[1], cut[0] + 0.15)
          << (provider == Provider::policer ? "policer, " : "buffer, ") << flows << " remotes";
    }
  }
}

// Host-to-host replication: there is nobody who could bear it out, and what it loses is congestion.
TEST(ControllerForged, ASiteOfTwoHostsIsBelievedInAllItTells) {
  std::uint64_t segments[2];
  std::uint64_t lost[2];
  for (const bool corroborate : {false, true}) {
    PathSetup path;
    path.flows = 2;
    path.forged_loss = [](double t) { return t > 10 ? 0.05 : 0.0; };
    path.corroborate = corroborate;
    PathSimulator sim(path, kLimits, 40);
    sim.run_for(30);
    auto& n = segments[corroborate ? 1 : 0] = 0;
    auto& k = lost[corroborate ? 1 : 0] = 0;
    for (const ControlInput& input : sim.inputs()) {
      for (const Cohort& c : input.measured.mature) {
        n += c.segments;
        k += c.lost_beyond;
      }
    }
  }
  EXPECT_GT(lost[0], segments[0] / 100) << "this proves nothing";
  EXPECT_EQ(lost[1], lost[0]);
  EXPECT_EQ(segments[1], segments[0]);
}

}  // namespace
}  // namespace weir::test
