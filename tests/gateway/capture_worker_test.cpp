#include "gateway/capture_worker.hpp"

#include <condition_variable>
#include <deque>
#include <stdexcept>

#include <gtest/gtest.h>

#include "gateway/bounded_queue.hpp"
#include "gateway/clock.hpp"

#include "pipe_source.hpp"

namespace weir::gateway::test {
namespace {

using namespace std::chrono_literals;

/// What the worker told, waited for with a limit.
class Heard {
 public:
  CaptureWorker::Listener listener() {
    return {
        .on_tick = [this](CaptureTick tick) { add([&] { ticks_.push_back(std::move(tick)); }); },
        .on_change = [this](CaptureChange change) { add([&] { changes_.push_back(std::move(change)); }); }};
  }
  std::optional<CaptureTick> next_tick() { return next(ticks_); }
  std::optional<CaptureChange> next_change() { return next(changes_); }
  std::size_t changes_waiting() {
    const std::lock_guard lock(mutex_);
    return changes_.size();
  }

 private:
  template <class F>
  void add(F&& f) {
    const std::lock_guard lock(mutex_);
    f();
    changed_.notify_all();
  }
  template <class T>
  std::optional<T> next(std::deque<T>& from) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, 5s, [&] { return !from.empty(); })) return std::nullopt;
    T first = std::move(from.front());
    from.pop_front();
    return first;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<CaptureTick> ticks_;
  std::deque<CaptureChange> changes_;
};

struct CaptureWorkerTest : testing::Test {
  Pipe pipe;
  Heard heard;
  OpenSource open = [this]() -> std::unique_ptr<FrameSource> {
    if (pipe.absent) throw std::runtime_error("open wan0: No such device");
    ++pipe.opened;
    return std::make_unique<PipeSource>(pipe);
  };
  static EstimatorSettings settings(std::size_t sites) {
    EstimatorSettings s;
    s.sites.resize(sites, {*Prefix::parse("10.20.0.0/16")});
    return s;
  }
};

TEST_F(CaptureWorkerTest, TicksComeTenTimesASecondAlignedToTheClock) {
  CaptureWorker worker(open, heard.listener(), settings(1), 7);
  ASSERT_TRUE(heard.next_change().value().up);
  std::optional<TimePoint> before;
  for (int i = 0; i < 5; ++i) {
    const auto tick = heard.next_tick();
    ASSERT_TRUE(tick);
    EXPECT_EQ(tick->generation, 7U);
    ASSERT_EQ(tick->result.outbound.size(), 2U);
    const TimePoint when = tick->result.outbound[0].at;
    // Late is the scheduler's doing, early would be ours.
    EXPECT_LT(when.time_since_epoch() % kCohortLength, kCohortLength / 2);
    if (before) {
      EXPECT_GE(when - *before, kCohortLength / 2);
    }
    before = when;
  }
}

TEST_F(CaptureWorkerTest, FramesReachTheEstimator) {
  CaptureWorker worker(open, heard.listener(), settings(1), 1);
  pipe.write_frames(3000);
  // The tap's count and the estimator's agree in the end, not at every tick: one may close between two frames
  // of a block that the tap has counted as a whole or not yet.
  std::uint64_t frames = 0;
  std::uint64_t received = 0;
  for (int i = 0; i < 20 && (frames < 3000 || received < 3000); ++i) {
    const auto tick = heard.next_tick();
    ASSERT_TRUE(tick);
    frames = tick->totals.frames;
    received = tick->counters.received;
  }
  EXPECT_EQ(frames, 3000U);
  EXPECT_EQ(received, 3000U);
}

TEST_F(CaptureWorkerTest, TheFirstTickAndThoseWithDropsAreVoid) {
  CaptureWorker worker(open, heard.listener(), settings(1), 1);
  EXPECT_FALSE(heard.next_tick().value().result.outbound[0].valid)
      << "who knows what passed before the tap opened";
  EXPECT_TRUE(heard.next_tick().value().result.outbound[0].valid);
  pipe.dropped = 3;
  // The tick being closed at this moment may have read the counter already; the one after must have.
  bool void_seen = false;
  for (int i = 0; i < 2 && !void_seen; ++i) void_seen = !heard.next_tick().value().result.outbound[0].valid;
  EXPECT_TRUE(void_seen);
  // Another one when fewer connections begin to be followed, then all is well again.
  const bool next_is_valid = heard.next_tick().value().result.outbound[0].valid;
  EXPECT_TRUE(next_is_valid || heard.next_tick().value().result.outbound[0].valid);
}

// Also by an estimator that begins anew meanwhile: the load is still the same.
TEST_F(CaptureWorkerTest, DropsHalveTheConnectionsThatAreFollowed) {
  CaptureWorker worker(open, heard.listener(), settings(1), 1);
  EXPECT_EQ(heard.next_tick().value().totals.one_in, 1U);
  pipe.dropped = 3;
  const auto tick_following_half = [&](std::uint64_t generation) {
    for (int i = 0; i < 20; ++i) {
      const auto tick = heard.next_tick();
      if (tick && tick->generation == generation && tick->totals.one_in == 2) return true;
    }
    return false;
  };
  EXPECT_TRUE(tick_following_half(1));
  worker.use(settings(1), 2);
  EXPECT_TRUE(tick_following_half(2));
}

TEST_F(CaptureWorkerTest, ABrokenTapIsToldOnceAndOpenedAgain) {
  CaptureWorker worker(open, heard.listener(), settings(1), 1);
  EXPECT_TRUE(heard.next_change().value().up);
  pipe.absent = true;
  pipe.broken = true;
  pipe.write_frames(1);
  const auto down = heard.next_change();
  ASSERT_TRUE(down);
  EXPECT_FALSE(down->up);
  EXPECT_EQ(down->text, "wan0: the interface disappeared");
  EXPECT_EQ(heard.next_change().value().text, "open wan0: No such device") << "another reason is news";
  pipe.broken = false;
  pipe.absent = false;
  worker.retry_now();
  EXPECT_TRUE(heard.next_change().value().up);
  EXPECT_EQ(pipe.opened, 2);
  EXPECT_EQ(heard.changes_waiting(), 0U);
}

TEST_F(CaptureWorkerTest, WithoutATapThereIsProgressButNoTick) {
  pipe.absent = true;
  CaptureWorker worker(open, heard.listener(), settings(1), 1);
  EXPECT_FALSE(heard.next_change().value().up);
  const std::uint64_t before = worker.progress();
  const auto end = std::chrono::steady_clock::now() + 5s;
  while (worker.progress() == before && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT_GT(worker.progress(), before) << "the watchdog must not mistake a missing port for a hang";
}

TEST_F(CaptureWorkerTest, OtherSettingsMakeAnotherEstimator) {
  CaptureWorker worker(open, heard.listener(), settings(1), 1);
  ASSERT_TRUE(heard.next_tick());
  worker.use(settings(3), 2);
  for (;;) {
    const auto tick = heard.next_tick();
    ASSERT_TRUE(tick);
    ASSERT_EQ(tick->result.outbound.size(), tick->generation == 2 ? 4U : 2U);
    if (tick->generation == 2) break;
  }
}

TEST(BoundedQueue, DropsTheOldestAndCountsIt) {
  BoundedQueue<int> queue(3);
  EXPECT_TRUE(queue.push(1)) << "nobody was woken yet";
  for (int i = 2; i <= 5; ++i) EXPECT_FALSE(queue.push(i));
  auto taken = queue.take_all();
  EXPECT_EQ(taken.items, (std::vector{3, 4, 5}));
  EXPECT_EQ(taken.dropped, 2U);
  EXPECT_TRUE(queue.push(6)) << "taken: wake again";
  taken = queue.take_all();
  EXPECT_EQ(taken.items, (std::vector{6}));
  EXPECT_EQ(taken.dropped, 0U);
}

}  // namespace
}  // namespace weir::gateway::test
