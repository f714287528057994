#include "estimator/merged_ticks.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "estimator/cohort_sum.hpp"

namespace weir {

MergedTicks::MergedTicks(std::size_t sites) {
  for (auto& of_direction : paths_) of_direction.resize(sites);
}

TickResult MergedTicks::add(std::span<const TickResult* const> workers) {
  const auto is_void = [](const TickResult* tick) { return !tick->outbound.front().valid; };
  const bool valid = std::none_of(workers.begin(), workers.end(), is_void);
  if (!valid) void_until_ = workers.front()->outbound.front().at;
  TickResult merged;
  std::vector<Share> shares;
  for (const Direction direction : {Direction::outbound, Direction::inbound}) {
    const bool outbound = direction == Direction::outbound;
    auto& paths = paths_[static_cast<std::size_t>(direction)];
    for (std::size_t site = 0; site < paths.size(); ++site) {
      shares.clear();
      for (const TickResult* tick : workers) {
        shares.push_back({.measured = outbound ? tick->outbound[site] : tick->inbound[site],
                          .part = outbound ? tick->outbound_parts[site] : tick->inbound_parts[site]});
      }
      (outbound ? merged.outbound : merged.inbound).push_back(merge(paths[site], shares, valid));
    }
  }
  return merged;
}

SiteMeasurement MergedTicks::merge(std::unique_ptr<Path>& path, std::span<const Share> shares, bool valid) {
  SiteMeasurement merged;
  merged.at = shares.front().measured.at;
  merged.interval = shares.front().measured.interval;
  merged.valid = valid;
  for (const Share& share : shares) merged.one_in = std::max(merged.one_in, share.measured.one_in);
  const bool watched =
      std::any_of(shares.begin(), shares.end(), [](const Share& s) { return s.part.watched; });
  if (!watched) return merged;
  if (!path) path = std::make_unique<Path>();
  merge_ticks(*path, shares, merged);
  merge_cohorts(*path, shares, merged);
  merge_life_signs(shares, merged);
  return merged;
}

void MergedTicks::merge_ticks(Path& path, std::span<const Share> shares, SiteMeasurement& into) {
  PathTick tick;
  tick.begin = into.at - into.interval;
  tick.end = into.at;
  std::uint64_t in_flight = 0;
  std::vector<RttSample> samples;
  const auto workers = static_cast<std::uint32_t>(shares.size());
  for (std::uint32_t worker = 0; worker < workers; ++worker) {
    const PathPart& part = shares[worker].part;
    tick.add(part.tick);
    in_flight += part.in_flight;
    for (RttSample sample : part.samples) {
      sample.flow = sample.flow * workers + worker;  // each numbers its own
      samples.push_back(sample);
    }
  }
  std::stable_sort(samples.begin(), samples.end(),
                   [](const RttSample& a, const RttSample& b) { return a.taken < b.taken; });
  path.meter.follow_one_in(into.one_in);
  for (const RttSample& sample : samples) path.meter.rtt_sampled(sample);
  into.sent = tick.sent.all();
  into.sent_tcp = tick.sent.tcp();
  path.meter.close_tick(tick, in_flight, into);
}

/// A cohort is emitted when every worker has told its own: what is open in one of them holds back all later
/// ones.
void MergedTicks::merge_cohorts(Path& path, std::span<const Share> shares, SiteMeasurement& into) const {
  if (!into.valid) path.waiting.clear();
  TimePoint open_since = TimePoint::max();
  for (const Share& share : shares) {
    open_since = std::min(open_since, share.part.open_since.value_or(TimePoint::max()));
    for (const Cohort& cohort : share.measured.mature) {
      if (cohort.begin <= void_until_) continue;
      const auto [at, is_first] = path.waiting.try_emplace(cohort.begin, cohort);
      if (!is_first) add_cohort(cohort, at->second);
    }
    for (const YoungCohort& cohort : share.measured.young)
      if (cohort.begin > void_until_) into.young.push_back(cohort);
  }
  while (!path.waiting.empty() && path.waiting.begin()->first < open_since) {
    Cohort& oldest = path.waiting.begin()->second;
    if (oldest.segments > 0 || oldest.lost_before > 0) into.mature.push_back(std::move(oldest));
    path.waiting.erase(path.waiting.begin());
  }
  tell_young(path.waiting, into.young);
}

/// What a worker sent before another one saw an ACK was answered by that, as far as the path goes; whether it
/// sent more since is not told.
void MergedTicks::merge_life_signs(std::span<const Share> shares, SiteMeasurement& into) {
  std::uint32_t this_period = 0;
  std::uint32_t last_period = 0;
  for (const Share& share : shares) {
    into.ece_echoes += share.measured.ece_echoes;
    this_period += share.part.flows[0];
    last_period += share.part.flows[1];
    if (share.measured.last_ack) into.last_ack = std::max(into.last_ack, share.measured.last_ack);
  }
  into.flows = std::max(this_period, last_period);
  for (const Share& share : shares) {
    const auto& since = share.measured.unanswered_since;
    if (!since || (into.last_ack && *since <= *into.last_ack)) continue;
    into.unanswered_since = std::min(into.unanswered_since.value_or(*since), *since);
  }
}

}  // namespace weir
