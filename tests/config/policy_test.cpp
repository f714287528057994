// What a good policy file means.

#include "config/policy.hpp"

#include <string>
#include <variant>

#include <gtest/gtest.h>

#include "config/load.hpp"

namespace weir {
namespace {

/// The policy in `text`; fails the test with the rendered problems if there are any.
Policy policy_of(const std::string& text) {
  auto parsed = parse_policy(text);
  if (auto* problems = std::get_if<Problems>(&parsed)) {
    ADD_FAILURE() << render(*problems, "policy.yaml", text);
    return {};
  }
  return std::get<Policy>(std::move(parsed));
}

Prefix prefix(std::string_view text) {
  return Prefix::parse(text).value();
}

/// A policy with one site whose one policy has these classes.
std::string with_classes(const std::string& classes) {
  return "wan: {interface: wan0, rate: 622mbit}\n"
         "sites: [{name: coast, subnets: [10.20.0.0/16], rate: {floor: 45mbit}, policy: p}]\n"
         "policies: {p: {classes: " +
         classes + "}}\n";
}

constexpr const char* kFullExample = R"(
wan: {interface: wan0, rate: 622mbit, link_layer: {kind: ethernet, overhead: 24}}
lan: {interface: lan0}
sites:
  - name: dc-coast
    subnets: [10.20.0.0/16, "2001:db8:20::/48"]
    rate: {floor: 45mbit, ceiling: 600mbit, start: 45mbit, adapt: true}
    policy: replicated-site
policies:
  replicated-site:
    classes:
      - {name: voice,       match: [{dscp: ef}], guarantee: 5%, priority: 0}
      - {name: interactive, match: [{dscp: [af41, af42]}, {source: 10.1.8.0/24, protocol: tcp, port: 22}], guarantee: 25%, priority: 1}
      - {name: replication, match: [{source: 10.1.50.0/24}, {dscp: cs1}], guarantee: 10%, ceiling: 90%, priority: 3}
      - {name: rest, default: true, guarantee: 20%, priority: 2}
api: {socket: /run/weir/weir.sock, listen: "127.0.0.1:8440"}
recording: {mebibytes: 0}
)";

TEST(Policy, TheFullExampleMeansWhatItSays) {
  Policy expected;
  expected.wan = {.interface = "wan0",
                  .rate = Rate::mbps(622),
                  .link_layer = {.kind = LinkLayer::Kind::ethernet, .overhead = 24, .mpu = 0}};
  expected.lan = LanPort{.interface = "lan0", .rate = Rate::mbps(622)};

  ClassPolicy voice;
  voice.name = "voice";
  voice.match = {MatchRule{.dscp = {46}}};
  voice.guarantee = Share{0.05};
  voice.ceiling = Share{0.05 * 3.0};
  voice.priority = 0;
  ClassPolicy interactive;
  interactive.name = "interactive";
  interactive.match = {
      MatchRule{.dscp = {34, 36}},
      MatchRule{.source = {prefix("10.1.8.0/24")}, .protocol = {6}, .port = {{.first = 22, .last = 22}}}};
  interactive.guarantee = Share{0.25};
  interactive.priority = 1;
  ClassPolicy replication;
  replication.name = "replication";
  replication.match = {MatchRule{.source = {prefix("10.1.50.0/24")}}, MatchRule{.dscp = {8}}};
  replication.guarantee = Share{0.10};
  replication.ceiling = Share{0.90};
  ClassPolicy rest;
  rest.name = "rest";
  rest.is_default = true;
  rest.guarantee = Share{0.20};
  rest.priority = 2;
  expected.class_sets = {{.name = "replicated-site", .classes = {voice, interactive, replication, rest}}};

  SitePolicy site;
  site.name = "dc-coast";
  site.subnets = {prefix("10.20.0.0/16"), prefix("2001:db8:20::/48")};
  site.rate = {.floor = Rate::mbps(45), .ceiling = Rate::mbps(600), .start = Rate::mbps(45), .adapt = true};
  site.class_set = 0;
  expected.sites = {site};
  expected.recording = {.mebibytes = 0};
  expected.api = {.socket = "/run/weir/weir.sock",
                  .listen = TcpEndpoint{.address = IpAddress::parse("127.0.0.1").value(), .port = 8440}};

  const Policy policy = policy_of(kFullExample);
  EXPECT_EQ(policy, expected);
  EXPECT_EQ(policy.classes_of(policy.sites[0]).name, "replicated-site");
}

TEST(Policy, WhatComesFromASiteIsShapedAtTheLanPort) {
  const Policy policy = policy_of(
      "wan: {interface: wan0, rate: 622mbit, link_layer: {overhead: 24}}\n"
      "lan: {interface: lan0, rate: 10gbit}\n"
      "sites:\n"
      "  - {name: hill, subnets: [10.10.0.0/16], rate: {floor: 45mbit}, policy: p}\n"
      "  - {name: coast, subnets: [10.20.0.0/16], rate: {floor: 45mbit}, inbound: {rate: 300mbit, policy: p, "
      "set_dscp: "
      "af11}}\n"
      "  - {name: moor, subnets: [10.30.1.0/24, 10.30.2.0/24], rate: {floor: 10mbit}, inbound: {rate: "
      "20mbit, floor: 5mbit, start: 8mbit, "
      "each_subnet: {guarantee: 1mbit}}}\n"
      "policies: {p: {classes: [{name: rest, default: true}]}}\n"
      "control: {guarantee: 3%}\n"
      "gro: as_is\n");
  ASSERT_EQ(policy.sites.size(), 3U);
  EXPECT_EQ(policy.sites[1].set_dscp, std::nullopt);
  const auto lan = lan_policy(policy);
  ASSERT_TRUE(lan.has_value());
  EXPECT_EQ(lan->wan.interface, "lan0");
  EXPECT_EQ(lan->wan.rate, Rate::mbps(10'000));
  EXPECT_EQ(lan->wan.link_layer, policy.wan.link_layer);
  EXPECT_EQ(lan->site_address, SiteAddress::source);
  EXPECT_EQ(lan->control, policy.control);
  EXPECT_EQ(lan->gro, GroPolicy::as_is);
  EXPECT_EQ(lan->lan, (LanPort{.interface = "wan0", .rate = Rate::mbps(622)}))
      << "what is queued there came in here";
  ASSERT_EQ(lan->sites.size(), 2U);
  const SitePolicy& coast = lan->sites[0];
  EXPECT_EQ(coast.name, "coast");
  EXPECT_EQ(coast.subnets, policy.sites[1].subnets);
  EXPECT_EQ(
      coast.rate,
      (SiteRates{
          .floor = Rate::mbps(300), .ceiling = Rate::mbps(300), .start = Rate::mbps(300), .adapt = false}));
  EXPECT_EQ(lan->classes_of(coast).name, "p");
  EXPECT_EQ(coast.set_dscp, 10);
  EXPECT_EQ(
      lan->sites[1].rate,
      (SiteRates{.floor = Rate::mbps(5), .ceiling = Rate::mbps(20), .start = Rate::mbps(8), .adapt = true}))
      << "with a floor it follows the path";
  ASSERT_TRUE(lan->sites[1].each_subnet.has_value());
  EXPECT_EQ(lan->sites[1].subnets.size(), 2U);
}

TEST(Policy, WithoutALanPortNothingIsShapedThere) {
  const Policy policy = policy_of(
      "wan: {interface: wan0, rate: 100mbit}\n"
      "sites: [{name: coast, subnets: 10.20.0.0/16, rate: {floor: 45mbit}}]\n");
  EXPECT_TRUE(policy.inbound.empty());
  EXPECT_FALSE(lan_policy(policy).has_value());
}

TEST(Policy, TheShippedExampleLoads) {
  const auto loaded = load_policy(WEIR_SOURCE_DIR "/config/weir.yaml");
  if (const auto* failure = std::get_if<LoadFailure>(&loaded)) FAIL() << failure->rendered;
  const auto& [policy, files] = std::get<LoadedPolicy>(loaded);
  EXPECT_EQ(policy.sites.size(), 3U);
  EXPECT_EQ(policy.classes_of(policy.sites[0]).classes.size(), 4U);
  EXPECT_EQ(policy.classes_of(policy.sites[2]).name, "default");
  EXPECT_NE(files.at(0).text.find("# Weir's policy"), std::string::npos);
}

TEST(Policy, EverythingLeftOutHasItsDefault) {
  const Policy policy = policy_of(
      "wan: {interface: wan0, rate: 100mbit}\n"
      "sites: [{name: coast, subnets: 10.20.0.0/16, rate: {floor: 45mbit}}]\n");
  EXPECT_EQ(policy.wan.link_layer, LinkLayer{});
  EXPECT_FALSE(policy.lan.has_value());
  EXPECT_EQ(policy.gro, GroPolicy::bounded);
  EXPECT_EQ(policy.sites[0].rate.ceiling, Rate::mbps(100));
  EXPECT_EQ(policy.sites[0].rate.start, Rate::mbps(45));
  EXPECT_TRUE(policy.sites[0].rate.adapt);
  EXPECT_EQ(policy.control, (BuiltInClass{.guarantee = Share{0.02}, .ceiling = Share{1.0}}));
  EXPECT_EQ(policy.elsewhere, (BuiltInClass{.guarantee = Share{0.01}, .ceiling = Share{1.0}}));
  EXPECT_EQ(policy.recording.bytes(), 8U << 20U);
  EXPECT_EQ(policy.api.socket, "/run/weir/weir.sock");
  EXPECT_FALSE(policy.api.listen.has_value());

  const ClassSet& set = policy.classes_of(policy.sites[0]);
  ASSERT_EQ(set.classes.size(), 1U);
  ClassPolicy expected;
  expected.name = "default";
  expected.is_default = true;
  EXPECT_EQ(set.classes[0], expected);
  EXPECT_EQ(expected.priority, 3);
  EXPECT_EQ(expected.ceiling, RateOrShare(Share{1.0}));
  EXPECT_EQ(expected.leaf.kind, LeafKind::automatic);
}

TEST(Policy, SitesWithoutPolicyShareOneBuiltInSet) {
  const Policy policy = policy_of(
      "wan: {interface: wan0, rate: 100mbit}\n"
      "sites:\n"
      "  - {name: a, subnets: 10.1.0.0/16, rate: {floor: 1mbit}}\n"
      "  - {name: b, subnets: 10.2.0.0/16, rate: {floor: 1mbit}, policy: p}\n"
      "  - {name: c, subnets: 10.3.0.0/16, rate: {floor: 1mbit}}\n"
      "policies: {p: {classes: [{name: rest, default: true}]}}\n");
  ASSERT_EQ(policy.class_sets.size(), 2U);
  EXPECT_EQ(policy.sites[0].class_set, 1U);
  EXPECT_EQ(policy.sites[1].class_set, 0U);
  EXPECT_EQ(policy.sites[2].class_set, 1U);
}

TEST(Policy, APolicyNamedDefaultServesSitesWithoutPolicy) {
  const Policy policy = policy_of(
      "wan: {interface: wan0, rate: 100mbit}\n"
      "sites: [{name: a, subnets: 10.1.0.0/16, rate: {floor: 1mbit}}]\n"
      "policies: {default: {classes: [{name: everything, default: true}]}}\n");
  ASSERT_EQ(policy.class_sets.size(), 1U);
  EXPECT_EQ(policy.classes_of(policy.sites[0]).classes[0].name, "everything");
}

TEST(Policy, UnusedPoliciesAreKept) {
  const Policy policy = policy_of(
      with_classes("[{name: rest, default: true}]}, spare: {classes: [{name: rest, default: true}]"));
  ASSERT_EQ(policy.class_sets.size(), 2U);
  EXPECT_EQ(policy.class_sets[1].name, "spare");
}

TEST(Policy, AClassMayHaveALatencyGoal) {
  using namespace std::chrono_literals;
  const Policy policy =
      policy_of(with_classes("[{name: a, match: {dscp: 1}, guarantee: 5%, latency: 20ms},"
                             " {name: b, match: {dscp: 2}, guarantee: 5%, latency: 1s},"
                             " {name: c, match: {dscp: 3}, guarantee: 1mbit, latency: 2.5MS},"
                             " {name: d, match: {dscp: 4}, guarantee: 5%, latency: 1500us},"
                             " {name: rest, default: true}]"));
  const auto& classes = policy.class_sets.at(0).classes;
  EXPECT_EQ(classes[0].latency, 20ms);
  EXPECT_EQ(classes[1].latency, 1s);
  EXPECT_EQ(classes[2].latency, 2500us);
  EXPECT_EQ(classes[3].latency, 1500us);
  EXPECT_FALSE(classes[4].latency) << "absent by default";
}

TEST(Policy, NestedSubnetsMayBelongToDifferentSites) {
  const Policy policy = policy_of(
      "wan: {interface: wan0, rate: 100mbit}\n"
      "sites:\n"
      "  - {name: a, subnets: [10.0.0.0/8, 0.0.0.0/0], rate: {floor: 1mbit}}\n"
      "  - {name: b, subnets: [10.0.0.0/9, 10.0.0.0], rate: {floor: 1mbit}}\n");
  EXPECT_EQ(policy.sites[1].subnets[1], prefix("10.0.0.0/32"));
}

TEST(Policy, EveryMatchFieldTakesOneValueOrAList) {
  const Policy policy = policy_of(with_classes(
      "[{name: a, match: {dscp: 46, source: 10.0.0.0/8, destination: [2001:db8::/32, 10.20.1.0/24],"
      " protocol: [tcp, 17, sctp], source_port: [1024-2047, 53], destination_port: \"5000-5010\", port: 80}},"
      " {name: b, match: [{dscp: [EF, 0, cs7]}, {protocol: gre}]}, {name: rest, default: true}]"));
  const auto& classes = policy.class_sets.at(0).classes;
  ASSERT_EQ(classes.size(), 3U);
  const MatchRule expected{.dscp = {46},
                           .source = {prefix("10.0.0.0/8")},
                           .destination = {prefix("2001:db8::/32"), prefix("10.20.1.0/24")},
                           .protocol = {6, 17, 132},
                           .port = {{.first = 80, .last = 80}},
                           .source_port = {{.first = 1024, .last = 2047}, {.first = 53, .last = 53}},
                           .destination_port = {{.first = 5000, .last = 5010}}};
  EXPECT_EQ(classes[0].match, std::vector<MatchRule>{expected});
  EXPECT_EQ(classes[1].match,
            (std::vector<MatchRule>{MatchRule{.dscp = {46, 0, 56}}, MatchRule{.protocol = {47}}}));
}

TEST(Policy, ClassSettingsAreTaken) {
  const Policy policy = policy_of(with_classes(
      "[{name: a, match: {dscp: ef}, guarantee: 2mbit, ceiling: 20mbit, priority: 7, leaf: fq_codel},"
      " {name: b, match: {dscp: cs1}, leaf: fifo}, {name: rest, default: true, leaf: auto, match: {dscp: "
      "cs2}}]"));
  const auto& classes = policy.class_sets.at(0).classes;
  EXPECT_EQ(classes[0].guarantee, RateOrShare(Rate::mbps(2)));
  EXPECT_EQ(classes[0].ceiling, RateOrShare(Rate::mbps(20)));
  EXPECT_EQ(classes[0].priority, 7);
  EXPECT_EQ(classes[0].leaf.kind, LeafKind::fq_codel);
  EXPECT_EQ(classes[1].leaf.kind, LeafKind::fifo);
  EXPECT_FALSE(classes[1].guarantee.has_value());
  EXPECT_EQ(classes[2].leaf.kind, LeafKind::automatic);
  EXPECT_EQ(classes[2].match.size(), 1U) << "the default class may have matches of its own";
}

TEST(Policy, PriorityZeroWithoutCeilingMayTakeThreeTimesItsGuarantee) {
  const Policy policy = policy_of(with_classes(
      "[{name: share, match: {dscp: 1}, guarantee: 10%, priority: 0},"
      " {name: much, match: {dscp: 2}, guarantee: 50%, priority: 0},"
      " {name: fixed, match: {dscp: 3}, guarantee: 1mbit, priority: 0},"
      " {name: given, match: {dscp: 4}, guarantee: 1%, ceiling: 80%, priority: 0},"
      " {name: none, match: {dscp: 5}, priority: 0},"
      " {name: second, match: {dscp: 6}, guarantee: 1%, priority: 1}, {name: rest, default: true}]"));
  const auto& classes = policy.class_sets.at(0).classes;
  EXPECT_DOUBLE_EQ(std::get<Share>(classes[0].ceiling).fraction, 0.3);
  EXPECT_EQ(classes[1].ceiling, RateOrShare(Share{1.0})) << "never more than the site";
  EXPECT_EQ(classes[2].ceiling, RateOrShare(Rate::mbps(3)));
  EXPECT_EQ(classes[3].ceiling, RateOrShare(Share{0.8}));
  EXPECT_EQ(classes[4].ceiling, RateOrShare(Share{1.0})) << "nothing to take three times of";
  EXPECT_EQ(classes[5].ceiling, RateOrShare(Share{1.0}));
}

TEST(Policy, BuiltInClassesAndLinkLayerAreAdjustable) {
  const Policy policy = policy_of(
      "wan: {interface: wan0, rate: 100mbit, link_layer: {kind: atm, overhead: -8, mpu: 64}}\n"
      "sites: [{name: a, subnets: 10.1.0.0/16, rate: {floor: 1mbit}}]\n"
      "control: {guarantee: 5mbit}\n"
      "elsewhere: {guarantee: 2.5%, ceiling: 50%}\n"
      "api: {socket: /tmp/w.sock, listen: \"[::1]:1\"}\n");
  EXPECT_EQ(policy.wan.link_layer, (LinkLayer{.kind = LinkLayer::Kind::atm, .overhead = -8, .mpu = 64}));
  EXPECT_EQ(policy.control, (BuiltInClass{.guarantee = Rate::mbps(5), .ceiling = Share{1.0}}));
  EXPECT_EQ(policy.elsewhere, (BuiltInClass{.guarantee = Share{0.025}, .ceiling = Share{0.5}}));
  EXPECT_EQ(policy.api.listen->address, IpAddress::parse("::1"));
  EXPECT_EQ(policy.api.listen->port, 1);
}

TEST(Policy, GuaranteesMayAddUpToExactlyTheWhole) {
  policy_of(with_classes(
      "[{name: a, match: {dscp: 1}, guarantee: 33.3%}, {name: b, match: {dscp: 2}, guarantee: 33.3%},"
      " {name: rest, default: true, guarantee: 33.4%}]"));
  policy_of(with_classes(
      "[{name: a, match: {dscp: 1}, guarantee: 22.5mbit}, {name: rest, default: true, guarantee: 50%}]"));
  // 97 + 2 (control) + 1 (elsewhere).
  policy_of(
      "wan: {interface: wan0, rate: 100mbit}\n"
      "sites: [{name: a, subnets: 10.1.0.0/16, rate: {floor: 97mbit}}]\n");
}

TEST(Policy, AnchorsServeSeveralSites) {
  const Policy policy = policy_of(
      "wan: {interface: wan0, rate: 100mbit}\n"
      "sites:\n"
      "  - {name: a, subnets: 10.1.0.0/16, rate: &modest {floor: 1mbit, ceiling: 50mbit}}\n"
      "  - {name: b, subnets: 10.2.0.0/16, rate: *modest}\n");
  EXPECT_EQ(policy.sites[0].rate, policy.sites[1].rate);
  EXPECT_EQ(policy.sites[1].rate.ceiling, Rate::mbps(50));
}

TEST(Policy, WindowsLineEndsAndAByteOrderMarkChangeNothing) {
  std::string text = kFullExample;
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) text.insert(at, 1, '\r');
  EXPECT_EQ(policy_of("\xEF\xBB\xBF" + text), policy_of(kFullExample));
}

}  // namespace
}  // namespace weir
