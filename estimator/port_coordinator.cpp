#include "estimator/port_coordinator.hpp"

#include <algorithm>
#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kWantsFor = 1s;     ///< a site that was held back wants more for so long
constexpr double kHeldBack = 0.9;      ///< S / r from which it is
constexpr std::size_t kSentTicks = 10;
constexpr double kRoomToGrow = 1.25;   ///< of the most that a site sent lately, if it wants no more
constexpr double kWorthAChange = 0.04; ///< of a share, while the whole stays as it is
constexpr double kBoundStep = 1.05;
constexpr Duration kBoundEvery = 500ms;
constexpr Duration kOwnQueue = 8ms;    ///< what a controller acts on,
constexpr double kOwnTimes = 2;        ///< and so many times what the others see, or 2 ms,
constexpr Duration kOthersLeast = 2ms;
constexpr int kOwnTicks = 4;           ///< for so many ticks on end, is a queue of its own
constexpr Duration kQueueFresh = 300ms;

/// Gives out `whole` by weight, to each no more than `most`; what nobody may have is left.
std::vector<double> fill(double& whole, const std::vector<double>& weights, const std::vector<double>& most) {
  std::vector<double> given(weights.size(), 0.0);
  std::vector<bool> full(weights.size(), false);
  for (bool again = true; again && whole > 0;) {
    again = false;
    double open = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) open += full[i] ? 0 : weights[i];
    if (open <= 0) break;
    const double level = whole / open;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (full[i] || most[i] > level * weights[i]) continue;
      full[i] = again = true;
      given[i] = std::max(most[i], 0.0);
      whole -= given[i];
    }
    if (again) continue;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (!full[i]) given[i] = level * weights[i];
    }
    whole = 0;
  }
  return given;
}

double bps(Rate rate) {
  return static_cast<double>(rate.bps());
}

}  // namespace

PortCoordinator::PortCoordinator(std::size_t sites)
    : shared_(sites <= kMostSites ? sites : 0), sites_(sites <= kMostSites ? sites : 0) {}

void PortCoordinator::step(std::span<ControlInput> inputs, std::span<const SiteOnPort> sites, TimePoint now) {
  if (sites_.size() < 2) return;
  watch(inputs, sites, now);
  bar_who_stands_alone(now);
  regroup(sites, now);
  if (members_.empty()) return;
  std::vector<const ControlInput*> told;
  told.reserve(members_.size());
  for (const std::size_t i : members_) told.push_back(&inputs[i]);
  const ControlLimits limits = sum_of_limits(sites);
  step_.limits_changed = limits != step_.limits;
  if (step_.limits_changed) law_->set_limits(limits, now);
  step_.limits = limits;
  step_.input = measurement_.add(told, now);
  const RateDecision& decision = law_->step(step_.input, now);
  divide(sites, now);
  for (const std::size_t i : members_) {
    inputs[i].share = GroupShare{.rate = sites_[i].share,
                                 .whole = decision.rate,
                                 .sites = static_cast<std::uint32_t>(members_.size())};
  }
}

void PortCoordinator::watch(std::span<const ControlInput> inputs, std::span<const SiteOnPort> sites,
                            TimePoint now) {
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    Member& site = sites_[i];
    const ControlInput& in = inputs[i];
    shared_.add(i, in.measured);
    if (in.backlogged || in.sent >= kHeldBack * sites[i].rate) site.wants_until = now + kWantsFor;
    site.sent.resize(kSentTicks);
    site.sent[site.next] = in.sent;
    site.next = (site.next + 1) % kSentTicks;
    site.queue = queue_on_the_way_out(in.measured);
    if (site.queue) site.queue_at = now;
  }
  shared_.judge(now);
}

/// A queue on the shared path is seen by all of its members: more than that is a member's own.
void PortCoordinator::bar_who_stands_alone(TimePoint now) {
  std::vector<std::size_t> alone = shared_.strays();
  for (const std::size_t i : members_) {
    Member& site = sites_[i];
    if (!site.queue) continue;
    std::vector<Duration> others;
    for (const std::size_t other : members_) {
      if (other != i && sites_[other].queue && now - sites_[other].queue_at <= kQueueFresh)
        others.push_back(*sites_[other].queue);
    }
    if (others.empty()) continue;
    const auto middle = others.begin() + static_cast<std::ptrdiff_t>((others.size() - 1) / 2);
    std::ranges::nth_element(others, middle);
    const Duration usual = std::max<Duration>(*middle, kOthersLeast);
    site.alone = *site.queue > kOwnQueue && *site.queue > kOwnTimes * usual ? site.alone + 1 : 0;
    if (site.alone >= kOwnTicks) alone.push_back(i);
  }
  for (const std::size_t i : alone) {
    shared_.bar(i, now);
    sites_[i].alone = 0;
  }
}

void PortCoordinator::regroup(std::span<const SiteOnPort> sites, TimePoint now) {
  std::vector<std::size_t> group;
  for (const std::size_t i : shared_.group()) {
    if (sites[i].limits.adapt) group.push_back(i);
  }
  if (group.size() < 2) group.clear();
  step_.start.reset();
  if (group == members_) return;
  Rate whole;
  for (const std::size_t i : group) {
    Member& site = sites_[i];
    if (std::ranges::find(members_, i) == members_.end()) {
      site.share = sites[i].rate;
      site.bound = sites[i].rate;
      site.bound_raised = now;
    }
    const Rate most = *std::ranges::max_element(site.sent);
    whole = whole + (now < site.wants_until ? sites[i].rate : std::min(sites[i].rate, kRoomToGrow * most));
  }
  members_ = std::move(group);
  measurement_ = GroupMeasurement();
  law_.reset();
  if (members_.empty()) return;
  step_.limits = sum_of_limits(sites);
  law_.emplace(step_.limits, whole, now);
  step_.start = whole;
}

ControlLimits PortCoordinator::sum_of_limits(std::span<const SiteOnPort> sites) const {
  ControlLimits sum;
  for (const std::size_t i : members_) {
    sum.floor = sum.floor + sites[i].limits.floor;
    sum.ceiling = sum.ceiling + sites[i].limits.ceiling;
  }
  return sum;
}

void PortCoordinator::divide(std::span<const SiteOnPort> sites, TimePoint now) {
  const std::size_t n = members_.size();
  std::vector<double> weights(n);
  std::vector<double> may(n);
  std::vector<double> wants(n);
  for (std::size_t k = 0; k < n; ++k) {
    Member& site = sites_[members_[k]];
    const ControlLimits& limits = sites[members_[k]].limits;
    weights[k] = std::max(bps(limits.floor), 1.0);
    const bool more = now < site.wants_until;
    if (site.bound && more && site.share >= 0.98 * *site.bound && now - site.bound_raised >= kBoundEvery) {
      site.bound = *site.bound * kBoundStep;
      site.bound_raised = now;
    }
    may[k] = bps(std::min(limits.ceiling, site.bound.value_or(limits.ceiling)));
    wants[k] = more ? may[k] : std::min(may[k], kRoomToGrow * bps(*std::ranges::max_element(site.sent)));
  }
  double left = bps(law_->decision().rate);
  std::vector<double> shares = fill(left, weights, wants);
  std::vector<double> room(n);
  for (std::size_t k = 0; k < n; ++k) room[k] = may[k] - shares[k];
  const std::vector<double> rest = fill(left, weights, room);
  bool worth = law_->decision().changed || step_.start.has_value() || step_.limits_changed;
  for (std::size_t k = 0; k < n; ++k) {
    Member& site = sites_[members_[k]];
    // Its part and no more, although more was allowed: from now on it may have it at once.
    if (site.bound && now < site.wants_until && shares[k] < 0.98 * may[k]) site.bound.reset();
    shares[k] = std::max(shares[k] + rest[k], bps(sites[members_[k]].limits.floor));
    const double before = bps(site.share);
    worth = worth || shares[k] > before * (1 + kWorthAChange) || shares[k] < before * (1 - kWorthAChange);
  }
  if (!worth) return;
  for (std::size_t k = 0; k < n; ++k)
    sites_[members_[k]].share = Rate::bps(static_cast<std::uint64_t>(shares[k]));
}

}  // namespace weir
