#include "estimator/observation_sums.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "estimator/observation.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kTicksPerHalfSecond = 5;

/// Sites with a capacity of their own, per direction; up to 0.8 MB each after an hour.
constexpr std::size_t kMostCapacities = 64;
/// Of all bytes.
constexpr double kShareOfMainPath = 0.9;
/// Asked for at a time while a page is redrawn every second: some tens of milliseconds each where much is
/// lost.
constexpr std::size_t kCapacitiesAPage = 4;

/// One measurement of all sites together. What has no sum (RTT, queue) is that of the busiest site.
[[nodiscard]] SiteMeasurement sum_of(const std::vector<SiteMeasurement>& sites) {
  SiteMeasurement sum;
  const SiteMeasurement* busiest = nullptr;
  for (const SiteMeasurement& site : sites) {
    sum.at = site.at;
    sum.interval = site.interval;
    sum.valid = sum.valid && site.valid;
    sum.sent += site.sent;
    sum.sent_tcp += site.sent_tcp;
    sum.mature.insert(sum.mature.end(), site.mature.begin(), site.mature.end());
    if (site.delivered_bytes)
      sum.delivered_bytes = sum.delivered_bytes.value_or(Bytes()) + *site.delivered_bytes;
    if (site.rtt && (busiest == nullptr || site.sent > busiest->sent)) busiest = &site;
  }
  if (busiest != nullptr) {
    sum.rtt = busiest->rtt;
    sum.queue = busiest->queue;
    sum.queue_by_way = busiest->queue_by_way;
  }
  return sum;
}

[[nodiscard]] std::vector<std::string> with_elsewhere(std::vector<std::string> names, std::size_t sites) {
  if (sites == 0) return {};
  for (std::size_t i = names.size(); i < sites; ++i) names.push_back("site " + std::to_string(i));
  names.resize(sites);
  names.emplace_back("elsewhere");
  return names;
}

}  // namespace

ObservationSums::ObservationSums(const EstimatorSettings& settings, std::string source,
                                 std::vector<std::string> site_names)
    : source_(std::move(source)),
      site_names_(with_elsewhere(std::move(site_names), settings.sites.size())),
      sides_configured_(!settings.sites.empty() || !settings.inside.empty()) {
  // Of sites each has a path of its own, which carries something; together they have none.
  if (site_names_.empty()) {
    for (Sums& sums : sums_) sums.capacity = std::make_unique<CapacityObserver>();
  }
  for (auto& of_direction : by_site_) of_direction.resize(site_names_.size());
}

void ObservationSums::add(const TickResult& tick) {
  for (const Direction direction : {Direction::outbound, Direction::inbound}) {
    const auto& measured = direction == Direction::outbound ? tick.outbound : tick.inbound;
    sums_[static_cast<std::size_t>(direction)].add(sum_of(measured));
    add_sites(measured, direction);
  }
}

void ObservationSums::add_sites(const std::vector<SiteMeasurement>& sites, Direction direction) {
  const auto at = static_cast<std::size_t>(direction);
  std::vector<std::unique_ptr<Sums>>& sums = by_site_[at];
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (!sums[i]) {
      if (sites[i].sent == Bytes() && sites[i].mature.empty()) continue;
      sums[i] = std::make_unique<Sums>();
      if (capacities_[at] < kMostCapacities) {
        ++capacities_[at];
        sums[i]->capacity = std::make_unique<CapacityObserver>();
      }
    }
    sums[i]->add(sites[i]);
  }
}

void ObservationSums::Sums::add(const SiteMeasurement& tick) {
  sent += tick.sent;
  sent_tcp += tick.sent_tcp;
  if (capacity) capacity->add(tick);
  if (last_half_second.size() == kTicksPerHalfSecond) last_half_second.erase(last_half_second.begin());
  last_half_second.push_back(tick.sent);
  if (last_half_second.size() < kTicksPerHalfSecond) return;
  Bytes half_second;
  for (const Bytes& b : last_half_second) half_second += b;
  busiest = std::max(busiest, Rate::of(half_second, kCohortLength * std::int64_t{kTicksPerHalfSecond}));
}

void ObservationSums::ask_for_some_capacities(TimePoint now) {
  ask_for_capacities(kCapacitiesAPage, now);
}

void ObservationSums::ask_for_all_capacities(TimePoint now) {
  ask_for_capacities(std::numeric_limits<std::size_t>::max(), now);
}

void ObservationSums::ask_for_capacities(std::size_t most, TimePoint now) {
  std::vector<Sums*> paths;
  const auto add = [&](Sums* sums) {
    if (sums != nullptr && sums->capacity) paths.push_back(sums);
  };
  for (const Direction direction : {Direction::outbound, Direction::inbound})
    add(&sums_[static_cast<std::size_t>(direction)]);
  for (auto& of_direction : by_site_) {
    for (auto& sums : of_direction) add(sums.get());
  }
  for (std::size_t i = 0; i < std::min(most, paths.size()); ++i) {
    Sums& sums = *paths[asked_next_++ % paths.size()];
    sums.found = sums.capacity->finding(now);
    sums.asked = now;
  }
}

// -- summing up --

DirectionObservation ObservationSums::direction(Direction which, const EstimatorFindings& found,
                                                const Sums& sums, const PathTotals& totals,
                                                std::optional<std::size_t> site) const {
  DirectionObservation d{.direction = which,
                         .sent = sums.sent,
                         .sent_tcp = sums.sent_tcp,
                         .busiest = sums.busiest,
                         .segments = totals.segments,
                         .loss = loss_of(which, totals.segments),
                         .rtt = totals.rtt,
                         .queue = totals.queue,
                         .retransmission_delay = std::nullopt,
                         .capacity = std::nullopt,
                         .dscps = {},
                         .dscp_honoured = std::nullopt};
  for (const DscpTotals& t : totals.dscps) {
    d.dscps.push_back({.dscp = t.dscp,
                       .segments = t.segments,
                       .loss = loss_of(which, t.segments),
                       .rtt = t.rtt,
                       .queue = t.queue});
  }
  d.capacity = capacity_of(found, sums);
  if (site && which == Direction::outbound) {
    const bool loss_is_congestion =
        d.capacity && (d.capacity->mode == CapacityMode::policer || d.capacity->mode == CapacityMode::buffer);
    d.dscp_honoured = found.accounts.dscp_finding(*site, loss_is_congestion);
  }
  return d;
}

std::optional<CapacityFinding> ObservationSums::capacity_of(const EstimatorFindings& found,
                                                            const Sums& sums) {
  if (!sums.found || is_one_directional(found)) return std::nullopt;
  CapacityFinding finding = *sums.found;
  if (finding.age) *finding.age += found.last - sums.asked;
  return finding;
}

/// The site that nearly all goes to, if there is one: what it is for its path it is for all.
const ObservationSums::Sums& ObservationSums::main_path(Direction which) const {
  const Sums& all = sums_[static_cast<std::size_t>(which)];
  for (const auto& site : by_site_[static_cast<std::size_t>(which)]) {
    if (site &&
        static_cast<double>(site->sent.count()) >= kShareOfMainPath * static_cast<double>(all.sent.count()))
      return *site;
  }
  return all;
}

DirectionObservation ObservationSums::all_sites(const EstimatorFindings& found, Direction which) const {
  const PathTotals path = found.accounts.totals(which, std::nullopt);
  // Without sites there is one path only.
  const auto site = site_names_.empty() ? std::optional<std::size_t>(0) : std::nullopt;
  DirectionObservation d = direction(which, found, sums_[static_cast<std::size_t>(which)], path, site);
  if (!site) d.capacity = capacity_of(found, main_path(which));
  d.retransmission_delay = delay_totals_of(*found.retransmission_delay[static_cast<std::size_t>(which)]);
  return d;
}

std::vector<SiteObservation> ObservationSums::sites(const EstimatorFindings& found) const {
  std::vector<SiteObservation> sites;
  const Sums none;
  for (std::size_t i = 0; i < site_names_.size(); ++i) {
    if (!by_site_[0][i] && !by_site_[1][i]) continue;
    SiteObservation site{.name = site_names_[i], .directions = {}};
    for (const Direction which : {Direction::outbound, Direction::inbound}) {
      const auto& sums = by_site_[static_cast<std::size_t>(which)][i];
      site.directions.push_back(
          direction(which, found, sums ? *sums : none, found.accounts.totals(which, i), i));
    }
    sites.push_back(std::move(site));
  }
  return sites;
}

/// A mirror port that carries what one side sends, and nothing of what the other answers. A flood of packets
/// that nobody answers is no such port: besides it, connections are seen whole.
bool ObservationSums::is_one_directional(const EstimatorFindings& found) {
  const EstimatorTotals& totals = found.totals;
  const Accounts& accounts = found.accounts;
  const auto nearly_all = [](std::uint64_t part, std::uint64_t all) {
    return all >= kLeastForOneDirectional &&
           static_cast<double>(part) >= kOneDirectionalShare * static_cast<double>(all);
  };
  return nearly_all(totals.one_way, totals.outbound.data + totals.inbound.data) ||
         (nearly_all(accounts.unanswered_packets(), accounts.packets()) &&
          accounts.packets() - accounts.unanswered_packets() < kLeastForOneDirectional);
}

Observation ObservationSums::sum_up(const EstimatorFindings& found) const {
  const EstimatorTotals& totals = found.totals;
  return {.source = source_,
          .packets = totals.frames,
          .tcp_packets = totals.tcp,
          .seconds = found.first ? seconds(found.last - *found.first) : 0.0,
          .kernel_drops = found.kernel_drops,
          .one_in = totals.one_in,
          .unsampled = totals.unsampled,
          .malformed = totals.malformed,
          .opaque = totals.opaque,
          .flows_refused = totals.flows_refused,
          .flows_evicted = totals.flows_evicted,
          .one_way = totals.one_way,
          .one_directional = is_one_directional(found),
          .truncated = found.truncated,
          .sides_configured = sides_configured_,
          .sides = found.sides,
          .directions = {all_sites(found, Direction::outbound), all_sites(found, Direction::inbound)},
          .sites = sites(found),
          .flows = found.accounts.flows(),
          .first = found.first.value_or(TimePoint()),
          .site_names = site_names_};
}

}  // namespace weir
