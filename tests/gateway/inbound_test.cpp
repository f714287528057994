// What comes from sites, at the LAN port: put in force with the rest of the policy, or not at all.
#include <gtest/gtest.h>

#include "gateway_fixture.hpp"

namespace weir::gateway::test {
namespace {

/// The policy of the fixture with a LAN port; `inbound` of site coast: "{rate: 300mbit}", or nothing.
std::string with_lan(const std::string& inbound, const std::string& more = "") {
  std::string text = policy_text(45, more) + "lan: {interface: lan0, rate: 1gbit}\n";
  if (!inbound.empty()) text.insert(text.find("    policy: usual"), "    inbound: " + inbound + "\n");
  return text;
}

struct InboundTest : GatewayTest {
  void start_with(const std::string& text) {
    lan = &lan_port;
    write(text);
    boot();
    ASSERT_TRUE(gateway->start(at(0)).ok());
  }
  void start_shaped() { start_with(with_lan("{rate: 300mbit}")); }
  [[nodiscard]] std::optional<InboundStatus> coast(double s) const {
    return gateway->status(at(s)).sites.at(0).inbound;
  }
};

TEST_F(InboundTest, TheLanPortHasATreeOfItsOwn) {
  start_shaped();
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(300)}));
  EXPECT_EQ(lan_port.policy->wan.interface, "lan0");
  EXPECT_EQ(lan_port.policy->site_address, SiteAddress::source);
  EXPECT_EQ(port.policy->site_address, SiteAddress::destination);
  const GatewayStatus status = gateway->status(at(1));
  ASSERT_TRUE(status.lan.has_value());
  EXPECT_EQ(status.lan->interface, "lan0");
  EXPECT_EQ(status.lan->port_rate, Rate::mbps(1000));
  EXPECT_TRUE(status.lan->shaper.in_place);
  EXPECT_EQ(coast(1)->shaped, Rate::mbps(300));
  EXPECT_EQ(coast(1)->policy, "default");
}

TEST_F(InboundTest, WithoutInboundNothingIsMadeThereAndWhatWasLeftGoes) {
  lan_port.tree = {Rate::mbps(7)};
  start_with(with_lan(""));
  EXPECT_FALSE(lan_port.tree.has_value());
  EXPECT_EQ(lan_port.applies, 0U);
  EXPECT_FALSE(gateway->status(at(0)).lan.has_value());
  EXPECT_FALSE(coast(0).has_value());
  gateway->every_second(at(1));
  EXPECT_FALSE(lan_port.tree.has_value());
}

TEST_F(InboundTest, ItsCountersAreThoseOfTheLanPort) {
  start_shaped();
  for (int s = 1; s <= 3; ++s) {
    lan_port.counters.at(0) = {.sent = Bytes(static_cast<std::uint64_t>(s) * 1'000'000),
                               .backlog = Bytes(4500)};
    gateway->every_second(at(s));
  }
  EXPECT_EQ(coast(3)->sent, Rate::mbps(8));
  EXPECT_EQ(coast(3)->backlog, Bytes(4500));
  EXPECT_EQ(gateway->status(at(3)).sites.at(0).sent, Rate());

  write(with_lan("{rate: 200mbit}", another_site("hills", "10.30.0.0/16")));
  ASSERT_TRUE(gateway->reload(at(3.5)));
  EXPECT_EQ(coast(3.5)->sent, Rate::mbps(8)) << "a reload does not forget what was counted";
  EXPECT_EQ(coast(3.5)->shaped, Rate::mbps(200));
  EXPECT_FALSE(gateway->status(at(4)).sites.at(1).inbound.has_value());

  lan_port.counters_fail = true;
  gateway->every_second(at(4));
  EXPECT_EQ(coast(4)->sent, Rate());
}

TEST_F(InboundTest, AReloadTakesItAwayAndBringsItBack) {
  start_shaped();
  write(with_lan(""));
  ASSERT_TRUE(gateway->reload(at(1)));
  EXPECT_FALSE(lan_port.tree.has_value());
  EXPECT_FALSE(gateway->status(at(1)).lan.has_value());
  EXPECT_EQ(gateway->inbound_policy(), nullptr);
  write(with_lan("{rate: 100mbit}"));
  ASSERT_TRUE(gateway->reload(at(2)));
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(100)}));
}

TEST_F(InboundTest, WhatTheLanPortRefusesIsNotInForceAtTheWanPortEither) {
  start_shaped();
  lan_port.refuse_policy_with_site = "hills";
  std::string text = with_lan("{rate: 300mbit}", another_site("hills", "10.30.0.0/16"));
  text.insert(text.rfind("    policy: usual"), "    inbound: {rate: 9mbit}\n");
  write(text);
  EXPECT_FALSE(gateway->reload(at(1)));
  EXPECT_EQ(gateway->policy().sites.size(), 1U);
  EXPECT_EQ(port.policy->sites.size(), 1U);
  EXPECT_EQ(lan_port.policy->sites.size(), 1U);
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(300)}));
  EXPECT_NE(gateway->status(at(1)).policy.reload_error->find("create class"), std::string::npos);
  EXPECT_FALSE(degraded("lan_tree_missing", 1));
  EXPECT_EQ(count(EventKind::repaired), 1U) << "the WAN port, where it was in force already";
}

TEST_F(InboundTest, WhatTheWanPortRefusesNeverReachesTheLanPort) {
  start_shaped();
  port.refuse_policy_with_site = "hills";
  write(with_lan("{rate: 9mbit}", another_site("hills", "10.30.0.0/16")));
  EXPECT_FALSE(gateway->reload(at(1)));
  EXPECT_EQ(lan_port.applies, 1U);
  EXPECT_EQ(coast(1)->shaped, Rate::mbps(300));
}

TEST_F(InboundTest, ATreeThatCannotBeTakenAwayStays) {
  start_shaped();
  lan_port.refuse_apply = shaper::KernelFault{.attempt = "remove 7e17:", .error = EBUSY, .hint = {}};
  write(with_lan(""));
  EXPECT_FALSE(gateway->reload(at(1)));
  EXPECT_FALSE(coast(1)->shaped.has_value()) << "a part of it may be gone";
  EXPECT_FALSE(degraded("lan_tree_left", 1)) << "it is wanted";
  lan_port.refuse_apply.reset();
  gateway->every_second(at(2));
  EXPECT_TRUE(gateway->status(at(2)).lan->shaper.in_place);
  EXPECT_EQ(coast(2)->shaped, Rate::mbps(300));
}

TEST_F(InboundTest, WhatGoesOutIsShapedThoughTheLanPortIsNotThere) {
  lan_port.refuse_apply = shaper::KernelFault{.attempt = "look for lan0", .error = ENODEV, .hint = {}};
  start_shaped();
  EXPECT_EQ(port.tree, (std::vector{Rate::mbps(100)}));
  EXPECT_TRUE(degraded("lan_tree_missing", 1));
  EXPECT_FALSE(coast(1)->shaped.has_value());
  EXPECT_FALSE(degraded("tree_missing", 1));
  EXPECT_EQ(count(EventKind::repair_failed), 1U);
  gateway->every_second(at(1));
  EXPECT_EQ(count(EventKind::repair_failed), 1U) << "told once";
  lan_port.refuse_apply.reset();
  gateway->every_second(at(2));
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(300)}));
  EXPECT_FALSE(degraded("lan_tree_missing", 2));
}

TEST_F(InboundTest, ATreeThatSomebodyDeletedIsPutBackAndTheOtherLeftAlone) {
  start_shaped();
  const std::size_t applies = port.applies;
  lan_port.tree.reset();
  gateway->on_kernel_change("qdisc 7e17: was removed", at(1));
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(300)}));
  EXPECT_EQ(port.applies, applies);
  EXPECT_EQ(count(EventKind::foreign_change), 1U);
  EXPECT_EQ(count(EventKind::repaired), 1U);
  lan_port.tree.reset();
  gateway->every_second(at(10));
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(300)})) << "found without an event as well";
}

TEST_F(InboundTest, ALanPortThatIsNoLongerNamedIsGivenUp) {
  start_shaped();
  write(policy_text());
  ASSERT_TRUE(gateway->reload(at(1)));
  EXPECT_FALSE(lan_port.tree.has_value());
  EXPECT_FALSE(gateway->status(at(1)).lan.has_value());
}

TEST_F(InboundTest, AndMayComeBack) {
  start_shaped();
  write(policy_text());
  ASSERT_TRUE(gateway->reload(at(1)));
  write(with_lan("{rate: 300mbit}"));
  ASSERT_TRUE(gateway->reload(at(2)));
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(300)}));
}

TEST_F(InboundTest, AReloadDoesNotWaitForAPortThatWasMissingBefore) {
  start_shaped();
  lan_port.tree.reset();
  lan_port.refuse_apply = shaper::KernelFault{.attempt = "look for lan0", .error = ENODEV, .hint = {}};
  gateway->on_kernel_change("lan0 is gone", at(1));
  ASSERT_TRUE(degraded("lan_tree_missing", 1));
  write(with_lan("{rate: 200mbit}", another_site("hills", "10.30.0.0/16")));
  EXPECT_TRUE(gateway->reload(at(2)));
  EXPECT_EQ(port.policy->sites.size(), 2U);
  lan_port.refuse_apply.reset();
  gateway->every_second(at(3));
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(200)}));
}

TEST_F(InboundTest, WhatCannotBeTakenAwayAtTheStartIsTriedAgainAndTold) {
  lan_port.tree = {Rate::mbps(7)};
  lan_port.refuse_apply = shaper::KernelFault{.attempt = "remove the root", .error = EBUSY, .hint = {}};
  start_with(with_lan(""));
  EXPECT_TRUE(degraded("lan_tree_left", 1));
  gateway->every_second(at(1));
  EXPECT_EQ(count(EventKind::repair_failed), 1U) << "told once";
  lan_port.refuse_apply.reset();
  gateway->every_second(at(2));
  EXPECT_FALSE(lan_port.tree.has_value());
  EXPECT_FALSE(degraded("lan_tree_left", 2));
}

TEST_F(InboundTest, WhatBecomesOfTheTreeIsTold) {
  const auto last = [&] { return events.newest(1).at(0)->text; };
  start_shaped();
  EXPECT_EQ(last(), "lan0: programmed the tree for what comes from 1 site(s) with 3 message(s)");
  write(with_lan("{rate: 200mbit}"));
  ASSERT_TRUE(gateway->reload(at(1)));
  EXPECT_NE(last().find("reload"), std::string::npos) << last();
  write(with_lan(""));
  ASSERT_TRUE(gateway->reload(at(2)));
  EXPECT_EQ(events.newest(2).at(0)->text, "what comes from sites is shaped no more");
  lan_port.tree = {Rate::mbps(50)};
  write(with_lan("{rate: 50mbit}"));
  ASSERT_TRUE(gateway->reload(at(3)));
  EXPECT_EQ(events.newest(2).at(0)->text,
            "lan0: adopted the tree for what comes from 1 site(s) with 0 message(s)");
}

TEST_F(InboundTest, AnotherLanPortTakesARestart) {
  start_shaped();
  std::string text = with_lan("{rate: 300mbit}");
  text.replace(text.find("lan0"), 4, "lan9");
  write(text);
  EXPECT_FALSE(gateway->reload(at(1)));
  EXPECT_NE(gateway->status(at(1)).policy.reload_error->find("lan.interface changed from lan0 to lan9"),
            std::string::npos);
}

}  // namespace
}  // namespace weir::gateway::test
