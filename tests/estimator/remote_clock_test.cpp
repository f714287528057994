// Which way a queue waits: made-up paths whose queues are known at every moment, clocks of every kind.
#include "estimator/remote_clock.hpp"

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/remote_clocks.hpp"

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

using QueueMs = std::function<double(double at_ms)>;

/// A far host 20 ms away, its clock, and what waits on the way there and back.
struct Path {
  double tick_ms = 1.0;
  double drift_ppm = 0.0;
  double every_ms = 0.7;   ///< a sample; varied by half
  double jitter_ms = 0.1;  ///< of the stamps, only ever late
  std::uint32_t first_value = 123'456'789;
  QueueMs forward = [](double) { return 0.0; };
  QueueMs reverse = [](double) { return 0.0; };
};

/// What it says about a path, against the truth.
class Watch {
 public:
  explicit Watch(Path of, std::uint32_t seed = 1) : path(std::move(of)), random_(seed) {}

  /// Lets samples come until then. The base is the least RTT so far, as that of a flow is.
  Watch& until(double ms) {
    for (; now_ < ms; now_ += path.every_ms * (0.5 + fraction())) {
      // Each way is served in order: what came first leaves first, also while a queue empties.
      left_ = std::max(left_, now_ + 10.0 + path.forward(now_));
      arrived_ = std::max(arrived_, left_ + 10.0 + path.reverse(left_) + path.jitter_ms * fraction());
      const double rtt = arrived_ - now_;
      base_ = std::min(base_, rtt);
      take(rtt, left_ - now_ - 10.0, arrived_ - left_ - 10.0);
    }
    return *this;
  }
  /// The far clock as it stands at that moment.
  [[nodiscard]] std::uint32_t value_at(double ms) const {
    const double ticks = std::floor((ms * (1.0 + path.drift_ppm * 1e-6) + set_by_ms) / path.tick_ms + 0.37);
    return path.first_value + static_cast<std::uint32_t>(static_cast<std::int64_t>(ticks));
  }
  void forget() { samples = told = beyond = 0, worst = sum_forward = sum_reverse = worst_claim = 0.0; }
  [[nodiscard]] double share() const { return static_cast<double>(told) / static_cast<double>(samples); }
  [[nodiscard]] double mean_forward() const { return sum_forward / static_cast<double>(told); }
  [[nodiscard]] double mean_reverse() const { return sum_reverse / static_cast<double>(told); }

  Path path;
  RemoteClock clock;
  double set_by_ms = 0.0;      ///< somebody set the clock
  std::size_t samples = 0;     ///< since the last call of forget
  std::size_t told = 0;        ///< of these, split
  std::size_t beyond = 0;      ///< of these, further off than they said, by more than stamps are
  double worst = 0.0;          ///< error of a split's reverse queue
  double worst_claim = -99.0;  ///< that error less what it said it may be
  double sum_forward = 0.0;
  double sum_reverse = 0.0;

 private:
  double fraction() { return std::uniform_real_distribution<double>()(random_); }
  void take(double rtt, double forward, double reverse) {
    ++samples;
    const auto split = clock.on_sample({.at = at_ms(arrived_),
                                        .value = value_at(left_),
                                        .rtt = from_seconds(rtt / 1e3),
                                        .base = from_seconds(base_ / 1e3)});
    if (!split) return;
    ++told;
    EXPECT_GE(split->forward, Duration::zero());
    EXPECT_GE(split->reverse, Duration::zero());
    EXPECT_GT(split->within, Duration::zero());
    EXPECT_NEAR(milliseconds(split->forward + split->reverse), rtt - base_, 1e-4);
    sum_forward += milliseconds(split->forward);
    sum_reverse += milliseconds(split->reverse);
    const double error = std::max(std::abs(milliseconds(split->forward) - forward),
                                  std::abs(milliseconds(split->reverse) - reverse));
    worst = std::max(worst, error);
    worst_claim = std::max(worst_claim, error - milliseconds(split->within));
    if (error > milliseconds(split->within) + path.jitter_ms + 0.1) ++beyond;
  }

  std::mt19937 random_;
  double now_ = 0.0;
  double left_ = 0.0;     ///< the far host
  double arrived_ = 0.0;  ///< at the tap
  double base_ = 1e9;
};

/// A queue that fills and is emptied, as senders that answer to loss make it.
QueueMs sawtooth(double most, double period_ms, double from_ms = 3000.0) {
  return
      [=](double at) { return at < from_ms ? 0.0 : most * std::fmod(at - from_ms, period_ms) / period_ms; };
}
/// A queue that stands, after three seconds without.
QueueMs standing(double ms, double from_ms = 3000.0) {
  return [=](double at) { return std::clamp((at - from_ms) / 20.0, 0.0, 1.0) * ms; };
}

TEST(RemoteClock, KnowsTheUsualTicksAndNoOther) {
  for (const double tick : {0.001, 1.0, 4.0, 10.0}) {
    Watch watch({.tick_ms = tick});
    watch.until(5000);
    ASSERT_TRUE(watch.clock.tick()) << tick;
    EXPECT_NEAR(milliseconds(*watch.clock.tick()), tick, 1e-9);
  }
  for (const double tick : {1000.0 / 1024.0, 2.0, 0.1, 0.0641, 15.625, 100.0, 500.0, 1.01}) {
    Watch watch({.tick_ms = tick});
    watch.until(30'000);
    EXPECT_FALSE(watch.clock.tick()) << tick;
    EXPECT_EQ(watch.told, 0U) << tick;
  }
}

struct Case {
  const char* name;
  QueueMs forward;
  QueueMs reverse;
};

// Every tick, every drift, every kind of queue, on either way and on both.
TEST(RemoteClock, TellsWhichWayWaits) {
  const auto none = [](double) { return 0.0; };
  const Case cases[] = {{"forward, sawtooth", sawtooth(40, 1500), none},
                        {"reverse, sawtooth", none, sawtooth(40, 1500)},
                        {"both, sawtooth", sawtooth(30, 1100), sawtooth(50, 1700)},
                        {"forward, standing", standing(60), none},
                        {"reverse, standing", none, standing(60)},
                        {"both, standing", standing(40), standing(60)}};
  for (const double tick : {0.001, 1.0, 4.0, 10.0}) {
    for (const double drift : {-200.0, -20.0, 0.0, 20.0, 200.0}) {
      for (const Case& c : cases) {
        Watch watch({.tick_ms = tick, .drift_ppm = drift, .forward = c.forward, .reverse = c.reverse});
        watch.until(3000).forget();
        watch.until(13'000);
        const std::string where =
            std::string(c.name) + ", tick " + std::to_string(tick) + ", drift " + std::to_string(drift);
        EXPECT_GT(watch.share(), 0.9) << where;
        EXPECT_LT(watch.worst, 2.5 + 0.9 * tick) << where;
        EXPECT_LT(watch.worst_claim, 0.5 + 0.9 * tick) << where;
      }
    }
  }
}

TEST(RemoteClock, DriftIsLearntAndDoesNotAddUp) {
  for (const double drift : {-200.0, 200.0}) {
    Watch watch({.drift_ppm = drift, .every_ms = 5.0, .forward = sawtooth(30, 9000)});
    watch.until(600'000).forget();  // it has slipped by 120 ms
    watch.until(900'000);
    EXPECT_GT(watch.share(), 0.95) << drift;
    EXPECT_LT(watch.worst, 2.0) << drift;
    // The skew is known now: also a queue that stands for half a minute is told.
    watch.path.forward = standing(0);
    watch.path.reverse = standing(25, 905'000);
    watch.until(906'000).forget();
    watch.until(936'000);
    EXPECT_GT(watch.share(), 0.95) << drift;
    EXPECT_NEAR(watch.mean_reverse(), 25.0, 1.5) << drift;
  }
}

TEST(RemoteClock, TimestampsWrap) {
  for (const double tick : {0.001, 1.0, 10.0}) {
    // Four seconds before the wrap.
    const auto first = static_cast<std::uint32_t>(-4000.0 / tick);
    Watch watch({.tick_ms = tick, .first_value = first, .reverse = sawtooth(40, 1500)});
    watch.until(3000).forget();
    watch.until(9000);
    EXPECT_GT(watch.share(), 0.95) << tick;
    EXPECT_LT(watch.worst, 2.0 + 0.5 * tick) << tick;
  }
}

// Fast clocks wrap twice an hour, and the sign of the difference once.
TEST(RemoteClock, MicrosecondsWrapMoreThanOnce) {
  Watch watch({.tick_ms = 0.001, .every_ms = 200.0, .forward = sawtooth(30, 2600)});
  watch.until(10'000'000);
  EXPECT_GT(watch.share(), 0.99);
  EXPECT_LT(watch.worst, 2.0);
}

TEST(RemoteClock, IdleGapsCostNothingUpToAMinute) {
  Watch watch({.reverse = sawtooth(40, 1500)});
  watch.until(6000).forget();
  watch.path.every_ms = 30'000.0;  // the next sample comes within that and a half of it
  watch.until(40'000);
  watch.path.every_ms = 0.7;
  watch.until(70'000);
  EXPECT_GT(watch.share(), 0.95);
  EXPECT_LT(watch.worst, 9.0) << "a quarter of a millisecond for each second of the gap";
  watch.forget();
  watch.until(90'000);
  EXPECT_LT(watch.worst, 1.5);
}

TEST(RemoteClock, BehindALongPauseItIsLearntAnew) {
  Watch watch({});
  watch.until(3000);
  ASSERT_TRUE(watch.clock.tick());
  const auto split = watch.clock.on_sample(
      {.at = at_ms(70'000), .value = watch.value_at(70'000), .rtt = 20ms, .base = 20ms});
  EXPECT_FALSE(split);
  EXPECT_FALSE(watch.clock.tick());
}

TEST(RemoteClock, AClockThatIsSetIsNoticedAndLearntAnew) {
  for (const double jump : {-3'600'000.0, -500.0, -80.0, 80.0, 500.0, 3'600'000.0}) {
    Watch watch({.forward = sawtooth(20, 700)});
    watch.until(6000).forget();
    watch.set_by_ms = jump;
    watch.until(6800);
    EXPECT_EQ(watch.told, 0U) << jump << ": none is better than a wrong one";
    watch.until(9000).forget();
    watch.until(12'000);
    EXPECT_GT(watch.share(), 0.95) << jump;
    EXPECT_LT(watch.worst, 2.0) << jump;
  }
}

TEST(RemoteClock, ValuesThatDoNotFitAreLeftOut) {
  Watch watch({.reverse = sawtooth(30, 1100)});
  std::mt19937 random(7);
  for (double ms = 0.0; ms < 8000.0;) {
    ms += 20.0;
    watch.until(ms);
    // One forged, one that is a second old, one from the future.
    for (const std::uint32_t value :
         {static_cast<std::uint32_t>(random()), watch.value_at(ms) - 1000U, watch.value_at(ms) + 1000U}) {
      EXPECT_FALSE(
          watch.clock.on_sample({.at = watch.clock.last(), .value = value, .rtt = 50ms, .base = 20ms}));
    }
  }
  watch.forget();
  watch.until(12'000);
  EXPECT_GT(watch.share(), 0.95);
  EXPECT_LT(watch.worst, 2.0);
}

TEST(RemoteClock, GarbageIsNoClock) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    RemoteClock clock;
    double ms = 0.0;
    std::uint32_t value = static_cast<std::uint32_t>(random());
    for (int i = 0; i < 3000; ++i) {
      ms += 0.01 + static_cast<double>(random() % 4000) / 1000.0;
      switch (seed % 5) {
        case 0:
          value = static_cast<std::uint32_t>(random());
          break;
        case 1:
          break;  // it stands still
        case 2:
          ++value;
          break;  // it counts segments
        case 3:
          value += static_cast<std::uint32_t>(random() % 7);
          break;
        default:
          value -= static_cast<std::uint32_t>(random() % 3);
          break;
      }
      const Duration rtt = 20ms + Duration(random() % 30'000'000);
      EXPECT_FALSE(clock.on_sample({.at = at_ms(ms), .value = value, .rtt = rtt, .base = 20ms})) << seed;
    }
    EXPECT_FALSE(clock.tick()) << seed;
  }
}

// Of a receiver that holds its answers back TSval is that of the answer: its time is on the forward way.
TEST(RemoteClock, WhatTheFarHostTakesIsForward) {
  Watch watch({.forward = [](double at) {
    return at < 3000.0 ? 0.0 : std::fmod(at, 97.0) < 40.0 ? 40.0 : 0.0;
  }});
  watch.until(3000).forget();
  watch.until(8000);
  EXPECT_GT(watch.share(), 0.95);
  EXPECT_LT(watch.mean_reverse(), 0.8);
  EXPECT_GT(watch.mean_forward(), 5.0);
}

// A queue stood when the flow began, and was taken for part of the base until it ebbed.
TEST(RemoteClock, ABaseThatFallsWidensWhatWasKnown) {
  for (const bool forward : {true, false}) {
    const auto ebbs = [](double at) { return at < 4000.0 ? 30.0 : 20.0 * std::abs(std::sin(at / 400.0)); };
    const auto none = [](double) { return 0.0; };
    Watch watch({.forward = forward ? QueueMs(ebbs) : QueueMs(none),
                 .reverse = forward ? QueueMs(none) : QueueMs(ebbs)});
    watch.until(7000).forget();
    watch.until(12'000);
    EXPECT_GT(watch.share(), 0.95);
    EXPECT_LT(watch.worst, 1.5);
  }
}

// A shorter way back, while a queue stands on the way there: what was known is wrong from then on.
TEST(RemoteClock, AnotherRouteIsNotTakenForAQueue) {
  Watch watch(
      {.forward = sawtooth(20, 1100, 0.0), .reverse = [](double at) { return at < 5000.0 ? 8.0 : 0.0; }});
  watch.until(9000).forget();
  watch.until(14'000);
  EXPECT_GT(watch.share(), 0.95);
  EXPECT_LT(watch.worst, 1.5);
}

TEST(RemoteClock, NoNumberWhereTheBoundsAreTooWide) {
  // A base that this flow never reached: the queue of every sample is 30 ms, and nothing tells on which way.
  RemoteClock clock;
  std::size_t told = 0;
  for (int i = 0; i < 30'000; ++i) {
    const double ms = 0.7 * i;
    if (clock.on_sample(
            {.at = at_ms(ms), .value = static_cast<std::uint32_t>(ms), .rtt = 50ms, .base = 20ms}))
      ++told;
  }
  EXPECT_TRUE(clock.tick());
  EXPECT_EQ(told, 0U);
}

// Property: whatever the queues do, splits are as near to the truth as they say, and most are split. Of
// a coarse clock the queue is that of the tick's first segment: it may have changed by a tick since.
TEST(RemoteClock, SplitsAreAsExactAsTheySay) {
  std::size_t samples = 0;
  std::size_t told = 0;
  std::size_t beyond = 0;
  std::size_t coarse_beyond = 0;
  for (std::uint32_t seed = 0; seed < 120; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](double most) { return std::uniform_real_distribution<double>(0, most)(random); };
    const auto wave = [&]() -> QueueMs {
      const double most = below(80);
      const double period = 200.0 + below(6000);
      const double on = 0.2 + below(0.7);
      const double shift = below(6000);
      return [=](double at) {
        const double place = std::fmod(at + shift, period) / period;
        return at < 2500.0 || place > on ? 0.0 : most * std::sin(place / on * 3.14159265);
      };
    };
    const double ticks[] = {0.001, 1.0, 1.0, 4.0, 10.0};
    Watch watch({.tick_ms = ticks[seed % 5],
                 .drift_ppm = below(400) - 200.0,
                 .every_ms = 0.05 + below(8),
                 .jitter_ms = below(0.3),
                 .first_value = static_cast<std::uint32_t>(random()),
                 .forward = wave(),
                 .reverse = wave()},
                seed);
    watch.until(20'000);
    EXPECT_LT(watch.worst_claim, 0.5 + 0.9 * watch.path.tick_ms) << seed;
    samples += watch.samples;
    told += watch.told;
    (watch.path.tick_ms > 1.0 ? coarse_beyond : beyond) += watch.beyond;
  }
  EXPECT_GT(static_cast<double>(told), 0.7 * static_cast<double>(samples));
  EXPECT_LT(static_cast<double>(beyond), 0.001 * static_cast<double>(told));
  EXPECT_LT(static_cast<double>(coarse_beyond), 0.1 * static_cast<double>(told));
}

// Any values at any times: sums stay sane.
TEST(RemoteClock, ForgedSamplesBreakNothing) {
  std::mt19937_64 random(3);
  RemoteClock clock;
  std::int64_t at = 1'000'000'000;
  std::uint32_t value = 0;
  for (int i = 0; i < 2'000'000; ++i) {
    const std::int64_t steps[] = {0,     1,         1000, 100'000, 1'000'000, 250'000'000, 70'000'000'000,
                                  -5000, -2'000'000};
    const std::int64_t step = steps[random() % 9];
    at += step;
    value += random() % 20 == 0 ? static_cast<std::uint32_t>(random())
                                : static_cast<std::uint32_t>(step / 1'000'000);
    const Duration rtt(static_cast<std::int64_t>(1 + random() % 60'000'000'000));
    const Duration base(static_cast<std::int64_t>(random() % 60'000'000'000));
    const auto split = clock.on_sample({.at = TimePoint(Duration(at)),
                                        .value = value,
                                        .rtt = random() % 4 == 0 ? rtt : rtt % 40'000'000,
                                        .base = random() % 4 == 0 ? base : base % 30'000'000});
    if (!split) continue;
    ASSERT_GE(split->forward, Duration::zero());
    ASSERT_GE(split->reverse, Duration::zero());
    ASSERT_LE(split->forward, 60s);
    ASSERT_LE(split->reverse, 60s);
  }
}

TEST(RemoteClocks, KeepsThoseThatAreAskedAndStaysWithinItsBounds) {
  RemoteClocks clocks;
  EXPECT_EQ(clocks.bytes_held(), 0U);
  const auto ask = [&](std::uint32_t flow, unsigned end, double ms) {
    return clocks.split(
        flow, end, {.at = at_ms(ms), .value = static_cast<std::uint32_t>(ms), .rtt = 20ms, .base = 20ms});
  };
  std::uint32_t stranger = 10;
  std::size_t told = 0;
  for (double ms = 0.0; ms < 3000.0; ms += 1.0) {
    if (ask(1, 0, ms)) ++told;
    for (int i = 0; i < 100; ++i) EXPECT_FALSE(ask(stranger++, 1, ms));
  }
  EXPECT_GT(told, 1500U) << "strangers take the place of strangers";
  EXPECT_LE(clocks.bytes_held(), 900'000U);
  EXPECT_FALSE(ask(1, 1, 3000.0)) << "each end has a clock of its own";
}

}  // namespace
}  // namespace weir
