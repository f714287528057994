#include "config/policy_keys.hpp"

#include <array>

namespace weir {
namespace {

constexpr auto kTopKeys = std::to_array<PolicyKey>({
    {"wan", "{interface: wan0, rate: 622mbit}"},
    {"lan", "{interface: lan0}"},
    {"sites", "[{name: coast, subnets: [10.20.0.0/16], rate: {floor: 45mbit}}]"},
    {"policies", "{replicated-site: {classes: [{name: rest, default: true}]}}"},
    {"control", "{guarantee: 2%, ceiling: 100%}"},
    {"elsewhere", "{guarantee: 1%, ceiling: 100%}"},
    {"api", "{socket: /run/weir/weir.sock}"},
    {"recording", "{mebibytes: 32}"},
    {"groups", "{branches: [10.30.0.0/16, 10.31.0.0/16]}"},
    {"include", "sites.d/*.yaml"},
});
constexpr auto kWanKeys = std::to_array<PolicyKey>({
    {"interface", "wan0"},
    {"rate", "622mbit"},
    {"link_layer", "{kind: ethernet, overhead: 24}"},
});
constexpr auto kLinkLayerKeys = std::to_array<PolicyKey>({
    {"kind", "ethernet"},
    {"overhead", "24"},
    {"mpu", "64"},
});
constexpr auto kLanKeys = std::to_array<PolicyKey>({
    {"interface", "lan0"},
});
constexpr auto kSiteKeys = std::to_array<PolicyKey>({
    {"name", "dc-coast"},
    {"subnets", "[10.20.0.0/16]"},
    {"rate", "{floor: 45mbit, ceiling: 600mbit}"},
    {"policy", "replicated-site"},
    {"each_subnet", "{guarantee: 1mbit, ceiling: 20mbit}"},
    {"set_dscp", "default"},
});
constexpr auto kEachSubnetKeys = std::to_array<PolicyKey>({
    {"guarantee", "1mbit"},
    {"ceiling", "20mbit"},
    {"priority", "3"},
    {"leaf", "auto"},
    {"policy", "replicated-site"},
});
constexpr auto kSiteRateKeys = std::to_array<PolicyKey>({
    {"floor", "45mbit"},
    {"ceiling", "600mbit"},
    {"start", "45mbit"},
    {"adapt", "true"},
});
constexpr auto kPolicyKeys = std::to_array<PolicyKey>({
    {"classes", "[{name: rest, default: true}]"},
    {"brownout", "[voice, interactive]"},
});
constexpr auto kClassKeys = std::to_array<PolicyKey>({
    {"name", "voice"},
    {"match", "[{dscp: ef}]"},
    {"default", "true"},
    {"guarantee", "10%"},
    {"ceiling", "90%"},
    {"priority", "3"},
    {"leaf", "auto"},
    {"latency", "20ms"},
    {"classes", "[{name: rest, default: true}]"},
    {"set_dscp", "af21"},
});
constexpr auto kLeafKeys = std::to_array<PolicyKey>({
    {"kind", "fq_codel"},
    {"depth", "100ms"},
    {"packets", "1000"},
    {"target", "5ms"},
    {"interval", "100ms"},
    {"flows", "1024"},
    {"quantum", "1514"},
    {"ecn", "true"},
});
constexpr auto kMatchKeys = std::to_array<PolicyKey>({
    {"dscp", "[af41, af42]"},
    {"source", "10.1.8.0/24"},
    {"destination", "10.20.8.0/24"},
    {"protocol", "tcp"},
    {"port", "22"},
    {"source_port", "5000-5010"},
    {"destination_port", "[80, 443]"},
    {"vlan", "[100, 200-210]"},
    {"fwmark", "0x10"},
});
constexpr auto kBuiltInKeys = std::to_array<PolicyKey>({
    {"guarantee", "2%"},
    {"ceiling", "100%"},
});
constexpr auto kApiKeys = std::to_array<PolicyKey>({
    {"socket", "/run/weir/weir.sock"},
    {"listen", "\"127.0.0.1:8440\""},
});
constexpr auto kRecordingKeys = std::to_array<PolicyKey>({
    {"mebibytes", "32"},
});

}  // namespace

namespace keys {
const KeyTable top{"", "the policy file", kTopKeys};
const KeyTable wan{"wan", "wan", kWanKeys};
const KeyTable link_layer{"wan.link_layer", "link_layer", kLinkLayerKeys};
const KeyTable lan{"lan", "lan", kLanKeys};
const KeyTable site{"sites[]", "a site", kSiteKeys};
const KeyTable site_rate{"sites[].rate", "a site's rate", kSiteRateKeys};
const KeyTable each_subnet{"sites[].each_subnet", "each_subnet", kEachSubnetKeys};
const KeyTable policy{"policies.NAME", "a policy", kPolicyKeys};
const KeyTable traffic_class{"policies.NAME.classes[]", "a class", kClassKeys};
const KeyTable leaf{"policies.NAME.classes[].leaf", "a leaf", kLeafKeys};
const KeyTable match{"policies.NAME.classes[].match[]", "a match entry", kMatchKeys};
const KeyTable control{"control", "control", kBuiltInKeys};
const KeyTable elsewhere{"elsewhere", "elsewhere", kBuiltInKeys};
const KeyTable api{"api", "api", kApiKeys};
const KeyTable recording{"recording", "recording", kRecordingKeys};
}  // namespace keys

std::span<const KeyTable* const> key_tables() {
  static constexpr std::array<const KeyTable*, 15> kAll{
      &keys::top,       &keys::wan,         &keys::link_layer, &keys::lan,           &keys::site,
      &keys::site_rate, &keys::each_subnet, &keys::policy,     &keys::traffic_class, &keys::leaf,
      &keys::match,     &keys::control,     &keys::elsewhere,  &keys::api,           &keys::recording};
  return kAll;
}

}  // namespace weir
