// What a tick costs the control law where it has 200 sites, each on a busy path: half of them behind
// policers, so that losses come in cohorts whose slots are searched for the limit, half behind buffers. The
// inputs are those of a closed loop over the modelled path, and every controller is fed its own from the
// start: it decides as it did there.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include <benchmark/benchmark.h>

#include "estimator/controller.hpp"

#include "../estimator/path_simulator.hpp"

namespace weir {
namespace {

constexpr std::size_t kSites = 200;
constexpr double kLength = 60;
constexpr ControlLimits kLimits{.floor = Rate::mbps(5), .ceiling = Rate::mbps(1000)};
const Rate kStart = Rate::mbps(100);

using Recording = std::vector<ControlInput>;

/// A path whose capacity halves and comes back every few seconds, with a little random loss: evidence all the
/// time.
Recording busy_path(test::Provider provider, std::uint32_t seed) {
  const double capacity = 20.0 + 60.0 * seed;
  test::PathSetup path;
  path.provider = provider;
  path.capacity_mbps = [capacity](double t) {
    return static_cast<int>(t) / 7 % 2 == 0 ? capacity : capacity / 2;
  };
  path.rtt_s = 0.01 * (1 + seed % 5);
  path.random_loss = 0.0005;
  path.seed = seed;
  test::PathSimulator simulator(path, kLimits, kStart.mbps());
  simulator.run_for(kLength);
  return simulator.inputs();
}

const std::vector<Recording>& recordings() {
  static const std::vector<Recording> all = [] {
    std::vector<Recording> r;
    for (std::uint32_t seed = 0; seed < 4; ++seed) {
      r.push_back(busy_path(test::Provider::policer, seed));
      r.push_back(busy_path(test::Provider::buffer, seed));
    }
    return r;
  }();
  return all;
}

std::vector<SiteController> new_controllers() {
  std::vector<SiteController> controllers;
  controllers.reserve(kSites);
  for (std::size_t i = 0; i < kSites; ++i) controllers.emplace_back(kLimits, kStart, TimePoint());
  return controllers;
}

/// One iteration is one tick of all sites. The figures are those of a single step.
void controller_step(benchmark::State& state) {
  using Clock = std::chrono::steady_clock;
  const std::vector<Recording>& inputs = recordings();
  std::size_t ticks = inputs.front().size();
  for (const Recording& r : inputs) ticks = std::min(ticks, r.size());
  std::vector<SiteController> controllers = new_controllers();
  std::vector<double> us;
  us.reserve(1U << 20U);
  std::size_t tick = 0;
  std::uint64_t changes = 0;
  for (auto _ : state) {
    if (tick == ticks) {
      tick = 0;
      controllers = new_controllers();
    }
    double whole = 0;
    for (std::size_t i = 0; i < kSites; ++i) {
      const ControlInput& input = inputs[i % inputs.size()][tick];
      const auto begin = Clock::now();
      const RateDecision& decision = controllers[i].step(input, input.measured.at);
      const std::chrono::duration<double> took = Clock::now() - begin;
      changes += decision.changed ? 1 : 0;
      us.push_back(1e6 * took.count());
      whole += took.count();
    }
    ++tick;
    state.SetIterationTime(whole);
  }
  std::sort(us.begin(), us.end());
  const auto quantile = [&](double q) {
    return us[static_cast<std::size_t>(q * static_cast<double>(us.size() - 1))];
  };
  double sum = 0;
  for (const double v : us) sum += v;
  state.counters["mean_us"] = sum / static_cast<double>(us.size());
  state.counters["p50_us"] = quantile(0.5);
  state.counters["p99_us"] = quantile(0.99);
  state.counters["p99.9_us"] = quantile(0.999);
  state.counters["most_us"] = us.back();
  state.counters["changes_a_site_s"] = static_cast<double>(changes) / static_cast<double>(us.size()) * 10;
}
BENCHMARK(controller_step)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(static_cast<int>(kLength * 10));

}  // namespace
}  // namespace weir

BENCHMARK_MAIN();
