/// What a path is believed to carry: one figure with its error. A new figure that agrees with it refines it,
/// one that contradicts it takes its place. D over a few ticks is noisy, and a path that stands still for a
/// moment shows a queue and a low D without having changed.
///
/// Pure; not thread-safe.
#pragma once

#include <optional>

#include "estimator/control_window.hpp"
#include "estimator/controller.hpp"

namespace weir::control {

class KnownCapacity {
  friend struct StateFields;

 public:
  /// nullopt: nothing is known.
  [[nodiscard]] const std::optional<Capacity>& value() const { return known_; }
  /// The same with an interval of two standard errors, for people.
  [[nodiscard]] std::optional<CapacityEstimate> estimate() const;

  /// Whether the two lie within their errors of one another, or within kCapacitySpread.
  [[nodiscard]] bool agrees(const Capacity& measured, TimePoint now) const;
  /// The mean of both, weighed by their errors, if they agree; else what was measured. What is known ages.
  [[nodiscard]] Capacity refined(Capacity measured, TimePoint now) const;

  void learn(const Capacity& capacity);
  void forget() { known_.reset(); }

 private:
  [[nodiscard]] double error_at(TimePoint now) const;

  std::optional<Capacity> known_;
};

}  // namespace weir::control
