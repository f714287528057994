// CONTEND: what makes a queue somebody else's, and what does not.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "controller_ticks.hpp"

namespace weir::test {
namespace {

/// What a tick of 100 ms shows.
struct Shown {
  double mbps = 0;         ///< sent
  std::uint32_t lost = 0;  ///< of 100
  double queue_ms = 0;
  double delivered_mbps = 0;
};

/// A site that knows its path to carry 100 Mbit/s, tick after tick.
struct Site {
  Site() : controller(drained_at_100(now, std::chrono::milliseconds(30))) {
    before = controller.decision().rate;
  }
  void step(const Shown& shown) {
    now += 0.1;
    const Rate was = controller.decision().rate;
    const RateDecision& d = controller.step(
        rising(tick(now, shown.mbps, 100, shown.lost), shown.queue_ms, shown.queue_ms, shown.delivered_mbps),
        at(now));
    if (d.rate < was) cuts.push_back(now);
  }
  /// Until it contends, and no longer than `s`.
  bool contends_within(double s, const std::function<Shown(double)>& path) {
    for (const double until = now + s; now < until && !contends();) step(path(mbps()));
    return contends();
  }
  [[nodiscard]] double mbps() const { return controller.decision().rate.mbps(); }
  [[nodiscard]] bool contends() const { return controller.decision().state == ControlState::contend; }
  [[nodiscard]] const std::string& reason() const { return controller.decision().reason; }
  [[nodiscard]] bool lowered() const { return reason().find("once more, lower") != std::string::npos; }

  double now = 0;
  SiteController controller;
  Rate before;
  std::vector<double> cuts;  ///< their times
};

/// One cut after two ticks in which that came out, and a queue that stood in the second.
Site slowed_to(double delivered_mbps) {
  Site site;
  site.step({.mbps = site.mbps(), .queue_ms = 1, .delivered_mbps = delivered_mbps});
  site.step({.mbps = site.mbps(), .queue_ms = 200, .delivered_mbps = delivered_mbps});
  EXPECT_EQ(site.cuts.size(), 1U) << site.reason();
  return site;
}

/// Driven to its floor by one cut.
Site at_the_floor() {
  Site site = slowed_to(5);
  EXPECT_EQ(site.controller.decision().rate, kUsualLimits.floor) << site.reason();
  return site;
}

/// As soon as another box had had its second to yield, and at the rate from before.
void expect_contends_after_a_second(Site site, const std::function<Shown(double)>& path) {
  ASSERT_TRUE(site.contends_within(5, path)) << site.reason();
  const double since_cut = site.now - site.cuts.back();
  EXPECT_GE(since_cut, 0.95);
  EXPECT_LE(since_cut, 1.5);
  EXPECT_EQ(site.controller.decision().rate, site.before) << site.reason();
}

// Somebody else's many connections fill a buffer, and it drops of ours as well: less comes out than we send,
// at each rate. At the floor that is not our queue any more.
TEST(ControllerForeign, AQueueThatStandsAtTheFloorIsSomebodyElsesEvenIfItDropsWhatWeSend) {
  Site site;
  bool lowered = false;
  EXPECT_TRUE(site.contends_within(15, [&](double mbps) {
    lowered = lowered || site.lowered();
    return Shown{.mbps = mbps, .lost = 10, .queue_ms = 200, .delivered_mbps = mbps * (lowered ? 0.7 : 0.9)};
  })) << site.reason();
  EXPECT_TRUE(lowered) << "never at a second rate: this proves nothing";
}

// A path that has really fallen to the floor has a queue that stands there as well, but it neither grows nor
// drops what comes at the rate that it carries.
TEST(ControllerForeign, AQueueThatOnlyStandsAtTheFloorMayBeOurs) {
  Site site = at_the_floor();
  EXPECT_FALSE(site.contends_within(30, [&](double mbps) {
    return Shown{
        .mbps = mbps, .lost = 2, .queue_ms = 200 + 10 * std::sin(10 * site.now), .delivered_mbps = mbps};
  })) << site.reason();
  EXPECT_EQ(site.controller.decision().rate, kUsualLimits.floor);
}

TEST(ControllerForeign, AQueueThatOverflowsAtTheFloorIsSomebodyElsesAtOneRate) {
  expect_contends_after_a_second(at_the_floor(), [](double mbps) {
    return Shown{.mbps = mbps, .lost = 12, .queue_ms = 200, .delivered_mbps = mbps};
  });
}

TEST(ControllerForeign, AQueueThatGrowsAtTheFloorIsSomebodyElsesAtOneRate) {
  double queue_ms = 40;
  expect_contends_after_a_second(at_the_floor(), [&](double mbps) {
    queue_ms = std::min(queue_ms + 4, 230.0);
    return Shown{.mbps = mbps, .queue_ms = queue_ms, .delivered_mbps = mbps};
  });
}

// What was sent before the floor was reached tells nothing of it.
TEST(ControllerForeign, AQueueThatGrewBeforeTheFloorDoesNotGrowThere) {
  Site site = at_the_floor();
  site.step({.mbps = site.mbps(), .queue_ms = 20, .delivered_mbps = 5});
  EXPECT_FALSE(site.contends_within(30, [](double mbps) {
    return Shown{.mbps = mbps, .queue_ms = 200, .delivered_mbps = mbps};
  })) << site.reason();
}

// What was sent at the higher rates of the same drain is forgotten some time: that does not make it little.
TEST(ControllerForeign, ALongDrainDoesNotBeginAtTheFloor) {
  Site site;
  while (site.controller.decision().rate > kUsualLimits.floor && site.now < 10)
    site.step({.mbps = site.mbps(), .lost = 30, .queue_ms = 200, .delivered_mbps = 5});
  ASSERT_GE(site.cuts.size(), 2U) << "the drain began at the floor: this proves nothing";
  site.step({.mbps = site.mbps(), .queue_ms = 20, .delivered_mbps = 5});
  EXPECT_FALSE(site.contends_within(30, [](double mbps) {
    return Shown{.mbps = mbps, .queue_ms = 200, .delivered_mbps = mbps};
  })) << site.reason();
}

// Another box yielded as well, and takes the room that we left a moment sooner than we do.
TEST(ControllerForeign, AQueueThatWasGoneMeanwhileMayBeAnotherBoxs) {
  Site site = at_the_floor();
  for (int tenths = 1; tenths <= 12; ++tenths)
    site.step({.mbps = site.mbps(), .queue_ms = tenths <= 3 ? 100.0 : 1.0, .delivered_mbps = site.mbps()});
  EXPECT_FALSE(site.contends_within(0.5, [](double mbps) {
    return Shown{.mbps = mbps, .queue_ms = 70, .delivered_mbps = mbps};
  })) << site.reason();
}

// The timers of senders ran out: they send less than the floor, whatever the rate is.
TEST(ControllerForeign, SendersThatHoldBackSendNoMoreThanTheFloorAtAHigherRateAsWell) {
  for (const double sent : {9.0, 11.5}) {
    Site site = slowed_to(30);
    ASSERT_GT(site.mbps(), 12) << site.reason();
    const auto path = [sent](double mbps) {
      const double now_sent = std::min(mbps, sent);
      return Shown{.mbps = now_sent, .lost = 12, .queue_ms = 200, .delivered_mbps = 0.9 * now_sent};
    };
    const std::size_t cuts = site.cuts.size();
    const bool at_one_rate = site.contends_within(1.5, path) && site.cuts.size() == cuts;
    EXPECT_EQ(at_one_rate, sent < 10) << sent << ": " << site.reason();
  }
}

// A second cut meanwhile, of a rate that was not used, begins nothing anew.
TEST(ControllerForeign, WhatSendersThatHoldBackSentBeforeTheLastCutCountsAsWell) {
  Site site = slowed_to(30);
  const double cut = site.now;
  const std::size_t cuts = site.cuts.size();
  ASSERT_TRUE(site.contends_within(5, [](double) {
    return Shown{.mbps = 9, .lost = 12, .queue_ms = 200, .delivered_mbps = 5};
  })) << site.reason();
  EXPECT_GT(site.cuts.size(), cuts) << "no second cut: this proves nothing";
  EXPECT_LE(site.now - cut, 1.25) << site.reason();
}

// Somebody else's single connection takes what we leave, at each of many small steps: what comes out is just
// what we send. If the path had fallen to that, it would have fallen with each of our steps.
TEST(ControllerForeign, AQueueThatFollowsManySmallStepsIsSomebodyElses) {
  Site site;
  ASSERT_TRUE(site.contends_within(10, [](double mbps) {
    return Shown{.mbps = mbps, .queue_ms = 20, .delivered_mbps = mbps};
  })) << site.reason();
  EXPECT_GE(site.cuts.size(), 4U) << "steps that were not small: this proves nothing";
  EXPECT_LE(site.cuts.back() - site.cuts.front(), 2.5) << "not walked down to the floor";
  EXPECT_EQ(site.controller.decision().rate, site.before) << site.reason();
}

// What was sent at the second rate meets a longer queue before it is known what comes out: no third rate,
// which would begin all of it anew.
TEST(ControllerForeign, AQueueThatGrowsAtTheSecondRateIsNotAnsweredByAThird) {
  Site site;
  bool lowered = false;
  std::size_t cuts = 0;
  double queue_ms = 60;
  ASSERT_TRUE(site.contends_within(15, [&](double mbps) {
    if (site.lowered() && !lowered) cuts = site.cuts.size();
    lowered = lowered || site.lowered();
    if (lowered) queue_ms += 20;
    return Shown{.mbps = mbps, .queue_ms = queue_ms, .delivered_mbps = std::min(mbps, 60.0)};
  })) << site.reason();
  ASSERT_TRUE(lowered) << "never at a second rate: this proves nothing";
  EXPECT_EQ(site.cuts.size(), cuts) << site.reason();
}

// It was somebody else's ten seconds ago: that the path fell meanwhile, to just what we try, is no
// explanation.
TEST(ControllerForeign, OneRateIsEnoughToTryAgain) {
  Site site;
  const auto path = [&](double mbps) {
    return Shown{
        .mbps = mbps, .queue_ms = 120 + 30 * std::sin(site.now), .delivered_mbps = std::min(mbps, 60.0)};
  };
  ASSERT_TRUE(site.contends_within(15, path)) << site.reason();
  while (site.contends()) site.step(path(site.mbps()));
  const double tried = site.now;
  const std::size_t cuts = site.cuts.size();
  ASSERT_TRUE(site.contends_within(5, path)) << site.reason();
  EXPECT_LE(site.now - tried, 0.85);
  EXPECT_EQ(site.cuts.size(), cuts) << site.reason();
}

// Another box sees the queue as late as we do, and lowers its rate then. If both took it for somebody else's
// before, neither would.
TEST(ControllerForeign, AQueueThatIsGoneWithinASecondIsNobodyElses) {
  Site site;
  for (int tenths = 1; tenths <= 25; ++tenths) {
    site.step({.mbps = site.mbps(),
               .queue_ms = tenths <= 9 ? 80.0 : 0.0,
               .delivered_mbps = std::min(site.mbps(), 15.0)});
    EXPECT_FALSE(site.contends()) << tenths << ": " << site.reason();
  }
  EXPECT_LT(site.mbps(), 20) << "this proves nothing";
}

}  // namespace
}  // namespace weir::test
