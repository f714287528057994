/// What is known of a site that outlives the controller which learnt it: it is written to a file, and the
/// controller of the next run begins with it. docs/CONTROLLER.md, "Over a restart".
///
/// Nothing in it is tied to one run: ages instead of times (the steady clock begins anew with the machine),
/// and nothing that counts from the bases of flows (a longer route, somebody else's queue: the estimator
/// learns the bases anew). Whole numbers only, so that text gives back exactly what was written.
///
/// Pure values; not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config/units.hpp"

namespace weir {

enum class PathMode : std::uint8_t;
struct ControlLimits;

struct RememberedCapacity {
  Rate rate;
  std::uint32_t error_ppm = 0;  ///< relative standard error
  Duration age{};               ///< of the evidence
  bool operator==(const RememberedCapacity&) const = default;
};

/// A loss ratio that did not answer to the rate.
struct RememberedLossFloor {
  std::uint32_t ppm = 0;
  Duration age{};
  bool operator==(const RememberedLossFloor&) const = default;
};

struct ProbePace {
  Duration wait{};    ///< after a probe that finds nothing
  Duration due_in{};  ///< to the next probe
  bool operator==(const ProbePace&) const = default;
};

struct SiteMemory {
  // The most that a controller leaves behind, and that is read back.
  static constexpr Rate kMostCapacity = Rate::bps(100'000'000'000'000);  ///< ten times what a policy may say
  static constexpr std::uint32_t kMostErrorPpm = 250'000;
  static constexpr std::uint32_t kMostFloorPpm = 500'000;
  static constexpr std::uint32_t kMostPhi = 1'000'000'000;
  static constexpr Duration kMostNoise = std::chrono::seconds(10);
  static constexpr Duration kMostBase = std::chrono::seconds(60);
  static constexpr Duration kMostProbeWait = std::chrono::seconds(60);

  std::optional<RememberedCapacity> capacity;
  PathMode mode{};
  std::optional<RememberedLossFloor> loss_floor;
  std::uint32_t phi_thousandths = 1000;  ///< of losses in quiet times; 1000: not learnt
  Duration noise{};                      ///< of the queueing delay in quiet times: mean
  Duration noise_deviation{};            ///< and standard deviation
  std::optional<Duration> base;          ///< RTT without queues
  std::optional<ProbePace> probe;
  bool operator==(const SiteMemory&) const = default;
};

/// The same after `passed`: older, and without what is too old by then.
[[nodiscard]] SiteMemory aged(SiteMemory memory, Duration passed);

enum class StartedFrom : std::uint8_t { policy, kernel, memory };
[[nodiscard]] std::string_view to_string(StartedFrom from);

/// Where a controller begins, and what it begins with.
struct ControlStart {
  ControlStart() = default;
  /// Where the policy says, knowing nothing.
  ControlStart(Rate at) : rate(at) {}  // NOLINT(google-explicit-constructor): a rate alone is one
  ControlStart(Rate at, StartedFrom where, std::optional<SiteMemory> known)
      : rate(at), from(where), memory(known) {}

  Rate rate;
  StartedFrom from = StartedFrom::policy;
  std::optional<SiteMemory> memory;
  bool operator==(const ControlStart&) const = default;
};

/// The rule: a rate that stands in the kernel is kept; where none does, a share of the capacity that was
/// known; else the configured start, which is also where a site that does not adapt begins. Within the limits
/// as they are now. `memory` is aged up to now.
[[nodiscard]] ControlStart start_of(const ControlLimits& limits, Rate configured,
                                    std::optional<Rate> in_kernel, const std::optional<SiteMemory>& memory);

/// Why it begins there, for people: the rest of a sentence that begins with the rate.
[[nodiscard]] std::string why_there(const ControlStart& start);

}  // namespace weir
