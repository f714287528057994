/// What the daemon knows at one instant, as plain values: the model behind the API, the metrics and `weir
/// status`.
///
/// Rates in the one unit (config/units.hpp); durations are ages at the snapshot's instant.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "estimator/capture.hpp"
#include "estimator/controller.hpp"
#include "estimator/measurement.hpp"
#include "gateway/clock.hpp"
#include "shaper/port_shaper.hpp"

namespace weir::gateway {

/// Something that does not work as the operator meant, while forwarding goes on.
struct Degradation {
  std::string code;  ///< stable, for machines: "capture_down"
  std::string text;  ///< one sentence for people
  bool operator==(const Degradation&) const = default;
};

struct CapacityStatus {
  Rate rate;
  Rate low;
  Rate high;
  Duration age{};
};

/// Where most of what is too long waits. own: more rate would help; provider: less. The worst comes last.
enum class LatencyMissed : std::uint8_t { no, own, provider };

/// A class's latency goal: the one of the site's that is kept worst.
struct LatencyStatus {
  std::string class_name;
  Duration goal{};
  Duration own{};                    ///< waits in the class's own queue, over the last second
  std::optional<Duration> provider;  ///< waits at the provider, newest fresh sample of the way out
  LatencyMissed missed = LatencyMissed::no;
  bool probes_held = false;  ///< no probe begins for that
};

/// A site in the direction that a port shapes; "sent" is what the port lets through, "received" what comes
/// the other way.
struct SiteStatus {
  std::string name;
  std::string policy;  ///< the class set it uses
  Rate shaped;         ///< in force in the kernel
  Rate wanted;         ///< decided; differs from `shaped` only while the kernel refuses it
  Rate floor;
  Rate ceiling;
  bool adapt = true;
  ControlState state = ControlState::hold;
  PathMode mode = PathMode::unknown;
  std::string reason;
  Duration since{};                    ///< age of the last change of rate
  std::optional<std::string> sharing;  ///< with whom it shares a bottleneck, a clause; nullopt: with nobody
  std::optional<CapacityStatus> capacity;
  double loss_beyond = 0.0;
  double loss_before = 0.0;
  std::uint64_t loss_segments = 0;
  double evidence = 0.0;
  std::optional<RttSummary> rtt;
  std::optional<Duration> queue;  ///< the provider's queue, newest fresh sample
  Rate sent;                      ///< over the last second
  std::optional<Rate> delivered;
  Rate received;        ///< from the far side, over the last second, as the capture sees it
  bool demand = false;  ///< the site has more to send than it is let
  Bytes backlog;
  std::uint32_t flows = 0;
  std::optional<LatencyStatus> latency;  ///< nullopt: no class has a goal
  std::vector<Degradation> degraded;
};

/// One class of the tree with its rate over the last reading.
struct ClassStatus {
  shaper::ClassCounters counters;
  Rate sent;
};

struct CaptureStatus {
  bool up = false;
  std::string why_down;  ///< empty while up
  CaptureCounters counters;
  EstimatorTotals totals;
  std::uint64_t ticks = 0;          ///< handled by the control loop
  std::uint64_t ticks_dropped = 0;  ///< the loop lagged: oldest thrown away
  std::optional<Duration> last_tick_age;
};

struct ShaperStatus {
  bool in_place = false;
  bool adopted = false;       ///< the tree stood already when the daemon began
  bool fifo_leaves = false;   ///< no fq_codel in this kernel
  std::uint64_t batches = 0;  ///< rate batches written
  std::uint64_t batches_failed = 0;
  std::uint64_t messages = 0;        ///< netlink messages and map updates written
  std::optional<std::string> fault;  ///< what the kernel refuses now
};

/// The LAN port, where what comes from sites is shaped.
struct LanStatus {
  std::string interface;
  Rate port_rate;
  ShaperStatus shaper;
};

struct PolicyStatus {
  std::string file;
  bool last_good = false;  ///< another policy serves than the file holds: the last one that was good
  WallTime loaded;
  /// Why the last reload changed nothing, or what serves is not what the file holds.
  std::optional<std::string> reload_error;
  std::uint64_t revision = 0;            ///< in force; 0: it could not be kept
  std::optional<WallTime> confirm_by{};  ///< then it goes back, unless it is confirmed
};

struct GatewayStatus {
  std::string version;
  WallTime at;
  WallTime started;
  Duration uptime{};
  std::string interface;
  Rate port_rate;
  PolicyStatus policy;
  CaptureStatus capture;
  ShaperStatus shaper;
  std::optional<LanStatus> lan{};  ///< nullopt: nothing is shaped inbound
  std::vector<Degradation> degraded;
  std::vector<SiteStatus> sites;
  std::vector<SiteStatus> inbound{};  ///< of those from which what comes is shaped, at the LAN port
};

/// nullptr: there is none of that name.
[[nodiscard]] inline const SiteStatus* find_site(const std::vector<SiteStatus>& sites,
                                                 std::string_view name) {
  const auto found = std::ranges::find(sites, name, &SiteStatus::name);
  return found == sites.end() ? nullptr : &*found;
}

}  // namespace weir::gateway
