/// Random policies and frames drawn from small worlds, so that prefixes nest, ranges overlap and rules
/// compete.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <set>
#include <string>

#include "config/policy.hpp"
#include "config/site_classes.hpp"
#include "shaper/class_ids.hpp"
#include "shaper/packet_query.hpp"

#include "classifier_frames.hpp"

namespace weir::shaper::test {

class RandomWorld {
 public:
  explicit RandomWorld(std::uint32_t seed) : engine_(seed) {}

  unsigned below(unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(engine_); }
  bool chance(unsigned percent) { return below(100) < percent; }
  template <typename T, std::size_t N>
  T one_of(const std::array<T, N>& values) {
    return values[below(N)];
  }

  std::string address4() { return "10." + number(3) + "." + number(3) + "." + number(3); }
  std::string address6() { return "2001:db8:" + number(3) + "::" + number(3); }

  Prefix prefix() {
    const bool v4 = chance(60);
    const auto address = IpAddress::parse(v4 ? address4() : address6()).value();
    const auto length = v4 ? one_of(std::array{0U, 6U, 8U, 15U, 16U, 23U, 24U, 31U, 32U})
                           : one_of(std::array{0U, 16U, 32U, 46U, 47U, 48U, 64U, 127U, 128U});
    Prefix clean{.address = address, .length = static_cast<std::uint8_t>(length)};
    for (unsigned bit = length; bit < static_cast<unsigned>(address.width()); ++bit)
      clean.address.bytes[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> bit % 8));
    return clean;
  }

  std::uint8_t protocol() { return one_of(std::array<std::uint8_t, 7>{1, 6, 6, 17, 17, 132, 58}); }
  std::uint16_t port() {
    return one_of(std::array<std::uint16_t, 9>{0, 22, 80, 255, 256, 443, 3784, 8080, 65535});
  }
  std::uint8_t dscp() { return static_cast<std::uint8_t>(chance(70) ? below(4) * 8 + 2 : below(64)); }

  MatchRule rule() {
    MatchRule r;
    if (chance(40)) fill(r.dscp, [&] { return dscp(); });
    if (chance(40)) fill(r.source, [&] { return prefix(); });
    if (chance(30)) fill(r.destination, [&] { return prefix(); });
    if (chance(30)) fill(r.protocol, [&] { return protocol(); });
    if (chance(20)) fill(r.port, [&] { return range(); });
    if (chance(15)) fill(r.source_port, [&] { return range(); });
    if (chance(15)) fill(r.destination_port, [&] { return range(); });
    if (chance(15)) fill(r.vlan, [&] { return vlan_range(); });
    if (chance(15)) fill(r.fwmark, [&] { return 1 + below(3); });
    return r;
  }

  Policy policy() {
    Policy p;
    if (chance(30)) p.site_address = SiteAddress::source;
    p.class_sets.resize(1 + below(3));
    for (auto& set : p.class_sets) {
      set.classes.resize(1 + below(6));
      const unsigned most = chance(15) ? 60 : 5;  // sometimes several words of rules
      for (auto& c : set.classes) {
        if (chance(20)) c.set_dscp = dscp();
        for (unsigned n = below(most); n > 0; --n) c.match.push_back(rule());
      }
      set.classes[below(static_cast<unsigned>(set.classes.size()))].is_default = true;
    }
    p.sites.resize(below(6));
    std::set<Prefix> taken;
    for (auto& site : p.sites) {
      site.class_set = below(static_cast<unsigned>(p.class_sets.size()));
      if (chance(20)) site.set_dscp = dscp();
      if (chance(25)) {
        site.each_subnet.emplace();
        if (chance(60)) site.each_subnet->class_set = site.class_set;
        site.each_subnet->shape.inner = site.each_subnet->class_set.has_value();
      }
      for (unsigned n = 1 + below(6); n > 0; --n)
        if (const auto subnet = prefix(); taken.insert(subnet).second) site.subnets.push_back(subnet);
    }
    return p;
  }

  Octets frame() {
    auto out = whole_frame();
    if (chance(10)) out.resize(std::max<std::size_t>(15, below(static_cast<unsigned>(out.size()) + 1)));
    if (chance(10))
      out[12 + below(static_cast<unsigned>(out.size()) - 12)] = static_cast<std::uint8_t>(below(256));
    return out;
  }

  std::uint32_t fwmark() { return below(5); }

  PacketQuery query() {
    const bool v4 = chance(60);
    const auto address = [&] { return IpAddress::parse(v4 ? address4() : address6()).value(); };
    return {
        .source = address(),
        .destination = address(),
        .dscp = dscp(),
        .protocol = chance(90) ? protocol() : one_of(std::array<std::uint8_t, 6>{2, 47, 88, 89, 103, 112}),
        .source_port = port(),
        .destination_port = port(),
        .vlan = one_of(std::array<std::uint16_t, 4>{0, 0, 100, 300}),
        .fwmark = fwmark()};
  }

 private:
  /// What frames have is one of few.
  VlanRange vlan_range() {
    constexpr std::array<VlanRange, 4> kRanges{{{0, 0}, {100, 100}, {99, 101}, {300, 4094}}};
    return one_of(kRanges);
  }
  std::string number(unsigned most) { return std::to_string(below(most + 1)); }
  PortRange range() {
    const auto a = port();
    const auto b = port();
    return chance(50) ? PortRange{a, a} : PortRange{std::min(a, b), std::max(a, b)};
  }
  template <typename T, typename Make>
  void fill(std::vector<T>& values, Make make) {
    for (unsigned n = 1 + below(3); n > 0; --n) values.push_back(make());
  }

  Octets whole_frame() {
    constexpr std::array<std::uint16_t, 3> kTags{0x8100, 0x88a8, 0x9100};
    std::vector<std::uint16_t> tags;
    while (tags.size() < 3 && chance(20)) tags.push_back(one_of(kTags));
    if (chance(5)) return ethernet(tags, static_cast<std::uint16_t>(below(65536)), Octets(40));
    const auto proto = chance(90) ? protocol() : static_cast<std::uint8_t>(below(256));
    const auto payload = chance(50) ? ports(port(), port()) : ports(below(65536), below(65536));
    if (chance(50)) {
      const Ipv4 h{.source = address4(),
                   .destination = address4(),
                   .dscp = dscp(),
                   .protocol = proto,
                   .fragment = static_cast<std::uint16_t>(chance(15) ? below(65536) : 0),
                   .option_words = static_cast<std::uint8_t>(chance(15) ? below(11) : 0)};
      return ethernet(tags, 0x0800, ipv4(h, payload));
    }
    auto next = proto;
    auto rest = payload;
    for (unsigned n = chance(30) ? below(8) : 0; n > 0; --n) {
      const auto kind = one_of(std::array<std::uint8_t, 5>{0, 43, 60, 51, 44});
      rest = kind == 44 ? fragment6(next, static_cast<std::uint16_t>(chance(30) ? below(8192) * 8 : 0), rest)
             : kind == 51 ? authentication(next, rest)
                          : extension(next, static_cast<std::uint8_t>(below(3)), rest);
      next = kind;
    }
    return ethernet(
        tags, 0x86dd,
        ipv6({.source = address6(), .destination = address6(), .dscp = dscp(), .next = next}, rest));
  }

  std::mt19937 engine_;
};

/// A handle for every site and class, all different.
inline ClassIds distinct_ids(const Policy& policy) {
  ClassIds ids;
  std::uint16_t next = 0x10;
  for (const auto& site : policy.sites) {
    ids.site.push_back(make_handle(kMajor, next++));
    auto& leaves = ids.classes.emplace_back();
    for (std::size_t c = 0; c < number_of_classes(policy, site); ++c)
      leaves.push_back(make_handle(kMajor, next++));
  }
  return ids;
}

}  // namespace weir::shaper::test
