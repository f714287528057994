/// What a path carries, read off the times at which it was full: the rate to set by hand.
///
/// Pure; one owner; one per direction. Works on what SiteMeasurement says, tick by tick, and remembers the
/// last hour (of a policer see token_bucket_fit). 0.8 MB at most. How it decides, and how often it is right,
/// stands in docs/ESTIMATOR.md, "Capacity".
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <vector>

#include "config/units.hpp"
#include "estimator/measurement.hpp"
#include "estimator/token_bucket_fit.hpp"

namespace weir {

enum class CapacityMode : std::uint8_t {
  unknown,              ///< nothing to judge by: too little seen, or loss of a kind that cannot be told
  policer,              ///< the losses are those of a token bucket
  buffer,               ///< a queue stands while the path is full
  lossy,                ///< loss that does not answer to the rate: no capacity can be told from it
  application_limited,  ///< the senders never filled the path: no loss, no queue, however much it carries
};
[[nodiscard]] std::string_view to_string(CapacityMode mode);

struct CapacityFinding {
  CapacityMode mode = CapacityMode::unknown;
  /// Of policer and buffer only, and not always.
  std::optional<Rate> rate;
  Rate
      low;  ///< buffer: the middle half of the windows; policer: rates that explain the losses nearly as well
  Rate high;
  std::uint32_t windows = 0;       ///< behind it: congested half seconds; policer: losses that it foretells
  std::uint32_t busy_windows = 0;  ///< half seconds with traffic in them and beside them
  double loss = 0.0;               ///< over the busy windows
  Duration queue{};                ///< of a buffer: median over the congested windows
  std::optional<Duration> depth;   ///< of a buffer: 95th percentile of the longest queues of those windows
  std::optional<Bytes> bucket;     ///< of a policer, at least: what passed above its rate after a pause
  std::optional<Duration> age;     ///< from the newest sample behind it to now
};

class CapacityObserver {
 public:
  void add(const SiteMeasurement& tick);
  /// Takes tens of ms where much was lost.
  [[nodiscard]] CapacityFinding finding(TimePoint now) const;

 private:
  /// 100 ms, in 16 bytes. Loss and sent bytes stand at the time of sending, delivered bytes at the time of
  /// the ACK.
  struct Tenth {
    std::uint32_t delivered = 0;
    std::uint32_t segments = 0;
    std::uint32_t lost : 31 = 0;
    std::uint32_t valid : 1 = 1;
    std::int32_t queue_us = -1;  ///< negative: no sample
  };
  struct Window {
    TimePoint begin;
    double delivered_bps = 0.0;
    double segments = 0.0;
    double lost = 0.0;
    Duration queue{-1};
    Duration longest_queue{-1};
    bool valid = true;
    [[nodiscard]] bool busy() const { return valid && delivered_bps > 0.0; }
  };

  struct Congested;

  [[nodiscard]] Tenth* at(TimePoint when);
  [[nodiscard]] std::vector<Window> windows() const;
  [[nodiscard]] Duration long_queue() const;

  std::optional<TimePoint> begin_;  ///< of the front one
  std::deque<Tenth> tenths_;
  Duration base_{};
  TokenBucketFit fit_;
};

}  // namespace weir
