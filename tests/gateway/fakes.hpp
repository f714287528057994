/// Stand-ins for what the gateway drives: a port that remembers, and a law that does as it is told.
#pragma once

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "estimator/estimator.hpp"
#include "gateway/clock.hpp"
#include "gateway/port.hpp"
#include "gateway/rate_law.hpp"

namespace weir::gateway::test {

inline Instant at(double s) {
  return {
      .steady = TimePoint(from_seconds(s)),
      .wall = WallTime(std::chrono::milliseconds(1'700'000'000'000 + static_cast<std::int64_t>(s * 1000)))};
}

inline SitePolicy site(const std::string& name, std::uint64_t floor, std::uint64_t start,
                       std::uint64_t ceiling, const char* subnet = "10.20.0.0/16") {
  return {.name = name,
          .subnets = {*Prefix::parse(subnet)},
          .rate = {.floor = Rate::mbps(floor), .ceiling = Rate::mbps(ceiling), .start = Rate::mbps(start)},
          .class_set = 0};
}

inline Policy policy_of(std::vector<SitePolicy> sites) {
  Policy policy;
  policy.wan = {.interface = "wan0", .rate = Rate::mbps(622), .link_layer = {}};
  policy.class_sets = {
      {.name = "usual",
       .classes = {ClassPolicy{.name = "rest", .match = {}, .is_default = true, .guarantee = std::nullopt}}}};
  policy.sites = std::move(sites);
  return policy;
}

/// A kernel in miniature: holds a tree or none, counts what is written, refuses when told to.
class FakePort final : public Port {
 public:
  std::optional<std::vector<Rate>> tree;  ///< shaped rates in force; nullopt: no tree stands
  std::optional<Policy> policy;           ///< last applied
  std::optional<shaper::KernelFault> refuse_rates;
  std::optional<shaper::KernelFault> refuse_apply;
  std::optional<std::string> refuse_policy_with_site;  ///< apply of a policy that has this site fails
  bool counters_fail = false;
  bool fifo_leaves = false;
  std::vector<shaper::SiteCounters> counters;
  std::vector<shaper::ClassCounters> classes;
  std::optional<shaper::ArrivalCounters> arrived;
  std::size_t applies = 0;
  std::vector<std::vector<Rate>> batches;

  std::optional<std::vector<std::optional<Rate>>> adopted_rates(const Policy& wanted) override {
    if (!tree) return std::nullopt;
    std::vector<std::optional<Rate>> rates(tree->begin(), tree->end());
    rates.resize(wanted.sites.size());
    return rates;
  }
  shaper::ApplyReport apply(const Policy& wanted, std::span<const Rate> shaped) override {
    ++applies;
    shaper::ApplyReport report;
    report.fault = refuse_apply;
    if (refuse_policy_with_site) {
      for (const SitePolicy& s : wanted.sites) {
        if (s.name == *refuse_policy_with_site)
          report.fault = {.attempt = "create class", .error = EINVAL, .hint = {}};
      }
    }
    if (report.fault) return report;
    const std::vector<Rate> rates(shaped.begin(), shaped.end());
    report.adopted = tree.has_value();
    report.degraded = fifo_leaves;
    report.messages = tree == rates ? 0 : 3;
    tree = rates;
    policy = wanted;
    if (counters.size() != wanted.sites.size()) counters.resize(wanted.sites.size());
    return report;
  }
  shaper::ApplyReport set_rates(std::span<const Rate> shaped) override {
    shaper::ApplyReport report;
    batches.emplace_back(shaped.begin(), shaped.end());
    report.fault = refuse_rates;
    if (!report.fault) {
      tree = batches.back();
      report.messages = shaped.size();
    }
    return report;
  }
  std::vector<shaper::SiteCounters> site_counters() override {
    if (counters_fail) throw std::system_error(ENODEV, std::generic_category(), "read class 7e17:10 of wan0");
    return counters;
  }
  std::vector<shaper::ClassCounters> class_counters() override { return classes; }
  std::optional<shaper::Verdict> explain(const shaper::PacketQuery& query) override {
    if (counters_fail) throw std::system_error(EPERM, std::generic_category(), "ask the classifier program");
    if (!policy) return std::nullopt;
    return shaper::judge(*policy, query);
  }
  std::optional<shaper::ArrivalCounters> arrivals() override {
    if (counters_fail) throw std::system_error(EPERM, std::generic_category(), "read the arrival counters");
    return arrived;
  }
  bool in_place() override { return tree.has_value(); }
  shaper::ApplyReport clear() override {
    shaper::ApplyReport report;
    report.fault = refuse_apply;
    if (!report.fault && tree) report.messages = 2;
    if (!report.fault) tree.reset();
    return report;
  }
};

/// What a test wants a site's law to decide, and what the law was given.
struct LawScript {
  RateDecision decision;
  std::vector<ControlInput> inputs;
  ControlLimits limits;
  ControlStart start;
  SiteMemory memory;  ///< what the law would leave behind
  std::size_t made = 0;
};

class ScriptedLaw final : public RateLaw {
 public:
  explicit ScriptedLaw(LawScript& script) : script_(script) {}
  const RateDecision& step(const ControlInput& input, TimePoint) override {
    script_.inputs.push_back(input);
    return current_ = script_.decision;
  }
  void set_limits(const ControlLimits& limits, TimePoint) override {
    script_.limits = limits;
    script_.decision.rate = std::clamp(script_.decision.rate, limits.floor, limits.ceiling);
    current_.rate = std::clamp(current_.rate, limits.floor, limits.ceiling);
  }
  const RateDecision& decision() const override { return current_; }
  SiteMemory memory(TimePoint) const override { return script_.memory; }
  std::string state() const override { return "scripted"; }
  void begin_at(const ControlLimits& limits, const ControlStart& start) {
    ++script_.made;
    script_.limits = limits;
    script_.start = start;
    script_.decision.rate = start.rate;
    current_ = script_.decision;
  }

 private:
  LawScript& script_;
  RateDecision current_;
};

/// Hands out scripts in the order in which sites are made.
class LawMaker {
 public:
  MakeRateLaw maker() {
    return [this](const ControlLimits& limits, const ControlStart& start, TimePoint) {
      scripts_.push_back(std::make_unique<LawScript>());
      auto law = std::make_unique<ScriptedLaw>(*scripts_.back());
      law->begin_at(limits, start);
      return law;
    };
  }
  LawScript& operator[](std::size_t i) { return *scripts_.at(i); }
  [[nodiscard]] std::size_t made() const { return scripts_.size(); }

 private:
  std::vector<std::unique_ptr<LawScript>> scripts_;
};

/// A tick in which `sites` sites sent `bytes` each.
inline TickResult quiet_tick(std::size_t sites, const Instant& now, Bytes bytes = Bytes(0)) {
  TickResult tick;
  SiteMeasurement measurement;
  measurement.at = now.steady;
  measurement.interval = kCohortLength;
  measurement.sent = bytes;
  tick.outbound.assign(sites + 1, measurement);
  tick.inbound.assign(sites + 1, measurement);
  return tick;
}

}  // namespace weir::gateway::test
