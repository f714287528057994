#include "shaper/merge_bound.hpp"

#include <algorithm>
#include <system_error>

#include <fmt/format.h>

namespace weir::shaper {
namespace {

constexpr Duration kLongest = std::chrono::milliseconds(1);
constexpr std::uint64_t kFrame = 1514;
constexpr std::uint64_t kMost = 65'536;  // GRO_LEGACY_MAX_SIZE: what every kernel merges without being asked

/// Both families alike; a kernel that knows one limit only has none of IPv4's own.
MergeLimit bounded(const MergeLimit& before, std::uint32_t most) {
  return {.bytes = std::min(before.bytes, most), .ipv4_bytes = std::min(before.ipv4_bytes, most)};
}

}  // namespace

std::optional<std::uint32_t> longest_merge(const Policy& policy) {
  if (!policy.lan || policy.gro == GroPolicy::as_is || policy.sites.empty()) return std::nullopt;
  const auto slowest =
      std::ranges::min_element(policy.sites, {}, [](const SitePolicy& s) { return s.rate.floor; });
  return static_cast<std::uint32_t>(std::clamp(slowest->rate.floor.in(kLongest).count(), kFrame, kMost));
}

std::vector<MergeBound::Step> MergeBound::steps(const std::optional<BoundedMerging>& standing,
                                                const Policy* policy) {
  std::vector<Step> all;
  const auto most = policy != nullptr ? longest_merge(*policy) : std::nullopt;
  const std::string wanted = most ? policy->lan->interface : std::string();
  if (standing && standing->interface != wanted) {
    const auto link = kernel_.link(standing->interface);
    // What is not as we left it is somebody else's.
    const bool ours = link && link->merge == standing->now;
    all.push_back({.interface = standing->interface,
                   .index = ours ? link->index : 0,
                   .to = standing->before,
                   .remembered = std::nullopt,
                   .bounds = false});
  }
  if (!most) return all;
  const auto link = kernel_.link(wanted);
  if (!link || link->merge.bytes == 0) return all;  // not there yet, or a kernel without such a limit
  const bool ours = standing && standing->interface == wanted && link->merge == standing->now;
  const MergeLimit before = ours ? standing->before : link->merge;
  const MergeLimit to = bounded(before, *most);
  if (to != link->merge) {
    all.push_back({.interface = wanted,
                   .index = link->index,
                   .to = to,
                   .remembered = BoundedMerging{.interface = wanted, .before = before, .now = to},
                   .bounds = to != before});
  }
  return all;
}

void MergeBound::keep(const Policy& policy, PortState& state, ApplyReport& report) {
  try {
    for (const Step& step : steps(state.merging, &policy)) take(step, state, report);
  } catch (const std::system_error& failure) {  // the leg cannot even be looked at
    report.changes.push_back(std::string("what it merges is not bounded: ") + failure.what());
  }
}

void MergeBound::give_back(PortState& state, ApplyReport& report) {
  try {
    for (const Step& step : steps(state.merging, nullptr)) take(step, state, report);
  } catch (const std::system_error& failure) {
    report.changes.push_back(std::string("what it merges stays bounded: ") + failure.what());
  }
}

bool MergeBound::is_due(const Policy& policy, const std::optional<BoundedMerging>& standing) {
  try {
    return !steps(standing, &policy).empty();
  } catch (const std::system_error&) {
    return false;  // that is for the next look
  }
}

void MergeBound::take(const Step& step, PortState& state, ApplyReport& report) {
  const auto remember = [&](const std::optional<BoundedMerging>& merging) {
    state.merging = merging;
    store_.save(state);
  };
  const auto known = state.merging;
  if (step.remembered) remember(step.remembered);  // first: a crash in between must not forget what was there
  if (step.index != 0) {
    if (const int error = kernel_.set_merge_limit(step.index, step.to); error != 0) {
      report.changes.push_back(
          fmt::format("not done: {}: {}", describe(step), std::generic_category().message(error)));
      if (step.remembered) remember(known);
      return;
    }
    ++report.messages;
    report.changes.push_back(describe(step));
  }
  if (!step.remembered) remember(std::nullopt);
}

std::string MergeBound::describe(const Step& step) {
  return step.bounds
             ? fmt::format("let {} merge at most {} bytes (GRO): 1 ms at the slowest site's least rate",
                           step.interface, step.to.bytes)
             : fmt::format("let {} merge {} bytes (GRO) again", step.interface, step.to.bytes);
}

std::vector<std::string> MergeBound::plan(const Policy& policy, const PortState& state, bool as_commands) {
  std::vector<std::string> lines;
  for (const Step& step : steps(state.merging, &policy)) {
    if (step.index == 0) continue;
    lines.push_back(as_commands
                        ? fmt::format("ip link set dev {} gro_max_size {}", step.interface, step.to.bytes)
                        : describe(step));
  }
  return lines;
}

}  // namespace weir::shaper
