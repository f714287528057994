#include "estimator/rtt_floor.hpp"

#include <algorithm>

namespace weir {
namespace {

constexpr Duration kWindow = std::chrono::minutes(5);

}  // namespace

void RttFloor::add(Duration rtt, TimePoint at) {
  const auto window = static_cast<std::uint16_t>(at.time_since_epoch() / kWindow);
  if (window != window_) {
    previous_ = window == static_cast<std::uint16_t>(window_ + 1U) ? current_ : CoarseDuration();
    current_ = CoarseDuration();
    window_ = window;
  }
  const CoarseDuration value(rtt);
  if (current_.is_zero() || value < current_) current_ = value;
}

std::optional<Duration> RttFloor::value() const {
  if (current_.is_zero() && previous_.is_zero()) return std::nullopt;
  if (current_.is_zero()) return previous_.value();
  return previous_.is_zero() ? current_.value() : std::min(current_, previous_).value();
}

}  // namespace weir
