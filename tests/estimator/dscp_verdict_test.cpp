// A provider that honours DSCP, one that does not, and what must not be taken for either. A window is 100 ms.
#include "estimator/dscp_verdict.hpp"

#include <random>

#include <gtest/gtest.h>

#include "estimator/measurement.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr std::uint8_t kEf = 46;
constexpr std::uint8_t kAf41 = 34;
constexpr std::uint8_t kAf43 = 38;
constexpr std::uint8_t kDefault = 0;

/// Windows of traffic through a path, one after the other.
class Path {
 public:
  explicit Path(std::uint32_t seed) : random_(seed) {}

  struct Class {
    std::uint8_t dscp = 0;
    std::uint32_t segments = 0;
    double loss = 0.0;
    Duration queue{};
  };
  void window(std::initializer_list<Class> classes) {
    for (const Class& c : classes) comparison.sent(c.dscp, now_, c.segments);
    for (const Class& c : classes) {
      comparison.lost(c.dscp, now_, std::binomial_distribution<std::uint32_t>(c.segments, c.loss)(random_));
      comparison.queued(c.dscp, now_ + 50ms, c.queue, 20ms);
    }
    now_ += kCohortLength;
  }
  /// Congested every other second.
  void congested(int seconds, std::initializer_list<Class> then) {
    for (int s = 0; s < seconds; ++s) {
      for (int i = 0; i < 10; ++i) window(then);
      for (int i = 0; i < 10; ++i) window({{kEf, 20}, {kDefault, 80}});
    }
  }
  std::mt19937& random() { return random_; }
  DscpComparison comparison;

 private:
  std::mt19937 random_;
  TimePoint now_{100s};
};

TEST(DscpVerdict, HonouredWhenTheFavouredClassLosesNothingWhileTheOtherDoes) {
  Path path(1);
  path.congested(30, {{kEf, 20}, {kDefault, 80, 0.05}});
  const DscpFinding f = path.comparison.finding(true);
  EXPECT_EQ(f.verdict, DscpVerdict::honoured);
  EXPECT_GE(f.confidence, 0.99);
  EXPECT_EQ(f.favoured, ServiceClass::expedited);
  EXPECT_EQ(f.other, ServiceClass::standard);
  EXPECT_NEAR(f.windows, 300, 10);  // of 80 segments at 5 % hardly a window loses none
}

TEST(DscpVerdict, IgnoredWhenCongestionTakesFromBothAlike) {
  Path path(1);
  path.congested(30, {{kEf, 20, 0.05}, {kDefault, 80, 0.05}});
  const DscpFinding f = path.comparison.finding(true);
  EXPECT_EQ(f.verdict, DscpVerdict::ignored);
  EXPECT_GE(f.confidence, 0.99);
  EXPECT_GE(f.windows, 290U);
}

// The same losses, but nothing says that they follow the load: random ones spare nobody, under any provider.
TEST(DscpVerdict, RandomLossIsNoSignThatItIsIgnored) {
  Path path(1);
  path.congested(300, {{kEf, 20, 0.05}, {kDefault, 80, 0.05}});
  const DscpFinding f = path.comparison.finding(false);
  EXPECT_EQ(f.verdict, DscpVerdict::unknown);
  EXPECT_EQ(f.confidence, 0.0);
  EXPECT_GT(f.windows, 0U);
}

TEST(DscpVerdict, RandomLossWhileOneQueueHoldsBothIs) {
  Path path(1);
  path.congested(30, {{kEf, 20, 0.05, 40ms}, {kDefault, 80, 0.05, 42ms}});
  EXPECT_EQ(path.comparison.finding(false).verdict, DscpVerdict::ignored);
}

TEST(DscpVerdict, HonouredWhenTheFavouredClassPassesTheQueue) {
  Path path(1);
  path.congested(30, {{kEf, 20, 0.0, 1ms}, {kDefault, 80, 0.0, 40ms}});
  const DscpFinding f = path.comparison.finding(false);
  EXPECT_EQ(f.verdict, DscpVerdict::honoured);
  EXPECT_EQ(f.windows, 300U);
}

TEST(DscpVerdict, AQueueWithinTheNoiseIsNone) {
  Path path(1);
  path.congested(100, {{kEf, 20, 0.0, 1ms}, {kDefault, 80, 0.0, 5ms}});
  EXPECT_EQ(path.comparison.finding(true).verdict, DscpVerdict::unknown);
  EXPECT_EQ(path.comparison.finding(true).windows, 0U);
}

TEST(DscpVerdict, AFewSecondsAreTooLittle) {
  for (const double ef : {0.0, 0.05}) {
    Path path(1);
    path.congested(5, {{kEf, 200, ef, 1ms}, {kDefault, 800, 0.05, 40ms}});
    EXPECT_EQ(path.comparison.finding(true).verdict, DscpVerdict::unknown) << ef;
  }
}

TEST(DscpVerdict, OneClassAloneIsNothingToCompare) {
  Path path(1);
  for (int i = 0; i < 1000; ++i) path.window({{kDefault, 80, 0.05, 40ms}});
  EXPECT_EQ(path.comparison.finding(true).verdict, DscpVerdict::unknown);
  EXPECT_EQ(DscpComparison().finding(true).verdict, DscpVerdict::unknown);
}

// Both are sent, but never within one window: whether the path was the same then is not known.
TEST(DscpVerdict, OnlyTheSameWindowsCompare) {
  Path path(1);
  for (int i = 0; i < 1000; ++i) {
    path.window({{kDefault, 80, 0.05, 40ms}});
    path.window({{kEf, 80, 0.0, 0ms}});
  }
  EXPECT_EQ(path.comparison.finding(true).verdict, DscpVerdict::unknown);
}

// EF above its contract is dropped while nothing else is: treated differently, but not spared.
TEST(DscpVerdict, AClassThatFaresWorseIsNeitherSparedNorTreatedAlike) {
  Path path(1);
  path.congested(60, {{kEf, 40, 0.05}, {kDefault, 60, 0.0}});
  EXPECT_EQ(path.comparison.finding(true).verdict, DscpVerdict::unknown);
}

TEST(DscpVerdict, OneSparedClassIsEnough) {
  Path path(1);
  path.congested(60, {{kEf, 20}, {kAf41, 30, 0.05}, {kAf43, 30, 0.05}, {kDefault, 50, 0.05}});
  const DscpFinding f = path.comparison.finding(true);
  EXPECT_EQ(f.verdict, DscpVerdict::honoured);
  EXPECT_EQ(f.favoured, ServiceClass::expedited);
}

// Drop-tail queues lose whole bursts of one flow: by chance now of this class, now of that.
TEST(DscpVerdict, BurstsAreNotTakenForManyDraws) {
  int honoured = 0;
  int ignored = 0;
  for (std::uint32_t seed = 1; seed <= 200; ++seed) {
    Path path(seed);
    for (int s = 0; s < 40; ++s) {
      for (int i = 0; i < 10; ++i) {
        const bool ef = path.random()() % 2 == 0;
        path.window({{kEf, 50, ef ? 0.3 : 0.0}, {kDefault, 50, ef ? 0.0 : 0.3}});
      }
    }
    const DscpVerdict verdict = path.comparison.finding(true).verdict;
    honoured += verdict == DscpVerdict::honoured ? 1 : 0;
    ignored += verdict == DscpVerdict::ignored ? 1 : 0;
  }
  EXPECT_LE(honoured, 4);
  EXPECT_GE(ignored, 150);
}

// Invariants over many paths: treated alike is hardly ever called honoured, spared never ignored.
TEST(DscpVerdict, IsSeldomWrong) {
  int wrongly_honoured = 0;
  int wrongly_ignored = 0;
  for (std::uint32_t seed = 1; seed <= 300; ++seed) {
    Path alike(seed);
    alike.congested(25, {{kEf, 10, 0.02, 20ms}, {kDefault, 90, 0.02, 20ms}});
    wrongly_honoured += alike.comparison.finding(true).verdict == DscpVerdict::honoured ? 1 : 0;
    Path spared(seed);
    spared.congested(25, {{kEf, 20, 0.005}, {kDefault, 80, 0.05}});
    wrongly_ignored += spared.comparison.finding(true).verdict == DscpVerdict::ignored ? 1 : 0;
  }
  EXPECT_LE(wrongly_honoured, 3);
  EXPECT_EQ(wrongly_ignored, 0);
}

TEST(DscpVerdict, LossesThatWereNoneAreTakenBack) {
  DscpComparison comparison;
  for (int i = 0; i < 300; ++i) {
    const TimePoint at{100s + i * kCohortLength};
    comparison.sent(kEf, at, 20);
    comparison.sent(kDefault, at, 80);
    comparison.lost(kDefault, at, 5);
    comparison.loss_undone(kDefault, at + 10ms, 7);
  }
  EXPECT_EQ(comparison.finding(true).windows, 0U);
}

// The capture lost frames: no retransmission seen is no sign that nothing was lost.
TEST(DscpVerdict, WhatIsForgottenIsNoEvidence) {
  Path path(1);
  path.congested(6, {{kEf, 20}, {kDefault, 80, 0.05}});
  EXPECT_GT(path.comparison.finding(true).windows, 0U);
  path.comparison.forget_open();
  EXPECT_EQ(path.comparison.finding(true).windows, 0U);
  path.comparison.lost(kDefault, TimePoint{101s}, 5);
  EXPECT_EQ(path.comparison.finding(true).windows, 0U);
}

TEST(DscpVerdict, StampsFarApartCostNothing) {
  DscpComparison comparison;
  for (int day = 0; day < 1000; ++day) comparison.sent(kEf, TimePoint{24h * day}, 1);
  comparison.lost(kEf, TimePoint{24h * 2000}, 1);
  comparison.lost(kEf, TimePoint{1s}, 1);
  EXPECT_EQ(comparison.finding(true).windows, 0U);
}

TEST(ServiceClass, IsThatOfTheStandards) {
  EXPECT_EQ(service_class_of(kEf), ServiceClass::expedited);
  EXPECT_EQ(service_class_of(kAf41), service_class_of(kAf43));
  EXPECT_EQ(service_class_of(8), ServiceClass::lower_effort);
  EXPECT_EQ(service_class_of(1), ServiceClass::lower_effort);
  EXPECT_LT(ServiceClass::lower_effort, ServiceClass::standard);
  EXPECT_FALSE(service_class_of(3)) << "no standard meaning";
  EXPECT_FALSE(service_class_of(255));
}

}  // namespace
}  // namespace weir
