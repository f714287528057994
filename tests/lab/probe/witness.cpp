// Did this machine itself stand still? A processor that does not run the highest of its threads for some
// milliseconds (a busy hypervisor, firmware) runs no timer of a queue either: what a lab measures meanwhile
// is the machine, not the path.
#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

#include <sched.h>

#include "roles.hpp"

namespace weir::lab {
namespace {

namespace json = boost::json;

constexpr Nanoseconds kPeriod = std::chrono::milliseconds(2);
constexpr Nanoseconds kWorthTelling = std::chrono::milliseconds(5);

struct Stall {
  Nanoseconds end{};
  Nanoseconds length{};
};

/// Alone on its processor, ahead of all else that a lab runs.
void take_processor(unsigned processor) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(processor, &only);
  if (sched_setaffinity(0, sizeof(only), &only) != 0)
    throw std::system_error(errno, std::generic_category(), "run on that processor only");
  const sched_param ahead_of_the_lab{.sched_priority = 10};
  if (sched_setscheduler(0, SCHED_FIFO, &ahead_of_the_lab) != 0)
    throw std::system_error(errno, std::generic_category(), "run ahead of ordinary work");
}

[[nodiscard]] json::object summarise(const std::vector<Stall>& stalls, const Interval& interval) {
  Nanoseconds longest{};
  json::array told;
  for (const Stall& s : stalls) {
    if (!interval.contains(s.end)) continue;
    longest = std::max(longest, s.length);
    told.push_back(json::array{std::chrono::duration<double>(s.end).count(), to_ms(s.length)});
  }
  return {{"longest_ms", to_ms(longest)}, {"stalls", std::move(told)}};
}

}  // namespace

void watch_processor(unsigned processor) {
  take_processor(processor);
  std::vector<Stall> stalls;
  Nanoseconds before = monotonic_now();
  const auto look = [&] {
    const Nanoseconds now = monotonic_now();
    const Nanoseconds late = now - before - kPeriod;
    if (late > kWorthTelling) stalls.push_back({.end = now, .length = late});
    before = now;
  };
  run_until_input_ends(
      kPeriod, look, [] { return std::vector<Watch>{}; },
      [&](const Interval& interval) { return summarise(stalls, interval); });
}

}  // namespace weir::lab
