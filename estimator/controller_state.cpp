// What a SiteController remembers, member by member: SiteController::state and ::from_state. A member that is
// added to one of the types listed here is added to its list, and kStateVersion counts up.
#include "estimator/control_constants.hpp"
#include "estimator/controller_impl.hpp"
#include "estimator/state_fields.hpp"
#include "estimator/state_text.hpp"

namespace weir {
namespace control {

// Found by their arguments, which an unnamed namespace would prevent.

/// Before Controller::late_since.
constexpr const char* kLate = "late";

/// Checkpoints of another version cannot be gone on from. (Recordings that begin with a start can.)
constexpr std::uint32_t kStateVersion = 11;

template <class A>
void list(A& archive, Hold& hold) {
  auto& [next_probe] = hold;
  archive(next_probe);
}
template <class A>
void list(A& archive, Drain& drain) {
  auto& [capacity, known, queue_before, since, empty_at, before, least, ineffective, probe_wait, fall,
         first_queue, first_sent, unmoved, pause] = drain;
  archive(capacity, known, queue_before, since, empty_at, before, least, ineffective, probe_wait, fall,
          first_queue, first_sent, unmoved, pause);
  archive.require(fall >= 0 && fall <= kDriftMargin);
  archive.require(unmoved >= 0 && unmoved <= 2 && pause >= Duration::zero() && pause <= kForeignPauseMost);
}
template <class A>
void list(A& archive, Verify& verify) {
  auto& [before, loss_before, cuts, probe_wait] = verify;
  archive(before, loss_before, cuts, probe_wait);
}
template <class A>
void list(A& archive, Probe& probe) {
  auto& [run_start, clean, step, since] = probe;
  archive(run_start, clean, step, since);
  archive.require(step < kProbeSteps.size());
}
template <class A>
void list(A& archive, Settle& settle) {
  auto& [run_start, clean, tried, since, from, until] = settle;
  archive(run_start, clean, tried, since, from, until);
}
template <class A>
void list(A& archive, Outage& outage) {
  auto& [since] = outage;
  archive(since);
}
template <class A>
void list(A& archive, Contend& contend) {
  auto& [until, empty_ticks, least, most, steady_since] = contend;
  archive(until, empty_ticks, least, most, steady_since);
  archive.require(empty_ticks >= 0 && empty_ticks <= kForeignGoneTicks);
}
template <class A>
void list(A& archive, Controller& controller) {
  // `queue` and `latency_room` are of one tick: the next one begins with its own. `late_since` stands behind
  // all else, where there is a goal that is missed: states without one are as they were before there were
  // goals.
  [[maybe_unused]] auto& [limits, state, decision, window, loss_test, capacity, mode, fresh_from, queue_from,
                          evidence_since, queue_since, high_queue_drained, doubted, last_tcp, base,
                          probe_wait, young_misled, bucket, response, outgrown, bounded, high_ticks,
                          contended, contended_pause, contended_until, queue, route, short_ticks,
                          latency_room, late_since, noise_mean, noise_variance, quiet_queue, quiet_segments,
                          quiet_losses, jitter] = controller;
  archive(limits, state, decision, window, loss_test, capacity, mode, fresh_from, queue_from, evidence_since,
          queue_since, high_queue_drained, doubted, last_tcp, base, probe_wait, young_misled, bucket,
          response, outgrown, bounded, high_ticks, contended, contended_pause, contended_until, route,
          short_ticks, noise_mean, noise_variance, quiet_queue, quiet_segments, quiet_losses, jitter);
  archive.require(response >= kResponseLeast && response <= 1.0);
  archive.require(bucket >= Duration::zero() && bucket <= kProbeRoundMost);
  archive.require(contended_pause >= Duration::zero() && contended_pause <= kForeignPauseMost);
  // In milliseconds, and made into durations.
  constexpr double kMostNoise = 1e9;
  archive.require(noise_mean <= kMostNoise && noise_mean >= -kMostNoise && noise_variance >= 0 &&
                  noise_variance <= kMostNoise);
}

}  // namespace control

std::string SiteController::state() const {
  control::StateWriter writer;
  writer(control::kStateVersion);
  writer(static_cast<control::Controller&>(*impl_));
  if (impl_->late_since) {
    std::string tag = control::kLate;
    writer(tag, *impl_->late_since);
  }
  return writer.take();
}

std::optional<SiteController> SiteController::from_state(std::string_view text) {
  control::StateReader reader(text);
  std::uint32_t version = 0;
  reader(version);
  reader.require(version == control::kStateVersion);
  SiteController controller({}, Rate(), TimePoint());
  reader(static_cast<control::Controller&>(*controller.impl_));
  if (!reader.done()) {
    std::string tag;
    reader(tag, controller.impl_->late_since.emplace());
    reader.require(tag == control::kLate);
  }
  if (!reader.done()) return std::nullopt;
  return controller;
}

}  // namespace weir
