/// The least RTT of a path, forgotten in time: routes change.
#pragma once

#include <optional>

#include "config/units.hpp"

namespace weir {

/// The smallest value over the last five to ten minutes: routes change.
class RttFloor {
 public:
  void add(Duration rtt, TimePoint at);
  [[nodiscard]] std::optional<Duration> value() const;

 private:
  Duration current_{};
  Duration previous_{};
  TimePoint turned_;
};

}  // namespace weir
