#include "estimator/observation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTick = 100ms;
constexpr std::size_t kTicksPerHalfSecond = 5;
/// No cohort waits longer for its fate: behind a longer silence ticks would close nothing.
constexpr Duration kNothingLeftOpen = 15s;

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

/// Wilson's score interval at 95 %: holds for small counts, where the plain one goes below zero.
[[nodiscard]] std::pair<double, double> wilson(double lost, double all) {
  constexpr double z = 1.96;
  const double p = lost / all;
  const double centre = p + z * z / (2.0 * all);
  const double reach = z * std::sqrt(p * (1.0 - p) / all + z * z / (4.0 * all * all));
  const double scale = 1.0 + z * z / all;
  return {std::max(0.0, (centre - reach) / scale), std::min(1.0, (centre + reach) / scale)};
}

}  // namespace

// -- the numbers --

/// Seen twice: lost behind the tap. First seen below H: lost in front of it. Which of the two is beyond our
/// border depends on the way the data go.
LossShares loss_of(Direction direction, const SegmentTotals& segments) {
  const bool outbound = direction == Direction::outbound;
  LossShares loss{.beyond_segments = outbound ? segments.retransmitted : segments.hole_fill,
                  .before_segments = outbound ? segments.hole_fill : segments.retransmitted};
  const std::uint64_t sent = segments.data - std::min(segments.data, segments.duplicate);
  if (sent < kLeastSegmentsForRatio) return loss;
  const auto all = static_cast<double>(sent);
  loss.beyond = static_cast<double>(loss.beyond_segments) / all;
  loss.before = static_cast<double>(loss.before_segments) / all;
  const auto [low, high] = wilson(static_cast<double>(std::min(loss.beyond_segments, sent)), all);
  loss.low = low;
  loss.high = high;
  return loss;
}

std::optional<Rate> DirectionObservation::rate_to_set() const {
  if (!capacity || !capacity->rate) return std::nullopt;
  return *capacity->rate * kRateByHand;
}

Bytes SiteObservation::sent() const {
  Bytes sum;
  for (const DirectionObservation& d : directions) sum += d.sent;
  return sum;
}

// -- Observer --

namespace {

[[nodiscard]] EstimatorSettings with_accounts(EstimatorSettings settings) {
  settings.keep_accounts = true;
  return settings;
}

[[nodiscard]] std::vector<std::string> with_elsewhere(std::vector<std::string> names, std::size_t sites) {
  if (sites == 0) return {};
  for (std::size_t i = names.size(); i < sites; ++i) names.push_back("site " + std::to_string(i));
  names.resize(sites);
  names.emplace_back("elsewhere");
  return names;
}

}  // namespace

Observer::Observer(EstimatorSettings settings, std::string source, std::vector<std::string> site_names)
    : source_(std::move(source)),
      site_names_(with_elsewhere(std::move(site_names), settings.sites.size())),
      sides_configured_(!settings.sites.empty() || !settings.inside.empty()),
      estimator_(with_accounts(std::move(settings))) {
  // Of sites each has a path of its own, which carries something; together they have none.
  if (site_names_.empty()) {
    for (Sums& sums : sums_) sums.capacity = std::make_unique<CapacityObserver>();
  }
  for (auto& of_direction : by_site_) of_direction.resize(site_names_.size());
}

void Observer::on_frames(std::span<const Frame> frames) {
  FrameClock clock = clock_;
  TimePoint until = first_ ? next_tick_ : TimePoint::min();
  TimePoint last = last_;
  std::size_t handed = 0;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const TimePoint time = clock.believed(frames[i].time);  // as the estimator will
    if (time >= until) [[unlikely]] {
      estimator_.on_frames(frames.subspan(handed, i - handed));
      handed = i;
      last_ = last;
      begin_at(time);
      close_ticks_until(time);
      until = next_tick_;
    }
    last = time;
  }
  estimator_.on_frames(frames.subspan(handed));
  last_ = last;
  clock_ = clock;
}

void Observer::begin_at(TimePoint first) {
  if (first_) return;
  first_ = first;
  next_tick_ = first + kTick;
  last_tick_ = estimator_.tick(first, false);
}

void Observer::on_time(TimePoint now) {
  if (first_) close_ticks_until(now);
}

void Observer::on_kernel_drops(std::uint64_t count) {
  kernel_drops_ += count;
  lost_in_tick_ = lost_in_tick_ || count > 0;
}

void Observer::close_ticks_until(TimePoint now) {
  while (next_tick_ <= now) {
    if (now - last_ > kNothingLeftOpen && next_tick_ - last_ > kNothingLeftOpen) {
      next_tick_ = now + kTick;  // a long silence: go to its end in one step
      return;
    }
    close_tick(next_tick_);
  }
}

void Observer::close_tick(TimePoint at) {
  last_tick_ = estimator_.tick(at, std::exchange(lost_in_tick_, false));
  next_tick_ = at + kTick;
  for (const Direction direction : {Direction::outbound, Direction::inbound}) {
    const auto& measured = direction == Direction::outbound ? last_tick_.outbound : last_tick_.inbound;
    sums_[static_cast<std::size_t>(direction)].add(sum_of(measured));
    add_sites(measured, direction);
  }
}

void Observer::add_sites(const std::vector<SiteMeasurement>& sites, Direction direction) {
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

void Observer::Sums::add(const SiteMeasurement& tick) {
  sent += tick.sent;
  sent_tcp += tick.sent_tcp;
  if (capacity) capacity->add(tick);
  if (last_half_second.size() == kTicksPerHalfSecond) last_half_second.erase(last_half_second.begin());
  last_half_second.push_back(tick.sent);
  if (last_half_second.size() < kTicksPerHalfSecond) return;
  Bytes half_second;
  for (const Bytes& b : last_half_second) half_second += b;
  busiest = std::max(busiest, Rate::of(half_second, kTick * std::int64_t{kTicksPerHalfSecond}));
}

Observation Observer::finish() {
  if (first_) {
    for (TimePoint at = next_tick_; at <= last_ + kNothingLeftOpen; at += kTick) close_tick(at);
  }
  ask_for_capacities(std::numeric_limits<std::size_t>::max());
  return sum_up();
}

Observation Observer::summary() {
  ask_for_capacities(kCapacitiesAPage);
  return sum_up();
}

void Observer::ask_for_capacities(std::size_t most) {
  std::vector<Sums*> paths;
  const auto add = [&](Sums* sums) {
    if (sums != nullptr && sums->capacity) paths.push_back(sums);
  };
  for (Sums& sums : sums_) add(&sums);
  for (auto& of_direction : by_site_) {
    for (auto& sums : of_direction) add(sums.get());
  }
  for (std::size_t i = 0; i < std::min(most, paths.size()); ++i) {
    Sums& sums = *paths[asked_next_++ % paths.size()];
    sums.found = sums.capacity->finding(last_);
    sums.asked = last_;
  }
}

// -- summing up --

DirectionObservation Observer::direction(Direction which, const Sums& sums, const PathTotals& totals,
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
  d.capacity = capacity_of(sums);
  if (site && which == Direction::outbound) {
    const bool loss_is_congestion =
        d.capacity && (d.capacity->mode == CapacityMode::policer || d.capacity->mode == CapacityMode::buffer);
    d.dscp_honoured = estimator_.accounts()->dscp_finding(*site, loss_is_congestion);
  }
  return d;
}

std::optional<CapacityFinding> Observer::capacity_of(const Sums& sums) const {
  if (!sums.found || is_one_directional()) return std::nullopt;
  CapacityFinding finding = *sums.found;
  if (finding.age) *finding.age += last_ - sums.asked;
  return finding;
}

/// The site that nearly all goes to, if there is one: what it is for its path it is for all.
const Observer::Sums& Observer::main_path(Direction which) const {
  const Sums& all = sums_[static_cast<std::size_t>(which)];
  for (const auto& site : by_site_[static_cast<std::size_t>(which)]) {
    if (site &&
        static_cast<double>(site->sent.count()) >= kShareOfMainPath * static_cast<double>(all.sent.count()))
      return *site;
  }
  return all;
}

DirectionObservation Observer::all_sites(Direction which) const {
  const EstimatorTotals& totals = estimator_.totals();
  PathTotals path = estimator_.accounts()->totals(which, std::nullopt);
  path.segments = which == Direction::outbound ? totals.outbound : totals.inbound;
  path.rtt = estimator_.rtt_totals(which);
  // Without sites there is one path only.
  const auto site = site_names_.empty() ? std::optional<std::size_t>(0) : std::nullopt;
  DirectionObservation d = direction(which, sums_[static_cast<std::size_t>(which)], path, site);
  if (!site) d.capacity = capacity_of(main_path(which));
  d.retransmission_delay = estimator_.retransmission_delay(which);
  return d;
}

std::vector<SiteObservation> Observer::sites() const {
  std::vector<SiteObservation> sites;
  const Sums none;
  for (std::size_t i = 0; i < site_names_.size(); ++i) {
    if (!by_site_[0][i] && !by_site_[1][i]) continue;
    SiteObservation site{.name = site_names_[i], .directions = {}};
    for (const Direction which : {Direction::outbound, Direction::inbound}) {
      const auto& sums = by_site_[static_cast<std::size_t>(which)][i];
      site.directions.push_back(
          direction(which, sums ? *sums : none, estimator_.accounts()->totals(which, i), i));
    }
    sites.push_back(std::move(site));
  }
  return sites;
}

/// A mirror port that carries what one side sends, and nothing of what the other answers. A flood of packets
/// that nobody answers is no such port: besides it, connections are seen whole.
bool Observer::is_one_directional() const {
  const EstimatorTotals& totals = estimator_.totals();
  const Accounts& accounts = *estimator_.accounts();
  const auto nearly_all = [](std::uint64_t part, std::uint64_t all) {
    return all >= kLeastForOneDirectional &&
           static_cast<double>(part) >= kOneDirectionalShare * static_cast<double>(all);
  };
  return nearly_all(totals.one_way, totals.outbound.data + totals.inbound.data) ||
         (nearly_all(accounts.unanswered_packets(), accounts.packets()) &&
          accounts.packets() - accounts.unanswered_packets() < kLeastForOneDirectional);
}

Observation Observer::sum_up() const {
  const EstimatorTotals& totals = estimator_.totals();
  return {.source = source_,
          .packets = totals.frames,
          .tcp_packets = totals.tcp,
          .seconds = first_ ? seconds(last_ - *first_) : 0.0,
          .kernel_drops = kernel_drops_,
          .one_in = totals.one_in,
          .unsampled = totals.unsampled,
          .malformed = totals.malformed,
          .opaque = totals.opaque,
          .flows_refused = totals.flows_refused,
          .flows_evicted = totals.flows_evicted,
          .one_way = totals.one_way,
          .one_directional = is_one_directional(),
          .truncated = truncated_,
          .sides_configured = sides_configured_,
          .sides = estimator_.sides(),
          .directions = {all_sites(Direction::outbound), all_sites(Direction::inbound)},
          .sites = sites(),
          .flows = estimator_.accounts()->flows(),
          .first = first_.value_or(TimePoint()),
          .site_names = site_names_};
}

}  // namespace weir
