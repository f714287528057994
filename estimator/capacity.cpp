#include "estimator/capacity.hpp"

#include <algorithm>
#include <cmath>

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kSlot = kCohortLength;
constexpr std::size_t kSlotsPerWindow = 5;  // half a second
constexpr std::size_t kMostSlots = 36'000;  // an hour
constexpr std::size_t kLeastBufferWindows = 3;
constexpr double kLeastBufferShare = 0.1;
constexpr std::size_t kLeastLossWindows = 5;
constexpr double kLargestSpread = 0.5;

/// How loss follows the load over the busy windows: the least-squares slope of lost on sent segments, beside
/// the mean.
///
///   lost |          policer: above C all that is       lost |
///        |        / sent more is lost, slope -> 1           |      . - '  random: slope = mean
///        |_______/                                          | . - '
///        +-------C------- sent                              +------------- sent
struct LossLaw {
  double mean = 0.0;
  double slope = 0.0;
  double error = 0.0;  ///< standard error of the slope
  [[nodiscard]] bool exceeds_mean_by(double sigmas) const { return slope - mean > sigmas * error; }
};

struct Point {
  double sent = 0.0;
  double lost = 0.0;
};

[[nodiscard]] LossLaw fit(const std::vector<Point>& points) {
  LossLaw law;
  const auto n = static_cast<double>(points.size());
  if (points.size() < kLeastLossWindows) return law;
  double sent = 0.0;
  double lost = 0.0;
  for (const Point& p : points) {
    sent += p.sent / n;
    lost += p.lost / n;
  }
  double sxx = 0.0;
  double sxy = 0.0;
  for (const Point& p : points) {
    sxx += (p.sent - sent) * (p.sent - sent);
    sxy += (p.sent - sent) * (p.lost - lost);
  }
  if (sxx <= 0.0 || sent <= 0.0) return law;
  law.mean = lost / sent;
  law.slope = sxy / sxx;
  double residual = 0.0;
  for (const Point& p : points) {
    const double r = p.lost - lost - law.slope * (p.sent - sent);
    residual += r * r;
  }
  law.error = std::sqrt(residual / (n - 2.0) / sxx);
  return law;
}

template <typename T>
[[nodiscard]] T quantile(std::vector<T> values, double fraction) {
  const auto at = static_cast<std::ptrdiff_t>(fraction * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

/// Spread of the middle half, relative to the median.
[[nodiscard]] double spread(const std::vector<double>& rates) {
  const double median = quantile(rates, 0.5);
  return median > 0.0 ? (quantile(rates, 0.75) - quantile(rates, 0.25)) / median : 1.0;
}

/// Thresholds from 47 captures with a known truth (docs/ESTIMATOR.md). The weaker law is enough where the
/// delivered rate stands at one level whenever there is loss.
[[nodiscard]] bool grows_with_load(const LossLaw& law, double spread_of_rates) {
  const bool strong = law.slope > 3.0 * law.mean && law.slope > 0.05 && law.exceeds_mean_by(2.0);
  const bool steady =
      law.slope > 2.0 * law.mean && law.slope > 0.05 && law.exceeds_mean_by(4.0) && spread_of_rates < 0.2;
  return strong || steady;
}

/// The slope may as well be that of a policer as that of random loss: too few congested windows to tell.
[[nodiscard]] bool is_undecided(const LossLaw& law) {
  return law.slope + 2.0 * law.error > 3.0 * law.mean;
}

}  // namespace

std::string_view to_string(CapacityMode mode) {
  switch (mode) {
    case CapacityMode::unknown:
      return "unknown";
    case CapacityMode::policer:
      return "policer";
    case CapacityMode::buffer:
      return "buffer";
    case CapacityMode::lossy:
      return "lossy";
  }
  return "unknown";
}

CapacityObserver::Slot* CapacityObserver::at(TimePoint when) {
  if (!begin_) begin_ = when;
  if (when < *begin_) return nullptr;
  const auto index = static_cast<std::size_t>((when - *begin_) / kSlot);
  if (index >= slots_.size() + kMostSlots) {  // a gap of an hour: nothing of before counts any more
    slots_.clear();
    begin_ = when;
    return &slots_.emplace_back();
  }
  while (slots_.size() <= index) slots_.emplace_back();
  Slot* slot = &slots_[index];
  while (slots_.size() > kMostSlots) {
    slots_.pop_front();
    *begin_ += kSlot;
  }
  return slot;
}

void CapacityObserver::add(const SiteMeasurement& tick) {
  const TimePoint middle = tick.at - tick.interval / 2;
  if (tick.rtt) base_ = tick.rtt->base;
  if (Slot* slot = at(middle)) {
    slot->valid = slot->valid && tick.valid;
    if (tick.delivered_bytes) slot->delivered += tick.delivered_bytes->count();
    if (tick.queue) slot->queue = tick.queue->q;
  }
  for (const Cohort& cohort : tick.mature) {
    if (Slot* slot = at(cohort.begin + kCohortLength / 2)) {
      slot->segments += cohort.segments * cohort.one_in;  // the load, which windows are compared by
      slot->lost += cohort.lost_beyond * cohort.one_in;
    }
  }
}

/// Half seconds by time of *sending*: what was delivered is looked up one base RTT later.
std::vector<CapacityObserver::Window> CapacityObserver::windows() const {
  const auto shift = static_cast<std::size_t>((base_ + kSlot / 2) / kSlot);
  std::vector<Window> windows;
  for (std::size_t first = 0; first + kSlotsPerWindow <= slots_.size(); first += kSlotsPerWindow) {
    Window window;
    std::uint64_t delivered = 0;
    std::vector<Duration> queues;
    for (std::size_t i = first; i < first + kSlotsPerWindow; ++i) {
      window.segments += slots_[i].segments;
      window.lost += slots_[i].lost;
      window.valid = window.valid && slots_[i].valid;
      if (i + shift >= slots_.size()) continue;
      const Slot& answered = slots_[i + shift];
      window.valid = window.valid && answered.valid;
      delivered += answered.delivered;
      if (answered.queue >= Duration::zero()) queues.push_back(answered.queue);
    }
    window.delivered_bps =
        Bytes(delivered).bits() / seconds(kSlot * static_cast<std::int64_t>(kSlotsPerWindow));
    if (!queues.empty()) window.queue = quantile(std::move(queues), 0.5);
    windows.push_back(window);
  }
  return windows;
}

/// The controller's q_hi (docs/CONTROLLER.md): more than noise, and than a hop's own queue.
Duration CapacityObserver::long_queue() const {
  return std::max<Duration>(8ms, base_ * 8 / 100);
}

CapacityFinding CapacityObserver::finding() const {
  CapacityFinding finding;
  const std::vector<Window> all = windows();
  const Duration long_enough = long_queue();
  std::vector<double> queued;
  std::vector<double> losing;
  std::vector<Duration> queue_when_queued;
  std::vector<Duration> queue_when_losing;
  std::vector<Point> points;
  double sent = 0.0;
  double lost = 0.0;
  for (std::size_t i = 1; i + 1 < all.size(); ++i) {
    const Window& w = all[i];
    if (!w.busy() || !all[i - 1].busy() || !all[i + 1].busy()) continue;
    ++finding.busy_windows;
    sent += w.segments;
    lost += w.lost;
    points.push_back({w.segments, w.lost});
    // The queue must have stood at the start of the window as well: otherwise part of it was spent filling.
    if (w.queue > long_enough && all[i - 1].queue > long_enough) {
      queued.push_back(w.delivered_bps);
      queue_when_queued.push_back(w.queue);
    }
    if (w.lost > 0.0) {
      losing.push_back(w.delivered_bps);
      if (w.queue >= Duration::zero()) queue_when_losing.push_back(w.queue);
    }
  }
  if (sent > 0.0) finding.loss = lost / sent;

  const auto conclude = [&](CapacityMode mode, const std::vector<double>& rates,
                            std::vector<Duration> queues) {
    finding.mode = mode;
    finding.windows = static_cast<std::uint32_t>(rates.size());
    if (!queues.empty()) finding.queue = quantile(std::move(queues), 0.5);
    if (mode == CapacityMode::lossy) return;
    // Rates that differ by more than half are no one level: say what it is, but no number.
    if (spread(rates) > kLargestSpread) return;
    finding.rate = Rate::bps(static_cast<std::uint64_t>(quantile(rates, 0.5)));
    finding.low = Rate::bps(static_cast<std::uint64_t>(quantile(rates, 0.25)));
    finding.high = Rate::bps(static_cast<std::uint64_t>(quantile(rates, 0.75)));
  };
  if (queued.size() >= kLeastBufferWindows &&
      static_cast<double>(queued.size()) >= kLeastBufferShare * finding.busy_windows) {
    conclude(CapacityMode::buffer, queued, std::move(queue_when_queued));
    return finding;
  }
  if (losing.size() < kLeastLossWindows) return finding;

  // A bucket that was full at the start lets a burst through that dwarfs all later windows: judge without it
  // as well.
  std::vector<double> loads;
  for (const Point& p : points) loads.push_back(p.sent);
  const double usual = quantile(std::move(loads), 0.5);
  const double rate_spread = spread(losing);
  const LossLaw whole = fit(points);
  std::erase_if(points, [&](const Point& p) { return p.sent > 2.0 * usual; });
  const LossLaw without_bursts = fit(points);
  if (grows_with_load(whole, rate_spread) || grows_with_load(without_bursts, rate_spread)) {
    conclude(CapacityMode::policer, losing, std::move(queue_when_losing));
  } else if (!is_undecided(without_bursts)) {
    conclude(CapacityMode::lossy, losing, std::move(queue_when_losing));
  }
  return finding;
}

}  // namespace weir
