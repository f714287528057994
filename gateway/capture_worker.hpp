/// The capture thread: frames from the tap into the estimator, ten measurements a second out of it.
///
/// Owns the thread, the tap and the estimator. The listener is called on that thread and must not block. A
/// tap that cannot be opened or breaks (interface gone) is told once and tried again every second.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "estimator/capture.hpp"
#include "estimator/estimator.hpp"
#include "estimator/flow_sampling.hpp"
#include "gateway/capture_events.hpp"
#include "gateway/file_descriptor.hpp"

namespace weir::gateway {

/// What the worker needs of a tap; the product's is LiveCapture, whose rules hold here too.
class FrameSource {
 public:
  FrameSource() = default;
  FrameSource(const FrameSource&) = delete;
  FrameSource& operator=(const FrameSource&) = delete;
  virtual ~FrameSource() = default;
  [[nodiscard]] virtual int descriptor() const = 0;
  virtual std::size_t dispatch(std::size_t most, const FrameHandler& handler) = 0;
  [[nodiscard]] virtual CaptureCounters counters() = 0;
  [[nodiscard]] virtual bool follow(const FlowSample& sample) = 0;
};

/// Throws, saying why, when there is nothing to capture from.
using OpenSource = std::function<std::unique_ptr<FrameSource>()>;
[[nodiscard]] OpenSource live_capture_on(std::string interface);

class CaptureWorker {
 public:
  struct Listener {
    std::function<void(CaptureTick)> on_tick;
    std::function<void(CaptureChange)> on_change;
  };

  /// Starts the thread; its ticks carry `generation`.
  CaptureWorker(OpenSource open, Listener listener, EstimatorSettings settings, std::uint64_t generation);
  /// Stops and joins it.
  ~CaptureWorker();
  CaptureWorker(const CaptureWorker&) = delete;
  CaptureWorker& operator=(const CaptureWorker&) = delete;

  /// Starts anew with other settings; what the old estimator knew of flows is gone.
  void use(EstimatorSettings settings, std::uint64_t generation);
  /// The interface may be back: do not wait for the next try.
  void retry_now();
  /// Rises with every turn of the thread, captured or not; stands still when the thread hangs.
  [[nodiscard]] std::uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

 private:
  struct Orders {
    std::optional<EstimatorSettings> settings;
    std::uint64_t generation = 0;
    bool retry = false;
    bool stop = false;
  };

  void run();
  [[nodiscard]] Orders take_orders();
  void give(const std::function<void(Orders&)>& order);
  void begin_estimator(EstimatorSettings settings, std::uint64_t generation);
  void open_source(TimePoint now);
  void wait(TimePoint until);
  void read_frames();
  void follow(const std::optional<FlowSample>& sample);
  void close_ticks_until(TimePoint frame_time);
  void close_tick(TimePoint now);
  void tell_down(std::string why);

  OpenSource open_;
  Listener listener_;
  FileDescriptor wake_;  ///< eventfd
  std::mutex mutex_;
  Orders orders_;  ///< guarded by mutex_
  std::atomic<std::uint64_t> progress_ = 0;

  // Owned by the thread.
  std::optional<Estimator> estimator_;
  std::uint64_t generation_ = 0;
  std::unique_ptr<FrameSource> source_;
  std::uint64_t dropped_before_ = 0;
  FlowSampling sampling_;
  FlowSample followed_;   ///< by the estimator, and by the next one
  bool gap_ = true;       ///< frames passed unseen since the last tick: the tap was not open
  bool emptied_ = false;  ///< the tap held nothing more after the last turn
  std::optional<std::string> told_down_;
  TimePoint next_try_;
  TimePoint next_tick_;

  std::thread thread_;  ///< last: everything above stands before it runs
};

}  // namespace weir::gateway
