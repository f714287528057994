// A figure over time: its integral against a sum in small steps, and the instants at which the integral
// reaches something against the integral itself.
#include "proving/path/schedule.hpp"

#include <array>
#include <random>

#include <gtest/gtest.h>

namespace weir::proving {
namespace {

using namespace std::chrono_literals;

TimePoint at(Duration d) {
  return TimePoint(d);
}

const std::array<Schedule, 4>& kinds() {
  static const std::array<Schedule, 4> all{
      Schedule(40e6), Schedule({{0s, 100e6}, {80ms, 0.0}, {160ms, 60e6}, {200ms, 10e6}}),
      Schedule(Schedule::Sine{80e6, 0.2, 300ms}), Schedule(Schedule::Sine{80e6, 1.0, 300ms})};
  return all;
}

double in_small_steps(const Schedule& schedule, TimePoint from, TimePoint to) {
  constexpr Duration kStep = 1us;
  double sum = 0.0;
  for (TimePoint t = from; t < to; t += kStep) sum += schedule.at(t + kStep / 2) * seconds(kStep);
  return sum;
}

TEST(Schedule, TheIntegralIsTheSumOfSmallSteps) {
  for (const Schedule& schedule : kinds()) {
    EXPECT_NEAR(schedule.over(at(13ms), at(377ms)), in_small_steps(schedule, at(13ms), at(377ms)), 200.0);
    EXPECT_EQ(schedule.over(at(13ms), at(13ms)), 0.0);
  }
}

TEST(Schedule, ReachesIsTheFirstNanosecondAtWhichTheIntegralHasComeThere) {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::int64_t> start(0, 400'000'000);
  std::uniform_real_distribution<double> amount(1.0, 40e6);
  for (const Schedule& schedule : kinds()) {
    for (int i = 0; i < 500; ++i) {
      const TimePoint from(Duration(start(random)));
      const double wanted = amount(random);
      const auto then = schedule.reaches(from, wanted);
      ASSERT_TRUE(then);
      EXPECT_GE(schedule.over(from, *then), wanted - 2e-3);
      EXPECT_LE(schedule.over(from, *then - 2ns), wanted + 2e-3);
    }
  }
}

TEST(Schedule, NothingIsReachedOnceTheValueStaysAtZero) {
  const Schedule ends({{0s, 1e6}, {1s, 0.0}});
  EXPECT_EQ(ends.reaches(at(0s), 1e6), at(1s));
  EXPECT_FALSE(ends.reaches(at(0s), 1e6 + 1));
  EXPECT_FALSE(Schedule(0.0).reaches(at(0s), 1.0));
  EXPECT_EQ(Schedule(0.0).reaches(at(5s), 0.0), at(5s));
}

TEST(Schedule, KnowsItsNextJump) {
  const Schedule steps({{0s, 1.0}, {80s, 2.0}, {160s, 1.0}});
  EXPECT_EQ(steps.next_jump(at(0s)), at(80s));
  EXPECT_EQ(steps.next_jump(at(80s)), at(160s));
  EXPECT_FALSE(steps.next_jump(at(160s)));
  EXPECT_EQ(steps.next_jump(at(-5s)), at(80s)) << "the first value holds before its step";
  EXPECT_FALSE(Schedule(Schedule::Sine{1.0, 0.5, 1s}).next_jump(at(0s)));
}

}  // namespace
}  // namespace weir::proving
