/// The product's tap as a FrameSource, and how whoever reads one takes turns. Private to the readers of taps.
///
/// One thread per source; errors are LiveCapture's.
#pragma once

#include <chrono>
#include <cstddef>
#include <utility>

#include "estimator/capture.hpp"
#include "gateway/capture_worker.hpp"

namespace weir::gateway {

inline constexpr std::size_t kFramesATurn = 4096;
/// A tap hands frames over in blocks: those of a tick are all here this long after its end.
inline constexpr Duration kBlocksAreIn = std::chrono::milliseconds(30);

class LiveSource final : public FrameSource {
 public:
  explicit LiveSource(LiveCapture capture) : capture_(std::move(capture)) {}
  int descriptor() const override { return capture_.descriptor(); }
  std::size_t dispatch(std::size_t most, const FrameHandler& handler) override {
    return capture_.dispatch(most, handler);
  }
  CaptureCounters counters() override { return capture_.counters(); }
  bool follow(const FlowSample& sample) override { return capture_.follow(sample); }

 private:
  LiveCapture capture_;
};

}  // namespace weir::gateway
