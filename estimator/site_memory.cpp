#include "estimator/site_memory.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "estimator/control_constants.hpp"
#include "estimator/controller.hpp"

namespace weir {
namespace {

/// "12 s", "3 min", "5 h".
std::string span_text(Duration d) {
  using namespace std::chrono;
  if (d < minutes(2)) return fmt::format("{} s", floor<std::chrono::seconds>(d).count());
  if (d < hours(2)) return fmt::format("{} min", floor<minutes>(d).count());
  return fmt::format("{} h", floor<hours>(d).count());
}

}  // namespace

SiteMemory aged(SiteMemory memory, Duration passed) {
  if (memory.capacity) memory.capacity->age += passed;
  if (memory.loss_floor) memory.loss_floor->age += passed;
  if (memory.capacity && memory.capacity->age > control::kMemoryLifetime) memory.capacity.reset();
  if (memory.loss_floor && memory.loss_floor->age > control::kFloorLifetime) memory.loss_floor.reset();
  if (memory.probe) memory.probe->due_in = std::max(memory.probe->due_in - passed, Duration::zero());
  return memory;
}

ControlStart start_of(const ControlLimits& limits, Rate configured, std::optional<Rate> in_kernel,
                      const std::optional<SiteMemory>& memory) {
  const auto within = [&](Rate rate) {
    return std::clamp(rate, limits.floor, std::max(limits.floor, limits.ceiling));
  };
  if (!limits.adapt) return {within(configured), StartedFrom::policy, memory};
  if (in_kernel) return {within(*in_kernel), StartedFrom::kernel, memory};
  if (memory && memory->capacity)
    return {within(memory->capacity->rate * control::kRestartGain), StartedFrom::memory, memory};
  return {within(configured), StartedFrom::policy, memory};
}

std::string why_there(const ControlStart& start) {
  const auto* known = start.memory && start.memory->capacity ? &*start.memory->capacity : nullptr;
  if (start.from == StartedFrom::memory && known != nullptr) {
    const bool clamped = start.rate != known->rate * control::kRestartGain;
    return fmt::format("{} of the {:.1f} Mbit/s measured {} before the restart{}", control::kRestartGain,
                       known->rate.mbps(), span_text(known->age),
                       clamped ? ", within the policy's limits" : "");
  }
  const std::string where =
      start.from == StartedFrom::kernel ? "as it stood in the kernel" : "where it started";
  if (known == nullptr) return where + ", nothing measured yet";
  return fmt::format("{}; {:.1f} Mbit/s were measured {} before the restart", where, known->rate.mbps(),
                     span_text(known->age));
}

}  // namespace weir
