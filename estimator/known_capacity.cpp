#include "estimator/known_capacity.hpp"

#include <algorithm>
#include <cmath>

#include "estimator/control_constants.hpp"

namespace weir::control {

std::optional<CapacityEstimate> KnownCapacity::estimate() const {
  if (!known_) return std::nullopt;
  const double spread = 2 * known_->relative_error;
  return CapacityEstimate{.rate = known_->rate,
                          .low = known_->rate * (1.0 - spread),
                          .high = known_->rate * (1.0 + spread),
                          .measured = known_->measured};
}

double KnownCapacity::error_at(TimePoint now) const {
  return known_->relative_error +
         std::min(kCapacityAgeing * seconds(now - known_->measured), kCapacityAgeingMost);
}

bool KnownCapacity::agrees(const Capacity& measured, TimePoint now) const {
  if (!known_) return false;
  const double spread = 2 * std::hypot(measured.relative_error, error_at(now));
  return std::abs(measured.rate / known_->rate - 1.0) < std::max(kCapacitySpread, spread);
}

Capacity KnownCapacity::refined(Capacity measured, TimePoint now) const {
  if (!agrees(measured, now)) return measured;
  Capacity known = *known_;
  known.relative_error = error_at(now);
  return weighed_mean(known, measured);
}

void KnownCapacity::learn(const Capacity& capacity) {
  known_ = capacity;
  known_->relative_error = std::clamp(capacity.relative_error, kCapacityErrorLeast, kCapacityErrorMost);
}

}  // namespace weir::control
