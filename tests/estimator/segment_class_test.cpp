// Each class of 3 lines of tcpdump, or how it cannot be told from another. Times are milliseconds.
#include <gtest/gtest.h>

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;

// The rules hold wherever the sequence numbers wrap.
class SegmentClass : public testing::TestWithParam<std::uint32_t> {
 protected:
  void SetUp() override { wire.base = GetParam(); }
  Wire wire;
};
INSTANTIATE_TEST_SUITE_P(WrapAt, SegmentClass,
                         testing::Values(1'000'000U, 0xffffffffU - 500U, 0xffffffffU - 2'500U,
                                         0x7fffffffU - 1'500U));

// 30.0 IP 10.1.0.1.40000 > 10.20.0.1.5001: seq 0:1000, length 1000
// 30.1 IP 10.1.0.1.40000 > 10.20.0.1.5001: seq 1000:2000, length 1000
TEST_P(SegmentClass, NewBytesAreFresh) {
  wire.open(0);
  wire.data(30.0, 0);
  wire.data(30.1, 1000);
  EXPECT_EQ(wire.outbound().data, 2U);
  EXPECT_EQ(wire.outbound().fresh, 2U);
}

// 30 > seq 0:1000   35 < ack 0, win 0   300 > seq 1000:1001, length 1
TEST_P(SegmentClass, OneByteAgainstAZeroWindowIsAProbe) {
  wire.open(0);
  wire.data(30, 0);
  TcpSpec closed = wire.in(1000);
  closed.window = 0;
  wire.send(50, closed);
  wire.data(300, 1000, 1);
  wire.data(600, 1000, 1);
  EXPECT_EQ(wire.outbound().probe, 2U);
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
  wire.ack(700, 1000);  // the window opens: the byte is data now
  wire.data(701, 1000, 1000);
  EXPECT_EQ(wire.outbound().fresh, 2U);
}

// 30 > seq 0:1000   50 < ack 1000   5000 > seq 999:1000, length 1 (or length 0)
TEST_P(SegmentClass, TheLastAcknowledgedByteAgainIsAKeepAlive) {
  wire.open(0);
  wire.data(30, 0);
  wire.ack(50, 1000);
  wire.data(5000, 999, 1);
  wire.data(10000, 999, 0);
  EXPECT_EQ(wire.outbound().keepalive, 2U);
  EXPECT_EQ(wire.outbound().spurious, 0U);
}

// One byte is not a keep-alive while nobody has acknowledged it.
TEST_P(SegmentClass, TheLastByteUnacknowledgedIsARetransmission) {
  wire.open(0);
  wire.data(30, 0, 1);
  wire.data(330, 0, 1);
  EXPECT_EQ(wire.outbound().keepalive, 0U);
  EXPECT_EQ(wire.outbound().retransmitted, 1U);
}

// 30.0 > id 77, seq 0:1000   30.0 > id 77, seq 0:1000 (the capture sees it twice)
TEST_P(SegmentClass, TheSameIpIdIsADuplicateOfTheCapture) {
  wire.open(0);
  const TcpSpec s = wire.out(0, 1000);
  wire.send(30, s);
  wire.send(30.02, s);
  EXPECT_EQ(wire.outbound().duplicate, 1U);
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
  TcpSpec again = s;  // a retransmission has an identification of its own
  again.ip_id = 900;
  wire.send(330, again);
  EXPECT_EQ(wire.outbound().retransmitted, 1U);
}

// 30.0 > id 77, seq 0:1000   330.0 > id 77, seq 0:1000 (some stacks send again what they kept, identification
// and all)
TEST_P(SegmentClass, TheSameIpIdAfterARoundTripIsARetransmission) {
  wire.open(0);
  const TcpSpec s = wire.out(0, 1000);
  wire.send(30, s);
  wire.send(330, s);  // by timer, no RTT known
  EXPECT_EQ(wire.outbound().retransmitted, 1U);
  wire.ack(350, 1000);
  wire.data(360, 1000, 1000);
  wire.data(360.1, 2000, 1000);
  wire.ack(380.1, 3000);  // an RTT of 20
  const TcpSpec lost = wire.out(3000, 1000);
  wire.send(400, lost);
  for (unsigned i = 4; i < 7; ++i) wire.data(400 + 0.01 * i, i * 1000);
  wire.ack(420.06, 3000, {{4000, 7000}});
  wire.send(421, lost);
  EXPECT_EQ(wire.outbound().retransmitted, 2U);
  EXPECT_EQ(wire.outbound().duplicate, 0U);
}

// IP6: no identification; the same TSval within a millisecond
TEST_P(SegmentClass, WithoutIpIdTheTimestampTellsTheDuplicate) {
  wire.open(0, 20, 1012);  // timestamps take 12 bytes of each segment
  TcpSpec s = wire.out(0, 1000);
  s.ip_id = 0;
  s.timestamps = true;
  s.tsval = 50;
  wire.send(30.0, s);
  wire.send(30.3, s);
  EXPECT_EQ(wire.outbound().duplicate, 1U);
  s.tsval = 350;
  wire.send(330, s);
  EXPECT_EQ(wire.outbound().retransmitted, 1U);
}

// 30 > seq 0:1000   50 < ack 1000   51 > seq 0:1000 (its ACK was on its way)
TEST_P(SegmentClass, WhatWasAcknowledgedIsSentAgainForNothing) {
  wire.open(0);
  wire.data(30, 0);
  wire.ack(50, 1000);
  wire.data(51, 0);
  EXPECT_EQ(wire.outbound().spurious, 1U);
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
}

// 30 > seq 0:1000, 1000:2000   50 < ack 0, sack 1000:2000   51 > seq 1000:2000
TEST_P(SegmentClass, WhatWasSackedIsSentAgainForNothing) {
  wire.open(0);
  wire.data(30.0, 0);
  wire.data(30.1, 1000);
  wire.ack(50, 0, {{1000, 2000}});
  wire.data(51, 1000);
  EXPECT_EQ(wire.outbound().spurious, 1U);
}

// 30 > seq 0:1000, 1000:2000, ...   50 < ack 0, sack   51 > seq 0:1000
TEST_P(SegmentClass, BytesSeenBeforeWereLostBeyond) {
  wire.open(0);
  for (unsigned i = 0; i < 4; ++i) wire.data(30 + 0.1 * i, i * 1000);
  wire.ack(50.3, 0, {{1000, 4000}});
  wire.data(50.5, 0);
  EXPECT_EQ(wire.outbound().retransmitted, 1U);
  wire.ack(70.5, 4000);
  const auto cohorts = wire.cohorts_until(2000);
  ASSERT_EQ(cohorts.size(), 1U);
  EXPECT_EQ(cohorts[0].segments, 5U);  // five transmissions: four delivered, one lost
  EXPECT_EQ(cohorts[0].lost_beyond, 1U);
  EXPECT_EQ(cohorts[0].lost_before, 0U);
}

// 30.0 > seq 0:1000   30.1 > seq 2000:3000   31.0 > seq 1000:2000 (younger than any retransmission could be)
TEST_P(SegmentClass, AHoleFilledAtOnceIsReordering) {
  wire.open(0);
  wire.data(30.0, 0);
  wire.data(30.1, 2000);
  wire.data(31.0, 1000);
  EXPECT_EQ(wire.outbound().reordered, 1U);
  EXPECT_EQ(wire.outbound().hole_fill, 0U);
}

// 30.0 > seq 0:1000   30.1 > seq 2000:3000   51.0 > seq 1000:2000 (never seen before: lost between sender and
// tap)
TEST_P(SegmentClass, AHoleFilledLateWasLostBefore) {
  wire.open(0);
  wire.data(30.0, 0);
  wire.data(30.1, 2000);
  wire.ack(50.0, 1000, {{2000, 3000}});
  wire.data(51.0, 1000);
  wire.ack(71.0, 3000);
  EXPECT_EQ(wire.outbound().hole_fill, 1U);
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
  const auto cohorts = wire.cohorts_until(2000);
  ASSERT_EQ(cohorts.size(), 1U);
  EXPECT_EQ(cohorts[0].lost_before, 1U);
  EXPECT_EQ(cohorts[0].lost_beyond, 0U);
}

// For data that come in the mirror holds: a hole filled later was lost beyond us, bytes seen twice on our
// side.
TEST(SegmentClassInbound, IsTheMirror) {
  Wire wire;
  wire.open(0);
  const auto from_far = [&](double ms, std::uint32_t seq) {
    TcpSpec s = wire.in(0);
    s.seq = wire.peer_base + seq;
    s.payload = 1000;
    wire.send(ms, s);
  };
  from_far(30.0, 0);
  from_far(30.1, 2000);
  from_far(60.0, 1000);  // lost on its way to the tap
  from_far(60.1, 3000);
  from_far(90.0, 3000);  // passed the tap, lost on our side
  TcpSpec ack = wire.out(0, 0);
  ack.ack = wire.peer_base + 4000;
  wire.send(91, ack);
  EXPECT_EQ(wire.inbound().hole_fill, 1U);
  EXPECT_EQ(wire.inbound().retransmitted, 1U);
  Cohort sum;
  for (int i = 1; i <= 20; ++i) {
    const TickResult closed = wire.tick(i * 100.0);
    for (const Cohort& c : closed.inbound[0].mature) {
      sum.segments += c.segments;
      sum.lost_beyond += c.lost_beyond;
      sum.lost_before += c.lost_before;
    }
  }
  EXPECT_EQ(sum.lost_beyond, 1U);
  EXPECT_EQ(sum.lost_before, 1U);
  EXPECT_EQ(sum.segments, 6U);  // five that passed the tap and the one that did not
}

// The capture's own holes are nobody's loss.
TEST_P(SegmentClass, AHoleOfTheCaptureIsUnknown) {
  wire.open(0);
  wire.data(30.0, 0);
  wire.data(30.1, 2000);
  static_cast<void>(wire.tick(100, true));
  wire.data(120.0, 1000);
  EXPECT_EQ(wire.outbound().hole_fill, 0U);
  EXPECT_EQ(wire.outbound().unknown, 1U);
}

// 30 > seq 50000:51000 (joined mid-stream)   31 > seq 30000:31000 (sent before we looked: neither)
TEST_P(SegmentClass, BelowTheStartOfAMidStreamViewNothingIsKnown) {
  wire.data(30, 50'000);
  wire.data(31, 30'000);
  EXPECT_EQ(wire.outbound().unknown, 1U);
  EXPECT_EQ(wire.outbound().retransmitted + wire.outbound().hole_fill, 0U);
}

// What was in flight when the capture began leaves no holes behind.
TEST_P(SegmentClass, AMidStreamStartOnARetransmissionOpensNoHoles) {
  wire.data(30, 10'000);  // in truth a retransmission: 11000..50000 were in flight already
  wire.data(31, 50'000);
  wire.data(50, 11'000);
  EXPECT_EQ(wire.outbound().hole_fill, 0U);
  EXPECT_EQ(wire.outbound().unknown, 1U);
}

// 30 > seq 10000:11000 (again; 11000:50000 are in flight)   31 < ack 10000, sack 40000:45000   32 > seq
// 50000:51000   50 > seq 11000:12000
TEST_P(SegmentClass, AnAckOfWhatIsSentAgainDoesNotShowTheSendersFront) {
  wire.data(30, 10'000);
  wire.ack(31, 10'000, {{40'000, 45'000}});
  wire.ack(31.5, 11'000, {{40'000, 45'000}});
  wire.data(32, 50'000);
  wire.data(50, 11'000);
  EXPECT_EQ(wire.outbound().hole_fill + wire.outbound().reordered, 0U);
  EXPECT_EQ(wire.outbound().unknown, 1U);
}

// 30 > seq 0:1000   (never an ACK: the other direction goes another way)   330 > seq 0:1000
TEST(SegmentClassOneWay, ChargesNoCohort) {
  Wire wire;
  for (unsigned i = 0; i < 10; ++i) wire.data(30 + i, i * 1000);
  wire.data(330, 0);
  EXPECT_EQ(wire.outbound().retransmitted, 1U);
  EXPECT_EQ(wire.estimator.totals().one_way, 11U);
  EXPECT_TRUE(wire.cohorts_until(20'000).empty());
}

// 0 > [S] seq 0   1000 > [S] seq 0   3000 > [S] seq 0
TEST(SegmentClassSyn, RepeatedSynsAreCounted) {
  Wire wire;
  TcpSpec syn = wire.out(0, 0);
  syn.flags = kTcpSyn;
  for (double ms : {0.0, 1000.0, 3000.0}) {
    syn.ip_id = wire.next_id++;
    wire.send(ms, syn);
  }
  EXPECT_EQ(wire.outbound().syn_retransmitted, 2U);
  wire.send(3000.01, syn);  // the capture's duplicate
  EXPECT_EQ(wire.outbound().syn_retransmitted, 2U);
}

// The ports are used anew with another initial sequence number: nothing of the old connection is left.
TEST(SegmentClassSyn, PortReuseStartsAfresh) {
  Wire wire;
  wire.open(0);
  for (unsigned i = 0; i < 5; ++i) wire.data(30 + i, i * 1000);
  wire.ack(60, 5000);
  wire.base -= 3000;  // the new numbers lie within the old ones
  wire.open(1000);
  for (unsigned i = 0; i < 5; ++i) wire.data(1030 + i, i * 1000);
  EXPECT_EQ(wire.outbound().fresh, 10U);
  EXPECT_EQ(wire.outbound().retransmitted + wire.outbound().spurious + wire.outbound().unknown, 0U);
}

// 0 > [S] seq -1, length 500 (Fast Open)   20 < [S.] ack 0 (data refused)   21 > seq 0:500
TEST(SegmentClassSyn, RefusedFastOpenDataWereNotLost) {
  Wire wire;
  TcpSpec syn = wire.out(0, 500);
  syn.seq -= 1;
  syn.flags = kTcpSyn;
  wire.send(0, syn);
  TcpSpec answer = wire.in(0);
  answer.seq -= 1;
  answer.flags = kTcpSyn | kTcpAck;
  wire.send(20, answer);
  wire.data(21, 0, 500);
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
  EXPECT_EQ(wire.outbound().fresh, 2U);
}

// A FIN alone that is repeated is no data segment, but the sender's counter has it.
TEST(SegmentClassFin, ALoneFinIsCountedApart) {
  Wire wire;
  wire.open(0);
  wire.data(30, 0);
  TcpSpec fin = wire.out(1000, 0);
  fin.flags = kTcpFin | kTcpAck;
  wire.send(31, fin);
  fin.ip_id = wire.next_id++;
  wire.send(300, fin);
  EXPECT_EQ(wire.outbound().data, 1U);
  EXPECT_EQ(wire.outbound().fin_retransmitted, 1U);
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
}

// A super-packet of 5 segments, of which the third is lost: counts as wire segments, wherever it was cut.
TEST_P(SegmentClass, SuperPacketsCountTheirWireSegments) {
  wire.open(0);
  wire.data(30, 0, 5000);
  wire.ack(50, 2000, {{3000, 5000}});
  wire.data(51, 2000, 1000);
  wire.ack(71, 5000);
  EXPECT_EQ(wire.outbound().data, 6U);
  EXPECT_EQ(wire.outbound().retransmitted, 1U);
  const auto cohorts = wire.cohorts_until(2000);
  ASSERT_EQ(cohorts.size(), 1U);
  EXPECT_EQ(cohorts[0].segments, 6U);
  EXPECT_EQ(cohorts[0].lost_beyond, 1U);
  // Each of the six carries its own headers of 54 bytes.
  EXPECT_EQ(cohorts[0].sent.count(), 6U * 1054U);
}

// 51 > seq 0:1000 (timer too early)   52 < ack 4000 (sooner than the RTT of 20: it answers the first one)
TEST_P(SegmentClass, AnAnswerSoonerThanTheRttUndoesTheLoss) {
  wire.open(0);
  for (unsigned i = 0; i < 8; ++i) {  // two rounds teach the RTT
    wire.data(30 + i * 10, i * 2000, 1000);
    wire.data(30 + i * 10 + 0.1, i * 2000 + 1000, 1000);
    wire.ack(50 + i * 10 + 0.1, i * 2000 + 2000);
  }
  wire.data(200, 16'000);
  wire.data(230, 16'000);
  wire.ack(231, 17'000);
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
  EXPECT_EQ(wire.outbound().spurious, 1U);
  std::uint32_t lost = 0;
  for (const Cohort& c : wire.cohorts_until(2000)) lost += c.lost_beyond;
  EXPECT_EQ(lost, 0U);
}

/// Segments with timestamps, and ACKs that repeat them.
class EchoedTimestamps : public testing::TestWithParam<std::uint32_t> {
 protected:
  void SetUp() override {
    wire.base = GetParam();
    wire.open(0, 20, 1012);
  }
  void data(double ms, std::uint32_t seq) {
    TcpSpec s = wire.out(seq, 1000);
    s.timestamps = true;
    s.tsval = clock + static_cast<std::uint32_t>(ms);
    wire.send(ms, s);
  }
  void ack(double ms, std::uint32_t number, double echo, std::vector<SequenceRange> sack = {}) {
    TcpSpec s = wire.in(number, std::move(sack));
    s.timestamps = true;
    s.tsecr = clock + static_cast<std::uint32_t>(echo);
    wire.send(ms, s);
  }
  Wire wire;
  std::uint32_t clock = 0U - 35U;  ///< of the sender: wraps while the test runs
};
INSTANTIATE_TEST_SUITE_P(WrapAt, EchoedTimestamps, testing::Values(1'000'000U, 0xffffffffU - 1'500U));

// 30 > seq 0:1000, TS 30   30.1 > seq 1000:2000, TS 30   240 > 0:1000, TS 240   240.1 > 1000:2000, TS 240
// 255 < ack 2000, ecr 30
TEST_P(EchoedTimestamps, AnOlderOneThanThatOfTheLastTransmissionUndoesTheLoss) {
  data(30, 0);
  data(30.1, 1000);
  data(240, 0);
  data(240.1, 1000);
  EXPECT_EQ(wire.outbound().retransmitted, 2U);
  ack(255, 2000, 30);
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
  EXPECT_EQ(wire.outbound().spurious, 2U);
  std::uint32_t lost = 0;
  for (const Cohort& c : wire.cohorts_until(2000)) lost += c.lost_beyond;
  EXPECT_EQ(lost, 0U);
}

// The same, but 260 < ack 2000, ecr 240
TEST_P(EchoedTimestamps, ThatOfTheLastTransmissionLeavesItLost) {
  data(30, 0);
  data(30.1, 1000);
  data(240, 0);
  data(240.1, 1000);
  ack(261, 2000, 240);
  EXPECT_EQ(wire.outbound().retransmitted, 2U);
  EXPECT_EQ(wire.outbound().spurious, 0U);
}

// 30 > 0:1000, TS 30 (lost)   30.1 > 1000:2000   50.1 < ack 0, ecr 29, sack 1000:2000   51 > 0:1000, TS 51
// Of what is SACKed the ACK repeats no timestamp: it is that of what came before the hole.
TEST_P(EchoedTimestamps, OfASelectiveAcknowledgmentSaysNothing) {
  data(29, 0);
  data(29.5, 1000);
  data(30, 2000);
  data(30.1, 3000);
  ack(49.1, 1000, 29);
  data(100, 1000);
  data(100.1, 2000);
  ack(120.2, 1000, 29, {{2000, 3000}});
  EXPECT_EQ(wire.outbound().retransmitted, 2U);
  EXPECT_EQ(wire.outbound().spurious, 0U);
}

// 30 > 0:1000   30.1 > 1000:2000 (lost)   240 > 1000:2000, TS 240   261 < ack 2000, ecr 30: the ACK of the
// first was held back until the second came
TEST_P(EchoedTimestamps, OfAnAcknowledgmentHeldBackIsThatOfItsFirstSegment) {
  data(30, 0);
  data(30.1, 1000);
  data(240, 1000);
  ack(261, 2000, 30);
  EXPECT_EQ(wire.outbound().retransmitted, 1U);
  EXPECT_EQ(wire.outbound().spurious, 0U);
}

// 70 < ack 1000, sack 0:1000 (D-SACK: both arrived)
TEST_P(SegmentClass, ADsackUndoesTheLoss) {
  wire.open(0);
  wire.data(30, 0);
  wire.data(45, 0);
  wire.ack(66, 1000, {{0, 1000}});
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
  EXPECT_EQ(wire.outbound().spurious, 1U);
  std::uint32_t lost = 0;
  for (const Cohort& c : wire.cohorts_until(2000)) lost += c.lost_beyond;
  EXPECT_EQ(lost, 0U);
}

// 30.0-30.4 > 0:40000, held up on their way      30.5 > 40000:43000, which overtake them
// 50.5 < ack 0, sack 40000:43000   50.6-51.0 > 0:40000 again   52 < ack 43000   70.6-71.0 < sack of each:
// twice
TEST_P(SegmentClass, ManySegmentsOvertakenAreNoLossOnceTheirDsacksCome) {
  constexpr std::uint32_t kHeldUp = 40;
  wire.open(0);
  for (std::uint32_t i = 0; i < kHeldUp + 3; ++i) wire.data(30 + i * 0.01, i * 1000);
  wire.ack(50.5, 0, {{kHeldUp * 1000, (kHeldUp + 3) * 1000}});
  for (std::uint32_t i = 0; i < kHeldUp; ++i) wire.data(50.6 + i * 0.01, i * 1000);
  EXPECT_EQ(wire.outbound().retransmitted, kHeldUp);
  wire.ack(62, (kHeldUp + 3) * 1000);
  for (std::uint32_t i = 0; i < kHeldUp; ++i)
    wire.ack(70.6 + i * 0.01, (kHeldUp + 3) * 1000, {{i * 1000, (i + 1) * 1000}});
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
  EXPECT_EQ(wire.outbound().spurious, kHeldUp);
  std::uint32_t lost = 0;
  for (const Cohort& c : wire.cohorts_until(2000)) lost += c.lost_beyond;
  EXPECT_EQ(lost, 0U);
}

// 50 < ack 0, sack 1000:3000 (two segments above: no proof)   51 < ack 3000: it was only late
TEST_P(SegmentClass, TwoSackedSegmentsProveNoLossThreeDo) {
  wire.open(0);
  for (std::uint32_t i = 0; i < 4; ++i) wire.data(30 + i * 0.01, i * 1000);
  wire.ack(50, 0, {{1000, 3000}});
  wire.ack(51, 4000);
  std::vector<Cohort> cohorts = wire.cohorts_until(100);
  ASSERT_EQ(cohorts.size(), 1U) << "nothing is in suspense";
  EXPECT_EQ(cohorts[0].lost_beyond, 0U);

  for (std::uint32_t i = 4; i < 8; ++i) wire.data(105 + i * 0.01, i * 1000);
  wire.ack(126, 4000, {{5000, 8000}});
  cohorts = wire.cohorts_until(300);
  ASSERT_EQ(cohorts.size(), 1U) << "the loss is known before it is sent again";
  EXPECT_EQ(cohorts[0].lost_beyond, 1U);
}

// 30 > 0:1000, 1000:2000, 2000:3000   (the SACK of the last one is lost)   300 > 0:1000   320 < ack 1000,
// sack 2000:3000: what was sent at 300 made it, not what was sent at 30
TEST_P(SegmentClass, ABlockOfAnAckThatAdvancesTimesNothing) {
  wire.open(0);
  for (std::uint32_t i = 0; i < 3; ++i) wire.data(30 + i * 0.01, i * 1000);
  wire.data(300, 0);
  wire.ack(320, 1000, {{2000, 3000}});
  EXPECT_EQ(wire.estimator.rtt_totals(Direction::outbound).samples, 0U);
  wire.data(330, 3000);
  wire.ack(350, 1000, {{2000, 4000}});
  const RttTotals rtt = wire.estimator.rtt_totals(Direction::outbound);
  EXPECT_EQ(rtt.samples, 1U);
  EXPECT_EQ(rtt.min, std::chrono::milliseconds(20));
}

// 30 > 0:1000, 2000:3000, 3000:4000 (1000:2000 go another way)   330 < ack 4000: it waited for those
TEST_P(SegmentClass, AnAckOverBytesThatNeverPassedTimesNothing) {
  wire.open(0);
  wire.data(30.0, 0);
  wire.data(30.1, 2000);
  wire.data(30.2, 3000);
  wire.ack(330, 4000);
  EXPECT_EQ(wire.estimator.rtt_totals(Direction::outbound).samples, 0U);
}

// 30 > 0:1000   180 > 1000:2000   200 > 0:2000, of which one part is old enough for a timer
TEST_P(SegmentClass, TimeoutsAreNeverMoreThanRetransmissions) {
  wire.open(0);
  wire.data(30, 0);
  wire.data(180, 1000);
  wire.data(200, 0, 2000);
  wire.ack(221, 2000, {{1000, 2000}});
  const SegmentTotals& t = wire.outbound();
  EXPECT_EQ(t.retransmitted, 1U);
  EXPECT_EQ(t.fast + t.timeout, t.retransmitted);
}

// The loss is told by the retransmission, and taken back by an ACK that comes too soon to answer it, after
// all that was in trouble is over: by a lone ACK that would else have nothing to tell of losses.
TEST(Spurious, IsTakenBackByWhicheverWayTheAcknowledgmentGoes) {
  for (const std::size_t rows : {0U, 4U}) {
    EstimatorSettings settings = one_site();
    settings.keep_accounts = true;
    settings.keep_flows = rows;
    Wire wire(std::move(settings));
    wire.data(10.0, 0, 1460);
    wire.data(10.1, 1460, 1460);
    wire.ack(115.1, 2920);  // an RTT of 105 ms, from when there was a queue
    wire.data(200, 3920);   // 2920 to 3920 is missing
    wire.data(205, 3920);   // again
    wire.data(235, 2920);   // the missing one
    wire.ack(255, 3920);    // which arrived; it left 30 ms after what was sent again
    EXPECT_EQ(wire.outbound().retransmitted, 1U);
    wire.ack(256, 4920);  // 51 ms after the retransmission
    EXPECT_EQ(wire.outbound().retransmitted, 0U) << rows << " rows";
    EXPECT_EQ(wire.outbound().spurious, 1U) << rows << " rows";
    EXPECT_EQ(wire.outbound().hole_fill, 1U);
  }
}

}  // namespace
}  // namespace weir
