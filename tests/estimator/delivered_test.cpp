// What the path carried: bytes count once for each transmission that is known to have arrived. Times are
// milliseconds.
#include <gtest/gtest.h>

#include "estimator/sent_twice.hpp"

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;

// A segment of 1000 bytes and its headers.
constexpr std::uint64_t kSegment = 1054;

class Carried : public testing::TestWithParam<std::uint32_t> {
 protected:
  void SetUp() override {
    wire.base = GetParam();
    wire.open(0);
  }
  /// Segments told as delivered until `ms`.
  std::uint64_t segments_until(double ms) {
    for (; ticked_ + 100.0 <= ms;) {
      ticked_ += 100.0;
      const TickResult r = wire.tick(ticked_);
      bytes_ += r.outbound[0].delivered_bytes.value_or(Bytes()).count();
    }
    EXPECT_EQ(bytes_ % kSegment, 0U);
    return bytes_ / kSegment;
  }
  Wire wire;

 private:
  double ticked_ = 0.0;
  std::uint64_t bytes_ = 0;
};
INSTANTIATE_TEST_SUITE_P(WrapAt, Carried, testing::Values(1'000'000U, 0xffffffffU - 1'500U));

// 30 > 0:1000   45 > 0:1000   51 < ack 1000   66 < sack 0:1000
TEST_P(Carried, WhatADsackTellsCountsWhenItIsTold) {
  wire.data(30, 0);
  wire.data(45, 0);
  wire.ack(51, 1000);
  EXPECT_EQ(segments_until(100), 1U);
  wire.ack(166, 1000, {{0, 1000}});
  EXPECT_EQ(segments_until(200), 2U);
}

// 30 > 0:1000   51 < ack 1000   52 > 0:1000 (its ACK was on its way)   73 < sack 0:1000
TEST_P(Carried, SoDoesWhatWasSentAgainAfterItsAck) {
  wire.data(30, 0);
  wire.ack(51, 1000);
  wire.data(52, 0);
  wire.ack(73, 1000, {{0, 1000}});
  EXPECT_EQ(segments_until(100), 2U);
}

// 30 > 0:3000   51 < sack 1000:3000   52 > 1000:2000   73 < ack 0, sack 1000:2000 1000:3000
TEST_P(Carried, SoDoesWhatWasSentAgainAboveTheAck) {
  for (std::uint32_t i = 0; i < 3; ++i) wire.data(30 + 0.1 * i, i * 1000);
  wire.ack(51, 0, {{1000, 3000}});
  wire.data(52, 1000);
  wire.ack(73, 0, {{1000, 2000}, {1000, 3000}});
  EXPECT_EQ(segments_until(100), 3U);
}

// 30 > 0:1000 (lost)   45 > 0:1000   66 < ack 1000
TEST_P(Carried, WhatWasLostDoesNotCount) {
  wire.data(30, 0);
  wire.data(45, 0);
  wire.ack(66, 1000);
  wire.data(70, 1000);
  wire.ack(91, 2000);
  EXPECT_EQ(segments_until(1000), 2U);
}

// The network's own copies, of what was sent once, and one that is told twice.
TEST_P(Carried, ADsackCountsForATransmissionThatPassedAndOnce) {
  wire.data(30, 0);
  wire.ack(51, 1000);
  wire.ack(51.1, 1000, {{0, 1000}});
  EXPECT_EQ(segments_until(100), 1U);
  wire.data(130, 0);
  wire.ack(151, 1000, {{0, 1000}});
  wire.ack(151.1, 1000, {{0, 1000}});
  EXPECT_EQ(segments_until(200), 2U);
}

// A timer that ran out too early: all of a window passes again, in segments of its own.
TEST_P(Carried, AWindowThatWasSentAgainCountsSegmentBySegment) {
  constexpr std::uint32_t kWindow = 200;
  for (std::uint32_t i = 0; i < kWindow; ++i) wire.data(30 + 0.01 * i, i * 1000);
  for (std::uint32_t i = 0; i < kWindow; ++i) wire.data(235 + 0.01 * i, i * 1000);
  wire.ack(240, kWindow * 1000);
  for (std::uint32_t i = 0; i < kWindow; ++i) {
    if (i % 4 == 1) continue;  // lost
    wire.ack(260 + 0.01 * i, kWindow * 1000, {{i * 1000, i * 1000 + 1000}});
  }
  EXPECT_EQ(segments_until(400), kWindow + kWindow * 3 / 4);
}

TEST(SentTwice, TellsTheShareOfAPartOnce) {
  SentTwice sent;
  sent.add({1000, 3000}, 2200);
  EXPECT_EQ(sent.take({5000, 6000}), 0U);
  EXPECT_EQ(sent.take({1500, 2000}), 550U);
  EXPECT_EQ(sent.take({1000, 2000}), 550U);
  EXPECT_EQ(sent.take({0, 9000}), 1100U);
  EXPECT_EQ(sent.take({0, 9000}), 0U);
}

TEST(SentTwice, BytesThatWereSentThreeTimesCameTwiceInOneOfThem) {
  SentTwice sent;
  sent.add({1000, 2000}, 1100);
  sent.add({0, 3000}, 3300);
  EXPECT_EQ(sent.take({0, 2000}), 2200U);
  EXPECT_EQ(sent.take({1000, 2000}), 1100U);
  EXPECT_EQ(sent.take({1000, 2000}), 0U);
  EXPECT_EQ(sent.take({2000, 3000}), 1100U);
}

TEST(SentTwice, ForgetsTheOldest) {
  SentTwice sent;
  for (std::uint32_t i = 0; i < 65; ++i) sent.add({i * 2000, i * 2000 + 1000}, 1100);
  EXPECT_EQ(sent.take({0, 1000}), 0U);
  for (std::uint32_t i = 1; i < 65; ++i) EXPECT_EQ(sent.take({i * 2000, i * 2000 + 1000}), 1100U) << i;
}

}  // namespace
}  // namespace weir
