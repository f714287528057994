#include "proving/path/schedule.hpp"

namespace weir::proving {
namespace {

/// Up, so that what was asked for has come.
Duration ceiling_of(double s) {
  return Duration(static_cast<std::int64_t>(std::ceil(s * 1e9)));
}

}  // namespace

std::optional<TimePoint> Schedule::next_jump(TimePoint after) const {
  const Duration t = after.time_since_epoch();
  // The first step's value holds before it, too: no jump.
  auto next =
      std::upper_bound(steps_.begin(), steps_.end(), t, [](Duration v, const Step& s) { return v < s.at; });
  if (next == steps_.begin() && next != steps_.end()) ++next;
  if (next == steps_.end()) return std::nullopt;
  return TimePoint(next->at);
}

double Schedule::over(TimePoint from, TimePoint to) const {
  if (is_sine_) {
    // cos a - cos b by the product of sines: the difference of two near cosines would lose digits.
    const double turn = 2.0 * std::numbers::pi / seconds(sine_.period);
    const double middle = turn * 0.5 * (seconds(from.time_since_epoch()) + seconds(to.time_since_epoch()));
    const double half = turn * 0.5 * seconds(to - from);
    return sine_.mean * (seconds(to - from) + sine_.swing * 2.0 * std::sin(middle) * std::sin(half) / turn);
  }
  double sum = 0.0;
  while (from < to) {
    const TimePoint end = std::min(to, next_jump(from).value_or(to));
    sum += at(from) * seconds(end - from);
    from = end;
  }
  return sum;
}

std::optional<TimePoint> Schedule::reaches(TimePoint from, double amount) const {
  if (amount <= 0.0) return from;
  if (is_sine_) return sine_reaches(from, amount);
  while (true) {
    const double value = at(from);
    const auto jump = next_jump(from);
    if (value > 0.0) {
      const double needed = amount / value;
      if (!jump || needed <= seconds(*jump - from)) return from + ceiling_of(needed);
      amount -= value * seconds(*jump - from);
    }
    if (!jump) return std::nullopt;
    from = *jump;
  }
}

/// Newton's steps, kept between two bounds: at a swing of 100 % the value comes down to zero.
std::optional<TimePoint> Schedule::sine_reaches(TimePoint from, double amount) const {
  constexpr double kClose = 1e-3;
  const double per_period = sine_.mean * seconds(sine_.period);
  if (per_period <= 0.0) return std::nullopt;
  double least = 0.0;
  double most = (std::floor(amount / per_period) + 1.0) * seconds(sine_.period);
  double t = at(from) > 0.0 ? std::min(amount / at(from), most) : most / 2;
  for (int i = 0; i < 100; ++i) {
    const TimePoint then = from + from_seconds(t);
    const double missing = amount - over(from, then);
    if (std::abs(missing) < kClose) break;
    (missing > 0 ? least : most) = t;
    const double slope = at(then);
    const double next = slope > 0.0 ? t + missing / slope : least;
    t = next > least && next < most ? next : (least + most) / 2;
  }
  return from + ceiling_of(t);
}

}  // namespace weir::proving
