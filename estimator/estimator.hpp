/// The passive estimator as the rest of Weir sees it: frames in, one measurement per site and direction out.
///
/// Pure: no sockets, no clock, no files. Not thread-safe: one owner (the capture thread). on_frame never
/// throws, allocates only as flows, their windows and their losses grow, and takes any bytes. Rules and their
/// sources: docs/ESTIMATOR.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "config/address.hpp"
#include "config/policy.hpp"
#include "config/units.hpp"
#include "estimator/flow_sampling.hpp"
#include "estimator/histogram.hpp"
#include "estimator/measurement.hpp"
#include "estimator/path_meter.hpp"

namespace weir {

/// One captured frame, valid during the call only.
struct Frame {
  TimePoint time;
  std::uint32_t wire_length = 0;     ///< bytes on the wire, from the link header on
  std::span<const std::byte> bytes;  ///< what was captured of it, from the link header on
  int link_type = 1;                 ///< DLT_ value of libpcap (1 = DLT_EN10MB)
};

enum class Direction : std::uint8_t { outbound, inbound };

struct EstimatorSettings {
  /// Far address blocks of each site, by index. Traffic of no site is counted under index sites.size().
  std::vector<std::vector<Prefix>> sites;
  /// Our side, for traffic whose addresses no site claims. Empty: inferred (see Estimator::sides).
  std::vector<Prefix> inside;
  LinkLayer link_layer;
  std::size_t max_flows = 262'144;
  /// Keeps strangers from choosing addresses and ports that collide in the table: random where the traffic is
  /// live.
  std::uint64_t hash_seed = 0;
  /// What the daemon has no use for: sums by site and DSCP (see Estimator::accounts).
  bool keep_accounts = false;
  /// What one remote host alone tells of losses and marks of our data is in no cohort and no count of echoes
  /// (corroboration.hpp): whoever sets a rate by them wants that. The totals stay what was seen.
  bool corroborate = false;
  /// By site: its path is also told as it carries towards us (TickResult::way_in). Empty: of none.
  std::vector<bool> watch_way_in{};
  /// With accounts: rows of flows to list, the largest ones; 0: no rows are kept.
  std::size_t keep_flows = 0;
  /// One of several workers that share a tap's frames: its ticks tell what a merged one needs
  /// (merged_observer).
  bool in_parts = false;
};

/// Totals since the start, per direction: what `weir observe` prints.
struct SegmentTotals {
  std::uint64_t data = 0, fresh = 0, retransmitted = 0, spurious = 0, hole_fill = 0, reordered = 0, probe = 0,
                keepalive = 0, duplicate = 0, unknown = 0, syn_retransmitted = 0, fin_retransmitted = 0;
  /// Of `retransmitted`: asked for by ACKs, or sent when the sender's timer ran out. Neither where it is not
  /// known when the lost bytes had been sent.
  std::uint64_t fast = 0, timeout = 0;
  bool operator==(const SegmentTotals&) const = default;
};

/// RTT from the tap to the receivers of one direction's data and back, over the whole run.
struct RttTotals {
  Duration min{};
  Duration p50{};
  Duration p95{};
  Duration p99{};
  std::uint64_t samples = 0;  ///< 0: the durations mean nothing
};

/// From the sending of bytes that got lost to their sending again, over the whole run.
struct DelayTotals {
  Duration min{};
  Duration p50{};
  Duration p95{};
  Duration p99{};
  std::uint64_t samples = 0;  ///< wire segments; 0: the durations mean nothing
  std::vector<DurationHistogram::Bin> histogram;
};

/// How it was decided which end is ours, for traffic of no site.
enum class SideBasis : std::uint8_t { configured, nearness, private_address, first_syn, commonest };
[[nodiscard]] std::string_view to_string(SideBasis basis);

/// What was inferred; no addresses: nothing had to be.
struct SideFinding {
  SideBasis basis = SideBasis::configured;
  std::vector<IpAddress> inside;  ///< the busiest first, at most 16
};

struct EstimatorTotals {
  std::uint64_t frames = 0, tcp = 0, malformed = 0, opaque = 0, flows_evicted = 0;
  std::uint32_t one_in = 1;     ///< of so many connections one is followed now
  std::uint64_t unsampled = 0;  ///< of tcp, frames of connections that were not: only their bytes count
  std::size_t flows = 0;
  std::size_t flow_bytes = 0;       ///< memory of the flow table, of the segments in flight and of far clocks
  std::uint64_t flows_refused = 0;  ///< frames of flows that a full table had no room for
  std::uint64_t one_way = 0;        ///< data segments whose flow shows no acknowledgments: in no cohort
  std::uint64_t set_aside = 0;      ///< data segments that one remote alone told to be lost: in no cohort
  SegmentTotals outbound, inbound;
};

/// One tick: sites in the order of the settings, then "elsewhere" last.
struct TickResult {
  std::vector<SiteMeasurement> outbound;
  std::vector<SiteMeasurement> inbound;
  /// The same sites; empty unless the settings ask for parts.
  std::vector<PathPart> outbound_parts{};
  std::vector<PathPart> inbound_parts{};
  /// Of the same sites, "elsewhere" not among them: what the paths carry towards us (way_in.hpp), where it is
  /// watched. Empty if it is nowhere.
  std::vector<SiteMeasurement> way_in{};
};

class Accounts;
class DurationSums;

class Estimator {
 public:
  explicit Estimator(EstimatorSettings settings);
  ~Estimator();
  Estimator(Estimator&&) noexcept;
  Estimator& operator=(Estimator&&) noexcept;

  /// The frame counts from the next call of another member on: a few are collected, so that the memory of
  /// their flows is fetched while others are worked on.
  void on_frame(const Frame& frame) { on_frames(std::span(&frame, 1)); }
  /// The same of several.
  void on_frames(std::span<const Frame> frames);
  /// Closes the tick that ends at `now`. Cohorts are aligned to the first call of tick or on_frame: a caller
  /// that ticks every 100 ms calls tick once before the first frame, so that cohorts end just before its
  /// ticks. `capture_lost`: frames were dropped by the capture since the last tick; the cohorts they may have
  /// belonged to are void.
  [[nodiscard]] TickResult tick(TimePoint now, bool capture_lost);
  /// From now on follows these connections only, for a capture that cannot keep up. Bytes stay those of all
  /// frames (of a thinned sample: as estimated) and delivered rates are scaled up to them; segments, losses,
  /// RTTs and flows are those of the connections that are followed. When these get fewer the next tick is as
  /// one that lost frames.
  void follow(const FlowSample& sample);
  [[nodiscard]] const EstimatorTotals& totals() const;
  [[nodiscard]] RttTotals rtt_totals(Direction direction) const;
  [[nodiscard]] DelayTotals retransmission_delay(Direction direction) const;
  [[nodiscard]] SideFinding sides() const;
  /// nullptr unless the settings ask for them. Lives as long as the estimator.
  [[nodiscard]] const Accounts* accounts() const;
  [[nodiscard]] Accounts* accounts();
  /// Behind retransmission_delay.
  [[nodiscard]] const DurationSums& retransmission_delay_sums(Direction direction) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir
