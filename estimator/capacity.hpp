/// What a path carries, read off the windows in which it was full: the rate to set by hand.
///
/// Pure; one owner; one per direction. Works on what SiteMeasurement says, tick by tick, and remembers the
/// last hour. How it decides, and how often it is right, stands in docs/ESTIMATOR.md, "Capacity".
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <vector>

#include "config/units.hpp"
#include "estimator/measurement.hpp"

namespace weir {

enum class CapacityMode : std::uint8_t {
  unknown,  ///< nothing to judge by: never full, or too little seen
  policer,  ///< loss that grows with the rate, while no queue stands
  buffer,   ///< a queue stands while the path is full
  lossy,    ///< loss that does not answer to the rate: no capacity can be told from it
};
[[nodiscard]] std::string_view to_string(CapacityMode mode);

struct CapacityFinding {
  CapacityMode mode = CapacityMode::unknown;
  /// Set for policer and buffer only.
  std::optional<Rate> rate;
  Rate low;  ///< the middle half of the windows
  Rate high;
  std::uint32_t windows = 0;       ///< congested half seconds behind it
  std::uint32_t busy_windows = 0;  ///< half seconds with traffic in them and beside them
  Duration queue{};                ///< median over the congested windows
  double loss = 0.0;               ///< over the busy windows
  std::optional<Bytes> bucket{};   ///< of a policer: what passes above its rate after a pause
  std::optional<Duration> age{};   ///< of the newest window behind it
};

class CapacityObserver {
 public:
  void add(const SiteMeasurement& tick);
  [[nodiscard]] CapacityFinding finding() const;

 private:
  /// 100 ms. Loss and sent bytes stand at the time of sending, delivered bytes at the time of the ACK.
  struct Slot {
    std::uint64_t delivered = 0;
    std::uint32_t segments = 0;
    std::uint32_t lost = 0;
    Duration queue{-1};  ///< negative: no sample
    bool valid = true;
  };
  struct Window {
    double delivered_bps = 0.0;
    double segments = 0.0;
    double lost = 0.0;
    Duration queue{-1};
    bool valid = true;
    [[nodiscard]] bool busy() const { return valid && delivered_bps > 0.0; }
  };

  [[nodiscard]] Slot* at(TimePoint when);
  [[nodiscard]] std::vector<Window> windows() const;
  [[nodiscard]] Duration long_queue() const;

  std::optional<TimePoint> begin_;  ///< of the front slot
  std::deque<Slot> slots_;
  Duration base_{};
};

}  // namespace weir
