#include "gateway/site_loop.hpp"

#include <gtest/gtest.h>

#include "fakes.hpp"

namespace weir::gateway::test {
namespace {

struct SiteLoopTest : testing::Test {
  EventLog events;
  LawMaker laws;
  FakePort port;
  SiteLoop loop{laws.maker(), events};
  Policy policy = policy_of({site("coast", 45, 100, 600), site("hills", 10, 20, 90, "10.30.0.0/16")});

  void SetUp() override {
    const std::vector<ControlStart> starts = loop.starts_for(policy);
    ASSERT_TRUE(port.apply(policy, rates_of(starts)).ok());
    loop.take_over(policy, starts, at(0));
  }
  void tick(double s) { loop.tick(quiet_tick(2, at(s)), port, at(s)); }
  [[nodiscard]] std::vector<EventKind> kinds() const {
    std::vector<EventKind> found;
    for (const Event* e : events.after(0, 1000)) found.push_back(e->kind);
    return found;
  }
};

TEST_F(SiteLoopTest, FirstStartBeginsAtTheConfiguredRates) {
  EXPECT_EQ(laws[0].start.rate, Rate::mbps(100));
  EXPECT_EQ(laws[1].start.rate, Rate::mbps(20));
}

TEST_F(SiteLoopTest, NothingIsWrittenWhileNothingChanges) {
  for (int i = 1; i <= 50; ++i) tick(0.1 * i);
  EXPECT_TRUE(port.batches.empty());
  EXPECT_EQ(laws[0].inputs.size(), 50U);
}

TEST_F(SiteLoopTest, AllChangesOfATickGoInOneBatch) {
  laws[0].decision.rate = Rate::mbps(80);
  laws[1].decision.rate = Rate::mbps(30);
  tick(0.1);
  ASSERT_EQ(port.batches.size(), 1U);
  EXPECT_EQ(port.batches[0], (std::vector{Rate::mbps(80), Rate::mbps(30)}));
  tick(0.2);
  EXPECT_EQ(port.batches.size(), 1U);
}

TEST_F(SiteLoopTest, ARefusedBatchIsTriedAgainEachTickAndToldOnce) {
  port.refuse_rates = {.attempt = "change class 7e17:10 on wan0", .error = ENOBUFS, .hint = {}};
  laws[0].decision.rate = Rate::mbps(50);
  for (int i = 1; i <= 5; ++i) tick(0.1 * i);
  EXPECT_EQ(port.batches.size(), 5U);
  EXPECT_EQ(loop.batches_failed(), 5U);
  ASSERT_TRUE(loop.fault());
  const auto status = loop.site_status(at(0.5).steady);
  EXPECT_EQ(status[0].shaped, Rate::mbps(100)) << "what is in force, not what is wished";
  EXPECT_EQ(status[0].wanted, Rate::mbps(50));
  ASSERT_EQ(status[0].degraded.size(), 1U);
  EXPECT_EQ(status[0].degraded[0].code, "rate_not_in_force");
  EXPECT_EQ(std::ranges::count(kinds(), EventKind::batch_failed), 1);

  port.refuse_rates.reset();
  tick(0.6);
  EXPECT_FALSE(loop.fault());
  EXPECT_EQ(loop.site_status(at(0.6).steady)[0].shaped, Rate::mbps(50));
  EXPECT_EQ(kinds().back(), EventKind::batch_recovered);
}

TEST_F(SiteLoopTest, SentIsReadFromTheShapersCounters) {
  port.counters[0].sent = Bytes(1'000'000);
  tick(1.0);
  port.counters[0].sent = Bytes(1'000'000 + 1'250'000);  // 100 Mbit/s for 0.1 s
  port.counters[0].backlog = Bytes(3000);
  tick(1.1);
  ASSERT_EQ(laws[0].inputs.size(), 2U);
  EXPECT_NEAR(laws[0].inputs[1].sent.mbps(), 100.0, 0.01);
  EXPECT_TRUE(laws[0].inputs[1].backlogged);
  EXPECT_FALSE(laws[1].inputs[1].backlogged);
  EXPECT_TRUE(loop.site_status(at(1.1).steady)[0].demand);
}

TEST_F(SiteLoopTest, FullRateIsDemandEvenWithoutAQueue) {
  tick(1.0);
  port.counters[0].sent = Bytes(1'250'000);
  port.counters[1].sent = Bytes(12'500);
  tick(1.1);
  const auto status = loop.site_status(at(1.1).steady);
  EXPECT_TRUE(status[0].demand);
  EXPECT_FALSE(status[1].demand);
}

TEST_F(SiteLoopTest, UnreadableCountersHoldTheRates) {
  port.counters_fail = true;
  laws[0].decision.rate = Rate::mbps(50);
  tick(0.1);
  EXPECT_TRUE(laws[0].inputs.empty()) << "no S, no evidence, no step";
  EXPECT_TRUE(port.batches.empty());
  ASSERT_TRUE(loop.unreadable());
  EXPECT_NE(loop.unreadable()->find("7e17:10"), std::string::npos);
  port.counters_fail = false;
  tick(0.2);
  EXPECT_FALSE(loop.unreadable());
  EXPECT_EQ(port.batches.size(), 1U);
}

TEST_F(SiteLoopTest, AResultOfAnotherPolicyIsIgnored) {
  loop.tick(quiet_tick(3, at(0.1)), port, at(0.1));
  EXPECT_TRUE(laws[0].inputs.empty());
}

TEST_F(SiteLoopTest, EveryChangeOfRateLeavesAnEventWithItsReason) {
  laws[0].decision.rate = Rate::mbps(69);
  laws[0].decision.reason = "69.0 Mbit/s, -31 %: 2.1 % of 41 210 segments were lost beyond this box";
  tick(0.1);
  const auto found = events.after(0, 10);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0]->kind, EventKind::rate_changed);
  EXPECT_EQ(found[0]->site, "coast");
  EXPECT_EQ(found[0]->text,
            "hold: 100.0 Mbit/s -> 69.0 Mbit/s, -31 %: 2.1 % of 41 210 segments were lost beyond this box");
  EXPECT_EQ(found[0]->severity, Severity::info);
}

TEST_F(SiteLoopTest, OutageIsToldWhenItBeginsAndWhenItIsOver) {
  laws[1].decision.state = ControlState::outage;
  tick(0.1);
  tick(0.2);
  EXPECT_EQ(loop.site_status(at(0.2).steady)[1].degraded.at(0).code, "outage");
  laws[1].decision.state = ControlState::hold;
  tick(0.3);
  EXPECT_EQ(kinds(), (std::vector{EventKind::outage_began, EventKind::outage_over}));
  EXPECT_TRUE(loop.site_status(at(0.3).steady)[1].degraded.empty());
}

TEST_F(SiteLoopTest, SitesThatShareABottleneckAreToldTheirPartsAndSaySo) {
  for (int i = 1; i <= 200; ++i) {
    const Instant now = at(0.1 * i);
    TickResult measured = quiet_tick(2, now, Bytes(100'000));
    for (SiteMeasurement& m : measured.outbound) {
      m.queue = QueueDelay{.q = std::chrono::milliseconds(i % 20 < 8 ? 9 : 0),
                           .samples = 50,
                           .sent_from = now.steady - 2 * kCohortLength,
                           .sent_to = now.steady - kCohortLength};
    }
    loop.tick(measured, port, now);
  }
  ASSERT_TRUE(laws[0].inputs.back().share);
  ASSERT_TRUE(laws[1].inputs.back().share);
  EXPECT_EQ(laws[0].inputs.back().share->sites, 2U);
  const auto status = loop.site_status(at(20).steady);
  ASSERT_TRUE(status[0].sharing);
  EXPECT_NE(status[0].sharing->find("hills: 2 of 2 sites"), std::string::npos) << *status[0].sharing;
  EXPECT_EQ(std::ranges::count(kinds(), EventKind::sharing_changed), 2);
  const auto parts = loop.recorder().recording({});
  std::string recording;
  std::string room;
  for (const auto& part : parts) recording += part->read(room);
  EXPECT_NE(recording.find("\"site\":\"shared bottleneck\",\"start\""), std::string::npos);
  EXPECT_NE(recording.find("\"share\":["), std::string::npos);

  // Other sites: what was found says nothing of them.
  const Policy next = policy_of({site("plain", 5, 6, 7, "10.40.0.0/16"), site("coast", 45, 100, 200)});
  loop.take_over(next, loop.starts_for(next), at(21));
  EXPECT_FALSE(loop.site_status(at(21).steady)[1].sharing);
}

TEST_F(SiteLoopTest, ANewPolicyKeepsWhatKnownSitesLearnt) {
  laws[0].decision.rate = Rate::mbps(300);
  tick(0.1);
  loop.sample_history(at(0.2));
  const Policy next = policy_of({site("plain", 5, 6, 7, "10.40.0.0/16"), site("coast", 45, 100, 200)});
  const std::vector<ControlStart> starts = loop.starts_for(next);
  EXPECT_EQ(rates_of(starts), (std::vector{Rate::mbps(6), Rate::mbps(200)}))
      << "new: its start; known: its own, clamped";
  ASSERT_TRUE(port.apply(next, rates_of(starts)).ok());
  loop.take_over(next, starts, at(0.3));
  EXPECT_EQ(laws.made(), 3U) << "coast kept its law";
  EXPECT_EQ(laws[0].limits.ceiling, Rate::mbps(200));
  ASSERT_NE(loop.history_of("coast"), nullptr);
  EXPECT_EQ(loop.history_of("coast")->size(), 1U);
  EXPECT_EQ(loop.history_of("hills"), nullptr);
  const std::size_t before = port.batches.size();
  tick(0.4);
  EXPECT_EQ(port.batches.size(), before);
}

TEST_F(SiteLoopTest, AdoptedRatesAreWhereARestartBegins) {
  SiteLoop restarted(laws.maker(), events);
  const std::vector<std::optional<Rate>> adopted = {Rate::mbps(61), std::nullopt};
  EXPECT_EQ(rates_of(restarted.starts_for(policy, adopted)), (std::vector{Rate::mbps(61), Rate::mbps(20)}));
  const std::vector<std::optional<Rate>> outside = {Rate::mbps(7), Rate::mbps(900)};
  EXPECT_EQ(rates_of(restarted.starts_for(policy, outside)), (std::vector{Rate::mbps(45), Rate::mbps(90)}))
      << "the configured floor and ceiling hold whatever stood there";
}

TEST_F(SiteLoopTest, ASiteThatDoesNotAdaptIsAtItsStartWhateverStoodThere) {
  laws[0].decision.rate = Rate::mbps(300);
  tick(0.1);
  SitePolicy fixed = site("coast", 45, 60, 200);
  fixed.rate.adapt = false;
  const Policy next = policy_of({fixed, site("hills", 10, 20, 90, "10.30.0.0/16")});
  const std::vector<std::optional<Rate>> adopted = {Rate::mbps(77), std::nullopt};
  EXPECT_EQ(SiteLoop(laws.maker(), events).starts_for(next, adopted)[0].rate, Rate::mbps(60));
  const std::vector<ControlStart> starts = loop.starts_for(next);
  EXPECT_EQ(starts[0].rate, Rate::mbps(60));
  ASSERT_TRUE(port.apply(next, rates_of(starts)).ok());
  loop.take_over(next, starts, at(0.2));
  tick(0.3);
  EXPECT_EQ(port.tree->at(0), Rate::mbps(60)) << "a tick later the law before had put its own rate back";
}

TEST_F(SiteLoopTest, OldFiguresAreNotShownAsThePresent) {
  TickResult measured = quiet_tick(2, at(0.1));
  measured.outbound[0].queue = QueueDelay{};
  measured.outbound[0].queue->q = std::chrono::milliseconds(7);
  measured.outbound[0].delivered = Delivery{.rate = Rate::mbps(44), .over = std::chrono::milliseconds(500)};
  loop.tick(measured, port, at(0.1));
  EXPECT_EQ(loop.site_status(at(0.1).steady)[0].delivered, Rate::mbps(44));
  tick(1.0);
  EXPECT_TRUE(loop.site_status(at(1.0).steady)[0].queue) << "a second old is the present";
  tick(3.0);
  EXPECT_FALSE(loop.site_status(at(3.0).steady)[0].queue);
  EXPECT_FALSE(loop.site_status(at(3.0).steady)[0].delivered);
}

struct LatencyTest : SiteLoopTest {
  std::uint64_t sent = 0;

  void SetUp() override {
    SiteLoopTest::SetUp();
    ClassPolicy voice;
    voice.name = "voice";
    voice.guarantee = Share{0.05};  // 5 of the site's 100 Mbit/s
    voice.latency = std::chrono::milliseconds(20);
    ClassPolicy interactive = voice;
    interactive.name = "interactive";
    interactive.guarantee = Rate::mbps(1);
    interactive.latency = std::chrono::milliseconds(100);
    policy.class_sets[0].classes.insert(policy.class_sets[0].classes.begin(), {voice, interactive});
    loop.take_over(policy, loop.starts_for(policy), at(0));
  }
  /// Two seconds in which voice sends at `mbps`, and so much of it and of the other class waits.
  void run(std::uint64_t mbps, std::uint64_t voice_waits, std::uint64_t interactive_waits = 0) {
    for (int i = 0; i < 20; ++i) {
      sent += mbps * 12'500;
      port.counters[0].goals = {{.sent = Bytes(sent), .backlog = Bytes(voice_waits)},
                                {.sent = Bytes(0), .backlog = Bytes(interactive_waits)}};
      tick(now += 0.1);
    }
  }
  double now = 0;
  [[nodiscard]] Duration room() { return laws[0].inputs.back().latency_room.value(); }
  [[nodiscard]] LatencyStatus latency() { return loop.site_status(at(now).steady)[0].latency.value(); }
};

TEST_F(SiteLoopTest, WithoutALatencyGoalNothingIsSaidOfIt) {
  tick(0.1);
  EXPECT_FALSE(laws[0].inputs.back().latency_room);
  EXPECT_FALSE(loop.site_status(at(0.1).steady)[0].latency);
}

TEST_F(LatencyTest, WhatWaitsHereIsTakenOffTheGoal) {
  run(10, 0);
  EXPECT_EQ(room(), std::chrono::milliseconds(20));
  run(10, 10'000);  // 8 ms at 10 Mbit/s
  EXPECT_NEAR(milliseconds(room()), 12.0, 0.01);
  EXPECT_EQ(latency().class_name, "voice");
  EXPECT_NEAR(milliseconds(latency().own), 8.0, 0.01);
  EXPECT_FALSE(latency().provider);
  EXPECT_EQ(latency().missed, LatencyMissed::no);
}

TEST_F(LatencyTest, AClassLeavesAtItsGuaranteeAtTheLeast) {
  run(1, 5'000);  // 40 ms at what it sends, 8 ms at its guarantee
  EXPECT_NEAR(milliseconds(room()), 12.0, 0.01);
}

TEST_F(LatencyTest, TheWorstOfSeveralGoalsCounts) {
  run(10, 0,
      11'875);  // 95 of 100 ms: half of its goal is left all the same, and that is more than the other's
  EXPECT_EQ(room(), std::chrono::milliseconds(20));
  EXPECT_EQ(latency().class_name, "interactive");
}

// More rate is what would help it: the provider keeps half of the goal, so that probes go on.
TEST_F(LatencyTest, AClassThatWaitsForItsOwnSiteIsOnlyShown) {
  run(10, 50'000);
  EXPECT_EQ(room(), std::chrono::milliseconds(10));
  const SiteStatus status = loop.site_status(at(now).steady)[0];
  EXPECT_EQ(status.latency->missed, LatencyMissed::own);
  ASSERT_EQ(status.degraded.size(), 1U);
  EXPECT_EQ(status.degraded[0].code, "latency_missed");
  EXPECT_EQ(
      status.degraded[0].text,
      "class 'voice' misses its latency goal of 20 ms: it waits 40.0 ms here and an unknown time at the "
      "provider");
}

TEST_F(LatencyTest, AGoalThatIsMissedAtTheProviderIsToldAsThat) {
  laws[0].decision.queue = std::chrono::milliseconds(26);
  laws[0].decision.probes_held = true;
  run(10, 0, 50'000);  // 400 ms of the other class's 100: its own affair
  const SiteStatus status = loop.site_status(at(now).steady)[0];
  EXPECT_EQ(status.latency->missed, LatencyMissed::provider);
  EXPECT_TRUE(status.latency->probes_held);
  ASSERT_EQ(status.degraded.size(), 1U);
  EXPECT_EQ(
      status.degraded[0].text,
      "class 'voice' misses its latency goal of 20 ms: it waits 0.0 ms here and 26.0 ms at the provider; "
      "no probe begins meanwhile");
  laws[0].decision.queue.reset();
  laws[0].decision.probes_held = false;
  run(10, 0);
  run(10, 0);
  EXPECT_FALSE(latency().provider) << "what is old is not shown";
  EXPECT_TRUE(loop.site_status(at(now).steady)[0].degraded.empty());
}

TEST_F(LatencyTest, CountersOfAnotherPolicySayNothing) {
  run(10, 10'000);
  port.counters[0].goals.resize(1);
  tick(now += 0.1);
  EXPECT_EQ(room(), std::chrono::milliseconds(20));
}

TEST_F(SiteLoopTest, HistoryHoldsAnHour) {
  for (int i = 0; i < 4000; ++i) loop.sample_history(at(i));
  const History* history = loop.history_of("coast");
  ASSERT_NE(history, nullptr);
  EXPECT_EQ(history->size(), History::kCapacity);
  const auto newest = history->newest(2);
  ASSERT_EQ(newest.size(), 2U);
  EXPECT_EQ(newest[1].unix_ms - newest[0].unix_ms, 1000);
  EXPECT_EQ(newest[1].unix_ms, 1'700'000'000'000 + 3'999'000);
  EXPECT_EQ(history->newest(99'999).front().unix_ms, 1'700'000'000'000 + 400'000);
  EXPECT_EQ(newest[1].shaped_bps, 100e6F);
}

}  // namespace
}  // namespace weir::gateway::test
