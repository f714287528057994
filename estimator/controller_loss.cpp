#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "estimator/controller_impl.hpp"

namespace weir::control {

void Controller::weigh_losses(const SiteMeasurement& m) {
  for (const Cohort& c : m.mature) {
    if (c.begin < fresh_from || c.segments == 0) continue;
    if (loss_test.evidence() == 0.0) evidence_since = c.begin;
    loss_test.add(c.lost_beyond, c.segments, loss_events(c));
    if (std::holds_alternative<Hold>(state) && !loss_is_suspicious(m.at)) {
      loss_test.learn(c.lost_beyond, c.segments, c.begin);
      quiet_segments = quiet_segments * 0.995 + static_cast<double>(c.segments);
      quiet_losses = quiet_losses * 0.995 + static_cast<double>(c.lost_beyond);
    }
  }
}

bool Controller::loss_is_suspicious(TimePoint now) const {
  return loss_test.evidence() > kLossThreshold / 2 && now - evidence_since < kSuspicion;
}

bool Controller::queue_is_remembered(TimePoint now) const {
  return high_queue_drained && now - *high_queue_drained < kQueueRemembered;
}

void Controller::forget_as_quiet(const LossCount& count) {
  quiet_segments = std::max(0.0, quiet_segments - static_cast<double>(count.segments));
  quiet_losses = std::max(0.0, quiet_losses - static_cast<double>(count.beyond));
}

void Controller::cut_for_loss(Rate before, int cuts, TimePoint now) {
  const LossCount count = window.loss(evidence_since, now);
  // The cohort in which the losses began was only partly at the limit: wait for the next one.
  // Where nothing is known yet, senders that have just begun hit the limit in bursts: for their ACKs to pace
  // them.
  const int cohorts = capacity.value() ? kCohortsOfLoss : kCohortsOfFirstLoss;
  if (window.mature_until() < evidence_since + cohorts * kCohortLength) return;
  const auto measured = window.policed_capacity(evidence_since, now);
  if (!measured) return loss_test.restart();
  if (cuts == 0 && is_doubtful(*measured, now)) return loss_test.restart();
  const double drift = drift_towards(*measured, PathMode::policer);
  learn_capacity(*measured, PathMode::policer);
  forget_as_quiet(count);
  const double p = count.ratio();
  const double evidence = loss_test.evidence();
  const Rate target =
      std::max(measured->rate * (policer_gain() * (1.0 - drift) / (1.0 - loss_test.floor())), limits.floor);
  if (target >= decision.rate || !limits.adapt) return loss_test.restart();
  change_rate(
      target,
      fmt::format("{:.2f} % of {} segments were lost on the path while RTT stayed at its base (L = {:.0f})",
                  100 * p, count.segments, evidence),
      now);
  state = Verify{before, p, cuts + 1, drift > 0.0 ? kDriftWait : kProbeWaitFirst};
}

double Controller::drift_towards(const Capacity& measured, PathMode by) const {
  const auto& known = capacity.value();
  if (!known || mode != by) return 0.0;
  const double fallen = 1.0 - measured.rate / known->rate;
  const double time = seconds(measured.measured - known->measured);
  if (fallen <= 0.0 || fallen > kDriftMost || time <= 0.0 || time > seconds(kDriftTime)) return 0.0;
  return std::min(fallen / time, kDriftMargin);
}

bool Controller::is_doubtful(const Capacity& measured, TimePoint now) {
  if (!capacity.value()) return false;
  const bool held =
      window.sent(evidence_since - kDemandWindow, evidence_since + kCohortLength) >= decision.rate * kHeld;
  if (held && !capacity.agrees(measured, now)) return false;
  // Where evidence takes long to gather, so does its repetition.
  if (now <= doubted + std::max<Duration>(kSecondOpinion, 2 * (now - evidence_since))) return false;
  doubted = now;
  return true;
}

void Controller::in_verify(Verify& s, const SiteMeasurement& m, TimePoint now) {
  if (queue_stands()) return start_drain(s.before, now);
  const LossCount count = window.loss(fresh_from, now);
  const double p0 = loss_test.harmless();
  const double p1 = std::clamp(s.loss_before, std::min(2 * p0, kMostLoss), kMostLoss);
  const auto k = static_cast<double>(count.beyond);
  const auto rest = static_cast<double>(count.segments) - k;
  const double odds = k * std::log(p1 / p0) + rest * std::log((1 - p1) / (1 - p0));
  const bool late = now - fresh_from > kVerifyTime;
  if (late && count.segments < kVerifySegments) {
    if (m.one_in > 1) return hold(now + kProbeWaitHeld);  // the capture looked away
    change_rate(s.before, "too little was sent since the cut to tell whether it helped", now);
    return hold(now + kProbeWaitLeast);
  }
  if (odds < -kVerifyOdds) return hold(now + s.probe_wait);
  if (odds < kVerifyOdds && !late) return;
  // Under a limit that goes on falling the cut helped at first. Against loss that comes by chance it never
  // does.
  const LossCount early = window.loss(fresh_from, fresh_from + kVerifyEarly);
  const bool falls = early.segments >= kVerifySegments && window.mature_until() > fresh_from + kVerifyEarly &&
                     early.ratio() < kVerifyEarlyShare * count.ratio();
  const double remaining =
      (count.ratio() - loss_test.floor()) / std::max(1e-9, s.loss_before - loss_test.floor());
  // Less than before, or more than any path loses by itself: not down far enough yet.
  const bool helped = remaining < kVerifyHelped || count.ratio() > kMostHarmless || falls;
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

double Controller::usual_loss() const {
  // As events: a burst that a short quiet time happened to hold is not usual yet.
  const double phi = loss_test.dispersion();
  const double quiet = wilson_lower(quiet_losses / phi, quiet_segments / phi, 2.0);
  return std::max(loss_test.floor(), std::min(quiet, loss_test.harmless() + kCongestionLoss));
}

}  // namespace weir::control
