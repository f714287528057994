// What the daemon keeps of its controllers replays to what they decided, however little memory it has.
#include "gateway/control_recorder.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "estimator/control_replay.hpp"
#include "gateway/decision_log.hpp"
#include "gateway/site_loop.hpp"

#include "../estimator/path_simulator.hpp"
#include "../estimator/recorded_run.hpp"
#include "fakes.hpp"

namespace weir::gateway::test {
namespace {

using weir::test::lines_of;

std::string text_of(const std::vector<SharedText>& parts) {
  std::string text;
  std::string room;
  for (const SharedText& part : parts) text += part->read(room);
  return text;
}

struct Replayed {
  std::uint64_t steps = 0, differing = 0;
  std::map<std::string, std::uint64_t> of;
  std::string bad;
};

Replayed replayed(const std::string& text) {
  ControlReplay replay;
  Replayed result;
  for (const std::string& line : lines_of(text)) {
    const ReplayOutcome outcome = replay.take(line);
    if (const auto* step = std::get_if<ReplayStep>(&outcome)) {
      ++result.steps;
      ++result.of[*step->site];
      result.differing += step->same ? 0 : 1;
    } else if (std::holds_alternative<ReplayStateDiffers>(outcome)) {
      ++result.differing;
    } else if (const auto* bad = std::get_if<BadRecordLine>(&outcome)) {
      result.bad = bad->why;
      return result;
    }
  }
  result.bad = replay.cut_off().value_or("");
  return result;
}

const std::vector<ControlInput>& busy_inputs() {
  static const std::vector<ControlInput> kInputs = [] {
    weir::test::PathSetup path;
    path.provider = weir::test::Provider::policer;
    path.capacity_mbps = [](double t) { return t < 60 ? 90.0 : 45.0; };
    weir::test::PathSimulator sim(path, {.floor = Rate::mbps(10), .ceiling = Rate::mbps(500), .adapt = true},
                                  200);
    sim.run_for(150);
    return sim.inputs();
  }();
  return kInputs;
}

/// A loop with real controllers whose sites measure what the simulator's path did, without the kernel.
struct RecorderTest : testing::Test {
  EventLog events;
  FakePort port;
  SiteLoop loop{site_controllers(), events};
  Policy policy = policy_of({site("coast", 10, 200, 500), site("hills", 10, 100, 400, "10.30.0.0/16")});
  std::size_t next = 0;

  void SetUp() override { take_over(0); }
  void take_over(double s) {
    const std::vector<ControlStart> starts = loop.starts_for(policy);
    ASSERT_TRUE(port.apply(policy, rates_of(starts)).ok());
    loop.take_over(policy, starts, at(s));
  }
  void run(std::size_t ticks) { run(loop, ticks); }
  void run(SiteLoop& driven, std::size_t ticks) {
    for (; ticks > 0; --ticks) {
      const SiteMeasurement& m = busy_inputs().at(next++).measured;
      const Instant now{.steady = m.at, .wall = at(seconds(m.at.time_since_epoch())).wall};
      TickResult tick = quiet_tick(policy.sites.size(), now);
      for (std::size_t i = 0; i < policy.sites.size(); ++i) tick.outbound[i] = m;
      driven.tick(tick, port, now);
    }
  }
  std::string recording(std::optional<std::string_view> name = std::nullopt) {
    return text_of(loop.recorder().recording({.version = "9.9", .interface = "wan0"}, name));
  }
};

TEST_F(RecorderTest, EveryTickOfEverySiteReplaysToTheSame) {
  run(1000);
  const Replayed result = replayed(recording());
  EXPECT_EQ(result.bad, "");
  EXPECT_EQ(result.of.at("coast"), 1000U);
  EXPECT_EQ(result.of.at("hills"), 1000U);
  EXPECT_EQ(result.differing, 0U);
  const Replayed one = replayed(recording("hills"));
  EXPECT_EQ(one.steps, 1000U);
  EXPECT_EQ(replayed(recording("moon")).steps, 0U);
}

TEST_F(RecorderTest, ASiteThatWasKnownFromBeforeIsReplayedWithWhatWasKnown) {
  policy.sites.pop_back();  // two that are measured the same share a bottleneck, and know it together
  take_over(0);
  run(900);
  const SiteMemories known = loop.memories(at(90).steady);
  ASSERT_TRUE(known.at("coast").capacity);
  SiteLoop after(site_controllers(), events);
  const auto starts = after.starts_for(policy, {}, aged(known, std::chrono::seconds(5)));
  EXPECT_EQ(starts[0].from, StartedFrom::memory);
  after.take_over(policy, starts, at(95));
  const SiteStatus status = after.site_status(at(95).steady).at(0);
  EXPECT_NE(status.reason.find("Mbit/s: 0.95 of the "), std::string::npos) << status.reason;
  ASSERT_TRUE(status.capacity);
  EXPECT_EQ(after.decisions_of("coast")->newest(1).at(0)->reason, status.reason);
  next = 950;
  run(after, 300);
  const Replayed result =
      replayed(text_of(after.recorder().recording({.version = "9.9", .interface = "wan0"}, std::nullopt)));
  EXPECT_EQ(result.bad, "");
  EXPECT_EQ(result.of.at("coast"), 300U);
  EXPECT_EQ(result.differing, 0U);
}

TEST_F(RecorderTest, ReloadsAndSitesThatComeAndGoAreInIt) {
  run(200);
  policy.sites[0].rate.ceiling = Rate::mbps(30);  // the rate is cut at once
  take_over(20);
  run(200);
  policy.sites.pop_back();
  take_over(40);
  run(200);
  policy.sites.push_back(site("hills", 20, 100, 400, "10.30.0.0/16"));
  take_over(60);
  run(200);
  const Replayed result = replayed(recording());
  EXPECT_EQ(result.bad, "");
  EXPECT_EQ(result.differing, 0U);
  EXPECT_EQ(result.of.at("coast"), 800U + 3U) << "ticks and changes of limits";
  EXPECT_EQ(result.of.at("hills"), 600U + 1U);
}

TEST_F(RecorderTest, TheBoundHoldsAndTheNewestStays) {
  constexpr std::uint64_t kBound = 250'000;
  take_over(0);
  loop.recorder().set_bound(kBound);
  for (int i = 0; i < 14; ++i) {
    run(100);
    ASSERT_LE(loop.recorder().size(), kBound);
  }
  EXPECT_GT(loop.recorder().size(), kBound / 2);
  const std::string text = recording();
  EXPECT_GT(text.size(), 3 * kBound) << "what is complete is packed";
  const Replayed result = replayed(text);
  EXPECT_EQ(result.bad, "");
  EXPECT_EQ(result.differing, 0U) << "from the checkpoint on, the first tick included";
  EXPECT_GT(result.steps, 200U);
  EXPECT_LT(result.steps, 2800U) << "more than fits was fed";
  const std::string newest =
      fmt::format("\"tick\":{{\"now\":{}", busy_inputs()[next - 1].measured.at.time_since_epoch().count());
  EXPECT_NE(text.find(newest), std::string::npos);
}

TEST_F(RecorderTest, ASmallerBoundLetsGoAtOnceAndNoneKeepsNothing) {
  run(600);
  policy.recording.mebibytes = 0;
  take_over(60);
  EXPECT_EQ(loop.recorder().size(), 0U);
  EXPECT_FALSE(loop.recorder().is_on());
  run(100);
  EXPECT_EQ(loop.recorder().size(), 0U);
  policy.recording.mebibytes = 8;
  take_over(70);
  run(100);
  const Replayed result = replayed(recording());
  EXPECT_EQ(result.bad, "");
  EXPECT_GE(result.steps, 200U);
  EXPECT_EQ(result.differing, 0U);
}

// So many sites that the least segments of all do not fit: bounded, and never worse than that.
TEST(ControlRecorder, MoreSitesThanMemoryAreRecordedInParts) {
  constexpr std::uint64_t kBound = 300'000;
  constexpr std::size_t kSites = 20;
  ControlRecorder recorder(kBound);
  std::vector<SiteController> controllers;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kSites; ++i) {
    names.push_back("site" + std::to_string(i));
    const ControlLimits limits{.floor = Rate::mbps(10), .ceiling = Rate::mbps(500), .adapt = true};
    controllers.emplace_back(limits, Rate::mbps(200), TimePoint());
    recorder.start(names[i], limits, Rate::mbps(200), TimePoint());
  }
  std::size_t states = 0;
  for (std::size_t t = 0; t < 600; ++t) {
    const ControlInput& input = busy_inputs()[t];
    for (std::size_t i = 0; i < kSites; ++i) {
      recorder.before_step(names[i], input.measured.at, [&] {
        ++states;
        return controllers[i].state();
      });
      recorder.tick(names[i], input, controllers[i].step(input, input.measured.at), input.measured.at);
      ASSERT_LE(recorder.size(), kBound);
    }
  }
  EXPECT_LE(states, kSites * 6U) << "at most one in ten seconds";
  const Replayed result = replayed(text_of(recorder.recording({})));
  EXPECT_EQ(result.bad, "");
  EXPECT_GT(result.steps, 0U);
  EXPECT_EQ(result.differing, 0U);
}

TEST_F(RecorderTest, WhatWasHandedOutStaysWhole) {
  policy.recording.mebibytes = 1;
  take_over(0);
  run(500);
  const auto parts = loop.recorder().recording({});
  const std::string before = text_of(parts);
  run(900);  // all of it is let go of meanwhile
  EXPECT_EQ(text_of(parts), before);
  EXPECT_EQ(replayed(before).differing, 0U);
}

// However often it is asked: what is held stays within its bound and whole, and the answers share it.
TEST_F(RecorderTest, AskingAtEveryTickCostsNoMemoryAndNoPast) {
  policy.recording.mebibytes = 1;
  take_over(0);
  std::vector<SharedText> last;
  for (int i = 0; i < 1400; ++i) {
    run(1);
    last = loop.recorder().recording({});
    ASSERT_LE(loop.recorder().size(), policy.recording.bytes());
  }
  const auto again = loop.recorder().recording({});
  ASSERT_EQ(again.size(), last.size());
  for (std::size_t i = 1; i + 1 < last.size(); ++i)
    ASSERT_EQ(again[i], last[i]) << "the same text, not a copy";
  const Replayed result = replayed(text_of(last));
  EXPECT_EQ(result.bad, "");
  EXPECT_EQ(result.differing, 0U);
  EXPECT_GT(result.steps, 200U);
}

TEST_F(RecorderTest, TheDecisionsAreThoseOfTheEventsAndEachSiteHasItsOwn) {
  run(900);
  const DecisionLog* log = loop.decisions_of("coast");
  ASSERT_NE(log, nullptr);
  EXPECT_EQ(loop.decisions_of("moon"), nullptr);
  const auto all = log->newest(DecisionLog::kCapacity);
  ASSERT_GE(all.size(), 3U);
  EXPECT_EQ(all[0]->reason, "200.0 Mbit/s: where it started, nothing measured yet");
  std::vector<std::string> changes;
  for (std::size_t i = 1; i < all.size(); ++i) {
    EXPECT_EQ(all[i]->from, all[i - 1]->to);
    EXPECT_EQ(all[i]->state_before, all[i - 1]->state);
    EXPECT_TRUE(all[i]->from != all[i]->to || all[i]->state_before != all[i]->state);
    if (all[i]->from != all[i]->to) changes.push_back(all[i]->reason);
  }
  std::vector<std::string> told;
  for (const Event* e : events.after(0, 4096)) {
    if (e->kind == EventKind::rate_changed && e->site == "coast") {
      told.push_back(e->text.substr(e->text.find("-> ") + 3));
    }
  }
  EXPECT_EQ(changes, told);
}

RateDecision decided(std::uint64_t mbps, ControlState state, const std::string& reason) {
  RateDecision d;
  d.rate = Rate::mbps(mbps);
  d.state = state;
  d.reason = reason;
  return d;
}

TEST(DecisionLog, NotesChangesOfStateWithASentenceOfTheirOwn) {
  DecisionLog log;
  log.begin(decided(50, ControlState::hold, "50.0 Mbit/s: start"), at(0).wall);
  log.note(decided(50, ControlState::hold, "50.0 Mbit/s: start"), at(1).wall);
  EXPECT_EQ(log.newest(10).size(), 1U) << "nothing changed";
  log.note(decided(40, ControlState::verify, "40.0 Mbit/s, -20 %: lost"), at(2).wall);
  log.note(decided(40, ControlState::hold, "40.0 Mbit/s, -20 %: lost"), at(3).wall);
  log.note(decided(40, ControlState::outage, "40.0 Mbit/s held: silent"), at(4).wall);
  const auto all = log.newest(10);
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[1]->reason, "40.0 Mbit/s, -20 %: lost");
  EXPECT_EQ(all[2]->reason, "40.0 Mbit/s stands: verify is over, now hold");
  EXPECT_EQ(all[3]->reason, "40.0 Mbit/s held: silent");
  ASSERT_EQ(log.newest(1).size(), 1U);
  EXPECT_EQ(log.newest(1)[0], all[3]);
}

TEST(DecisionLog, IsBounded) {
  DecisionLog log;
  for (std::uint64_t i = 0; i < 3 * DecisionLog::kCapacity; ++i)
    log.note(decided(10 + i % 2, ControlState::probe, "why"), at(static_cast<double>(i)).wall);
  EXPECT_EQ(log.newest(100'000).size(), DecisionLog::kCapacity);
}

}  // namespace
}  // namespace weir::gateway::test
