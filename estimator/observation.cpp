#include "estimator/observation.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTick = 100ms;
constexpr std::size_t kTicksPerHalfSecond = 5;
/// No cohort waits longer for its fate: behind a longer silence ticks would close nothing.
constexpr Duration kNothingLeftOpen = 15s;

/// One measurement of all sites together. What has no sum (RTT, queue) is that of the busiest site.
[[nodiscard]] SiteMeasurement all_sites(const std::vector<SiteMeasurement>& sites) {
  SiteMeasurement sum;
  const SiteMeasurement* busiest = nullptr;
  for (const SiteMeasurement& site : sites) {
    sum.at = site.at;
    sum.interval = site.interval;
    sum.valid = sum.valid && site.valid;
    sum.sent += site.sent;
    sum.sent_tcp += site.sent_tcp;
    sum.mature.insert(sum.mature.end(), site.mature.begin(), site.mature.end());
    if (site.delivered_bytes)
      sum.delivered_bytes = sum.delivered_bytes.value_or(Bytes()) + *site.delivered_bytes;
    if (site.rtt && (busiest == nullptr || site.sent > busiest->sent)) busiest = &site;
  }
  if (busiest != nullptr) {
    sum.rtt = busiest->rtt;
    sum.queue = busiest->queue;
  }
  return sum;
}

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

std::optional<double> DirectionObservation::loss_beyond() const {
  if (segments.data < kLeastSegmentsForRatio) return std::nullopt;
  return static_cast<double>(lost_beyond) / static_cast<double>(segments.data);
}

std::optional<double> DirectionObservation::loss_before() const {
  if (segments.data < kLeastSegmentsForRatio) return std::nullopt;
  return static_cast<double>(lost_before) / static_cast<double>(segments.data);
}

std::optional<Rate> DirectionObservation::rate_to_set() const {
  if (!capacity.rate) return std::nullopt;
  return *capacity.rate * kRateByHand;
}

// -- Observer --

Observer::Observer(EstimatorSettings settings, std::string source)
    : source_(std::move(source)),
      sides_configured_(!settings.sites.empty() || !settings.inside.empty()),
      estimator_(std::move(settings)) {}

void Observer::on_frame(const Frame& frame) {
  if (!first_) {
    first_ = last_ = frame.time;
    next_tick_ = frame.time + kTick;
    last_tick_ = estimator_.tick(frame.time, false);
  }
  close_ticks_until(frame.time);
  last_ = std::max(last_, frame.time);
  estimator_.on_frame(frame);
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
  add(last_tick_.outbound, outbound_);
  add(last_tick_.inbound, inbound_);
}

void Observer::add(const std::vector<SiteMeasurement>& sites, Sums& sums) {
  const SiteMeasurement tick = all_sites(sites);
  sums.sent += tick.sent;
  sums.sent_tcp += tick.sent_tcp;
  sums.capacity.add(tick);
  auto& recent = sums.last_half_second;
  if (recent.size() == kTicksPerHalfSecond) recent.erase(recent.begin());
  recent.push_back(tick.sent);
  Bytes half_second;
  for (const Bytes& b : recent) half_second += b;
  if (recent.size() == kTicksPerHalfSecond) {
    sums.busiest = std::max(sums.busiest, Rate::of(half_second, kTick * std::int64_t{kTicksPerHalfSecond}));
  }
}

Observation Observer::finish() {
  if (first_) {
    for (TimePoint at = next_tick_; at <= last_ + kNothingLeftOpen; at += kTick) close_tick(at);
  }
  return summary();
}

DirectionObservation Observer::direction(Direction which, const Sums& sums) const {
  const EstimatorTotals& totals = estimator_.totals();
  const bool outbound = which == Direction::outbound;
  DirectionObservation d{.direction = which,
                         .sent = sums.sent,
                         .sent_tcp = sums.sent_tcp,
                         .busiest = sums.busiest,
                         .segments = outbound ? totals.outbound : totals.inbound,
                         .rtt = estimator_.rtt_totals(which),
                         .capacity = sums.capacity.finding()};
  // Seen twice: lost behind the tap. First seen below H: lost in front of it. Which of the two is beyond our
  // border depends on the way the data go.
  d.lost_beyond = outbound ? d.segments.retransmitted : d.segments.hole_fill;
  d.lost_before = outbound ? d.segments.hole_fill : d.segments.retransmitted;
  if (d.segments.data >= kLeastSegmentsForRatio) {
    const auto [low, high] = wilson(static_cast<double>(std::min(d.lost_beyond, d.segments.data)),
                                    static_cast<double>(d.segments.data));
    d.loss_low = low;
    d.loss_high = high;
  }
  return d;
}

Observation Observer::summary() const {
  const EstimatorTotals& totals = estimator_.totals();
  return {.source = source_,
          .packets = totals.frames,
          .tcp_packets = totals.tcp,
          .seconds = first_ ? seconds(last_ - *first_) : 0.0,
          .kernel_drops = kernel_drops_,
          .malformed = totals.malformed,
          .opaque = totals.opaque,
          .one_way = totals.one_way,
          .truncated = truncated_,
          .sides_configured = sides_configured_,
          .sides = estimator_.sides(),
          .directions = {direction(Direction::outbound, outbound_), direction(Direction::inbound, inbound_)}};
}

}  // namespace weir
