// When lost bytes are sent again: because ACKs asked for it, or because the sender's timer ran out. Times are
// milliseconds.
#include <gtest/gtest.h>

#include "estimator/smoothed_rtt.hpp"

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

// 30 > seq 0:1000 ... 3000:4000   50.5 < ack 0, sack {1000:4000}   51 > seq 0:1000
TEST(RetransmissionDelay, OfAFastRetransmissionIsARoundTrip) {
  Wire wire;
  wire.open(0);
  for (std::uint32_t i = 0; i < 4; ++i) wire.data(30 + 0.1 * i, i * 1000);
  wire.ack(50.5, 0, {{1000, 4000}});
  wire.data(51, 0);
  EXPECT_EQ(wire.outbound().retransmitted, 1U);
  EXPECT_EQ(wire.outbound().fast, 1U);
  EXPECT_EQ(wire.outbound().timeout, 0U);
  const DelayTotals delay = wire.estimator.retransmission_delay(Direction::outbound);
  EXPECT_EQ(delay.samples, 1U);
  EXPECT_EQ(delay.min, 21ms);
  EXPECT_EQ(wire.estimator.retransmission_delay(Direction::inbound).samples, 0U);
}

// 30 > seq 0:1000   250 > seq 0:1000   670 > seq 0:1000
TEST(RetransmissionDelay, OfATimeoutIsTheTimers) {
  Wire wire;
  wire.open(0);
  wire.data(30, 0);
  wire.data(250, 0);
  wire.data(670, 0);  // the timer has backed off: counted from the last transmission
  EXPECT_EQ(wire.outbound().timeout, 2U);
  EXPECT_EQ(wire.outbound().fast, 0U);
  const DelayTotals delay = wire.estimator.retransmission_delay(Direction::outbound);
  EXPECT_EQ(delay.samples, 2U);
  EXPECT_EQ(delay.min, 220ms);
  EXPECT_NEAR(milliseconds(delay.p99), 420.0, 10.0);
}

// A path of 300 ms: what comes a round trip later was asked for, although other timers run out by then.
TEST(RetransmissionDelay, OfAFarHostIsLongAndNoTimeout) {
  Wire wire;
  wire.open(0, 300);
  double ms = 400;
  for (std::uint32_t i = 0; i < 12; ++i, ms += 400) {
    wire.data(ms, i * 2000);
    wire.data(ms + 0.1, i * 2000 + 1000);
    wire.ack(ms + 300.1, (i + 1) * 2000);
  }
  for (std::uint32_t i = 0; i < 4; ++i) wire.data(ms + 0.1 * i, 24'000 + i * 1000);
  wire.ack(ms + 300.5, 24'000, {{25'000, 28'000}});
  wire.data(ms + 301, 24'000);
  EXPECT_EQ(wire.outbound().fast, 1U);
  EXPECT_EQ(wire.outbound().timeout, 0U);
  wire.data(ms + 301 + 520, 24'000);
  EXPECT_EQ(wire.outbound().timeout, 1U);
}

// A retransmission of two segments whose first one had been sent earlier: its own delay is that of the
// oldest.
TEST(RetransmissionDelay, OfSeveralSegmentsIsThatOfTheOldest) {
  Wire wire;
  wire.open(0);
  wire.data(30, 0);
  wire.data(60, 1000);
  wire.data(80, 0, 2000);
  EXPECT_EQ(wire.outbound().fast, 2U);
  EXPECT_EQ(wire.estimator.retransmission_delay(Direction::outbound).min, 50ms);
  EXPECT_EQ(wire.estimator.retransmission_delay(Direction::outbound).samples, 2U);
}

// 30 > seq 0:1000   250 > seq 0:1000   260 < ack 1000   261 < ack 1000, sack {0:1000}   (RFC 2883)
TEST(RetransmissionDelay, ATimeoutThatWasForNothingIsNoTimeoutAnyMore) {
  Wire wire;
  wire.open(0);
  wire.data(30, 0);
  wire.data(250, 0);
  EXPECT_EQ(wire.outbound().timeout, 1U);
  wire.ack(260, 1000);
  wire.ack(261, 1000, {{0, 1000}});
  EXPECT_EQ(wire.outbound().spurious, 1U);
  EXPECT_EQ(wire.outbound().retransmitted, 0U);
  EXPECT_EQ(wire.outbound().timeout, 0U);
  EXPECT_EQ(wire.outbound().fast, 0U);
}

TEST(RetransmissionDelay, OfWhatWasLostBeforeTheTapIsNotKnown) {
  Wire wire;
  wire.open(0);
  wire.data(30, 0);
  wire.data(30.1, 2000);
  wire.data(260, 1000);
  EXPECT_EQ(wire.outbound().hole_fill, 1U);
  EXPECT_EQ(wire.estimator.retransmission_delay(Direction::outbound).samples, 0U);
}

// The timeouts of 200 ms stand out beside the fast retransmissions.
TEST(DurationHistogram, ItsBinsAreExact) {
  DurationHistogram h;
  EXPECT_TRUE(h.bins().empty());
  for (int i = 0; i < 90; ++i) h.add(20ms + i * 10us);
  for (int i = 0; i < 10; ++i) h.add(205ms + i * 1ms);
  h.add(200s);  // beyond the scale: in the last bin
  const auto bins = h.bins();
  std::uint64_t sum = 0;
  Duration from{};
  for (const DurationHistogram::Bin& bin : bins) {
    EXPECT_GT(bin.end, from);
    if (from <= 20ms && bin.end > 20900us) {
      EXPECT_EQ(bin.count, 90U);
    }
    if (from <= 205ms && bin.end > 214ms) {
      EXPECT_EQ(bin.count, 10U);
    }
    from = bin.end;
    sum += bin.count;
  }
  EXPECT_EQ(sum, h.total());
  EXPECT_GT(bins.front().count, 0U) << "nothing below the first one with anything in it";
  EXPECT_EQ(bins.back().count, 1U);
  EXPECT_EQ(bins.back().end, Duration::max());
}

// RFC 6298, 2.2 and 2.3.
TEST(SmoothedRtt, IsTheSendersOwn) {
  SmoothedRtt rtt;
  EXPECT_FALSE(rtt.is_known());
  rtt.add(100ms);
  EXPECT_EQ(rtt.mean(), 100ms);
  EXPECT_EQ(rtt.longest_usual(), 300ms);
  rtt.add(180ms);  // variation 3/4 50 + 1/4 80 = 57.5, then the mean 7/8 100 + 1/8 180
  EXPECT_EQ(rtt.mean(), 110ms);
  EXPECT_NEAR(milliseconds(rtt.longest_usual()), 340.0, 0.001);  // kept in steps of 64 ns
}

}  // namespace
}  // namespace weir
