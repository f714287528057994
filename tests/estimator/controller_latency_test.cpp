// Latency goals of a site's classes: what they leave to the provider's queue, and what a probe may take of
// it.
#include <algorithm>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "estimator/control_constants.hpp"
#include "estimator/control_replay.hpp"

#include "path_simulator.hpp"
#include "recorded_run.hpp"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

/// A long path: what ends a probe there, 4 % of its base, is 16 ms of queue.
PathSetup long_path() {
  PathSetup path;
  path.capacity_mbps = [](double) { return 45.0; };
  path.rtt_s = 0.4;
  path.buffer_s = 0.4;
  path.flows = 30;
  return path;
}

/// The most of the provider's queue while probes were under way, and for the RTT behind each, in which what
/// they sent arrives.
double most_queue_of_probes(const PathSimulator& sim, double from, double rtt) {
  double most = 0;
  double until = -1;
  for (const TraceTick& t : sim.trace()) {
    if (t.at < from) continue;
    if (t.state == ControlState::probe) until = t.at + rtt;
    if (t.at <= until) most = std::max(most, t.queue_ms);
  }
  return most;
}

int probes(const PathSimulator& sim, double from, double to) {
  int begun = 0;
  for (std::size_t i = 1; i < sim.trace().size(); ++i) {
    const TraceTick& t = sim.trace()[i];
    begun += t.at >= from && t.at < to && t.state == ControlState::probe &&
                     sim.trace()[i - 1].state != ControlState::probe
                 ? 1
                 : 0;
  }
  return begun;
}

/// Ticks of 100 ms at one's command: a site that sends all that it is let, over a path that shows `q`.
struct Hand {
  SiteController controller{kUsualLimits, Rate::mbps(100), at(0)};
  double now = 0;
  std::vector<ControlInput> inputs;

  const RateDecision& tick(Duration q, std::optional<Duration> room, Duration base = 400ms) {
    now += 0.1;
    ControlInput input;
    SiteMeasurement& m = input.measured;
    m.at = at(now);
    m.interval = 100ms;
    input.sent = controller.decision().rate;
    input.backlogged = true;
    input.latency_room = room;
    m.sent = m.sent_tcp = m.delivered_bytes.emplace(input.sent.in(m.interval));
    m.mature.push_back({.begin = at(now - 0.1), .segments = 700, .sent = m.sent, .slots = {}});
    m.rtt = RttSummary{.base = base};
    m.queue = QueueDelay{.q = q, .samples = 50, .flows = 5, .sent_from = m.at - 40ms, .sent_to = m.at - 20ms};
    inputs.push_back(input);
    return controller.step(input, m.at);
  }
  /// Until a probe begins; false: none within `seconds`.
  /// `q` comes and goes by a millisecond.
  bool probes_within(double seconds, Duration q, std::optional<Duration> room) {
    bool more = false;
    for (const double end = now + seconds; now < end; more = !more) {
      if (tick(q + (more ? 1ms : 0ms), room).state == ControlState::probe) return true;
    }
    return false;
  }
};

TEST(ControllerLatency, AProbeEndsAtTheGoalAndNotAtItsShareOfALongBase) {
  PathSetup path = long_path();
  PathSimulator without(path, kUsualLimits, 40);
  without.run_for(180);
  path.latency_room_s = [](double) { return 0.006; };
  PathSimulator with(path, kUsualLimits, 40);
  with.run_for(180);
  ASSERT_GE(probes(without, 40, 180), 5);
  ASSERT_GE(probes(with, 40, 180), 3);
  // What is seen is old by an RTT: by then a step of 4 % has added 16 ms.
  EXPECT_LT(with.queue_ms_percentile(40, 180, 0.95), 0.7 * without.queue_ms_percentile(40, 180, 0.95));
  EXPECT_LE(most_queue_of_probes(with, 40, 0.4), most_queue_of_probes(without, 40, 0.4));
  EXPECT_GE(with.utilisation(40, 180), 0.93) << "never a cut for latency alone";
}

TEST(ControllerLatency, AProbeThatReachesTheRoomEndsThereAndTheNextOneWaits) {
  Hand hand;
  ASSERT_TRUE(hand.probes_within(5, 0ms, 8ms));
  while (hand.controller.decision().state == ControlState::probe) {
    ASSERT_LT(hand.now, 10);
    static_cast<void>(hand.tick(10ms, 8ms));
  }
  EXPECT_EQ(hand.controller.decision().state, ControlState::drain);
  EXPECT_NE(hand.controller.decision().reason.find("a latency goal leaves 8 ms"), std::string::npos)
      << hand.controller.decision().reason;
  while (hand.controller.decision().state != ControlState::hold) {
    ASSERT_LT(hand.now, 15);
    static_cast<void>(hand.tick(0ms, 8ms));
  }
  EXPECT_FALSE(hand.probes_within(6, 0ms, 8ms)) << "8 s less the jitter";
  EXPECT_TRUE(hand.probes_within(5, 0ms, 8ms));
}

TEST(ControllerLatency, TheSameQueueWithoutAGoalEndsNoProbe) {
  Hand hand;
  ASSERT_TRUE(hand.probes_within(5, 0ms, std::nullopt));
  for (int i = 0; i < 15; ++i)
    EXPECT_EQ(hand.tick(10ms, std::nullopt).state, ControlState::probe) << hand.controller.decision().reason;
}

TEST(ControllerLatency, NoProbeBeginsWhileTheProvidersQueueMissesTheGoal) {
  Hand hand;
  EXPECT_FALSE(hand.probes_within(30, 20ms, 12ms)) << hand.controller.decision().reason;
  EXPECT_TRUE(hand.controller.decision().probes_held);
  EXPECT_EQ(hand.controller.decision().rate, Rate::mbps(100)) << "never a cut for latency alone";
  EXPECT_TRUE(hand.probes_within(1, 5ms, 12ms)) << "within the goal again";
  EXPECT_FALSE(hand.controller.decision().probes_held);
  Hand free;
  EXPECT_TRUE(free.probes_within(5, 20ms, std::nullopt)) << "the queue is no reason by itself";
  EXPECT_FALSE(free.controller.decision().probes_held);
}

// Its own queue is relieved by more rate. What is left to the provider's then is half of the goal.
TEST(ControllerLatency, AClassThatItsOwnSiteStarvesStopsNoProbe) {
  Hand hand;
  EXPECT_TRUE(hand.probes_within(5, 3ms, 10ms));
  for (int i = 0; i < 60 && hand.controller.decision().rate <= Rate::mbps(104); ++i)
    static_cast<void>(hand.tick(3ms, 10ms));
  EXPECT_GT(hand.controller.decision().rate, Rate::mbps(104)) << "clean rounds follow one another";
}

// Whatever a path always shows, only a probe can tell whether it is ours.
TEST(ControllerLatency, AGoalBelowTheNoiseNeverBlocksProbingForGood) {
  for (const bool steady : {true, false}) {
    Hand hand;
    int i = 0;
    double last = 0;
    double longest = 0;
    bool probing = false;
    while (hand.controller.decision().rate < kUsualLimits.ceiling) {
      ASSERT_LT(hand.now, 400) << "steady: " << steady;
      const Duration q = steady ? 6ms : Duration(3ms) * (1 + i++ % 3);
      const RateDecision& d = hand.tick(q, 2ms);
      if (d.state == ControlState::probe && !probing) {
        longest = std::max(longest, hand.now - last);
        last = hand.now;
      }
      probing = d.state == ControlState::probe;
    }
    EXPECT_LE(longest, seconds(control::kLatencyPatience) + 1) << "steady: " << steady;
    EXPECT_EQ(longest > 30, steady) << "what swings is told from what stands";
  }
}

TEST(ControllerLatency, AProbeThatWasTriedAllTheSameIsOneAMinute) {
  Hand hand;
  ASSERT_FALSE(hand.probes_within(59, 20ms, 12ms));
  ASSERT_TRUE(hand.probes_within(3, 20ms, 12ms));
  const double first = hand.now;
  while (hand.controller.decision().state == ControlState::probe) static_cast<void>(hand.tick(30ms, 12ms));
  while (hand.controller.decision().state != ControlState::hold) {
    ASSERT_LT(hand.now, first + 20);
    static_cast<void>(hand.tick(20ms, 12ms));
  }
  EXPECT_FALSE(hand.probes_within(first + 59 - hand.now, 20ms, 12ms)) << hand.now - first;
}

// Drains are what shortens the queue.
TEST(ControllerLatency, DrainsGoOnWhileProbesAreHeld) {
  Hand hand;
  bool drained = false;
  for (int i = 0; i < 20 && !drained; ++i) drained = hand.tick(60ms, 12ms).state == ControlState::drain;
  EXPECT_TRUE(drained);
}

TEST(ControllerLatency, AGoalThatIsNeverReachedChangesNothing) {
  PathSetup path = long_path();
  path.capacity_mbps = [](double t) { return t < 60 ? 45.0 : 90.0; };
  PathSimulator without(path, kUsualLimits, 40);
  without.run_for(120);
  path.latency_room_s = [](double) { return 10.0; };
  PathSimulator with(path, kUsualLimits, 40);
  with.run_for(120);
  ASSERT_EQ(with.trace().size(), without.trace().size());
  for (std::size_t i = 0; i < with.trace().size(); ++i)
    ASSERT_EQ(with.trace()[i].shaped_mbps, without.trace()[i].shaped_mbps) << "at " << with.trace()[i].at;
}

// A checkpoint of a program from before there were goals is one of a site without a goal.
TEST(ControllerLatency, WithoutAMissedGoalTheMemoryIsAsEver) {
  Hand with;
  Hand without;
  for (int i = 0; i < 3; ++i) {
    static_cast<void>(with.tick(20ms, 12ms));
    static_cast<void>(without.tick(20ms, std::nullopt));
  }
  ASSERT_TRUE(with.controller.decision().probes_held);
  const std::string held = with.controller.state();
  EXPECT_EQ(held, without.controller.state() + "4 late 100000000 ") << "since the end of the first tick";
  const auto back = SiteController::from_state(held);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->state(), held);
  EXPECT_FALSE(SiteController::from_state(held + "1 "));
  EXPECT_FALSE(SiteController::from_state(without.controller.state() + "4 last 100000000 "));
  EXPECT_FALSE(SiteController::from_state(held.substr(0, held.size() - 1)));
  static_cast<void>(with.tick(5ms, 12ms));
  static_cast<void>(without.tick(5ms, std::nullopt));
  EXPECT_EQ(with.controller.state(), without.controller.state()) << "within the goal again";
}

TEST(ControllerLatency, ARecordingWithAGoalReplaysToTheSameFromAnyCheckpoint) {
  PathSetup path = long_path();
  path.latency_room_s = [](double t) { return t < 30 ? std::optional(0.006) : std::nullopt; };
  path.foreign_queue_s = [](double t) { return t > 12 && t < 25 ? 0.02 : 0.0; };
  PathSimulator sim(path, kUsualLimits, 40);
  sim.run_for(50);
  for (const std::size_t from : {0U, 137U, 180U, 260U, 330U}) {
    const std::string text = recorded_run(kUsualLimits, Rate::mbps(40), sim.inputs(), from, 50);
    EXPECT_EQ(text.find("latency_room") != std::string::npos, from < 300) << "left out where there is none";
    ControlReplay replay;
    std::uint64_t held = 0;
    for (const std::string& line : lines_of(text)) {
      const ReplayOutcome outcome = replay.take(line);
      ASSERT_FALSE(std::holds_alternative<BadRecordLine>(outcome)) << line;
      ASSERT_FALSE(std::holds_alternative<ReplayStateDiffers>(outcome)) << "from " << from;
      if (const auto* step = std::get_if<ReplayStep>(&outcome)) {
        ASSERT_TRUE(step->same) << "from " << from << ": " << step->decided->reason;
        held += step->decided->probes_held ? 1 : 0;
      }
    }
    EXPECT_FALSE(replay.cut_off());
    EXPECT_EQ(held > 0, from < 300) << "from " << from;
  }
}

}  // namespace
}  // namespace weir::test
