/// What no single value shows of ports and sites: names that clash, sums that do not fit.

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "config/draft_checker.hpp"
#include "config/load.hpp"
#include "config/spelling.hpp"
#include "config/suggest.hpp"

namespace weir {
namespace {

/// Sums of fractions such as 33.3 % + 33.3 % + 33.4 % miss 1 by rounding.
constexpr double kRounding = 1e-9;

/// Names, addresses and rates of ports and sites.
class SiteChecker : DraftChecker {
 public:
  using DraftChecker::DraftChecker;

  void everything() {
    ports_differ();
    site_names_differ();
    subnets_have_one_owner();
    for (const SiteDraft& site : draft_.sites) site_rates_are_in_order(site);
    for (const SiteDraft& site : draft_.inbound) inbound_rate_fits(site);
    policies_exist();
    for_each_site([this](const SiteDraft& site) { subnets_are_classes(site); });
    built_in_is_in_order(draft_.control, Policy{}.control);
    built_in_is_in_order(draft_.elsewhere, Policy{}.elsewhere);
    floors_fit_the_port(draft_.sites, draft_.wan_rate);
    floors_fit_the_port(draft_.inbound, lan_rate());
    classes_fit_the_kernel(draft_.sites);
    classes_fit_the_kernel(draft_.inbound);
  }

 private:
  // --- names and references ---

  void ports_differ() {
    if (!draft_.wan_interface || !draft_.lan_interface) return;
    if (draft_.wan_interface->value != draft_.lan_interface->value) return;
    report(draft_.lan_interface->at,
           in_quotes(draft_.lan_interface->value) + " is the interface of both wan and lan",
           "a bridge has two ports: name the other one");
  }

  void site_names_differ() {
    std::unordered_map<std::string_view, Place> names;
    for (const SiteDraft& site : draft_.sites) {
      if (!site.name) continue;
      report_if_repeated(names, *site.name, "site");
      if (site.name->value == "elsewhere" || site.name->value == "control") {
        report(site.name->at, in_quotes(site.name->value) + " is the name of a built-in class",
               "give the site another name");
      }
    }
  }

  void subnets_have_one_owner() {
    struct Owned {
      const Placed<Prefix>* subnet;
      const SiteDraft* site;
    };
    std::vector<Owned> all;
    for (const SiteDraft& site : draft_.sites) {
      for (const auto& subnet : site.subnets) all.push_back({.subnet = &subnet, .site = &site});
    }
    // Sorted, equal ones are neighbours; the first in the file comes first among them.
    std::sort(all.begin(), all.end(), [](const Owned& a, const Owned& b) {
      return std::tie(a.subnet->value, a.subnet->at) < std::tie(b.subnet->value, b.subnet->at);
    });
    const Owned* first = nullptr;
    for (const Owned& owned : all) {
      if (first == nullptr || first->subnet->value != owned.subnet->value) {
        first = &owned;
        continue;
      }
      const std::string where = files_.on_line(first->subnet->at);
      if (owned.site == first->site) {
        report(owned.subnet->at,
               owned.subnet->value.to_string() + " stands twice in site " + name_of(owned.site->name) +
                   ", first " + where,
               "remove one of them");
      } else {
        report(owned.subnet->at,
               owned.subnet->value.to_string() + " belongs to site " + name_of(first->site->name) + " (" +
                   where + ") and to site " + name_of(owned.site->name),
               "leave it in one site; a longer prefix within it may go to the other");
      }
    }
  }

  void policies_exist() {
    GuessBudget guesses;
    for_each_site([&](const SiteDraft& site) {
      for (const auto* named : {&site.policy, &site.policy_of_subnets}) {
        if (!*named || set_named((*named)->value) != nullptr) continue;
        NearestName nearest((*named)->value);
        if (guesses.spend(draft_.class_sets.size())) {
          for (const ClassSetDraft& set : draft_.class_sets) nearest.offer(set.name);
        }
        report((*named)->at, "there is no policy " + in_quotes((*named)->value),
               nearest.best() ? "did you mean " + in_quotes(*nearest.best()) + "?"
                              : "define it under 'policies', or leave 'policy' out for a single class");
      }
    });
  }

  void subnets_are_classes(const SiteDraft& site) {
    if (!site.each_subnet) return;
    if (site.policy) {
      report(site.policy->at, "with each_subnet the site has no classes of its own",
             "write the policy into each_subnet: every subnet then has its classes");
    }
    if (site.policy_of_subnets && site.each_subnet->leaf_at) {
      report(*site.each_subnet->leaf_at, "packets of a subnet wait in the classes of its policy",
             "write 'leaf' into these classes");
    }
    if (site.policy_of_subnets && site.each_subnet->priority) {
      report(site.each_subnet->at,
             "packets of a subnet wait in the classes of its policy, which have their own turn",
             "write 'priority' into these classes");
    }
    guarantees_of_subnets_fit(site);
    ceiling_of_subnets_is_above(site);
  }

  void ceiling_of_subnets_is_above(const SiteDraft& site) {
    const auto& [guarantee, ceiling] = std::tie(site.each_subnet->guarantee, site.each_subnet->ceiling);
    if (!guarantee || !ceiling || !site.floor) return;
    if (resolve(guarantee->value, site.floor->value) <= resolve(ceiling->value, site.floor->value)) return;
    report(ceiling->at,
           "the ceiling of each subnet is below its guarantee at the " + least_rate_of(site) + " of " +
               described(site),
           "raise the ceiling or lower the guarantee");
  }

  void guarantees_of_subnets_fit(const SiteDraft& site) {
    const auto& guarantee = site.each_subnet->guarantee;
    if (!guarantee || !site.floor) return;
    const double floor = bps_of(site.floor->value);
    const double total =
        bps_of(resolve(guarantee->value, site.floor->value)) * static_cast<double>(site.subnets.size());
    if (total <= floor * (1.0 + kRounding)) return;
    report(guarantee->at,
           "the guarantees of " + std::to_string(site.subnets.size()) + " subnets add up to " + about(total) +
               " at " + described(site) + ", whose " + least_rate_of(site) + " is " +
               to_string(site.floor->value),
           "write at most " + about(floor / static_cast<double>(site.subnets.size())) + ", or raise the " +
               least_rate_of(site));
  }

  // --- rates ---

  void site_rates_are_in_order(const SiteDraft& site) {
    // A ceiling that could not be read bounds nothing; one that was not given is the port's rate.
    const bool ceiling_is_port = !site.ceiling_given && draft_.wan_rate;
    const auto& port = draft_.wan_rate;
    if (site.ceiling && port && site.ceiling->value > port->value) {
      report(site.ceiling->at,
             "ceiling " + to_string(site.ceiling->value) + " is above the port's rate of " +
                 to_string(port->value),
             "write at most " + to_string(port->value) + ", or correct wan.rate " + files_.on_line(port->at));
    }
    if (site.floor && site.ceiling && site.floor->value > site.ceiling->value) {
      report(site.floor->at,
             "floor " + to_string(site.floor->value) + " is above the ceiling of " +
                 to_string(site.ceiling->value),
             "write at most " + to_string(site.ceiling->value) + ", or raise the ceiling");
    } else if (site.floor && ceiling_is_port && site.floor->value > port->value) {
      report(
          site.floor->at,
          "floor " + to_string(site.floor->value) + " is above the port's rate of " + to_string(port->value),
          "write at most " + to_string(port->value) + ", or correct wan.rate " + files_.on_line(port->at));
    }
    start_is_between_floor_and_ceiling(site, ceiling_is_port ? port : site.ceiling);
  }

  void start_is_between_floor_and_ceiling(const SiteDraft& site, const std::optional<Placed<Rate>>& ceiling) {
    if (!site.start || (site.floor && ceiling && site.floor->value > ceiling->value)) return;
    const Rate start = site.start->value;
    if (site.floor && start < site.floor->value) {
      report(site.start->at,
             "start " + to_string(start) + " is below the floor of " + to_string(site.floor->value),
             "write at least " + to_string(site.floor->value));
    } else if (ceiling && start > ceiling->value) {
      report(site.start->at,
             "start " + to_string(start) + " is above the " + std::string(site.inbound ? "rate" : "ceiling") +
                 " of " + to_string(ceiling->value),
             "write at most " + to_string(ceiling->value));
    }
  }

  [[nodiscard]] const std::optional<Placed<Rate>>& lan_rate() const {
    return draft_.lan_rate ? draft_.lan_rate : draft_.wan_rate;
  }

  void inbound_rate_fits(const SiteDraft& site) {
    if (!draft_.lan_given) {
      report(site.at, described(site) + " is shaped at the LAN port, and the file names none",
             "add lan: {interface: lan0}");
    }
    const auto& port = lan_rate();
    if (site.ceiling && port && site.ceiling->value > port->value) {
      report(site.ceiling->at,
             "rate " + to_string(site.ceiling->value) + " is above the LAN port's rate of " +
                 to_string(port->value),
             "write at most " + to_string(port->value) + ", or a higher lan.rate");
    }
    if (!site.adapt.value_or(true)) {
      if (site.start)
        report(site.start->at, "start is of a rate that follows the path, and this one stands still",
               "add floor: with the least that it may be, or remove start");
      return;
    }
    if (site.floor && site.ceiling && site.floor->value > site.ceiling->value) {
      report(
          site.floor->at,
          "floor " + to_string(site.floor->value) + " is above the rate of " + to_string(site.ceiling->value),
          "write at most " + to_string(site.ceiling->value) + ", or raise the rate");
    }
    start_is_between_floor_and_ceiling(site, site.ceiling);
  }

  void built_in_is_in_order(const BuiltInDraft& draft, const BuiltInClass& defaults) {
    if (!draft_.wan_rate) return;
    const Rate port = draft_.wan_rate->value;
    for (const auto* given : {&draft.guarantee, &draft.ceiling}) {
      if (*given && resolve((*given)->value, port) > port) {
        report((*given)->at, spelled((*given)->value) + " is above the port's rate of " + to_string(port),
               "write at most 100%");
        return;
      }
    }
    const auto& blamed = draft.ceiling ? draft.ceiling : draft.guarantee;
    if (!blamed) return;
    const RateOrShare guarantee = draft.guarantee ? draft.guarantee->value : defaults.guarantee;
    const RateOrShare ceiling = draft.ceiling ? draft.ceiling->value : defaults.ceiling;
    if (resolve(guarantee, port) > resolve(ceiling, port)) {
      report(blamed->at,
             "the ceiling of " + spelled(ceiling) + " is below the guarantee of " + spelled(guarantee),
             "raise the ceiling or lower the guarantee");
    }
  }

  [[nodiscard]] static Rate reserved(const BuiltInDraft& draft, const BuiltInClass& defaults, Rate port) {
    return resolve(draft.guarantee ? draft.guarantee->value : defaults.guarantee, port);
  }

  /// HTB keeps a guarantee only when the guarantees of all siblings fit into the parent.
  void floors_fit_the_port(const std::vector<SiteDraft>& sites, const std::optional<Placed<Rate>>& given) {
    if (!given) return;
    const Rate port = given->value;
    const Rate built_in = reserved(draft_.control, Policy{}.control, port) +
                          reserved(draft_.elsewhere, Policy{}.elsewhere, port);
    Rate floors;
    const SiteDraft* crossing = nullptr;
    for (const SiteDraft& site : sites) {
      if (!site.floor) continue;
      if (site.floor->value > port) return;  // has been reported, and explains the sum
      floors = floors + site.floor->value;
      if (crossing == nullptr && floors + built_in > port) crossing = &site;
    }
    if (crossing == nullptr) return;
    const Rate excess = floors + built_in - port;
    report(
        crossing->floor->at,
        (crossing->inbound ? "the least rates of all that comes from sites (" : "the floors of all sites (") +
            to_string(floors) + ") and what control and elsewhere are guaranteed (" +
            about(bps_of(built_in)) + ") do not fit into the " + (crossing->inbound ? "LAN " : "") +
            "port's " + to_string(port),
        "lower the " + least_rate_of(*crossing) + "s by " + about(bps_of(excess)) + " in total" +
            (crossing->inbound ? ", or write a higher lan.rate" : ""));
  }

  void classes_fit_the_kernel(const std::vector<SiteDraft>& sites) {
    std::size_t classes = 0;
    for (const SiteDraft& site : sites) {
      const ClassSetDraft* set = set_of(site);
      const std::size_t of_policy = set != nullptr ? set->classes.size() : 1;
      const std::size_t of_subnet = site.policy_of_subnets ? 1 + of_policy : 1;
      classes += 1 + (site.each_subnet ? site.subnets.size() * of_subnet : of_policy);
      if (classes > kMostClasses) {
        report(site.at,
               "from here on the port would need more than " + std::to_string(kMostClasses) +
                   " classes, the most that HTB can number",
               "give sites policies with fewer classes, or join sites");
        return;
      }
    }
  }
};

}  // namespace

DraftChecker::DraftChecker(const PolicyDraft& draft, const SourceFiles& files, Problems& problems)
    : draft_(draft), files_(files), problems_(problems) {
  for (std::size_t i = 0; i < draft.class_sets.size(); ++i) set_by_name_.emplace(draft.class_sets[i].name, i);
}

void DraftChecker::report(Place at, std::string message, std::string mend) {
  problems_.push_back({.line = at.line,
                       .column = at.column,
                       .message = std::move(message),
                       .mend = std::move(mend),
                       .file = at.file});
}

void DraftChecker::report_if_repeated(std::unordered_map<std::string_view, Place>& names,
                                      const Placed<std::string>& name, std::string_view what) {
  const auto [first, fresh] = names.emplace(name.value, name.at);
  if (fresh) return;
  report(name.at,
         std::string(what) + " " + in_quotes(name.value) + " stands twice, first " +
             files_.on_line(first->second),
         "rename or remove one of them");
}

const ClassSetDraft* DraftChecker::set_named(std::string_view name) const {
  const auto found = set_by_name_.find(name);
  return found != set_by_name_.end() ? &draft_.class_sets[found->second] : nullptr;
}

const ClassSetDraft* DraftChecker::set_of(const SiteDraft& site) const {
  if (site.each_subnet) return site.policy_of_subnets ? set_named(site.policy_of_subnets->value) : nullptr;
  return set_named(site.policy ? std::string_view(site.policy->value) : "default");
}

std::string name_of(const std::optional<Placed<std::string>>& name) {
  return name ? in_quotes(name->value) : "without a name";
}

std::string described(const SiteDraft& site) {
  return (site.inbound ? "what comes from site " : "site ") + name_of(site.name);
}

std::string about(double bps) {
  if (bps < 1e6) return to_string(Rate::bps(static_cast<std::uint64_t>(bps)));
  return to_string(Rate::kbps(static_cast<std::uint64_t>(std::llround(bps / 1e3))));
}

std::string spelled(const RateOrShare& value) {
  if (const auto* rate = std::get_if<Rate>(&value)) return to_string(*rate);
  return percent_to_string(std::get<Share>(value).fraction);
}

void check_draft(const PolicyDraft& draft, const SourceFiles& files, Problems& problems) {
  SiteChecker(draft, files, problems).everything();
  check_class_sets(draft, files, problems);
}

}  // namespace weir
