#include "gateway/explain.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>
#include <netinet/in.h>

#include <boost/json.hpp>

#include "config/load.hpp"
#include "config/rule_text.hpp"
#include "config/site_classes.hpp"
#include "config/spelling.hpp"
#include "gateway/port.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;
using shaper::PacketQuery;
using shaper::Verdict;
using shaper::Way;

/// Headers that the classifier steps over: what is behind them decides.
bool is_extension_header(std::uint8_t protocol) {
  constexpr std::array<std::uint8_t, 5> kExtensions{IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_FRAGMENT,
                                                    IPPROTO_AH, IPPROTO_DSTOPTS};
  return std::ranges::find(kExtensions, protocol) != kExtensions.end();
}

Direction direction_of(const Policy& policy) {
  return policy.site_address == SiteAddress::source ? Direction::inbound : Direction::outbound;
}

/// Reads the words one by one and keeps the first complaint.
class QueryReader {
 public:
  explicit QueryReader(const QueryWords& words) : words_(words) {}

  std::variant<PacketQuery, std::string> read() {
    check_words();
    PacketQuery query;
    query.source = address("from");
    query.destination = address("to");
    if (query.source.family != query.destination.family)
      complain("'from' and 'to' are not of one family: both must be IPv4 or both IPv6");
    query.dscp = value("dscp", query.dscp, parse_dscp, "a code point (ef, af41, cs1, 0 to 63)");
    query.protocol =
        value("protocol", query.protocol, parse_protocol, "a protocol (tcp, udp, gre, 0 to 255)");
    query.source_port = value("source_port", query.source_port, port, "a port (1 to 65535)");
    query.destination_port = value("port", query.destination_port, port, "a port (1 to 65535)");
    query.vlan = value("vlan", query.vlan, vlan, "a VLAN id (1 to 4094) or 'untagged'");
    query.fwmark = value("fwmark", query.fwmark, parse_fwmark, "a mark (16, 0x10), not 0");
    (void)value("direction", Direction::outbound, parse_direction, "outbound or inbound");
    if ((given("port") || given("source_port")) && !has_ports(query.protocol))
      complain(fmt::format("a port was given, but {} has none", protocol_to_string(query.protocol)));
    if (query.destination.family == Family::v6 && is_extension_header(query.protocol))
      complain(fmt::format("{} is an IPv6 extension header; what follows it decides",
                           protocol_to_string(query.protocol)));
    if (complaint_) return *complaint_;
    return query;
  }

 private:
  [[nodiscard]] const std::string* given(std::string_view word) const {
    const auto found = std::ranges::find(words_, word, &QueryWords::value_type::first);
    return found == words_.end() ? nullptr : &found->second;
  }
  void complain(std::string why) {
    if (!complaint_) complaint_ = std::move(why);
  }
  void check_words() {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const std::string& word = words_[i].first;
      if (std::ranges::find(kQueryWords, word) == std::end(kQueryWords))
        complain(fmt::format("unknown parameter '{}'; known: {}", word, fmt::join(kQueryWords, ", ")));
      if (std::any_of(words_.begin(), words_.begin() + static_cast<std::ptrdiff_t>(i),
                      [&](const auto& before) { return before.first == word; }))
        complain(fmt::format("'{}' is given twice", word));
    }
  }
  IpAddress address(std::string_view word) {
    const std::string* text = given(word);
    if (text == nullptr) {
      complain(fmt::format("'{}' is missing: the packet's {} address", word,
                           word == "from" ? "source" : "destination"));
      return {};
    }
    const auto found = IpAddress::parse(*text);
    if (!found) complain(fmt::format("'{}' must be an IPv4 or IPv6 address, not '{}'", word, *text));
    return found.value_or(IpAddress());
  }
  template <typename Value, typename Parse>
  Value value(std::string_view word, Value usual, Parse&& parse, std::string_view wanted) {
    const std::string* text = given(word);
    if (text == nullptr) return usual;
    const auto found = parse(*text);
    if (!found) complain(fmt::format("'{}' must be {}, not '{}'", word, wanted, *text));
    return found ? static_cast<Value>(*found) : usual;
  }
  static std::optional<std::int64_t> port(std::string_view text) { return parse_integer(text, 1, 65'535); }
  static std::optional<std::uint16_t> vlan(std::string_view text) {
    const auto range = parse_vlan_range(text);
    return range && range->first == range->last ? std::optional(range->first) : std::nullopt;
  }

  const QueryWords& words_;
  std::optional<std::string> complaint_;
};

json::value dscp_json(std::uint8_t code_point) {
  const auto name = name_of_dscp(code_point);
  return name ? json::value(json::string(*name)) : json::value(std::to_string(code_point));
}

json::value or_null(std::uint32_t value) {
  return value == 0 ? json::value(nullptr) : json::value(value);
}

json::object packet_json(const PacketQuery& q) {
  return {{"from", q.source.to_string()},
          {"to", q.destination.to_string()},
          {"dscp", dscp_json(q.dscp)},
          {"protocol", protocol_to_string(q.protocol)},
          {"source_port", or_null(q.source_port)},
          {"port", or_null(q.destination_port)},
          {"vlan", or_null(q.vlan)},
          {"fwmark", or_null(q.fwmark)}};
}

json::string way_name(Way way) {
  switch (way) {
    case Way::control:
      return "control";
    case Way::elsewhere:
      return "elsewhere";
    case Way::site:
      break;
  }
  return "site";
}

void add_class(json::object& to, std::string_view site, std::string_view name,
               std::span<const ClassStatus> classes) {
  const auto found = std::ranges::find_if(
      classes, [&](const ClassStatus& c) { return c.counters.site == site && c.counters.name == name; });
  const bool known = found != classes.end();
  const auto of = [&](auto&& value_of) {
    return known ? json::value(value_of(found->counters)) : json::value(nullptr);
  };
  using C = shaper::ClassCounters;
  to["class"] = json::string(name);
  to["handle"] = of([](const C& c) { return json::string(handle_text(c.handle)); });
  to["guarantee_bps"] = of([](const C& c) { return c.rate.bps(); });
  to["ceiling_bps"] = of([](const C& c) { return c.ceil.bps(); });
  to["priority"] = of([](const C& c) { return unsigned{c.priority}; });
  to["leaf"] = of([](const C& c) { return json::string(c.leaf); });
  to["backlog_bytes"] = of([](const C& c) { return c.backlog.count(); });
}

json::value rule_of(const ClassSet& set, const std::optional<std::size_t>& number) {
  if (!number) return nullptr;
  const shaper::Rule rule = shaper::rules_in_order(set).at(*number);
  return json::object{
      {"number", *number + 1}, {"class", set.classes[rule.cls].name}, {"match", rule_to_string(*rule.match)}};
}

void add_site(json::object& to, const Policy& policy, const PacketQuery& query, const Verdict& verdict,
              std::span<const ClassStatus> classes) {
  const SitePolicy& site = policy.sites.at(verdict.site);
  const auto all = classes_of(policy, site).classes;
  const SiteClass& cls = all.at(verdict.cls);
  const ClassSet* const set = shaper::rules_of(policy, site);
  const bool inbound = direction_of(policy) == Direction::inbound;
  const auto subnet = shaper::subnet_of(policy, inbound ? query.source : query.destination);
  to["site"] = json::string(site.name);
  to["subnet"] = subnet ? json::value(subnet->subnet.to_string()) : json::value(nullptr);
  to["policy"] = json::string(policy_name(policy, site));
  to["rule"] = set == nullptr ? json::value(nullptr) : rule_of(*set, verdict.rule);
  const auto written = site.dscp_written_by(*cls.policy);
  to["set_dscp"] = written ? dscp_json(*written) : json::value(nullptr);
  add_class(to, site.name, cls.name, classes);
}

}  // namespace

std::variant<PacketQuery, std::string> parse_query(const QueryWords& words) {
  return QueryReader(words).read();
}

std::string_view to_string(Direction direction) {
  return direction == Direction::inbound ? "inbound" : "outbound";
}

std::optional<Direction> parse_direction(std::string_view text) {
  for (const Direction one : {Direction::outbound, Direction::inbound})
    if (text == to_string(one)) return one;
  return std::nullopt;
}

Direction direction_of(const QueryWords& words, const Policy& policy, const Policy* inbound,
                       const PacketQuery& packet) {
  const auto given = std::ranges::find(words, "direction", &QueryWords::value_type::first);
  if (given != words.end()) return parse_direction(given->second).value_or(Direction::outbound);
  const bool comes_in = inbound != nullptr && !shaper::subnet_of(policy, packet.destination) &&
                        shaper::subnet_of(policy, packet.source);
  return comes_in ? Direction::inbound : Direction::outbound;
}

json::object explain_json(const Policy& policy, const PacketQuery& query, const Verdict& verdict,
                          AnsweredBy by, std::span<const ClassStatus> classes) {
  json::object out{{"packet", packet_json(query)},
                   {"answered_by", by == AnsweredBy::program ? "program" : "policy"},
                   {"direction", json::string(to_string(direction_of(policy)))},
                   {"interface", policy.wan.interface},
                   {"way", way_name(verdict.way)},
                   {"site", nullptr},
                   {"subnet", nullptr},
                   {"policy", nullptr},
                   {"rule", nullptr},
                   {"set_dscp", nullptr}};
  if (verdict.way == Way::site) {
    add_site(out, policy, query, verdict, classes);
  } else {
    add_class(out, "", way_name(verdict.way), classes);
  }
  return out;
}

std::vector<RuleStatus> rules_of_policy(const Policy& policy, const shaper::ArrivalCounters& arrived) {
  std::vector<RuleStatus> all{
      {.site = nullptr, .rule = std::nullopt, .cls = "control", .match = {}, .arrived = arrived.control},
      {.site = nullptr, .rule = std::nullopt, .cls = "elsewhere", .match = {}, .arrived = arrived.elsewhere}};
  for (std::size_t s = 0; s < std::min(policy.sites.size(), arrived.sites.size()); ++s) {
    const SitePolicy& site = policy.sites[s];
    const ClassSet* const set = shaper::rules_of(policy, site);
    const auto rules = set == nullptr ? std::vector<shaper::Rule>() : shaper::rules_in_order(*set);
    for (std::size_t r = 0; r < std::min(rules.size(), arrived.sites[s].rules.size()); ++r) {
      all.push_back({.site = &site,
                     .rule = r,
                     .cls = set->classes[rules[r].cls].name,
                     .match = rule_to_string(*rules[r].match),
                     .arrived = arrived.sites[s].rules[r]});
    }
    std::string otherwise = set == nullptr ? "" : set->classes[set->default_class()].name;
    all.push_back({.site = &site,
                   .rule = std::nullopt,
                   .cls = std::move(otherwise),
                   .match = {},
                   .arrived = arrived.sites[s].otherwise});
  }
  return all;
}

json::object rule_json(const Policy& policy, const RuleStatus& rule) {
  const auto text = [](const std::string& t) {
    return t.empty() ? json::value(nullptr) : json::value(json::string(t));
  };
  return {{"site", rule.site == nullptr ? json::value(nullptr) : json::value(json::string(rule.site->name))},
          {"direction", json::string(to_string(direction_of(policy)))},
          {"policy", rule.site == nullptr ? json::value(nullptr)
                                          : json::value(json::string(policy_name(policy, *rule.site)))},
          {"rule", rule.rule ? json::value(*rule.rule + 1) : json::value(nullptr)},
          {"class", text(rule.cls)},
          {"match", text(rule.match)},
          {"packets", rule.arrived.packets},
          {"bytes", rule.arrived.bytes.count()}};
}

}  // namespace weir::gateway
