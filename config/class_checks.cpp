/// What no single value shows of classes: names that clash, sums that do not fit, classes that no packet
/// reaches.

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "config/draft_checker.hpp"
#include "config/load.hpp"
#include "config/spelling.hpp"
#include "config/suggest.hpp"

namespace weir {
namespace {

/// Sums of fractions such as 33.3 % + 33.3 % + 33.4 % miss 1 by rounding.
constexpr double kRounding = 1e-9;

class ClassChecker : DraftChecker {
 public:
  using DraftChecker::DraftChecker;

  void everything() {
    find_tightest_sites();
    for (const ClassSetDraft& set : draft_.class_sets) {
      class_names_differ(set);
      one_class_is_the_default(set);
      classes_can_be_reached(set);
      brownout_names_classes(set);
      guarantees_fit(set);
      for (const ClassDraft& one : set.classes) {
        match_entries_can_hold(one);
        latency_can_be_kept(one);
        leaf_is_possible(one);
        if (one.inner) inner_class_has_no_packets(one);
        levels_fit_the_kernel(set, one);
      }
    }
    for_each_site([this](const SiteDraft& site) {
      if (site.each_subnet) leaf_is_possible(*site.each_subnet);
    });
  }

 private:
  void class_names_differ(const ClassSetDraft& set) {
    std::unordered_map<std::string_view, Place> names;
    for (const ClassDraft& one : set.classes) {
      if (one.name) report_if_repeated(names, *one.name, "class");
    }
  }

  void brownout_names_classes(const ClassSetDraft& set) {
    std::unordered_map<std::string_view, Place> names;
    std::unordered_set<std::string_view> classes;
    for (const ClassDraft& one : set.classes) {
      if (one.name) classes.insert(one.name->value);
    }
    for (const auto& name : set.brownout) {
      report_if_repeated(names, name, "class");
      if (classes.contains(name.value) || !set.whole) continue;
      NearestName nearest(name.value);
      for (const ClassDraft& one : set.classes) {
        if (one.name && guesses_.spend(1)) nearest.offer(one.name->value);
      }
      report(name.at, "policy " + in_quotes(set.name) + " has no class " + in_quotes(name.value),
             nearest.best() ? "did you mean " + in_quotes(*nearest.best()) + "?"
                            : "name classes of this policy, those first that keep their guarantee longest");
    }
  }

  void inner_class_has_no_packets(const ClassDraft& one) {
    const auto refuse = [&](Place at, std::string_view key) {
      report(at,
             "class " + name_of(one.name) + " holds classes: packets are theirs, and so is '" +
                 std::string(key) + "'",
             "write it into these classes");
    };
    if (!one.match.empty()) refuse(one.match.front().at, "match");
    if (one.is_default) refuse(one.is_default->at, "default");
    if (one.leaf_at) refuse(*one.leaf_at, "leaf");
    if (one.latency) refuse(one.latency->at, "latency");
    if (one.set_dscp) refuse(one.set_dscp->at, "set_dscp");
    if (one.priority) refuse(one.at, "priority");
  }

  /// HTB nests 8 levels deep (linux/pkt_sched.h TC_HTB_MAXDEPTH).
  void levels_fit_the_kernel(const ClassSetDraft& set, const ClassDraft& one) {
    const auto used_in_subnets = sets_of_subnets_.find(&set);
    const std::size_t most = kMostClassLevels - (used_in_subnets != sets_of_subnets_.end() ? 1 : 0);
    if (one.depth != most) return;  // once, where it begins to be too deep
    report(one.at,
           "classes are nested more than " + std::to_string(most) +
               " deep here: HTB has 8 levels, of which " +
               std::string(most == kMostClassLevels ? "the port and the site are two"
                                                    : "the port, the site and the subnet are three"),
           "nest less");
  }

  void leaf_is_possible(const ClassDraft& one) {
    if (!one.leaf_at) return;
    const LeafPolicy& leaf = one.leaf;
    if (leaf.depth && leaf.packets) {
      report(*one.leaf_at, "a leaf has a depth or a number of packets, not both", "leave one of them out");
    }
    const bool codel = leaf.target || leaf.interval || leaf.flows || leaf.quantum || leaf.ecn;
    if (codel && leaf.kind == LeafKind::fifo) {
      report(*one.leaf_at, "a fifo has no target, interval, flows, quantum or ecn",
             "write kind: fq_codel, or give it a depth only");
    }
    if (leaf.target && leaf.interval && *leaf.target >= *leaf.interval) {
      report(*one.leaf_at,
             "the target of " + duration_to_string(*leaf.target) + " is not below the interval of " +
                 duration_to_string(*leaf.interval),
             "write a target of a tenth of the interval or less (RFC 8289)");
    }
  }

  /// For each class set, the site with the lowest floor among those that use it: fixed rates weigh most
  /// there.
  /// Where a set's classes have least to share: fixed rates weigh most there.
  struct Tightest {
    const SiteDraft* site;
    Rate least;  ///< of the site, or of each of its subnets
  };

  void find_tightest_sites() {
    for_each_site([this](const SiteDraft& site) {
      const ClassSetDraft* set = set_of(site);
      if (set == nullptr) return;
      if (site.each_subnet) sets_of_subnets_.insert(set);
      if (!site.floor) return;
      Rate least = site.floor->value;
      if (site.each_subnet) {
        const auto& guarantee = site.each_subnet->guarantee;
        if (!guarantee && site.each_subnet->guarantee_given) return;
        least = guarantee ? resolve(guarantee->value, least) : Rate();
      }
      const auto [known, fresh] = tightest_.try_emplace(set, Tightest{.site = &site, .least = least});
      if (!fresh && least < known->second.least) known->second = {.site = &site, .least = least};
    });
  }

  /// What an inner class has at the least, or the site itself; nullopt where that is not known.
  [[nodiscard]] std::optional<Rate> least_of(const ClassSetDraft& set, std::optional<std::size_t> parent,
                                             const Tightest* tightest) const {
    if (!parent) return tightest != nullptr ? std::optional(tightest->least) : std::nullopt;
    const ClassDraft& inner = set.classes[*parent];
    if (!inner.guarantee) return inner.guarantee_given ? std::nullopt : std::optional(Rate());
    if (const auto* rate = std::get_if<Rate>(&inner.guarantee->value)) return *rate;
    const auto around = least_of(set, inner.parent, tightest);
    return around ? std::optional(resolve(inner.guarantee->value, *around)) : std::nullopt;
  }

  void guarantees_fit(const ClassSetDraft& set) {
    const auto known = tightest_.find(&set);
    const Tightest* tightest = known != tightest_.end() ? &known->second : nullptr;
    std::map<std::optional<std::size_t>, std::vector<const ClassDraft*>> children;
    for (const ClassDraft& one : set.classes) children[one.parent].push_back(&one);
    for (const auto& [parent, classes] : children) guarantees_within(set, parent, classes, tightest);
  }

  void guarantees_within(const ClassSetDraft& set, std::optional<std::size_t> parent,
                         const std::vector<const ClassDraft*>& children, const Tightest* tightest) {
    const auto have = least_of(set, parent, tightest);
    double shares = 0;
    double fixed_bps = 0;
    const ClassDraft* crossing = nullptr;
    for (const ClassDraft* child : children) {
      const ClassDraft& one = *child;
      if (!one.guarantee) continue;
      if (const auto* rate = std::get_if<Rate>(&one.guarantee->value)) {
        fixed_bps += bps_of(*rate);
      } else {
        shares += std::get<Share>(one.guarantee->value).fraction;
      }
      const bool too_much =
          shares > 1.0 + kRounding ||
          (have && fixed_bps > 0 && shares * bps_of(*have) + fixed_bps > bps_of(*have) * (1.0 + kRounding));
      if (crossing == nullptr && too_much) crossing = &one;
      guarantee_is_below_ceiling(one, have, tightest);
    }
    if (crossing == nullptr) return;
    const std::string whose = parent ? "the guarantees within class " + name_of(set.classes[*parent].name)
                                     : "the guarantees of policy " + in_quotes(set.name);
    if (fixed_bps == 0.0) {
      report(crossing->guarantee->at, whose + " add up to " + percent_to_string(shares),
             "lower them by " + percent_to_string(shares - 1.0) + " in total");
      return;
    }
    if (!have) {
      report(crossing->guarantee->at, whose + " add up to " + percent_to_string(shares) + " and fixed rates",
             "lower the percentages below 100%");
      return;
    }
    const double total = shares * bps_of(*have) + fixed_bps;
    const std::string where = parent ? ", which has " + had(*have) + " itself" : at_tightest(*tightest);
    report(crossing->guarantee->at, whose + " add up to " + about(total) + where,
           "lower them by " + about(total - bps_of(*have)) + " in total, or raise the " +
               (parent                        ? "class's guarantee"
                : tightest->site->each_subnet ? "guarantee of each subnet"
                                              : least_rate_of(*tightest->site)));
  }

  static std::string had(Rate rate) { return rate.bps() > 0 ? about(bps_of(rate)) : "no guarantee"; }

  [[nodiscard]] std::string at_tightest(const Tightest& tightest) const {
    const SiteDraft& site = *tightest.site;
    if (site.each_subnet)
      return " in each subnet of " + described(site) + ", which has " + had(tightest.least);
    return " at " + described(site) + ", whose " + least_rate_of(site) + " is " +
           to_string(site.floor->value) + " (" + files_.on_line(site.floor->at) + ")";
  }

  void guarantee_is_below_ceiling(const ClassDraft& one, std::optional<Rate> parent_rate,
                                  const Tightest* tightest) {
    if (!one.ceiling) return;
    const RateOrShare& guarantee = one.guarantee->value;
    const RateOrShare& ceiling = one.ceiling->value;
    const bool same_kind = guarantee.index() == ceiling.index();
    if (!same_kind && !parent_rate) return;
    // Of one kind, any parent shows which is larger; else the lowest rate that a site can have does.
    const Rate parent = parent_rate && parent_rate->bps() > 0 ? *parent_rate : kMostRate;
    if (resolve(guarantee, parent) <= resolve(ceiling, parent)) return;
    const std::string where = same_kind || tightest == nullptr ? ""
                                                               : " at the " + least_rate_of(*tightest->site) +
                                                                     " of " + described(*tightest->site);
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
    std::map<MatchRule, const MatchDraft*> first_with_rule;
    for (std::size_t i = 0; i < set.classes.size(); ++i) {
      const ClassDraft& one = set.classes[i];
      const bool is_default = one.is_default && one.is_default->value;
      const bool says_default = is_default || (one.default_given && !one.is_default);
      if (!one.match_given && !says_default && !one.inner) {
        report(one.at,
               "class " + name_of(one.name) + " is neither matched nor the default: no packet reaches it",
               "add match: [{dscp: ef}] or default: true");
      }
      for (const MatchDraft& entry : one.match) {
        if (!entry.whole) continue;
        if (matches_everything(entry.rule)) report_everything(set, i, entry);
        const auto [first, fresh] = first_with_rule.emplace(sorted(entry.rule), &entry);
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

  static bool matches_everything(MatchRule rule) {
    if (covers_all_addresses(rule.source)) rule.source.clear();
    if (covers_all_addresses(rule.destination)) rule.destination.clear();
    return rule == MatchRule{};
  }

  /// Equal for rules that differ in the order of their alternatives only.
  static MatchRule sorted(MatchRule rule) {
    const auto sort = [](auto& values) {
      std::sort(values.begin(), values.end());
      values.erase(std::unique(values.begin(), values.end()), values.end());
    };
    sort(rule.dscp), sort(rule.source), sort(rule.destination), sort(rule.protocol), sort(rule.port);
    sort(rule.source_port), sort(rule.destination_port), sort(rule.vlan), sort(rule.fwmark);
    return rule;
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

  std::unordered_map<const ClassSetDraft*, Tightest> tightest_;
  std::unordered_set<const ClassSetDraft*> sets_of_subnets_;
  GuessBudget guesses_;
};

}  // namespace

void check_class_sets(const PolicyDraft& draft, const SourceFiles& files, Problems& problems) {
  ClassChecker(draft, files, problems).everything();
}

}  // namespace weir
