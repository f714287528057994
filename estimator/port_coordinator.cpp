#include "estimator/port_coordinator.hpp"

#include <algorithm>
#include <utility>

#include "estimator/way_out.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kWantsFor = 1s;  ///< a site that was held back wants more for so long
constexpr double kHeldBack = 0.9;   ///< S / r from which it is
constexpr std::size_t kSentTicks = 10;
constexpr double kRoomToGrow = 1.25;    ///< of the most that a site sent lately, if it wants no more
constexpr double kWorthAChange = 0.04;  ///< of a share, while the whole stays as it is
constexpr double kBoundStep = 1.05;
constexpr Duration kBoundEvery = 500ms;
constexpr Duration kOwnQueue = 8ms;  ///< what a controller acts on,
constexpr double kOwnTimes = 2;      ///< and so many times what the others see, or 2 ms,
constexpr Duration kOthersLeast = 2ms;
constexpr int kOwnTicks = 4;  ///< for so many ticks on end, is a queue of its own
constexpr Duration kQueueFresh = 300ms;

constexpr double kTrialStep = 0.06;  ///< of a share: a limit that is kept to 0.98 is exceeded by 4 %
constexpr double kTrialLess = 0.25;  ///< that the others give for it at the most
constexpr Duration kTrialPhase = 1200ms;
constexpr double kTrialFrom = 0.95;  ///< of the known capacity
constexpr Duration kTrialQuiet = 500ms;
constexpr Duration kTrialPatience = 60s;
constexpr Duration kTrialKnown = 2s;
constexpr double kTrialLosses = 4;
constexpr double kTrialRatio = 0.01;
constexpr Duration kTriedQueue = 4ms;
constexpr int kTriedTicks = 2;

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

void PortCoordinator::look(std::span<const ControlInput> inputs, std::span<const SiteOnPort> sites,
                           TimePoint now) {
  start_.reset();
  if (sites_.size() < 2) return;
  watch(inputs, sites, now);
  bar_who_stands_alone(now);
  regroup(sites, now);
  if (members_.empty()) return;
  if (const ControlLimits sum = sum_of_limits(sites); sum != limits_) {
    limits_ = sum;
    make_law(law_->decision().rate, now);
  }
  std::vector<const ControlInput*> told;
  told.reserve(members_.size());
  for (const std::size_t i : members_) told.push_back(&inputs[i]);
  input_ = measurement_.add(told, now);
}

void PortCoordinator::decide(std::span<ControlInput> inputs, std::span<const SiteOnPort> sites,
                             TimePoint now) {
  if (members_.empty()) return;
  const RateDecision& decision = law_->step(input_, now);
  advance_trial(now);
  divide(sites, now);
  for (const std::size_t i : members_) {
    inputs[i].share = GroupShare{.rate = sites_[i].share,
                                 .whole = decision.rate,
                                 .sites = static_cast<std::uint32_t>(members_.size())};
  }
}

std::optional<RememberedCapacity> PortCoordinator::part_of_capacity(std::size_t member, TimePoint now) const {
  if (!law_ || std::ranges::find(members_, member) == members_.end()) return std::nullopt;
  auto part = law_->memory(now).capacity;
  Rate whole;
  for (const std::size_t i : members_) whole = whole + sites_[i].share;
  if (!part || whole == Rate()) return std::nullopt;
  part->rate = part->rate * (sites_[member].share / whole);
  return part;
}

void PortCoordinator::make_law(Rate start, TimePoint now) {
  law_.emplace(limits_, start, now);
  start_ = law_->decision().rate;
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
    const auto queue = queue_on_the_way_out(in.measured);
    site.queue = queue ? std::optional(queue->q) : std::nullopt;
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
    const bool tried = raised(i);
    const Duration least = tried ? kTriedQueue : kOwnQueue;
    site.alone = *site.queue > least && *site.queue > kOwnTimes * usual ? site.alone + 1 : 0;
    if (site.alone >= (tried ? kTriedTicks : kOwnTicks)) alone.push_back(i);
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
  if (group == members_) return;
  Rate whole;
  for (const std::size_t i : group) {
    Member& site = sites_[i];
    if (std::ranges::find(members_, i) == members_.end()) {
      site.share = sites[i].rate;
      site.bound = sites[i].rate;
    }
    site.before = sites[i].rate;
    const Rate most = *std::ranges::max_element(site.sent);
    whole = whole + (now < site.wants_until ? sites[i].rate : std::min(sites[i].rate, kRoomToGrow * most));
  }
  members_ = std::move(group);
  measurement_ = GroupMeasurement();
  law_.reset();
  if (members_.empty()) return;
  limits_ = sum_of_limits(sites);
  make_law(whole, now);
  trial_ = Trial();
  trial_.since = now;
}

bool PortCoordinator::raised(std::size_t member) const {
  const auto place = std::ranges::find(members_, member) - members_.begin();
  const bool even = place % 2 == 0;
  return trial_.phase == (even ? Trial::Phase::first_up : Trial::Phase::second_up);
}

void PortCoordinator::advance_trial(TimePoint now) {
  using Phase = Trial::Phase;
  const auto enter = [&](Phase phase) {
    trial_.phase = phase;
    trial_.since = now;
  };
  const RateDecision& d = law_->decision();
  switch (trial_.phase) {
    case Phase::waiting: {
      // Only at the limit would limits of their own be exceeded.
      const bool at_limit = d.state == ControlState::hold && d.capacity &&
                            d.rate >= kTrialFrom * d.capacity->rate && now - d.since >= kTrialQuiet;
      const bool all_want = std::ranges::all_of(members_, [&](std::size_t i) {
        return input_.sent >= kHeldBack * d.rate || now < sites_[i].wants_until;
      });
      if (at_limit && all_want) {
        trial_.first_began = now;
        enter(Phase::first_up);
      } else if (now - trial_.since > kTrialPatience) {
        for (const std::size_t i : std::vector(members_)) shared_.bar(i, now);
      }
      break;
    }
    case Phase::first_up:
    case Phase::second_up:
      if (d.changed) return enter(Phase::waiting);  // the sum has moved: that was no trial
      if (now - trial_.since < kTrialPhase) return;
      if (trial_.phase == Phase::second_up) return enter(Phase::judging);
      trial_.second_began = now;
      enter(Phase::second_up);
      break;
    case Phase::judging:
      if (now - trial_.since >= kTrialKnown) judge_trial(now);
      break;
    case Phase::passed:
      break;
  }
}

void PortCoordinator::judge_trial(TimePoint now) {
  trial_.phase = Trial::Phase::passed;
  trial_.since = now;
  for (const std::size_t i : members_) {
    if (sites_[i].bound) sites_[i].bound = sites_[i].share;
    sites_[i].bound_raised = now;
  }
  for (std::size_t k = 0; k < members_.size(); ++k) {
    const TimePoint up = k % 2 == 0 ? trial_.first_began : trial_.second_began;
    const TimePoint down = k % 2 == 0 ? trial_.second_began : trial_.first_began;
    const auto lost = shared_.losses(members_[k], up, up + kTrialPhase);
    if (lost.lost < kTrialLosses || lost.ratio() < kTrialRatio) continue;
    const auto lost_below = shared_.losses(members_[k], down, down + kTrialPhase);
    if (lost_below.ratio() > lost.ratio() / 3) continue;
    shared_.bar(members_[k], now);
  }
}

ControlLimits PortCoordinator::sum_of_limits(std::span<const SiteOnPort> sites) const {
  ControlLimits sum;
  for (const std::size_t i : members_) {
    sum.floor = sum.floor + sites[i].limits.floor;
    sum.ceiling = sum.ceiling + sites[i].limits.ceiling;
    sum.paced = sites[i].limits.paced;  // one port's sites have the same
  }
  return sum;
}

/// The halves of a trial; the sum stays.
void PortCoordinator::tilt(std::vector<double>& shares) const {
  double up = 0;
  double down = 0;
  for (std::size_t k = 0; k < shares.size(); ++k) (raised(members_[k]) ? up : down) += shares[k];
  if (up <= 0 || down <= 0) return;
  const double moved = std::min(up * kTrialStep, down * kTrialLess);
  for (std::size_t k = 0; k < shares.size(); ++k)
    shares[k] *= raised(members_[k]) ? 1 + moved / up : 1 - moved / down;
}

void PortCoordinator::divide(std::span<const SiteOnPort> sites, TimePoint now) {
  const std::size_t n = members_.size();
  const bool passed = trial_.phase == Trial::Phase::passed;
  std::vector<double> weights(n);
  std::vector<double> most(n);
  std::vector<double> wants(n);
  for (std::size_t k = 0; k < n; ++k) {
    Member& site = sites_[members_[k]];
    const ControlLimits& limits = sites[members_[k]].limits;
    weights[k] = std::max(bps(passed ? limits.floor : site.before), 1.0);
    const bool more = now < site.wants_until;
    if (passed && site.bound && more && site.share >= 0.98 * *site.bound &&
        now - site.bound_raised >= kBoundEvery) {
      site.bound = *site.bound * kBoundStep;
      site.bound_raised = now;
    }
    most[k] = bps(limits.ceiling);
    wants[k] = more ? most[k] : std::min(most[k], kRoomToGrow * bps(*std::ranges::max_element(site.sent)));
    if (passed && site.bound) wants[k] = std::min(wants[k], bps(*site.bound));
  }
  double left = bps(law_->decision().rate);
  std::vector<double> shares = fill(left, weights, wants);
  for (std::size_t k = 0; passed && k < n; ++k) {
    Member& site = sites_[members_[k]];
    // Its part and no more, although more was allowed: from now on it may have it at once.
    if (site.bound && now < site.wants_until && shares[k] < 0.98 * wants[k]) site.bound.reset();
  }
  // What nobody wants or may want yet: to all as they stand.
  std::vector<double> room(n);
  for (std::size_t k = 0; k < n; ++k) room[k] = most[k] - shares[k];
  const std::vector<double> rest = fill(left, weights, room);
  bool worth = law_->decision().changed || trial_.since == now || start_.has_value();
  for (std::size_t k = 0; k < n; ++k) {
    shares[k] += rest[k];
    const double before = bps(sites_[members_[k]].share);
    worth = worth || shares[k] > before * (1 + kWorthAChange) || shares[k] < before * (1 - kWorthAChange);
  }
  if (!worth) return;
  tilt(shares);
  for (std::size_t k = 0; k < n; ++k) {
    const ControlLimits& limits = sites[members_[k]].limits;
    sites_[members_[k]].share = std::clamp(Rate::bps(static_cast<std::uint64_t>(shares[k])), limits.floor,
                                           std::max(limits.floor, limits.ceiling));
  }
}

}  // namespace weir
