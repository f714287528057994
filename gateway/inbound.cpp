#include "gateway/inbound.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "config/site_classes.hpp"

namespace weir::gateway {
namespace {

std::vector<Rate> rates_of(const Policy& lan) {
  std::vector<Rate> rates;
  rates.reserve(lan.sites.size());
  for (const SitePolicy& site : lan.sites) rates.push_back(site.rate.start);
  return rates;
}

}  // namespace

shaper::ApplyReport Inbound::put_in_force(const Policy& whole, const Instant& now) {
  auto lan = lan_policy(whole);
  if (!lan || lan->sites.empty()) {
    shaper::ApplyReport report = take_away(now);
    if (report.ok()) policy_.reset();
    return report;
  }
  shaper::ApplyReport report = tree_.apply(*lan, rates_of(*lan), now);
  if (!report.ok()) return report;
  if (!policy_) {
    events_.record(
        report.adopted ? EventKind::adopted : EventKind::applied, Severity::info, "",
        fmt::format("{}: {} the tree for what comes from {} site(s) with {} message(s)", lan->wan.interface,
                    report.adopted ? "adopted" : "programmed", lan->sites.size(), report.messages),
        now.wall);
  }
  take_over(*std::move(lan));
  return report;
}

void Inbound::keep_trying(const Policy& whole, const Instant& now) {
  auto lan = lan_policy(whole);
  if (!lan || lan->sites.empty()) {
    policy_.reset();
    return;
  }
  take_over(*std::move(lan));
  restore(now);
}

void Inbound::take_over(Policy lan) {
  std::vector<Site> next(lan.sites.size());
  for (std::size_t i = 0; policy_ && i < policy_->sites.size(); ++i) {
    const auto known = std::ranges::find(lan.sites, policy_->sites[i].name, &SitePolicy::name);
    if (known != lan.sites.end())
      next[static_cast<std::size_t>(known - lan.sites.begin())] = std::move(sites_[i]);
  }
  left_over_.reset();
  rates_ = rates_of(lan);
  sites_ = std::move(next);
  policy_ = std::move(lan);
}

void Inbound::restore(const Instant& now) {
  if (policy_) {
    left_over_.reset();
    tree_.restore(*policy_, rates_, now);
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
  if (policy_) tree_.look(*policy_, rates_, suspicion, now);
}

void Inbound::every_second(const Instant& now) {
  if (!policy_) {
    if (left_over_) (void)take_away(now);
    return;
  }
  tree_.every_second(*policy_, rates_, false, now);
  try {
    const std::vector<shaper::SiteCounters> counters = port_.site_counters();
    for (std::size_t i = 0; i < std::min(counters.size(), sites_.size()); ++i) {
      sites_[i].sent.read(counters[i].sent, now.steady);
      sites_[i].backlog = counters[i].backlog;
    }
  } catch (const std::exception&) {
    for (Site& site : sites_) site = Site{};  // the tree cannot be looked at either, and that is told
  }
}

std::optional<InboundStatus> Inbound::status_of(std::string_view site) const {
  if (!policy_) return std::nullopt;
  const auto found = std::ranges::find(policy_->sites, site, &SitePolicy::name);
  if (found == policy_->sites.end()) return std::nullopt;
  const auto i = static_cast<std::size_t>(found - policy_->sites.begin());
  return InboundStatus{.policy = policy_name(*policy_, *found),
                       .shaped = tree_.status().in_place ? std::optional(rates_[i]) : std::nullopt,
                       .sent = sites_[i].sent.of_last_second(),
                       .backlog = sites_[i].backlog};
}

std::optional<LanStatus> Inbound::status() const {
  if (!policy_) return std::nullopt;
  return LanStatus{
      .interface = policy_->wan.interface, .port_rate = policy_->wan.rate, .shaper = tree_.status()};
}

}  // namespace weir::gateway
