/// The policy of README's example as a value, for the shaper's tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/policy.hpp"

namespace weir::shaper::testing {

inline ClassPolicy make_class(std::string name, double guarantee, std::uint8_t priority) {
  ClassPolicy cls;
  cls.name = std::move(name);
  cls.guarantee = Share{guarantee};
  cls.priority = priority;
  return cls;
}

inline MatchRule dscp(std::vector<std::uint8_t> code_points) {
  MatchRule rule;
  rule.dscp = std::move(code_points);
  return rule;
}

inline ClassSet replicated_site() {
  ClassSet set{.name = "replicated-site", .classes = {}};
  set.classes.push_back(make_class("voice", 0.05, 0));
  set.classes.back().match = {dscp({46})};
  set.classes.back().ceiling =
      Share{0.15};  // what the policy file's reader makes of no ceiling at priority 0
  set.classes.push_back(make_class("interactive", 0.25, 1));
  set.classes.back().match = {dscp({34, 36})};
  set.classes.push_back(make_class("replication", 0.10, 3));
  set.classes.back().match = {dscp({8})};
  set.classes.back().ceiling = Share{0.9};
  set.classes.push_back(make_class("rest", 0.20, 2));
  set.classes.back().is_default = true;
  return set;
}

inline SitePolicy make_site(std::string name, Rate floor, Rate ceiling, const char* subnet = "10.20.0.0/16") {
  return {.name = std::move(name),
          .subnets = {*Prefix::parse(subnet)},
          .rate = {.floor = floor, .ceiling = ceiling, .start = floor}};
}

inline Policy sample_policy(std::string interface = "wan0") {
  Policy policy;
  policy.wan = {.interface = std::move(interface), .rate = Rate::mbps(622), .link_layer = {.overhead = 24}};
  policy.class_sets = {replicated_site()};
  policy.sites = {make_site("dc-coast", Rate::mbps(45), Rate::mbps(600))};
  return policy;
}

inline Policy two_sites(std::string interface = "wan0") {
  Policy policy = sample_policy(std::move(interface));
  policy.sites.push_back(make_site("dc-hill", Rate::mbps(20), Rate::mbps(400), "10.30.0.0/16"));
  return policy;
}

}  // namespace weir::shaper::testing
