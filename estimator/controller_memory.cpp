// From one run to the next: what a controller leaves behind, and how one begins with it.
#include <algorithm>
#include <cmath>

#include "config/overloaded.hpp"
#include "estimator/controller_impl.hpp"

namespace weir::control {
namespace {

std::uint32_t ppm(double ratio) {
  return static_cast<std::uint32_t>(std::llround(ratio * 1e6));
}

Duration kept_noise(double ms) {
  return std::clamp<Duration>(from_seconds(ms / 1e3), Duration::zero(), SiteMemory::kMostNoise);
}

}  // namespace

Rate Controller::settled_rate() const {
  return std::visit(
      Overloaded{[&](const Probe& s) { return s.run_start; }, [&](const Settle& s) { return s.run_start; },
                 [&](const auto&) { return decision.rate; }},
      state);
}

SiteMemory Controller::memory(TimePoint now) const {
  SiteMemory m;
  m.mode = mode;
  if (const auto& known = capacity.value()) {
    // Probes found more, and clean: what was measured before them is no longer what the path carries.
    const Rate agreeing = known->rate * (1.0 + std::max(kCapacitySpread, 2 * known->relative_error));
    if (settled_rate() <= std::max(agreeing, limits.floor) && known->rate > Rate() &&
        known->rate <= SiteMemory::kMostCapacity)
      m.capacity = {.rate = known->rate,
                    .error_ppm = ppm(known->relative_error),
                    .age = std::max(now - known->measured, Duration::zero())};
  }
  if (loss_test.floor() > 0)
    m.loss_floor = {.ppm = std::max(1U, ppm(loss_test.floor())),
                    .age = std::max(now - loss_test.floor_learnt(), Duration::zero())};
  const double phi = 1000 * loss_test.learnt_dispersion();
  m.phi_thousandths = static_cast<std::uint32_t>(std::llround(std::min<double>(phi, SiteMemory::kMostPhi)));
  m.noise = kept_noise(noise_mean);
  m.noise_deviation = kept_noise(std::sqrt(noise_variance));
  if (base > Duration::zero() && base <= SiteMemory::kMostBase) m.base = base;
  const auto* held = std::get_if<Hold>(&state);
  m.probe = {.wait = probe_wait,
             .due_in = held == nullptr ? probe_wait
                                       : std::clamp<Duration>(held->next_probe - now, Duration::zero(),
                                                              SiteMemory::kMostProbeWait)};
  return aged(m, Duration::zero());
}

void Controller::remember(const SiteMemory& before, TimePoint now) {
  const SiteMemory memory = aged(before, Duration::zero());  // nothing too old, whoever handed it over
  mode = memory.mode;
  if (const auto& c = memory.capacity)
    capacity.learn({.rate = c->rate, .relative_error = c->error_ppm / 1e6, .measured = now - c->age});
  const auto& floor = memory.loss_floor;
  loss_test.remember(floor ? floor->ppm / 1e6 : 0.0, floor ? now - floor->age : TimePoint(),
                     memory.phi_thousandths / 1e3);
  noise_mean = milliseconds(memory.noise);
  noise_variance = milliseconds(memory.noise_deviation) * milliseconds(memory.noise_deviation);
  if (memory.base) base = *memory.base;
  if (const auto& p = memory.probe) {
    probe_wait = std::clamp<Duration>(p->wait, kProbeWaitLeast, kProbeWaitMost);
    hold(now + p->due_in);
  }
  show(now);
}

}  // namespace weir::control
