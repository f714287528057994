/// A figure that changes with time in a way that was laid down before: constant, in steps, or a sine.
///
/// Pure.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>
#include <vector>

#include "config/units.hpp"

namespace weir::proving {

class Schedule {
 public:
  struct Step {
    Duration at{};
    double value = 0.0;
  };
  struct Sine {
    double mean = 0.0;
    double swing = 0.0;  ///< share of the mean
    Duration period{};
  };

  Schedule() = default;
  explicit Schedule(double constant) : steps_{{Duration::zero(), constant}} {}
  /// Sorted by time; before the first step its value holds.
  explicit Schedule(std::vector<Step> steps) : steps_(std::move(steps)) {}
  explicit Schedule(Sine sine) : sine_(sine), is_sine_(true) {}

  [[nodiscard]] double at(TimePoint now) const {
    const Duration t = now.time_since_epoch();
    if (is_sine_) {
      const double turn = seconds(t) / seconds(sine_.period);
      return sine_.mean * (1.0 + sine_.swing * std::sin(2.0 * std::numbers::pi * turn));
    }
    if (steps_.empty()) return 0.0;
    const auto after =
        std::upper_bound(steps_.begin(), steps_.end(), t, [](Duration v, const Step& s) { return v < s.at; });
    return after == steps_.begin() ? steps_.front().value : std::prev(after)->value;
  }
  /// The value times seconds between two instants, exactly; `to` is not before `from`.
  [[nodiscard]] double over(TimePoint from, TimePoint to) const;
  /// The first nanosecond at which `over(from, .)` has come to `amount`; nullopt: the value stays zero before
  /// that. For values that are not negative.
  [[nodiscard]] std::optional<TimePoint> reaches(TimePoint from, double amount) const;
  /// When the value jumps next; a sine never does.
  [[nodiscard]] std::optional<TimePoint> next_jump(TimePoint after) const;
  [[nodiscard]] Schedule scaled(double factor) const {
    Schedule s = *this;
    for (Step& step : s.steps_) step.value *= factor;
    s.sine_.mean *= factor;
    return s;
  }

 private:
  [[nodiscard]] std::optional<TimePoint> sine_reaches(TimePoint from, double amount) const;

  std::vector<Step> steps_;
  Sine sine_;
  bool is_sine_ = false;
};

}  // namespace weir::proving
