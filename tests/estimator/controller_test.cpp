// The control law's pieces: the sequential test, the window, and single decisions on hand-made evidence.
#include "estimator/controller.hpp"

#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "estimator/control_constants.hpp"
#include "estimator/control_window.hpp"
#include "estimator/known_capacity.hpp"
#include "estimator/loss_test.hpp"

#include "path_simulator.hpp"

namespace weir::control {
namespace {

using test::at;
using test::kUsualLimits;

TEST(LossTest, CleanCohortsNeverFire) {
  LossTest test;
  for (int i = 0; i < 10'000; ++i) test.add(0, 400, 0);
  EXPECT_EQ(test.evidence(), 0.0);
  EXPECT_FALSE(test.fires());
}

TEST(LossTest, CongestionFiresWithinACohortOrTwo) {
  LossTest test;
  test.add(40, 400, 10);
  test.add(40, 400, 10);
  EXPECT_TRUE(test.fires());
}

TEST(LossTest, FewPacketsCannotMoveIt) {
  LossTest test;
  for (int i = 0; i < 5; ++i) test.add(1, 3, 1);
  EXPECT_FALSE(test.fires());
}

TEST(LossTest, ALearntFloorMutesLossOfThatSizeAndExpires) {
  LossTest test;
  test.set_floor(0.02, at(0));
  for (int i = 0; i < 1000; ++i) test.add(8, 400, 8);
  EXPECT_FALSE(test.fires());
  test.expire(at(601));
  for (int i = 0; i < 1000; ++i) test.add(8, 400, 8);
  EXPECT_TRUE(test.fires());
}

TEST(LossTest, LearnsThatLossesComeOneByOne) {
  LossTest test;
  EXPECT_EQ(test.dispersion(), kInitialDispersion) << "until they are known they come in bursts";
  for (int i = 0; i <= 600; ++i) {
    test.add(i % 2 == 0 ? 1 : 0, 400, i % 2 == 0 ? 1 : 0);
    test.learn(i % 2 == 0 ? 1 : 0, 400, at(i * 0.1));
  }
  EXPECT_NEAR(test.dispersion(), 1.0, 0.5);
}

TEST(LossTest, LossesApartActSoonerThanAsManyInOneEvent) {
  LossTest apart;
  LossTest burst;
  for (int i = 0; i < 3; ++i) {
    apart.add(5, 160, 5);
    burst.add(5, 160, i == 0 ? 1 : 0);
  }
  EXPECT_TRUE(apart.fires());
  EXPECT_FALSE(burst.fires());
}

TEST(LossTest, LearnsThatLossesComeInBursts) {
  LossTest test;
  for (int i = 0; i <= 600; ++i) {
    test.add(i % 20 == 0 ? 10 : 0, 400, i % 20 == 0 ? 1 : 0);
    test.learn(i % 20 == 0 ? 10 : 0, 400, at(i * 0.1));
  }
  EXPECT_NEAR(test.dispersion(), 9.7, 0.5);
}

TEST(Statistics, WilsonsBoundsMatchTheTextbook) {
  EXPECT_NEAR(wilson_upper(10, 100, 1.96), 0.1744,
              0.0005);  // Agresti & Coull 1998: 10 of 100 -> [0.055, 0.174]
  EXPECT_EQ(wilson_upper(0, 0, 1.96), 1.0);
  EXPECT_NEAR(wilson_lower(10, 100, 1.96), 0.0552, 0.0001);
  EXPECT_EQ(wilson_lower(0, 0, 1.96), 0.0);
  EXPECT_NEAR(wilson_lower(0, 50, 1.96), 0.0, 1e-12);
}

TEST(Statistics, PoissonTailMatchesTheTextbook) {
  EXPECT_DOUBLE_EQ(poisson_tail(0, 3.0), 1.0);
  EXPECT_NEAR(poisson_tail(1, 1.0), 0.6321, 0.0001);
  EXPECT_NEAR(poisson_tail(5, 2.0), 0.0527, 0.0001);
  EXPECT_NEAR(poisson_tail(1000, 1000.0), 0.5, 0.02);
}

/// Sent evenly at `mbps`, and lost evenly.
Cohort cohort(double begin, std::uint32_t segments, std::uint32_t lost, double mbps = 90) {
  Cohort c;
  c.begin = at(begin);
  c.segments = segments;
  c.lost_beyond = lost;
  const auto share = [](double whole, std::size_t i) {
    const double each = whole / kSlotsPerCohort;
    return static_cast<std::uint16_t>(std::floor(each * static_cast<double>(i + 1)) -
                                      std::floor(each * static_cast<double>(i)));
  };
  for (std::size_t i = 0; i < kSlotsPerCohort; ++i) {
    Slot slot{.bytes = static_cast<std::uint32_t>(mbps * 1e6 / 8 * 0.002),
              .sent = share(segments, i),
              .lost = share(lost, i)};
    slot.delivered = static_cast<std::uint16_t>(slot.sent - slot.lost);
    c.slots.push_back(slot);
  }
  return c;
}

/// A tick of 100 ms that ends at `end`.
ControlInput tick(double end, double sent_mbps, std::vector<Cohort> mature = {}) {
  ControlInput input;
  input.measured.at = at(end);
  input.measured.interval = std::chrono::milliseconds(100);
  input.measured.mature = std::move(mature);
  input.sent = Rate::bps(static_cast<std::uint64_t>(sent_mbps * 1e6));
  input.measured.sent = input.measured.sent_tcp = input.sent.in(input.measured.interval);
  return input;
}

/// What a policer lets through of a load that comes at `offered_mbps` in the slots for which `sends` is true:
/// `kDepthBits` at most at once, refilled at `limit_mbps`.
Cohort policed(
    double begin, double offered_mbps, double limit_mbps, double& tokens,
    const std::function<bool(std::size_t)>& sends = [](std::size_t) { return true; }) {
  constexpr double kDepthBits = 400e3;
  constexpr double kPacketBits = 8'000;
  constexpr double kSlotSeconds = 0.002;
  Cohort c;
  c.begin = at(begin);
  c.slots.resize(kSlotsPerCohort);
  double due = 0;
  for (std::size_t i = 0; i < kSlotsPerCohort; ++i) {
    tokens = std::min(tokens + limit_mbps * 1e6 * kSlotSeconds, kDepthBits);
    if (!sends(i)) continue;
    Slot& slot = c.slots[i];
    for (due += offered_mbps * 1e6 * kSlotSeconds; due >= kPacketBits; due -= kPacketBits) {
      slot.bytes += 1000;
      ++slot.sent;
      const bool passes = tokens >= kPacketBits;
      if (passes) tokens -= kPacketBits;
      ++(passes ? slot.delivered : slot.lost);
    }
    c.segments += slot.sent;
    c.lost_beyond += slot.lost;
  }
  return c;
}

void add(ControlWindow& window, const ControlInput& input, TimePoint now) {
  window.add(input, input.measured.queue, now);
}

std::optional<Capacity> capacity_of(std::vector<Cohort> cohorts) {
  ControlWindow w;
  add(w, tick(1.0, 0, std::move(cohorts)), at(1.0));
  return w.policed_capacity(at(0), at(1));
}

TEST(Window, AfterALossThePolicersRatePasses) {
  double full = 400e3;
  const auto c = capacity_of({policed(0.0, 80, 40, full), policed(0.1, 80, 40, full)});
  ASSERT_TRUE(c);
  EXPECT_NEAR(c->rate.mbps(), 40, 0.4) << "the full bucket at the start must not count";
  EXPECT_LT(c->relative_error, 0.03);
}

TEST(Window, SendersThatFellSilentLeaveThePolicersRateVisible) {
  double empty = 0;
  const auto c = capacity_of({policed(0.0, 200, 40, empty, [](std::size_t slot) { return slot < 20; }),
                              policed(0.1, 200, 40, empty, [](std::size_t) { return false; }),
                              policed(0.2, 200, 40, empty, [](std::size_t slot) { return slot > 45; })});
  ASSERT_TRUE(c);
  EXPECT_NEAR(c->rate.mbps(), 40, 2);
  EXPECT_GT(c->relative_error, 0.05) << "40 ms are all that was seen of the limit";
}

// Near senders lose everything within ten milliseconds and wait for their timers: over the silence hardly
// anything passed.
TEST(Window, TheSilenceAfterACollapseIsNotTheRate) {
  double tokens = 0;
  const auto burst = [](std::size_t slot) { return slot < 5; };
  const auto silence = [](std::size_t) { return false; };
  std::vector<Cohort> cohorts;
  for (int i = 0; i < 8; ++i) {
    if (i % 2 == 0) {
      cohorts.push_back(policed(0.1 * i, 300, 40, tokens, burst));
    } else {
      cohorts.push_back(policed(0.1 * i, 300, 40, tokens, silence));
    }
  }
  const auto c = capacity_of(cohorts);
  ASSERT_TRUE(c);
  EXPECT_NEAR(c->rate.mbps(), 40, 8);
  EXPECT_GT(c->relative_error, 0.2);
}

// A path that stands still and then hands over all at once loses a burst; what passes clean after it shows
// that the limit is not where the burst was cut.
TEST(Window, WhatPassesCleanAfterALossIsUnderTheLimit) {
  Cohort c = cohort(0.0, 700, 0, 70);
  for (std::size_t i = 10; i < 14; ++i) {
    c.slots[i].lost = c.slots[i].delivered;
    c.slots[i].delivered = 0;
  }
  const auto found = capacity_of({c, cohort(0.1, 700, 0, 70)});
  ASSERT_TRUE(found);
  EXPECT_NEAR(found->rate.mbps(), 70, 2);
}

TEST(Window, ALossAtTheVeryEndTellsNoRate) {
  double empty = 0;
  EXPECT_FALSE(capacity_of({policed(0.0, 200, 40, empty, [](std::size_t slot) { return slot > 46; })}));
}

TEST(Known, ANewFigureRefinesWhatItAgreesWithAndReplacesWhatItContradicts) {
  KnownCapacity known;
  const Capacity noisy{.rate = Rate::mbps(42), .relative_error = 0.05, .measured = at(2)};
  EXPECT_FALSE(known.agrees(noisy, at(2)));
  EXPECT_EQ(known.refined(noisy, at(2)).rate, Rate::mbps(42)) << "nothing was known";

  known.learn({.rate = Rate::mbps(45), .relative_error = 0.01, .measured = at(1)});
  EXPECT_TRUE(known.agrees(noisy, at(2)));
  EXPECT_NEAR(known.refined(noisy, at(2)).rate.mbps(), 44.88, 0.02);
  EXPECT_LT(known.refined(noisy, at(2)).relative_error, 0.0103);
  EXPECT_NEAR(known.refined(noisy, at(600)).rate.mbps(), 43.2, 0.1) << "what is known ages";
  EXPECT_FALSE(known.agrees({.rate = Rate::mbps(22), .relative_error = 0.05, .measured = at(9999)}, at(9999)))
      << "but not to the point where everything agrees";

  const Capacity halved{.rate = Rate::mbps(22), .relative_error = 0.05, .measured = at(2)};
  EXPECT_FALSE(known.agrees(halved, at(2)));
  EXPECT_EQ(known.refined(halved, at(2)).rate, Rate::mbps(22));
}

TEST(Window, CapacityIsUnknownWithoutLossOrQueue) {
  ControlWindow w;
  add(w, tick(0.1, 80, {cohort(0.0, 700, 0)}), at(0.1));
  EXPECT_FALSE(w.policed_capacity(at(0), at(1)));
  EXPECT_FALSE(w.buffered_capacity(at(0), std::chrono::milliseconds(3)));
}

TEST(Window, DemandNeedsTheWholeSpan) {
  ControlWindow w;
  for (int i = 1; i <= 4; ++i) add(w, tick(0.1 * i, 50), at(0.1 * i));
  EXPECT_FALSE(w.demand(Rate::mbps(50), 0.95, std::chrono::milliseconds(500), at(0.4)));
  for (int i = 5; i <= 6; ++i) add(w, tick(0.1 * i, 50), at(0.1 * i));
  EXPECT_TRUE(w.demand(Rate::mbps(50), 0.95, std::chrono::milliseconds(500), at(0.6)));
  add(w, tick(0.7, 5), at(0.7));
  EXPECT_FALSE(w.demand(Rate::mbps(50), 0.95, std::chrono::milliseconds(500), at(0.7)));
}

TEST(Decisions, AVoidTickIsNoEvidence) {
  SiteController c(kUsualLimits, Rate::mbps(100), at(0));
  for (int i = 1; i <= 50; ++i) {
    ControlInput input = tick(0.1 * i, 90, {cohort(0.1 * (i - 1), 700, 300)});
    input.measured.valid = false;
    EXPECT_FALSE(c.step(input, at(0.1 * i)).changed);
  }
}

TEST(Decisions, CohortsSentBeforeTheLastChangeAreNoEvidence) {
  SiteController c(kUsualLimits, Rate::mbps(100), at(0));
  int cuts = 0;
  for (int i = 1; i <= 40; ++i) {
    // Losses that were sent in the first second keep maturing: one cut is right, a second would be for the
    // same loss.
    const double sent_at = std::min(0.1 * (i - 1), 0.9);
    if (c.step(tick(0.1 * i, 90, {cohort(sent_at, 700, 300)}), at(0.1 * i)).changed) ++cuts;
  }
  EXPECT_EQ(cuts, 1);
}

TEST(Decisions, SaysWhyInNumbers) {
  SiteController c(kUsualLimits, Rate::mbps(100), at(0));
  std::string reason;
  for (int i = 1; i <= 10 && reason.empty(); ++i) {
    const RateDecision& d = c.step(tick(0.1 * i, 90, {cohort(0.1 * (i - 1), 700, 350)}), at(0.1 * i));
    if (d.changed) reason = d.reason;
  }
  EXPECT_NE(reason.find("50.00 % of"), std::string::npos) << reason;
  EXPECT_NE(reason.find("44.1 Mbit/s, -56 %"), std::string::npos) << reason;
}

TEST(Decisions, NewLimitsClampAtOnce) {
  SiteController c(kUsualLimits, Rate::mbps(100), at(0));
  c.set_limits({.floor = Rate::mbps(10), .ceiling = Rate::mbps(60), .adapt = true}, at(1));
  EXPECT_EQ(c.decision().rate, Rate::mbps(60));
  c.set_limits({.floor = Rate::mbps(80), .ceiling = Rate::mbps(200), .adapt = true}, at(2));
  EXPECT_EQ(c.decision().rate, Rate::mbps(80));
  c.set_limits({.floor = Rate::mbps(10), .ceiling = Rate::mbps(50), .adapt = false}, at(3));
  EXPECT_EQ(c.decision().rate, Rate::mbps(50)) << "a rate that nobody adapts keeps within the limits, too";
}

}  // namespace
}  // namespace weir::control
