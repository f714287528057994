// The containers under the flow table against ones that need no thought.
#include <map>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/coarse_time.hpp"
#include "estimator/flow_index.hpp"
#include "estimator/frame_clock.hpp"
#include "estimator/slab.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

TEST(FlowIndex, HoldsWhatAMultimapHolds) {
  std::mt19937 engine(1);
  const auto random = [&engine] { return static_cast<std::uint32_t>(engine()); };
  FlowIndex index;
  std::set<std::pair<std::uint32_t, std::uint32_t>> known;  // hash, number
  std::uint32_t next = 0;
  for (int step = 0; step < 200'000; ++step) {
    // Few different hashes, so that chains grow long and wrap around the end of the table.
    const std::uint32_t hash = (random() % 3 == 0 ? random() % 200 : 0xffffff00U + random() % 400);
    const bool grow = known.size() < 3000 && (step / 20'000) % 2 == 0;
    if (grow || known.empty()) {
      index.insert(hash, next);
      known.emplace(hash, next++);
    } else {
      auto victim = known.lower_bound({hash, 0});
      if (victim == known.end()) victim = known.begin();
      index.erase(victim->first, victim->second);
      known.erase(victim);
    }
    ASSERT_EQ(index.size(), known.size());
    if (step % 1000 != 0) continue;
    for (const auto& [h, number] : known) {
      ASSERT_EQ(index.find(h, [n = number](std::uint32_t found) { return found == n; }), number);
    }
    ASSERT_EQ(index.find(12'345'678, [](std::uint32_t) { return true; }), FlowIndex::kNone);
  }
}

TEST(FlowIndex, GrowsAndShrinks) {
  FlowIndex index;
  const std::size_t least = index.bytes_held();
  for (std::uint32_t i = 0; i < 100'000; ++i) index.insert(i * 2'654'435'761U, i);
  EXPECT_GT(index.bytes_held(), 100 * least);
  for (std::uint32_t i = 0; i < 100'000; ++i) index.erase(i * 2'654'435'761U, i);
  EXPECT_LE(index.bytes_held(), 4 * least);
}

TEST(Slab, KeepsObjectsInPlaceAndGivesTheLowestNumberFirst) {
  std::mt19937 engine(2);
  const auto random = [&engine] { return static_cast<std::uint32_t>(engine()); };
  struct alignas(64) Object {  // 64 of them are a page
    explicit Object(std::size_t size, std::uint32_t value) : words(size, value) {}
    std::vector<std::uint32_t> words;
  };
  Slab<Object, 64> slab(500);
  std::map<std::uint32_t, const void*> known;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 3 != 0) {
      const auto number = slab.acquire(std::size_t{3}, static_cast<std::uint32_t>(step));
      if (known.size() == 500) {
        ASSERT_FALSE(number);
        continue;
      }
      ASSERT_TRUE(number);
      std::uint32_t lowest = 0;
      while (known.contains(lowest)) ++lowest;
      ASSERT_EQ(*number, lowest);
      ASSERT_EQ(slab[*number].words.size(), 3U);
      known[*number] = &slab[*number];
    } else if (!known.empty()) {
      auto victim = known.lower_bound(random() % 500);
      if (victim == known.end()) victim = known.begin();
      ASSERT_EQ(&slab[victim->first], victim->second);
      slab.release(victim->first);
      ASSERT_FALSE(slab.is_taken(victim->first));
      known.erase(victim);
    }
    ASSERT_EQ(slab.size(), known.size());
  }
  const std::size_t held = slab.bytes_held();
  while (!known.empty()) {
    slab.release(known.begin()->first);
    known.erase(known.begin());
  }
  EXPECT_LT(slab.bytes_held(), held);
}

TEST(ShortTime, SurvivesItsWrap) {
  for (const Duration at : {Duration(0), Duration(274s), Duration(274s + 877ms), Duration(1'000'000s)}) {
    const TimePoint then{at};
    EXPECT_NEAR(milliseconds(CoarseTime(then).before(then + 100s)), 100'000.0, 0.001);
    EXPECT_NEAR(milliseconds(CoarseTime(then).before(then - 3ms)), -3.0, 0.001);
    EXPECT_NEAR(milliseconds(SlowTime(then).before(then + 60s)), 60'000.0, 2.0);
  }
}

TEST(FrameClock, NeverGoesBack) {
  FrameClock clock;
  EXPECT_EQ(clock.believed(TimePoint(10s)), TimePoint(10s));
  EXPECT_EQ(clock.believed(TimePoint(9s)), TimePoint(10s));
  EXPECT_EQ(clock.believed(TimePoint(10s + 1us)), TimePoint(10s + 1us));
}

TEST(FrameClock, BeginsAnywhere) {
  FrameClock clock;
  EXPECT_EQ(clock.believed(TimePoint()), TimePoint());
  EXPECT_EQ(clock.believed(TimePoint(-5s)), TimePoint());
  EXPECT_EQ(clock.believed(TimePoint(std::chrono::hours(48))), TimePoint());
  EXPECT_EQ(clock.believed(TimePoint(1s)), TimePoint(1s));
  FrameClock before_the_epoch;
  EXPECT_EQ(before_the_epoch.believed(TimePoint(-5s)), TimePoint(-5s));
  EXPECT_EQ(before_the_epoch.believed(TimePoint(5s)), TimePoint(5s));
}

TEST(FrameClock, PassesOverABrokenStampAndFollowsAClockThatWasSet) {
  FrameClock clock;
  static_cast<void>(clock.believed(TimePoint(10s)));
  EXPECT_EQ(clock.believed(TimePoint(10s + 90'000h)), TimePoint(10s));
  EXPECT_EQ(clock.believed(TimePoint(11s)), TimePoint(11s));
  EXPECT_EQ(clock.believed(TimePoint(11s + 25h)), TimePoint(11s));
  EXPECT_EQ(clock.believed(TimePoint(12s + 25h)), TimePoint(11s));
  EXPECT_EQ(clock.believed(TimePoint(13s + 25h)), TimePoint(13s + 25h)) << "the third in a row";
  EXPECT_EQ(clock.believed(TimePoint(14s + 25h)), TimePoint(14s + 25h));
}

TEST(CoarseDuration, KeepsZeroForUnknown) {
  EXPECT_TRUE(CoarseDuration(0ns).is_zero());
  EXPECT_FALSE(CoarseDuration(1ns).is_zero());
  EXPECT_EQ(CoarseDuration(20ms).value(), 20ms);
  EXPECT_GT(CoarseDuration(10min).value(), 270s) << "stops at its end";
}

}  // namespace
}  // namespace weir
