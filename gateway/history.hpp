/// One site's last hour, a sample a second: bounded, oldest first out.
///
/// Pure. A sample is 56 bytes, so that an hour of 200 sites stays under 45 MB: rates are held as float (7
/// digits).
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "estimator/controller.hpp"
#include "gateway/clock.hpp"

namespace weir::gateway {

inline constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

struct HistorySample {
  std::int64_t unix_ms = 0;
  float shaped_bps = 0;
  float sent_bps = 0;
  float delivered_bps = kUnknown;
  float capacity_bps = kUnknown;
  float loss_beyond = 0;
  float loss_before = 0;
  float rtt_base_ms = kUnknown;
  float rtt_p50_ms = kUnknown;
  float rtt_p95_ms = kUnknown;
  float queue_ms = kUnknown;
  ControlState state = ControlState::hold;
  PathMode mode = PathMode::unknown;
  bool demand = false;
};

class History {
 public:
  static constexpr std::size_t kCapacity = 3600;

  void add(const HistorySample& sample);
  /// The newest `most` samples, oldest first.
  [[nodiscard]] std::vector<HistorySample> newest(std::size_t most) const;
  [[nodiscard]] std::size_t size() const { return ring_.size(); }

 private:
  std::vector<HistorySample> ring_;
  std::size_t oldest_ = 0;  ///< index of the oldest sample once the ring is full
};

}  // namespace weir::gateway
