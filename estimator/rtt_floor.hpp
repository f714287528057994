/// The least RTT of a path, forgotten in time: routes change.
///
/// Pure.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

#include "config/units.hpp"
#include "estimator/coarse_time.hpp"

namespace weir {

/// The smallest value of this and of the last five minutes of the clock. To 64 ns.
class RttFloor {
 public:
  void add(Duration rtt, TimePoint at) {
    const auto window = static_cast<std::uint16_t>(at.time_since_epoch() / kWindow);
    if (window != window_) {
      previous_ = window == static_cast<std::uint16_t>(window_ + 1U) ? current_ : CoarseDuration();
      current_ = CoarseDuration();
      window_ = window;
    }
    const CoarseDuration value(rtt);
    if (current_.is_zero() || value < current_) current_ = value;
  }
  [[nodiscard]] std::optional<Duration> value() const {
    const CoarseDuration least = current_.is_zero()    ? previous_
                                 : previous_.is_zero() ? current_
                                                       : std::min(current_, previous_);
    return least.is_zero() ? std::nullopt : std::optional(least.value());
  }

 private:
  static constexpr Duration kWindow = std::chrono::minutes(5);

  CoarseDuration current_;
  CoarseDuration previous_;
  std::uint16_t window_ = 0;  ///< number of the five minutes that `current_` is of
};

}  // namespace weir
