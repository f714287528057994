#include "estimator/rtt_floor.hpp"

#include <algorithm>

namespace weir {
namespace {

constexpr Duration kHalfWindow = std::chrono::minutes(5);

}  // namespace

void RttFloor::add(Duration rtt, TimePoint at) {
  if (at - turned_ > kHalfWindow) {
    previous_ = at - turned_ > 2 * kHalfWindow ? Duration::zero() : current_;
    current_ = Duration::zero();
    turned_ = at;
  }
  if (current_ == Duration::zero() || rtt < current_) current_ = rtt;
}

std::optional<Duration> RttFloor::value() const {
  if (current_ == Duration::zero()) {
    return previous_ == Duration::zero() ? std::nullopt : std::optional(previous_);
  }
  return previous_ == Duration::zero() ? current_ : std::min(current_, previous_);
}

}  // namespace weir
