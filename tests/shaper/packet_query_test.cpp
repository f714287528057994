// What a person asks for, as a frame and as the policy answers it: beside a reading of the frame that shares
// nothing with either.
#include "shaper/packet_query.hpp"

#include <string>

#include <gtest/gtest.h>

#include "config/site_classes.hpp"
#include "shaper/classifier_tables.hpp"

#include "classifier_policy.hpp"
#include "classifier_random.hpp"
#include "classifier_reference.hpp"

namespace weir::shaper::test {
namespace {

Octets octets_of(const std::vector<std::byte>& bytes) {
  Octets octets;
  for (const std::byte b : bytes) octets.push_back(static_cast<std::uint8_t>(b));
  return octets;
}

Handle handle_of(const ClassIds& ids, const Verdict& verdict) {
  if (verdict.way == Way::control) return kControlClass;
  if (verdict.way == Way::elsewhere) return kElsewhereClass;
  return ids.classes.at(verdict.site).at(verdict.cls);
}

PacketQuery asked(const std::string& from, const std::string& to) {
  return {.source = IpAddress::parse(from).value(), .destination = IpAddress::parse(to).value()};
}

TEST(PacketQuery, IsJudgedAsItsFrameIsRead) {
  int sites = 0;
  for (std::uint32_t seed = 1; seed <= 200; ++seed) {
    RandomWorld world(seed);
    const auto policy = world.policy();
    const auto ids = distinct_ids(policy);
    const ReferenceClassifier reference(policy, ids);
    for (int i = 0; i < 200; ++i) {
      const PacketQuery query = world.query();
      const auto frame = octets_of(frame_of(query));
      const Verdict verdict = judge(policy, query);
      ASSERT_EQ(handle_of(ids, verdict), reference.judge(frame, query.fwmark).handle)
          << "seed " << seed << ", question " << i << ": " << ::testing::PrintToString(frame);
      if (verdict.way == Way::site) ++sites;
    }
  }
  EXPECT_GT(sites, 5'000);
}

TEST(PacketQuery, HasARightChecksum) {
  RandomWorld world(7);
  for (int i = 0; i < 200; ++i) {
    PacketQuery query = world.query();
    query.vlan = 0;
    const auto frame = octets_of(frame_of(query));
    if (query.destination.family == Family::v4) {
      EXPECT_EQ(ReferenceClassifier::header_sum(frame, 14), 0xffffU);
    }
  }
}

TEST(PacketQuery, NamesTheFirstRuleThatHolds) {
  const Policy policy = example_policy();
  PacketQuery query = asked("10.1.8.9", "10.20.0.1");
  query.destination_port = 22;
  EXPECT_EQ(judge(policy, query), (Verdict{.way = Way::site, .site = 0, .cls = 1, .rule = 2}));
  query.dscp = 46;
  EXPECT_EQ(judge(policy, query), (Verdict{.way = Way::site, .site = 0, .cls = 0, .rule = 0}));
  query = asked("10.1.9.9", "10.20.0.1");
  EXPECT_EQ(judge(policy, query), (Verdict{.way = Way::site, .site = 0, .cls = 5, .rule = std::nullopt}));
  query.destination_port = 179;
  EXPECT_EQ(judge(policy, query), (Verdict{.way = Way::control}));
  EXPECT_EQ(judge(policy, asked("10.1.9.9", "8.8.8.8")), (Verdict{.way = Way::elsewhere}));
  EXPECT_EQ(judge(policy, asked("10.1.9.9", "10.20.30.5")), (Verdict{.way = Way::site, .site = 1, .cls = 0}));
}

TEST(PacketQuery, AnAnswerIsReadBackFromItsSlot) {
  RandomWorld world(3);
  for (int n = 0; n < 50; ++n) {
    const auto policy = world.policy();
    const auto ids = distinct_ids(policy);
    const auto tables = build_tables(policy, ids);
    for (int i = 0; i < 100; ++i) {
      const Verdict verdict = judge(policy, world.query());
      std::uint32_t slot = WEIR_ARRIVALS_ELSEWHERE;
      if (verdict.way == Way::control) slot = WEIR_ARRIVALS_CONTROL;
      if (verdict.way == Way::site) {
        slot = arrival_slots(policy).at(verdict.site);
        if (verdict.rule) slot += 1 + static_cast<std::uint32_t>(*verdict.rule);
      }
      EXPECT_LT(slot, tables.arrival_slots);
      EXPECT_EQ(verdict_of(policy, ids, {.handle = handle_of(ids, verdict), .slot = slot}), verdict);
    }
  }
}

TEST(PacketQuery, AnAnswerOfAnotherPolicyIsNone) {
  const Policy policy = example_policy();
  const ClassIds ids = example_ids();
  EXPECT_FALSE(verdict_of(policy, ids, {.handle = ids.classes[0][0], .slot = 11}).has_value());
  EXPECT_FALSE(verdict_of(policy, ids, {.handle = make_handle(kMajor, 0x99), .slot = 3}).has_value());
  EXPECT_FALSE(verdict_of(policy, ids, {.handle = ids.classes[0][0], .slot = UINT32_MAX}).has_value());
}

TEST(PacketQuery, FindsTheLongestSubnet) {
  const Policy policy = example_policy();
  const auto found = subnet_of(policy, IpAddress::parse("10.20.30.4").value());
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->site, 1U);
  EXPECT_EQ(found->subnet.to_string(), "10.20.30.0/24");
  EXPECT_FALSE(subnet_of(policy, IpAddress::parse("192.0.2.2").value()).has_value());
}

}  // namespace
}  // namespace weir::shaper::test
