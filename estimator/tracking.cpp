#include "estimator/tracking.hpp"

#include "estimator/half_flow.hpp"

namespace weir {

TrackingPool::Number TrackingPool::lend(HalfFlow& owner) {
  if (const auto number = trackings_.acquire(owner, budget_)) return *number;
  for (std::size_t i = 0; i < kVictimsLookedAt; ++i) {
    hand_ = hand_ + 1 < trackings_.numbers() ? hand_ + 1 : 0;
    if (!trackings_.is_taken(hand_) || !trackings_[hand_].rests()) continue;
    trackings_[hand_].owner->tracking_is_gone();
    trackings_.release(hand_);
    if (const auto number = trackings_.acquire(owner, budget_)) return *number;
  }
  return kNone;
}

}  // namespace weir
