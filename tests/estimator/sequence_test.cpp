#include "estimator/sequence.hpp"

#include <random>
#include <set>

#include <gtest/gtest.h>

namespace weir {
namespace {

TEST(Sequence, ComparesAcrossTheWrap) {
  EXPECT_TRUE(precedes(0xfffffff0U, 0x10U));
  EXPECT_FALSE(precedes(0x10U, 0xfffffff0U));
  EXPECT_EQ(sequence_distance(0x10U, 0xfffffff0U), 32);
  EXPECT_EQ(later_of(0xfffffff0U, 0x10U), 0x10U);
  EXPECT_EQ((SequenceRange{0xfffffff0U, 0x10U}.size()), 32U);
  EXPECT_TRUE((SequenceRange{5, 5}.empty()));
  EXPECT_TRUE(overlap_of({10, 20}, {20, 30}).empty());
}

// Against a set of single bytes, at offsets that put the wrap everywhere.
TEST(SequenceRangeSet, HoldsExactlyWhatWasAdded) {
  std::mt19937 engine(3);
  const auto random = [&engine] { return static_cast<std::uint32_t>(engine()); };
  for (std::uint32_t offset : {0U, 0xffffff80U, 0xffffffffU, 0x7fffffc0U}) {
    for (int round = 0; round < 200; ++round) {
      SequenceRangeSet set(1000);
      std::set<std::uint32_t> model;
      for (int step = 0; step < 20; ++step) {
        const std::uint32_t begin = random() % 200;
        const std::uint32_t end = begin + random() % 20;
        std::size_t fresh = 0;
        set.add({offset + begin, offset + end}, [&](SequenceRange part) {
          for (std::uint32_t b = part.begin; b != part.end; ++b) {
            EXPECT_TRUE(model.insert(b - offset).second) << "reported as new twice";
            ++fresh;
          }
        });
        for (std::uint32_t b = begin; b < end; ++b) EXPECT_TRUE(model.contains(b));
        if (step % 7 == 6) {
          const std::uint32_t edge = random() % 100;
          set.trim_below(offset + edge);
          std::erase_if(model, [&](std::uint32_t b) { return b < edge; });
        }
        std::set<std::uint32_t> held;
        for (const SequenceRange& r : set.ranges()) {
          for (std::uint32_t b = r.begin; b != r.end; ++b) held.insert(b - offset);
        }
        ASSERT_EQ(held, model);
      }
    }
  }
}

TEST(SequenceRangeSet, RefusesToGrowBeyondItsLimit) {
  SequenceRangeSet set(4);
  const auto ignore = [](SequenceRange) {};
  for (std::uint32_t i = 0; i < 100; ++i) set.add({i * 10, i * 10 + 1}, ignore);
  EXPECT_EQ(set.ranges().size(), 4U);
  std::size_t fresh = 0;
  set.add({1, 5}, [&](SequenceRange r) { fresh += r.size(); });  // touches the first: room is not needed
  EXPECT_EQ(fresh, 4U);
}

}  // namespace
}  // namespace weir
