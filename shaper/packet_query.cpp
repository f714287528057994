#include "shaper/packet_query.hpp"

#include <algorithm>
#include <array>
#include <span>

#include <netinet/in.h>

#include "config/site_classes.hpp"
#include "config/spelling.hpp"
#include "shaper/classifier_tables.hpp"

namespace weir::shaper {
namespace {

constexpr std::uint8_t kEigrp = 88;
constexpr std::uint8_t kOspf = 89;
constexpr std::uint8_t kVrrp = 112;
constexpr std::uint8_t kClassSelector6 = 48;
constexpr std::uint8_t kClassSelector7 = 56;
constexpr std::uint16_t kBgp = 179;
constexpr std::array<std::uint16_t, 4> kBfd{3784, 3785, 4784, 6784};

constexpr std::uint16_t kTypeVlan = 0x8100;
constexpr std::uint16_t kTypeIpv4 = 0x0800;
constexpr std::uint16_t kTypeIpv6 = 0x86dd;
/// A whole UDP header, and what an echo request or a hello begins with.
constexpr std::size_t kPayload = 8;
constexpr std::uint8_t kHops = 64;

class FrameWriter {
 public:
  void octet(unsigned value) { out_.push_back(static_cast<std::byte>(value & 0xffU)); }
  void word(unsigned value) {
    octet(value >> 8U);
    octet(value);
  }
  void zeros(std::size_t count) { out_.resize(out_.size() + count); }
  void address(const IpAddress& a) {
    for (int i = 0; i < a.width() / 8; ++i) octet(a.bytes[static_cast<std::size_t>(i)]);
  }
  [[nodiscard]] std::size_t size() const { return out_.size(); }
  /// Of the header that begins at `at` and ends here (RFC 1071).
  [[nodiscard]] unsigned checksum_from(std::size_t at) const {
    unsigned sum = 0;
    for (std::size_t i = at; i + 1 < out_.size(); i += 2)
      sum += std::to_integer<unsigned>(out_[i]) << 8U | std::to_integer<unsigned>(out_[i + 1]);
    while (sum > 0xffffU) sum = (sum & 0xffffU) + (sum >> 16U);
    return ~sum & 0xffffU;
  }
  void set_word(std::size_t at, unsigned value) {
    out_[at] = static_cast<std::byte>(value >> 8U & 0xffU);
    out_[at + 1] = static_cast<std::byte>(value & 0xffU);
  }
  [[nodiscard]] std::vector<std::byte> take() { return std::move(out_); }

 private:
  std::vector<std::byte> out_;
};

void write_ipv4(FrameWriter& to, const PacketQuery& q) {
  const std::size_t at = to.size();
  constexpr unsigned kVersionAndLength = 0x45;
  constexpr std::size_t kHeader = 20;
  to.octet(kVersionAndLength);
  to.octet(static_cast<unsigned>(q.dscp) << 2U);
  to.word(kHeader + kPayload);
  to.zeros(4);  // identification, fragment
  to.octet(kHops);
  to.octet(q.protocol);
  to.word(0);
  to.address(q.source);
  to.address(q.destination);
  to.set_word(at + 10, to.checksum_from(at));
}

void write_ipv6(FrameWriter& to, const PacketQuery& q) {
  to.octet(0x60U | static_cast<unsigned>(q.dscp) >> 2U);
  to.octet((static_cast<unsigned>(q.dscp) & 3U) << 6U);
  to.word(0);  // flow label
  to.word(kPayload);
  to.octet(q.protocol);
  to.octet(kHops);
  to.address(q.source);
  to.address(q.destination);
}

void write_payload(FrameWriter& to, const PacketQuery& q) {
  const std::size_t end = to.size() + kPayload;
  constexpr unsigned kEchoRequest4 = 8;
  constexpr unsigned kEchoRequest6 = 128;
  constexpr unsigned kPimVersion = 0x20;
  if (has_ports(q.protocol)) {
    to.word(q.source_port);
    to.word(q.destination_port);
  } else if (q.protocol == IPPROTO_ICMPV6) {
    to.octet(kEchoRequest6);
  } else if (q.protocol == IPPROTO_ICMP) {
    to.octet(kEchoRequest4);
  } else if (q.protocol == IPPROTO_PIM) {
    to.octet(kPimVersion);
  }
  to.zeros(end - to.size());
}

/// What the classifier sends to the control class among the packets that a query can describe
/// (docs/CLASSIFIER.md, "What goes where").
bool is_control(const PacketQuery& q) {
  if (q.dscp == kClassSelector6 || q.dscp == kClassSelector7) return true;
  switch (q.protocol) {
    case kOspf:
    case kVrrp:
    case kEigrp:
    case IPPROTO_IGMP:
    case IPPROTO_PIM:
      return true;
    case IPPROTO_TCP:
      return q.source_port == kBgp || q.destination_port == kBgp;
    case IPPROTO_UDP:
      return std::ranges::find(kBfd, q.destination_port) != kBfd.end();
    default:
      return false;
  }
}

template <typename Values, typename Predicate>
bool silent_or_any(const Values& values, Predicate predicate) {
  return values.empty() || std::ranges::any_of(values, predicate);
}

bool holds(const MatchRule& rule, const PacketQuery& q) {
  const auto is = [](auto wanted) { return [wanted](auto value) { return value == wanted; }; };
  const auto around = [](const IpAddress& a) { return [&a](const Prefix& p) { return p.contains(a); }; };
  const auto within = [](std::uint16_t value) {
    return [value](const auto& range) { return range.first <= value && value <= range.last; };
  };
  const bool ports = has_ports(q.protocol);
  const auto from = [&](const PortRange& range) { return ports && within(q.source_port)(range); };
  const auto to = [&](const PortRange& range) { return ports && within(q.destination_port)(range); };
  return silent_or_any(rule.dscp, is(q.dscp)) && silent_or_any(rule.protocol, is(q.protocol)) &&
         silent_or_any(rule.source, around(q.source)) &&
         silent_or_any(rule.destination, around(q.destination)) && silent_or_any(rule.source_port, from) &&
         silent_or_any(rule.destination_port, to) && silent_or_any(rule.vlan, within(q.vlan)) &&
         silent_or_any(rule.fwmark, is(q.fwmark)) &&
         silent_or_any(rule.port, [&](const PortRange& range) { return from(range) || to(range); });
}

}  // namespace

std::vector<std::byte> frame_of(const PacketQuery& query) {
  constexpr std::size_t kMacAddresses = 12;
  FrameWriter frame;
  frame.zeros(kMacAddresses);
  if (query.vlan != 0) {
    frame.word(kTypeVlan);
    frame.word(query.vlan);
  }
  if (query.destination.family == Family::v4) {
    frame.word(kTypeIpv4);
    write_ipv4(frame, query);
  } else {
    frame.word(kTypeIpv6);
    write_ipv6(frame, query);
  }
  write_payload(frame, query);
  return frame.take();
}

std::vector<Rule> rules_in_order(const ClassSet& set) {
  std::vector<Rule> rules;
  for (std::size_t c = 0; c < set.classes.size(); ++c) {
    const auto& match = set.classes[c].match;
    for (std::size_t e = 0; e < match.size(); ++e)
      rules.push_back({.match = &match[e], .cls = c, .entry = e});
  }
  return rules;
}

std::size_t number_of_rules(const ClassSet& set) {
  std::size_t count = 0;
  for (const ClassPolicy& one : set.classes) count += one.match.size();
  return count;
}

const ClassSet* rules_of(const Policy& policy, const SitePolicy& site) {
  if (!site.each_subnet) return &policy.class_sets[site.class_set];
  const auto& within = site.each_subnet->class_set;
  return within ? &policy.class_sets[*within] : nullptr;
}

std::optional<SiteSubnet> subnet_of(const Policy& policy, const IpAddress& address) {
  std::optional<SiteSubnet> longest;
  for (std::size_t s = 0; s < policy.sites.size(); ++s) {
    const auto& subnets = policy.sites[s].subnets;
    for (std::size_t n = 0; n < subnets.size(); ++n) {
      if (!subnets[n].contains(address) || (longest && subnets[n].length <= longest->subnet.length)) continue;
      longest = {.site = s, .subnet = subnets[n], .number = n};
    }
  }
  return longest;
}

Verdict judge(const Policy& policy, const PacketQuery& query) {
  if (is_control(query)) return {.way = Way::control};
  const bool by_source = policy.site_address == SiteAddress::source;
  const auto at = subnet_of(policy, by_source ? query.source : query.destination);
  if (!at) return {.way = Way::elsewhere};
  const SitePolicy& site = policy.sites[at->site];
  const SiteClasses all = weir::classes_of(policy, site);
  const SiteBranch& branch = all.branches[site.each_subnet ? at->number : 0];
  Verdict verdict{.way = Way::site, .site = at->site, .cls = branch.first};
  const ClassSet* const set = rules_of(policy, site);
  if (set == nullptr) return verdict;
  const auto rules = rules_in_order(*set);
  const auto first = std::ranges::find_if(rules, [&](const Rule& r) { return holds(*r.match, query); });
  if (first == rules.end()) {
    verdict.cls += set->default_class();
  } else {
    verdict.cls += first->cls;
    verdict.rule = static_cast<std::size_t>(first - rules.begin());
  }
  return verdict;
}

std::optional<Verdict> verdict_of(const Policy& policy, const ClassIds& ids, const ClassifierAnswer& answer) {
  if (answer.slot == WEIR_ARRIVALS_CONTROL) return Verdict{.way = Way::control};
  if (answer.slot == WEIR_ARRIVALS_ELSEWHERE) return Verdict{.way = Way::elsewhere};
  const auto slots = arrival_slots(policy);
  const auto behind = std::ranges::upper_bound(slots, answer.slot);
  if (behind == slots.begin() || behind == slots.end()) return std::nullopt;
  Verdict verdict{.way = Way::site, .site = static_cast<std::size_t>(behind - slots.begin()) - 1};
  const std::size_t within = answer.slot - slots[verdict.site];
  if (within > 0) verdict.rule = within - 1;
  const auto& handles = ids.classes.at(verdict.site);
  const auto cls = std::ranges::find(handles, answer.handle);
  if (cls == handles.end()) return std::nullopt;
  verdict.cls = static_cast<std::size_t>(cls - handles.begin());
  return verdict;
}

}  // namespace weir::shaper
