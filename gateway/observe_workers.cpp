#include "gateway/observe_workers.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <random>
#include <string>
#include <system_error>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>

#include "gateway/clock.hpp"
#include "gateway/live_source.hpp"

namespace weir::gateway {
namespace {

/// The first frames that count are stamped so long after the taps were dealt out: the kernel may be working
/// on some that it gave to another one.
constexpr Duration kDealtOut = std::chrono::milliseconds(10);
/// A tap that never runs dry is left then, with whatever it holds.
constexpr Duration kLongestFarewell = std::chrono::seconds(2);
/// Behind the last frame, as long as the fate of a segment is waited for.
constexpr std::uint64_t kTicksToTheEnd = std::chrono::seconds(15) / kCohortLength;

[[nodiscard]] FileDescriptor make_event() {
  FileDescriptor event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event) throw std::system_error(errno, std::generic_category(), "make an eventfd for the workers");
  return event;
}

}  // namespace

std::vector<std::unique_ptr<FrameSource>> shared_taps(const std::string& interface, std::size_t count) {
  std::vector<std::unique_ptr<FrameSource>> taps;
  for (LiveCapture& tap : LiveCapture::share(interface, LiveCapture::Options{}, count))
    taps.push_back(std::make_unique<LiveSource>(std::move(tap)));
  return taps;
}

// -- how many are followed --

ObserveWorkers::Sample::Sample(std::size_t workers) : wishes_(workers), seed_(std::random_device()()) {
  for (auto& wish : wishes_) wish.store(1);
}

FlowSample ObserveWorkers::Sample::agreed() const {
  std::uint32_t one_in = 1;
  for (const auto& wish : wishes_) one_in = std::max(one_in, wish.load());
  return {.one_in = one_in, .seed = seed_};
}

// -- one worker --

/// Lives on its thread.
class ObserveWorkers::Worker {
 public:
  Worker(ObserveWorkers& group, std::size_t number, FrameSource& tap, const EstimatorSettings& settings)
      : group_(group),
        number_(number),
        tap_(tap),
        share_(settings, group.begin_),
        sampling_(group.sample_.seed()),
        dropped_before_(tap.counters().dropped) {}

  void run() {
    while (wait(share_.tick_ends() + kBlocksAreIn)) {
      static_cast<void>(read_frames());
      close_ticks_until(monotonic_now() - kBlocksAreIn);
      if (group_.is_closed()) return;
    }
    const TimePoint read_until = monotonic_now() + kLongestFarewell;
    while (!read_frames() && monotonic_now() < read_until) {  // what came before the end
    }
    const std::uint64_t last = group_.last_tick_.load();
    emptied_ = true;  // what is still there is not read any more
    while (share_.ticks() < last && !group_.is_closed()) close_tick();
  }

 private:
  /// False: it is time to stop.
  bool wait(TimePoint until) const {
    const Duration left = std::max(until - monotonic_now(), Duration::zero());
    const timespec timeout{.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count(),
                           .tv_nsec = (left % std::chrono::seconds(1)).count()};
    std::array<pollfd, 2> watched{{{.fd = group_.stop_.get(), .events = POLLIN, .revents = 0},
                                   {.fd = tap_.descriptor(), .events = POLLIN, .revents = 0}}};
    ::ppoll(watched.data(), watched.size(), &timeout, nullptr);
    return (watched[0].revents & POLLIN) == 0;
  }

  /// True: nothing is left.
  [[nodiscard]] bool read_frames() {
    const TimePoint began = monotonic_now();
    const std::size_t frames = tap_.dispatch(kFramesATurn, [&](const Frame& frame) {
      if (frame.time < group_.begin_) return;
      close_ticks_until(
          std::min(frame.time, began));  // the wall clock may be set: no tick ends before its time
      if (const auto due = sampling_.due(frame.time)) share_.follow(*due);
      share_.on_frame(frame);
    });
    emptied_ = frames < kFramesATurn;
    const std::uint64_t dropped = tap_.counters().dropped;
    static_cast<void>(sampling_.on_turn(
        {.began = began, .ended = monotonic_now(), .emptied = emptied_, .dropped = dropped}));
    follow_what_is_agreed();
    return emptied_;
  }

  void follow_what_is_agreed() {
    group_.sample_.wish(number_, sampling_.one_in());
    FlowSample sample = group_.sample_.agreed();
    if (sample.one_in == asked_one_in_) return;
    asked_one_in_ = sample.one_in;
    const TimePoint at =
        monotonic_now();  // before: a thread that has used up its share is held up behind calls
    sample.thinned = tap_.follow(sample);
    sampling_.began(sample, at);
  }

  void close_ticks_until(TimePoint now) {
    while (share_.tick_ends() <= now) close_tick();
  }
  void close_tick() {
    if (emptied_) {  // else frames of the sample before are still in the ring
      if (const auto due = sampling_.due(share_.tick_ends())) share_.follow(*due);
    }
    group_.put(number_, share_.close_tick(tap_.counters().dropped - dropped_before_));
  }

  ObserveWorkers& group_;
  std::size_t number_;
  FrameSource& tap_;
  ShareObserver share_;
  FlowSampling sampling_;
  std::uint64_t dropped_before_;
  std::uint32_t asked_one_in_ = 1;
  bool emptied_ = false;  ///< the tap, by the last turn
};

// -- all of them --

ObserveWorkers::ObserveWorkers(std::vector<std::unique_ptr<FrameSource>> taps,
                               const EstimatorSettings& settings)
    : begin_(monotonic_now() + kDealtOut),
      sample_(taps.size()),
      news_(make_event()),
      stop_(make_event()),
      closed_ticks_(taps.size()) {
  try {
    for (std::size_t number = 0; number < taps.size(); ++number) {
      threads_.emplace_back([this, number, settings, tap = std::move(taps[number])] {
        try {
          Worker(*this, number, *tap, settings).run();
        } catch (...) {
          died(std::current_exception());
        }
      });
    }
  } catch (...) {
    end();  // no more threads were to be had
    throw;
  }
}

ObserveWorkers::~ObserveWorkers() {
  end();
}

void ObserveWorkers::end() {
  close();
  ::eventfd_write(stop_.get(), 1);
  for (std::thread& thread : threads_) thread.join();
}

void ObserveWorkers::put(std::size_t worker, ShareTick tick) {
  {
    std::unique_lock lock(mutex_);
    taken_from_.wait(lock, [&] { return closed_ || closed_ticks_[worker].size() < kMostAhead; });
    if (closed_) return;
    closed_ticks_[worker].push_back(std::move(tick));
  }
  ::eventfd_write(news_.get(), 1);
}

void ObserveWorkers::died(std::exception_ptr why) {
  {
    const std::lock_guard lock(mutex_);
    if (!died_of_) died_of_ = std::move(why);
  }
  ::eventfd_write(news_.get(), 1);
}

void ObserveWorkers::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  taken_from_.notify_all();
}

bool ObserveWorkers::is_closed() {
  const std::lock_guard lock(mutex_);
  return closed_;
}

std::optional<std::vector<ShareTick>> ObserveWorkers::take() {
  std::vector<ShareTick> ticks;
  {
    const std::lock_guard lock(mutex_);
    if (died_of_) std::rethrow_exception(died_of_);
    if (std::any_of(closed_ticks_.begin(), closed_ticks_.end(), [](const auto& of) { return of.empty(); })) {
      eventfd_t ignored = 0;
      ::eventfd_read(news_.get(), &ignored);  // what is put from now on writes it again
      return std::nullopt;
    }
    for (auto& of_worker : closed_ticks_) {
      ticks.push_back(std::move(of_worker.front()));
      of_worker.pop_front();
    }
  }
  taken_from_.notify_all();
  ++taken_;
  return ticks;
}

void ObserveWorkers::stop() {
  if (last_tick_.load() != 0) return;
  const auto now =
      static_cast<std::uint64_t>(std::max((monotonic_now() - begin_) / kCohortLength, std::int64_t{0}));
  // The last one tells all that was found, as every kTicksPerAccount-th does.
  const std::uint64_t accounts = (now + 1 + kTicksToTheEnd) / kTicksPerAccount + 1;
  last_tick_.store(accounts * kTicksPerAccount);
  ::eventfd_write(stop_.get(), 1);
}

}  // namespace weir::gateway
