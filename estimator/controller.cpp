#include "estimator/controller.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <variant>

#include <fmt/format.h>

#include "estimator/control_constants.hpp"
#include "estimator/control_window.hpp"
#include "estimator/known_capacity.hpp"
#include "estimator/loss_test.hpp"

namespace weir {
namespace {

using namespace control;

/// The rate stands; the loss test and the delay test listen; with demand a probe starts at `next_probe`.
struct Hold {
  TimePoint next_probe;
};
/// The rate is under the capacity until the provider's queue is predicted to be empty.
struct Drain {
  Capacity capacity;
  bool known = false;  ///< from before; false: measured while the queue stood
  Duration queue_before{};
  TimePoint empty_at{};
  Rate before;                 ///< to go back to if the queue does not answer
  double least = kDrainLeast;  ///< share of C to go down to at the most
  int ineffective = 0;         ///< drains in a row that did less than half of what they should
  Duration probe_wait;         ///< from the end of the drain to the next probe
};
/// The rate was cut for loss: did the loss answer?
struct Verify {
  Rate before;
  double loss_before;
  int cuts;
};
/// The rate is raised a step; clean rounds follow one another at once.
struct Probe {
  Rate run_start;
  Rate clean;        ///< rate of the last round without evidence
  std::size_t step;  ///< of kProbeSteps, the next one
};
/// A probe met loss: back at a clean rate, waiting for the rest of what it sent, which measures the capacity.
struct Settle {
  Rate run_start;
  Rate clean;      ///< rate of the last round without evidence
  Rate tried;      ///< rate of the lossy round
  TimePoint from;  ///< send times of the lossy round
  TimePoint until;
};
/// No ACK from any remote: nothing is evidence until one comes.
struct Outage {
  TimePoint since;
};
using State = std::variant<Hold, Drain, Verify, Probe, Settle, Outage>;

ControlState kind_of(const State& state) {
  constexpr std::array kinds = {ControlState::hold,  ControlState::drain, ControlState::verify,
                                ControlState::probe, ControlState::probe, ControlState::outage};
  return kinds[state.index()];
}

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;  // clang before 17 deduces no aggregate

}  // namespace

struct SiteController::Impl {
  Impl(ControlLimits l, Rate start, TimePoint now) : limits(l), state(Hold{now}), fresh_from(now) {
    decision.rate = std::clamp(start, limits.floor, std::max(limits.floor, limits.ceiling));
    decision.since = now;
    decision.reason =
        fmt::format("{:.1f} Mbit/s: where it started, nothing measured yet", decision.rate.mbps());
    evidence_since = now;
    last_tcp = now;
  }

  // ---- what one tick teaches, whatever the state ----

  void step(const ControlInput& input, TimePoint now) {
    decision.changed = false;
    const SiteMeasurement& m = input.measured;
    window.add(input, now);
    loss_test.expire(now);
    if (m.rtt) base = m.rtt->base;
    if (m.sent_tcp.count() > 0 || m.sent.count() == 0) last_tcp = now;
    if (m.valid) {
      judge_silence(m, now);
      weigh_losses(m);
      weigh_queue(input, now);
      std::visit(Overloaded{[&](Hold& s) { in_hold(s, m, now); }, [&](Drain& s) { in_drain(s, m, now); },
                            [&](Verify& s) { in_verify(s, m, now); }, [&](Probe& s) { in_probe(s, m, now); },
                            [&](Settle& s) { in_settle(s, now); }, [&](Outage& s) { in_outage(s, m, now); }},
                 state);
    }
    show(now);
  }

  void judge_silence(const SiteMeasurement& m, TimePoint now) {
    if (std::holds_alternative<Outage>(state) || !m.unanswered_since) return;
    if (now - *m.unanswered_since < std::max<Duration>(kOutageLeast, 3 * base)) return;
    if (m.last_ack && *m.last_ack > *m.unanswered_since) return;
    if (const auto* probe = std::get_if<Probe>(&state))
      change_rate(probe->clean, "the probe met an outage", now);
    if (const auto* drain_state = std::get_if<Drain>(&state))
      change_rate(drain_state->capacity.rate * kGain, "the drain met an outage", now);
    decision.reason =
        fmt::format("{:.1f} Mbit/s held: no ACK from any remote for {:.1f} s, the path is silent",
                    decision.rate.mbps(), seconds(now - *m.unanswered_since));
    state = Outage{now};
  }

  /// Cohorts sent at today's rate only: what was sent before the last change answers to another rate.
  void weigh_losses(const SiteMeasurement& m) {
    for (const Cohort& c : m.mature) {
      if (c.begin < fresh_from || c.segments == 0) continue;
      if (loss_test.evidence() == 0.0) evidence_since = c.begin;
      loss_test.add(c.lost_beyond, c.segments);
      if (std::holds_alternative<Hold>(state) && loss_test.evidence() < kLossThreshold / 2) {
        loss_test.learn(c.lost_beyond, c.segments, c.begin);
        quiet_segments = quiet_segments * 0.995 + static_cast<double>(c.segments);
        quiet_losses = quiet_losses * 0.995 + static_cast<double>(c.lost_beyond);
      }
    }
  }

  void weigh_queue(const ControlInput& input, TimePoint now) {
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

  // ---- the states ----

  void in_hold(Hold& s, const SiteMeasurement& m, TimePoint now) {
    if (queue_stands() && now >= foreign_until) return start_drain(decision.rate, m, now);
    if (high_ticks > 0 && now >= foreign_until && limits.adapt && queue_is_sudden(m))
      return drain_sudden_queue(decision.rate, kProbeWaitFirst, m, now);
    if (loss_test.fires()) return cut_for_loss(decision.rate, 0, now);
    if (!limits.adapt || decision.rate >= limits.ceiling || now < s.next_probe || m.one_in > 1) return;
    if (now - fresh_from < kDemandWindow || loss_test.evidence() > kLossThreshold / 2 || high_ticks > 0)
      return;
    if (window.demand(decision.rate, kDemand, kDemandWindow, now)) start_probe(now);
  }

  void cut_for_loss(Rate before, int cuts, TimePoint now) {
    const LossCount count = window.loss(evidence_since, now);
    // The cohort in which the losses began was only partly at the limit: wait for the next one.
    if (window.mature_until() < evidence_since + 2 * kCohortLength) return;
    const auto measured = window.policed_capacity(evidence_since, now);
    if (!measured) return loss_test.restart();
    if (cuts == 0 && is_doubtful(*measured, now)) return loss_test.restart();
    learn_capacity(*measured, PathMode::policer);
    const double p = count.ratio();
    const double evidence = loss_test.evidence();
    const Rate target = std::max(measured->rate * (kGain / (1.0 - loss_test.floor())), limits.floor);
    if (target >= decision.rate || !limits.adapt) return loss_test.restart();
    change_rate(
        target,
        fmt::format(
            "{:.2f} % of {} segments were lost beyond this box while RTT stayed at its base (L = {:.0f})",
            100 * p, count.segments, evidence),
        now);
    state = Verify{before, p, cuts + 1};
  }

  /// A path that stood still for a moment drops the burst that follows, and a burst of somebody else's may
  /// hit a site that sends little: once that is no news, unless it contradicts what is known while our rate
  /// is what limits us. A limit that did move shows the same again.
  [[nodiscard]] bool is_doubtful(const Capacity& measured, TimePoint now) {
    if (!capacity.value()) return false;
    const bool held =
        window.sent(evidence_since - kDemandWindow, evidence_since + kCohortLength) >= decision.rate * kHeld;
    if (held && !capacity.agrees(measured, now)) return false;
    // Where evidence takes long to gather, so does its repetition.
    if (now <= doubted + std::max<Duration>(kSecondOpinion, 2 * (now - evidence_since))) return false;
    doubted = now;
    return true;
  }

  void in_verify(Verify& s, const SiteMeasurement& m, TimePoint now) {
    if (queue_stands()) return start_drain(s.before, m, now);
    const LossCount count = window.loss(fresh_from, now);
    const double p0 = loss_test.harmless();
    const double p1 = std::clamp(s.loss_before, std::min(2 * p0, kMostLoss), kMostLoss);
    const auto k = static_cast<double>(count.beyond);
    const auto rest = static_cast<double>(count.segments) - k;
    const double odds = k * std::log(p1 / p0) + rest * std::log((1 - p1) / (1 - p0));
    const bool late = now - fresh_from > kVerifyTime;
    if (late && count.segments < kVerifySegments) {
      if (m.one_in > 1) return hold(now + kProbeWaitMost);  // the capture looked away
      change_rate(s.before, "too little was sent since the cut to tell whether it helped", now);
      return hold(now + kProbeWaitLeast);
    }
    if (odds < -kVerifyOdds) return hold(now + kProbeWaitFirst);
    if (odds < kVerifyOdds && !late) return;
    const double remaining =
        (count.ratio() - loss_test.floor()) / std::max(1e-9, s.loss_before - loss_test.floor());
    // Less than before, or more than any path loses by itself: not down far enough yet.
    const bool helped = remaining < kVerifyHelped || count.ratio() > kMostHarmless;
    if (helped && s.cuts < kMostCuts) {
      if (loss_test.fires()) return cut_for_loss(s.before, s.cuts, now);
      if (late && remaining < kVerifyHelped) return hold(now + kProbeWaitFirst);
    }
    if (!late) return;  // only patience may teach a floor: it mutes the loss test for minutes
    loss_test.set_floor(wilson_upper(k, static_cast<double>(count.segments), 2.0), now);
    mode = PathMode::lossy;
    capacity.forget();
    change_rate(
        s.before,
        fmt::format(
            "the loss did not answer to the rate ({:.2f} % before the cut, {:.2f} % of {} segments after)",
            100 * s.loss_before, 100 * count.ratio(), count.segments),
        now);
    hold(now + kProbeWaitLeast);
  }

  void start_drain(Rate before, const SiteMeasurement& m, TimePoint now) {
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

  /// More than a rate so near the known capacity can have made: the path has changed or stood still for a
  /// moment.
  [[nodiscard]] bool queue_is_sudden(const SiteMeasurement& m) const {
    if (!capacity.value() || !fresh_queue(m)) return false;
    const double share = decision.rate / capacity.value()->rate;
    return share >= kHeld && share <= kProbeNear && m.queue->q > std::max(kQueueOfSmallStep, q_high());
  }

  /// Which of the two it was, this one tick cannot tell, and the drain will. A gentle one is right for both.
  void drain_sudden_queue(Rate before, Duration next_probe, const SiteMeasurement& m, TimePoint now) {
    high_ticks = 0;
    drain(Drain{.capacity = *capacity.value(),
                .known = true,
                .before = before,
                .least = kDrainGently,
                .probe_wait = next_probe},
          m, now);
  }

  void drain(Drain s, const SiteMeasurement& m, TimePoint now) {
    const Capacity& c = s.capacity;
    // The samples are old by the time their ACKs took: the queue went on changing at our rate against C
    // since.
    Duration q = m.queue ? m.queue->q : q_high();
    const Duration age = m.queue ? now - m.queue->sent_to : base;
    const double growth = (decision.rate / c.rate) - 1.0;
    if (std::isfinite(growth))
      q = std::max(q, from_seconds(seconds(q) + std::min(growth, 1.0) * seconds(age)));
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

  void in_drain(Drain& s, const SiteMeasurement& m, TimePoint now) {
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

  /// We are held at our rate and all of it is delivered, and still the queue stands: our packets are not what
  /// fills it.
  [[nodiscard]] bool queue_is_foreign(TimePoint now) const {
    const auto delivered = window.delivered(fresh_from + base);
    const Rate sent = window.sent(fresh_from, now);
    return delivered && sent >= decision.rate * kHeld && *delivered <= sent * kAllDelivered &&
           *delivered >= sent * (2 - kAllDelivered);
  }

  void start_probe(TimePoint now) {
    state = Probe{decision.rate, decision.rate, 0};
    raise(std::get<Probe>(state), now);
  }

  void raise(Probe& s, TimePoint now) {
    Rate next = s.clean * (1.0 + kProbeSteps[s.step]);
    s.step = std::min(s.step + 1, kProbeSteps.size() - 1);
    // The last capacity measured may still hold: go just past it first, and on in small steps.
    if (const auto& known = capacity.value()) {
      const Rate past = known->rate * ((1.0 + known->relative_error) * kProbePast);
      if (s.clean < past && next > past) {
        next = std::max(past, s.clean * kLeastStep);
        s.step = 0;
      }
    }
    change_rate(next,
                fmt::format("probing: the site has more to send and {:.1f} Mbit/s went through clean",
                            s.clean.mbps()),
                now);
  }

  void in_probe(Probe& s, const SiteMeasurement& m, TimePoint now) {
    if (fresh_queue(m) && m.queue->q > q_probe()) return end_probe_on_queue(s, m, now);
    const LossCount count = window.loss(fresh_from, now);
    if (count.beyond > 0 &&
        poisson_tail(count.beyond, static_cast<double>(count.segments) * usual_loss()) < kProbeLossOdds) {
      return end_probe_on_loss(s, count, now);
    }
    if (m.one_in > 1) {
      change_rate(s.run_start, "the capture cannot keep up: what it does not see says nothing", now);
      return hold(now + kProbeWaitMost);
    }
    const Duration round = std::max<Duration>(kProbeRound, 3 * base);
    const auto mature = window.mature_until();
    const bool judged = mature && *mature >= fresh_from + round;
    const bool used = judged && window.sent(*mature - round, *mature) >= decision.rate * kProbeUsed;
    // A queue that has begun to grow decides by itself soon; another step on top of it would only deepen it.
    const bool growing = fresh_queue(m) && m.queue->q > q_clean();
    if (used && !growing) {
      s.clean = decision.rate;
      if (s.clean >= limits.ceiling) return end_probe_clean(s, "the ceiling is reached", now);
      return raise(s, now);
    }
    if (now - fresh_from > std::max<Duration>(kProbePatience, 6 * base)) {
      if (used) return end_probe_clean(s, "a little queue stays, without growing or going away", now);
      s.clean = std::max(s.clean, std::min(decision.rate, window.sent(now - kDemandWindow, now)));
      return end_probe_clean(s, "the site does not send more", now);
    }
  }

  void end_probe_clean(Probe& s, std::string_view why, TimePoint now) {
    const Rate clean = s.clean;
    change_rate(clean, why, now);
    probe_wait = kProbeWaitLeast;
    hold(now + kProbeWaitFirst);
  }

  void end_probe_on_queue(Probe& s, const SiteMeasurement& m, TimePoint now) {
    if (queue_is_sudden(m)) return drain_sudden_queue(s.run_start, kProbeWaitLeast, m, now);
    const bool near = capacity.value() && decision.rate <= capacity.value()->rate * kProbeNear;
    auto measured = window.buffered_capacity(fresh_from, std::min(q_target(), m.queue->q / 2));
    if (!measured) measured = Capacity{s.clean, kCapacitySpread, now};
    // What went through clean before the run is the least, the probe's own rate the most: one tick alone is
    // noisy.
    measured = capacity.refined(*measured, now);
    measured->rate = std::clamp(measured->rate, s.run_start, decision.rate);
    // Just past what is known a probe makes no more queue than a gentle drain takes away soon.
    learn_capacity(*measured, PathMode::buffer);
    const Duration wait = wait_after_run(s.run_start, measured->rate * kGain);
    drain(Drain{.capacity = *measured,
                .before = s.run_start,
                .least = near ? kDrainGently : kDrainLeast,
                .probe_wait = wait},
          m, now);
  }

  void end_probe_on_loss(Probe& s, const LossCount& count, TimePoint now) {
    const Settle settle{s.run_start, s.clean, decision.rate, fresh_from, now};
    change_rate(
        s.clean,
        fmt::format("the probe met loss: {} of {} segments beyond this box", count.beyond, count.segments),
        now);
    doubted = now;  // loss that goes on after it needs no second opinion
    state = settle;
  }

  void in_settle(Settle& s, TimePoint now) {
    const auto mature = window.mature_until();
    const bool all = mature && *mature >= s.until;
    if (!all && now - s.until < 3 * base + Duration(kOutageLeast)) return;
    auto measured = window.policed_capacity(s.from, s.until);
    // From where the losses began: the path may have changed late in a long round.
    const LossCount count = window.loss(window.first_loss(s.from).value_or(s.from), s.until);
    if (measured && measured->rate * (1.0 + measured->relative_error) < s.run_start * kFallen &&
        count.ratio() > kFallenLoss) {
      learn_capacity(*measured, PathMode::policer);
      change_rate(
          std::max(measured->rate * kGain, limits.floor),
          fmt::format("{:.2f} % of {} segments of the probe were lost: the path now carries {:.1f} Mbit/s",
                      100 * count.ratio(), count.segments, measured->rate.mbps()),
          now);
      state = Verify{s.run_start, count.ratio(), 1};
      return;
    }
    // Unless the losses tell what the path carries, the last clean round does; a full bucket may have
    // flattered it.
    Rate target = std::max(s.run_start, s.clean * kGain);
    if (measured && measured->relative_error > kSettleError) measured.reset();
    if (measured) {
      learn_capacity(*measured, PathMode::policer);
      target = std::clamp(measured->rate * kGain, s.run_start, s.tried);
    }
    const Duration wait = wait_after_run(s.run_start, target);
    change_rate(target,
                measured ? fmt::format("the path dropped what exceeded {:.1f} Mbit/s", measured->rate.mbps())
                         : std::string("the probe met loss"),
                now);
    hold(now + wait);
  }

  void in_outage(Outage& s, const SiteMeasurement& m, TimePoint now) {
    if (!m.last_ack || *m.last_ack <= s.since) return;
    decision.reason = fmt::format("{:.1f} Mbit/s resumed: ACKs are back after {:.1f} s", decision.rate.mbps(),
                                  seconds(now - s.since));
    window.forget_cohorts();
    start_afresh(now + 2 * base);
    hold(now + kProbeWaitLeast);
  }

  // ---- pieces ----

  void hold(TimePoint next_probe) { state = Hold{next_probe}; }

  void start_afresh(TimePoint from) {
    fresh_from = from;
    evidence_since = from;
    loss_test.restart();
    high_ticks = 0;
  }

  /// Sets the rate within the limits, says why, and starts the evidence afresh.
  void change_rate(Rate target, std::string_view why, TimePoint now) {
    const Rate was = decision.rate;
    const Rate to =
        std::clamp(limits.adapt ? target : was, limits.floor, std::max(limits.floor, limits.ceiling));
    start_afresh(now);
    if (to == was) return;
    decision.rate = to;
    decision.changed = true;
    decision.since = now;
    const double percent = was.bps() == 0 ? 0.0 : 100.0 * (to / was - 1.0);
    decision.reason = fmt::format("{:.1f} Mbit/s, {:+.0f} %: {}", to.mbps(), percent, why);
  }

  void learn_capacity(const Capacity& c, PathMode how) {
    mode = how;
    capacity.learn(c);
  }

  /// 2, then 8 s while probes find nothing; from the beginning once one gained something.
  Duration wait_after_run(Rate start, Rate end) {
    if (end >= start * kProbeGained) {
      probe_wait = kProbeWaitLeast;
      return kProbeWaitFirst;
    }
    const Duration wait = jittered(probe_wait);
    probe_wait = kProbeWaitMost;
    return wait;
  }

  /// +-20 %, so that the boxes of a path do not probe in step. A fixed linear congruence: replay gives the
  /// same waits.
  Duration jittered(Duration d) {
    jitter = jitter * 6364136223846793005ULL + 1442695040888963407ULL;
    const double unit = static_cast<double>(jitter >> 11U) * 0x1.0p-53;
    return from_seconds(seconds(d) * (1.0 + kProbeJitter * (2 * unit - 1)));
  }

  [[nodiscard]] bool fresh_queue(const SiteMeasurement& m) const {
    return m.queue && m.queue->sent_from >= fresh_from;
  }
  [[nodiscard]] bool queue_stands() const { return high_ticks >= kQueueTicks; }
  [[nodiscard]] Duration q_bound(Duration least, double of_base, double sigmas) const {
    const auto noise = from_seconds((noise_mean + sigmas * std::sqrt(noise_variance)) / 1e3);
    return std::max({least, from_seconds(seconds(base) * of_base), noise});
  }
  [[nodiscard]] Duration q_high() const { return q_bound(kQueueHigh, kQueueHighOfBase, 4); }
  [[nodiscard]] Duration q_target() const { return q_bound(kQueueTarget, kQueueTargetOfBase, 1); }
  [[nodiscard]] Duration q_clean() const { return q_bound(kQueueClean, kQueueCleanOfBase, 2); }
  [[nodiscard]] Duration q_probe() const { return q_bound(kQueueProbe, kQueueProbeOfBase, 3); }
  /// What a probe may lose without a meaning. No more than the loss test itself takes for harmless: on a slow
  /// path it needs seconds to see congestion, and these must not teach that it is usual.
  [[nodiscard]] double usual_loss() const {
    const double quiet = quiet_segments > 0 ? quiet_losses / quiet_segments : 0.0;
    return std::max(loss_test.floor(), std::min(quiet, loss_test.harmless() + kCongestionLoss));
  }

  void show(TimePoint now) {
    const LossCount count = window.loss(now - kShownWindow, now);
    decision.state = kind_of(state);
    decision.mode = now - last_tcp > kBlindAfter ? PathMode::blind : mode;
    decision.capacity = capacity.estimate();
    decision.loss_beyond = count.ratio();
    decision.loss_segments = count.segments;
    const auto all = static_cast<double>(count.segments + count.before);
    decision.loss_before = all > 0 ? static_cast<double>(count.before) / all : 0.0;
    decision.evidence = loss_test.evidence();
  }

  ControlLimits limits;
  State state;
  RateDecision decision;
  ControlWindow window;
  LossTest loss_test;
  KnownCapacity capacity;
  PathMode mode = PathMode::unknown;
  TimePoint fresh_from;      ///< of the last change of rate: evidence was sent after it
  TimePoint evidence_since;  ///< first cohort of the loss evidence that stands
  TimePoint queue_since;     ///< first tick of the delay evidence that stands
  TimePoint doubted;         ///< loss evidence that did not contradict the known capacity came last
  TimePoint foreign_until;   ///< the queue is not ours: do not yield to it until then
  TimePoint last_tcp;
  Duration base = std::chrono::milliseconds(50);  ///< until the first RTT is known
  Duration probe_wait = kProbeWaitLeast;
  int high_ticks = 0;
  double noise_mean = 0, noise_variance = 0;    ///< of q in quiet times, ms and ms^2
  double quiet_segments = 0, quiet_losses = 0;  ///< of HOLD, forgotten over ~20 s
  std::uint64_t jitter = 1;
};

SiteController::SiteController(ControlLimits limits, Rate start, TimePoint now)
    : impl_(std::make_unique<Impl>(limits, start, now)) {}
SiteController::~SiteController() = default;
SiteController::SiteController(SiteController&&) noexcept = default;
SiteController& SiteController::operator=(SiteController&&) noexcept = default;

const RateDecision& SiteController::step(const ControlInput& input, TimePoint now) {
  impl_->step(input, now);
  return impl_->decision;
}

void SiteController::set_limits(ControlLimits limits, TimePoint now) {
  impl_->limits = limits;
  const Rate rate = impl_->decision.rate;
  if (rate < limits.floor || rate > limits.ceiling)
    impl_->change_rate(rate, "the policy's limits changed", now);
}

const RateDecision& SiteController::decision() const {
  return impl_->decision;
}

}  // namespace weir

#include "estimator/controller_state.hpp"
