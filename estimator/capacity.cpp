#include "estimator/capacity.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTenth = kCohortLength;
constexpr std::size_t kTenthsPerWindow = 5;  // half a second
constexpr std::size_t kMostTenths = 36'000;  // an hour
constexpr std::size_t kLeastBufferWindows = 3;
constexpr double kLeastBufferShare = 0.1;
constexpr std::size_t kLeastLossWindows = 5;
constexpr double kLargestSpread = 0.5;
constexpr double kMostLoss = 0.5;  ///< beyond it the loads hardly differ, and no law shows
/// Ten seconds without loss and queue say that the path was not filled; some loss may have been chance.
constexpr std::size_t kLeastIdleWindows = 20;
constexpr double kMostTouched = 0.02;
constexpr double kLeastQueueKnown = 0.5;
constexpr double kLeastVariation = 1e-6;  ///< of the load: mean square over square of the mean
constexpr std::int64_t kLongestQueueUs = 1'000'000'000;

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
  /// Standard error of the slope. Infinite: too few windows, or all of one load.
  double error = std::numeric_limits<double>::infinity();
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
  if (sxx <= kLeastVariation * n * sent * sent) return law;
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
  const std::ptrdiff_t at = std::lround(fraction * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

/// Spread of the middle half, relative to the median.
[[nodiscard]] double spread(const std::vector<double>& rates) {
  const double median = quantile(rates, 0.5);
  return median > 0.0 ? (quantile(rates, 0.75) - quantile(rates, 0.25)) / median : 1.0;
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
    case CapacityMode::application_limited:
      return "application-limited";
  }
  return "unknown";
}

CapacityObserver::Tenth* CapacityObserver::at(TimePoint when) {
  if (!begin_) begin_ = when;
  if (when < *begin_) return nullptr;
  const auto index = static_cast<std::size_t>((when - *begin_) / kTenth);
  if (index >= tenths_.size() + kMostTenths) {  // a gap of an hour: nothing of before counts any more
    tenths_.clear();
    begin_ = when;
    return &tenths_.emplace_back();
  }
  while (tenths_.size() <= index) tenths_.emplace_back();
  Tenth* tenth = &tenths_[index];
  while (tenths_.size() > kMostTenths) {
    tenths_.pop_front();
    *begin_ += kTenth;
  }
  return tenth;
}

void CapacityObserver::add(const SiteMeasurement& tick) {
  const TimePoint middle = tick.at - tick.interval / 2;
  if (tick.rtt) base_ = tick.rtt->base;
  if (Tenth* tenth = at(middle)) {
    if (!tick.valid) tenth->valid = 0;
    if (tick.delivered_bytes) {
      constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
      tenth->delivered =
          static_cast<std::uint32_t>(std::min(most, tenth->delivered + tick.delivered_bytes->count()));
    }
    if (tick.queue) {
      const auto us = std::chrono::duration_cast<std::chrono::microseconds>(tick.queue->q).count();
      tenth->queue_us = static_cast<std::int32_t>(std::clamp<std::int64_t>(us, 0, kLongestQueueUs));
    }
  }
  for (const Cohort& cohort : tick.mature) {
    if (Tenth* tenth = at(cohort.begin + kCohortLength / 2)) {
      // The load, which windows are compared by.
      tenth->segments += cohort.segments * cohort.one_in;
      tenth->lost = (tenth->lost + cohort.lost_beyond * cohort.one_in) & 0x7fff'ffffU;
    }
    if (tick.valid && cohort.one_in == 1) {
      fit_.add(cohort);
    } else {
      fit_.clear();  // how large the segments are is not known when only some of them are counted
    }
  }
  if (!tick.valid) fit_.clear();
}

/// Half seconds by time of *sending*: what was delivered is looked up one base RTT later.
std::vector<CapacityObserver::Window> CapacityObserver::windows() const {
  const auto shift = static_cast<std::size_t>((base_ + kTenth / 2) / kTenth);
  std::vector<Window> windows;
  for (std::size_t first = 0; first + kTenthsPerWindow <= tenths_.size(); first += kTenthsPerWindow) {
    Window window;
    window.begin = *begin_ + kTenth * static_cast<std::int64_t>(first);
    std::uint64_t delivered = 0;
    std::vector<Duration> queues;
    for (std::size_t i = first; i < first + kTenthsPerWindow; ++i) {
      window.segments += tenths_[i].segments;
      window.lost += tenths_[i].lost;
      window.valid = window.valid && tenths_[i].valid == 1;
      if (i + shift >= tenths_.size()) continue;
      const Tenth& answered = tenths_[i + shift];
      window.valid = window.valid && answered.valid == 1;
      delivered += answered.delivered;
      if (answered.queue_us >= 0) queues.emplace_back(std::chrono::microseconds(answered.queue_us));
    }
    window.delivered_bps =
        Bytes(delivered).bits() / seconds(kTenth * static_cast<std::int64_t>(kTenthsPerWindow));
    if (!queues.empty()) {
      window.longest_queue = *std::max_element(queues.begin(), queues.end());
      window.queue = quantile(std::move(queues), 0.5);
    }
    windows.push_back(window);
  }
  return windows;
}

/// The controller's q_hi (docs/CONTROLLER.md): more than noise, and than a hop's own queue.
Duration CapacityObserver::long_queue() const {
  return std::max<Duration>(8ms, base_ * 8 / 100);
}

/// The busy windows, and those of them in which something happened.
struct CapacityObserver::Congested {
  std::vector<Point> points;
  std::vector<const Window*> queued;  ///< the queue stood
  std::size_t losing = 0;
  std::size_t touched = 0;  ///< some loss, or some queue
  std::size_t queue_known = 0;
  TimePoint last_loss;

  Congested(const std::vector<Window>& all, Duration long_enough) {
    for (std::size_t i = 1; i + 1 < all.size(); ++i) {
      const Window& w = all[i];
      if (!w.busy() || !all[i - 1].busy() || !all[i + 1].busy()) continue;
      points.push_back({w.segments, w.lost});
      // The queue must have stood at the start of the window as well: otherwise part of it was spent filling.
      if (w.queue > long_enough && all[i - 1].queue > long_enough) queued.push_back(&w);
      if (w.queue >= Duration::zero()) ++queue_known;
      if (w.lost > 0.0 || w.queue > long_enough) ++touched;
      if (w.lost <= 0.0) continue;
      ++losing;
      last_loss = w.begin;
    }
  }
  [[nodiscard]] double busy() const { return static_cast<double>(points.size()); }
  [[nodiscard]] bool is_buffer() const {
    return queued.size() >= kLeastBufferWindows &&
           static_cast<double>(queued.size()) >= kLeastBufferShare * busy();
  }
  [[nodiscard]] bool was_never_full() const {
    return points.size() >= kLeastIdleWindows && static_cast<double>(touched) <= kMostTouched * busy() &&
           static_cast<double>(queue_known) >= kLeastQueueKnown * busy();
  }
  /// The loss is in proportion to what is sent. A bucket that was full at the start lets a burst through that
  /// dwarfs all later windows: judged without it.
  [[nodiscard]] bool is_random() const {
    std::vector<double> loads;
    loads.reserve(points.size());
    for (const Point& p : points) loads.push_back(p.sent);
    const double usual = quantile(std::move(loads), 0.5);
    std::vector<Point> without_bursts = points;
    std::erase_if(without_bursts, [&](const Point& p) { return p.sent > 2.0 * usual; });
    return !is_undecided(fit(without_bursts));
  }
  void describe_buffer(CapacityFinding& finding) const {
    std::vector<double> rates;
    std::vector<Duration> queues;
    std::vector<Duration> longest;
    for (const Window* w : queued) {
      rates.push_back(w->delivered_bps);
      queues.push_back(w->queue);
      longest.push_back(w->longest_queue);
    }
    finding.mode = CapacityMode::buffer;
    finding.windows = static_cast<std::uint32_t>(rates.size());
    finding.queue = quantile(std::move(queues), 0.5);
    finding.depth = quantile(std::move(longest), 0.95);
    // Rates that differ by more than half are no one level: say what it is, but no number.
    if (spread(rates) > kLargestSpread) return;
    finding.rate = Rate::bps(static_cast<std::uint64_t>(quantile(rates, 0.5)));
    finding.low = Rate::bps(static_cast<std::uint64_t>(quantile(rates, 0.25)));
    finding.high = Rate::bps(static_cast<std::uint64_t>(quantile(rates, 0.75)));
  }
};

CapacityFinding CapacityObserver::finding(TimePoint now) const {
  CapacityFinding finding;
  const std::vector<Window> all = windows();
  const Congested congested(all, long_queue());
  finding.busy_windows = static_cast<std::uint32_t>(congested.points.size());
  double sent = 0.0;
  double lost = 0.0;
  for (const Point& p : congested.points) {
    sent += p.sent;
    lost += p.lost;
  }
  if (sent > 0.0) finding.loss = lost / sent;

  const auto age_of = [&](TimePoint newest) { return std::max(Duration::zero(), now - newest); };
  if (congested.is_buffer()) {
    congested.describe_buffer(finding);
    finding.age = age_of(congested.queued.back()->begin);
  } else if (const auto policer = fit_.finding(base_)) {
    finding.mode = CapacityMode::policer;
    finding.rate = policer->rate;
    finding.low = policer->low;
    finding.high = policer->high;
    finding.windows = policer->events;
    finding.bucket = policer->bucket;
    finding.age = age_of(policer->newest);
  } else if (congested.losing >= kLeastLossWindows && finding.loss <= kMostLoss && congested.is_random()) {
    finding.mode = CapacityMode::lossy;
    finding.windows = static_cast<std::uint32_t>(congested.losing);
    finding.age = age_of(congested.last_loss);
  } else if (congested.was_never_full()) {
    finding.mode = CapacityMode::application_limited;
  }
  return finding;
}

}  // namespace weir
