// Classes within classes, classes of subnets, leaves, marks, and whose guarantee is kept.

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "config/load.hpp"
#include "config/site_classes.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

std::string with(std::string_view site, std::string_view policies = "") {
  return "wan: {interface: wan0, rate: 622mbit}\nsites:\n  - {name: coast, subnets: [10.20.0.0/24, "
         "10.20.1.0/24], " +
         std::string(site) + "}\n" + std::string(policies);
}

Policy policy_of(const std::string& text) {
  auto parsed = parse_policy(text);
  if (const auto* problems = std::get_if<Problems>(&parsed)) {
    ADD_FAILURE() << render(*problems, "policy.yaml", text);
    return {};
  }
  return std::get<Policy>(parsed);
}

/// "message | mend" of each problem.
std::vector<std::string> faults_of(const std::string& text) {
  const auto parsed = parse_policy(text);
  std::vector<std::string> found;
  if (std::holds_alternative<Policy>(parsed)) return {"accepted"};
  for (const Problem& problem : std::get<Problems>(parsed))
    found.push_back(problem.message + " | " + problem.mend);
  return found;
}

constexpr std::string_view kNested =
    "policies:\n"
    "  default:\n"
    "    brownout: [db, files]\n"
    "    classes:\n"
    "      - {name: voice, match: [{dscp: ef}], guarantee: 10%, set_dscp: ef}\n"
    "      - name: bulk\n"
    "        guarantee: 40%\n"
    "        classes:\n"
    "          - {name: files, match: [{dscp: cs1}], guarantee: 50%}\n"
    "          - name: copies\n"
    "            guarantee: 50%\n"
    "            classes:\n"
    "              - {name: db, match: [{dscp: af11}], guarantee: 1mbit}\n"
    "              - {name: other, match: [{dscp: af12}]}\n"
    "      - {name: rest, default: true}\n";

TEST(ClassTree, ClassesStandInClasses) {
  const Policy policy = policy_of(with("rate: {floor: 45mbit}", kNested));
  const SiteClasses all = classes_of(policy, policy.sites.at(0));
  std::vector<std::string> told;
  for (const SiteClass& one : all.classes) {
    told.push_back(one.name + (one.inner ? " holds classes" : "") +
                   (one.parent ? " in " + all.classes.at(*one.parent).name : ""));
  }
  EXPECT_EQ(told, (std::vector<std::string>{"voice", "bulk holds classes", "files in bulk",
                                            "copies holds classes in bulk", "db in copies", "other in copies",
                                            "rest"}));
  ASSERT_EQ(all.branches.size(), 1U);
  EXPECT_EQ(all.branches[0].subnets.size(), 2U);
  EXPECT_EQ(guarantee_of_site(all.classes, 2), RateOrShare(Share{0.2}));
  EXPECT_EQ(guarantee_of_site(all.classes, 3), RateOrShare(Share{0.2}));
  EXPECT_EQ(guarantee_of_site(all.classes, 4), RateOrShare(Rate::mbps(1)));
  EXPECT_EQ(guarantee_of_site(all.classes, 5), RateOrShare(Rate()));
  EXPECT_EQ(all.classes[0].policy->set_dscp, 46);
  EXPECT_EQ(all.classes[4].policy->brownout, 0U);
  EXPECT_EQ(all.classes[2].policy->brownout, 1U);
  EXPECT_EQ(all.classes[0].policy->brownout, kNoBrownoutOrder);
}

TEST(ClassTree, SubnetsAreClasses) {
  const Policy policy =
      policy_of(with("rate: {floor: 45mbit}, set_dscp: default, each_subnet: {guarantee: 1mbit, ceiling: "
                     "20mbit, priority: 2}"));
  const SiteClasses all = classes_of(policy, policy.sites.at(0));
  ASSERT_EQ(all.classes.size(), 2U);
  EXPECT_EQ(number_of_classes(policy, policy.sites[0]), 2U);
  EXPECT_EQ(all.classes[1].name, "10.20.1.0/24");
  EXPECT_FALSE(all.classes[1].inner);
  EXPECT_EQ(all.classes[1].policy->guarantee, RateOrShare(Rate::mbps(1)));
  EXPECT_EQ(all.classes[1].policy->ceiling, RateOrShare(Rate::mbps(20)));
  EXPECT_EQ(all.classes[1].policy->priority, 2);
  ASSERT_EQ(all.branches.size(), 2U);
  EXPECT_EQ(all.branches[1].first, 1U);
  EXPECT_FALSE(all.branches[1].class_set);
  EXPECT_EQ(policy.sites[0].set_dscp, 0);
  EXPECT_EQ(policy_name(policy, policy.sites[0]), "each subnet");
}

TEST(ClassTree, SubnetsMayHoldThePolicysClasses) {
  const Policy policy =
      policy_of(with("rate: {floor: 45mbit}, each_subnet: {guarantee: 20mbit, policy: small}",
                     "policies: {small: {classes: [{name: voice, match: [{dscp: ef}], guarantee: 25%},"
                     " {name: rest, default: true}]}}\n"));
  const SiteClasses all = classes_of(policy, policy.sites.at(0));
  ASSERT_EQ(all.classes.size(), 6U);
  EXPECT_EQ(number_of_classes(policy, policy.sites[0]), 6U);
  EXPECT_TRUE(all.classes[3].inner);
  EXPECT_EQ(all.classes[4].name, "10.20.1.0/24/voice");
  EXPECT_EQ(all.classes[4].parent, 3U);
  EXPECT_EQ(guarantee_of_site(all.classes, 4), RateOrShare(Rate::mbps(5)));
  EXPECT_EQ(all.branches.at(1).first, 4U);
  EXPECT_EQ(all.branches[1].class_set, 0U);
  EXPECT_EQ(policy_name(policy, policy.sites[0]), "small");
}

TEST(ClassTree, LeavesAreTuned) {
  const Policy policy = policy_of(
      with("rate: {floor: 45mbit}",
           "policies: {default: {classes: [{name: a, match: [{dscp: ef}], leaf: {kind: fq_codel, target: 2ms,"
           " interval: 50ms, flows: 4096, quantum: 300, ecn: false, packets: 500}},"
           " {name: b, match: [{dscp: cs1}], leaf: {kind: fifo, depth: 20ms}}, {name: rest, default: true, "
           "leaf: fifo}]}}\n"));
  const auto& classes = policy.class_sets.at(0).classes;
  EXPECT_EQ(classes[0].leaf, (LeafPolicy{.kind = LeafKind::fq_codel,
                                         .packets = 500,
                                         .target = 2ms,
                                         .interval = 50ms,
                                         .flows = 4096,
                                         .quantum = 300,
                                         .ecn = false}));
  EXPECT_EQ(classes[1].leaf, (LeafPolicy{.kind = LeafKind::fifo, .depth = 20ms}));
  EXPECT_EQ(classes[2].leaf, (LeafPolicy{.kind = LeafKind::fifo}));
}

TEST(ClassTree, VlansAndFirewallMarksAreMatched) {
  const Policy policy =
      policy_of(with("rate: {floor: 45mbit}",
                     "policies: {default: {classes: [{name: a, match: [{vlan: [100, 200-210, untagged], "
                     "fwmark: [7, 0x10]}]}, {name: rest, default: true}]}}\n"));
  const MatchRule& rule = policy.class_sets.at(0).classes.at(0).match.at(0);
  EXPECT_EQ(rule.vlan, (std::vector<VlanRange>{{100, 100}, {200, 210}, {0, 0}}));
  EXPECT_EQ(rule.fwmark, (std::vector<std::uint32_t>{7, 16}));
}

using Faults = std::vector<std::string>;

TEST(ClassTreeFaults, VlansAndFirewallMarksThatAreNone) {
  EXPECT_EQ(
      faults_of(with("rate: {floor: 45mbit}",
                     "policies: {default: {classes: [{name: a, match: [{vlan: [4095, 9-8], fwmark: [0, 0x, "
                     "4294967296]}]}, {name: rest, default: true}]}}\n")),
      (Faults{
          "'4095' is not a VLAN id or a range of them | write an id from 1 to 4094, a range like 200-210, or "
          "untagged",
          "'9-8' is not a VLAN id or a range of them | write an id from 1 to 4094, a range like 200-210, or "
          "untagged",
          "'0' is not a firewall mark | write a number from 1 to 4294967295, or one like 0x10",
          "'0x' is not a firewall mark | write a number from 1 to 4294967295, or one like 0x10",
          "'4294967296' is not a firewall mark | write a number from 1 to 4294967295, or one like 0x10"}));
}

TEST(ClassTreeFaults, AnInnerClassHasNoPackets) {
  EXPECT_EQ(
      faults_of(with("rate: {floor: 45mbit}",
                     "policies: {default: {classes: [{name: bulk, match: [{dscp: ef}], leaf: fifo, classes: "
                     "[{name: rest, default: true}]}]}}\n")),
      (Faults{
          "class 'bulk' holds classes: packets are theirs, and so is 'match' | write it into these classes",
          "class 'bulk' holds classes: packets are theirs, and so is 'leaf' | write it into these classes"}));
}

TEST(ClassTreeFaults, NamesAreUniqueAndOneIsTheDefaultInAllOfTheTree) {
  EXPECT_EQ(
      faults_of(with("rate: {floor: 45mbit}",
                     "policies: {default: {classes: [{name: bulk, classes: [{name: rest, default: true}]},"
                     " {name: rest, default: true}]}}\n")),
      (Faults{"class 'rest' stands twice, first on line 4, column 62 | rename or remove one of them",
              "policy 'default' has a second default class; the first is 'rest' on line 4, column 77 | leave "
              "'default: true' with one class"}));
}

TEST(ClassTreeFaults, GuaranteesFitIntoTheClassAround) {
  EXPECT_EQ(
      faults_of(with("rate: {floor: 45mbit}",
                     "policies: {default: {classes: [{name: bulk, guarantee: 20%, classes: [{name: a, match: "
                     "[{dscp: ef}], guarantee: 60%}, {name: b, match: [{dscp: cs1}], guarantee: 50%}]},"
                     " {name: rest, default: true}]}}\n")),
      (Faults{"the guarantees within class 'bulk' add up to 110% | lower them by 10% in total"}));
  EXPECT_EQ(
      faults_of(with("rate: {floor: 45mbit}",
                     "policies: {default: {classes: [{name: bulk, guarantee: 20%, classes: [{name: a, match: "
                     "[{dscp: ef}], guarantee: 10mbit}]}, {name: rest, default: true}]}}\n")),
      (Faults{
          "the guarantees within class 'bulk' add up to 10mbit, which has 9mbit itself | lower them by 1mbit "
          "in total, or raise the class's guarantee"}));
  EXPECT_EQ(
      faults_of(with("rate: {floor: 45mbit}",
                     "policies: {default: {classes: [{name: bulk, classes: [{name: a, match: "
                     "[{dscp: ef}], guarantee: 1mbit}]}, {name: rest, default: true}]}}\n")),
      (Faults{
          "the guarantees within class 'bulk' add up to 1mbit, which has no guarantee itself | lower them by "
          "1mbit in total, or raise the class's guarantee"}));
}

TEST(ClassTreeFaults, ClassesAreNoDeeperThanHtb) {
  const auto nested = [](int levels) {
    std::string text = "{name: c" + std::to_string(levels) + ", default: true}";
    for (int i = levels - 1; i > 0; --i) text = "{name: c" + std::to_string(i) + ", classes: [" + text + "]}";
    return "policies: {default: {classes: [" + text + "]}}\n";
  };
  EXPECT_EQ(faults_of(with("rate: {floor: 45mbit}", nested(6))), Faults{"accepted"});
  EXPECT_EQ(faults_of(with("rate: {floor: 45mbit}", nested(8))),
            Faults{"classes are nested more than 6 deep here: HTB has 8 levels, of which the port and the "
                   "site are two | "
                   "nest less"});
  const std::string each = "rate: {floor: 45mbit}, each_subnet: {policy: default}";
  EXPECT_EQ(faults_of(with(each, nested(5))), Faults{"accepted"});
  EXPECT_EQ(
      faults_of(with(each, nested(6))),
      Faults{
          "classes are nested more than 5 deep here: HTB has 8 levels, of which the port, the site and the "
          "subnet are three | nest less"});
}

TEST(ClassTreeFaults, BrownoutNamesClasses) {
  EXPECT_EQ(faults_of(with(
                "rate: {floor: 45mbit}",
                "policies: {default: {brownout: [voise, rest, rest], classes: [{name: voice, match: [{dscp: "
                "ef}]}, {name: rest, default: true}]}}\n")),
            (Faults{"policy 'default' has no class 'voise' | did you mean 'voice'?",
                    "class 'rest' stands twice, first on line 4, column 40 | rename or remove one of them"}));
}

TEST(ClassTreeFaults, LeavesThatCannotBe) {
  const auto leaf = [](std::string_view text) {
    return faults_of(with(
        "rate: {floor: 45mbit}",
        "policies: {default: {classes: [{name: rest, default: true, leaf: " + std::string(text) + "}]}}\n"));
  };
  EXPECT_EQ(leaf("{depth: 10ms, packets: 5}"),
            Faults{"a leaf has a depth or a number of packets, not both | leave one of them out"});
  EXPECT_EQ(leaf("{kind: fifo, flows: 5}"),
            Faults{"a fifo has no target, interval, flows, quantum or ecn | write kind: "
                   "fq_codel, or give it a depth only"});
  EXPECT_EQ(leaf("{target: 100ms, interval: 100ms}"),
            Faults{"the target of 100ms is not below the interval of 100ms | write a target of a tenth of "
                   "the interval or "
                   "less (RFC 8289)"});
  EXPECT_EQ(leaf("{flows: 0}"), Faults{"'flows' cannot be '0' | write a whole number from 1 to 65536"});
}

TEST(ClassTreeFaults, OfSubnets) {
  EXPECT_EQ(faults_of(with("rate: {floor: 45mbit}, each_subnet: {guarantee: 30mbit}")),
            Faults{"the guarantees of 2 subnets add up to 60mbit at site 'coast', whose floor is 45mbit | "
                   "write at most "
                   "22.5mbit, or raise the floor"});
  EXPECT_EQ(
      faults_of(with("rate: {floor: 45mbit}, policy: gone, each_subnet: {policy: gone, leaf: fifo}")),
      (Faults{
          "there is no policy 'gone' | define it under 'policies', or leave 'policy' out for a single class",
          "with each_subnet the site has no classes of its own | write the policy into each_subnet: every "
          "subnet "
          "then has its classes",
          "there is no policy 'gone' | define it under 'policies', or leave 'policy' out for a single class",
          "packets of a subnet wait in the classes of its policy | write 'leaf' into these classes"}));
  EXPECT_EQ(
      faults_of(with("rate: {floor: 45mbit}, each_subnet: {guarantee: 1mbit, policy: small}",
                     "policies: {small: {classes: [{name: rest, default: true, guarantee: 2mbit}]}}\n")),
      Faults{"the guarantees of policy 'small' add up to 2mbit in each subnet of site 'coast', which has "
             "1mbit | "
             "lower them by 1mbit in total, or raise the guarantee of each subnet"});
}

TEST(ClassTreeFaults, SubnetsCountAsClasses) {
  std::string text =
      "wan: {interface: wan0, rate: 622mbit}\nsites:\n  - name: coast\n    rate: {floor: 45mbit}\n    "
      "each_subnet: {}\n    subnets:\n";
  for (int i = 0; i < 65'600; ++i) {
    text += "      - " + std::to_string(10 + (i >> 16)) + "." + std::to_string(i >> 8 & 255) + "." +
            std::to_string(i & 255) + ".0/24\n";
  }
  const auto found = faults_of(text);
  ASSERT_FALSE(found.empty());
  EXPECT_NE(found.back().find("more than 65500 classes"), std::string::npos) << found.back();
}

}  // namespace
}  // namespace weir
