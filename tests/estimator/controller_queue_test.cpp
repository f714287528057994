// The delay evidence: what a queue tells of the capacity, and what the control law makes of one that grows.
#include <algorithm>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/control_window.hpp"

#include "controller_ticks.hpp"
#include "path_simulator.hpp"

namespace weir::test {
namespace {

constexpr Duration kTarget = std::chrono::milliseconds(3);

void add(control::ControlWindow& window, const ControlInput& input) {
  window.add(input, input.measured.queue, input.measured.at);
}

// 2.5 Mbit/s are twenty packets a tick, and ACKs come for two.
TEST(Buffered, TimesOfArrivalTellWhatFewPacketsCannot) {
  control::ControlWindow window;
  for (int i = 1; i <= 7; ++i) {
    const double counted = i % 2 == 0 ? 2.7 : 2.4;
    add(window, rising(tick(0.1 * i, 2.65, 0, 0), 6.0 * i, 6.0 * (i + 1), counted));
  }
  const auto found = window.buffered_capacity(at(0), kTarget);
  ASSERT_TRUE(found);
  EXPECT_NEAR(found->rate.mbps(), 2.65 / 1.06, 0.03) << "60 ms more a second";
  EXPECT_LT(found->relative_error, 0.02);
}

// What the senders send may change while the queue grows.
TEST(Buffered, TimesOfArrivalAllowForWhatWasSentMeanwhile) {
  constexpr double kCapacity = 12;
  control::ControlWindow window;
  double queue_ms = 5;
  const std::vector<double> sent = {20, 20, 18, 14, 12, 12, 11, 11, 12};
  for (std::size_t i = 0; i < sent.size(); ++i) {
    // Seen in tick i: what was sent in the middle of tick i - 1 and around.
    const double meanwhile = i == 0 ? sent[0] : (0.3 * sent[i] + 0.7 * sent[i - 1]);
    const double after = queue_ms + 100 * (meanwhile / kCapacity - 1);
    add(window, rising(tick(0.1 * static_cast<double>(i + 1), sent[i], 0, 0), queue_ms, after, kCapacity));
    queue_ms = after;
  }
  const auto found = window.buffered_capacity(at(0), kTarget);
  ASSERT_TRUE(found);
  EXPECT_NEAR(found->rate.mbps(), kCapacity, 0.35);
}

TEST(Buffered, OfAnOverflowingQueueWhatArrivedCounts) {
  control::ControlWindow window;
  for (int i = 1; i <= 7; ++i) add(window, rising(tick(0.1 * i, 13, 0, 0), 100, 100, 10));
  const auto found = window.buffered_capacity(at(0), kTarget);
  ASSERT_TRUE(found);
  EXPECT_NEAR(found->rate.mbps(), 10, 0.1) << "all that was sent seems to arrive in its time";
}

TEST(Buffered, ATickInWhichTheQueueEmptiedIsNoMeasure) {
  control::ControlWindow window;
  add(window, queued(tick(0.1, 20, 0, 0), std::chrono::milliseconds(20), 20));
  add(window, queued(tick(0.2, 10, 0, 0), std::chrono::milliseconds(20), 20));
  add(window, queued(tick(0.3, 10, 0, 0), std::chrono::milliseconds(5), 12));
  add(window, queued(tick(0.4, 10, 0, 0), std::chrono::milliseconds(0), 10));
  const auto found = window.buffered_capacity(at(0), kTarget);
  ASSERT_TRUE(found);
  EXPECT_NEAR(found->rate.mbps(), 20, 0.1);
}

// ACKs that wait less and less come faster than what they tell of was handed over, and slower where they wait
// longer.
TEST(Buffered, WhatAcksWaitOnTheWayBackIsNoRate) {
  const auto measured = [](double reverse_ms_a_tick, double delivered_mbps) {
    control::ControlWindow window;
    double reverse_ms = 150;
    for (int i = 1; i <= 6; ++i) {
      reverse_ms += reverse_ms_a_tick;
      ControlInput input = queued(tick(0.1 * i, 40, 0, 0), std::chrono::milliseconds(20), delivered_mbps);
      input.measured.queue_by_way = QueueByWay{.forward = std::chrono::milliseconds(20),
                                               .reverse = from_seconds(reverse_ms / 1e3),
                                               .within = std::chrono::milliseconds(1),
                                               .samples = 50};
      add(window, input);
    }
    const auto found = window.buffered_capacity(at(0), kTarget);
    return found ? found->rate.mbps() : 0.0;
  };
  EXPECT_NEAR(measured(-15, 46), 40, 0.1);
  EXPECT_NEAR(measured(20, 32), 40, 0.1);
  EXPECT_NEAR(measured(0, 40), 40, 0.1);
}

TEST(Buffered, AQueueRisesWhenEachTickShowsMore) {
  const auto rises = [](const std::vector<int>& queues_ms) {
    control::ControlWindow window;
    for (std::size_t i = 0; i < queues_ms.size(); ++i)
      add(window, queued(tick(0.1 * static_cast<double>(i + 1), 20, 0, 0),
                         std::chrono::milliseconds(queues_ms[i]), 20));
    return window.queue_rises(at(0), 3);
  };
  EXPECT_TRUE(rises({9, 1, 2, 3}));
  EXPECT_FALSE(rises({1, 2, 2}));
  EXPECT_FALSE(rises({1, 3, 2}));
  EXPECT_FALSE(rises({1, 2}));
}

// The drain of what might be a stall begins with the first tick that shows it. What goes on growing for three
// is none, and what was sent before the first cut shows it, long before anything sent since comes back; but
// there are no two cuts within an RTT.
TEST(ControllerQueue, AFallIsTakenForAStallNoLongerThanItLooksLikeOne) {
  for (const int base_ms : {100, 250}) {
    double now = 0;
    SiteController c = drained_at_100(now, std::chrono::milliseconds(base_ms));
    std::vector<double> cuts;
    for (int i = 1; i <= 12 && cuts.size() < 2; ++i, now += 0.1) {
      const Rate before = c.decision().rate;
      ControlInput input = queued(tick(now, before.mbps(), 700, 0),
                                  std::chrono::milliseconds(i < 3 ? 1 : 30 * (i - 2)), i < 3 ? 100 : 60);
      QueueDelay& queue = *input.measured.queue;
      input.measured.rtt->base = std::chrono::milliseconds(base_ms);
      queue.sent_to = at(now) - input.measured.rtt->base - queue.q;
      queue.sent_from = queue.sent_to - std::chrono::milliseconds(60);
      const RateDecision& d = c.step(input, at(now));
      if (d.rate < before) cuts.push_back(now);
    }
    ASSERT_EQ(cuts.size(), 2U) << base_ms << " ms: " << c.decision().reason;
    EXPECT_NEAR(cuts[1] - cuts[0], base_ms == 100 ? 0.2 : 0.3, 0.01) << base_ms << " ms";
    EXPECT_LE(c.decision().rate.mbps(), 60);
  }
}

// Where a tick and the one before it both carried a third less, no moment of standstill did that: the drain
// goes by what comes out at once.
TEST(ControllerQueue, WhatComesOutLessForTwoTicksIsAFallAtOnce) {
  const auto first_cut = [](double before_it, double with_it) {
    double now = 0;
    SiteController c = drained_at_100(now, std::chrono::milliseconds(30));
    const auto step = [&](double delivered, int q_ms) {
      now += 0.1;
      static_cast<void>(c.step(
          queued(tick(now, c.decision().rate.mbps(), 700, 0), std::chrono::milliseconds(q_ms), delivered),
          at(now)));
    };
    step(100, 1);
    step(100, 1);
    step(before_it, 1);
    step(with_it, 40);
    return c.decision().rate.mbps();
  };
  EXPECT_LT(first_cut(61, 60), 60);
  EXPECT_GT(first_cut(99, 60), 90) << "it may have stood still";
}

// The queue that began it was seen for a tick or two, the one that was drained for longer.
TEST(ControllerQueue, ADrainLearnsFromWhatCameOutMeanwhile) {
  SiteController c(kUsualLimits, Rate::mbps(100), at(0));
  bool stood = false;
  double now = 0;
  int drained = 0;
  while (!stood || c.decision().state == ControlState::drain) {
    ASSERT_LT(now += 0.1, 4);
    const bool drains = c.decision().state == ControlState::drain;
    stood = stood || drains;
    // 92 by the first ticks of D, 96 by those that follow.
    const int q_ms = drains       ? std::max(1, 40 - 12 * drained++)
                     : now < 0.25 ? 1
                                  : 15 + 5 * static_cast<int>(now * 10);
    static_cast<void>(c.step(queued(tick(now, c.decision().rate.mbps(), 700, 0),
                                    std::chrono::milliseconds(q_ms), drains ? 96 : 92),
                             at(now)));
  }
  EXPECT_GT(c.decision().rate.mbps(), 93.3 * 0.98) << c.decision().reason;
  EXPECT_LT(c.decision().rate.mbps(), 96.1 * 0.98) << c.decision().reason;
}

// What was sent between the end of the queue and the rise is no answer to the rise, but what is too much at
// the lower rate is too much.
TEST(ControllerQueue, AQueueThatCameBackBeforeTheRiseSpeaksAgainstIt) {
  double now = 0;
  SiteController c = drained_at_100(now, std::chrono::milliseconds(30));
  const double raised = now - 0.1;
  int ticks = 0;
  for (; c.decision().state == ControlState::hold && ticks < 8; now += 0.1) {
    ++ticks;
    // Not one of these was sent after the rise.
    ControlInput input =
        queued(tick(now, c.decision().rate.mbps(), 700, 0), std::chrono::milliseconds(10 + ticks), 80);
    input.measured.queue->sent_from = at(raised - 0.05);
    input.measured.queue->sent_to = at(raised - 0.01);
    static_cast<void>(c.step(input, at(now)));
  }
  EXPECT_EQ(ticks, 3) << c.decision().reason;
  EXPECT_EQ(c.decision().state, ControlState::drain) << c.decision().reason;
}

// At the floor no rate that may be set could have done more: that the queue stands there says nothing of C.
TEST(ControllerQueue, AQueueThatStandsAtTheFloorDoesNotShrinkTheCapacity) {
  constexpr ControlLimits kFloored{.floor = Rate::mbps(60), .ceiling = Rate::mbps(500), .adapt = true};
  SiteController c(kFloored, Rate::mbps(100), at(0));
  for (int i = 1; i <= 300; ++i) {
    const double now = 0.1 * i;
    const double mbps = c.decision().rate.mbps();
    static_cast<void>(
        c.step(queued(tick(now, mbps, 700, 0), std::chrono::milliseconds(i >= 3 ? 400 : 1), 55), at(now)));
  }
  ASSERT_EQ(c.decision().rate, kFloored.floor) << c.decision().reason;
  ASSERT_TRUE(c.decision().capacity);
  EXPECT_GE(c.decision().capacity->rate.mbps(), 50) << "what comes out is 55: " << c.decision().reason;
}

// Each cut of a slow path is followed by another within a second; what falls meanwhile is taken ahead, and
// no drain is gentle.
TEST(ControllerQueue, ACapacityThatGoesOnFallingIsFollowed) {
  PathSetup path;
  path.capacity_mbps = [](double t) { return t < 30 ? 40.0 : std::max(20.0, 40.0 - 1.2 * (t - 30)); };
  path.buffer_s = 0.3;
  path.rtt_s = 0.06;
  PathSimulator sim(path, kUsualLimits, 35);
  sim.run_for(48);
  EXPECT_LE(sim.queue_ms_percentile(30, 47, 0.95), 20);
  EXPECT_GE(sim.utilisation(30, 47), 0.93);
}

TEST(ControllerQueue, NoProbeBeginsOnAQueueThatGrows) {
  SiteController c(kUsualLimits, Rate::mbps(60), at(0));
  for (int i = 1; i <= 40; ++i) {
    const double now = 0.1 * i;
    const auto q = std::chrono::microseconds(1700 + 150 * i);
    const RateDecision& d = c.step(queued(tick(now, 60, 500, 0), q, 60), at(now));
    if (i <= 4) continue;  // before it could be seen
    ASSERT_NE(d.state, ControlState::probe) << "at " << now << ": " << d.reason;
  }
}

// A drain towards what was known, while a full buffer drops a third of what comes: the senders hold back, and
// what they send is as far below what was known as it would be beside somebody else's queue. Where nothing is
// lost, it is the ACKs that wait: no hurry.
TEST(ControllerQueue, AQueueThatDropsWhatWeSendIsOurs) {
  for (const bool drops : {true, false}) {
    SiteController c(kUsualLimits, Rate::mbps(100), at(0));
    bool known = false;
    std::optional<double> drained;
    std::optional<double> answered;
    for (int i = 1; i <= 80 && !answered; ++i) {
      const double now = 0.1 * i;
      const Rate before = c.decision().rate;
      const bool drains = c.decision().state == ControlState::drain;
      const double mbps = known ? std::min(before.mbps(), 75.0) : before.mbps();
      const auto q = std::chrono::milliseconds(known ? 60 : i >= 3 && !drains ? 15 : 1);
      const RateDecision& d =
          c.step(queued(tick(now, mbps, 700, known && drops ? 233 : 0), q, known ? 50 : mbps), at(now));
      ASSERT_NE(d.state, ControlState::contend) << "at " << now << ": " << d.reason;
      if (known && d.rate < before) (drained ? answered : drained) = now;
      known = known || (drains && d.state == ControlState::hold);
    }
    ASSERT_TRUE(answered) << c.decision().reason;
    if (drops) {
      EXPECT_LE(*answered - *drained, 0.6);
      EXPECT_LE(c.decision().rate.mbps(), 55) << "what comes out is 50: " << c.decision().reason;
    } else {
      EXPECT_GE(*answered - *drained, 0.8);
    }
  }
}

/// A site that sends all it may, a tick at a time, into a path that is full while it has a queue.
struct BufferedSite {
  const RateDecision& step(double queue_ms, double lost_share) {
    now += 0.1;
    const double mbps = controller.decision().rate.mbps();
    const auto segments = static_cast<std::uint32_t>(mbps * 1e5 / 12'000);
    const auto lost = static_cast<std::uint32_t>(segments * lost_share);
    const double delivered = queue_ms > 0 ? std::min(mbps, carried_mbps) : mbps;
    return controller.step(queued(tick(now, mbps, segments, lost), from_seconds(queue_ms / 1e3), delivered),
                           at(now));
  }
  /// A queue of 30 ms came and went.
  Rate drain() {
    for (int i = 0; i < 50 && controller.decision().state != ControlState::drain; ++i) step(30, 0);
    for (int i = 0; i < 50 && controller.decision().state == ControlState::drain; ++i) step(0, 0);
    return controller.decision().rate;
  }
  SiteController controller{kUsualLimits, Rate::mbps(60), at(0)};
  double now = 0;
  double carried_mbps = 45;
};

// RED drops by an average that forgets a queue over seconds, and no rate of ours helps meanwhile.
TEST(ControllerQueue, WhatIsLostSoonAfterADrainIsThatQueues) {
  BufferedSite site;
  const Rate drained = site.drain();
  const double begin = site.now;
  ASSERT_NEAR(drained.mbps(), 44, 1);
  while (site.now < begin + 4.5) ASSERT_EQ(site.step(0, 0.06).rate, drained) << site.now - begin;
  while (site.now < begin + 9) site.step(0, 0.06);
  EXPECT_LT(site.controller.decision().rate, drained) << "by now it is a limit";
}

// On a slow path the loss test takes its time, and a probe would take that loss for the limit.
TEST(ControllerQueue, NoProbeBeginsWhileALateQueueIsDroppedFor) {
  BufferedSite site;
  site.carried_mbps = 12;
  const Rate drained = site.drain();
  ASSERT_NEAR(drained.mbps(), 11.8, 0.5);
  const double begin = site.now;
  while (site.now < begin + 4) ASSERT_LE(site.step(0, 0.03).rate, drained) << site.now - begin;
  while (site.now < begin + 8) site.step(0, 0);
  EXPECT_GT(site.controller.decision().rate, drained) << "and when it is over, one does";
}

TEST(ControllerQueue, MoreLossAfterADrainThanAnAqmMakesIsALimit) {
  BufferedSite site;
  const Rate drained = site.drain();
  ASSERT_NEAR(drained.mbps(), 44, 1);
  for (int i = 0; i < 15; ++i) site.step(0, 0.3);
  EXPECT_LT(site.controller.decision().rate, drained * 0.8);
}

// A queue that stood before the connections began is a part of their bases: it shows in some ticks only, and
// overflows all the same.
TEST(ControllerQueue, LossBesideAQueueThatNothingDrainedIsALimit) {
  BufferedSite site;
  const Rate start = site.controller.decision().rate;
  for (int i = 0; i < 50; ++i) site.step(i % 3 == 0 ? 12 : 0, 0.06);
  EXPECT_LT(site.controller.decision().rate, start);
}

TEST(ControllerQueue, AnOutageLeavesNothingOfAQueueBehind) {
  BufferedSite site;
  const Rate drained = site.drain();
  const double silent = site.now;
  while (site.controller.decision().state != ControlState::outage && site.now < silent + 4) {
    site.now += 0.1;
    ControlInput input = tick(site.now, drained.mbps(), 0, 0);
    input.measured.mature.clear();
    input.measured.last_ack = at(silent);
    input.measured.unanswered_since = at(silent + 0.05);
    static_cast<void>(site.controller.step(input, at(site.now)));
  }
  ASSERT_EQ(site.controller.decision().state, ControlState::outage);
  ControlInput back = tick(site.now += 0.1, drained.mbps(), 300, 0);
  back.measured.last_ack = at(site.now);
  static_cast<void>(site.controller.step(back, at(site.now)));
  ASSERT_NE(site.controller.decision().state, ControlState::outage);
  while (site.now < silent + 3.3) site.step(0, 0.06);
  EXPECT_LT(site.controller.decision().rate, drained) << "a limit";
}

// One may be taken back until its cohort is mature; a limit that is overrun drops more.
TEST(ControllerQueue, OneLossThatIsToldEarlyEndsNoProbeTwoDo) {
  for (const std::uint32_t lost : {1U, 2U}) {
    BufferedSite site;
    site.drain();
    for (int i = 0; i < 200 && site.controller.decision().state != ControlState::probe; ++i) site.step(0, 0);
    site.step(0, 0);
    ASSERT_EQ(site.controller.decision().state, ControlState::probe);
    const Rate tried = site.controller.decision().rate;
    ControlInput input = tick(site.now + 0.1, tried.mbps(), 300, 0);
    input.measured.mature.clear();
    input.measured.young.push_back({.begin = at(site.now), .segments = 300, .lost_beyond = lost});
    const RateDecision& then = site.controller.step(input, at(site.now + 0.1));
    EXPECT_EQ(then.rate == tried, lost == 1) << lost << " lost: " << then.reason;
  }
}

// A path that came to carry much more is not climbed in the smallest steps for long.
TEST(ControllerQueue, ARunThatWentCleanPastAKnownBufferTakesLargerSteps) {
  BufferedSite site;
  site.drain();
  std::vector<double> steps;  // from the first rate past the limit on
  Rate was = site.controller.decision().rate;
  while (site.now < 20 && steps.size() < 3) {
    const Rate rate = site.step(0, 0).rate;
    if (rate > was && rate > Rate::mbps(46)) steps.push_back(rate / was);
    was = rate;
  }
  ASSERT_EQ(steps.size(), 3U);
  EXPECT_LE(steps[0], 1.05) << "the limit may still be there";
  EXPECT_NEAR(steps[1], 1.08, 0.001);
  EXPECT_NEAR(steps[2], 1.16, 0.001);
}

}  // namespace
}  // namespace weir::test
