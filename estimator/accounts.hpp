/// What only `weir observe` shows: sums by site and DSCP, the comparison of DSCP classes, one row a flow.
///
/// Pure; one owner, which tells it what it found out about each packet. Bounded: see docs/ESTIMATOR.md,
/// "Bounds".
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "config/units.hpp"
#include "estimator/dscp_verdict.hpp"
#include "estimator/duration_sums.hpp"
#include "estimator/estimator.hpp"
#include "estimator/flow_log.hpp"
#include "estimator/half_flow.hpp"
#include "estimator/parse.hpp"
#include "estimator/path_window.hpp"
#include "estimator/queue_sums.hpp"
#include "estimator/segment_totals.hpp"

namespace weir {

/// Whose data it is: one half of a flow, and where that is summed up.
struct Account {
  Direction direction = Direction::outbound;
  std::uint32_t site = 0;
  std::uint8_t dscp = 0;  ///< of the half's data, as last seen
  std::uint32_t flow = 0;
  std::uint8_t end = 0;  ///< of the flow, 0 or 1: the sender
};

/// nullopt: all code points beyond the ones that have sums of their own.
struct DscpTotals {
  std::optional<std::uint8_t> dscp;
  SegmentTotals segments;
  RttTotals rtt;
  QueueTotals queue;
};

struct PathTotals {
  SegmentTotals segments;
  RttTotals rtt;
  QueueTotals queue;
  std::vector<DscpTotals> dscps;  ///< in order of the code point, the rest last
};

[[nodiscard]] RttTotals rtt_totals_of(const DurationSums& sums);
[[nodiscard]] DelayTotals delay_totals_of(const DurationSums& sums);

class Accounts {
  struct Path;

 public:
  /// `sites` counts "elsewhere"; `keep_flows` rows of flows, 0: none. `in_parts`: they will be merged with
  /// those of other workers.
  Accounts(std::size_t sites, std::size_t keep_flows, bool in_parts = false);

  // -- told by the estimator --
  /// Any packet of a flow. `answered`: the flow's other end has been seen.
  void packet(bool syn, bool answered) {
    if (syn) return;
    ++packets_;
    if (!answered) ++unanswered_packets_;
  }
  /// So many that are none, of flows whose other end has been seen.
  void answered_packets(std::uint64_t count) { packets_ += count; }
  [[nodiscard]] bool logs_flows() const { return flow_log_.has_value(); }
  /// The same packet for its row, where flows are kept: `account` is its sender's.
  void log(const Account& account, const PacketRecord& record, Bytes charged);
  /// A packet with `segments` of payload, all of them new; not where rows of flows are kept.
  void fresh_data(Direction direction, std::uint32_t site, std::uint8_t dscp, TimePoint at,
                  std::uint32_t segments) {
    const Recent& recent = recent_[static_cast<std::size_t>(direction)];
    if (recent.key != key_of(site, dscp)) [[unlikely]]
      return fresh_data_elsewhere(direction, site, dscp, at, segments);
    recent.segments->data += segments;
    recent.segments->fresh += segments;
  }
  /// `segments` of payload that the packet held.
  void data(const Account& account, TimePoint at, std::uint32_t segments, const SegmentVerdict& verdict,
            bool lone_fin) {
    SegmentTotals& totals = sums_of(account).segments;
    totals.data += segments;
    count(verdict, lone_fin, totals);
    if (DscpComparison* comparison = comparison_of(account)) {
      if (segments > 0) comparison->sent(account.dscp, at, segments);
      if (verdict.resent_after) {
        comparison->lost(account.dscp, at - *verdict.resent_after, verdict.segments);
      }
    }
    if (flow_log_) flow_log_->classified(account.flow, account.end, segments, verdict);
  }
  void syn_repeated(const Account& account);
  void losses_undone(const Account& account, const UndoneLosses& undone);
  void rtt_sampled(const Account& account, const RttSample& sample);
  /// The same where nothing but the RTT matters. False, and nothing was done, where more does.
  [[nodiscard]] bool add_rtt(Direction direction, std::uint32_t site, std::uint8_t dscp, Duration rtt) {
    const Recent& recent = recent_[static_cast<std::size_t>(direction)];
    if (recent.key != key_of(site, dscp) || recent.rtt == nullptr) [[unlikely]]
      return false;
    recent.rtt->add(rtt);
    return true;
  }
  /// Which way an RTT sample's queue waited; nullopt: nothing told.
  void queue_asked(const Account& account, const std::optional<QueueSplit>& split);
  void flow_ended(std::uint32_t flow);
  void capture_lost();

  // -- several workers --
  /// A worker's accounts as they are at one time, to be handed to another thread.
  class Part {
    friend class Accounts;
    std::array<std::vector<std::unique_ptr<const Path>>, 2> paths_;
    std::vector<std::optional<DscpComparison::Part>> compared_;  ///< [site]
    std::optional<FlowListing> flows_;
    std::uint64_t packets_ = 0;
    std::uint64_t unanswered_packets_ = 0;
  };
  /// Once a second (DscpComparison::part), of accounts that are kept in parts.
  [[nodiscard]] Part part(TimePoint now);
  /// These accounts are those of all workers together at `now`, from now on. In what was sent until
  /// `void_until` DSCP is not compared.
  void become_sum_of(std::span<const Part* const> parts, TimePoint now, TimePoint void_until);

  // -- asked by the observer --
  /// Of all sites.
  [[nodiscard]] SegmentTotals segments(Direction direction) const;
  [[nodiscard]] DurationSums rtt(Direction direction) const;
  /// Of one site, or of all.
  [[nodiscard]] PathTotals totals(Direction direction, std::optional<std::size_t> site) const;
  /// How the path to a site treats what goes out; nullopt: nothing with two kinds of marks was sent there.
  [[nodiscard]] std::optional<DscpFinding> dscp_finding(std::size_t site, bool loss_is_congestion) const;
  /// Empty unless flows are kept.
  [[nodiscard]] std::optional<FlowListing> flows() const;
  /// TCP packets but SYNs, and those of them whose flow had shown only the sender's end by then.
  [[nodiscard]] std::uint64_t packets() const { return packets_; }
  [[nodiscard]] std::uint64_t unanswered_packets() const { return unanswered_packets_; }

 private:
  struct Sums {
    std::optional<std::uint8_t> dscp;
    SegmentTotals segments;
    std::unique_ptr<DurationSums> rtt;  ///< made with the first sample
    std::unique_ptr<QueueSums> queue;   ///< the same
  };
  /// One site in one direction.
  struct Path {
    static constexpr std::uint8_t kNone = 0xff;
    Path() { place.fill(kNone); }
    std::array<std::uint8_t, 64> place{};  ///< of a code point's sums
    std::vector<Sums> sums;
    std::uint8_t rest = kNone;  ///< of the sums of code points without any of their own
  };
  /// Sums that were added to last: most packets add to those of the one before. Only where nothing else has
  /// to be told, neither a comparison nor rows of flows.
  struct Recent {
    static constexpr std::uint32_t kNone = 0xffffffff;
    std::uint32_t key = kNone;
    SegmentTotals* segments = nullptr;
    DurationSums* rtt = nullptr;  ///< nullptr: not made yet
  };
  [[nodiscard]] static std::uint32_t key_of(std::uint32_t site, std::uint8_t dscp) {
    return site << 6U | dscp;
  }
  void remember(Direction direction, std::uint32_t site, std::uint8_t dscp, Sums& sums);
  void fresh_data_elsewhere(Direction direction, std::uint32_t site, std::uint8_t dscp, TimePoint at,
                            std::uint32_t segments);
  [[nodiscard]] Sums& sums_of(Direction direction, std::uint32_t site, std::uint8_t dscp) {
    Path* path = paths_[static_cast<std::size_t>(direction)][site].get();
    const std::uint8_t place = path == nullptr ? Path::kNone : path->place[dscp & 0x3fU];
    if (place == Path::kNone) [[unlikely]]
      return first_sums_of(direction, site, dscp & 0x3fU);
    return path->sums[place];
  }
  [[nodiscard]] Sums& sums_of(const Account& account) {
    return sums_of(account.direction, account.site, account.dscp);
  }
  [[nodiscard]] Sums& first_sums_of(Direction direction, std::uint32_t site, std::uint8_t dscp);
  [[nodiscard]] std::uint8_t make_sums(Path& path, std::uint8_t dscp);
  [[nodiscard]] DscpComparison* comparison_of(Direction direction, std::uint32_t site) const {
    return direction == Direction::outbound ? comparisons_[site].get() : nullptr;
  }
  [[nodiscard]] DscpComparison* comparison_of(const Account& account) const {
    return comparison_of(account.direction, account.site);
  }
  void compare_classes(std::uint32_t site);
  static void add_path(const Path& part, Path& into);
  void compare(std::span<const Part* const> parts, std::size_t site, TimePoint now, TimePoint void_until);

  std::array<std::vector<std::unique_ptr<Path>>, 2> paths_;   ///< [direction][site]
  std::vector<std::unique_ptr<DscpComparison>> comparisons_;  ///< [site], of what goes out
  std::array<Recent, 2> recent_{};  ///< [direction]; good until sums or a comparison are made
  std::size_t sums_made_ = 0;
  std::size_t comparisons_made_ = 0;
  bool in_parts_;
  std::optional<FlowLog> flow_log_;
  std::optional<FlowListing> merged_flows_;
  std::uint64_t packets_ = 0;
  std::uint64_t unanswered_packets_ = 0;
};

}  // namespace weir
