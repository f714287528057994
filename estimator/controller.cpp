#include "estimator/controller.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "config/overloaded.hpp"
#include "estimator/controller_impl.hpp"

namespace weir {
namespace control {
namespace {

ControlState kind_of(const State& state) {
  constexpr std::array kinds = {ControlState::hold,   ControlState::drain, ControlState::verify,
                                ControlState::probe,  ControlState::probe, ControlState::outage,
                                ControlState::contend};
  return kinds[state.index()];
}

}  // namespace

Controller::Controller(ControlLimits l, const ControlStart& start, TimePoint now)
    : limits(l), state(Hold{now}), fresh_from(now), queue_from(now) {
  decision.rate = std::clamp(start.rate, limits.floor, std::max(limits.floor, limits.ceiling));
  decision.since = now;
  decision.reason = fmt::format("{:.1f} Mbit/s: {}", decision.rate.mbps(), why_there(start));
  evidence_since = now;
  last_tcp = now;
  if (start.memory) remember(*start.memory, now);
}

void Controller::step(const ControlInput& input, TimePoint now) {
  decision.changed = false;
  const SiteMeasurement& m = input.measured;
  take_queue(m);
  window.add(input, queue, now);
  loss_test.expire(now);
  jitter += m.sent.count();  // boxes that share a path have not sent the same
  if (m.rtt) base = m.rtt->base;
  if (m.sent_tcp.count() > 0 || m.sent.count() == 0) last_tcp = now;
  if (m.valid) judge_silence(m, now);
  if (input.share && !std::holds_alternative<Outage>(state)) {
    follow(*input.share, now);
  } else if (m.valid) {
    weigh_losses(m);
    weigh_queue(input, now);
    weigh_latency(input, now);
    std::visit(Overloaded{[&](Hold& s) { in_hold(s, m, now); }, [&](Drain& s) { in_drain(s, now); },
                          [&](Verify& s) { in_verify(s, m, now); }, [&](Probe& s) { in_probe(s, m, now); },
                          [&](Settle& s) { in_settle(s, now); }, [&](Outage& s) { in_outage(s, m, now); },
                          [&](Contend& s) { in_contend(s, m, now); }},
               state);
  }
  show(now);
}

void Controller::judge_silence(const SiteMeasurement& m, TimePoint now) {
  if (std::holds_alternative<Outage>(state) || !m.unanswered_since) return;
  if (now - *m.unanswered_since < std::max<Duration>(kOutageLeast, 3 * base)) return;
  if (m.last_ack && *m.last_ack > *m.unanswered_since) return;
  if (const auto* probe = std::get_if<Probe>(&state))
    change_rate(probe->clean, "the probe met an outage", now);
  if (const auto* drain_state = std::get_if<Drain>(&state))
    change_rate(drain_state->capacity.rate * kGain, "the drain met an outage", now);
  decision.reason = fmt::format("{:.1f} Mbit/s held: no ACK from any remote for {:.1f} s, the path is silent",
                                decision.rate.mbps(), seconds(now - *m.unanswered_since));
  state = Outage{now};
}

void Controller::in_hold(Hold& s, const SiteMeasurement& m, TimePoint now) {
  // It gave way for a while, as the queues of others' TCP do, and is back.
  if (queue_stands() && now < contended_until && limits.adapt)
    return contend(contended, contended_pause, now);
  if (queue_stands()) return start_drain(decision.rate, now);
  if (high_ticks > 0 && limits.adapt && queue_is_sudden())
    return drain_sudden_queue(decision.rate, kProbeWaitFirst, now);
  if (loss_test.fires()) {
    const LossCount count = window.loss(evidence_since, now);
    const bool more = count.ratio_at_least() > kRememberedLoss;
    if (more || !queue_is_remembered(now)) return cut_for_loss(decision.rate, 0, now);
    forget_as_quiet(count);
    return loss_test.restart();
  }
  if (!limits.adapt || decision.rate >= limits.ceiling || now < s.next_probe || m.one_in > 1) return;
  if (now - fresh_from < kDemandWindow || loss_is_suspicious(now) || high_ticks > 0) return;
  if (queue_is_remembered(now) && is_unusual(window.losses_in_events(now - kRememberedLosses, now))) return;
  // One that has begun to grow decides by itself soon.
  if (fresh_queue() && queue->q > q_clean()) return;
  // A site of which nothing comes back that could be read (QUIC, ESP) holds its rate.
  if (window.loss(now - kShownWindow, now).segments == 0) return;
  if (window.demand(decision.rate, kDemand, kDemandWindow, now) && !probes_held(now)) start_probe(now);
}

void Controller::in_outage(Outage& s, const SiteMeasurement& m, TimePoint now) {
  if (!m.last_ack || *m.last_ack <= s.since) return;
  decision.reason = fmt::format("{:.1f} Mbit/s resumed: ACKs are back after {:.1f} s", decision.rate.mbps(),
                                seconds(now - s.since));
  window.forget_cohorts();
  high_queue_drained.reset();
  start_afresh(now + 2 * base);
  hold(now + kProbeWaitLeast);
}

/// The group's controller decides; what this one knew of the path for itself is of no use afterwards.
void Controller::follow(const GroupShare& share, TimePoint now) {
  if (share.rate != decision.rate) {
    change_rate(share.rate,
                fmt::format("its share of {:.1f} Mbit/s on a path that {} sites share", share.whole.mbps(),
                            share.sites),
                now);
  }
  loss_test.restart();
  high_ticks = 0;
  late_since.reset();
  capacity.forget();
  response = 1.0;
  bounded = false;
  high_queue_drained.reset();
  hold(now + kProbeWaitLeast);
}

void Controller::hold(TimePoint next_probe) {
  state = Hold{next_probe};
}

void Controller::start_afresh(TimePoint from) {
  fresh_from = from;
  queue_from = from;
  evidence_since = from;
  loss_test.restart();
  high_ticks = 0;
}

void Controller::change_rate(Rate target, std::string_view why, TimePoint now) {
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

void Controller::learn_capacity(const Capacity& c, PathMode how) {
  mode = how;
  outgrown = false;
  bounded = false;
  capacity.learn(c);
}

Duration Controller::jittered(Duration d) {
  jitter = jitter * 6364136223846793005ULL + 1442695040888963407ULL;
  const double unit = static_cast<double>(jitter >> 11U) * 0x1.0p-53;
  return from_seconds(seconds(d) * (1.0 + kProbeJitter * (2 * unit - 1)));
}

void Controller::show(TimePoint now) {
  const LossCount count = window.loss(now - kShownWindow, now);
  decision.state = kind_of(state);
  decision.mode = now - last_tcp > kBlindAfter ? PathMode::blind : mode;
  decision.capacity = capacity.estimate();
  decision.loss_beyond = count.ratio();
  decision.loss_segments = count.segments;
  const auto all = static_cast<double>(count.segments + count.before);
  decision.loss_before = all > 0 ? static_cast<double>(count.before) / all : 0.0;
  decision.evidence = loss_test.evidence();
  decision.queue = queue ? std::optional(queue->q) : std::nullopt;
  decision.probes_held = probes_held(now);
}

}  // namespace control

SiteController::SiteController(ControlLimits limits, const ControlStart& start, TimePoint now)
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

SiteMemory SiteController::memory(TimePoint now) const {
  return impl_->memory(now);
}

}  // namespace weir
