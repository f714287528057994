#include "estimator/control_window.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "estimator/control_constants.hpp"

namespace weir::control {
namespace {

/// A rate with the standard error of the samples around it.
Capacity pool(const std::vector<double>& rates, double mean, TimePoint measured) {
  double square = 0.0;
  for (const double r : rates) square += (r - mean) * (r - mean);
  const auto n = static_cast<double>(rates.size());
  const double error = n > 1 ? std::sqrt(square / (n - 1) / n) : 0.1 * mean;
  return {Rate::bps(static_cast<std::uint64_t>(mean)), mean > 0 ? error / mean : 1.0, measured};
}

}  // namespace

void ControlWindow::add(const ControlInput& input, TimePoint now) {
  const SiteMeasurement& m = input.measured;
  ticks_.push_back({.begin = m.at - m.interval,
                    .end = m.at,
                    .sent = input.sent.in(m.interval),
                    .delivered = m.valid ? m.delivered_bytes : std::nullopt,
                    .queue = m.valid && m.queue ? std::optional(m.queue->q) : std::nullopt,
                    .backlogged = input.backlogged});
  if (m.valid) cohorts_.insert(cohorts_.end(), m.mature.begin(), m.mature.end());
  while (!ticks_.empty() && ticks_.front().end < now - kMemory) ticks_.pop_front();
  while (!cohorts_.empty() && cohorts_.front().begin < now - kMemory) cohorts_.pop_front();
}

Rate ControlWindow::sent(TimePoint from, TimePoint to) const {
  double bits = 0.0;
  Duration covered{};
  for (const Tick& t : ticks_) {
    const Duration overlap = std::min(t.end, to) - std::max(t.begin, from);
    if (overlap <= Duration::zero() || t.end <= t.begin) continue;
    bits += t.sent.bits() * (seconds(overlap) / seconds(t.end - t.begin));
    covered += overlap;
  }
  return covered > Duration::zero() ? Rate::bps(static_cast<std::uint64_t>(bits / seconds(covered))) : Rate();
}

bool ControlWindow::demand(Rate rate, double share, Duration span, TimePoint now) const {
  if (ticks_.empty() || ticks_.front().begin > now - span) return false;
  const bool waited = std::all_of(ticks_.begin(), ticks_.end(),
                                  [&](const Tick& t) { return t.end <= now - span || t.backlogged; });
  return waited || sent(now - span, now) >= rate * share;
}

LossCount ControlWindow::loss(TimePoint from, TimePoint to) const {
  LossCount sum;
  for (const Cohort& c : cohorts_) {
    if (c.begin < from || c.begin >= to) continue;
    sum.segments += c.segments;
    sum.beyond += c.lost_beyond;
    sum.before += c.lost_before;
  }
  return sum;
}

std::optional<TimePoint> ControlWindow::mature_until() const {
  if (cohorts_.empty()) return std::nullopt;
  return cohorts_.back().begin + kCohortLength;
}

std::optional<Capacity> ControlWindow::policed_capacity(TimePoint from, TimePoint to, double harmless) const {
  std::vector<const Cohort*> lossy;
  for (const Cohort& c : cohorts_) {
    if (c.begin < from || c.begin >= to || c.segments == 0) continue;
    if (c.lost_beyond > harmless * static_cast<double>(c.segments)) lossy.push_back(&c);
  }
  if (lossy.empty()) return std::nullopt;
  const auto share = [](const Cohort* c) {
    return static_cast<double>(c->lost_beyond) / static_cast<double>(c->segments);
  };
  const auto worst =
      std::max_element(lossy.begin(), lossy.end(), [&](auto x, auto y) { return share(x) < share(y); });
  if (worst != lossy.begin()) lossy.erase(lossy.begin());
  const double enough = share(*std::max_element(lossy.begin(), lossy.end(),
                                                [&](auto x, auto y) { return share(x) < share(y); })) /
                        2;
  std::vector<double> rates;
  for (const Cohort* c : lossy) {
    if (share(c) < enough) continue;
    const double p = std::min(1.0, share(c));
    rates.push_back(static_cast<double>(sent(c->begin, c->begin + kCohortLength).bps()) * (1.0 - p));
  }
  return pool(rates, *std::max_element(rates.begin(), rates.end()), lossy.back()->begin);
}

std::optional<Rate> ControlWindow::delivered(TimePoint from) const {
  Bytes bytes;
  Duration time{};
  for (const Tick& t : ticks_) {
    if (t.begin < from || !t.delivered) continue;
    bytes += *t.delivered;
    time += t.end - t.begin;
  }
  if (time == Duration::zero()) return std::nullopt;
  return Rate::of(bytes, time);
}

std::optional<Capacity> ControlWindow::buffered_capacity(TimePoint from, Duration target) const {
  std::vector<const Tick*> busy;
  for (const Tick& t : ticks_) {
    if (t.begin >= from && t.delivered && t.queue && *t.queue > target) busy.push_back(&t);
  }
  if (busy.empty()) return std::nullopt;
  if (busy.size() > 1) busy.erase(busy.begin());
  std::vector<double> rates;
  double bits = 0.0;
  Duration time{};
  for (const Tick* t : busy) {
    rates.push_back(t->delivered->bits() / seconds(t->end - t->begin));
    bits += t->delivered->bits();
    time += t->end - t->begin;
  }
  return pool(rates, bits / seconds(time), busy.back()->begin);
}

}  // namespace weir::control
