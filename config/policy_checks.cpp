/// What no single value shows: names that clash, sums that do not fit, classes that no packet reaches.

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "config/load.hpp"
#include "config/policy_draft.hpp"
#include "config/spelling.hpp"
#include "config/suggest.hpp"

namespace weir {
namespace {

/// HTB's minor numbers are 16 bits; the port, control, elsewhere and some spare ones are not for sites.
constexpr std::size_t kMostClasses = 65'500;
/// Sums of fractions such as 33.3 % + 33.3 % + 33.4 % miss 1 by rounding.
constexpr double kRounding = 1e-9;

std::string name_of(const std::optional<Placed<std::string>>& name) {
  return name ? in_quotes(name->value) : "without a name";
}

/// Rates in sums: exact spelling would show bits nobody wrote.
std::string about(double bps) {
  if (bps < 1e6) return to_string(Rate::bps(static_cast<std::uint64_t>(bps)));
  return to_string(Rate::kbps(static_cast<std::uint64_t>(std::llround(bps / 1e3))));
}

double bps_of(Rate rate) {
  return static_cast<double>(rate.bps());
}

std::string spelled(const RateOrShare& value) {
  if (const auto* rate = std::get_if<Rate>(&value)) return to_string(*rate);
  return percent_to_string(std::get<Share>(value).fraction);
}

class DraftChecker {
 public:
  DraftChecker(const PolicyDraft& draft, const SourceFiles& files, Problems& problems)
      : draft_(draft), files_(files), problems_(problems) {
    for (std::size_t i = 0; i < draft.class_sets.size(); ++i)
      set_by_name_.emplace(draft.class_sets[i].name, i);
  }

  void everything() {
    ports_differ();
    site_names_differ();
    subnets_have_one_owner();
    policies_exist();
    for (const SiteDraft& site : draft_.sites) site_rates_are_in_order(site);
    built_in_is_in_order(draft_.control, Policy{}.control);
    built_in_is_in_order(draft_.elsewhere, Policy{}.elsewhere);
    floors_fit_the_port();
    classes_fit_the_kernel();
    find_tightest_sites();
    for (const ClassSetDraft& set : draft_.class_sets) {
      class_names_differ(set);
      one_class_is_the_default(set);
      classes_can_be_reached(set);
      for (const ClassDraft& one : set.classes) match_entries_can_hold(one);
      guarantees_fit(set);
      for (const ClassDraft& one : set.classes) latency_can_be_kept(one);
    }
  }

 private:
  void report(Place at, std::string message, std::string mend) {
    problems_.push_back({.line = at.line,
                         .column = at.column,
                         .message = std::move(message),
                         .mend = std::move(mend),
                         .file = at.file});
  }

  // --- names and references ---

  void ports_differ() {
    if (!draft_.wan_interface || !draft_.lan_interface) return;
    if (draft_.wan_interface->value != draft_.lan_interface->value) return;
    report(draft_.lan_interface->at,
           in_quotes(draft_.lan_interface->value) + " is the interface of both wan and lan",
           "a bridge has two ports: name the other one");
  }

  /// `names` maps each name met so far to its place.
  void report_if_repeated(std::unordered_map<std::string_view, Place>& names, const Placed<std::string>& name,
                          std::string_view what) {
    const auto [first, fresh] = names.emplace(name.value, name.at);
    if (fresh) return;
    report(name.at,
           std::string(what) + " " + in_quotes(name.value) + " stands twice, first " +
               files_.on_line(first->second),
           "rename or remove one of them");
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

  void class_names_differ(const ClassSetDraft& set) {
    std::unordered_map<std::string_view, Place> names;
    for (const ClassDraft& one : set.classes) {
      if (one.name) report_if_repeated(names, *one.name, "class");
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

  /// The class set of a site; nullptr for the built-in one and for a name that does not exist.
  [[nodiscard]] const ClassSetDraft* set_of(const SiteDraft& site) const {
    const auto found = set_by_name_.find(site.policy ? std::string_view(site.policy->value) : "default");
    return found != set_by_name_.end() ? &draft_.class_sets[found->second] : nullptr;
  }

  void policies_exist() {
    // Guessing compares every unknown name with every known one: bounded, so that no file makes it slow.
    std::size_t comparisons_left = 100'000;
    for (const SiteDraft& site : draft_.sites) {
      if (!site.policy || set_of(site) != nullptr) continue;
      NearestName nearest(site.policy->value);
      if (draft_.class_sets.size() <= comparisons_left) {
        comparisons_left -= draft_.class_sets.size();
        for (const ClassSetDraft& set : draft_.class_sets) nearest.offer(set.name);
      }
      report(site.policy->at, "there is no policy " + in_quotes(site.policy->value),
             nearest.best() ? "did you mean " + in_quotes(*nearest.best()) + "?"
                            : "define it under 'policies', or leave 'policy' out for a single class");
    }
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
             "start " + to_string(start) + " is above the ceiling of " + to_string(ceiling->value),
             "write at most " + to_string(ceiling->value));
    }
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

  [[nodiscard]] Rate reserved(const BuiltInDraft& draft, const BuiltInClass& defaults) const {
    return resolve(draft.guarantee ? draft.guarantee->value : defaults.guarantee, draft_.wan_rate->value);
  }

  /// HTB keeps a guarantee only when the guarantees of all siblings fit into the parent.
  void floors_fit_the_port() {
    if (!draft_.wan_rate) return;
    const Rate port = draft_.wan_rate->value;
    const Rate built_in =
        reserved(draft_.control, Policy{}.control) + reserved(draft_.elsewhere, Policy{}.elsewhere);
    Rate floors;
    const SiteDraft* crossing = nullptr;
    for (const SiteDraft& site : draft_.sites) {
      if (!site.floor) continue;
      if (site.floor->value > port) return;  // has been reported, and explains the sum
      floors = floors + site.floor->value;
      if (crossing == nullptr && floors + built_in > port) crossing = &site;
    }
    if (crossing == nullptr) return;
    const Rate excess = floors + built_in - port;
    report(crossing->floor->at,
           "the floors of all sites (" + to_string(floors) +
               ") and what control and elsewhere are guaranteed (" + about(bps_of(built_in)) +
               ") do not fit into the port's " + to_string(port),
           "lower the floors by " + about(bps_of(excess)) + " in total");
  }

  /// For each class set, the site with the lowest floor among those that use it: fixed rates weigh most
  /// there.
  void find_tightest_sites() {
    for (const SiteDraft& site : draft_.sites) {
      const ClassSetDraft* set = set_of(site);
      if (!site.floor || set == nullptr) continue;
      const SiteDraft*& tightest = tightest_site_[set];
      if (tightest == nullptr || site.floor->value < tightest->floor->value) tightest = &site;
    }
  }

  void guarantees_fit(const ClassSetDraft& set) {
    const auto tightest = tightest_site_.find(&set);
    const SiteDraft* site = tightest != tightest_site_.end() ? tightest->second : nullptr;
    double shares = 0;
    double fixed_bps = 0;
    const ClassDraft* crossing = nullptr;
    for (const ClassDraft& one : set.classes) {
      if (!one.guarantee) continue;
      if (const auto* rate = std::get_if<Rate>(&one.guarantee->value)) {
        fixed_bps += bps_of(*rate);
      } else {
        shares += std::get<Share>(one.guarantee->value).fraction;
      }
      const double total = shares + (site != nullptr ? fixed_bps / bps_of(site->floor->value) : 0.0);
      if (crossing == nullptr && total > 1.0 + kRounding) crossing = &one;
      guarantee_is_below_ceiling(one, site);
    }
    if (crossing == nullptr) return;
    const std::string policy = "the guarantees of policy " + in_quotes(set.name) + " add up to ";
    if (fixed_bps == 0.0) {
      report(crossing->guarantee->at, policy + percent_to_string(shares),
             "lower them by " + percent_to_string(shares - 1.0) + " in total");
      return;
    }
    if (site == nullptr) {
      report(crossing->guarantee->at, policy + percent_to_string(shares) + " and fixed rates",
             "lower the percentages below 100%");
      return;
    }
    const double floor = bps_of(site->floor->value);
    const double total = shares * floor + fixed_bps;
    report(crossing->guarantee->at,
           policy + about(total) + " at site " + name_of(site->name) + ", whose floor is " +
               to_string(site->floor->value) + " (" + files_.on_line(site->floor->at) + ")",
           "lower them by " + about(total - floor) + " in total, or raise the floor");
  }

  void guarantee_is_below_ceiling(const ClassDraft& one, const SiteDraft* site) {
    if (!one.ceiling) return;
    const RateOrShare& guarantee = one.guarantee->value;
    const RateOrShare& ceiling = one.ceiling->value;
    const bool same_kind = guarantee.index() == ceiling.index();
    if (!same_kind && site == nullptr) return;
    // Of one kind, any parent shows which is larger; else the lowest rate that a site can have does.
    const Rate parent = site != nullptr ? site->floor->value : kMostRate;
    if (resolve(guarantee, parent) <= resolve(ceiling, parent)) return;
    const std::string where = same_kind ? "" : " at the floor of site " + name_of(site->name);
    report(one.ceiling->at,
           "the ceiling of " + spelled(ceiling) + " is below the guarantee of " + spelled(guarantee) + where,
           "raise the ceiling or lower the guarantee");
  }

  /// What a class without a guarantee gets is what the others leave: that keeps no promise of time.
  void latency_can_be_kept(const ClassDraft& one) {
    if (!one.latency || one.guarantee_given) return;
    report(one.latency->at,
           "class " + name_of(one.name) +
               " has a latency goal and no guarantee: how long it waits is up to the others",
           "add guarantee: 5%, or leave 'latency' out");
  }

  // --- classes ---

  void classes_fit_the_kernel() {
    std::size_t classes = 0;
    for (const SiteDraft& site : draft_.sites) {
      const ClassSetDraft* set = set_of(site);
      classes += 1 + (set != nullptr ? set->classes.size() : 1);
      if (classes > kMostClasses) {
        report(site.at,
               "from here on the port would need more than " + std::to_string(kMostClasses) +
                   " classes, the most that HTB can number",
               "give sites policies with fewer classes, or join sites");
        return;
      }
    }
  }

  void one_class_is_the_default(const ClassSetDraft& set) {
    const ClassDraft* first = nullptr;
    for (const ClassDraft& one : set.classes) {
      if (!one.is_default || !one.is_default->value) continue;
      if (first == nullptr) {
        first = &one;
        continue;
      }
      report(one.is_default->at,
             "policy " + in_quotes(set.name) + " has a second default class; the first is " +
                 name_of(first->name) + " " + files_.on_line(first->is_default->at),
             "leave 'default: true' with one class");
    }
    if (first == nullptr && set.whole) {
      report(set.at, "policy " + in_quotes(set.name) + " has no default class for what matches none",
             "add {name: rest, default: true} as its last class");
    }
  }

  void classes_can_be_reached(const ClassSetDraft& set) {
    std::map<RuleKey, const MatchDraft*> first_with_rule;
    for (std::size_t i = 0; i < set.classes.size(); ++i) {
      const ClassDraft& one = set.classes[i];
      const bool is_default = one.is_default && one.is_default->value;
      const bool says_default = is_default || (one.default_given && !one.is_default);
      if (!one.match_given && !says_default) {
        report(one.at,
               "class " + name_of(one.name) + " is neither matched nor the default: no packet reaches it",
               "add match: [{dscp: ef}] or default: true");
      }
      for (const MatchDraft& entry : one.match) {
        if (!entry.whole) continue;
        if (matches_everything(entry.rule)) report_everything(set, i, entry);
        const auto [first, fresh] = first_with_rule.emplace(key_of(entry.rule), &entry);
        if (!fresh) {
          report(entry.at,
                 "this entry is the same as the one " + files_.on_line(first->second->at) +
                     ", which always comes first",
                 "remove one of them");
        }
      }
    }
  }

  void report_everything(const ClassSetDraft& set, std::size_t index, const MatchDraft& entry) {
    const bool empty = entry.rule == MatchRule{};
    const bool others_follow =
        std::any_of(set.classes.begin() + static_cast<std::ptrdiff_t>(index) + 1, set.classes.end(),
                    [](const ClassDraft& later) { return later.match_given; });
    if (!empty && !others_follow) return;
    report(entry.at,
           std::string(empty ? "this entry has no condition" : "this entry matches every packet") +
               (others_follow ? ": no packet reaches the classes after it" : ""),
           "name a condition, or make this the default class with default: true and no match");
  }

  static bool covers_all_addresses(const std::vector<Prefix>& prefixes) {
    const auto has_all_of = [&prefixes](Family family) {
      return std::any_of(prefixes.begin(), prefixes.end(), [family](const Prefix& prefix) {
        return prefix.length == 0 && prefix.address.family == family;
      });
    };
    return prefixes.empty() || (has_all_of(Family::v4) && has_all_of(Family::v6));
  }

  static bool matches_everything(const MatchRule& rule) {
    return rule.dscp.empty() && rule.protocol.empty() && rule.port.empty() && rule.source_port.empty() &&
           rule.destination_port.empty() && covers_all_addresses(rule.source) &&
           covers_all_addresses(rule.destination);
  }

  using RuleKey = std::tuple<std::vector<std::uint8_t>, std::vector<Prefix>, std::vector<Prefix>,
                             std::vector<std::uint8_t>, std::vector<PortRange>, std::vector<PortRange>,
                             std::vector<PortRange>>;

  /// Equal for rules that differ in the order of their alternatives only.
  static RuleKey key_of(const MatchRule& rule) {
    const auto sorted = [](auto values) {
      std::sort(values.begin(), values.end());
      values.erase(std::unique(values.begin(), values.end()), values.end());
      return values;
    };
    return {sorted(rule.dscp), sorted(rule.source),      sorted(rule.destination),     sorted(rule.protocol),
            sorted(rule.port), sorted(rule.source_port), sorted(rule.destination_port)};
  }

  void match_entries_can_hold(const ClassDraft& one) {
    for (const MatchDraft& entry : one.match) {
      if (entry.whole) match_entry_can_hold(entry);
    }
  }

  void match_entry_can_hold(const MatchDraft& entry) {
    const MatchRule& rule = entry.rule;
    const bool about_ports =
        !rule.port.empty() || !rule.source_port.empty() || !rule.destination_port.empty();
    const auto portless = std::find_if_not(rule.protocol.begin(), rule.protocol.end(), has_ports);
    if (about_ports && portless != rule.protocol.end()) {
      report(entry.at,
             "this entry asks for a port, but " + protocol_to_string(*portless) + " has none that Weir reads",
             "write protocol: tcp, udp or sctp, or leave the port out");
    }
    const auto all_of = [](const std::vector<Prefix>& prefixes, Family family) {
      return !prefixes.empty() &&
             std::all_of(prefixes.begin(), prefixes.end(),
                         [family](const Prefix& prefix) { return prefix.address.family == family; });
    };
    if ((all_of(rule.source, Family::v4) && all_of(rule.destination, Family::v6)) ||
        (all_of(rule.source, Family::v6) && all_of(rule.destination, Family::v4))) {
      report(entry.at, "source and destination are of different IP versions: no packet has both",
             "write two entries, one for IPv4 and one for IPv6");
    }
  }

  const PolicyDraft& draft_;
  const SourceFiles& files_;
  Problems& problems_;
  std::unordered_map<std::string_view, std::size_t> set_by_name_;
  std::unordered_map<const ClassSetDraft*, const SiteDraft*> tightest_site_;
};

}  // namespace

void check_draft(const PolicyDraft& draft, const SourceFiles& files, Problems& problems) {
  DraftChecker(draft, files, problems).everything();
}

}  // namespace weir
