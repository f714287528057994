/// What the classifier promises, said the plain way: reads a frame, goes through sites and rules one by one.
///
/// Shares nothing with the program but the policy: no bit vectors, no tables. Slow and meant to be read.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "config/policy.hpp"
#include "config/site_classes.hpp"
#include "shaper/class_ids.hpp"

namespace weir::shaper::test {

class ReferenceClassifier {
 public:
  ReferenceClassifier(const Policy& policy, const ClassIds& ids) : policy_(policy), ids_(ids) {}

  struct Verdict {
    Handle handle;
    std::optional<unsigned> dscp{};  ///< what it leaves with; nullopt: no IP packet, or one that is not read
    std::optional<std::size_t> header{};  ///< where its IP header begins
  };

  [[nodiscard]] Handle classify(std::span<const std::uint8_t> frame) const { return judge(frame).handle; }

  [[nodiscard]] Verdict judge(std::span<const std::uint8_t> frame, std::uint32_t fwmark = 0) const {
    const auto link = read_link(frame);
    if (!link) return {kElsewhereClass};
    if (link->type == 0x8864) return {pppoe_class(frame, link->payload_at)};
    if (link->type != 0x0800 && link->type != 0x86dd)
      return {carries_data(link->type) ? kElsewhereClass : kControlClass};
    auto packet =
        link->type == 0x0800 ? read_ipv4(frame, link->payload_at) : read_ipv6(frame, link->payload_at);
    if (!packet) return {kElsewhereClass};
    packet->vlan = link->vlan;
    packet->fwmark = fwmark;
    Verdict verdict{kElsewhereClass, packet->dscp, link->payload_at};
    if (is_control(*packet)) {
      verdict.handle = kControlClass;
    } else if (const auto at = subnet_of(policy_.site_address == SiteAddress::source ? packet->source
                                                                                     : packet->destination)) {
      const auto& site = policy_.sites[at->site];
      const std::size_t c = class_in_site(*packet, *at);
      verdict.handle = ids_.classes[at->site][c];
      const auto classes = weir::classes_of(policy_, site).classes;
      if (site.set_dscp) verdict.dscp = *site.set_dscp;
      if (classes[c].policy->set_dscp) verdict.dscp = *classes[c].policy->set_dscp;
    }
    return verdict;
  }

  /// The sum of an IPv4 header's words: 0xffff when its checksum is right (RFC 1071).
  [[nodiscard]] static unsigned header_sum(std::span<const std::uint8_t> frame, std::size_t at) {
    unsigned sum = 0;
    for (std::size_t i = 0; i < frame[at] % 16U * 4U; i += 2) sum += get16(frame, at + i).value_or(0);
    while (sum > 0xffffU) sum = sum % 0x10000U + sum / 0x10000U;
    return sum;
  }

 private:
  using Bytes = std::span<const std::uint8_t>;
  struct Link {
    unsigned type;
    std::size_t payload_at;
    unsigned vlan = 0;
  };
  struct Packet {
    IpAddress source, destination;
    unsigned dscp = 0, protocol = 0, vlan = 0;
    std::uint32_t fwmark = 0;
    std::optional<Bytes> payload;  ///< four bytes of it
    [[nodiscard]] bool has_ports() const {
      return payload && (protocol == 6 || protocol == 17 || protocol == 132);
    }
    [[nodiscard]] unsigned source_port() const { return *get16(*payload, 0); }
    [[nodiscard]] unsigned destination_port() const { return *get16(*payload, 2); }
  };

  static std::optional<Bytes> take(Bytes frame, std::size_t at, std::size_t count) {
    if (at > frame.size() || frame.size() - at < count) return std::nullopt;
    return frame.subspan(at, count);
  }
  static std::optional<unsigned> get16(Bytes frame, std::size_t at) {
    const auto two = take(frame, at, 2);
    if (!two) return std::nullopt;
    return (*two)[0] * 256U + (*two)[1];
  }

  static bool is_tag(unsigned type) { return type == 0x8100 || type == 0x88a8 || type == 0x9100; }
  static bool carries_data(unsigned type) {
    constexpr std::array kData{0x8847U, 0x8848U, 0x88e5U, 0x88e7U, 0x22f3U,
                               0x894fU, 0x8906U, 0x88a2U, 0x8915U};
    return is_tag(type) || std::ranges::find(kData, type) != kData.end();
  }

  static std::optional<Link> read_link(Bytes frame) {
    std::size_t at = 12;
    auto type = get16(frame, at);
    for (int tags = 0; type && is_tag(*type) && tags < 2; ++tags) type = get16(frame, at += 4);
    if (!type) return std::nullopt;
    const bool tagged = at > 12;
    return Link{.type = *type, .payload_at = at + 2, .vlan = tagged ? *get16(frame, 14) % 0x1000U : 0U};
  }

  static Handle pppoe_class(Bytes frame, std::size_t at) {
    const auto protocol = get16(frame, at + 6);
    return protocol && *protocol >= 0x8000 ? kControlClass : kElsewhereClass;
  }

  static std::optional<Packet> read_ipv4(Bytes frame, std::size_t at) {
    const auto h = take(frame, at, 20);
    if (!h || (*h)[0] / 16 != 4 || (*h)[0] % 16 < 5) return std::nullopt;
    Packet p;
    p.dscp = (*h)[1] / 4U;
    p.protocol = (*h)[9];
    p.source = IpAddress::from_v4(h->subspan<12, 4>());
    p.destination = IpAddress::from_v4(h->subspan<16, 4>());
    const bool later_fragment = ((*h)[6] * 256U + (*h)[7]) % 0x2000U != 0;
    if (!later_fragment) p.payload = take(frame, at + (*h)[0] % 16U * 4U, 4);
    return p;
  }

  static std::optional<Packet> read_ipv6(Bytes frame, std::size_t at) {
    const auto h = take(frame, at, 40);
    if (!h || (*h)[0] / 16 != 6) return std::nullopt;
    Packet p;
    p.dscp = ((*h)[0] % 16U * 16U + (*h)[1] / 16U) / 4U;
    p.source = IpAddress::from_v6(h->subspan<8, 16>());
    p.destination = IpAddress::from_v6(h->subspan<24, 16>());
    p.protocol = (*h)[6];
    at += 40;
    constexpr std::array kExtensions{0U, 43U, 44U, 51U, 60U};
    for (int headers = 0;; ++headers) {
      const auto kind = p.protocol;
      if (std::ranges::find(kExtensions, kind) == kExtensions.end()) {
        p.payload = take(frame, at, 4);
        return p;
      }
      if (headers == 6) return p;
      const auto e = take(frame, at, 4);
      if (!e) return std::nullopt;
      p.protocol = (*e)[0];
      if (kind == 44 && ((*e)[2] * 256U + (*e)[3]) / 8U != 0) return p;
      at += kind == 44 ? 8U : kind == 51 ? ((*e)[1] + 2U) * 4U : ((*e)[1] + 1U) * 8U;
    }
  }

  static bool is_control(const Packet& p) {
    if (p.dscp == 48 || p.dscp == 56) return true;
    if (p.protocol == 89 || p.protocol == 112 || p.protocol == 88 || p.protocol == 2) return true;
    if (p.protocol == 103) return p.payload && (*p.payload)[0] % 16 != 1;
    if (p.protocol == 58 && p.source.family == Family::v6 && p.payload) {
      const auto type = (*p.payload)[0];
      return (type >= 130 && type <= 137) || type == 143;
    }
    if (!p.has_ports()) return false;
    if (p.protocol == 6) return p.source_port() == 179 || p.destination_port() == 179;
    const auto to = p.destination_port();
    return p.protocol == 17 && (to == 3784 || to == 3785 || to == 4784 || to == 6784);
  }

  struct Subnet {
    std::size_t site;
    std::size_t number;
  };

  [[nodiscard]] std::optional<Subnet> subnet_of(const IpAddress& address) const {
    std::optional<Subnet> best;
    int best_length = -1;
    for (std::size_t i = 0; i < policy_.sites.size(); ++i)
      for (std::size_t n = 0; n < policy_.sites[i].subnets.size(); ++n)
        if (const auto& subnet = policy_.sites[i].subnets[n];
            subnet.contains(address) && subnet.length > best_length) {
          best = {i, n};
          best_length = subnet.length;
        }
    return best;
  }

  /// Its index among the site's classes.
  [[nodiscard]] std::size_t class_in_site(const Packet& p, const Subnet& at) const {
    const auto& site = policy_.sites[at.site];
    if (!site.each_subnet) return class_in_set(p, policy_.class_sets[site.class_set]);
    if (!site.each_subnet->class_set) return at.number;
    const auto& set = policy_.class_sets[*site.each_subnet->class_set];
    return at.number * (1 + set.classes.size()) + 1 + class_in_set(p, set);
  }

  [[nodiscard]] static std::size_t class_in_set(const Packet& p, const ClassSet& set) {
    std::size_t fallback = 0;
    for (std::size_t c = 0; c < set.classes.size(); ++c) {
      if (std::ranges::any_of(set.classes[c].match, [&](const MatchRule& r) { return holds(r, p); }))
        return c;
      if (set.classes[c].is_default) fallback = c;
    }
    return fallback;
  }

  template <typename Values, typename Predicate>
  static bool silent_or_any(const Values& values, Predicate predicate) {
    return values.empty() || std::ranges::any_of(values, predicate);
  }

  static bool holds(const MatchRule& r, const Packet& p) {
    const auto in_range = [](unsigned port) {
      return [port](const PortRange& range) { return range.first <= port && port <= range.last; };
    };
    const auto from = [&](const auto& range) { return p.has_ports() && in_range(p.source_port())(range); };
    const auto to = [&](const auto& range) { return p.has_ports() && in_range(p.destination_port())(range); };
    return silent_or_any(r.dscp, [&](auto v) { return v == p.dscp; }) &&
           silent_or_any(r.protocol, [&](auto v) { return v == p.protocol; }) &&
           silent_or_any(r.source, [&](const Prefix& x) { return x.contains(p.source); }) &&
           silent_or_any(r.destination, [&](const Prefix& x) { return x.contains(p.destination); }) &&
           silent_or_any(r.source_port, from) && silent_or_any(r.destination_port, to) &&
           silent_or_any(r.vlan, [&](const VlanRange& x) { return x.first <= p.vlan && p.vlan <= x.last; }) &&
           silent_or_any(r.fwmark, [&](auto v) { return v == p.fwmark; }) &&
           silent_or_any(r.port, [&](const auto& range) { return from(range) || to(range); });
  }

  const Policy& policy_;
  const ClassIds& ids_;
};

}  // namespace weir::shaper::test
