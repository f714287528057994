#include "shaper/classifier_tables.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <system_error>

#include "config/site_classes.hpp"
#include "shaper/packet_query.hpp"

namespace weir::shaper {
namespace {

using BitVector = std::vector<std::uint64_t>;

void set_bit(BitVector& v, std::size_t bit) {
  v[bit / WEIR_RULES_PER_WORD] |= std::uint64_t{1} << (bit % WEIR_RULES_PER_WORD);
}

BitVector united(BitVector a, const BitVector& b) {
  std::ranges::transform(a, b, a.begin(), std::bit_or<>());
  return a;
}

/// Equal vectors, and equal port pages, are stored once: most values of a field satisfy the same rules.
class SharedStore {
 public:
  explicit SharedStore(ClassifierTables& tables) : tables_(tables) {
    number_of(BitVector(tables_.words, ~std::uint64_t{0}));
    number_of(weir_port_page{});
  }

  std::uint32_t number_of(const BitVector& v) {
    const auto [at, is_new] = vectors_.try_emplace(v, static_cast<std::uint32_t>(vectors_.size()));
    if (is_new) tables_.vectors.insert(tables_.vectors.end(), v.begin(), v.end());
    return at->second;
  }

  std::uint32_t number_of(const weir_port_page& page) {
    const auto [at, is_new] =
        pages_.try_emplace(std::to_array(page.vector), static_cast<std::uint32_t>(pages_.size()));
    if (is_new) tables_.port_pages.push_back(page);
    return at->second;
  }

 private:
  ClassifierTables& tables_;
  std::map<BitVector, std::uint32_t> vectors_;
  std::map<std::array<std::uint32_t, 256>, std::uint32_t> pages_;
};

/// Compiles one class set.
class SetCompiler {
 public:
  SetCompiler(ClassifierTables& tables, SharedStore& store, const ClassSet& set, std::uint32_t number)
      : tables_(tables), store_(store), rules_(rules_in_order(set)), number_(number) {}

  weir_class_set compile() {
    weir_class_set out{};
    small_field(out.dscp, &MatchRule::dscp);
    small_field(out.protocol, &MatchRule::protocol);
    if (prefix_field(out.source_tables, &MatchRule::source)) out.uses |= WEIR_USES_SOURCE;
    if (prefix_field(out.destination_tables, &MatchRule::destination)) out.uses |= WEIR_USES_DESTINATION;
    const bool source_ports = paged_field(out.source_port_page, &MatchRule::source_port);
    const bool destination_ports = paged_field(out.destination_port_page, &MatchRule::destination_port);
    const bool either_ports = paged_field(out.either_port_page, &MatchRule::port);
    if (source_ports || destination_ports || either_ports) out.uses |= WEIR_USES_PORTS;
    if (paged_field(out.vlan_page, &MatchRule::vlan)) out.uses |= WEIR_USES_VLAN;
    if (fwmark_field(out.other_fwmark)) out.uses |= WEIR_USES_FWMARK;
    out.portless = store_.number_of(rules_where([](const MatchRule& r) {
      return r.port.empty() && r.source_port.empty() && r.destination_port.empty();
    }));
    return out;
  }

 private:
  [[nodiscard]] BitVector none() const { return BitVector(tables_.words, 0); }

  template <typename Predicate>
  [[nodiscard]] BitVector rules_where(Predicate holds) const {
    auto v = none();
    for (std::size_t bit = 0; bit < rules_.size(); ++bit)
      if (holds(*rules_[bit].match)) set_bit(v, bit);
    return v;
  }

  /// DSCP and protocol: a vector per value, straight.
  template <std::size_t N>
  void small_field(std::uint32_t (&table)[N], std::vector<std::uint8_t> MatchRule::*field) {
    std::vector<BitVector> by_value(N, rules_where([&](const MatchRule& r) { return (r.*field).empty(); }));
    for (std::size_t bit = 0; bit < rules_.size(); ++bit)
      for (const std::size_t value : rules_[bit].match->*field)
        if (value < N) set_bit(by_value[value], bit);
    std::ranges::transform(by_value, table, [&](const BitVector& v) { return store_.number_of(v); });
  }

  /// An address satisfies the rules of its longest prefix *and* of every shorter prefix around that, so each
  /// prefix carries the union; in the order (address, length) the ones around a prefix are a stack.
  bool prefix_field(std::uint32_t& tables, std::vector<Prefix> MatchRule::*field) {
    if (std::ranges::all_of(rules_, [&](const Rule& r) { return (r.match->*field).empty(); })) return false;
    const auto unconstrained = rules_where([&](const MatchRule& r) { return (r.*field).empty(); });
    std::map<Prefix, BitVector> own;
    for (const auto family : {Family::v4, Family::v6})
      own.emplace(Prefix{.address = {.family = family, .bytes = {}}, .length = 0}, unconstrained);
    for (std::size_t bit = 0; bit < rules_.size(); ++bit)
      for (const auto& prefix : rules_[bit].match->*field)
        set_bit(own.try_emplace(prefix, none()).first->second, bit);

    std::vector<PrefixValue> vectors;
    std::vector<std::pair<Prefix, BitVector>> around;
    for (const auto& [prefix, bits] : own) {
      while (!around.empty() && !around.back().first.contains(prefix)) around.pop_back();
      around.emplace_back(prefix, around.empty() ? bits : united(bits, around.back().second));
      vectors.push_back({.prefix = prefix, .value = store_.number_of(around.back().second)});
    }
    tables = add_address_tables(tables_.addresses, vectors);
    return true;
  }

  /// Ports and VLAN ids: between two ends of any range every value satisfies the same rules.
  template <std::size_t Pages, typename Range>
  bool paged_field(std::uint32_t (&pages)[Pages], std::vector<Range> MatchRule::*field) {
    if (std::ranges::all_of(rules_, [&](const Rule& r) { return (r.match->*field).empty(); })) return false;
    std::vector<std::uint32_t> starts{0};
    for (const Rule& rule : rules_)
      for (const auto& range : rule.match->*field) {
        starts.push_back(range.first);
        starts.push_back(range.last + std::uint32_t{1});
      }
    std::ranges::sort(starts);
    const auto vector_at = [&](std::uint32_t port) {
      return store_.number_of(rules_where([&](const MatchRule& r) {
        return (r.*field).empty() || std::ranges::any_of(r.*field, [&](const Range& range) {
                 return range.first <= port && port <= range.last;
               });
      }));
    };
    weir_port_page page{};
    std::uint32_t current = 0;
    auto next_start = starts.begin();
    for (std::uint32_t port = 0; port < Pages * 256; ++port) {
      if (next_start != starts.end() && *next_start == port) {
        current = vector_at(port);
        while (next_start != starts.end() && *next_start == port) ++next_start;
      }
      page.vector[port & 0xffU] = current;
      if ((port & 0xffU) == 0xffU) pages[port >> 8U] = store_.number_of(page);
    }
    return true;
  }

  /// A mark that some rule names satisfies that one and those that look at none.
  bool fwmark_field(std::uint32_t& others) {
    if (std::ranges::all_of(rules_, [](const Rule& r) { return r.match->fwmark.empty(); })) return false;
    const auto unconstrained = rules_where([](const MatchRule& r) { return r.fwmark.empty(); });
    others = store_.number_of(unconstrained);
    std::map<std::uint32_t, BitVector> by_mark;
    for (std::size_t bit = 0; bit < rules_.size(); ++bit)
      for (const std::uint32_t mark : rules_[bit].match->fwmark)
        set_bit(by_mark.try_emplace(mark, unconstrained).first->second, bit);
    for (const auto& [mark, bits] : by_mark)
      tables_.fwmarks.push_back(
          {.key = {.class_set = number_, .mark = mark}, .vector = store_.number_of(bits)});
    return true;
  }

  ClassifierTables& tables_;
  SharedStore& store_;
  std::vector<Rule> rules_;
  std::uint32_t number_;
};

void refuse_more_rules_than_bits(const ClassSet& set) {
  const auto count = number_of_rules(set);
  if (count <= WEIR_MAX_RULES) return;
  throw std::system_error(std::make_error_code(std::errc::argument_list_too_long),
                          "policy '" + set.name + "' has " + std::to_string(count) +
                              " match entries; the classifier takes " + std::to_string(WEIR_MAX_RULES) +
                              " (values of one field, such as subnets, can share an entry)");
}

void refuse_ids_of_another_policy(const Policy& policy, const ClassIds& ids) {
  bool fits = ids.classes.size() == policy.sites.size();
  for (std::size_t i = 0; fits && i < policy.sites.size(); ++i) {
    const auto& site = policy.sites[i];
    const bool known = site.each_subnet || site.class_set < policy.class_sets.size();
    fits = known && ids.classes[i].size() == number_of_classes(policy, site);
  }
  if (!fits)
    throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                            "class handles do not belong to this policy");
}

void add_site(ClassifierTables& tables, std::vector<PrefixValue>& subnets, const Policy& policy,
              const SitePolicy& site, const std::vector<Handle>& handles, std::uint32_t first_slot) {
  const SiteClasses all = weir::classes_of(policy, site);
  const auto verdict = [&](std::size_t c) {
    const auto dscp = site.dscp_written_by(*all.classes[c].policy);
    return weir_verdict{.handle = handles[c], .dscp = dscp.value_or(WEIR_KEEP_DSCP)};
  };
  for (const SiteBranch& branch : all.branches) {
    weir_site out{.class_set = WEIR_NO_CLASS_SET,
                  .first_verdict = static_cast<std::uint32_t>(tables.rule_verdicts.size()),
                  .otherwise = verdict(branch.first),
                  .arrivals = first_slot};
    if (branch.class_set) {
      out.class_set = static_cast<std::uint32_t>(*branch.class_set);
      const ClassSet& set = policy.class_sets[*branch.class_set];
      for (std::size_t c = 0; c < set.classes.size(); ++c) {
        tables.rule_verdicts.insert(tables.rule_verdicts.end(), set.classes[c].match.size(),
                                    verdict(branch.first + c));
      }
      out.otherwise = verdict(branch.first + set.default_class());
    }
    for (const auto& prefix : branch.subnets)
      subnets.push_back({.prefix = prefix, .value = static_cast<std::uint32_t>(tables.sites.size())});
    tables.sites.push_back(out);
  }
}

/// FNV-1a (RFC 9923), a byte at a time.
class Hash {
 public:
  explicit Hash(std::uint64_t seed) { take(seed); }
  void bytes(std::span<const std::byte> data) {
    for (const auto b : data) state_ = (state_ ^ static_cast<std::uint64_t>(b)) * 0x100000001b3U;
  }
  template <typename T>
  requires std::has_unique_object_representations_v<T>
  void take(const T& value) { bytes(std::as_bytes(std::span(&value, 1))); }
  /// The length goes first: neighbours cannot borrow elements from each other.
  template <typename T>
  void take(const std::vector<T>& values) {
    take(values.size());
    bytes(std::as_bytes(std::span(values)));
  }
  [[nodiscard]] std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0xcbf29ce484222325U;
};

}  // namespace

ClassifierTables build_tables(const Policy& policy, const ClassIds& ids) {
  refuse_ids_of_another_policy(policy, ids);
  ClassifierTables tables;
  const auto slots = arrival_slots(policy);
  if (slots.back() > kMostArrivalSlots) {
    throw std::system_error(
        std::make_error_code(std::errc::argument_list_too_long),
        "the sites have " + std::to_string(slots.back()) + " match entries together; the classifier counts " +
            std::to_string(kMostArrivalSlots) + " (values of one field can share an entry)");
  }
  tables.arrival_slots = slots.back();
  tables.by_source = policy.site_address == SiteAddress::source;
  std::vector<PrefixValue> subnets;
  for (std::size_t i = 0; i < policy.sites.size(); ++i)
    add_site(tables, subnets, policy, policy.sites[i], ids.classes[i], slots[i]);
  add_address_tables(tables.addresses, subnets);  // the first ones: WEIR_SITE_TABLES

  std::size_t most_rules = 1;
  for (const auto& set : policy.class_sets) {
    refuse_more_rules_than_bits(set);
    most_rules = std::max(most_rules, number_of_rules(set));
  }
  tables.words = static_cast<std::uint32_t>((most_rules + WEIR_RULES_PER_WORD - 1) / WEIR_RULES_PER_WORD);
  SharedStore store(tables);
  for (std::size_t i = 0; i < policy.class_sets.size(); ++i)
    tables.class_sets.push_back(
        SetCompiler(tables, store, policy.class_sets[i], static_cast<std::uint32_t>(i)).compile());
  return tables;
}

std::vector<std::uint32_t> arrival_slots(const Policy& policy) {
  std::vector<std::uint32_t> first{WEIR_ARRIVALS_FIRST_SITE};
  for (const SitePolicy& site : policy.sites) {
    const ClassSet* const set = rules_of(policy, site);
    const std::size_t rules = set == nullptr ? 0 : number_of_rules(*set);
    first.push_back(first.back() + 1 + static_cast<std::uint32_t>(rules));
  }
  return first;
}

std::uint64_t content_hash(const ClassifierTables& tables, std::uint64_t seed) {
  Hash hash(seed);
  hash.take(tables.by_source);
  hash.take(tables.addresses.tables);
  hash.take(tables.addresses.slots);
  hash.take(tables.addresses.ranges4);
  hash.take(tables.addresses.ranges6);
  hash.take(tables.sites);
  hash.take(tables.arrival_slots);
  hash.take(tables.rule_verdicts);
  hash.take(tables.class_sets);
  hash.take(tables.fwmarks);
  hash.take(tables.port_pages);
  hash.take(tables.words);
  hash.take(tables.vectors);
  return hash.value();
}

std::uint64_t content_hash(std::span<const std::byte> bytes, std::uint64_t seed) {
  Hash hash(seed);
  hash.bytes(bytes);
  return hash.value();
}

}  // namespace weir::shaper
