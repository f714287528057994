#include "estimator/tracking.hpp"

#include "estimator/half_flow.hpp"

namespace weir {

bool TrackingPool::can_be_spared(const Tracking& t) {
  const bool has_holes = t.trouble && !t.trouble->holes.empty();
  return !has_holes && (t.ring.empty() || !t.owner->is_acknowledged());
}

TrackingPool::Number TrackingPool::lend(HalfFlow& owner) {
  if (given_back_ > 0) {
    const Number latest = lately_[--given_back_ % lately_.size()];
    if (is_crowded() && trackings_.acquire_again(latest, owner, budget_)) return latest;
  }
  if (const auto number = trackings_.acquire(owner, budget_)) return *number;
  for (std::size_t i = 0; i < kVictimsLookedAt; ++i) {
    hand_ = hand_ + 1 < trackings_.numbers() ? hand_ + 1 : 0;
    if (!trackings_.is_taken(hand_) || !can_be_spared(trackings_[hand_])) continue;
    trackings_[hand_].owner->tracking_is_gone();
    trackings_.release(hand_);
    if (const auto number = trackings_.acquire(owner, budget_)) return *number;
  }
  return kNone;
}

}  // namespace weir
