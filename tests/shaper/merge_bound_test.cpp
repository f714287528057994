// What the kernel may merge on its way to a port: bounded, remembered, given back; never somebody else's.
#include "shaper/merge_bound.hpp"

#include <gtest/gtest.h>

#include "fake_kernel.hpp"
#include "sample_policy.hpp"

namespace weir::shaper::testing {
namespace {

constexpr MergeLimit kUsual{.bytes = 65'536, .ipv4_bytes = 65'536};

Policy policy_with_lan(std::uint64_t floor_mbps) {
  Policy policy = sample_policy();
  policy.wan.rate = Rate::mbps(100'000);
  for (SitePolicy& site : policy.sites) {
    site.rate.floor = Rate::mbps(floor_mbps);
    site.rate.ceiling = policy.wan.rate;
  }
  policy.lan = LanPort{.interface = "lan0", .rate = policy.wan.rate};
  return policy;
}

struct MergeBoundTest : ::testing::Test {
  FakePort port;
  FakeKernel& kernel = port.kernel;
  FakeStore& store = port.store;

  MergeBoundTest() { kernel.other_leg = kUsual; }
  ApplyReport apply(const Policy& policy) {
    std::vector<Rate> rates;
    for (const SitePolicy& site : policy.sites) rates.push_back(site.rate.floor);
    ApplyReport report = port->apply(policy, rates);
    EXPECT_TRUE(report.ok()) << report.fault->attempt;
    return report;
  }
};

TEST(LongestMerge, IsAMillisecondOfTheSlowestSiteAndAtLeastAFrame) {
  Policy policy = policy_with_lan(45);
  EXPECT_EQ(longest_merge(policy), 5'625U);
  policy.sites.front().rate.floor = Rate::mbps(16);
  EXPECT_EQ(longest_merge(policy), 2'000U);
  policy.sites.front().rate.floor = Rate::mbps(1);
  EXPECT_EQ(longest_merge(policy), 1'514U);
  for (SitePolicy& site : policy.sites) site.rate.floor = Rate::mbps(10'000);
  EXPECT_EQ(longest_merge(policy), 65'536U);
  policy.gro = GroPolicy::as_is;
  EXPECT_FALSE(longest_merge(policy).has_value());
  policy.gro = GroPolicy::bounded;
  policy.lan.reset();
  EXPECT_FALSE(longest_merge(policy).has_value()) << "the other leg is not known";
}

TEST_F(MergeBoundTest, IsSetOnceAndFollowsThePolicy) {
  const ApplyReport first = apply(policy_with_lan(45));
  EXPECT_EQ(kernel.limits_set, (std::vector{MergeLimit{.bytes = 5'625, .ipv4_bytes = 5'625}}));
  EXPECT_EQ(first.changes.back(),
            "let lan0 merge at most 5625 bytes (GRO): 1 ms at the slowest site's least rate");
  EXPECT_EQ(apply(policy_with_lan(45)).messages, 0U);
  apply(policy_with_lan(80));
  EXPECT_EQ(kernel.other_leg->bytes, 10'000U) << "more again: what was there before is known";
  apply(policy_with_lan(10'000));
  EXPECT_EQ(kernel.other_leg, kUsual);
}

TEST_F(MergeBoundTest, WhatWasThereIsGivenBack) {
  apply(policy_with_lan(45));
  Policy policy = policy_with_lan(45);
  policy.gro = GroPolicy::as_is;
  const ApplyReport report = apply(policy);
  EXPECT_EQ(kernel.other_leg, kUsual);
  EXPECT_EQ(report.changes.back(), "let lan0 merge 65536 bytes (GRO) again");
  EXPECT_FALSE(store.state->merging.has_value());

  apply(policy_with_lan(45));
  EXPECT_EQ(kernel.other_leg->bytes, 5'625U);
  EXPECT_TRUE(port->clear().ok());
  EXPECT_EQ(kernel.other_leg, kUsual);
}

TEST_F(MergeBoundTest, ANewProcessKnowsWhatWasThere) {
  apply(policy_with_lan(45));
  port.start();
  EXPECT_TRUE(port->clear().ok());
  EXPECT_EQ(kernel.other_leg, kUsual);
}

TEST_F(MergeBoundTest, WhatTheKernelRefusesIsToldAndForgotten) {
  kernel.refuses_limits = EPERM;
  const ApplyReport report = apply(policy_with_lan(45));
  EXPECT_EQ(report.changes.back(),
            "not done: let lan0 merge at most 5625 bytes (GRO): 1 ms at the slowest site's least rate: "
            "Operation not permitted");
  EXPECT_FALSE(store.state->merging.has_value())
      << "nothing was set: that is no reason to set something back";
  kernel.refuses_limits = 0;
  EXPECT_TRUE(port->clear().ok());
  EXPECT_TRUE(kernel.limits_set.empty());
}

TEST_F(MergeBoundTest, WhatIsRefusedLaterForgetsNothing) {
  apply(policy_with_lan(45));
  kernel.refuses_limits = EBUSY;
  apply(policy_with_lan(80));
  EXPECT_EQ(store.state->merging,
            (BoundedMerging{.interface = "lan0", .before = kUsual, .now = *kernel.other_leg}));
  EXPECT_TRUE(port->clear().ok());
  ASSERT_TRUE(store.state.has_value()) << "the limit still stands";
  kernel.refuses_limits = 0;
  EXPECT_TRUE(port->clear().ok());
  EXPECT_EQ(kernel.other_leg, kUsual);
  EXPECT_FALSE(store.state.has_value());
}

TEST_F(MergeBoundTest, ALegThatCannotBeLookedAtIsNoFault) {
  kernel.other_leg_fails = true;
  const ApplyReport report = apply(policy_with_lan(45));
  EXPECT_NE(report.changes.back().find("is not bounded: look up lan0"), std::string::npos)
      << report.changes.back();
  kernel.other_leg_fails = false;
  apply(policy_with_lan(45));
  kernel.other_leg_fails = true;
  EXPECT_TRUE(port->clear().ok());
  kernel.other_leg_fails = false;
  EXPECT_TRUE(port->clear().ok());
  EXPECT_EQ(kernel.other_leg, kUsual);
}

TEST_F(MergeBoundTest, ALegThatIsMadeAnewIsBoundedAtTheNextLook) {
  apply(policy_with_lan(45));
  kernel.other_leg = kUsual;
  EXPECT_TRUE(port->in_place());
  EXPECT_EQ(kernel.other_leg->bytes, 5'625U);
  EXPECT_TRUE(port->in_place());
  EXPECT_EQ(kernel.limits_set.size(), 2U);
}

TEST_F(MergeBoundTest, AStartThatFailsGivesItBack) {
  apply(policy_with_lan(45));
  kernel.tree = {};  // somebody took the root, and the filter with it
  port.classifier.holds.reset();
  port.start();
  port.classifier.fails = true;
  const Policy policy = policy_with_lan(45);
  EXPECT_FALSE(port->apply(policy, std::vector(policy.sites.size(), Rate::mbps(45))).ok());
  EXPECT_EQ(kernel.other_leg, kUsual);
}

TEST_F(MergeBoundTest, LessThanThatIsLeftAlone) {
  kernel.other_leg = MergeLimit{.bytes = 3'000, .ipv4_bytes = 3'000};
  EXPECT_EQ(apply(policy_with_lan(45)).changes.back().find("lan0"), std::string::npos);
  EXPECT_TRUE(kernel.limits_set.empty());
  EXPECT_FALSE(store.state->merging.has_value());
}

TEST_F(MergeBoundTest, WhatSomebodyElseSetMeanwhileStays) {
  apply(policy_with_lan(45));
  kernel.other_leg = MergeLimit{.bytes = 2'000, .ipv4_bytes = 2'000};
  EXPECT_TRUE(port->clear().ok());
  EXPECT_EQ(kernel.other_leg->bytes, 2'000U);

  kernel.other_leg = kUsual;
  apply(policy_with_lan(45));
  kernel.other_leg = MergeLimit{.bytes = 30'000, .ipv4_bytes = 30'000};
  apply(policy_with_lan(45));
  EXPECT_EQ(kernel.other_leg->bytes, 5'625U) << "that is still too much,";
  EXPECT_TRUE(port->clear().ok());
  EXPECT_EQ(kernel.other_leg->bytes, 30'000U) << "and what is given back";
}

TEST_F(MergeBoundTest, AnOlderKernelHasNone) {
  kernel.other_leg = MergeLimit{};
  apply(policy_with_lan(45));
  EXPECT_TRUE(kernel.limits_set.empty());
  kernel.other_leg = MergeLimit{.bytes = 65'536, .ipv4_bytes = 0};
  apply(policy_with_lan(45));
  EXPECT_EQ(kernel.other_leg, (MergeLimit{.bytes = 5'625, .ipv4_bytes = 0}));
}

TEST_F(MergeBoundTest, WithoutTheOtherLegTheTreeStandsAllTheSame) {
  kernel.other_leg.reset();
  apply(policy_with_lan(45));
  EXPECT_FALSE(store.state->merging.has_value());
}

TEST_F(MergeBoundTest, ThePlanShowsIt) {
  const Policy policy = policy_with_lan(45);
  std::vector<Rate> rates;
  for (const SitePolicy& site : policy.sites) rates.push_back(site.rate.floor);
  EXPECT_EQ(port->plan(policy, rates, false).back(),
            "let lan0 merge at most 5625 bytes (GRO): 1 ms at the slowest site's least rate");
  EXPECT_EQ(port->plan(policy, rates, true).back(), "ip link set dev lan0 gro_max_size 5625");
  apply(policy);
  EXPECT_EQ(port->plan(policy, rates, false).back(), "classify");
}

TEST(MergeBoundState, IsKeptInTheFile) {
  PortState state;
  state.merging =
      BoundedMerging{.interface = "lan0", .before = kUsual, .now = {.bytes = 5'625, .ipv4_bytes = 0}};
  EXPECT_EQ(parse_port_state(to_json(state, "weir")), state);
  std::string damaged = to_json(state, "weir");
  damaged.replace(damaged.find("5625"), 4, "null");
  EXPECT_FALSE(parse_port_state(damaged).has_value());
}

}  // namespace
}  // namespace weir::shaper::testing
