#include "way.hpp"

#include <algorithm>
#include <utility>

namespace weir::lab {
namespace {

using proving::Fate;
using proving::kBin;
using proving::Outcome;

/// What a frame that is overtaken waits longer.
constexpr Duration kOvertaken = std::chrono::milliseconds(2);

constexpr auto kLater = [](const Departure& a, const Departure& b) {
  return std::pair(a.due, a.number) > std::pair(b.due, b.number);
};

[[nodiscard]] TimePoint start_of_bin(std::size_t bin) {
  return TimePoint(static_cast<std::int64_t>(bin) * kBin);
}

template <class Bin>
[[nodiscard]] Bin* bin_at(std::vector<Bin>& bins, TimePoint at) {
  if (at < TimePoint()) return nullptr;
  const auto bin = static_cast<std::size_t>(at.time_since_epoch() / kBin);
  return bin < bins.size() ? &bins[bin] : nullptr;
}

}  // namespace

Way::Way(const proving::Scenario& scenario, bool back, std::size_t places, std::vector<Duration> rtts,
         std::uint64_t seed)
    : scenario_(scenario),
      back_(back),
      by_token_(places),
      rtts_(std::move(rtts)),
      last_due_(rtts_.size() + 1, TimePoint::min()),
      random_(seed),
      told_(scenario.sites.size()) {
  const auto bins = static_cast<std::size_t>(scenario.length / kBin);
  for (std::size_t i = 0; i < scenario.links.size(); ++i) {
    links_.emplace_back(scenario.links[i].settings, seed * 1000 + i);
    link_bins_.emplace_back(scenario.links[i].back == back ? bins : 0);
  }
  site_bins_.assign(back ? 0 : scenario.sites.size(), std::vector<proving::SiteBin>(bins));
}

proving::LinkBin* Way::bin_of(std::size_t link, TimePoint at) {
  return bin_at(link_bins_[link], at);
}

proving::SiteBin* Way::site_bin_of(std::size_t site, TimePoint at) {
  return back_ ? nullptr : bin_at(site_bins_[site], at);
}

void Way::arrive(const Passenger& passenger, TimePoint now) {
  now = std::max(now, clock_);
  run_until(now);
  ++waiting_;
  if (passenger.free_ride) return push(passenger, now);
  if (passenger.site) {
    if (auto* bin = site_bin_of(*passenger.site, now)) bin->sent_bytes += passenger.bytes;
  }
  enter(passenger, 0, now);
}

void Way::enter(const Passenger& passenger, std::size_t link, TimePoint now) {
  // Links stand empty until the scenario begins.
  if (now < TimePoint()) return leave(passenger, now);
  for (; link < links_.size(); ++link) {
    const proving::ScenarioLink& settings = scenario_.links[link];
    if (settings.back != back_ || (settings.site && settings.site != passenger.site)) continue;
    proving::LinkBin* bin = bin_of(link, now);
    if (bin != nullptr) ++bin->offered;
    by_token_[passenger.token] = passenger;
    const auto outcome = links_[link].offer(
        {.token = passenger.token, .bytes = passenger.bytes, .ecn_capable = passenger.ecn_capable}, now);
    if (!outcome) return;
    if (bin != nullptr) bin->count(outcome->fate, passenger.bytes);
    if (outcome->fate != Fate::forwarded) return lose(passenger, link, now, outcome->fate);
  }
  leave(passenger, now);
}

void Way::run_until(TimePoint now) {
  while (true) {
    std::size_t first = links_.size();
    TimePoint when = now;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      const auto next = links_[i].next(std::max(clock_, TimePoint()));
      if (!next || *next > when || (first < links_.size() && *next == when)) continue;
      first = i;
      when = *next;
    }
    if (first == links_.size()) break;
    close_bins(when);
    clock_ = std::max(clock_, when);
    outcomes_.clear();
    links_[first].advance(when, outcomes_);
    for (const Outcome& outcome : outcomes_) over_link(first, outcome);
  }
  close_bins(now);
  clock_ = std::max(clock_, now);
}

void Way::over_link(std::size_t link, const Outcome& outcome) {
  const Passenger passenger = by_token_[outcome.item.token];
  if (outcome.fate == Fate::marked) return marked_.push_back(passenger.token);
  if (auto* bin = bin_of(link, outcome.at)) bin->count(outcome.fate, passenger.bytes);
  if (outcome.fate != Fate::forwarded) return lose(passenger, link, outcome.at, outcome.fate);
  enter(passenger, link + 1, outcome.at);
}

void Way::lose(const Passenger& passenger, std::size_t link, TimePoint now, Fate fate) {
  lost_.push_back({passenger, link, now, fate});
  --waiting_;
}

Duration Way::drawn_delay(TimePoint now) {
  const double jitter = scenario_.jitter.at(now);
  double delay = scenario_.extra_delay.at(now);
  if (jitter > 0) delay += jitter * std::uniform_real_distribution<double>(0.0, 1.0)(random_);
  return from_seconds(delay);
}

void Way::leave(const Passenger& passenger, TimePoint now) {
  const std::size_t rule = back_ ? passenger.delay.value_or(rtts_.size()) : rtts_.size();
  const Duration delay = delay_ + (!back_            ? drawn_delay(now)
                                   : passenger.delay ? rtts_[rule]
                                                     : Duration::zero());
  TimePoint due = std::max(now + delay, last_due_[rule]);
  last_due_[rule] = due;
  if (!back_ && scenario_.reorder > 0 &&
      std::uniform_real_distribution<double>(0.0, 1.0)(random_) >= scenario_.reorder)
    due += kOvertaken;
  push(passenger, due);
}

void Way::push(const Passenger& passenger, TimePoint due) {
  departures_.push_back({due, departed_++, passenger});
  std::push_heap(departures_.begin(), departures_.end(), kLater);
}

std::optional<Departure> Way::take_due(TimePoint now) {
  if (departures_.empty() || departures_.front().due > now) return std::nullopt;
  std::pop_heap(departures_.begin(), departures_.end(), kLater);
  const Departure departure = departures_.back();
  departures_.pop_back();
  --waiting_;
  if (departure.passenger.site) {
    if (auto* bin = site_bin_of(*departure.passenger.site, departure.due))
      bin->received_bytes += departure.passenger.bytes;
  }
  return departure;
}

std::optional<TimePoint> Way::next() const {
  std::optional<TimePoint> first;
  if (!departures_.empty()) first = departures_.front().due;
  for (const proving::Link& link : links_) {
    const auto next = link.next(std::max(clock_, TimePoint()));
    if (next && (!first || *next < *first)) first = next;
  }
  return first;
}

void Way::shift_clock(Duration shift) {
  for (Departure& d : departures_) d.due += shift;
  for (TimePoint& t : last_due_) {
    if (t != TimePoint::min()) t += shift;
  }
  clock_ = TimePoint::min();
}

void Way::tell(std::size_t site, double shaped_bps, bool demand) {
  told_[site] = {shaped_bps, demand};
}

/// The bins that have ended: what stands at their end is written into them.
void Way::close_bins(TimePoint now) {
  const auto bins = static_cast<std::size_t>(scenario_.length / kBin);
  for (; closed_ < bins && start_of_bin(closed_ + 1) <= now; ++closed_) {
    for (std::size_t i = 0; i < links_.size(); ++i) {
      if (link_bins_[i].empty()) continue;
      link_bins_[i][closed_].capacity_bps = scenario_.links[i].settings.capacity.at(start_of_bin(closed_));
      link_bins_[i][closed_].queue_ms = milliseconds(links_[i].queue(start_of_bin(closed_ + 1)));
    }
    for (std::size_t i = 0; i < site_bins_.size(); ++i) {
      site_bins_[i][closed_].shaped_bps = told_[i].shaped_bps;
      site_bins_[i][closed_].demand = told_[i].demand;
    }
  }
}

void Way::add_to(proving::Truth& truth) const {
  const auto until_now = [&](const auto& bins) {
    return std::vector(bins.begin(),
                       bins.begin() + static_cast<std::ptrdiff_t>(std::min(closed_, bins.size())));
  };
  truth.links.resize(links_.size());
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (scenario_.links[i].back == back_) truth.links[i] = until_now(link_bins_[i]);
  }
  if (back_) return;
  truth.sites.clear();
  for (const auto& bins : site_bins_) truth.sites.push_back(until_now(bins));
}

}  // namespace weir::lab
