#include "estimator/accounts.hpp"

#include <algorithm>

namespace weir {
namespace {

/// Code points of a path with sums of their own: more would be noise, or somebody counting through them.
constexpr std::size_t kMostDscps = 16;
/// Over all paths; 10 kB each. Beyond it a new code point is added to its path's rest.
constexpr std::size_t kMostSums = 4096;
/// Sites whose classes are compared; 50 kB each.
constexpr std::size_t kMostComparisons = 256;

}  // namespace

RttTotals rtt_totals_of(const DurationSums& sums) {
  const DurationHistogram& h = sums.histogram();
  return {.min = sums.least(),
          .p50 = h.quantile(0.50),
          .p95 = h.quantile(0.95),
          .p99 = h.quantile(0.99),
          .samples = h.total()};
}

DelayTotals delay_totals_of(const DurationSums& sums) {
  const DurationHistogram& h = sums.histogram();
  return {.min = sums.least(),
          .p50 = h.quantile(0.50),
          .p95 = h.quantile(0.95),
          .p99 = h.quantile(0.99),
          .samples = h.total(),
          .histogram = h.bins()};
}

Accounts::Accounts(std::size_t sites, std::size_t keep_flows, bool in_parts)
    : comparisons_(sites), in_parts_(in_parts) {
  for (auto& of_direction : paths_) of_direction.resize(sites);
  if (keep_flows > 0) flow_log_.emplace(keep_flows);
}

// -- told by the estimator --

Accounts::Sums& Accounts::first_sums_of(Direction direction, std::uint32_t site, std::uint8_t dscp) {
  auto& path = paths_[static_cast<std::size_t>(direction)][site];
  if (!path) path = std::make_unique<Path>();
  path->place[dscp] = make_sums(*path, dscp);
  if (direction == Direction::outbound) compare_classes(site);
  return path->sums[path->place[dscp]];
}

/// `sums` are those of the three.
void Accounts::remember(Direction direction, std::uint32_t site, std::uint8_t dscp, Sums& sums) {
  if (comparison_of(direction, site) != nullptr || flow_log_) return;
  recent_[static_cast<std::size_t>(direction)] = {
      .key = key_of(site, dscp), .segments = &sums.segments, .rtt = sums.rtt.get()};
}

void Accounts::fresh_data_elsewhere(Direction direction, std::uint32_t site, std::uint8_t dscp, TimePoint at,
                                    std::uint32_t segments) {
  Sums& sums = sums_of(direction, site, dscp);
  sums.segments.data += segments;
  sums.segments.fresh += segments;
  if (DscpComparison* comparison = comparison_of(direction, site)) comparison->sent(dscp, at, segments);
  remember(direction, site, dscp, sums);
}

void Accounts::rtt_sampled(const Account& account, const RttSample& sample) {
  Sums& sums = sums_of(account);
  if (!sums.rtt) sums.rtt = std::make_unique<DurationSums>();
  sums.rtt->add(sample.rtt);
  if (DscpComparison* comparison = comparison_of(account)) {
    const Duration queue = std::max(sample.rtt - sample.base, Duration::zero());
    comparison->queued(account.dscp, sample.sent, queue, sample.base);
  }
  if (flow_log_) flow_log_->rtt_sampled(account.flow, account.end, sample.rtt);
  remember(account.direction, account.site, account.dscp, sums);
}

std::uint8_t Accounts::make_sums(Path& path, std::uint8_t dscp) {
  recent_ = {};
  const auto next = static_cast<std::uint8_t>(path.sums.size());
  if (path.sums.size() < kMostDscps && sums_made_ < kMostSums) {
    ++sums_made_;
    path.sums.push_back({.dscp = dscp, .segments = {}, .rtt = {}, .queue = {}});
    return next;
  }
  if (path.rest == Path::kNone) {
    path.rest = next;
    path.sums.push_back({});
  }
  return path.rest;
}

/// Marks of one kind alone leave nothing to compare, but other workers may see other marks.
void Accounts::compare_classes(std::uint32_t site) {
  const auto& sums = paths_[static_cast<std::size_t>(Direction::outbound)][site]->sums;
  if ((sums.size() < 2 && !in_parts_) || comparisons_[site] || comparisons_made_ == kMostComparisons) return;
  ++comparisons_made_;
  recent_ = {};
  comparisons_[site] = std::make_unique<DscpComparison>();
}

void Accounts::log(const Account& account, const PacketRecord& record, Bytes charged) {
  flow_log_->packet({.flow = account.flow,
                     .end = account.end,
                     .end_inside = account.direction == Direction::outbound,
                     .site = account.site,
                     .dscp = account.dscp,
                     .charged = charged},
                    record);
}

void Accounts::syn_repeated(const Account& account) {
  ++sums_of(account).segments.syn_retransmitted;
}

void Accounts::losses_undone(const Account& account, const UndoneLosses& undone) {
  take_back(undone, sums_of(account).segments);
  if (DscpComparison* comparison = comparison_of(account)) {
    comparison->loss_undone(account.dscp, undone.sent, undone.segments);
  }
  if (flow_log_) flow_log_->losses_undone(account.flow, account.end, undone.segments);
}

void Accounts::queue_asked(const Account& account, const std::optional<QueueSplit>& split) {
  Sums& sums = sums_of(account);
  if (!sums.queue) sums.queue = std::make_unique<QueueSums>();
  sums.queue->add(split);
}

void Accounts::flow_ended(std::uint32_t flow) {
  if (flow_log_) flow_log_->ended(flow);
}

void Accounts::capture_lost() {
  for (const auto& comparison : comparisons_) {
    if (comparison) comparison->forget_open();
  }
}

// -- several workers --

Accounts::Part Accounts::part(TimePoint now) {
  Part part;
  for (std::size_t direction = 0; direction < paths_.size(); ++direction) {
    for (const auto& path : paths_[direction]) {
      auto copy = path ? std::make_unique<Path>() : nullptr;
      if (path) add_path(*path, *copy);
      part.paths_[direction].push_back(std::move(copy));
    }
  }
  for (const auto& comparison : comparisons_) {
    part.compared_.push_back(comparison ? std::optional(comparison->part(now)) : std::nullopt);
  }
  part.flows_ = flows();
  part.packets_ = packets_;
  part.unanswered_packets_ = unanswered_packets_;
  return part;
}

/// Code points that have no sums of their own in one of the parts stay in the rest.
void Accounts::add_path(const Path& part, Path& into) {
  for (const Sums& sums : part.sums) {
    std::uint8_t& place = sums.dscp ? into.place[*sums.dscp] : into.rest;
    if (place == Path::kNone) {
      place = static_cast<std::uint8_t>(into.sums.size());
      into.sums.push_back({.dscp = sums.dscp, .segments = {}, .rtt = {}, .queue = {}});
    }
    Sums& sum = into.sums[place];
    add(sums.segments, sum.segments);
    if (sums.rtt) {
      if (!sum.rtt) sum.rtt = std::make_unique<DurationSums>();
      sum.rtt->merge(*sums.rtt);
    }
    if (sums.queue) {
      if (!sum.queue) sum.queue = std::make_unique<QueueSums>();
      sum.queue->merge(*sums.queue);
    }
  }
}

void Accounts::become_sum_of(std::span<const Part* const> parts, TimePoint now, TimePoint void_until) {
  merged_flows_.reset();
  recent_ = {};
  packets_ = 0;
  unanswered_packets_ = 0;
  for (auto& of_direction : paths_) {
    for (auto& path : of_direction) path.reset();
  }
  std::vector<const FlowListing*> listings;
  for (const Part* part : parts) {
    packets_ += part->packets_;
    unanswered_packets_ += part->unanswered_packets_;
    if (part->flows_) listings.push_back(&*part->flows_);
    for (std::size_t direction = 0; direction < paths_.size(); ++direction) {
      for (std::size_t site = 0; site < comparisons_.size(); ++site) {
        const auto& path = part->paths_[direction][site];
        if (!path) continue;
        auto& into = paths_[direction][site];
        if (!into) into = std::make_unique<Path>();
        add_path(*path, *into);
      }
    }
  }
  if (flow_log_) merged_flows_ = merged(listings, flow_log_->most());
  for (std::size_t site = 0; site < comparisons_.size(); ++site) compare(parts, site, now, void_until);
}

void Accounts::compare(std::span<const Part* const> parts, std::size_t site, TimePoint now,
                       TimePoint void_until) {
  std::vector<DscpComparison::Part> compared;
  for (const Part* part : parts) {
    if (part->compared_[site]) compared.push_back(*part->compared_[site]);
  }
  if (compared.empty()) return;
  if (!comparisons_[site]) comparisons_[site] = std::make_unique<DscpComparison>();
  recent_ = {};
  comparisons_[site]->add(compared, now, void_until);
}

// -- asked by the observer --

SegmentTotals Accounts::segments(Direction direction) const {
  SegmentTotals all;
  for (const auto& path : paths_[static_cast<std::size_t>(direction)]) {
    if (!path) continue;
    for (const Sums& sums : path->sums) add(sums.segments, all);
  }
  return all;
}

DurationSums Accounts::rtt(Direction direction) const {
  DurationSums all;
  for (const auto& path : paths_[static_cast<std::size_t>(direction)]) {
    if (!path) continue;
    for (const Sums& sums : path->sums) {
      if (sums.rtt) all.merge(*sums.rtt);
    }
  }
  return all;
}

PathTotals Accounts::totals(Direction direction, std::optional<std::size_t> site) const {
  struct Merged {
    SegmentTotals segments;
    DurationSums rtt;
    QueueSums queue;
  };
  constexpr std::size_t kRest = 64;
  std::array<std::unique_ptr<Merged>, kRest + 1> by_dscp;
  const auto& paths = paths_[static_cast<std::size_t>(direction)];
  for (std::size_t i = site.value_or(0); i < (site ? *site + 1 : paths.size()); ++i) {
    if (!paths[i]) continue;
    for (const Sums& sums : paths[i]->sums) {
      auto& merged = by_dscp[sums.dscp ? *sums.dscp : kRest];
      if (!merged) merged = std::make_unique<Merged>();
      add(sums.segments, merged->segments);
      if (sums.rtt) merged->rtt.merge(*sums.rtt);
      if (sums.queue) merged->queue.merge(*sums.queue);
    }
  }
  PathTotals totals;
  DurationSums rtt;
  QueueSums queue;
  for (std::size_t dscp = 0; dscp < by_dscp.size(); ++dscp) {
    const auto& merged = by_dscp[dscp];
    if (!merged) continue;
    add(merged->segments, totals.segments);
    rtt.merge(merged->rtt);
    queue.merge(merged->queue);
    totals.dscps.push_back(
        {.dscp = dscp == kRest ? std::nullopt : std::optional(static_cast<std::uint8_t>(dscp)),
         .segments = merged->segments,
         .rtt = rtt_totals_of(merged->rtt),
         .queue = merged->queue.totals()});
  }
  totals.rtt = rtt_totals_of(rtt);
  totals.queue = queue.totals();
  return totals;
}

std::optional<DscpFinding> Accounts::dscp_finding(std::size_t site, bool loss_is_congestion) const {
  const auto& path = paths_[static_cast<std::size_t>(Direction::outbound)][site];
  if (!comparisons_[site] || !path || path->sums.size() < 2) return std::nullopt;
  return comparisons_[site]->finding(loss_is_congestion);
}

std::optional<FlowListing> Accounts::flows() const {
  if (merged_flows_) return merged_flows_;
  return flow_log_ ? std::optional(flow_log_->listing()) : std::nullopt;
}

}  // namespace weir
