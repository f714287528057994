#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "estimator/controller_impl.hpp"

namespace weir::control {

void Controller::weigh_queue(const ControlInput& input, TimePoint now) {
  const SiteMeasurement& m = input.measured;
  const bool marked = m.ece_echoes >= kMarksPerTick;
  if (!fresh_queue(m) && !marked) return;
  const bool high = marked || m.queue->q > q_high();
  // Below the floor the queue cannot be ours to drain: no rate we may set would shorten it.
  const bool ours = input.backlogged || window.sent(now - kDemandWindow, now) >= limits.floor;
  if (high && ours) {
    if (high_ticks++ == 0) queue_since = m.at - m.interval;
  } else {
    high_ticks = 0;
  }
  if (!high && m.queue && std::holds_alternative<Hold>(state)) {
    const double q = milliseconds(m.queue->q);
    noise_mean += 0.05 * (q - noise_mean);
    noise_variance += 0.05 * ((q - noise_mean) * (q - noise_mean) - noise_variance);
  }
}

void Controller::start_drain(Rate before, const SiteMeasurement& m, TimePoint now) {
  auto measured = window.buffered_capacity(queue_since, q_target());
  high_ticks = 0;
  if (!measured) return;
  const bool expected = capacity.agrees(*measured, now);
  // A queue that grew was sent faster than it was carried. (S dips, too, while a path stands still: what is
  // known has the last word.)
  measured->rate = std::min(measured->rate, window.sent(queue_since - base, now));
  measured = capacity.refined(*measured, now);
  learn_capacity(*measured, PathMode::buffer);
  if (!limits.adapt) return;
  drain(Drain{.capacity = *measured,
              .before = before,
              .least = expected ? kDrainGently : kDrainLeast,
              .probe_wait = kProbeWaitFirst},
        m, now);
}

bool Controller::queue_is_sudden(const SiteMeasurement& m) const {
  if (!capacity.value() || !fresh_queue(m)) return false;
  const double share = decision.rate / capacity.value()->rate;
  return share >= kHeld && share <= kProbeNear && m.queue->q > std::max(kQueueOfSmallStep, q_high());
}

void Controller::drain_sudden_queue(Rate before, Duration next_probe, const SiteMeasurement& m,
                                    TimePoint now) {
  high_ticks = 0;
  drain(Drain{.capacity = *capacity.value(),
              .known = true,
              .before = before,
              .least = kDrainGently,
              .probe_wait = next_probe},
        m, now);
}

void Controller::drain(Drain s, const SiteMeasurement& m, TimePoint now) {
  const Capacity& c = s.capacity;
  // The samples are old by the time their ACKs took: the queue went on changing at our rate against C
  // since.
  Duration q = m.queue ? m.queue->q : q_high();
  const Duration age = m.queue ? now - m.queue->sent_to : base;
  const double growth = (decision.rate / c.rate) - 1.0;
  if (std::isfinite(growth)) q = std::max(q, from_seconds(seconds(q) + std::min(growth, 1.0) * seconds(age)));
  const double time = std::max(seconds(kDrainTime), 2 * seconds(base));
  const double depth = std::max(s.least, 1.0 - seconds(q) / time);
  const Rate target = c.rate * (kGain * depth);
  change_rate(target,
              fmt::format("the provider's queue stood at {:.0f} ms over the base RTT of {:.1f} ms; the "
                          "path {} {:.1f} Mbit/s",
                          milliseconds(q), milliseconds(base),
                          s.known ? "was known to carry" : "meanwhile delivered", c.rate.mbps()),
              now);
  const double fall = std::max(0.02, 1.0 - decision.rate / c.rate);  // of queue time per second
  s.queue_before = q;
  s.empty_at = now + from_seconds(std::min(seconds(q) / fall, 5.0));
  state = s;
}

void Controller::in_drain(Drain& s, const SiteMeasurement& m, TimePoint now) {
  const bool answered = m.queue && m.queue->sent_from >= s.empty_at;
  const bool overdue = now > s.empty_at + 2 * base + s.queue_before + kOutageLeast;
  // Sent at the new rate and still waiting longer: what was seen of the queue was only its beginning.
  const bool worse = fresh_queue(m) && m.queue->q > s.queue_before + q_high();
  if (!answered && !worse && !overdue) return;
  if (!worse && (!answered || m.queue->q < q_high())) {
    change_rate(s.capacity.rate * kGain, "the provider's queue has drained", now);
    return hold(now + s.probe_wait);
  }
  // While the queue stands, what comes out is the capacity; weighed with what is known, as far as they
  // agree.
  const auto measured = window.buffered_capacity(fresh_from, q_target());
  const bool effective = !worse && m.queue->q < s.queue_before / 2;
  Drain again = s;
  again.known = false;
  again.ineffective = effective ? 0 : s.ineffective + 1;
  if (again.ineffective > kDrainAttempts && queue_is_foreign(now)) {
    foreign_until = now + kForeignQueuePause;
    change_rate(s.before, "the provider's queue does not answer to our rate: it is somebody else's", now);
    return hold(now + kProbeWaitMost);
  }
  const bool expected = !measured || capacity.agrees(*measured, now);
  if (measured) again.capacity.rate = std::min(capacity.refined(*measured, now).rate, s.capacity.rate);
  // Of a queue that was no surprise the first measure may have been too young: it was still growing.
  const int patience = s.least < kDrainGently ? 0 : 1;
  if (!expected || again.ineffective > patience) again.least = kDrainLeast;
  // At the floor no rate that may be set could have done more.
  if (again.ineffective > patience && decision.rate > limits.floor)
    again.capacity.rate = again.capacity.rate * kDrainShrink;
  learn_capacity(again.capacity, PathMode::buffer);
  drain(again, m, now);
}

bool Controller::queue_is_foreign(TimePoint now) const {
  const auto delivered = window.delivered(fresh_from + base);
  const Rate sent = window.sent(fresh_from, now);
  return delivered && sent >= decision.rate * kHeld && *delivered <= sent * kAllDelivered &&
         *delivered >= sent * (2 - kAllDelivered);
}

Duration Controller::q_bound(Duration least, double of_base, double sigmas) const {
  const auto noise = from_seconds((noise_mean + sigmas * std::sqrt(noise_variance)) / 1e3);
  return std::max({least, from_seconds(seconds(base) * of_base), noise});
}

}  // namespace weir::control
