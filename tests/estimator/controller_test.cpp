// The control law's pieces: the sequential test, the window, and single decisions on hand-made evidence.
#include "estimator/controller.hpp"

#include <gtest/gtest.h>

#include "estimator/control_constants.hpp"
#include "estimator/control_window.hpp"
#include "estimator/loss_test.hpp"

namespace weir::control {
namespace {

TimePoint at(double s) {
  return TimePoint(from_seconds(s));
}

TEST(LossTest, CleanCohortsNeverFire) {
  LossTest test;
  for (int i = 0; i < 10'000; ++i) test.add(0, 400);
  EXPECT_EQ(test.evidence(), 0.0);
  EXPECT_FALSE(test.fires());
}

TEST(LossTest, CongestionFiresWithinACohortOrTwo) {
  LossTest test;
  test.add(40, 400);
  test.add(40, 400);
  EXPECT_TRUE(test.fires());
}

TEST(LossTest, FewPacketsCannotMoveIt) {
  LossTest test;
  for (int i = 0; i < 5; ++i) test.add(1, 3);
  EXPECT_FALSE(test.fires());
}

TEST(LossTest, ALearntFloorMutesLossOfThatSizeAndExpires) {
  LossTest test;
  test.set_floor(0.02, at(0));
  for (int i = 0; i < 1000; ++i) test.add(8, 400);
  EXPECT_FALSE(test.fires());
  test.expire(at(601));
  for (int i = 0; i < 1000; ++i) test.add(8, 400);
  EXPECT_TRUE(test.fires());
}

TEST(LossTest, LearnsThatLossesComeOneByOne) {
  LossTest test;
  for (int i = 0; i <= 600; ++i) test.learn(i % 2 == 0 ? 1 : 0, 400, at(i * 0.1));
  EXPECT_DOUBLE_EQ(test.dispersion(), 1.0);
}

TEST(LossTest, LearnsThatLossesComeInBursts) {
  LossTest test;
  for (int i = 0; i <= 600; ++i) test.learn(i % 20 == 0 ? 10 : 0, 400, at(i * 0.1));
  EXPECT_NEAR(test.dispersion(), 9.5, 0.5);
}

TEST(Statistics, WilsonUpperBoundMatchesTheTextbook) {
  EXPECT_NEAR(wilson_upper(10, 100, 1.96), 0.1744,
              0.0005);  // Agresti & Coull 1998: 10 of 100 -> [0.055, 0.174]
  EXPECT_EQ(wilson_upper(0, 0, 1.96), 1.0);
}

TEST(Statistics, PoissonTailMatchesTheTextbook) {
  EXPECT_DOUBLE_EQ(poisson_tail(0, 3.0), 1.0);
  EXPECT_NEAR(poisson_tail(1, 1.0), 0.6321, 0.0001);
  EXPECT_NEAR(poisson_tail(5, 2.0), 0.0527, 0.0001);
  EXPECT_NEAR(poisson_tail(1000, 1000.0), 0.5, 0.02);
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

TEST(Window, PolicedCapacityLeavesOutTheCohortInWhichTheLossBegan) {
  ControlWindow w;
  w.add(tick(0.1, 80), at(0.1));
  w.add(tick(0.2, 80), at(0.2));
  w.add(tick(0.3, 60, {{at(0.0), 700, 70, 0, {}}, {at(0.1), 700, 350, 0, {}}, {at(0.2), 500, 167, 0, {}}}),
        at(0.3));
  const auto c = w.policed_capacity(at(0), at(1), 0.001);
  ASSERT_TRUE(c);
  EXPECT_NEAR(c->rate.mbps(), 40, 0.5);
}

TEST(Window, CapacityIsUnknownWithoutLossOrQueue) {
  ControlWindow w;
  w.add(tick(0.1, 80, {{at(0.0), 700, 0, 0, {}}}), at(0.1));
  EXPECT_FALSE(w.policed_capacity(at(0), at(1), 0.001));
  EXPECT_FALSE(w.buffered_capacity(at(0), std::chrono::milliseconds(3)));
}

TEST(Window, DemandNeedsTheWholeSpan) {
  ControlWindow w;
  for (int i = 1; i <= 4; ++i) w.add(tick(0.1 * i, 50), at(0.1 * i));
  EXPECT_FALSE(w.demand(Rate::mbps(50), 0.95, std::chrono::milliseconds(500), at(0.4)));
  for (int i = 5; i <= 6; ++i) w.add(tick(0.1 * i, 50), at(0.1 * i));
  EXPECT_TRUE(w.demand(Rate::mbps(50), 0.95, std::chrono::milliseconds(500), at(0.6)));
  w.add(tick(0.7, 5), at(0.7));
  EXPECT_FALSE(w.demand(Rate::mbps(50), 0.95, std::chrono::milliseconds(500), at(0.7)));
}

constexpr ControlLimits kLimits{.floor = Rate::mbps(10), .ceiling = Rate::mbps(500), .adapt = true};

TEST(Decisions, AVoidTickIsNoEvidence) {
  SiteController c(kLimits, Rate::mbps(100), at(0));
  for (int i = 1; i <= 50; ++i) {
    ControlInput input = tick(0.1 * i, 90, {{at(0.1 * (i - 1)), 700, 300, 0, {}}});
    input.measured.valid = false;
    EXPECT_FALSE(c.step(input, at(0.1 * i)).changed);
  }
}

TEST(Decisions, CohortsSentBeforeTheLastChangeAreNoEvidence) {
  SiteController c(kLimits, Rate::mbps(100), at(0));
  int cuts = 0;
  for (int i = 1; i <= 40; ++i) {
    // Losses that were sent in the first second keep maturing: one cut is right, a second would be for the
    // same loss.
    const double sent_at = std::min(0.1 * (i - 1), 0.9);
    if (c.step(tick(0.1 * i, 90, {{at(sent_at), 700, 300, 0, {}}}), at(0.1 * i)).changed) ++cuts;
  }
  EXPECT_EQ(cuts, 1);
}

TEST(Decisions, SaysWhyInNumbers) {
  SiteController c(kLimits, Rate::mbps(100), at(0));
  std::string reason;
  for (int i = 1; i <= 10 && reason.empty(); ++i) {
    const RateDecision& d = c.step(tick(0.1 * i, 90, {{at(0.1 * (i - 1)), 700, 350, 0, {}}}), at(0.1 * i));
    if (d.changed) reason = d.reason;
  }
  EXPECT_NE(reason.find("50.00 % of"), std::string::npos) << reason;
  EXPECT_NE(reason.find("44.1 Mbit/s, -56 %"), std::string::npos) << reason;
}

TEST(Decisions, NewLimitsClampAtOnce) {
  SiteController c(kLimits, Rate::mbps(100), at(0));
  c.set_limits({.floor = Rate::mbps(10), .ceiling = Rate::mbps(60), .adapt = true}, at(1));
  EXPECT_EQ(c.decision().rate, Rate::mbps(60));
  c.set_limits({.floor = Rate::mbps(80), .ceiling = Rate::mbps(200), .adapt = true}, at(2));
  EXPECT_EQ(c.decision().rate, Rate::mbps(80));
}

}  // namespace
}  // namespace weir::control
