// A run again from its recording, or from any checkpoint in it, decides the same to the last bit.
#include "estimator/control_replay.hpp"

#include <gtest/gtest.h>

#include "any_record.hpp"
#include "path_simulator.hpp"
#include "recorded_run.hpp"

namespace weir::test {
namespace {

/// Paths that between them take a controller through all of its states.
std::vector<ControlInput> inputs_of(Provider provider, std::uint32_t seed, double seconds = 60) {
  PathSetup path;
  path.provider = provider;
  path.seed = seed;
  path.capacity_mbps = [](double t) { return t < 25 ? 90.0 : 45.0; };
  path.random_loss = seed % 2 == 0 ? 0.0 : 0.01;
  path.silent = [](double t) { return t > 40 && t < 44; };
  PathSimulator sim(path, kUsualLimits, seed % 3 == 0 ? 12 : 300);
  sim.run_for(seconds);
  return sim.inputs();
}

struct Result {
  std::uint64_t steps = 0, news = 0, differing = 0, states_differ = 0;
  std::string bad;
  std::optional<std::string> cut_off;
};

Result replayed(const std::vector<std::string>& lines, std::optional<std::string> only = std::nullopt) {
  ControlReplay replay(std::move(only));
  Result result;
  for (const std::string& line : lines) {
    const ReplayOutcome outcome = replay.take(line);
    if (const auto* step = std::get_if<ReplayStep>(&outcome)) {
      ++result.steps;
      result.news += step->is_news ? 1 : 0;
      result.differing += step->same ? 0 : 1;
    } else if (std::holds_alternative<ReplayStateDiffers>(outcome)) {
      ++result.states_differ;
    } else if (const auto* bad = std::get_if<BadRecordLine>(&outcome)) {
      result.bad = bad->why;
      break;
    }
  }
  result.cut_off = replay.cut_off();
  return result;
}

TEST(ControlReplay, ARunOfTheSimulatorIsDecidedTheSameFromItsStart) {
  for (const Provider provider : {Provider::policer, Provider::buffer}) {
    const auto inputs = inputs_of(provider, 2);
    const Result result = replayed(lines_of(recorded_run(kUsualLimits, Rate::mbps(300), inputs)));
    EXPECT_EQ(result.bad, "");
    EXPECT_FALSE(result.cut_off);
    EXPECT_EQ(result.steps, inputs.size());
    EXPECT_EQ(result.differing, 0U);
    EXPECT_GT(result.news, 5U) << "a run without decisions would show nothing";
  }
}

TEST(ControlReplay, AControllerThatBeganWithAMemoryIsReplayedWithIt) {
  const auto inputs = inputs_of(Provider::policer, 3);  // loses 1 % by chance
  SiteMemory memory;
  memory.mode = PathMode::lossy;
  memory.loss_floor = {.ppm = 20'000, .age = std::chrono::minutes(4)};
  memory.capacity = {
      .rate = Rate::mbps(88), .error_ppm = 9'000, .age = std::chrono::hours(3) + std::chrono::nanoseconds(7)};
  memory.noise = std::chrono::microseconds(1234);
  const ControlStart start{Rate::mbps(12), StartedFrom::kernel, memory};
  auto lines = lines_of(recorded_run(kUsualLimits, start, inputs));
  EXPECT_EQ(replayed(lines).bad, "");
  EXPECT_EQ(replayed(lines).differing, 0U);
  // Without the floor it would have cut: the test would notice.
  const std::size_t floor = lines[1].find(",\"loss_floor\":[");
  ASSERT_NE(floor, std::string::npos) << lines[1];
  lines[1].erase(floor, lines[1].find(']', floor) + 1 - floor);
  EXPECT_EQ(replayed(lines).bad, "");
  EXPECT_GT(replayed(lines).differing, 0U);
}

TEST(ControlReplay, AndFromWhateverTickItsRecordingBegins) {
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    const auto inputs = inputs_of(seed % 2 == 0 ? Provider::buffer : Provider::policer, seed);
    for (std::size_t from = 1; from < inputs.size(); from += 61) {
      const Result result =
          replayed(lines_of(recorded_run(kUsualLimits, Rate::mbps(300), inputs, from, 100)));
      ASSERT_EQ(result.bad, "") << "from tick " << from;
      ASSERT_EQ(result.steps, inputs.size() - from);
      ASSERT_EQ(result.differing, 0U) << "from tick " << from;
      ASSERT_EQ(result.states_differ, 0U) << "from tick " << from;
    }
  }
}

// The checkpoint in every state, with whatever the controller remembers then.
TEST(ControlReplay, AStateComesBackAtEveryTick) {
  std::array<int, 5> seen{};
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    const auto inputs = inputs_of(seed % 2 == 0 ? Provider::buffer : Provider::policer, seed);
    SiteController controller(kUsualLimits, Rate::mbps(300), TimePoint());
    for (const ControlInput& input : inputs) {
      const std::string state = controller.state();
      auto copy = SiteController::from_state(state);
      ASSERT_TRUE(copy) << state;
      ASSERT_EQ(copy->state(), state);
      const RateDecision here = controller.step(input, input.measured.at);
      const RateDecision there = copy->step(input, input.measured.at);
      ASSERT_EQ(here.rate, there.rate);
      ASSERT_EQ(here.reason, there.reason);
      ASSERT_EQ(controller.state(), copy->state());
      ++seen.at(static_cast<std::size_t>(here.state));
    }
  }
  for (std::size_t state = 0; state < seen.size(); ++state)
    EXPECT_GT(seen.at(state), 0) << "never in " << to_string(static_cast<ControlState>(state));
}

TEST(ControlReplay, AnotherInputOrDecisionShows) {
  const auto inputs = inputs_of(Provider::policer, 2, 30);
  const std::string text = recorded_run(kUsualLimits, Rate::mbps(300), inputs, 0, 100);
  auto lines = lines_of(text);
  const auto first_of = [&](std::string_view what, std::size_t after) {
    for (std::size_t i = after; i < lines.size(); ++i)
      if (lines[i].find(what) != std::string::npos) return i;
    return lines.size();
  };
  // One more lost segment, in a cohort that matters.
  const std::size_t lossy = first_of("\"beyond\":", 0);
  ASSERT_LT(lossy, lines.size());
  auto changed = lines;
  changed[lossy].insert(changed[lossy].find("\"beyond\":") + 9, "1");
  EXPECT_GT(replayed(changed).states_differ, 0U) << "seen at the next checkpoint at the latest";
  // Another rate decided.
  changed = lines;
  changed[50].insert(changed[50].find("\"decided\":[") + 11, "1");
  EXPECT_EQ(replayed(changed).differing, 1U);
  // A tick that is missing: the steps no longer follow one another, and the count of lines tells.
  changed = lines;
  changed.erase(changed.begin() + 50);
  EXPECT_NE(replayed(changed).bad.find("lines should stand before it"), std::string::npos);
}

TEST(ControlReplay, ABadRecordingIsToldWhereItIsBad) {
  const auto inputs = inputs_of(Provider::policer, 2, 12);
  const auto lines = lines_of(recorded_run(kUsualLimits, Rate::mbps(300), inputs, 0, 50));
  EXPECT_TRUE(replayed({}).cut_off);
  auto cut = lines;
  cut.pop_back();
  EXPECT_EQ(replayed(cut).bad, "");
  EXPECT_TRUE(replayed(cut).cut_off);
  cut.back().resize(cut.back().size() / 2);
  EXPECT_EQ(replayed(cut).bad, "it is not JSON");
  auto headless = lines;
  headless.erase(headless.begin());
  EXPECT_NE(replayed(headless).bad.find("weir_recording"), std::string::npos);
  auto siteless = lines;
  siteless.erase(siteless.begin() + 1);
  EXPECT_NE(replayed(siteless).bad.find("no site"), std::string::npos);
  auto backwards = lines;
  std::swap(backwards[10], backwards[11]);
  EXPECT_NE(replayed(backwards).bad.find("time"), std::string::npos);
  auto more = lines;
  more.push_back(lines[5]);
  EXPECT_NE(replayed(more).bad.find("closing line"), std::string::npos);
  auto twice = lines;
  twice.insert(twice.begin() + 3,
               R"({"site":"hills","start":{"now":0,"floor":1,"ceiling":2,"adapt":true,"rate":1}})");
  twice.insert(twice.begin() + 4, lines[1]);
  EXPECT_NE(replayed(twice).bad.find("'coast' stands there already"), std::string::npos);
  auto version = lines;
  std::size_t checkpoint = 0;
  while (version[checkpoint].find("\"state\":\"") == std::string::npos) ++checkpoint;
  version[checkpoint].replace(version[checkpoint].find("\"state\":\"") + 9, 2, "99 ");
  EXPECT_NE(replayed(version).bad.find("another version"), std::string::npos);
}

TEST(ControlReplay, OneSiteOfSeveral) {
  const auto inputs = inputs_of(Provider::policer, 2, 12);
  auto lines = lines_of(recorded_run(kUsualLimits, Rate::mbps(300), inputs));
  const auto other = lines_of(recorded_run(kUsualLimits, Rate::mbps(200), inputs));
  lines.pop_back();
  lines.push_back(
      R"({"site":"hills","start":{"now":0,"floor":10000000,"ceiling":500000000,"adapt":true,"rate":200000000}})");
  lines.insert(lines.end(), other.begin() + 2, other.end() - 1);
  lines.push_back(R"({"end":)" + std::to_string(lines.size()) + "}");
  const Result both = replayed(lines);
  EXPECT_EQ(both.bad, "");
  EXPECT_EQ(both.steps, 2 * inputs.size());
  EXPECT_EQ(both.differing, 0U);
  const Result one = replayed(lines, "hills");
  EXPECT_EQ(one.steps, inputs.size());
  EXPECT_EQ(one.differing, 0U);
  EXPECT_EQ(replayed(lines, "moon").steps, 0U);
}

TEST(ControlReplay, LimitsThatChangeAreReplayed) {
  const auto inputs = inputs_of(Provider::policer, 2, 20);
  SiteController controller(kUsualLimits, Rate::mbps(300), TimePoint());
  std::string text;
  append_line(text, RecordingHeader{});
  append_line(
      text,
      RecordedStart{.site = "coast", .now = TimePoint(), .limits = kUsualLimits, .start = Rate::mbps(300)});
  const auto write_decision = [](const RateDecision& d) {
    return RecordedDecision{.rate = d.rate, .state = d.state, .mode = d.mode, .reason = d.reason};
  };
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const TimePoint now = inputs[i].measured.at;
    if (i == 100) {
      const ControlLimits lower{.floor = Rate::mbps(5), .ceiling = Rate::mbps(30), .adapt = true};
      controller.set_limits(lower, now);
      append_line(text, RecordedLimits{
                            .now = now, .limits = lower, .decided = write_decision(controller.decision())});
    }
    const RateDecision& d = controller.step(inputs[i], now);
    append_tick_line(text, now, inputs[i], d, d.reason);
  }
  const Result result = replayed(lines_of(text));
  EXPECT_EQ(result.bad, "");
  EXPECT_EQ(result.steps, inputs.size() + 1);
  EXPECT_EQ(result.differing, 0U);
  // Without the change the decisions are others: the test would notice.
  auto lines = lines_of(text);
  std::erase_if(lines, [](const std::string& line) { return line.starts_with("{\"limits\""); });
  EXPECT_GT(replayed(lines).differing, 0U);
}

// Whatever a line may say, the controller is given: the sanitizers watch its arithmetic.
TEST(ControlReplay, ExtremesDoNoHarm) {
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    Any any(seed);
    ControlReplay replay;
    std::string text;
    append_line(text, RecordingHeader{});
    TimePoint now = any.time();
    append_line(text, RecordedStart{.site = "a", .now = now, .limits = any.limits(), .start = any.start()});
    for (int i = 0; i < 100 && control::in_range(now); ++i) {
      ControlInput input = any.input();
      for (Cohort& c : input.measured.mature)
        if (!any.one_in(4)) c.begin = now - Duration(any.up_to<std::int64_t>(15'000'000'000));
      if (!any.one_in(4)) {
        input.measured.at = now;
        input.measured.interval = control::kLeastTick + Duration(any.up_to<std::int64_t>(200'000'000));
      }
      append_tick_line(text, now, input, {}, "");
      now += any.one_in(8) ? Duration(any.up_to(control::kMostDuration.count()))
                           : Duration(any.up_to<std::int64_t>(200'000'000));
    }
    std::uint64_t steps = 0;
    for (const std::string& line : lines_of(text)) {
      const ReplayOutcome outcome = replay.take(line);
      ASSERT_FALSE(std::holds_alternative<BadRecordLine>(outcome)) << std::get<BadRecordLine>(outcome).why;
      if (const auto* step = std::get_if<ReplayStep>(&outcome)) {
        ++steps;
        EXPECT_FALSE(step->decided->reason.empty());
      }
    }
    EXPECT_GT(steps, 0U);
  }
}

TEST(ControllerState, DamagedTextIsRefusedOrHarmless) {
  const auto inputs = inputs_of(Provider::policer, 1, 20);
  SiteController controller(kUsualLimits, Rate::mbps(300), TimePoint());
  for (const ControlInput& input : inputs) static_cast<void>(controller.step(input, input.measured.at));
  const std::string state = controller.state();
  EXPECT_FALSE(SiteController::from_state(""));
  EXPECT_FALSE(SiteController::from_state(state + "1 "));
  for (std::size_t size = 0; size < state.size(); size += 31)
    EXPECT_FALSE(SiteController::from_state(std::string_view(state).substr(0, size)));
  for (std::size_t i = 0; i < state.size(); i += 13) {
    for (const char c : {'9', ' ', '-', 'e'}) {
      std::string damaged = state;
      damaged[i] = c;
      auto made = SiteController::from_state(damaged);
      // What is taken is worked with.
      if (made) static_cast<void>(made->step(inputs.back(), inputs.back().measured.at));
    }
  }
}

}  // namespace
}  // namespace weir::test
