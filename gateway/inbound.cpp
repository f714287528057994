#include "gateway/inbound.hpp"

#include <algorithm>
#include <exception>
#include <span>
#include <utility>

#include <fmt/format.h>

namespace weir::gateway {
namespace {}  // namespace

shaper::ApplyReport Inbound::put_in_force(const Policy& whole, const Instant& now,
                                          const SiteMemories& remembered) {
  auto lan = lan_policy(whole);
  if (!lan || lan->sites.empty()) {
    shaper::ApplyReport report = take_away(now);
    if (report.ok()) give_up(now);
    return report;
  }
  const auto adopted = policy_ ? std::nullopt : rates_that_stand(*lan);
  const std::vector<ControlStart> starts = loop_.starts_for(
      *lan, adopted ? std::span(*adopted) : std::span<const std::optional<Rate>>(), remembered);
  shaper::ApplyReport report = tree_.apply(*lan, rates_of(starts), now);
  if (!report.ok()) return report;
  if (!policy_) {
    events_.record(
        report.adopted ? EventKind::adopted : EventKind::applied, Severity::info, "",
        fmt::format("{}: {} the tree for what comes from {} site(s) with {} message(s)", lan->wan.interface,
                    report.adopted ? "adopted" : "programmed", lan->sites.size(), report.messages),
        now.wall);
  }
  take_over(*std::move(lan), whole, starts, now);
  return report;
}

/// A tree that nobody of this process made: its rates are where the daemon before left them.
std::optional<std::vector<std::optional<Rate>>> Inbound::rates_that_stand(const Policy& lan) {
  try {
    return port_.adopted_rates(lan);
  } catch (const std::exception&) {
    return std::nullopt;  // the port can't be written either, and that is told
  }
}

void Inbound::keep_trying(const Policy& whole, const Instant& now, const SiteMemories& remembered) {
  auto lan = lan_policy(whole);
  if (!lan || lan->sites.empty()) return give_up(now);
  const std::vector<ControlStart> starts = loop_.starts_for(*lan, {}, remembered);
  take_over(*std::move(lan), whole, starts, now);
  restore(now);
}

void Inbound::take_over(Policy lan, const Policy& whole, const std::vector<ControlStart>& starts,
                        const Instant& now) {
  places_.clear();
  adapts_ = false;
  for (const SitePolicy& site : lan.sites) {
    places_.push_back(static_cast<std::size_t>(std::ranges::find(whole.sites, site.name, &SitePolicy::name) -
                                               whole.sites.begin()));
    adapts_ = adapts_ || site.rate.adapt;
  }
  all_sites_ = whole.sites.size();
  left_over_.reset();
  loop_.take_over(lan, starts, now);
  policy_ = std::move(lan);
}

void Inbound::give_up(const Instant& now) {
  loop_.take_over(Policy{}, {}, now);
  policy_.reset();
}

void Inbound::restore(const Instant& now) {
  if (policy_) {
    left_over_.reset();
    const auto rates = loop_.wanted_rates();
    if (tree_.restore(*policy_, rates, now)) loop_.rates_written(rates);
  } else {
    (void)take_away(now);
  }
}

shaper::ApplyReport Inbound::take_away(const Instant& now) {
  shaper::ApplyReport report = tree_.clear();
  if (report.ok()) {
    left_over_.reset();
    if (report.messages > 0) {
      events_.record(EventKind::applied, Severity::info, "", "what comes from sites is shaped no more",
                     now.wall);
    }
    return report;
  }
  std::string why = describe(*report.fault);
  if (left_over_ != why) {
    events_.record(EventKind::repair_failed, Severity::error, "",
                   "the LAN port's tree cannot be taken away, trying again: " + why, now.wall);
  }
  left_over_ = std::move(why);
  return report;
}

void Inbound::look(const std::string& suspicion, const Instant& now) {
  if (!policy_) return;
  if (const auto rates = loop_.wanted_rates(); tree_.look(*policy_, rates, suspicion, now))
    loop_.rates_written(rates);
}

void Inbound::on_tick(const TickResult& measured, const Instant& now) {
  // A result of other sites belongs to a policy before this one.
  if (!policy_ || !adapts_ || !tree_.status().in_place || measured.way_in.size() != all_sites_ ||
      measured.outbound.size() < all_sites_)
    return;
  std::vector<SiteMeasurement> way_in;
  std::vector<Bytes> outbound;
  for (const std::size_t place : places_) {
    way_in.push_back(measured.way_in[place]);
    outbound.push_back(measured.outbound[place].sent);
  }
  loop_.tick(way_in, outbound, port_, now);
}

void Inbound::every_second(const Instant& now) {
  if (!policy_) {
    if (left_over_) (void)take_away(now);
    return;
  }
  const auto rates = loop_.wanted_rates();
  if (tree_.every_second(*policy_, rates, loop_.fault() || loop_.unreadable(), now))
    loop_.rates_written(rates);
  if (!adapts_ || !tree_.status().in_place) (void)loop_.read_counters(port_, now.steady);
  loop_.sample_history(now);
}

std::optional<LanStatus> Inbound::status() const {
  if (!policy_) return std::nullopt;
  return LanStatus{
      .interface = policy_->wan.interface, .port_rate = policy_->wan.rate, .shaper = tree_.status()};
}

}  // namespace weir::gateway
