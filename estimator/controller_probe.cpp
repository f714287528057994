#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "estimator/controller_impl.hpp"

namespace weir::control {
namespace {

/// New limits may have come while a run was under way: where they took the rate below its start they win.
Rate within(Rate rate, Rate least, Rate most) {
  return std::min(std::max(rate, least), most);
}

}  // namespace

void Controller::start_probe(TimePoint now) {
  if (late_since) late_since = now;
  const bool known = (capacity.value() && !outgrown) || bounded;
  state = Probe{decision.rate, decision.rate, known ? 0 : kProbeStepUnknown, now};
  raise(std::get<Probe>(state), now);
}

std::optional<Rate> Controller::just_past_known() const {
  const auto& known = capacity.value();
  if (!known) return std::nullopt;
  const double hidden =
      mode == PathMode::policer ? seconds(bucket) / seconds(kProbeRoundMost) : (kProbePast - 1.0) / response;
  return known->rate * ((1.0 + known->relative_error) * std::clamp(1.0 + hidden, kProbePast, kProbePastMost));
}

bool Controller::has_outgrown_known(Rate clean) const {
  const auto past = just_past_known();
  return past && clean > *past;
}

void Controller::raise(Probe& s, TimePoint now) {
  Rate next = s.clean * (1.0 + std::max(kProbeSteps[s.step], kProbeSteps.front() / response));
  const bool first = s.clean == s.run_start;
  s.step = std::min(s.step + 1, kProbeSteps.size() - 1);
  // The last capacity measured may still hold: go just past it first.
  if (const auto& known = capacity.value()) {
    // A capacity that is not known well is as likely a little more: there at once.
    if (first && known->relative_error >= kKnownBadly && now - known->measured < kKnownLately)
      next = std::max(next, std::min(known->rate * (1.0 + known->relative_error), s.clean * kProbeMostFirst));
    const Rate past = *just_past_known();
    // A policer takes packets for a step that is a little too large, a buffer a moment.
    const double nearly = mode == PathMode::buffer ? kLeastStep : 1.0;
    if (s.clean < past && next * nearly > past) {
      next = std::max(past, s.clean * kLeastStep);
      s.step = kProbeStepPast;
    }
  }
  change_rate(
      next,
      fmt::format("probing: the site has more to send and {:.1f} Mbit/s went through clean", s.clean.mbps()),
      now);
}

void Controller::in_probe(Probe& s, const SiteMeasurement& m, TimePoint now) {
  if (fresh_queue() && (queue->q > q_probe() || is_late())) return end_probe_on_queue(s, now);
  const LossesInEvents losses = window.losses_in_events(fresh_from, now);
  const LossCount& count = losses.count;
  if (is_unusual(losses)) return end_probe_on_loss(s, count, now);
  if (const LossesInEvents told = told_losses(m, losses); told.count.beyond > 1 && is_unusual(told))
    return end_probe_on_loss(s, told.count, now);
  if (m.one_in > 1) {
    change_rate(s.run_start, "the capture cannot keep up: what it does not see says nothing", now);
    return hold(now + kProbeWaitHeld);
  }
  const Duration round = std::max<Duration>(near_known_limit() ? round_near_limit() : kProbeRound, 3 * base);
  const auto mature = window.mature_until();
  // Where nothing sent at this rate was acknowledged or missed (QUIC, ESP), nothing is known of it.
  const bool judged = mature && *mature >= fresh_from + round && count.segments > 0;
  const bool used = judged && window.sent(*mature - round, *mature) >= decision.rate * least_used();
  // A queue that has begun to grow decides by itself soon; another step on top of it would only deepen it.
  const bool growing = fresh_queue() && queue->q > q_clean();
  if (used && !growing) {
    s.clean = decision.rate;
    if (s.clean >= limits.ceiling) return end_probe_clean(s, "the ceiling is reached", now);
    return raise(s, now);
  }
  const Duration patience = demand_grows(now) ? kProbePatienceMost : kProbePatience;
  if (now - fresh_from > std::max<Duration>(patience, 2 * round)) {
    if (used) return end_probe_clean(s, "a little queue stays, without growing or going away", now);
    if (count.segments == 0) return end_probe_clean(s, "nothing came back that tells what became of it", now);
    s.clean = std::max(s.clean, std::min(decision.rate, window.sent(now - kDemandWindow, now)));
    // What is not known to be limited need not be taken back: the senders would run into our own queue.
    if (knows_no_limit()) s.clean = decision.rate;
    return end_probe_clean(s, "the site does not send more", now);
  }
}

/// One connection over a long RTT takes seconds to fill what it was given.
bool Controller::demand_grows(TimePoint now) const {
  const Rate before = window.sent(now - 3 * kDemandWindow, now - 2 * kDemandWindow);
  return window.sent(now - kDemandWindow, now) > before * kDemandGrows;
}

bool Controller::knows_no_limit() const {
  return !capacity.value() && !bounded;
}

/// Where no limit is known, room above what is used costs nothing; and a connection that grows would fill it
/// only to lose packets to our own leaf.
double Controller::least_used() const {
  return knows_no_limit() ? kProbeUsedUnknown : kProbeUsed;
}

/// A burst is as likely as one loss, so events count; but of these there are no more than so many in a
/// cohort, and where losses are usual only their number tells that a limit is overrun.
bool Controller::is_unusual(const LossesInEvents& losses) const {
  const LossCount& count = losses.count;
  if (count.beyond == 0) return false;
  const double usual = static_cast<double>(count.segments) * usual_loss();
  const double phi = loss_test.dispersion();
  const auto in_bursts = static_cast<std::uint64_t>(static_cast<double>(count.beyond) / phi);
  return poisson_tail(losses.events, usual) < kProbeLossOdds ||
         poisson_tail(in_bursts, usual / phi) < kProbeLossOdds;
}

/// Each moment that a round goes on past the limit costs packets, so what is told of cohorts that are not
/// mature counts as well; unless that was untrue the last time (the path reorders). Where no limit is known
/// the round is to measure it, and takes its time.
LossesInEvents Controller::told_losses(const SiteMeasurement& m, LossesInEvents losses) const {
  if (young_misled || !capacity.value()) return losses;
  for (const YoungCohort& c : m.young) {
    if (c.begin < fresh_from) continue;
    losses.count.segments += c.segments;
    losses.count.beyond += c.lost_beyond;
    losses.events += c.lost_beyond > 0 ? 1 : 0;
  }
  return losses;
}

bool Controller::near_known_limit() const {
  if (mode != PathMode::policer || !capacity.value() || capacity.value()->relative_error > kCapacitySpread)
    return false;
  const double share = decision.rate / capacity.value()->rate;
  return share > 1.0 && share <= kProbeNear;
}

/// What the bucket may hold has to be sent beyond the limit before it shows.
Duration Controller::round_near_limit() const {
  const double beyond = decision.rate / capacity.value()->rate - 1.0;
  return from_seconds(
      std::clamp(seconds(bucket) / beyond, seconds(kProbeRoundNear), seconds(kProbeRoundMost)));
}

/// A limit that is where it was: past which only a bucket lets a round go clean.
bool Controller::stands(const Capacity& limit, Rate run_start) const {
  const auto& known = capacity.value();
  return known && std::max(known->relative_error, limit.relative_error) <= kCapacitySpread &&
         std::abs(limit.rate / known->rate - 1.0) <= kCapacitySpread && run_start <= limit.rate;
}

/// How much the run got through beyond the limit, in time at its rate. (By what was delivered: senders that a
/// small bucket made collapse leave losses untold.)
void Controller::learn_bucket(const Settle& s, const Capacity& limit, TimePoint now) {
  const auto delivered = window.delivered(s.since);
  const double beyond = delivered ? (*delivered / limit.rate - 1.0) * seconds(now - s.since) : 0.0;
  bucket = std::max(bucket / 2, from_seconds(std::clamp(beyond, 0.0, seconds(kProbeRoundMost))));
}

void Controller::end_probe_clean(Probe& s, std::string_view why, TimePoint now) {
  const Rate clean = s.clean;
  if (clean > s.run_start && has_outgrown_known(clean)) outgrown = true;
  if (clean >= s.run_start * kProbeGained) bounded = false;
  change_rate(clean, why, now);
  probe_wait = kProbeWaitLeast;
  hold(now + kProbeWaitFirst);
}

void Controller::end_probe_on_queue(Probe& s, TimePoint now) {
  const bool late = is_late();
  if (queue_is_sudden())
    return drain_sudden_queue(s.run_start, late ? jittered(kProbeWaitHeld) : kProbeWaitLeast, now);
  const auto growth = growth_in_round();
  if (growth) learn_response(s, *growth);
  const bool near = capacity.value() && decision.rate <= capacity.value()->rate * kProbeNear;
  auto measured = window.buffered_capacity(fresh_from, std::min(q_target(), queue->q / 2));
  if (!measured) measured = Capacity{s.clean, kCapacitySpread, now};
  // A path that stood still for a moment is not slower.
  if (growth && growth->share >= 0.0 && growth->share <= 1.0 - kContrast) {
    measured = weighed_mean(*measured, Capacity{.rate = growth->sent * (1.0 / (1.0 + growth->share)),
                                                .relative_error = kStretchNoise / growth->over,
                                                .measured = queue->sent_from});
  }
  // What went through clean is the least, the probe's own rate the most: one tick alone is noisy.
  measured = capacity.refined(*measured, now);
  measured->rate = within(measured->rate, s.clean, decision.rate);
  // Just past what is known a probe makes no more queue than a gentle drain takes away soon.
  learn_capacity(*measured, PathMode::buffer);
  Duration wait = wait_after_run(s.run_start, measured->rate * kGain);
  if (late) wait = std::max(wait, jittered(kProbeWaitHeld));
  drain(Drain{.capacity = *measured,
              .before = s.run_start,
              .least = near ? kDrainGently : kDrainLeast,
              .probe_wait = wait},
        now);
  if (late && decision.changed)
    decision.reason += fmt::format("; a latency goal leaves {:.0f} ms to it", milliseconds(*latency_room));
}

std::optional<Controller::QueueGrowth> Controller::growth_in_round() const {
  const TimePoint seen_at = queue->sent_from + (queue->sent_to - queue->sent_from) / 2;
  if (seen_at <= fresh_from) return std::nullopt;
  const double over = seconds(seen_at - fresh_from);
  const Duration then = window.queue_at_middle().value_or(queue->q);
  return QueueGrowth{.sent = window.sent(fresh_from, seen_at),
                     .share = (seconds(then) - noise_mean / 1e3) / over,
                     .over = over};
}

void Controller::learn_response(const Probe& s, const QueueGrowth& growth) {
  const auto& known = capacity.value();
  // Above what is known there is no telling how much of the step was too much.
  if (!known || has_outgrown_known(s.clean)) return;
  const double excess = growth.sent / std::max(s.clean, known->rate) - 1.0;
  if (excess <= 0.0) return;
  const double seen = std::clamp(growth.share / excess, kResponseLeast, 1.0);
  response += std::min(excess / kResponseSurely, 1.0) * (seen - response);
}

void Controller::end_probe_on_loss(Probe& s, const LossCount& count, TimePoint now) {
  const Settle settle{s.run_start, s.clean, decision.rate, s.since, fresh_from, now};
  // The last round that looked clean may have emptied the bucket that now drops.
  change_rate(std::max(s.run_start, s.clean * kGain),
              fmt::format("the probe met loss: {} of {} segments on the path", count.beyond, count.segments),
              now);
  doubted = now;  // loss that goes on after it needs no second opinion
  state = settle;
}

void Controller::in_settle(Settle& s, TimePoint now) {
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
        std::max(measured->rate * policer_gain(), limits.floor),
        fmt::format("{:.2f} % of {} segments of the probe were lost: the path now carries {:.1f} Mbit/s",
                    100 * count.ratio(), count.segments, measured->rate.mbps()),
        now);
    state = Verify{s.run_start, count.ratio(), 1, kProbeWaitFirst};
    return;
  }
  // Unless the losses tell what the path carries, the last clean round does; a full bucket may have
  // flattered it.
  Rate target = std::max(s.run_start, s.clean * kGain);
  if (measured && measured->relative_error > kSettleError) measured.reset();
  const bool far = has_outgrown_known(s.clean);
  young_misled = count.beyond == 0;
  const bool chance = young_misled || (measured && met_no_limit(s, *measured));
  bounded = !measured && !chance && s.clean < s.run_start * kProbeGained;
  if (measured) {
    if (!chance && stands(*measured, s.run_start) && (far || bucket > Duration::zero()))
      learn_bucket(s, *measured, now);
    // Little is measured far beyond a limit, and how it came that so much went through clean is not known.
    const double error = far ? measured->relative_error : 0.0;
    measured = capacity.refined(*measured, now);
    measured->relative_error = std::max(measured->relative_error, error);
    target = within(measured->rate * policer_gain(), s.run_start * kGain, s.tried);
    if (far && chance) {
      outgrown = true;  // the path carries this at the least
    } else {
      learn_capacity(*measured, PathMode::policer);
    }
  }
  Duration wait = far ? kProbeWaitFirst : jittered(kProbeWaitLeast);
  if (!chance) wait = wait_after_run(s.run_start, target);
  std::string why = "the probe met loss";
  if (measured)
    why = fmt::format("the path {} {:.1f} Mbit/s",
                      chance ? "lost some by chance: it carried" : "dropped what exceeded",
                      measured->rate.mbps());
  response = (1.0 + response) / 2;  // only a queue tells it, and this may be none
  change_rate(target, why, now);
  hold(now + wait);
}

/// No less passed after the first loss than was tried. Just past the known limit only a figure that is good
/// tells that; far above it a limit would show plainly.
bool Controller::met_no_limit(const Settle& s, const Capacity& measured) const {
  if (!capacity.value()) return false;
  if (has_outgrown_known(s.clean)) return measured.rate * (1.0 + measured.relative_error) >= s.tried;
  return measured.rate >= s.tried && measured.relative_error <= kChanceError;
}

Duration Controller::wait_after_run(Rate start, Rate end) {
  if (end >= start * kProbeGained) {
    probe_wait = kProbeWaitLeast;
    return kProbeWaitFirst;
  }
  const Duration wait = jittered(probe_wait);
  probe_wait =
      std::min<Duration>(2 * probe_wait, mode == PathMode::buffer ? kProbeWaitOfBuffer : kProbeWaitMost);
  return wait;
}

}  // namespace weir::control
