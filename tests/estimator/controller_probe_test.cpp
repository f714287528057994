// How a probe goes about it: how large its steps are, and how soon the next one follows.
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "controller_ticks.hpp"

namespace weir::test {
namespace {

struct Change {
  double at;
  double ratio;  ///< new rate to the one before
  std::string why;
};

std::vector<Change> changes(PolicedSite& site, double seconds) {
  std::vector<Change> found;
  for (const double until = site.now + seconds; site.now < until;) {
    const Rate before = site.controller.decision().rate;
    const RateDecision& d = site.step();
    if (d.changed) found.push_back({site.now, d.rate / before, d.reason});
  }
  return found;
}

/// Knows the limit of 40 Mbit/s well, and probes it now and then.
PolicedSite settled_at_40() {
  PolicedSite site(39);
  while (site.now < 25) static_cast<void>(site.step());
  return site;
}

TEST(ControllerProbe, WhereNoLimitWasEverSeenTheFirstStepIsLarge) {
  PolicedSite site(10);
  const auto found = changes(site, 3);
  ASSERT_FALSE(found.empty());
  EXPECT_NEAR(found[0].ratio, 1.16, 0.001) << found[0].why;
}

TEST(ControllerProbe, AKnownLimitIsNotOverrunByALargeStep) {
  PolicedSite site = settled_at_40();
  ASSERT_TRUE(site.controller.decision().capacity);
  for (const Change& c : changes(site, 30)) EXPECT_LE(c.ratio, 1.045) << "at " << c.at << ": " << c.why;
}

// A round of a second just above it went through clean: the bucket would be empty, so the limit is gone.
TEST(ControllerProbe, OncePastTheKnownLimitTheStepsGrowAtOnce) {
  PolicedSite site = settled_at_40();
  site.limit_mbps = 400;
  bool just_past = false;  // a step of less than 4 %
  for (const Change& c : changes(site, 20)) {
    if (just_past) {
      EXPECT_NEAR(c.ratio, 1.08, 0.001) << c.why;
      return;
    }
    just_past = c.ratio > 1.0 && c.ratio < 1.035;
  }
  FAIL() << "never just past the limit that was known: " << site.controller.decision().reason;
}

TEST(ControllerProbe, ARunThatEndedForWantOfDemandAboveTheKnownLimitIsGoneOnWith) {
  PolicedSite site = settled_at_40();
  site.limit_mbps = 400;
  site.demand_mbps = 60;
  bool ended = false;
  for (int i = 0; i < 300 && !ended; ++i)
    ended = site.step().reason.find("does not send more") != std::string::npos;
  ASSERT_TRUE(ended) << site.controller.decision().reason;
  ASSERT_GT(site.controller.decision().rate.mbps(), 45);
  site.demand_mbps = 1e4;
  const auto found = changes(site, 3);
  ASSERT_FALSE(found.empty());
  EXPECT_NEAR(found[0].ratio, 1.16, 0.001) << found[0].why;
}

// One connection over a long RTT: it would run into our own queue again and again.
TEST(ControllerProbe, WhereNoLimitIsKnownARateThatIsNotUsedYetStays) {
  PolicedSite site(10);
  site.demand_mbps = 10.2;
  const auto found = changes(site, 6);
  ASSERT_FALSE(found.empty());
  for (const Change& c : found) EXPECT_GE(c.ratio, 1.0) << c.why;
  EXPECT_NEAR(site.controller.decision().rate.mbps(), 11.6, 0.01);
}

// It would fill the last tenth only to lose packets to our own leaf.
TEST(ControllerProbe, WhereNoLimitIsKnownNineTenthsOfARateAreUseEnoughForAStepMore) {
  PolicedSite site(10);
  for (const double until = site.now + 6; site.now < until; site.step())
    site.demand_mbps = std::max(10.0, 0.92 * site.controller.decision().rate.mbps());
  EXPECT_GT(site.controller.decision().rate.mbps(), 20);

  PolicedSite known = settled_at_40();
  const double before = known.controller.decision().rate.mbps();
  known.limit_mbps = 400;
  for (const double until = known.now + 20; known.now < until; known.step())
    known.demand_mbps = std::max(before, 0.92 * known.controller.decision().rate.mbps());
  EXPECT_LT(known.controller.decision().rate.mbps(), 1.1 * before);
}

TEST(ControllerProbe, IsPatientWhileTheSendersSendMoreAndMore) {
  PolicedSite site = settled_at_40();
  site.demand_mbps = 39.5;
  site.limit_mbps = 400;
  bool probing = false;
  for (const double until = site.now + 20; site.now < until; site.demand_mbps *= 1.008) {
    const RateDecision& d = site.step();
    probing = probing || d.rate > Rate::mbps(60);
    if (d.changed) {
      EXPECT_EQ(d.reason.find("does not send more"), std::string::npos) << d.reason;
    }
  }
  EXPECT_TRUE(probing);
}

// Far above the known limit all that was tried came through: it is no measure of a limit, and no reason to
// wait.
TEST(ControllerProbe, ALossByChanceFarAboveTheKnownLimitStopsNoClimb) {
  PolicedSite site = settled_at_40();
  const double known = site.controller.decision().capacity->rate.mbps();
  site.limit_mbps = 400;
  for (int i = 0; i < 300 && site.controller.decision().rate.mbps() < 60; ++i) site.step();
  ASSERT_GE(site.controller.decision().rate.mbps(), 60);
  site.by_chance = 3;
  for (int i = 0; i < 10 && site.step().reason.find("met loss") == std::string::npos; ++i) {
  }
  site.by_chance = 0;
  ASSERT_NE(site.controller.decision().reason.find("met loss"), std::string::npos)
      << site.controller.decision().reason;
  const auto found = changes(site, 1.5);
  ASSERT_GE(found.size(), 2U);
  EXPECT_NE(found[0].why.find("by chance"), std::string::npos) << found[0].why;
  EXPECT_NEAR(found[1].ratio, 1.16, 0.001) << found[1].why;
  EXPECT_NEAR(site.controller.decision().capacity->rate.mbps(), known, 0.1);
}

// Just past the known limit one is lost at once, and for a fifth of a second all the rest comes through.
TEST(ControllerProbe, ALossByChanceJustPastTheKnownLimitIsTriedAgainSoon) {
  PolicedSite site = settled_at_40();
  site.limit_mbps = 400;
  while (site.now < 60 && site.controller.decision().state != ControlState::probe) site.step();
  ASSERT_EQ(site.controller.decision().state, ControlState::probe);
  const double mbps = 1.001 * site.controller.decision().rate.mbps();
  ASSERT_LT(mbps, 42);
  ControlInput first = tick(site.now + 0.1, mbps, 340, 0);
  ControlInput second = tick(site.now + 0.2, mbps, 340, 0);
  Cohort& lossy = first.measured.mature[0];
  lossy.lost_beyond = 1;
  lossy.slots[0].lost = 1;
  lossy.slots[0].delivered = static_cast<std::uint16_t>(lossy.slots[0].sent - 1);
  std::swap(first.measured.mature, second.measured.mature);
  second.measured.mature.push_back(first.measured.mature[0]);
  first.measured.mature.clear();
  static_cast<void>(site.controller.step(first, at(site.now + 0.1)));
  const RateDecision aborted = site.controller.step(second, at(site.now + 0.2));
  site.now += 0.2;
  ASSERT_NE(aborted.reason.find("met loss"), std::string::npos) << aborted.reason;
  const auto found = changes(site, 3);
  ASSERT_GE(found.size(), 2U) << site.controller.decision().reason;
  EXPECT_NE(found[0].why.find("by chance"), std::string::npos) << found[0].why;
  EXPECT_NE(found[1].why.find("probing"), std::string::npos) << found[1].why;
}

// Random losses come in bursts on most paths: a burst is as likely as one loss.
TEST(ControllerProbe, APairLostByChanceIsNoMoreThanOneLoss) {
  PolicedSite site = settled_at_40();
  site.in_one_burst = true;
  for (int i = 0; i < 600; ++i) {
    site.by_chance = i % 20 == 0 ? 2 : 0;  // 0.03 %
    static_cast<void>(site.step());
  }
  site.limit_mbps = 400;
  // One such pair in every round: the first tick after each step.
  const double since = site.now;
  bool raised = false;
  while (site.now < since + 20 && site.controller.decision().rate < Rate::mbps(100)) {
    site.by_chance = raised ? 2 : 0;
    const Rate before = site.controller.decision().rate;
    const RateDecision& d = site.step();
    raised = d.rate > before;
    EXPECT_GE(d.rate, before) << d.reason;
  }
  EXPECT_GE(site.controller.decision().rate, Rate::mbps(100));
}

// Of events there are ten in a cohort at the most, fewer than what is usual there.
TEST(ControllerProbe, WhereLossIsUsualItsNumberTellsThatALimitIsOverrun) {
  PolicedSite site(300);
  site.limit_mbps = 1e4;
  while (site.now < 60) {
    site.by_chance = static_cast<std::uint32_t>(site.controller.decision().rate.mbps() * 0.08);  // 1 %
    site.demand_mbps = 300;
    site.step();
  }
  ASSERT_EQ(site.controller.decision().mode, PathMode::lossy) << site.controller.decision().reason;
  site.limit_mbps = 330;
  site.demand_mbps = 1e4;
  int over = 0;
  while (site.now < 90) {
    site.by_chance = static_cast<std::uint32_t>(site.controller.decision().rate.mbps() * 0.08);
    const RateDecision& d = site.step();
    over += d.rate > Rate::mbps(345) ? 1 : 0;
  }
  EXPECT_LE(over, 20) << "ticks: " << site.controller.decision().reason;
}

// Somewhere between the last clean round and this one there is a limit, if only one loss told it.
TEST(ControllerProbe, AfterALossThatMeasuredNothingTheStepsAreSmall) {
  PolicedSite site(30);
  site.limit_mbps = 400;
  bool lost = false;
  for (int i = 0; i < 100; ++i) {
    const Rate before = site.controller.decision().rate;
    const RateDecision& d = site.step();
    site.by_chance = 0;
    if (!d.changed || d.rate < before) continue;
    if (lost) {
      EXPECT_NEAR(d.rate / before, 1.04, 0.001) << d.reason;
      return;
    }
    EXPECT_NEAR(d.rate / before, 1.16, 0.001) << d.reason;
    site.by_chance = 1;
    lost = true;
  }
  FAIL() << "no second probe";
}

// The bucket is empty for a moment only until the probe ends: what that tells is known better already.
TEST(ControllerProbe, AShortMeasureDoesNotTakeThePlaceOfABetterOne) {
  PolicedSite site = settled_at_40();
  ASSERT_NE(site.controller.decision().reason.find("what exceeded"), std::string::npos);
  const CapacityEstimate known = *site.controller.decision().capacity;
  EXPECT_LT((known.high - known.low) / known.rate, 0.1);
}

TEST(ControllerProbe, AfterProbesThatFindNothingTheWaitsDouble) {
  PolicedSite site(39);
  std::vector<double> waits;
  double settled = 0;
  for (const Change& c : changes(site, 90)) {
    if (c.why.find("probing") != std::string::npos && settled > 0 && c.at - settled > 1.1)
      waits.push_back(c.at - settled);
    settled = c.at;
  }
  // A cut, and a capacity that falls slowly, have waits of their own.
  const auto first = std::find_if(waits.begin(), waits.end(), [](double wait) { return wait < 2.9; });
  waits.erase(waits.begin(), first);
  ASSERT_GE(waits.size(), 8U);
  // Each is drawn from +-40 %.
  for (std::size_t i = 1; i < waits.size(); ++i) EXPECT_NEAR(waits[i], 4, 1.7) << "wait " << i;
  const double sum = std::accumulate(waits.begin() + 1, waits.end(), 0.0);
  EXPECT_NEAR(sum / static_cast<double>(waits.size() - 1), 4, 0.8);
  const auto [least, most] = std::minmax_element(waits.begin() + 1, waits.end());
  EXPECT_GE(*most - *least, 1.0) << "boxes on one path would probe in step";
}

// Each moment that a round just past the limit goes on costs packets. Cohorts are mature late: their losses
// are told before.
TEST(ControllerProbe, EndsWithTheFirstLossesThatAreTold) {
  PolicedSite site = settled_at_40();
  site.mature_after = 3;
  std::uint64_t lost_before = 0;
  int probes = 0;
  while (site.now < 90) {
    const std::uint64_t all = site.lost_in_all;
    site.step();
    const std::uint64_t lost = site.lost_in_all - all;
    EXPECT_FALSE(lost > 1 && lost_before > 1) << "it goes on at " << site.now;
    probes += lost > 1 ? 1 : 0;
    lost_before = lost;
  }
  EXPECT_GE(probes, 5);
}

// A path that reorders has senders send again what arrives: such losses are taken back until their cohort is
// mature.
TEST(ControllerProbe, LossesThatWereNoneAreWaitedForTheNextTime) {
  PolicedSite site = settled_at_40();
  site.mature_after = 3;
  site.spurious = 5;
  site.limit_mbps = 400;
  while (site.now < 60) site.step();
  EXPECT_GT(site.controller.decision().rate.mbps(), 200) << site.controller.decision().reason;
}

// A fifth of a second's worth of tokens, which fills up whenever the site sends less, would let each run
// climb by 8 and 16 % before anything is lost.
TEST(ControllerProbe, ABucketThatHidTheLimitIsEmptiedByLongRoundsTheNextTime) {
  PolicedSite site(39, 1e6);
  site.mature_after = 2;
  site.exact = true;
  double largest = 0;
  for (int turn = 0; turn < 6; ++turn) {
    site.demand_mbps = 20;
    static_cast<void>(changes(site, 15));
    site.demand_mbps = 1e4;
    const auto found = changes(site, 30);
    const auto met = [](const Change& c) { return c.why.find("what exceeded") != std::string::npos; };
    EXPECT_TRUE(std::any_of(found.begin(), found.end(), met)) << "the limit is still looked for";
    double step = 0;
    for (const Change& c : found) step = std::max(step, c.ratio);
    if (turn == 1) {
      EXPECT_GT(step, 1.07) << "nothing hid the limit: this proves nothing";
    } else if (turn > 2) {
      largest = std::max(largest, step);
    }
  }
  EXPECT_LT(largest, 1.1);
}

// Far beyond a limit all is over in a tenth of a second, which measures little. What many probes found before
// is known better, and a figure that agrees with it is no reason to forget it.
TEST(ControllerProbe, AShortMeasureFarBeyondTheLimitRefinesWhatIsKnown) {
  PolicedSite site(39, 1e6);
  site.mature_after = 2;
  double most = 0;
  int far_runs = 0;
  for (int turn = 0; turn < 6; ++turn) {
    site.demand_mbps = 20;
    static_cast<void>(changes(site, 15));
    site.demand_mbps = 1e4;
    double tried = 0;
    for (const double until = site.now + 30; site.now < until;) {
      const RateDecision& d = site.step();
      if (!d.changed) continue;
      tried = std::max(tried, d.rate.mbps());
      if (d.state != ControlState::hold) continue;
      if (turn > 0 && tried > 46) {
        ++far_runs;
        ASSERT_TRUE(d.capacity) << d.reason;
        most = std::max(most, d.capacity->rate.mbps());
      }
      tried = 0;
    }
  }
  EXPECT_GE(far_runs, 1) << "none went far beyond the limit: this proves nothing";
  EXPECT_LT(most, 42) << "the path carries 40";
}

// At the limit itself a bucket never fills again, and each probe loses from its first packet on.
TEST(ControllerProbe, AProbeThatMeetsTheLimitLeavesTheRateUnderIt) {
  PolicedSite site = settled_at_40();
  site.limit_mbps = site.controller.decision().rate.mbps();
  static_cast<void>(changes(site, 30));
  while (site.controller.decision().state != ControlState::hold) site.step();
  const RateDecision& d = site.controller.decision();
  EXPECT_LT(d.rate.mbps(), site.limit_mbps) << d.reason;
  EXPECT_GE(d.rate.mbps(), 0.96 * site.limit_mbps) << d.reason;
}

}  // namespace
}  // namespace weir::test
