#include "estimator/path_window.hpp"

#include <gtest/gtest.h>

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

PathWindow outbound() {
  return PathWindow(Direction::outbound, at_ms(0));
}

TEST(Cohorts, MatureAsSoonAsTheirFateIsKnown) {
  PathWindow w = outbound();
  const TimePoint c = at_ms(50);
  w.segments_sent(c, 10, 200ms);
  EXPECT_TRUE(w.close_tick(at_ms(100), false).mature.empty()) << "no fate is known yet";
  w.segments_delivered(c, 10);
  const auto mature = w.close_tick(at_ms(125), false).mature;
  ASSERT_EQ(mature.size(), 1U);
  EXPECT_EQ(mature[0].begin, at_ms(0));
  EXPECT_EQ(mature[0].segments, 10U);
  EXPECT_TRUE(w.close_tick(at_ms(225), false).mature.empty()) << "emitted once";
}

// 96 % delivered one RTT after the cohort, the other 4 % waiting for their retransmission: not mature, or
// exactly the losses would be what is missing.
TEST(Cohorts, WaitForSegmentsInSuspense) {
  PathWindow w = outbound();
  const TimePoint c = at_ms(50);
  w.segments_sent(c, 100, 40ms);
  w.segments_delivered(c, 96);
  w.segments_doubtful(c, 4);
  EXPECT_TRUE(w.close_tick(at_ms(125), false).mature.empty());
  w.segments_undoubted(c, 4);
  w.segments_lost_after_tap(c, 4, at_ms(130));
  EXPECT_TRUE(w.close_tick(at_ms(150), false).mature.empty()) << "a D-SACK may yet call them spurious";
  const auto mature = w.close_tick(at_ms(171), false).mature;
  ASSERT_EQ(mature.size(), 1U);
  EXPECT_EQ(mature[0].lost_beyond, 4U);
  EXPECT_EQ(mature[0].segments, 100U);
}

// Whoever cannot wait is told what is known so far.
TEST(Cohorts, LossesAreToldBeforeTheirCohortIsMature) {
  PathWindow w = outbound();
  w.segments_sent(at_ms(50), 100, 40ms);
  w.segments_delivered(at_ms(50), 60);
  EXPECT_TRUE(w.close_tick(at_ms(100), false).young.empty()) << "none is lost";
  w.segments_lost_after_tap(at_ms(50), 3, at_ms(120));
  w.segments_sent(at_ms(120), 100, 40ms);
  const auto young = w.close_tick(at_ms(130), false).young;
  ASSERT_EQ(young.size(), 2U);
  EXPECT_EQ(young[0], (YoungCohort{.begin = at_ms(0), .segments = 100, .lost_beyond = 3}));
  EXPECT_EQ(young[1], (YoungCohort{.begin = at_ms(100), .segments = 100, .lost_beyond = 0}));
  w.loss_undone(at_ms(50), 3);
  EXPECT_TRUE(w.close_tick(at_ms(140), false).young.empty()) << "they were spurious";
  w.segments_delivered(at_ms(50), 37);
  w.segments_lost_after_tap(at_ms(120), 1, at_ms(170));
  static_cast<void>(w.close_tick(at_ms(200), true));
  EXPECT_TRUE(w.close_tick(at_ms(210), false).young.empty()) << "of a capture that lost frames";
}

TEST(Cohorts, TwoRttAndATenthLaterWhatIsInSuspenseWasLost) {
  PathWindow w = outbound();
  const TimePoint c = at_ms(50);
  w.segments_sent(c, 100, 40ms);
  w.segments_delivered(c, 80);
  w.segments_doubtful(c, 4);
  EXPECT_TRUE(w.close_tick(at_ms(279), false).mature.empty());
  const auto mature = w.close_tick(at_ms(281), false).mature;
  ASSERT_EQ(mature.size(), 1U);
  EXPECT_EQ(mature[0].segments, 84U);  // sixteen are without a fate: not resolved, not counted
  EXPECT_EQ(mature[0].lost_beyond, 4U);
}

TEST(Cohorts, AFarFlowHoldsOnlyItsOwnCohortsBack) {
  PathWindow w = outbound();
  const TimePoint near = at_ms(50);
  w.segments_sent(near, 100, 1ms);
  const TimePoint both = at_ms(150);
  w.segments_sent(both, 50, 1ms);
  w.segments_sent(at_ms(160), 50, 200ms);
  w.segments_delivered(near, 100);
  w.segments_delivered(both, 50);
  EXPECT_EQ(w.close_tick(at_ms(225), false).mature.size(), 1U);
  EXPECT_TRUE(w.close_tick(at_ms(325), false).mature.empty());
  w.segments_delivered(both, 50);
  EXPECT_EQ(w.close_tick(at_ms(425), false).mature.size(), 1U);
}

// A host that says it misses all that it gets would hold every cohort back until it is out.
TEST(Cohorts, AreNotHeldBackByTheDoubtsOfOneThatIsNotBelieved) {
  constexpr RemoteKey kLiar = 1;
  PathWindow w = outbound();
  w.corroborate();
  // Twenty in turn.
  for (RemoteKey i = 0; i < 100; ++i)
    w.sample_remote(at_ms(static_cast<double>(i)), Bytes(1500), kLiar + i % 20);
  w.segments_sent(at_ms(50), 100, 20ms);
  EXPECT_TRUE(w.segments_doubtful(at_ms(50), 1, kLiar)) << "nothing is held against it yet";
  w.segments_undoubted(at_ms(50), 1);
  for (int ms = 10; ms < 90; ms += 20)
    static_cast<void>(w.segments_lost_after_tap(at_ms(ms), 1, at_ms(ms + 20), kLiar));
  EXPECT_FALSE(w.segments_doubtful(at_ms(50), 10, kLiar));
  EXPECT_TRUE(w.segments_doubtful(at_ms(50), 1, 5));
  w.segments_undoubted(at_ms(50), 1);
  w.segments_delivered(at_ms(50), 96);
  const auto mature = w.close_tick(at_ms(225), false).mature;
  ASSERT_EQ(mature.size(), 1U) << "nothing is open any more";
  EXPECT_LE(mature[0].lost_beyond, 2U);
}

// It would keep the losses of all others from the control law for ten seconds.
TEST(Cohorts, AreHeldBackForASecondAtMostByOneThatAnswersLate) {
  PathWindow w = outbound();
  w.corroborate();
  for (unsigned i = 0; i < 19; ++i) {
    w.rtt_sampled(
        {.sent = at_ms(i), .taken = at_ms(i + 20), .rtt = 20ms, .base = 20ms, .weight = Bytes(3000)});
  }
  w.rtt_sampled({.sent = at_ms(1), .taken = at_ms(30), .rtt = 5s, .base = 5s, .weight = Bytes(3000)});
  static_cast<void>(w.close_tick(at_ms(100), false));
  w.segments_sent(at_ms(150), 90, 20ms);
  w.segments_sent(at_ms(150), 10, 5s);
  w.segments_delivered(at_ms(150), 88);
  w.segments_lost_after_tap(at_ms(150), 2, at_ms(171));
  EXPECT_TRUE(w.close_tick(at_ms(1150), false).mature.empty());
  const auto mature = w.close_tick(at_ms(1205), false).mature;
  ASSERT_EQ(mature.size(), 1U);
  EXPECT_EQ(mature[0].segments, 90U);
  EXPECT_EQ(mature[0].lost_beyond, 2U);
}

TEST(Cohorts, OfADeadFlowAreWithoutItsSegments) {
  PathWindow w = outbound();
  const TimePoint c = at_ms(50);
  w.segments_sent(c, 10, 0ms);
  w.segments_delivered(c, 4);
  w.segments_forgotten(c, 6);
  const auto mature = w.close_tick(at_ms(125), false).mature;
  ASSERT_EQ(mature.size(), 1U);
  EXPECT_EQ(mature[0].segments, 4U);
  EXPECT_EQ(mature[0].lost_beyond, 0U);
}

TEST(Cohorts, WithoutTcpDataAreNotEmitted) {
  PathWindow w = outbound();
  w.frame_seen(at_ms(50), Bytes(1000), FrameKind::no_tcp);
  EXPECT_TRUE(w.close_tick(at_ms(2000), false).mature.empty());
}

TEST(Cohorts, ALossIsUndoneWhileItsCohortIsOpen) {
  PathWindow w = outbound();
  const TimePoint c = at_ms(50);
  w.segments_sent(c, 10, 10ms);
  w.segments_lost_after_tap(c, 2, at_ms(70));
  w.loss_undone(c, 1);
  w.segments_delivered(c, 8);
  const auto mature = w.close_tick(at_ms(125), false).mature;
  ASSERT_EQ(mature.size(), 1U);
  EXPECT_EQ(mature[0].lost_beyond, 1U);
  EXPECT_EQ(mature[0].segments, 10U);
}

TEST(Cohorts, ShowInSlotsWhenWhatWasLost) {
  PathWindow w = outbound();
  w.frame_seen(at_ms(41), Bytes(3000), FrameKind::followed_tcp);
  w.segments_sent(at_ms(41), 2, 10ms);
  w.frame_seen(at_ms(42), Bytes(1600), FrameKind::followed_tcp);
  w.frame_seen(at_ms(43.9), Bytes(100), FrameKind::no_tcp);
  w.segments_sent(at_ms(42), 3, 10ms);
  w.segments_delivered(at_ms(41), 2);
  w.segments_delivered(at_ms(42), 1);
  w.segments_lost_after_tap(at_ms(42), 1, at_ms(60));
  w.segments_doubtful(at_ms(42), 1);
  const auto mature = w.close_tick(at_ms(225), false).mature;
  ASSERT_EQ(mature.size(), 1U);
  ASSERT_EQ(mature[0].slots.size(), kSlotsPerCohort);
  EXPECT_EQ(mature[0].slots[20], (Slot{.bytes = 3000, .sent = 2, .delivered = 2, .lost = 0}));
  EXPECT_EQ(mature[0].slots[21], (Slot{.bytes = 1700, .sent = 3, .delivered = 1, .lost = 2}))
      << "what is still in suspense at maturity was lost";
  EXPECT_EQ(mature[0].slots[22], Slot{});
}

TEST(Cohorts, PassOverWhatIsToldTooLate) {
  PathWindow w = outbound();
  w.segments_sent(at_ms(50), 1, 1ms);
  w.segments_delivered(at_ms(50), 1);
  EXPECT_EQ(w.close_tick(at_ms(125), false).mature.size(), 1U);
  w.segments_sent(at_ms(60), 5, 1ms);
  w.segments_lost_after_tap(at_ms(60), 5, at_ms(130));
  w.loss_undone(at_ms(60), 1);
  w.hole_opened(at_ms(60));
  w.hole_filled_late(at_ms(60), 1);
  EXPECT_TRUE(w.close_tick(at_ms(225), false).mature.empty());
}

TEST(Cohorts, ThatACaptureLossMayHaveHitAreVoid) {
  PathWindow w = outbound();
  const TimePoint before = at_ms(50);
  w.segments_sent(before, 10, 100ms);
  const TimePoint during = at_ms(150);
  w.segments_sent(during, 10, 100ms);
  const SiteMeasurement hit = w.close_tick(at_ms(200), true);
  EXPECT_FALSE(hit.valid);
  w.segments_delivered(before, 10);
  w.segments_delivered(during, 10);
  const TimePoint after = at_ms(310);
  w.segments_sent(after, 10, 100ms);
  w.segments_delivered(after, 10);
  const SiteMeasurement next = w.close_tick(at_ms(425), false);
  EXPECT_TRUE(next.valid);
  ASSERT_EQ(next.mature.size(), 1U);
  EXPECT_EQ(next.mature[0].begin, at_ms(300));
}

TEST(Cohorts, AreBoundedInNumberWhateverTheClockDoes) {
  PathWindow w = outbound();
  for (int i = 0; i < 5000; ++i) w.segments_sent(at_ms(i * 100.0), 1, 10s);
  std::size_t emitted = 0;
  for (const Cohort& c : w.close_tick(at_ms(500'000), false).mature) emitted += c.segments;
  EXPECT_EQ(emitted, 0U);  // nothing was resolved: nothing counts
  w.segments_sent(at_ms(1e9), 1, 10ms);
  EXPECT_TRUE(w.close_tick(at_ms(1e9 + 200), false).mature.empty());
}

// A sample that holds the small flows of a site and not the large ones knows the path's RTT, not its rate.
TEST(Delivered, IsUnknownWhenTheSampleMissedThoseThatSend) {
  for (const std::uint64_t others : {1200U, 12'000U}) {
    PathWindow w = outbound();
    w.follow_one_in(2);
    std::optional<Delivery> delivered;
    for (int tick = 1; tick <= 20; ++tick) {
      for (int ms = (tick - 1) * 100; ms < tick * 100; ++ms) {
        w.frame_seen(at_ms(ms), Bytes(1200), FrameKind::followed_tcp);
        w.frame_seen(at_ms(ms), Bytes(others), FrameKind::other_tcp);
        w.data_seen(at_ms(ms));
        w.delivered(at_ms(ms), Bytes(1200));
      }
      delivered = w.close_tick(at_ms(tick * 100), false).delivered;
    }
    EXPECT_EQ(delivered.has_value(), others == 1200);
    if (delivered) {
      EXPECT_NEAR(delivered->rate.mbps(), 2 * 9.6, 0.5);
    }
  }
}

// 1250 bytes each millisecond: 10 Mbit/s, from the first ACK on.
TEST(Delivered, IsUnbiasedWhileItsWindowFills) {
  PathWindow w = outbound();
  double ms = 340.0;
  w.data_seen(at_ms(310));
  w.flow_seen(at_ms(310));
  w.segments_sent(at_ms(310), 1, 30ms);  // something is in flight all the time
  bool any = false;
  for (int tick = 4; tick <= 20; ++tick) {
    for (; ms < tick * 100.0; ms += 1.0) {
      w.frame_seen(at_ms(ms), Bytes(1250), FrameKind::followed_tcp);
      w.delivered(at_ms(ms), Bytes(1250));
    }
    const SiteMeasurement m = w.close_tick(at_ms(tick * 100.0), false);
    if (!m.delivered) continue;
    any = true;
    EXPECT_NEAR(m.delivered->rate.mbps(), 10.0, 0.15) << "tick " << tick;
    if (tick > 10) {
      EXPECT_EQ(m.delivered->over, 500ms);
    }
  }
  EXPECT_TRUE(any);
}

TEST(Delivered, IsScaledByTheShareOfTcpAndUnknownUnderFivePercent) {
  for (const auto& [udp, known] : {std::pair(500U, true), std::pair(100'000U, false)}) {
    PathWindow w = outbound();
    SiteMeasurement m;
    w.segments_sent(at_ms(1), 1, 30ms);
    for (int tick = 1; tick <= 10; ++tick) {
      for (int i = 0; i < 100; ++i) {
        w.frame_seen(at_ms(tick * 100.0 - 100.0 + i), Bytes(1000), FrameKind::followed_tcp);
        w.frame_seen(at_ms(tick * 100.0 - 100.0 + i), Bytes(udp), FrameKind::no_tcp);
        w.delivered(at_ms(tick * 100.0 - 100.0 + i), Bytes(1000));
      }
      m = w.close_tick(at_ms(tick * 100.0), false);
    }
    ASSERT_EQ(m.delivered.has_value(), known);
    ASSERT_EQ(m.delivered_bytes.has_value(), known);
    if (!known) continue;
    EXPECT_NEAR(m.delivered->rate.mbps(), 12.0, 0.1);
    EXPECT_EQ(m.delivered_bytes->count(), 150'000U);
  }
}

RttSample sample(double sent_ms, double rtt_ms, double base_ms, std::uint32_t flow) {
  return {.sent = at_ms(sent_ms),
          .taken = at_ms(sent_ms + rtt_ms),
          .rtt = from_seconds(rtt_ms / 1e3),
          .base = from_seconds(base_ms / 1e3),
          .weight = Bytes(3000),
          .flow = flow};
}

TEST(Queue, IsMeasuredFromEachFlowsOwnBase) {
  PathWindow w = outbound();
  for (unsigned i = 0; i < 10; ++i) {  // 2, 80 and 200 ms away, 12 ms of queue
    w.rtt_sampled(sample(10 + i, 14, 2, 1));
    w.rtt_sampled(sample(10 + i, 92, 80, 2));
    w.rtt_sampled(sample(10 + i, 212, 200, 3));
  }
  const SiteMeasurement m = w.close_tick(at_ms(300), false);
  ASSERT_TRUE(m.queue);
  EXPECT_NEAR(milliseconds(m.queue->q), 12.0, 0.1);
  EXPECT_EQ(m.queue->flows, 3U);
  EXPECT_EQ(m.queue->samples, 30U);
  EXPECT_EQ(m.queue->sent_from, at_ms(10));
  EXPECT_EQ(m.queue->sent_to, at_ms(19));
  ASSERT_TRUE(m.rtt);
  EXPECT_NEAR(milliseconds(m.rtt->base), 80.0, 80.0 * 0.03);
}

TEST(Queue, NeedsFreshSamplesAndEnoughOfThem) {
  PathWindow w = outbound();
  for (unsigned i = 0; i < 5; ++i) w.rtt_sampled(sample(i, 30, 20, 1));
  EXPECT_FALSE(w.close_tick(at_ms(100), false).queue) << "five of one flow are no percentile";
  for (unsigned i = 0; i < 5; ++i) w.rtt_sampled(sample(110 + i, 30, 20, 1));
  EXPECT_TRUE(w.close_tick(at_ms(200), false).queue) << "a slow path gathers them over half a second";
  EXPECT_FALSE(w.close_tick(at_ms(300), false).queue) << "none of them is fresh";
}

TEST(Queue, ManySamplesAreThinnedNotLost) {
  PathWindow w = outbound();
  for (unsigned i = 0; i < 100'000; ++i) w.rtt_sampled(sample(10 + i * 0.0005, 30, 20, i % 50));
  const SiteMeasurement m = w.close_tick(at_ms(100), false);
  ASSERT_TRUE(m.queue);
  EXPECT_LE(m.queue->samples, 4096U);
  EXPECT_GE(m.queue->samples, 1000U);
  EXPECT_EQ(m.rtt->samples, 100'000U);
}

TEST(Rtt, ForgetsAfterTenSeconds) {
  PathWindow w = outbound();
  w.rtt_sampled(sample(10, 30, 20, 1));
  EXPECT_TRUE(w.close_tick(at_ms(5'000), false).rtt);
  EXPECT_FALSE(w.close_tick(at_ms(13'000), false).rtt);
}

TEST(LifeSigns, TellWhatWaitsSinceTheLastAck) {
  PathWindow w = outbound();
  EXPECT_FALSE(w.close_tick(at_ms(100), false).unanswered_since);
  w.data_seen(at_ms(110));
  w.flow_seen(at_ms(110));
  w.data_seen(at_ms(120));
  SiteMeasurement m = w.close_tick(at_ms(200), false);
  EXPECT_EQ(m.unanswered_since, at_ms(110));
  EXPECT_FALSE(m.last_ack);
  EXPECT_EQ(m.flows, 1U);
  w.ack_seen(at_ms(210));
  m = w.close_tick(at_ms(300), false);
  EXPECT_FALSE(m.unanswered_since);
  EXPECT_EQ(m.last_ack, at_ms(210));
}

}  // namespace
}  // namespace weir
