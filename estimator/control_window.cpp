#include "estimator/control_window.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "estimator/control_constants.hpp"
#include "estimator/loss_test.hpp"
#include "estimator/way_out.hpp"

namespace weir::control {
namespace {

/// A rate with the standard error of the samples around it, one a tick; `packets` were counted in all of
/// them.
Capacity pool(const std::vector<double>& rates, double mean, double packets, TimePoint measured) {
  double square = 0.0;
  for (const double r : rates) square += (r - mean) * (r - mean);
  const auto n = static_cast<double>(rates.size());
  // Two ticks that happen to agree are not certain: a tick's usual spread is the least.
  const double error =
      std::max({n > 1 ? std::sqrt(square / (n - 1) / n) : 0.0, kTickSpread * mean / std::sqrt(n),
                std::min(kTickPackets / packets, kTickPacketsMost) * mean});
  return {Rate::bps(static_cast<std::uint64_t>(mean)), mean > 0 ? error / mean : 1.0, measured};
}

}  // namespace

double LossCount::ratio_at_least() const {
  return wilson_lower(static_cast<double>(beyond), static_cast<double>(segments), 2.0);
}

std::uint64_t loss_events(const Cohort& cohort) {
  if (cohort.lost_beyond == 0) return 0;
  if (cohort.slots.empty()) return 1;
  const auto apart = static_cast<std::size_t>(kLossEvent / kSlotLength);
  std::uint64_t events = 0;
  std::size_t next = 0;
  for (std::size_t i = 0; i < cohort.slots.size(); ++i) {
    if (cohort.slots[i].lost == 0 || i < next) continue;
    ++events;
    next = i + apart;
  }
  return std::max<std::uint64_t>(events, 1);
}

Capacity weighed_mean(const Capacity& a, Capacity b) {
  const double square = a.relative_error * a.relative_error;
  const double weight = square / (square + b.relative_error * b.relative_error);
  b.rate = a.rate * (1.0 + weight * (b.rate / a.rate - 1.0));
  b.relative_error *= std::sqrt(weight);
  return b;
}

/// ACKs that meet a queue on the way back which grows by 10 ms come 10 ms late: those of a tick tell of that
/// much less time at the far end, and of more where it shrinks. As long as there is such a queue.
Duration ControlWindow::delivery_time(const SiteMeasurement& m) const {
  const auto split = queue_told_apart(m);
  if (!m.valid || !split || ticks_.empty()) return m.interval;
  const Tick& before = ticks_.back();
  if (!before.reverse || before.end != m.at - m.interval) return m.interval;
  if (std::max(split->reverse, *before.reverse) < kQueueHigh) return m.interval;
  return std::clamp<Duration>(m.interval - (split->reverse - *before.reverse), m.interval / 4,
                              4 * m.interval);
}

void ControlWindow::add(const ControlInput& input, const std::optional<QueueDelay>& queue, TimePoint now) {
  const SiteMeasurement& m = input.measured;
  const auto split = m.valid ? queue_told_apart(m) : std::nullopt;
  ticks_.push_back({.begin = m.at - m.interval,
                    .end = m.at,
                    .sent = input.sent.in(m.interval),
                    .delivered = m.valid ? m.delivered_bytes : std::nullopt,
                    .delivered_in = delivery_time(m),
                    .reverse = split ? std::optional(split->reverse) : std::nullopt,
                    .queue = m.valid && queue ? std::optional(queue->q) : std::nullopt,
                    .queue_sent = queue ? queue->sent_from : TimePoint(),
                    .middle = std::nullopt,
                    .middle_sent = TimePoint(),
                    .backlogged = input.backlogged});
  // A part of the samples may have been taken off `queue`: what waited on the way back, a longer route.
  if (m.valid && queue && m.queue && queue->p90 >= m.queue->q) {
    ticks_.back().middle = (queue->p10 + queue->p90) / 2 - (m.queue->q - queue->q);
    ticks_.back().middle_sent = queue->sent_from + (queue->sent_to - queue->sent_from) / 2;
  }
  if (m.valid) {
    const auto later = [](TimePoint at, const Cohort& c) { return at < c.begin; };
    for (const Cohort& c : m.mature)
      cohorts_.insert(std::upper_bound(cohorts_.begin(), cohorts_.end(), c.begin, later), c);
  }
  while (!ticks_.empty() && ticks_.front().end < now - kMemory) ticks_.pop_front();
  while (!cohorts_.empty() && cohorts_.front().begin < now - kMemory) cohorts_.pop_front();
  for (auto c = cohorts_.rbegin();
       c != cohorts_.rend() && !(c->begin < now - kSlotMemory && c->slots.empty()); ++c) {
    if (c->begin < now - kSlotMemory) c->slots = {};
  }
}

Rate ControlWindow::sent(TimePoint from, TimePoint to) const {
  double bits = 0.0;
  Duration covered{};
  const auto first =
      std::partition_point(ticks_.begin(), ticks_.end(), [from](const Tick& t) { return t.end <= from; });
  for (const Tick& t : std::ranges::subrange(first, ticks_.end())) {
    if (t.begin >= to) break;
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
  for (const Cohort& c : cohorts_in(from, to)) {
    sum.segments += c.segments;
    sum.beyond += c.lost_beyond;
    sum.before += c.lost_before;
  }
  return sum;
}

LossesInEvents ControlWindow::losses_in_events(TimePoint from, TimePoint to) const {
  LossesInEvents losses{.count = loss(from, to)};
  for (const Cohort& c : cohorts_in(from, to)) losses.events += loss_events(c);
  return losses;
}

std::optional<TimePoint> ControlWindow::first_loss(TimePoint from) const {
  const auto first = std::find_if(cohorts_.begin(), cohorts_.end(),
                                  [&](const Cohort& c) { return c.begin >= from && c.lost_beyond > 0; });
  return first == cohorts_.end() ? std::nullopt : std::optional(first->begin);
}

std::optional<TimePoint> ControlWindow::mature_until() const {
  if (cohorts_.empty()) return std::nullopt;
  return cohorts_.back().begin + kCohortLength;
}

/// Sums up to the end of a slot. Where it lost something the bucket was empty within it and has not filled
/// since; what passed earlier in the same slot may have been the tokens of a full one.
struct ControlWindow::SlotEnd {
  TimePoint at;
  bool lossy = false;
  std::size_t silences = 0;  ///< that were longer than kSilence
  Duration lulls{};          ///< their sum, of those longer than kLull
  double since_s = 0.0;      ///< s, since the search begins
  double bits = 0.0;
  std::uint64_t sent = 0;
  std::uint64_t delivered = 0;
};

std::vector<ControlWindow::SlotEnd> ControlWindow::slot_ends(TimePoint from, TimePoint to) const {
  std::vector<SlotEnd> ends;
  SlotEnd sum;
  TimePoint busy = from;
  for (const Cohort& c : cohorts_in(from, to)) {
    sum.at = c.begin;
    for (const Slot& slot : c.slots) {
      sum.at += kSlotLength;
      sum.lossy = slot.lost > 0;
      sum.since_s = seconds(sum.at - from);
      sum.bits += 8.0 * slot.bytes;
      sum.sent += slot.sent;
      sum.delivered += slot.delivered;
      if (slot.bytes > 0) {
        const Duration silent = sum.at - busy - kSlotLength;
        if (silent >= kSilence) ++sum.silences;
        if (silent >= kLull) sum.lulls += silent;
        busy = sum.at;
      }
      ends.push_back(sum);
    }
  }
  return ends;
}

std::optional<Capacity> ControlWindow::policed_capacity(TimePoint from, TimePoint to) const {
  const std::vector<SlotEnd> ends = slot_ends(from, to);
  // The work is bounded: over a long time every n-th end tells as much.
  const std::size_t stride = ends.size() / kMostSlotEnds + 1;
  std::optional<Capacity> best;
  double best_surely = 0.0;
  bool best_is_busy = false;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (!ends[i].lossy) continue;
    for (std::size_t j = i + 1; j < ends.size(); j += stride) {
      // Otherwise the senders' timers ran out in between: the limit lay idle, whatever its bucket.
      const bool busy = ends[j].silences == ends[i].silences;
      // Most are no better if all of it had passed: of the work this is the bulk, and needs no division.
      const double most = ends[j].bits - ends[i].bits;
      if (busy == best_is_busy ? most <= best_surely * (ends[j].since_s - ends[i].since_s) : best_is_busy)
        continue;
      const Duration over = ends[j].at - ends[i].at;
      const std::uint64_t sent = ends[j].sent - ends[i].sent;
      const std::uint64_t passed = ends[j].delivered - ends[i].delivered;
      if (over < kLeastAfterLoss || sent == 0 || passed < kLeastPassed) continue;
      const double arrived = static_cast<double>(passed) / static_cast<double>(sent);
      const double bits = most * std::min(arrived, 1.0);
      // At a loss there was no packet's worth of tokens, but nearly one there may have been.
      const double one = 1.0 / static_cast<double>(passed);
      const double surely = bits * (1.0 - one) / seconds(over + kLossTiming);
      if (busy == best_is_busy && surely <= best_surely) continue;
      const double idle = seconds(ends[j].lulls - ends[i].lulls) / seconds(over);
      best_surely = surely;
      best_is_busy = busy;
      best = Capacity{
          .rate = Rate::bps(static_cast<std::uint64_t>(bits / seconds(over))),
          .relative_error = busy ? std::min(seconds(kLossTiming) / seconds(over + kLossTiming) + one + idle,
                                            kCapacityErrorMost)
                                 : kCapacityErrorMost,
          .measured = ends[j].at};
    }
    i += stride - 1;
  }
  return best;
}

std::optional<Rate> ControlWindow::delivered(TimePoint from) const {
  Bytes bytes;
  Duration time{};
  for (const Tick& t : ticks_) {
    if (t.begin < from || !t.delivered) continue;
    bytes += *t.delivered;
    time += t.delivered_in;
  }
  if (time == Duration::zero()) return std::nullopt;
  return Rate::of(bytes, time);
}

bool ControlWindow::delivers_at_most(Rate rate, int ticks) const {
  if (ticks < 1 || ticks_.size() < static_cast<std::size_t>(ticks)) return false;
  return std::all_of(ticks_.end() - ticks, ticks_.end(), [rate](const Tick& t) {
    return t.delivered && t.delivered_in > Duration::zero() && Rate::of(*t.delivered, t.delivered_in) <= rate;
  });
}

bool ControlWindow::queue_rises(TimePoint from, int ticks) const {
  if (ticks < 1 || ticks_.size() < static_cast<std::size_t>(ticks)) return false;
  const auto first = ticks_.end() - ticks;
  if (first->begin < from || !first->queue) return false;
  return std::adjacent_find(first, ticks_.end(), [](const Tick& a, const Tick& b) {
           return !b.queue || *b.queue <= *a.queue;
         }) == ticks_.end();
}

std::optional<Duration> ControlWindow::least_queue(TimePoint from) const {
  std::optional<Duration> least;
  for (const Tick& t : ticks_)
    if (t.queue && t.queue_sent >= from && (!least || *t.queue < *least)) least = t.queue;
  return least;
}

std::optional<Capacity> ControlWindow::buffered_capacity(TimePoint from, Duration target) const {
  const auto stands = [target](const Tick& t) { return t.queue && *t.queue > target; };
  std::vector<const Tick*> busy;
  for (auto t = ticks_.begin(); t != ticks_.end(); ++t) {
    if (t->begin < from || !t->delivered || !stands(*t)) continue;
    const auto next = std::next(t);
    if (next == ticks_.end() || stands(*next)) busy.push_back(&*t);
  }
  if (busy.empty()) return std::nullopt;
  const auto stretched = stretched_capacity(busy);
  if (busy.size() > 1) busy.erase(busy.begin());
  std::vector<double> rates;
  double bits = 0.0;
  Duration time{};
  for (const Tick* t : busy) {
    rates.push_back(t->delivered->bits() / seconds(t->delivered_in));
    bits += t->delivered->bits();
    time += t->delivered_in;
  }
  const Capacity counted = pool(rates, bits / seconds(time), bits / kPacketBits, busy.back()->begin);
  if (!stretched || std::abs(stretched->rate / counted.rate - 1.0) >
                        2 * std::hypot(stretched->relative_error, counted.relative_error))
    return counted;
  return weighed_mean(*stretched, counted);
}

std::optional<Capacity> ControlWindow::stretched_capacity(const std::vector<const Tick*>& busy) const {
  struct Point {
    double sent;     // bits, since the first
    double arrived;  // s, since that was sent
  };
  std::vector<Point> points;
  TimePoint first;
  Point mean{};
  for (const Tick* t : busy) {
    if (!t->middle) continue;
    if (points.empty()) first = t->middle_sent;
    const double since = seconds(t->middle_sent - first);
    points.push_back(
        {since * static_cast<double>(sent(first, t->middle_sent).bps()), since + seconds(*t->middle)});
    mean.sent += points.back().sent;
    mean.arrived += points.back().arrived;
  }
  if (points.size() < kStretchTicks) return std::nullopt;
  const auto n = static_cast<double>(points.size());
  mean.sent /= n;
  mean.arrived /= n;
  double square = 0.0;
  double product = 0.0;
  for (const Point& p : points) {
    square += (p.sent - mean.sent) * (p.sent - mean.sent);
    product += (p.sent - mean.sent) * (p.arrived - mean.arrived);
  }
  if (square <= 0.0 || product <= 0.0) return std::nullopt;
  const double bit_time = product / square;
  double rest = 0.0;
  for (const Point& p : points) {
    const double off = p.arrived - mean.arrived - bit_time * (p.sent - mean.sent);
    rest += off * off;
  }
  const double spread = bit_time * std::sqrt(square);
  if (spread < kStretchSpread) return std::nullopt;
  const double off = std::max(std::sqrt(rest / (n - 2)), kStretchNoise);
  return Capacity{.rate = Rate::bps(1) * (1.0 / bit_time),
                  .relative_error = off / spread,
                  .measured = busy.back()->begin};
}

}  // namespace weir::control
