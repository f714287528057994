// The relay's waiting room: order, bounds, and what a change of delay does to frames that already wait.
#include "relay/delay_line.hpp"

#include <gtest/gtest.h>

namespace weir::lab {
namespace {

using std::chrono::milliseconds;

/// A frame whose only content is its length.
void arrive(DelayLine& line, std::size_t length, Nanoseconds at) {
  line.free_slot(0).length = length;
  line.admit(at);
}

TEST(DelayLine, HoldsEachFrameForItsDelayAndNoLonger) {
  DelayLine line(4, milliseconds(30));
  arrive(line, 100, milliseconds(1));
  arrive(line, 200, milliseconds(5));
  EXPECT_EQ(line.next_due(), Nanoseconds(milliseconds(31)));
  EXPECT_EQ(line.due(milliseconds(31) - Nanoseconds(1)), 0U);
  EXPECT_EQ(line.due(milliseconds(31)), 1U);
  EXPECT_EQ(line.due(milliseconds(35)), 2U);
}

TEST(DelayLine, ReleasesOldestFirstRoundAndRound) {
  DelayLine line(3, milliseconds(1));
  std::size_t next = 1;
  for (std::size_t expected = 1; expected < 20; ++expected) {
    while (line.room() > 0) arrive(line, next++, milliseconds(0));
    EXPECT_EQ(line.waiting_frame(0).length, expected);
    line.release(1);
  }
}

TEST(DelayLine, NeverHoldsMoreThanItsSlots) {
  DelayLine line(2, milliseconds(1));
  arrive(line, 1, milliseconds(0));
  arrive(line, 2, milliseconds(0));
  EXPECT_EQ(line.room(), 0U);
  EXPECT_EQ(line.waiting(), 2U);
}

TEST(DelayLine, AShorterDelayLetsNoFrameOvertake) {
  DelayLine line(4, milliseconds(100));
  arrive(line, 1, milliseconds(0));
  line.set_delay(milliseconds(10));
  arrive(line, 2, milliseconds(1));
  EXPECT_EQ(line.waiting_frame(1).due, Nanoseconds(milliseconds(100)));
  arrive(line, 3, milliseconds(95));
  EXPECT_EQ(line.waiting_frame(2).due, Nanoseconds(milliseconds(105)));
}

TEST(DelayLine, AnEmptyLineHasNothingDue) {
  DelayLine line(2, milliseconds(1));
  EXPECT_FALSE(line.next_due().has_value());
  EXPECT_EQ(line.due(milliseconds(1000)), 0U);
}

}  // namespace
}  // namespace weir::lab
