#include "gateway/clock.hpp"

#include <cmath>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <time.h>

namespace weir::gateway {

TimePoint monotonic_now() {
  // clock_gettime and not steady_clock: the standard does not promise that they are the same axis, and the
  // kernel's frame stamps are mapped onto CLOCK_MONOTONIC.
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return TimePoint(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

WallTime wall_now() {
  return std::chrono::system_clock::now();
}

Instant instant_now() {
  return {.steady = monotonic_now(), .wall = wall_now()};
}

std::string iso_utc(WallTime t) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(t);
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(t - whole).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(whole)),
                     millis);
}

double unix_seconds(WallTime t) {
  const auto millis = std::chrono::floor<std::chrono::milliseconds>(t.time_since_epoch()).count();
  return static_cast<double>(millis) / 1000.0;
}

}  // namespace weir::gateway
