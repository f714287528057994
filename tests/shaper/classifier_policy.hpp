/// The policy of the hand-written classifier tests, and its handles.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/policy.hpp"
#include "shaper/class_ids.hpp"

namespace weir::shaper::test {

inline Prefix prefix(const std::string& text) {
  return Prefix::parse(text).value();
}

/// A match entry of which only what matters is said.
struct Match {
  std::vector<std::uint8_t> dscp = {};
  std::vector<Prefix> source = {};
  std::vector<Prefix> destination = {};
  std::vector<std::uint8_t> protocol = {};
  std::vector<PortRange> port = {};
  std::vector<PortRange> source_port = {};
  std::vector<PortRange> destination_port = {};

  operator MatchRule() const {
    return {dscp, source, destination, protocol, port, source_port, destination_port};
  }
};

inline ClassPolicy class_of(const std::string& name, const std::vector<Match>& match,
                            bool is_default = false) {
  ClassPolicy c;
  c.name = name;
  c.match.assign(match.begin(), match.end());
  c.is_default = is_default;
  return c;
}

inline SitePolicy site_of(const std::string& name, const std::vector<Prefix>& subnets,
                          std::size_t class_set) {
  return {.name = name, .subnets = subnets, .rate = {}, .class_set = class_set};
}

/// Site coast (with a hole in it that belongs to hill) on the full class set; hill on a set of its own.
///                  classes of `replicated`          handles at coast
///   voice        dscp ef                               7e17:11
///   interactive  dscp af41/af42 | 10.1.8.0/24 & tcp & port 22      :12
///   replication  10.1.50.0/24, 2001:db8:50::/48 | cs1              :13
///   web          to ports 80, 8000-8999 & tcp          :14
///   backup       to 10.20.99.0/24, 2001:db8:20:99::/64 & udp from port 5000-5999   :15
///   rest         default                               :16
/// and of `plain` at hill: everything              :21
inline Policy example_policy() {
  const ClassSet replicated{
      .name = "replicated",
      .classes = {
          class_of("voice", {{.dscp = {46}}}),
          class_of("interactive", {{.dscp = {34, 36}},
                                   {.source = {prefix("10.1.8.0/24")}, .protocol = {6}, .port = {{22, 22}}}}),
          class_of("replication",
                   {{.source = {prefix("10.1.50.0/24"), prefix("2001:db8:50::/48")}}, {.dscp = {8}}}),
          class_of("web", {{.protocol = {6}, .destination_port = {{80, 80}, {8000, 8999}}}}),
          class_of("backup", {{.destination = {prefix("10.20.99.0/24"), prefix("2001:db8:20:99::/64")},
                               .protocol = {17},
                               .source_port = {{5000, 5999}}}}),
          class_of("rest", {}, true),
      }};
  const ClassSet plain{.name = "plain", .classes = {class_of("all", {}, true)}};
  Policy p;
  p.class_sets = {replicated, plain};
  p.sites = {
      site_of("coast", {prefix("10.20.0.0/16"), prefix("2001:db8:20::/48")}, 0),
      site_of("hill", {prefix("10.20.30.0/24"), prefix("2001:db8:20:30::/64"), prefix("192.0.2.1")}, 1)};
  return p;
}

inline ClassIds example_ids() {
  const auto id = [](std::uint16_t minor) { return make_handle(kMajor, minor); };
  return {.site = {id(0x10), id(0x20)},
          .classes = {{id(0x11), id(0x12), id(0x13), id(0x14), id(0x15), id(0x16)}, {id(0x21)}}};
}

}  // namespace weir::shaper::test
