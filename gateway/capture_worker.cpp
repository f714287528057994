#include "gateway/capture_worker.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <random>
#include <system_error>
#include <utility>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "gateway/clock.hpp"
#include "gateway/live_source.hpp"

namespace weir::gateway {
namespace {

constexpr Duration kRetry = std::chrono::seconds(1);
/// After a stall longer than this the ticks in between are not made up for.
constexpr Duration kStall = std::chrono::seconds(1);

/// The next multiple of the tick length: every port's ticks, and those of a restarted daemon, fall together.
TimePoint next_aligned(TimePoint now) {
  return TimePoint(std::chrono::floor<std::chrono::milliseconds>(now.time_since_epoch()) / kCohortLength *
                       kCohortLength +
                   kCohortLength);
}

/// Signals are for the loop's thread.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

/// All of it counts as the daemon's memory. It takes in more than a second of full frames at 622 Mbit/s.
constexpr std::size_t kRingBytes = std::size_t{16} << 20U;

}  // namespace

OpenSource live_capture_on(std::string interface) {
  return [interface = std::move(interface)] {
    return std::make_unique<LiveSource>(LiveCapture(interface, {.ring_bytes = kRingBytes}));
  };
}

CaptureWorker::CaptureWorker(OpenSource open, Listener listener, EstimatorSettings settings,
                             std::uint64_t generation)
    : open_(std::move(open)),
      listener_(std::move(listener)),
      wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      sampling_(std::random_device()()) {
  if (!wake_)
    throw std::system_error(errno, std::generic_category(), "make an eventfd for the capture thread");
  orders_.settings = std::move(settings);
  orders_.generation = generation;
  const SignalsBlocked inherited_by_the_thread;
  thread_ = std::thread([this] { run(); });
}

CaptureWorker::~CaptureWorker() {
  give([](Orders& orders) { orders.stop = true; });
  thread_.join();
}

void CaptureWorker::use(EstimatorSettings settings, std::uint64_t generation) {
  give([&](Orders& orders) {
    orders.settings = std::move(settings);
    orders.generation = generation;
  });
}

void CaptureWorker::retry_now() {
  give([](Orders& orders) { orders.retry = true; });
}

void CaptureWorker::give(const std::function<void(Orders&)>& order) {
  {
    const std::lock_guard lock(mutex_);
    order(orders_);
  }
  ::eventfd_write(wake_.get(), 1);
}

CaptureWorker::Orders CaptureWorker::take_orders() {
  const std::lock_guard lock(mutex_);
  return std::exchange(orders_, {.settings = std::nullopt, .generation = orders_.generation});
}

void CaptureWorker::run() {
  next_tick_ = next_aligned(monotonic_now());
  for (;;) {
    progress_.fetch_add(1, std::memory_order_relaxed);
    Orders orders = take_orders();
    if (orders.stop) return;
    if (orders.settings) {
      begin_estimator(std::move(*orders.settings), orders.generation);
    }
    const TimePoint now = monotonic_now();
    if (!source_ && (orders.retry || now >= next_try_)) open_source(now);
    const TimePoint deadline = next_tick_ + kBlocksAreIn;
    wait(source_ ? deadline : std::min(deadline, next_try_));
    if (source_) read_frames();
    const TimePoint after = monotonic_now();
    close_ticks_until(after - kBlocksAreIn);
    if (after - next_tick_ > kStall) next_tick_ = next_aligned(after);
  }
}

/// A tick ends by the frames' own time, not by when their blocks were handed over: over 100 ms the difference
/// would be a fifth of what was delivered.
void CaptureWorker::close_ticks_until(TimePoint frame_time) {
  while (next_tick_ <= frame_time && frame_time - next_tick_ <= kStall) {
    if (source_) close_tick(next_tick_);
    next_tick_ += kCohortLength;
  }
}

void CaptureWorker::begin_estimator(EstimatorSettings settings, std::uint64_t generation) {
  estimator_.emplace(std::move(settings));
  estimator_->follow(followed_);
  generation_ = generation;
  gap_ = true;
  // Sets the cohorts' grid to that of the ticks; there is nothing in it yet.
  static_cast<void>(estimator_->tick(next_tick_ - kCohortLength, true));
}

void CaptureWorker::open_source(TimePoint now) {
  next_try_ = now + kRetry;
  try {
    source_ = open_();
    dropped_before_ = 0;
    sampling_ = FlowSampling(std::random_device()());  // its filter lets all pass
    follow(FlowSample{});
    gap_ = true;
    told_down_.reset();
    listener_.on_change({.up = true, .text = {}});
  } catch (const std::exception& failure) {
    tell_down(failure.what());
  }
}

void CaptureWorker::wait(TimePoint until) {
  const Duration left = std::max(until - monotonic_now(), Duration::zero());
  const timespec timeout{.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count(),
                         .tv_nsec = (left % std::chrono::seconds(1)).count()};
  std::array<pollfd, 2> watched{
      {{.fd = wake_.get(), .events = POLLIN, .revents = 0},
       {.fd = source_ ? source_->descriptor() : -1, .events = POLLIN, .revents = 0}}};
  ::ppoll(watched.data(), watched.size(), &timeout, nullptr);
  if ((watched[0].revents & POLLIN) != 0) {
    eventfd_t ignored = 0;
    ::eventfd_read(wake_.get(), &ignored);
  }
}

void CaptureWorker::read_frames() {
  try {
    const TimePoint began = monotonic_now();
    const std::size_t frames = source_->dispatch(kFramesATurn, [this](const Frame& frame) {
      close_ticks_until(frame.time);
      follow(sampling_.due(frame.time));
      estimator_->on_frame(frame);
    });
    emptied_ = frames < kFramesATurn;
    sampling_.adjust(
        {.began = began,
         .ended = monotonic_now(),
         .emptied = emptied_,
         .dropped = source_->counters().dropped},
        [this](const FlowSample& sample) { return source_->follow(sample); }, &monotonic_now);
  } catch (const std::exception& failure) {
    source_.reset();
    gap_ = true;
    tell_down(failure.what());
  }
}

void CaptureWorker::follow(const std::optional<FlowSample>& sample) {
  if (!sample) return;
  followed_ = *sample;
  estimator_->follow(followed_);
}

void CaptureWorker::close_tick(TimePoint now) {
  CaptureTick tick;
  if (emptied_) follow(sampling_.due(now));  // else older frames are still in the ring
  tick.generation = generation_;
  tick.counters = source_->counters();
  const bool lost = gap_ || tick.counters.dropped > dropped_before_;
  dropped_before_ = tick.counters.dropped;
  gap_ = false;
  tick.result = estimator_->tick(now, lost);
  tick.totals = estimator_->totals();
  listener_.on_tick(std::move(tick));
}

void CaptureWorker::tell_down(std::string why) {
  if (told_down_ == why) return;
  told_down_ = why;
  listener_.on_change({.up = false, .text = std::move(why)});
}

}  // namespace weir::gateway
