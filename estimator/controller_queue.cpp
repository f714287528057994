#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "estimator/controller_impl.hpp"
#include "estimator/way_out.hpp"

namespace weir::control {

void Controller::take_queue(const SiteMeasurement& m) {
  queue = queue_on_the_way_out(m);
  if (!queue) return;
  short_ticks = queue->q < route ? short_ticks + 1 : 0;
  if (short_ticks >= kQueueTicks) route = queue->q < kQueueTarget ? Duration::zero() : queue->q;
  queue->q = std::max(queue->q - route, Duration::zero());
}

void Controller::weigh_queue(const ControlInput& input, TimePoint now) {
  const SiteMeasurement& m = input.measured;
  const bool marked = m.ece_echoes >= kMarksPerTick;
  if (!fresh_queue() && !marked) {
    quiet_queue.reset();
    return;
  }
  const bool high = marked || queue->q > q_high();
  // Below the floor the queue cannot be ours to drain: no rate we may set would shorten it.
  const bool ours = input.backlogged || window.sent(now - kDemandWindow, now) >= limits.floor;
  if (high && ours) {
    if (high_ticks++ == 0) queue_since = m.at - m.interval;
  } else {
    high_ticks = 0;
  }
  learn_noise(high);
}

void Controller::learn_noise(bool high) {
  if (high || !queue || !std::holds_alternative<Hold>(state)) return quiet_queue.reset();
  // A queue that creeps up is no noise: only what changes from tick to tick is, and no more than a little of
  // what stays.
  const double q = milliseconds(queue->q);
  const double most = std::max(milliseconds(kQueueHigh), milliseconds(base) * kQueueHighOfBase);
  noise_mean += kNoiseMemory * (std::min(q, most) - noise_mean);
  if (quiet_queue)
    noise_variance += kNoiseMemory * ((q - *quiet_queue) * (q - *quiet_queue) / 2 - noise_variance);
  quiet_queue = q;
}

void Controller::weigh_latency(const ControlInput& input, TimePoint now) {
  latency_room = input.latency_room;
  if (!latency_room) return late_since.reset();
  if (!fresh_queue()) return;
  // Its mean is left out of the noise here: a queue that stands is learnt to be usual within seconds, and the
  // class waits in it all the same.
  const auto swing = from_seconds(3 * std::sqrt(noise_variance) / 1e3);
  if (queue->q <= std::max<Duration>({*latency_room, kQueueClean, swing})) return late_since.reset();
  if (!late_since) late_since = now;
}

bool Controller::probes_held(TimePoint now) const {
  // A goal may be less than what the path always shows: whether the queue is ours, only a probe could tell.
  return late_since && now - *late_since < kLatencyPatience;
}

bool Controller::is_late() const {
  return latency_room && queue &&
         queue->q > std::max<Duration>(*latency_room, q_bound(Duration::zero(), 0, 3) + kQueueClean);
}

void Controller::start_drain(Rate before, TimePoint now) {
  auto measured = window.buffered_capacity(queue_since, q_target());
  high_ticks = 0;
  if (!measured) return;
  const bool expected = capacity.agrees(*measured, now);
  // A queue that grew was sent faster than it was carried. S dips, too, while a path stands still: then what
  // is known has the last word.
  const Rate sent = window.sent(queue_since - base, now);
  measured->rate = std::min(measured->rate, sent);
  measured = capacity.refined(*measured, now);
  if (sent >= decision.rate * kProbeUsed) measured->rate = std::min(measured->rate, sent);
  const double drift = drift_towards(*measured, PathMode::buffer);
  learn_capacity(*measured, PathMode::buffer);
  if (!limits.adapt) return;
  drain(Drain{.capacity = *measured,
              .before = before,
              .least = expected ? kDrainGently : kDrainLeast,
              .probe_wait = drift > 0.0 ? kDriftWait : kProbeWaitFirst,
              .fall = drift},
        now);
}

bool Controller::queue_is_sudden() const {
  if (!capacity.value() || !fresh_queue()) return false;
  const double share = decision.rate / capacity.value()->rate;
  return share >= kHeld && share <= kProbeNear && queue->q > std::max(kQueueOfSmallStep, q_high());
}

bool Controller::has_slowed() const {
  return window.delivers_at_most(capacity.value()->rate * kSlowed, kSlowedTicks);
}

void Controller::drain_sudden_queue(Rate before, Duration next_probe, TimePoint now) {
  if (high_ticks > 0 && has_slowed()) return start_drain(before, now);
  high_ticks = 0;
  drain(Drain{.capacity = *capacity.value(),
              .known = true,
              .before = before,
              .least = kDrainGently,
              .probe_wait = next_probe},
        now);
}

void Controller::drain(Drain s, TimePoint now) {
  const Capacity& c = s.capacity;
  // The samples are old by the time their ACKs took: the queue went on changing at our rate against C
  // since.
  Duration q = queue ? queue->q : q_high();
  const Duration age = queue ? now - queue->sent_to : base;
  const double growth = (decision.rate / c.rate) - 1.0;
  if (std::isfinite(growth)) q = std::max(q, from_seconds(seconds(q) + std::min(growth, 1.0) * seconds(age)));
  const double time = std::max(seconds(kDrainTime), 2 * seconds(base));
  const double depth = std::max(s.least, 1.0 - seconds(q) / time);
  const Rate target = c.rate * (kGain * (1.0 - s.fall) * depth);
  change_rate(target,
              fmt::format("the provider's queue stood at {:.0f} ms over the base RTT of {:.1f} ms; the "
                          "path {} {:.1f} Mbit/s",
                          milliseconds(q), milliseconds(base),
                          s.known ? "was known to carry" : "meanwhile delivered", c.rate.mbps()),
              now);
  const double fall = std::max(0.02, 1.0 - decision.rate / c.rate);  // of queue time per second
  if (s.since == TimePoint{}) s.since = now;
  if (q >= q_high()) high_queue_drained = now;
  s.first_queue.reset();
  s.queue_before = q;
  s.empty_at = now + from_seconds(std::min(seconds(q) / fall, 5.0));
  state = s;
}

void Controller::in_drain(Drain& s, TimePoint now) {
  if (fresh_queue() && !s.first_queue) {
    s.first_queue = queue->q;
    s.first_sent = queue->sent_to;
  }
  if (outgrows_floor(s, now)) return contend(s.before, s.pause, now);
  if (is_unmoved(s)) {
    // Another box like this one sees the queue as late as we do, and has yielded by then.
    if (s.is_trial() || now - s.since >= kForeignLeast) answer_unmoved(s, now);
    return;
  }
  if (is_no_standstill(s, now)) return start_drain(s.before, now);
  const bool answered = queue && queue->sent_from >= s.empty_at;
  const bool overdue = now > s.empty_at + 2 * base + s.queue_before + kOutageLeast;
  // Sent at the new rate and still waiting longer, what was seen of the queue was only its beginning; or as
  // long, what is believed of the capacity is wrong.
  const bool grows = fresh_queue() && queue->q > s.queue_before + q_high();
  // Whose it is, only what comes out can tell: where that is the question, no further step before it is seen.
  const bool asks = s.unmoved > 0 || s.ineffective >= kForeignSteps;
  const bool open = asks && can_fall(s) && !delivered_fresh();
  const bool worse = !open && (grows || is_stuck(s, now));
  if (!answered && !worse && !overdue) return;
  if (!worse && (!answered || queue->q < q_high())) {
    return end_drain(s, now);
  }
  // While the queue stands, what comes out is the capacity; weighed with what is known, as far as they
  // agree.
  const auto measured = window.buffered_capacity(fresh_from, q_target());
  const bool effective = !worse && queue->q < s.queue_before / 2;
  Drain again = s;
  again.known = false;
  again.ineffective = effective ? 0 : s.ineffective + 1;
  const bool expected = !measured || capacity.agrees(*measured, now);
  if (measured) again.capacity.rate = std::min(capacity.refined(*measured, now).rate, s.capacity.rate);
  const auto by_growth = worse ? capacity_by_growth(s) : std::nullopt;
  if (by_growth) again.capacity.rate = std::min(again.capacity.rate, *by_growth);
  // Of a queue that was no surprise the first measure may have been too young: it was still growing.
  const int patience = s.least < kDrainGently ? 0 : 1;
  if (!expected || again.ineffective > patience) again.least = kDrainLeast;
  // At the floor no rate that may be set could have done more.
  if (again.ineffective > patience && decision.rate > limits.floor)
    again.capacity.rate = again.capacity.rate * kDrainShrink;
  learn_capacity(again.capacity, PathMode::buffer);
  drain(again, now);
}

void Controller::end_drain(Drain& s, TimePoint now) {
  // What came out while it stood was seen for longer than what began the drain.
  if (const auto measured = window.buffered_capacity(s.since, q_target())) {
    // It took a second rate: what was known is no longer so.
    const bool replaced = s.unmoved > 0 && measured->rate < s.capacity.rate;
    if (replaced || capacity.agrees(*measured, now)) {
      s.capacity = replaced ? *measured : capacity.refined(*measured, now);
      learn_capacity(s.capacity, PathMode::buffer);
    }
  }
  const double fallen = s.fall * std::min(1.0 + seconds(now - s.capacity.measured), 2.0);
  const TimePoint empty_at = std::min(s.empty_at, now);
  change_rate(s.capacity.rate * (kGain * (1.0 - fallen)), "the provider's queue has drained", now);
  // A queue in what was sent since it was empty at a lower rate speaks against this one as well.
  queue_from = empty_at;
  hold(now + s.probe_wait);
}

/// A path that stood still for a moment hands over what waited as soon as it goes on: no queue of that kind
/// grows for three ticks. One that does, while what comes out contradicts what was known, is that of a path
/// that has changed. Data from before the rate was lowered show it sooner than those sent since, but no
/// second cut comes within an RTT.
bool Controller::is_no_standstill(const Drain& s, TimePoint now) const {
  if (!s.known || now - s.since < base || !window.queue_rises(queue_since, kQueueTicks)) return false;
  const auto measured = window.buffered_capacity(queue_since, q_target());
  return measured && measured->rate < s.capacity.rate && !capacity.agrees(*measured, now);
}

/// A queue of ours obeys dq/dt = (S - C)/C. Whether this one had time to fall, at this share S/C, and did
/// not.
bool Controller::fell_short(const Drain& s, double share) const {
  const Duration expected = from_seconds((1.0 - share) * seconds(queue->sent_to - s.first_sent));
  if (expected < std::max(*s.first_queue / 4, q_high() / 2)) return false;
  return *s.first_queue - queue->q <= expected / 3;
}

/// One that is gone cannot fall, and neither could one that was gone before its first sample.
bool Controller::can_fall(const Drain& s) const {
  return fresh_queue() && s.first_queue && queue->q >= q_high();
}

std::optional<Rate> Controller::delivered_fresh() const {
  return window.delivered(fresh_from + base + queue->q);
}

/// Where it did not, what is believed of C is wrong; far below C the queue may as well be somebody else's
/// (is_unmoved), unless less comes out than we send and it drops what we send: then it overflows with ours.
/// (What comes out reads low as well while ACKs wait on the way back.)
bool Controller::is_stuck(const Drain& s, TimePoint now) const {
  if (!can_fall(s)) return false;
  const Rate sent = window.sent(fresh_from, queue->sent_to);
  const double share = sent / s.capacity.rate;
  if (!fell_short(s, share)) return false;
  if (share > kContrast) return true;
  const auto delivered = delivered_fresh();
  return delivered && *delivered < sent * kMostDelivered &&
         window.loss(s.since - base - s.queue_before, now).ratio() > kMostHarmless;
}

/// The same equation, solved for C. Of an overflowing queue that is too much still. How fast a queue grows is
/// believed up to a bound: a path that stood still for a moment is not slower.
std::optional<Rate> Controller::capacity_by_growth(const Drain& s) const {
  if (!can_fall(s) || queue->sent_to <= s.first_sent) return std::nullopt;
  const double growth = seconds(queue->q - *s.first_queue) / seconds(queue->sent_to - s.first_sent);
  return window.sent(fresh_from, queue->sent_to) *
         (1.0 / (1.0 + std::clamp(growth, kContrast - 1.0, 1.0 - kContrast)));
}

bool Controller::is_unmoved(const Drain& s) const {
  if (!can_fall(s)) return false;
  // The floor is what the path owes us: what does not fall there, at the second rate, is not ours, even if it
  // drops what we send.
  const bool owed = s.unmoved > 0 && decision.rate <= limits.floor;
  const Rate sent = window.sent(fresh_from, queue->sent_to);
  const double share =
      sent / (owed ? std::max(s.capacity.rate, limits.floor * (1.0 / kContrast)) : s.capacity.rate);
  // Steps that were too small for that, but many on end, are no small contrast either.
  if ((share > kContrast && s.ineffective < kForeignSteps) || !fell_short(s, share)) return false;
  if (owed) return true;
  // Of a queue of ours more comes out than we send. (Somebody else's may still grow, and drop some of ours.)
  const auto delivered = delivered_fresh();
  return delivered && *delivered <= sent * kAllDelivered && *delivered >= sent * kMostDelivered;
}

bool Controller::outgrows_floor(const Drain& s, TimePoint now) const {
  const auto at_floor = [&](TimePoint from) { return window.sent(from, now) <= limits.floor; };
  // Senders that hold back may send no more than the floor at a higher rate as well.
  const TimePoint from = now - s.since < kMemory && at_floor(s.since) ? s.since : decision.since;
  // Another box has yielded by then.
  if (now - from < kForeignLeast || !at_floor(from)) return false;
  if (!queue || queue->sent_from < from || queue->q < q_high()) return false;
  if (window.loss(from, now).ratio_at_least() > kMostHarmless) return true;
  // One that was gone meanwhile was ours, or another box's that takes the room we left.
  const auto least = window.least_queue(from);
  return least && *least >= q_high() && queue->q - *least > std::max(q_high(), *least / 4);
}

void Controller::answer_unmoved(Drain s, TimePoint now) {
  const Rate sent = window.sent(fresh_from, now);
  // A queue that was somebody else's is so still: what a second rate would exclude, that the path fell to
  // just what we send, would have to have happened within this second.
  if (!s.is_trial() && ++s.unmoved < 2 && decision.rate > limits.floor) {
    s.capacity.rate = std::min(s.capacity.rate, sent * (1.0 / kContrast));
    change_rate(sent * kContrastStep, "the provider's queue did not fall as ours would: once more, lower",
                now);
    s.first_queue.reset();
    s.empty_at = now + s.queue_before + base;
    state = s;
    return;
  }
  contend(s.before, s.pause, now);
}

void Controller::contend(Rate rate, Duration pause_before, TimePoint now) {
  const Duration pause = std::clamp<Duration>(2 * pause_before, kForeignPauseLeast, kForeignPauseMost);
  change_rate(rate, "the provider's queue does not answer to our rate: it is somebody else's", now);
  mode = PathMode::buffer;
  contended = decision.rate;
  contended_pause = pause;
  contended_until = now + pause + kForeignMemory;
  state = Contend{.until = now + pause, .steady_since = now};
}

void Controller::in_contend(Contend& s, const SiteMeasurement& m, TimePoint now) {
  high_ticks = 0;
  if (!fresh_queue()) return;
  s.empty_ticks = queue->q < q_high() ? s.empty_ticks + 1 : 0;
  if (s.empty_ticks >= kForeignGoneTicks) {
    start_afresh(now);
    decision.reason =
        fmt::format("{:.1f} Mbit/s: somebody else's queue at the provider is gone", decision.rate.mbps());
    return hold(now + kProbeWaitFirst);
  }
  if (s.most == Duration::zero()) s.least = s.most = queue->q, s.steady_since = now;
  s.least = std::min(s.least, queue->q);
  s.most = std::max(s.most, queue->q);
  if (s.most - s.least > kRouteSpread) {
    s.least = s.most = queue->q;
    s.steady_since = now;
  }
  // A queue breathes and drops; a longer route does neither.
  if (now - s.steady_since >= kRouteTime &&
      window.loss(s.steady_since, now).ratio() <= loss_test.harmless()) {
    route += s.least;
    start_afresh(now);
    decision.reason = fmt::format("{:.1f} Mbit/s: the route has become {:.0f} ms longer",
                                  decision.rate.mbps(), milliseconds(route));
    return hold(now + kProbeWaitFirst);
  }
  if (now < s.until || m.one_in > 1) return;
  const auto measured = window.buffered_capacity(now - kForeignMeasured, q_target());
  if (!measured) return;
  drain(Drain{.capacity = *measured,
              .before = contended,
              .least = kForeignTried,
              .probe_wait = kProbeWaitFirst,
              .pause = contended_pause},
        now);
}

Duration Controller::q_bound(Duration least, double of_base, double sigmas) const {
  const auto noise = from_seconds((noise_mean + sigmas * std::sqrt(noise_variance)) / 1e3);
  return std::max({least, from_seconds(seconds(base) * of_base), noise});
}

}  // namespace weir::control
