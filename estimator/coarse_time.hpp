/// Times and durations in four bytes, for records of which there are a million.
///
/// Pure. The counts wrap: each type says against which times it is meaningful.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <limits>

#include "config/units.hpp"

namespace weir {

/// In steps of 64 ns, up to 274 s.
class CoarseDuration {
 public:
  constexpr CoarseDuration() = default;
  constexpr explicit CoarseDuration(Duration d) : steps_(steps_of(d)) {}
  [[nodiscard]] constexpr Duration value() const {
    return Duration(static_cast<std::int64_t>(steps_) * kStep);
  }
  [[nodiscard]] constexpr bool is_zero() const { return steps_ == 0; }
  constexpr auto operator<=>(const CoarseDuration&) const = default;
  [[nodiscard]] constexpr std::int64_t steps() const { return steps_; }
  /// By a part of the way to another one: the sum is in range.
  constexpr void move_by(std::int64_t steps) { steps_ = static_cast<std::uint32_t>(steps_ + steps); }

  static constexpr std::int64_t kStep = 64;

 private:
  /// Above zero stays above zero: zero says "unknown" to the owners of these.
  [[nodiscard]] static constexpr std::uint32_t steps_of(Duration d) {
    if (d <= Duration::zero()) return 0;
    const std::int64_t steps = std::max<std::int64_t>(d.count() / kStep, 1);
    return static_cast<std::uint32_t>(
        std::min<std::int64_t>(steps, std::numeric_limits<std::uint32_t>::max()));
  }
  std::uint32_t steps_ = 0;
};

/// An instant in steps of 2^kShift ns, modulo 2^32 of them.
template <unsigned kShift>
class ShortTime {
 public:
  constexpr ShortTime() = default;
  constexpr explicit ShortTime(TimePoint at)
      : steps_(static_cast<std::uint32_t>(at.time_since_epoch().count() >> kShift)) {}
  /// How long before `now` this was; negative when `now` is the earlier one.
  [[nodiscard]] constexpr Duration before(TimePoint now) const {
    const auto steps = static_cast<std::int32_t>(ShortTime(now).steps_ - steps_);
    return Duration(static_cast<std::int64_t>(steps) * (std::int64_t{1} << kShift));
  }
  /// before(now) > than, in steps.
  [[nodiscard]] constexpr bool is_longer_before(TimePoint now, Duration than) const {
    return static_cast<std::int32_t>(ShortTime(now).steps_ - steps_) > than.count() >> kShift;
  }

 private:
  std::uint32_t steps_ = 0;
};

using CoarseTime = ShortTime<6>;  ///< 64 ns: for round trips; against times less than 137 s away
using SlowTime = ShortTime<20>;   ///< a millisecond: for idleness; against times less than 26 days away

}  // namespace weir
