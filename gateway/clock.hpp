/// The two clocks of the daemon. Nothing outside gateway/ reads a clock, and inside it only the parts that
/// wire: everything that decides takes `now` as an argument.
#pragma once

#include <chrono>
#include <string>

#include "config/units.hpp"

namespace weir::gateway {

/// The wall clock, for people only: stamps in events, history and status. Never used to decide.
using WallTime = std::chrono::system_clock::time_point;

/// CLOCK_MONOTONIC as Weir's measured time; the capture maps its frame stamps onto the same axis.
[[nodiscard]] TimePoint monotonic_now();
[[nodiscard]] WallTime wall_now();

/// One instant on both clocks, so that what is decided and what is shown stem from the same moment.
struct Instant {
  TimePoint steady;
  WallTime wall;
};
[[nodiscard]] Instant instant_now();

/// "2025-03-01T12:00:00.250Z".
[[nodiscard]] std::string iso_utc(WallTime t);
/// Seconds since 1970 with milliseconds behind the point.
[[nodiscard]] double unix_seconds(WallTime t);

}  // namespace weir::gateway
