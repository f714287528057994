#include "config/policy.hpp"

namespace weir {

std::optional<Policy> lan_policy(const Policy& policy) {
  if (!policy.lan) return std::nullopt;
  return Policy{.wan = {.interface = policy.lan->interface,
                        .rate = policy.lan->rate,
                        .link_layer = policy.wan.link_layer},
                .lan = LanPort{.interface = policy.wan.interface, .rate = policy.wan.rate},
                .gro = policy.gro,
                .site_address = SiteAddress::source,
                .class_sets = policy.class_sets,
                .sites = policy.inbound,
                .inbound = {},
                .control = policy.control,
                .elsewhere = policy.elsewhere,
                .api = policy.api,
                .recording = policy.recording};
}

}  // namespace weir
