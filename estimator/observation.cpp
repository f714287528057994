#include "estimator/observation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTick = 100ms;
/// No cohort waits longer for its fate: behind a longer silence ticks would close nothing.
constexpr Duration kNothingLeftOpen = 15s;

/// Wilson's score interval at 95 %: holds for small counts, where the plain one goes below zero.
[[nodiscard]] std::pair<double, double> wilson(double lost, double all) {
  constexpr double z = 1.96;
  const double p = lost / all;
  const double centre = p + z * z / (2.0 * all);
  const double reach = z * std::sqrt(p * (1.0 - p) / all + z * z / (4.0 * all * all));
  const double scale = 1.0 + z * z / all;
  return {std::max(0.0, (centre - reach) / scale), std::min(1.0, (centre + reach) / scale)};
}

}  // namespace

// -- the numbers --

/// Seen twice: lost behind the tap. First seen below H: lost in front of it. Which of the two is beyond our
/// border depends on the way the data go.
LossShares loss_of(Direction direction, const SegmentTotals& segments) {
  const bool outbound = direction == Direction::outbound;
  LossShares loss{.beyond_segments = outbound ? segments.retransmitted : segments.hole_fill,
                  .before_segments = outbound ? segments.hole_fill : segments.retransmitted};
  const std::uint64_t sent = segments.data - std::min(segments.data, segments.duplicate);
  if (sent < kLeastSegmentsForRatio) return loss;
  const auto all = static_cast<double>(sent);
  loss.beyond = static_cast<double>(loss.beyond_segments) / all;
  loss.before = static_cast<double>(loss.before_segments) / all;
  const auto [low, high] = wilson(static_cast<double>(std::min(loss.beyond_segments, sent)), all);
  loss.low = low;
  loss.high = high;
  return loss;
}

std::optional<Rate> DirectionObservation::rate_to_set() const {
  if (!capacity || !capacity->rate) return std::nullopt;
  return *capacity->rate * kRateByHand;
}

Bytes SiteObservation::sent() const {
  Bytes sum;
  for (const DirectionObservation& d : directions) sum += d.sent;
  return sum;
}

// -- Observer --

namespace {

[[nodiscard]] EstimatorSettings with_accounts(EstimatorSettings settings) {
  settings.keep_accounts = true;
  return settings;
}

}  // namespace

Observer::Observer(EstimatorSettings settings, std::string source, std::vector<std::string> site_names)
    : sums_(settings, std::move(source), std::move(site_names)),
      estimator_(with_accounts(std::move(settings))) {}

void Observer::on_frames(std::span<const Frame> frames) {
  FrameClock ahead = clock_;  // it believes what the estimator's will
  if (first_ && ahead.pass(frames) && ahead.now() < next_tick_) [[likely]] {
    clock_ = ahead;
    last_ = ahead.now();
    estimator_.on_frames(frames);
    return;
  }
  for (const Frame& frame : frames) {
    const TimePoint time = clock_.believed(frame.time);
    begin_at(time);
    close_ticks_until(time);
    last_ = time;
    estimator_.on_frame(frame);
  }
}

void Observer::begin_at(TimePoint first) {
  if (first_) return;
  first_ = first;
  next_tick_ = first + kTick;
  last_tick_ = estimator_.tick(first, false);
}

void Observer::on_time(TimePoint now) {
  if (first_) close_ticks_until(now);
}

void Observer::on_kernel_drops(std::uint64_t count) {
  kernel_drops_ += count;
  lost_in_tick_ = lost_in_tick_ || count > 0;
}

void Observer::close_ticks_until(TimePoint now) {
  while (next_tick_ <= now) {
    if (now - last_ > kNothingLeftOpen && next_tick_ - last_ > kNothingLeftOpen) {
      next_tick_ = now + kTick;  // a long silence: go to its end in one step
      return;
    }
    close_tick(next_tick_);
  }
}

void Observer::close_tick(TimePoint at) {
  last_tick_ = estimator_.tick(at, std::exchange(lost_in_tick_, false));
  next_tick_ = at + kTick;
  sums_.add(last_tick_);
}

Observation Observer::finish() {
  if (first_) {
    for (TimePoint at = next_tick_; at <= last_ + kNothingLeftOpen; at += kTick) close_tick(at);
  }
  sums_.ask_for_all_capacities(last_);
  return sums_.sum_up(findings());
}

Observation Observer::summary() {
  sums_.ask_for_some_capacities(last_);
  return sums_.sum_up(findings());
}

EstimatorFindings Observer::findings() const {
  const auto of = [this](auto sums) {
    return std::array{&(estimator_.*sums)(Direction::outbound), &(estimator_.*sums)(Direction::inbound)};
  };
  return {.totals = estimator_.totals(),
          .accounts = *estimator_.accounts(),
          .retransmission_delay = of(&Estimator::retransmission_delay_sums),
          .sides = estimator_.sides(),
          .first = first_,
          .last = last_,
          .kernel_drops = kernel_drops_,
          .truncated = truncated_};
}

}  // namespace weir
