// Policy -> tables, without a kernel: structure, bounds, and, by walking the tables as the program does,
// meaning.
#include "shaper/classifier_tables.hpp"

#include <algorithm>
#include <map>
#include <system_error>

#include <gtest/gtest.h>

#include "address_walk.hpp"
#include "classifier_policy.hpp"

namespace weir::shaper::test {
namespace {

/// The rules of a set that hold for one value of one field, as a set of bits.
std::vector<std::size_t> bits_of(const ClassifierTables& t, std::uint32_t number) {
  std::vector<std::size_t> bits;
  const auto words = t.vector(number);
  for (std::size_t i = 0; i < words.size() * 64; ++i)
    if ((words[i / 64] >> i % 64 & 1U) != 0) bits.push_back(i);
  return bits;
}

std::uint32_t port_vector(const ClassifierTables& t, const std::uint32_t (&pages)[256], unsigned port) {
  return t.port_pages.at(pages[port >> 8]).vector[port & 255];
}

using Bits = std::vector<std::size_t>;

TEST(ClassifierTables, NumbersRulesInTheOrderOfMatching) {
  const auto t = build_tables(example_policy(), example_ids());
  ASSERT_EQ(t.sites.size(), 2U);
  // voice 0; interactive 1, 2; replication 3, 4; web 5; backup 6; rest has none.
  const auto id = [](std::uint16_t minor) { return make_handle(kMajor, minor); };
  std::vector<Handle> handles;
  for (const weir_verdict& verdict : t.rule_verdicts) {
    handles.push_back(verdict.handle);
    EXPECT_EQ(verdict.dscp, 64U) << "kept";
  }
  EXPECT_EQ(handles,
            (std::vector<Handle>{id(0x11), id(0x12), id(0x12), id(0x13), id(0x13), id(0x14), id(0x15)}));
  EXPECT_EQ(t.sites[0].otherwise.handle, id(0x16));
  EXPECT_EQ(t.sites[1].otherwise.handle, id(0x21));
  EXPECT_EQ(t.sites[1].first_verdict, 7U);
  EXPECT_EQ(t.sites[0].arrivals, 2U);
  EXPECT_EQ(t.sites[1].arrivals, 10U)
      << "behind the seven rules of the first site, and what none of them held for";
  EXPECT_EQ(t.arrival_slots, 11U);
  EXPECT_EQ(t.words, 1U);
}

TEST(ClassifierTables, MoreRulesThanCanBeCountedAreRefused) {
  Policy policy;
  policy.class_sets = {{.name = "many", .classes = {class_of("rest", {}, true)}}};
  policy.class_sets[0].classes[0].match.assign(WEIR_MAX_RULES, Match{.dscp = {46}});
  ClassIds ids;
  for (unsigned i = 0; i < 256; ++i) {
    policy.sites.push_back(
        site_of("s" + std::to_string(i), {prefix("10.0." + std::to_string(i) + ".0/24")}, 0));
    ids.site.push_back(make_handle(kMajor, static_cast<std::uint16_t>(0x1000 + i)));
    ids.classes.push_back({make_handle(kMajor, static_cast<std::uint16_t>(0x2000 + i))});
  }
  EXPECT_THROW(static_cast<void>(build_tables(policy, ids)), std::system_error);
  policy.sites.pop_back();
  ids.site.pop_back();
  ids.classes.pop_back();
  EXPECT_EQ(build_tables(policy, ids).arrival_slots, 2U + 255U * 1025U);
}

TEST(ClassifierTables, EachSubnetNeedsNoClassSet) {
  Policy policy;
  policy.sites = {site_of("coast", {prefix("10.20.0.0/16"), prefix("10.21.0.0/16")}, 0)};
  policy.sites[0].each_subnet.emplace();
  const auto id = [](std::uint16_t minor) { return make_handle(kMajor, minor); };
  const auto t = build_tables(policy, {.site = {id(0x10)}, .classes = {{id(0x11), id(0x12)}}});
  ASSERT_EQ(t.sites.size(), 2U);
  EXPECT_EQ(t.sites[1].otherwise.handle, id(0x12));
  EXPECT_EQ(t.sites[1].class_set, WEIR_NO_CLASS_SET);
}

TEST(ClassifierTables, AValueHasTheBitsOfTheRulesThatNameItOrSayNothing) {
  const auto t = build_tables(example_policy(), example_ids());
  const auto& set = t.class_sets.at(0);
  EXPECT_EQ(bits_of(t, set.dscp[46]), (Bits{0, 2, 3, 5, 6}));
  EXPECT_EQ(bits_of(t, set.dscp[0]), (Bits{2, 3, 5, 6}));
  EXPECT_EQ(bits_of(t, set.protocol[17]), (Bits{0, 1, 3, 4, 6}));
  EXPECT_EQ(bits_of(t, set.portless), (Bits{0, 1, 3, 4}));
}

TEST(ClassifierTables, PortRangesIncludeBothTheirEnds) {
  const auto t = build_tables(example_policy(), example_ids());
  const auto& pages = t.class_sets.at(0).destination_port_page;
  const auto web_at = [&](unsigned port) {
    const auto bits = bits_of(t, port_vector(t, pages, port));
    return std::ranges::find(bits, 5U) != bits.end();
  };
  for (const unsigned in : {80U, 8000U, 8500U, 8999U}) EXPECT_TRUE(web_at(in)) << in;
  for (const unsigned out : {0U, 79U, 81U, 7999U, 9000U, 65535U}) EXPECT_FALSE(web_at(out)) << out;
}

TEST(ClassifierTables, ARangeToTheLastPortEndsThere) {
  auto policy = example_policy();
  policy.class_sets[0].classes[3].match[0].destination_port = {{65535, 65535}, {0, 0}};
  const auto t = build_tables(policy, example_ids());
  const auto& pages = t.class_sets.at(0).destination_port_page;
  EXPECT_EQ(port_vector(t, pages, 0), port_vector(t, pages, 65535));
  EXPECT_NE(port_vector(t, pages, 0), port_vector(t, pages, 1));
  EXPECT_NE(port_vector(t, pages, 0), port_vector(t, pages, 65534));
}

TEST(ClassifierTables, AnInnerPrefixKeepsTheRulesOfTheOuterOnes) {
  auto policy = example_policy();
  policy.class_sets[0].classes = {
      class_of("inner", {{.source = {prefix("10.1.2.0/24")}}}),
      class_of("outer", {{.source = {prefix("10.1.0.0/16"), prefix("10.3.0.0/16")}}}),
      class_of("any4", {{.source = {prefix("0.0.0.0/0")}}}), class_of("rest", {{.dscp = {1}}}, true)};
  const ClassIds ids{.site = {16, 32}, .classes = {{1, 2, 3, 4}, {5}}};
  const auto t = build_tables(policy, ids);
  const auto bits = [&](const std::string& address) {
    return bits_of(t, walk(t.addresses, t.class_sets[0].source_tables, IpAddress::parse(address).value()));
  };
  EXPECT_EQ(bits("10.1.2.3"), (Bits{0, 1, 2, 3}));
  EXPECT_EQ(bits("10.1.3.3"), (Bits{1, 2, 3}));
  EXPECT_EQ(bits("10.2.0.0"), (Bits{2, 3}));
  EXPECT_EQ(bits("10.3.1.1"), (Bits{1, 2, 3}));
  EXPECT_EQ(bits("2001:db8::1"), (Bits{3}));
  EXPECT_EQ(t.class_sets[0].uses, static_cast<unsigned>(WEIR_USES_SOURCE));
}

TEST(ClassifierTables, EqualVectorsAndPagesAreStoredOnce) {
  const auto t = build_tables(example_policy(), example_ids());
  std::map<Bits, int> seen;
  for (std::uint32_t i = 0; i < t.vector_count(); ++i) ++seen[bits_of(t, i)];
  for (const auto& [bits, count] : seen) EXPECT_EQ(count, 1);
  EXPECT_LT(t.vector_count(), 30U);
  EXPECT_LT(t.port_pages.size(), 12U);
}

TEST(ClassifierTables, TakesAThousandRulesAndNamesTheSetThatHasMore) {
  auto policy = example_policy();
  auto& match = policy.class_sets[0].classes[0].match;
  match.assign(WEIR_MAX_RULES - 6, Match{.dscp = {46}});
  EXPECT_EQ(build_tables(policy, example_ids()).words, static_cast<std::uint32_t>(WEIR_MAX_WORDS));
  match.push_back(Match{.dscp = {46}});
  try {
    (void)build_tables(policy, example_ids());
    FAIL() << "took one rule too many";
  } catch (const std::system_error& e) {
    EXPECT_NE(std::string(e.what()).find("policy 'replicated' has 1025 match entries"), std::string::npos)
        << e.what();
  }
}

TEST(ClassifierTables, RefusesHandlesOfAnotherPolicy) {
  auto ids = example_ids();
  ids.classes[0].pop_back();
  EXPECT_THROW((void)build_tables(example_policy(), ids), std::system_error);
}

TEST(ClassifierTables, APolicyWithoutSitesHasTables) {
  const auto t = build_tables(Policy{}, ClassIds{});
  EXPECT_TRUE(t.sites.empty());
  EXPECT_EQ(t.vector_count(), 1U);
  EXPECT_EQ(t.port_pages.size(), 1U);
}

TEST(ClassifierTables, HashTellsEveryChangeAndOnlyChanges) {
  const auto policy = example_policy();
  const auto ids = example_ids();
  const auto hash = content_hash(build_tables(policy, ids), 1);
  EXPECT_EQ(hash, content_hash(build_tables(policy, ids), 1));
  EXPECT_NE(hash, content_hash(build_tables(policy, ids), 2));
  const auto changed = [&](auto change) {
    auto p = policy;
    auto i = ids;
    change(p, i);
    return content_hash(build_tables(p, i), 1) != hash;
  };
  EXPECT_TRUE(changed([](Policy&, ClassIds& i) { i.classes[0][2] = 99; }));
  EXPECT_TRUE(changed([](Policy& p, ClassIds&) { p.sites[0].subnets[0].length = 17; }));
  EXPECT_TRUE(changed([](Policy& p, ClassIds&) { p.site_address = SiteAddress::source; }));
  EXPECT_TRUE(changed([](Policy& p, ClassIds&) { p.class_sets[0].classes[0].match[0].dscp = {47}; }));
  EXPECT_TRUE(changed(
      [](Policy& p, ClassIds&) { p.class_sets[0].classes[3].match[0].destination_port[1].last = 9000; }));
  EXPECT_TRUE(changed([](Policy& p, ClassIds&) {
    p.class_sets[0].classes[2].match[0].source[1] = prefix("2001:db8:51::/48");
  }));
  // What the classifier does not look at does not disturb it: a rate change writes no table.
  EXPECT_FALSE(changed([](Policy& p, ClassIds&) { p.sites[0].rate.floor = Rate::mbps(7); }));
  EXPECT_FALSE(changed([](Policy& p, ClassIds&) { p.class_sets[0].classes[0].name = "telephony"; }));
}

}  // namespace
}  // namespace weir::shaper::test
