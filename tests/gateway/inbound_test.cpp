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
  [[nodiscard]] std::optional<SiteStatus> coast(double s) const { return comes_from("coast", s); }
  [[nodiscard]] std::optional<SiteStatus> comes_from(std::string_view site, double s) const {
    const GatewayStatus status = gateway->status(at(s));
    const SiteStatus* const found = find_site(status.inbound, site);
    return found == nullptr ? std::nullopt : std::optional(*found);
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
  EXPECT_FALSE(comes_from("hills", 4).has_value());

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
  EXPECT_FALSE(gateway->status(at(1)).lan->shaper.in_place) << "a part of it may be gone";
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
  EXPECT_FALSE(gateway->status(at(1)).lan->shaper.in_place);
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

// -- rates that follow the path --

struct FollowingTest : InboundTest {
  static constexpr const char* kFollows = "{rate: 300mbit, floor: 20mbit, start: 50mbit}";
  void start_following(const RememberedSites& remembered = {}) {
    lan = &lan_port;
    write(with_lan(kFollows));
    boot();
    ASSERT_TRUE(gateway->start(at(0), remembered).ok());
  }
  /// With what came from each site in it.
  void tick_with(double s, Bytes arrived, std::size_t sites = 1) {
    CaptureTick t;
    t.generation = gateway->estimator_generation();
    t.result = quiet_tick(1, at(s));
    SiteMeasurement m = t.result.inbound.at(0);
    m.sent = arrived;
    t.result.way_in.assign(sites, m);
    gateway->on_tick(t, at(s));
  }
  /// That of what comes from the site; the first one is of what goes there.
  LawScript& law() { return laws[1]; }
};

TEST_F(FollowingTest, BeginsAtItsStartWithinItsLimits) {
  start_following();
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(50)}));
  EXPECT_EQ(
      law().limits,
      (ControlLimits{.floor = Rate::mbps(20), .ceiling = Rate::mbps(300), .adapt = true, .paced = false}));
  EXPECT_EQ(estimator_settings(gateway->policy()).watch_way_in, std::vector{true});
  EXPECT_TRUE(coast(1)->adapt);
}

TEST_F(FollowingTest, ItsLawIsToldOfTheWayInAndSetsTheLanPort) {
  start_following();
  lan_port.counters.at(0) = {.sent = Bytes(1'000'000), .backlog = Bytes(0)};
  tick_with(0.1, Bytes(70'000));
  lan_port.counters.at(0) = {.sent = Bytes(1'060'000), .backlog = Bytes(3000)};
  law().decision.rate = Rate::mbps(40);
  law().decision.reason = "because";
  tick_with(0.2, Bytes(70'000));
  ASSERT_EQ(law().inputs.size(), 2U);
  EXPECT_EQ(law().inputs[1].measured.sent, Bytes(70'000));
  EXPECT_NEAR(law().inputs[1].sent.mbps(), 4.8, 0.01) << "what its own port let through";
  EXPECT_TRUE(law().inputs[1].backlogged);
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(40)}));
  EXPECT_EQ(coast(0.2)->shaped, Rate::mbps(40));
  EXPECT_EQ(gateway->status(at(0.2)).sites.at(0).shaped, laws[0].decision.rate)
      << "what goes out is left alone";
  EXPECT_EQ(events.newest(1).at(0)->text, "inbound: hold: 50.0 Mbit/s -> because");
  ASSERT_NE(gateway->inbound_decisions_of("coast"), nullptr);
  EXPECT_EQ(gateway->inbound_decisions_of("coast")->newest(1).at(0)->to, Rate::mbps(40));
  EXPECT_EQ(gateway->inbound_decisions_of("hills"), nullptr);
  gateway->every_second(at(1));
  ASSERT_NE(gateway->inbound_history_of("coast"), nullptr);
  EXPECT_EQ(gateway->inbound_history_of("coast")->newest(1)[0].shaped_bps, 40e6F);
}

TEST_F(FollowingTest, EachSiteIsToldOfItsOwn) {
  lan = &lan_port;
  std::string text =
      with_lan("", another_site("hills", "10.30.0.0/16") + another_site("moor", "10.40.0.0/16"));
  text.insert(text.rfind("    policy: usual"), std::string("    inbound: ") + kFollows + "\n");
  write(text);
  boot();
  ASSERT_TRUE(gateway->start(at(0)).ok());
  EXPECT_EQ(estimator_settings(gateway->policy()).watch_way_in, (std::vector{false, false, true}));
  CaptureTick t;
  t.generation = gateway->estimator_generation();
  t.result = quiet_tick(3, at(0.1));
  for (const std::uint64_t bytes : {1U, 2U, 3U}) {
    t.result.way_in.push_back(t.result.inbound.at(0));
    t.result.way_in.back().sent = Bytes(bytes);
  }
  gateway->on_tick(t, at(0.1));
  ASSERT_EQ(laws.made(), 4U);
  ASSERT_EQ(laws[3].inputs.size(), 1U);
  EXPECT_EQ(laws[3].inputs[0].measured.sent, Bytes(3));
  EXPECT_TRUE(comes_from("moor", 0.1).has_value());
  EXPECT_FALSE(comes_from("hills", 0.1).has_value());
}

TEST_F(FollowingTest, AResultOfOtherSitesIsOfAnEarlierPolicy) {
  start_following();
  tick_with(0.1, Bytes(1), 2);
  tick_with(0.2, Bytes(1), 0);
  EXPECT_TRUE(law().inputs.empty());
}

TEST_F(FollowingTest, ARateThatStandsStillHasNoLawToAsk) {
  start_shaped();
  EXPECT_TRUE(estimator_settings(gateway->policy()).watch_way_in.empty());
  tick_with(0.1, Bytes(1));
  EXPECT_TRUE(law().inputs.empty());
}

TEST_F(FollowingTest, AReloadMakesItFollowFromWhereItStands) {
  start_shaped();
  const auto before = gateway->estimator_generation();
  write(with_lan(kFollows));
  ASSERT_TRUE(gateway->reload(at(1)));
  EXPECT_GT(gateway->estimator_generation(), before) << "the way in is watched from now on";
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(300)}));
  EXPECT_TRUE(coast(1)->adapt);
  write(with_lan("{rate: 250mbit}"));
  ASSERT_TRUE(gateway->reload(at(2)));
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(250)}));
}

TEST_F(FollowingTest, AnotherDaemonGoesOnAtTheRateThatStands) {
  lan_port.tree = {Rate::mbps(77)};
  start_following();
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(77)}));
  EXPECT_EQ(law().start.rate, Rate::mbps(77));
}

TEST_F(FollowingTest, WhatWasLearntOutlivesTheDaemonApartFromTheOtherWay) {
  RememberedSites remembered;
  remembered.sites["coast"].mode = PathMode::policer;
  remembered.sites["coast inbound"].mode = PathMode::buffer;
  start_following(remembered);
  ASSERT_TRUE(laws[0].start.memory.has_value());
  EXPECT_EQ(laws[0].start.memory->mode, PathMode::policer);
  ASSERT_TRUE(law().start.memory.has_value());
  EXPECT_EQ(law().start.memory->mode, PathMode::buffer);
  law().memory.mode = PathMode::lossy;
  const auto kept = gateway->memories_to_keep(at(60));
  ASSERT_TRUE(kept.has_value());
  EXPECT_EQ(kept->sites.size(), 2U);
  EXPECT_EQ(kept->sites.at("coast inbound").mode, PathMode::lossy);
}

TEST_F(FollowingTest, ARateThatTheLanPortRefusesIsToldAndTriedAgain) {
  start_following();
  lan_port.refuse_rates = shaper::KernelFault{.attempt = "change class", .error = ENOMEM, .hint = {}};
  law().decision.rate = Rate::mbps(40);
  tick_with(0.1, Bytes(1));
  EXPECT_TRUE(degraded("lan_rates_refused", 0.1));
  EXPECT_FALSE(degraded("rates_refused", 0.1));
  EXPECT_EQ(coast(0.1)->shaped, Rate::mbps(50));
  lan_port.refuse_rates.reset();
  tick_with(0.2, Bytes(1));
  EXPECT_EQ(lan_port.tree, (std::vector{Rate::mbps(40)}));
  EXPECT_FALSE(degraded("lan_rates_refused", 0.2));
  lan_port.counters_fail = true;
  tick_with(0.3, Bytes(1));
  EXPECT_TRUE(degraded("lan_counters_unreadable", 0.3));
}

TEST_F(FollowingTest, WhatTheLanPortWroteStandsInItsStatus) {
  start_following();
  law().decision.rate = Rate::mbps(40);
  tick_with(0.1, Bytes(1));
  EXPECT_EQ(gateway->status(at(0.1)).lan->shaper.batches, 1U);
  EXPECT_EQ(gateway->status(at(0.1)).shaper.batches, 0U);
}

TEST_F(FollowingTest, FiguresOfATreeThatIsGoneAreNoLongerShown) {
  start_following();
  for (int i = 1; i <= 3; ++i) {
    lan_port.counters.at(0).sent = Bytes(static_cast<std::uint64_t>(i) * 100'000);
    tick_with(0.1 * i, Bytes(1));
  }
  EXPECT_GT(coast(0.3)->sent, Rate());
  lan_port.counters_fail = true;
  lan_port.tree.reset();
  lan_port.refuse_apply = shaper::KernelFault{.attempt = "look for lan0", .error = ENODEV, .hint = {}};
  gateway->on_kernel_change("lan0 went away", at(0.4));
  gateway->every_second(at(1));
  EXPECT_EQ(coast(1)->sent, Rate());
  EXPECT_TRUE(degraded("lan_counters_unreadable", 1));
  lan_port.refuse_apply.reset();
  write(with_lan(""));
  ASSERT_TRUE(gateway->reload(at(2)));
  EXPECT_FALSE(degraded("lan_counters_unreadable", 2)) << "nobody reads them any more";
}

TEST_F(FollowingTest, BothWaysStandInOneRecording) {
  start_following();
  tick(0.1);
  tick_with(0.2, Bytes(1));
  const auto text_of = [](const std::vector<SharedText>& parts) {
    std::string all;
    std::string room;
    for (const SharedText& part : parts) all += part->read(room);
    return all;
  };
  const auto whole = gateway->recording(std::nullopt, at(1));
  ASSERT_TRUE(whole.has_value());
  const std::string text = text_of(*whole);
  EXPECT_NE(text.find("\"coast\""), std::string::npos);
  EXPECT_NE(text.find("\"coast inbound\""), std::string::npos);
  const auto one = gateway->recording("coast", at(1));
  ASSERT_TRUE(one.has_value());
  EXPECT_NE(text_of(*one).find("\"coast inbound\""), std::string::npos) << "the site, either way";
  write(with_lan("{rate: 300mbit}"));
  ASSERT_TRUE(gateway->reload(at(2)));
  EXPECT_EQ(text_of(*gateway->recording(std::nullopt, at(2))).find("\"coast inbound\""), std::string::npos)
      << "a rate that stands still has no past";
}

}  // namespace
}  // namespace weir::gateway::test
