#include "gateway/observe_workers.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>

#include "estimator/merged_observer.hpp"
#include "gateway/clock.hpp"

#include "pipe_source.hpp"

namespace weir::gateway::test {
namespace {

using namespace std::chrono_literals;

/// Waits for the next tick of all workers, with a limit.
std::optional<std::vector<ShareTick>> next(ObserveWorkers& workers) {
  const TimePoint end = monotonic_now() + 5s;
  while (monotonic_now() < end) {
    if (auto ticks = workers.take()) return ticks;
    pollfd news{.fd = workers.descriptor(), .events = POLLIN, .revents = 0};
    ::poll(&news, 1, 5000);
  }
  return std::nullopt;
}

struct ObserveWorkersTest : testing::Test {
  std::array<Pipe, 3> pipes;
  static EstimatorSettings settings() {
    EstimatorSettings s;
    s.inside = {*Prefix::parse("10.1.0.0/16")};
    return s;
  }
  std::vector<std::unique_ptr<FrameSource>> taps() {
    std::vector<std::unique_ptr<FrameSource>> all;
    for (Pipe& pipe : pipes) all.push_back(std::make_unique<PipeSource>(pipe));
    return all;
  }
};

TEST_F(ObserveWorkersTest, ClosesTheSameTicksInAllOfThem) {
  ObserveWorkers workers(taps(), settings());
  std::optional<TimePoint> before;
  for (int i = 0; i < 12; ++i) {
    const auto ticks = next(workers);
    ASSERT_TRUE(ticks);
    ASSERT_EQ(ticks->size(), pipes.size());
    const TimePoint at = ticks->front().result.outbound[0].at;
    for (const ShareTick& tick : *ticks) {
      EXPECT_EQ(tick.result.outbound[0].at, at);
      EXPECT_EQ(tick.findings.has_value(), ticks->front().findings.has_value());
    }
    if (before) {
      EXPECT_EQ(at - *before, kCohortLength);
    }
    before = at;
  }
}

TEST_F(ObserveWorkersTest, WhatAllOfThemSawIsInTheEndOfIt) {
  ObserveWorkers workers(taps(), settings());
  MergedObserver observer(settings(), "wan0");
  ASSERT_TRUE(next(workers));  // the time from which on frames count has come
  for (std::size_t i = 0; i < pipes.size(); ++i) pipes[i].write_frames(100 * (i + 1));
  pipes[1].dropped = 7;
  for (int i = 0; i < 3; ++i) observer.add(next(workers).value());
  workers.stop();
  while (!workers.ended()) observer.add(next(workers).value());
  const Observation observation = observer.finish();
  EXPECT_EQ(observation.packets, 600U);
  EXPECT_EQ(observation.opaque + observation.malformed, 600U);
  EXPECT_EQ(observation.kernel_drops, 7U);
}

TEST_F(ObserveWorkersTest, DropsOfOneVoidTheTickOfAll) {
  ObserveWorkers workers(taps(), settings());
  MergedObserver observer(settings(), "wan0");
  // Each worker voids a tick of its own when it follows fewer, whichever that is: only the one with the drops
  // is waited for.
  std::vector<bool> valid(pipes.size(), true);
  const auto take_one = [&] {
    const auto ticks = next(workers).value();
    for (std::size_t w = 0; w < pipes.size(); ++w) valid[w] = ticks[w].result.outbound[0].valid;
    observer.add(ticks);
    const bool all = std::all_of(valid.begin(), valid.end(), [](bool is_valid) { return is_valid; });
    EXPECT_EQ(observer.last_tick().outbound[0].valid, all);
  };
  take_one();  // what was lost before is not its own
  for (std::uint64_t drops = 1; drops <= 2; ++drops) {
    pipes[2].dropped = drops;
    int ticks = 0;
    do take_one();
    while (valid[2] && ++ticks < 50);
    EXPECT_FALSE(valid[2]);
    while (!valid[2] && ++ticks < 50) take_one();
    EXPECT_TRUE(valid[2]);
  }
}

TEST_F(ObserveWorkersTest, AnOwnerThatTakesNothingHoldsThemUpAndCanStillEndThem) {
  ObserveWorkers workers(taps(), settings());
  ASSERT_TRUE(next(workers));
  workers.stop();  // far more ticks to the end than may wait
  // Nothing is taken: the destructor must not wait for it.
}

TEST_F(ObserveWorkersTest, ATapThatBreaksIsTold) {
  ObserveWorkers workers(taps(), settings());
  ASSERT_TRUE(next(workers));
  pipes[1].broken = true;
  const auto until_told = [&] {
    for (int i = 0; i < 50; ++i) static_cast<void>(next(workers));
  };
  EXPECT_THROW(until_told(), std::runtime_error);
}

// Drops of one, and all follow fewer: their shares are of one sample.
TEST_F(ObserveWorkersTest, AllFollowAsFewAsTheOneThatFollowsTheFewest) {
  ObserveWorkers workers(taps(), settings());
  MergedObserver observer(settings(), "wan0");
  ASSERT_TRUE(next(workers));
  pipes[0].dropped = 5;
  std::vector<std::uint32_t> one_in(pipes.size(), 1);
  for (int i = 0; i < 40 && *std::min_element(one_in.begin(), one_in.end()) == 1; ++i) {
    pipes[0].write_frames(1);  // the others are silent, and follow all the same
    const auto ticks = next(workers).value();
    for (std::size_t w = 0; w < pipes.size(); ++w) one_in[w] = ticks[w].result.outbound[0].one_in;
  }
  EXPECT_EQ(one_in, std::vector<std::uint32_t>(pipes.size(), 2));
}

}  // namespace
}  // namespace weir::gateway::test
