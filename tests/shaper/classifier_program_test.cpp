// The loaded program, asked frame by frame (BPF_PROG_TEST_RUN): every rule by hand, then at random against a
// reference.
#include "shaper/classifier_program.hpp"

#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "address_walk.hpp"
#include "classifier_frames.hpp"
#include "classifier_policy.hpp"
#include "classifier_random.hpp"
#include "classifier_reference.hpp"
#include "classifier_sandbox.hpp"
#include "random_prefixes.hpp"

namespace weir::shaper::test {
namespace {

struct Expectation {
  std::string name;
  Octets frame;
  std::uint16_t minor;
};

constexpr std::uint16_t kControl = 2, kElsewhere = 3, kVoice = 0x11, kInteractive = 0x12, kReplication = 0x13,
                        kWeb = 0x14, kBackup = 0x15, kRest = 0x16, kHill = 0x21;

Octets ip4(const Ipv4& header, const Octets& payload = ports(40000, 40001)) {
  return ethernet(0x0800, ipv4(header, payload));
}
Octets ip6(const Ipv6& header, const Octets& payload = ports(40000, 40001)) {
  return ethernet(0x86dd, ipv6(header, payload));
}
/// Destination options, the last of them before TCP to port 80.
Octets options_in_a_row(int count) {
  auto out = extension(6, 0, ports(1, 80));
  while (--count > 0) out = extension(60, 0, out);
  return out;
}
Octets truncated(Octets frame, std::size_t length) {
  frame.resize(length);
  return frame;
}

const std::vector<Expectation>& expectations() {
  static const std::vector<Expectation> all{
      // Sites: the longest prefix of the destination.
      {"destination in a site", ip4({}), kRest},
      {"longer prefix of another site", ip4({.destination = "10.20.30.1"}), kHill},
      {"just outside the longer prefix", ip4({.destination = "10.20.31.0"}), kRest},
      {"host prefix", ip4({.destination = "192.0.2.1"}), kHill},
      {"next to the host prefix", ip4({.destination = "192.0.2.2"}), kElsewhere},
      {"no site", ip4({.destination = "198.51.100.1"}), kElsewhere},
      {"source in a site does not count", ip4({.source = "10.20.0.1", .destination = "10.1.1.1"}),
       kElsewhere},
      {"v6 destination in a site", ip6({}), kRest},
      {"v6 longer prefix", ip6({.destination = "2001:db8:20:30::1"}), kHill},
      {"v6 no site", ip6({.destination = "2001:db8:21::1"}), kElsewhere},
      // Classes.
      {"dscp", ip4({.dscp = 46}), kVoice},
      {"v6 dscp", ip6({.dscp = 46}), kVoice},
      {"second value of a field", ip4({.dscp = 36}), kInteractive},
      {"first class wins", ip4({.source = "10.1.50.1", .dscp = 46}), kVoice},
      {"conjunction holds, port as destination", ip4({.source = "10.1.8.9"}, ports(50000, 22)), kInteractive},
      {"conjunction holds, port as source", ip4({.source = "10.1.8.9"}, ports(22, 50000)), kInteractive},
      {"conjunction fails by port", ip4({.source = "10.1.8.9"}, ports(23, 24)), kRest},
      {"conjunction fails by protocol", ip4({.source = "10.1.8.9", .protocol = 17}, ports(1, 22)), kRest},
      {"conjunction fails by source", ip4({.source = "10.1.9.9"}, ports(1, 22)), kRest},
      {"source prefix", ip4({.source = "10.1.50.255", .protocol = 47}), kReplication},
      {"v6 source prefix", ip6({.source = "2001:db8:50:ffff::1"}), kReplication},
      {"second entry of a class", ip4({.dscp = 8}), kReplication},
      {"port range", ip4({}, ports(1, 8999)), kWeb},
      {"port range in sctp is not tcp", ip4({.protocol = 132}, ports(1, 8999)), kRest},
      {"destination port as source only", ip4({}, ports(80, 1)), kRest},
      {"destination and source port", ip4({.destination = "10.20.99.9", .protocol = 17}, ports(5999, 1)),
       kBackup},
      {"v6 destination and source port",
       ip6({.destination = "2001:db8:20:99::9", .next = 17}, ports(5000, 1)), kBackup},
      {"destination without the port", ip4({.destination = "10.20.99.9", .protocol = 17}, ports(6000, 1)),
       kRest},
      // Options, fragments, extension headers.
      {"ip options move the ports", ip4({.option_words = 10}, ports(1, 80)), kWeb},
      {"first fragment has ports", ip4({.fragment = 0x2000}, ports(1, 80)), kWeb},
      {"later fragment has none", ip4({.fragment = 0x0001}, ports(1, 80)), kRest},
      {"later fragment keeps what needs no port", ip4({.dscp = 46, .fragment = 0x1fff}), kVoice},
      {"do not fragment is no fragment", ip4({.fragment = 0x4000}, ports(1, 80)), kWeb},
      {"v6 hop-by-hop", ip6({.next = 0}, extension(6, 0, ports(1, 80))), kWeb},
      {"v6 chain",
       ip6({.next = 0},
           extension(43, 1, extension(60, 2, extension(51, 0, authentication(6, ports(1, 80)))))),
       kWeb},
      {"v6 first fragment", ip6({.next = 44}, fragment6(6, 0, ports(1, 80))), kWeb},
      {"v6 later fragment", ip6({.next = 44}, fragment6(6, 1448, ports(1, 80))), kRest},
      {"v6 six extension headers", ip6({.next = 60}, options_in_a_row(6)), kWeb},
      {"v6 seven extension headers", ip6({.next = 60}, options_in_a_row(7)), kRest},
      {"v6 extension cut off", truncated(ip6({.next = 0}, extension(6, 0, {})), 14 + 40 + 3), kElsewhere},
      // Tags.
      {"vlan", ethernet({0x8100}, 0x0800, ipv4({.dscp = 46}, ports(1, 2))), kVoice},
      {"qinq", ethernet({0x88a8, 0x8100}, 0x86dd, ipv6({.dscp = 46}, ports(1, 2))), kVoice},
      {"legacy qinq", ethernet({0x9100, 0x8100}, 0x0800, ipv4({.dscp = 46}, ports(1, 2))), kVoice},
      {"three tags", ethernet({0x88a8, 0x8100, 0x8100}, 0x0800, ipv4({.dscp = 46}, ports(1, 2))), kElsewhere},
      {"tagged arp", ethernet({0x8100}, 0x0806, Octets(28)), kControl},
      {"tag cut off", truncated(ethernet({0x8100}, 0x0800, {}), 17), kElsewhere},
      // Link and routing control, sites or not.
      {"arp", ethernet(0x0806, Octets(28)), kControl},
      {"lldp", ethernet(0x88cc, Octets(46)), kControl},
      {"lacp", ethernet(0x8809, Octets(46)), kControl},
      {"spanning tree", ethernet(38, Octets{0x42, 0x42, 3, 0, 0}), kControl},
      {"is-is", ethernet(1497, Octets{0xfe, 0xfe, 3, 0x83}), kControl},
      {"802.1x", ethernet(0x888e, Octets(46)), kControl},
      {"neighbour solicitation", ip6({.destination = "ff02::1:ff00:1", .next = 58}, Octets{135, 0, 0, 0}),
       kControl},
      {"neighbour advertisement", ip6({.next = 58}, Octets{136, 0, 0, 0}), kControl},
      {"router solicitation", ip6({.next = 58}, Octets{133, 0, 0, 0}), kControl},
      {"redirect", ip6({.next = 58}, Octets{137, 0, 0, 0}), kControl},
      {"multicast listener report", ip6({.next = 0}, extension(58, 0, Octets{143, 0, 0, 0})), kControl},
      {"v6 echo is data", ip6({.next = 58}, Octets{128, 0, 0, 0}), kRest},
      {"v6 node information is data", ip6({.next = 58}, Octets{139, 0, 0, 0}), kRest},
      {"icmpv6 number in v4 is data", ip4({.protocol = 58}, Octets{135, 0, 0, 0}), kRest},
      {"bgp to", ip4({}, ports(40000, 179)), kControl},
      {"bgp from", ip6({}, ports(179, 40000)), kControl},
      {"udp 179 is data", ip4({.protocol = 17}, ports(1, 179)), kRest},
      {"bgp to nowhere in particular", ip4({.destination = "198.51.100.1"}, ports(40000, 179)), kControl},
      {"bfd", ip4({.protocol = 17}, ports(49152, 3784)), kControl},
      {"bfd echo", ip4({.protocol = 17}, ports(49152, 3785)), kControl},
      {"bfd multihop", ip6({.next = 17}, ports(49152, 4784)), kControl},
      {"micro bfd", ip4({.protocol = 17}, ports(49152, 6784)), kControl},
      {"from the bfd port is data", ip4({.protocol = 17}, ports(3784, 9)), kRest},
      {"ospf", ip4({.destination = "224.0.0.5", .protocol = 89}), kControl},
      {"ospf v3", ip6({.destination = "ff02::5", .next = 89}), kControl},
      {"ospf later fragment", ip4({.protocol = 89, .fragment = 3}), kControl},
      {"vrrp", ip4({.protocol = 112}), kControl},
      {"eigrp", ip4({.protocol = 88}), kControl},
      {"igmp", ip4({.protocol = 2}), kControl},
      {"pim hello", ip4({.protocol = 103}, Octets{0x20, 0, 0, 0}), kControl},
      {"pim register is data", ip4({.protocol = 103}, Octets{0x21, 0, 0, 0}), kRest},
      {"cs6", ip4({.source = "10.1.50.1", .dscp = 48}), kControl},
      {"cs7 v6", ip6({.dscp = 56}), kControl},
      {"beside cs6", ip4({.dscp = 49}), kRest},
      // Data in what we do not look through.
      {"mpls", ethernet(0x8847, Octets(46)), kElsewhere},
      {"macsec", ethernet(0x88e5, Octets(46)), kElsewhere},
      {"pppoe discovery", ethernet(0x8863, Octets(46)), kControl},
      {"pppoe ip", ethernet(0x8864, Octets{0x11, 0, 0, 1, 0, 20, 0x00, 0x21, 0x45}), kElsewhere},
      {"pppoe lcp", ethernet(0x8864, Octets{0x11, 0, 0, 1, 0, 20, 0xc0, 0x21, 9}), kControl},
      {"pppoe ipcp", ethernet(0x8864, Octets{0x11, 0, 0, 1, 0, 20, 0x80, 0x21, 9}), kControl},
      {"pppoe cut off", ethernet(0x8864, Octets{0x11, 0, 0, 1, 0, 20, 0xc0}), kElsewhere},
      // Broken. Behind a tag where the kernel's own test harness would refuse the frame.
      {"v4 header cut off", truncated(ethernet({0x8100}, 0x0800, ipv4({}, {})), 18 + 19), kElsewhere},
      {"v6 header cut off", truncated(ethernet({0x8100}, 0x86dd, ipv6({}, {})), 18 + 39), kElsewhere},
      {"v4 ethertype, version 6", ethernet(0x0800, ipv6({}, ports(1, 2))), kElsewhere},
      {"v6 ethertype, version 4", ethernet(0x86dd, ipv4({}, Octets(40))), kElsewhere},
      {"v4 header length below five words", ethernet(0x0800, joined(Octets{0x44}, Octets(40))), kElsewhere},
      {"no room for ports", truncated(ip4({}, ports(1, 80)), 14 + 20 + 3), kRest},
      {"no room for the options", truncated(ip4({.dscp = 46, .option_words = 10}), 14 + 30), kVoice},
  };
  return all;
}

std::vector<std::byte> bytes_of(const Octets& octets) {
  const auto bytes = as_frame(octets);
  return {bytes.begin(), bytes.end()};
}

Octets octets_of(const std::vector<std::byte>& bytes) {
  Octets octets;
  for (const std::byte b : bytes) octets.push_back(static_cast<std::uint8_t>(b));
  return octets;
}

/// The frame left with the DSCP of the verdict, its ECN bits as they were, a checksum that is right if it
/// was, and nothing else changed.
void expect_marked(const Octets& before, const std::vector<std::byte>& left,
                   const ReferenceClassifier::Verdict& verdict) {
  const Octets after = octets_of(left);
  ASSERT_EQ(after.size(), before.size());
  if (!verdict.header) {
    EXPECT_EQ(after, before);
    return;
  }
  Octets expected = before;
  const std::size_t at = *verdict.header;
  const unsigned dscp = *verdict.dscp;
  if (before[at] / 16 == 4) {
    expected[at + 1] = static_cast<std::uint8_t>(dscp << 2U | (before[at + 1] & 3U));
    expected[at + 10] = after[at + 10];
    expected[at + 11] = after[at + 11];
    if (expected[at + 1] == before[at + 1]) expected = before;
    if (ReferenceClassifier::header_sum(before, at) == 0xffffU) {
      EXPECT_EQ(ReferenceClassifier::header_sum(after, at), 0xffffU);
    }
  } else {
    expected[at] = static_cast<std::uint8_t>((before[at] & 0xf0U) | dscp >> 2U);
    expected[at + 1] = static_cast<std::uint8_t>((dscp & 3U) << 6U | (before[at + 1] & 0x3fU));
  }
  EXPECT_EQ(after, expected);
}

class ClassifierProgramTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!sandbox_.refusal().empty()) GTEST_SKIP() << sandbox_.refusal();
  }
  Sandbox sandbox_;
};

TEST_F(ClassifierProgramTest, EveryRuleByHand) {
  const auto policy = example_policy();
  const auto ids = example_ids();
  const auto loaded = load_program(build_tables(policy, ids), 1'000);
  const ReferenceClassifier reference(policy, ids);
  for (const auto& e : expectations()) {
    const auto run = try_frame(loaded.program, as_frame(e.frame));
    ASSERT_TRUE(run.has_value()) << e.name;
    EXPECT_EQ(run->handle, make_handle(kMajor, e.minor))
        << e.name << ": got minor " << std::hex << (run->handle & 0xffff);
    EXPECT_EQ(reference.classify(e.frame), make_handle(kMajor, e.minor)) << e.name << ", by the reference";
  }
}

TEST_F(ClassifierProgramTest, RandomPoliciesAndFramesAsTheReferenceSays) {
  constexpr std::uint32_t kPolicies = 40;
  constexpr int kFrames = 1'500;
  std::map<std::string, int> outcomes;
  for (std::uint32_t seed = 1; seed <= kPolicies; ++seed) {
    RandomWorld world(seed);
    const auto policy = world.policy();
    const auto ids = distinct_ids(policy);
    const auto loaded = load_program(build_tables(policy, ids), 1'000);
    const ReferenceClassifier reference(policy, ids);
    for (int i = 0; i < kFrames; ++i) {
      const auto frame = world.frame();
      const auto fwmark = world.fwmark();
      const auto run = try_frame(loaded.program, as_frame(frame), 1, fwmark);
      const auto verdict = reference.judge(frame, fwmark);
      const auto expected = verdict.handle;
      if (!run) {
        // Newer kernels do not run a test on IP without a whole IP header. The reference calls it broken,
        // too.
        EXPECT_LT(frame.size(), 14U + 40U);
        EXPECT_EQ(expected, kElsewhereClass);
        continue;
      }
      ASSERT_EQ(run->handle, expected)
          << "seed " << seed << ", frame " << i << ": " << ::testing::PrintToString(frame);
      expect_marked(frame, run->frame, verdict);
      if (verdict.dscp && expected != kElsewhereClass && expected != kControlClass) {
        const auto after = reference.judge(octets_of(run->frame));
        ++outcomes[after.header == verdict.header && run->frame != bytes_of(frame) ? "marked" : "kept"];
      }
      ++outcomes[expected == kControlClass ? "control" : expected == kElsewhereClass ? "elsewhere" : "site"];
    }
  }
  // The worlds are small enough for every kind of answer to be common: agreement on one of them alone proves
  // little.
  EXPECT_GT(outcomes["control"], 1'000);
  EXPECT_GT(outcomes["elsewhere"], 1'000);
  EXPECT_GT(outcomes["site"], 10'000);
  EXPECT_GT(outcomes["marked"], 1'000);
  EXPECT_GT(outcomes["kept"], 1'000);
}

TEST_F(ClassifierProgramTest, AnswersNameSiteClassAndRuleAsThePolicyDoes) {
  std::map<Way, int> ways;
  int by_rule = 0;
  for (std::uint32_t seed = 1; seed <= 30; ++seed) {
    RandomWorld world(seed);
    const auto policy = world.policy();
    const auto ids = distinct_ids(policy);
    const auto loaded = load_program(build_tables(policy, ids), 1'000);
    for (int i = 0; i < 500; ++i) {
      const PacketQuery query = world.query();
      const auto run = try_frame(loaded.program, frame_of(query), 1, query.fwmark);
      ASSERT_TRUE(run.has_value());
      const auto answered = verdict_of(policy, ids, {.handle = run->handle, .slot = run->slot});
      ASSERT_EQ(answered, judge(policy, query)) << "seed " << seed << ", question " << i;
      ++ways[answered->way];
      if (answered->rule) ++by_rule;
    }
  }
  EXPECT_GT(ways[Way::control], 500);
  EXPECT_GT(ways[Way::elsewhere], 500);
  EXPECT_GT(ways[Way::site], 5'000);
  EXPECT_GT(by_rule, 1'000);
}

TEST_F(ClassifierProgramTest, TheLastOfAThousandRulesIsFound) {
  auto policy = example_policy();
  auto& classes = policy.class_sets[0].classes;
  classes[0].match.assign(WEIR_MAX_RULES - 6, Match{.dscp = {46}, .protocol = {200}});
  const auto loaded = load_program(build_tables(policy, example_ids()), 1'000);
  const auto run = try_frame(loaded.program,
                             as_frame(ip4({.destination = "10.20.99.9", .protocol = 17}, ports(5'999, 1))));
  ASSERT_TRUE(run.has_value());
  EXPECT_EQ(run->handle, make_handle(kMajor, kBackup));
}

TEST_F(ClassifierProgramTest, ManySubnetsAndClassSetsStayApart) {
  Policy policy;
  constexpr unsigned kSets = 50, kSites = 500;
  for (unsigned s = 0; s < kSets; ++s)
    policy.class_sets.push_back(
        {.name = "set" + std::to_string(s),
         .classes = {class_of("one", {{.source = {prefix("10." + std::to_string(s) + ".0.0/16")}}}),
                     class_of("rest", {}, true)}});
  for (unsigned i = 0; i < kSites; ++i) {
    auto site = site_of("site" + std::to_string(i), {}, i % kSets);
    for (unsigned n = 0; n < 10; ++n)
      site.subnets.push_back(prefix("172." + std::to_string(n) + "." + std::to_string(i / 250) + "." +
                                    std::to_string(i % 250) + "/32"));
    policy.sites.push_back(site);
  }
  const auto ids = distinct_ids(policy);
  const auto loaded = load_program(build_tables(policy, ids), 1'000);
  const auto asked = [&](const std::string& from, const std::string& to) {
    return try_frame(loaded.program, as_frame(ip4({.source = from, .destination = to}))).value().handle;
  };
  EXPECT_EQ(asked("10.7.0.1", "172.3.0.7"), ids.classes[7][0]);
  EXPECT_EQ(asked("10.8.0.1", "172.3.0.7"), ids.classes[7][1]);
  EXPECT_EQ(asked("10.49.0.1", "172.9.1.249"), ids.classes[499][0]);
  EXPECT_EQ(asked("10.49.0.1", "172.9.1.250"), kElsewhereClass);
}

TEST_F(ClassifierProgramTest, AnySubnetsAsAPlainLongestMatchSays) {
  int in_sites = 0, elsewhere = 0;
  std::uint32_t levels = 0;
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    RandomPrefixes random(seed);
    const auto prefixes = random.make(1 + random.below(seed % 4 == 0 ? 3'000 : 40), 6);
    // The value of a subnet is its site; source rules see the same prefixes by tables of their own.
    Policy policy;
    policy.class_sets = {
        {.name = "plain", .classes = {class_of("all", {}, true)}},
        {.name = "by source", .classes = {class_of("near", {{}}), class_of("all", {}, true)}}};
    for (const auto& [prefix, value] : prefixes)
      policy.class_sets[1].classes[0].match[0].source.push_back(prefix);
    for (std::size_t s = 0; s < 6; ++s) policy.sites.push_back(site_of("s" + std::to_string(s), {}, s % 2));
    // Equal prefixes go to the site of the last one: the config refuses them, the tables need not.
    std::map<Prefix, std::uint32_t> last;
    for (const auto& [prefix, value] : prefixes) last[prefix] = value;
    for (const auto& [prefix, value] : last) policy.sites[value].subnets.push_back(prefix);
    const auto ids = distinct_ids(policy);
    const auto tables = build_tables(policy, ids);
    levels = std::max(levels, tables.addresses.index_levels);
    const auto loaded = load_program(tables, 1'000);
    const auto ask = [&](const IpAddress& source, const IpAddress& destination) {
      const bool v4 = source.family == Family::v4;
      const auto from = source.to_string(), to = destination.to_string();
      const auto run = try_frame(loaded.program, as_frame(v4 ? ip4({.source = from, .destination = to})
                                                             : ip6({.source = from, .destination = to})));
      ASSERT_TRUE(run.has_value());
      const auto site = longest_match(prefixes, destination);
      const bool near = longest_match(prefixes, source) != WEIR_NO_VALUE;
      const auto expected = site == WEIR_NO_VALUE ? kElsewhereClass
                            : site % 2 == 0       ? ids.classes[site][0]
                                                  : ids.classes[site][near ? 0 : 1];
      ASSERT_EQ(run->handle, expected) << "seed " << seed << ": " << from << " to " << to;
      ++(site == WEIR_NO_VALUE ? elsewhere : in_sites);
    };
    for (std::size_t i = 0; i < std::min<std::size_t>(prefixes.size(), 100); ++i)
      for (const auto& address : random.edges(prefixes[i].prefix)) {
        ask(random.address(address.family), address);
        ask(address, random.address(address.family));
      }
  }
  EXPECT_GT(in_sites, 5'000);
  EXPECT_GT(elsewhere, 1'000);
  EXPECT_EQ(levels, std::uint32_t{WEIR_MAX_INDEX_LEVELS});
}

TEST_F(ClassifierProgramTest, TheLongestSearchPassesTheVerifierAndEnds) {
  Policy policy;
  policy.class_sets = {{.name = "plain", .classes = {class_of("all", {}, true)}}};
  for (unsigned s = 0; s < 2; ++s) policy.sites.push_back(site_of("s" + std::to_string(s), {}, 0));
  constexpr unsigned kHosts = 300'000;
  IpAddress host = IpAddress::parse("2001:db8::").value();
  for (unsigned i = 0; i < kHosts; ++i) {
    for (std::size_t byte = 0; byte < 3; ++byte)
      host.bytes[15 - byte] = static_cast<std::uint8_t>(i >> (8 * byte));
    policy.sites[i % 2].subnets.push_back({.address = host, .length = 128});
  }
  const auto ids = distinct_ids(policy);
  auto tables = build_tables(policy, ids);
  EXPECT_EQ(tables.addresses.search_steps, 19U);
  tables.addresses.search_steps = WEIR_MAX_SEARCH_STEPS;  // as if there were a million
  tables.addresses.index_levels = WEIR_MAX_INDEX_LEVELS;
  const auto loaded = load_program(tables, 1'000);
  for (unsigned i = 0; i < kHosts; i += 997) {
    const auto& to = policy.sites[i % 2].subnets[i / 2].address.to_string();
    ASSERT_EQ(try_frame(loaded.program, as_frame(ip6({.destination = to}))).value().handle,
              ids.classes[i % 2][0])
        << to;
  }
}

TEST_F(ClassifierProgramTest, AHundredThousandSubnetsAreToldApart) {
  Policy policy;
  policy.class_sets = {{.name = "plain", .classes = {class_of("all", {}, true)}}};
  for (unsigned s = 0; s < 10; ++s) policy.sites.push_back(site_of("s" + std::to_string(s), {}, 0));
  RandomPrefixes random(1);
  std::set<Prefix> taken;
  while (taken.size() < 100'000) {
    IpAddress address{.family = random.below(4) == 0 ? Family::v6 : Family::v4, .bytes = {}};
    const bool v4 = address.family == Family::v4;
    for (std::size_t i = 0; i < (v4 ? 3U : 6U); ++i)
      address.bytes[i] = static_cast<std::uint8_t>(v4 || i > 2 ? random.below(256) : 0x20 + i);
    taken.insert({.address = address, .length = static_cast<std::uint8_t>(v4 ? 24 : 48)});
  }
  std::vector<PrefixValue> prefixes;
  for (const Prefix& prefix : taken) {
    prefixes.push_back({.prefix = prefix, .value = random.below(10)});
    policy.sites[prefixes.back().value].subnets.push_back(prefix);
  }
  const auto ids = distinct_ids(policy);
  const auto loaded = load_program(build_tables(policy, ids), 1'000);
  for (std::size_t i = 0; i < prefixes.size(); i += 7) {
    const auto& [subnet, site] = prefixes[i];
    const auto to = random.edges(subnet)[1].to_string();
    const auto run = try_frame(
        loaded.program,
        as_frame(subnet.address.family == Family::v4 ? ip4({.destination = to}) : ip6({.destination = to})));
    ASSERT_EQ(run.value().handle, ids.classes[site][0]) << to;
  }
}

TEST_F(ClassifierProgramTest, AFrameWithoutAnEthernetHeaderIsNoFrame) {
  const auto loaded = load_program(build_tables(example_policy(), example_ids()), 1'000);
  EXPECT_FALSE(try_frame(loaded.program, as_frame(Octets(13))).has_value());
}

}  // namespace
}  // namespace weir::shaper::test
