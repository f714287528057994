/// The least RTT of a path, forgotten in time: routes change.
#pragma once

#include <cstdint>
#include <optional>

#include "config/units.hpp"
#include "estimator/coarse_time.hpp"

namespace weir {

/// The smallest value of this and of the last five minutes of the clock. To 64 ns.
class RttFloor {
 public:
  void add(Duration rtt, TimePoint at);
  [[nodiscard]] std::optional<Duration> value() const;

 private:
  CoarseDuration current_;
  CoarseDuration previous_;
  std::uint16_t window_ = 0;  ///< number of the five minutes that `current_` is of
};

}  // namespace weir
