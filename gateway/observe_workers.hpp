/// The threads of `weir observe --workers N`: each reads its tap of a group into its own share of the
/// estimate; their ticks come to one owner, all of a time together.
///
/// Nothing is shared but a queue of closed ticks for each, and how many connections are followed. A worker
/// that is kMostAhead ticks ahead of what the owner has taken waits, and its ring with it: memory is bounded,
/// and what is lost for it is counted as any other loss of the capture.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "config/units.hpp"
#include "estimator/estimator.hpp"
#include "estimator/flow_sampling.hpp"
#include "estimator/share_observer.hpp"
#include "gateway/capture_worker.hpp"
#include "gateway/file_descriptor.hpp"

namespace weir::gateway {

/// Taps that share a port's frames (LiveCapture::share).
[[nodiscard]] std::vector<std::unique_ptr<FrameSource>> shared_taps(const std::string& interface,
                                                                    std::size_t count);

class ObserveWorkers {
 public:
  static constexpr std::size_t kMostAhead = 50;

  /// Starts one thread a tap. Frames stamped before that are passed over.
  ObserveWorkers(std::vector<std::unique_ptr<FrameSource>> taps, const EstimatorSettings& settings);
  /// Stops and joins them.
  ~ObserveWorkers();
  ObserveWorkers(const ObserveWorkers&) = delete;
  ObserveWorkers& operator=(const ObserveWorkers&) = delete;

  /// Readable when there may be something to take.
  [[nodiscard]] int descriptor() const { return news_.get(); }
  /// The next tick of all of them, in the order of the taps; nullopt: not all have closed it yet. Throws what
  /// a worker died of (its interface is gone).
  [[nodiscard]] std::optional<std::vector<ShareTick>> take();
  /// They read what is there, then close ticks for as long as any segment could be waited for, and end. Take
  /// until `ended`.
  void stop();
  /// All ticks were taken.
  [[nodiscard]] bool ended() const { return taken_ != 0 && taken_ == last_tick_.load(); }

 private:
  /// One of many tells of all connections only as much as the one that follows the fewest.
  class Sample {
   public:
    explicit Sample(std::size_t workers);
    void wish(std::size_t worker, std::uint32_t one_in) { wishes_[worker].store(one_in); }
    [[nodiscard]] FlowSample agreed() const;
    [[nodiscard]] std::uint32_t seed() const { return seed_; }

   private:
    std::vector<std::atomic<std::uint32_t>> wishes_;
    std::uint32_t seed_;
  };
  class Worker;

  void put(std::size_t worker, ShareTick tick);
  void died(std::exception_ptr why);
  void end();
  void close();
  [[nodiscard]] bool is_closed();

  TimePoint begin_;
  Sample sample_;
  FileDescriptor news_;  ///< eventfd
  FileDescriptor stop_;  ///< eventfd, readable once and for all

  std::mutex mutex_;
  std::condition_variable taken_from_;
  std::vector<std::deque<ShareTick>> closed_ticks_;  ///< [worker]; these three are guarded by mutex_
  std::exception_ptr died_of_;
  bool closed_ = false;

  std::atomic<std::uint64_t> last_tick_ = 0;  ///< number of the last one to close; 0: there is none
  std::uint64_t taken_ = 0;                   ///< ticks, by the owner
  std::vector<std::thread> threads_;          ///< last: everything above stands before they run
};

}  // namespace weir::gateway
