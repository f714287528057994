#include <algorithm>
#include <cstdio>
#include <vector>

#include <fmt/format.h>

#include "config/load.hpp"
#include "config/manual.hpp"
#include "config/schema.hpp"
#include "config/site_classes.hpp"
#include "gateway/cli.hpp"
#include "gateway/cli_answer.hpp"
#include "gateway/port.hpp"
#include "shaper/port_shaper.hpp"

namespace weir::gateway {
namespace {

shaper::PortShaper::Options shaper_options(const PortOptions& options) {
  return {.replace_foreign = options.replace, .state_dir = options.state_dir, .bpf_dir = options.bpf_dir};
}

/// What a daemon that started or reloaded now would keep: the rates of the tree that stands, where there is
/// one.
std::vector<Rate> rates_in_force(shaper::PortShaper& port, const Policy& policy) {
  std::vector<Rate> rates = start_rates(policy);
  const auto adopted = port.adopted_rates(policy);
  for (std::size_t i = 0; adopted && i < rates.size(); ++i) {
    const SiteRates& limits = policy.sites[i].rate;
    if (limits.adapt && (*adopted)[i]) rates[i] = std::clamp(*(*adopted)[i], limits.floor, limits.ceiling);
  }
  return rates;
}

int report_outcome(const shaper::ApplyReport& report, const std::string& port, std::string_view done) {
  for (const std::string& change : report.changes) fmt::print("{}\n", change);
  if (!report.ok()) {
    fmt::print(stderr, "weir: {}\n", describe(*report.fault));
    return kExitSystem;
  }
  if (report.degraded) {
    fmt::print(stderr, "weir: DEGRADED: this kernel has no fq_codel, plain FIFOs serve the classes of {}\n",
               port);
  }
  if (report.messages == 0)
    fmt::print("{}: nothing to change\n", port);
  else
    fmt::print("{}: {} ({} kernel message{})\n", port, done, report.messages,
               report.messages == 1 ? "" : "s");
  return kExitOk;
}

/// The WAN port's and, where the file names one, the LAN port's, which has no sites if nothing is shaped
/// there.
std::vector<Policy> policies_of_ports(const Policy& policy) {
  std::vector<Policy> all{policy};
  if (auto lan = lan_policy(policy)) all.push_back(*std::move(lan));
  return all;
}

void plan_port(const Policy& policy, const PortOptions& options, bool as_tc) {
  auto looking = shaper_options(options);
  looking.look_only = true;
  shaper::PortShaper port(policy.wan.interface, looking);
  const auto rates = rates_in_force(port, policy);
  const auto lines = port.plan(policy, rates, as_tc);
  for (const std::string& line : lines) fmt::print("{}\n", line);
  if (lines.empty()) fmt::print("{}{}: nothing to change\n", as_tc ? "# " : "", policy.wan.interface);
  const auto size = port.size(policy, rates);
  constexpr std::uint64_t kKibi = 1024;
  const std::uint64_t kibibytes = (size.memory.count() + kKibi - 1) / kKibi;
  const bool large = kibibytes >= kKibi;
  fmt::print("{}in all {} classes, {} queues, about {} {} of kernel memory with the classifier\n",
             as_tc ? "# " : "", size.classes, size.queues, large ? kibibytes / kKibi : kibibytes,
             large ? "MiB" : "KiB");
}

/// Of a port where the policy shapes nothing: what an earlier one left.
void plan_clearing(const Policy& policy, const PortOptions& options, bool as_tc) {
  const std::string& interface = policy.wan.interface;
  auto looking = shaper_options(options);
  looking.look_only = true;
  if (!shaper::PortShaper(interface, looking).adopted_rates(policy)) return;
  fmt::print("{}\n", as_tc ? fmt::format("tc qdisc del dev {} root", interface)
                           : fmt::format("remove the tree of {}, where nothing is shaped", interface));
}

}  // namespace

int check_policy(const std::filesystem::path& file) {
  const auto policy = load_or_complain(file);
  if (!policy) return kExitPolicy;
  std::size_t subnets = 0;
  std::size_t classes = 0;
  for (const SitePolicy& site : policy->sites) {
    subnets += site.subnets.size();
    classes += number_of_classes(*policy, site);
  }
  fmt::print("{}: good: {} site(s), {} subnet(s), {} class(es) on {} at {}\n", file.string(),
             policy->sites.size(), subnets, classes, policy->wan.interface, to_string(policy->wan.rate));
  if (!policy->inbound.empty()) {
    std::size_t inbound = 0;
    for (const SitePolicy& site : policy->inbound) inbound += number_of_classes(*policy, site);
    fmt::print("{}: what comes from {} of them in {} class(es) on {} at {}\n", file.string(),
               policy->inbound.size(), inbound, policy->lan->interface, to_string(policy->lan->rate));
  }
  return kExitOk;
}

int print_schema() {
  fmt::print("{}\n", policy_schema());
  return kExitOk;
}

int print_manual() {
  fmt::print("{}", policy_manual());
  return kExitOk;
}

int apply_once(const std::filesystem::path& file, const PortOptions& options) {
  const auto policy = load_or_complain(file);
  if (!policy) return kExitPolicy;
  for (const Policy& of_port : policies_of_ports(*policy)) {
    const std::string& interface = of_port.wan.interface;
    shaper::PortShaper port(interface, shaper_options(options));
    const bool shaped = !of_port.sites.empty();
    // Where nothing is shaped, what an earlier policy left has to go.
    const auto report = shaped ? port.apply(of_port, start_rates(of_port)) : port.clear();
    if (!shaped && report.ok() && report.messages == 0) continue;
    const int outcome = report_outcome(report, interface, shaped ? "programmed" : "cleared");
    if (outcome != kExitOk) return outcome;
  }
  return kExitOk;
}

int show_plan(const std::filesystem::path& file, const PortOptions& options, bool as_tc) {
  const auto policy = load_or_complain(file);
  if (!policy) return kExitPolicy;
  for (const Policy& of_port : policies_of_ports(*policy)) {
    if (!of_port.sites.empty()) {
      plan_port(of_port, options, as_tc);
    } else {
      plan_clearing(of_port, options, as_tc);
    }
  }
  return kExitOk;
}

int clear_port(const std::string& interface, const PortOptions& options) {
  shaper::PortShaper port(interface, shaper_options(options));
  return report_outcome(port.clear(), interface, "cleared");
}

int clear_port_of(const std::filesystem::path& file, const PortOptions& options) {
  const auto policy = load_or_complain(file);
  if (!policy) return kExitPolicy;
  int worst = kExitOk;
  for (const Policy& of_port : policies_of_ports(*policy))
    worst = std::max(worst, clear_port(of_port.wan.interface, options));
  return worst;
}

}  // namespace weir::gateway
