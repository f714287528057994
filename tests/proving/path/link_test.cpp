// One bottleneck, packet by packet: what gets through a policer, when a buffer lets go, what RED, CoDel and
// Gilbert's chain drop; expected figures come from arithmetic or from the papers, never from the link itself.
#include "proving/path/link.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace weir::proving {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kFull = 1514;

TimePoint at(Duration d) {
  return TimePoint(d);
}

Link link_of(Schedule capacity, decltype(LinkSettings::limit) limit, RandomLoss loss = {},
             std::uint64_t seed = 1) {
  return Link({.capacity = std::move(capacity), .limit = limit, .loss = std::move(loss)}, seed);
}

/// Every departure until `end`, asked for at the very times that the link names.
std::vector<Outcome> drain(Link& link, TimePoint from, TimePoint end) {
  std::vector<Outcome> out;
  for (auto next = link.next(from); next && *next <= end; next = link.next(*next)) link.advance(*next, out);
  return out;
}

/// Offered `mean` bits a second in packets of random sizes at random times.
double passed_bits(Link& link, TimePoint end, double mean,
                   const std::function<void(TimePoint, double)>& each = {}) {
  std::mt19937 random(7);
  std::uniform_int_distribution<std::uint32_t> size(64, kFull);
  std::exponential_distribution<double> gap(mean / (8.0 * (64 + kFull) / 2));
  double bits = 0.0;
  for (TimePoint now; now < end; now += from_seconds(gap(random))) {
    const Item item{.bytes = size(random)};
    const auto outcome = link.offer(item, now);
    if (outcome->fate == Fate::forwarded) bits += 8.0 * item.bytes;
    if (each) each(now, bits);
  }
  return bits;
}

// ---- policer ----

TEST(Policer, PassesRateTimesTimeAndTheBucketWhateverTheSchedule) {
  constexpr Bytes kBucket(20'000);
  struct Case {
    Schedule capacity;
    double bits;  // the area under it in two seconds
  };
  for (const auto& [capacity, bits] :
       {Case{Schedule(40e6), 80e6}, Case{Schedule({{0s, 40e6}, {500ms, 0.0}, {1500ms, 10e6}}), 25e6},
        Case{Schedule(Schedule::Sine{40e6, 0.5, 1s}), 80e6}}) {
    Link link = link_of(capacity, Policer{kBucket});
    const double all = bits + kBucket.bits();
    const double passed = passed_bits(link, at(2s), 150e6);
    EXPECT_LE(passed, all);
    EXPECT_GT(passed, all - 2 * 8 * kFull)
        << "a bucket that is asked all the time has no more than a packet left";
  }
}

TEST(Policer, NeverPassesMoreThanTheScheduleGivesInAnyStretch) {
  const Schedule capacity({{0s, 40e6}, {300ms, 5e6}, {700ms, 40e6}});
  constexpr Bytes kBucket(10'000);
  Link link = link_of(capacity, Policer{kBucket});
  std::vector<std::pair<double, double>> seen{
      {0.0, 0.0}};  // the schedule's bits and the passed bits until then
  passed_bits(link, at(1s), 60e6,
              [&](TimePoint now, double bits) { seen.emplace_back(capacity.over(at(0s), now), bits); });
  double least = 0.0;  // of what passed less what was given, so far: a stretch begins there
  double most = 0.0;
  for (const auto& [given, passed] : seen) {
    least = std::min(least, passed - given);
    most = std::max(most, passed - given - least);
  }
  EXPECT_LE(most, kBucket.bits() + 8 * kFull);
}

TEST(Policer, RareCallsRefillThroughTheStepsBetweenThem) {
  Link link = link_of(Schedule({{0s, 8e6}, {1s, 80e3}, {2s, 800e3}}), Policer{Bytes(10'000'000)});
  // Empties it: ten million bytes at once.
  std::uint64_t passed = 0;
  for (int i = 0; i < 10'000; ++i) passed += link.offer({.bytes = 1000}, at(0s))->fate == Fate::forwarded;
  EXPECT_EQ(passed, 10'000U);
  // Half a second at 8 Mbit/s, one at 80 kbit/s, half a one at 800 kbit/s: what came in is 510 and 50 kB
  // more.
  EXPECT_EQ(link.offer({.bytes = 1000}, at(500ms))->fate, Fate::forwarded);
  passed = 1;
  for (int i = 0; i < 2000; ++i) passed += link.offer({.bytes = 1000}, at(2500ms))->fate == Fate::forwarded;
  EXPECT_EQ(passed, 1000U + 10U + 50U);
}

TEST(Policer, ABucketByTimeFollowsTheCapacity) {
  Link link = link_of(Schedule({{0s, 80e6}, {1s, 8e6}}), Policer{Duration(10ms)});
  const auto burst = [&](TimePoint now) {
    int passed = 0;
    while (link.offer({.bytes = 1000}, now)->fate == Fate::forwarded) ++passed;
    return passed;
  };
  EXPECT_EQ(burst(at(500ms)), 100);
  EXPECT_EQ(burst(at(3s)), 10);
}

TEST(Policer, ABucketByTimeOverflowsAtTheLowCapacityThatWasMeanwhile) {
  Link link = link_of(Schedule({{0s, 80e6}, {1s, 8e6}, {2s, 80e6}}), Policer{Duration(10ms)});
  EXPECT_EQ(link.offer({.bytes = 1000}, at(0s))->fate, Fate::forwarded);
  // 10 kB at 2 s, and a millisecond at 80 Mbit/s.
  int passed = 0;
  while (link.offer({.bytes = 1000}, at(2001ms))->fate == Fate::forwarded) ++passed;
  EXPECT_EQ(passed, 20);
}

TEST(Policer, ABucketHoldsAFullPacket) {
  Link link = link_of(Schedule(1e6), Policer{Duration(1ms)});
  EXPECT_EQ(link.offer({.bytes = kFull}, at(0s))->fate, Fate::forwarded);
  EXPECT_EQ(link.offer({.bytes = 64}, at(0s))->fate, Fate::over_limit);
}

// ---- buffer ----

/// When `bits` have been served by 10 Mbit/s until 0.1 s, nothing until 0.5 s, 20 Mbit/s from there.
double served_at(double bits) {
  return bits <= 1e6 ? bits / 10e6 : 0.5 + (bits - 1e6) / 20e6;
}
Schedule stopping() {
  return Schedule({{0s, 10e6}, {100ms, 0.0}, {500ms, 20e6}});
}

TEST(Buffer, DrainsAtTheCapacityThroughStepsAndAStandstill) {
  Link link = link_of(stopping(), Buffer{.depth = Bytes(10'000'000), .aqm = DropTail{}});
  std::vector<std::uint32_t> sizes;
  for (std::uint32_t i = 0; i < 300; ++i) {
    sizes.push_back(64 + i * 41 % (kFull - 63));
    EXPECT_FALSE(link.offer({.token = i, .bytes = sizes.back()}, at(0s)));
  }
  const auto out = drain(link, at(0s), at(10s));
  ASSERT_EQ(out.size(), sizes.size());
  double bits = 0.0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    bits += 8.0 * sizes[i];
    EXPECT_EQ(out[i].item.token, i);
    EXPECT_NEAR(seconds(out[i].at.time_since_epoch()), served_at(bits), 2e-9);
  }
  EXPECT_FALSE(link.next(at(10s)));
}

TEST(Buffer, IsTheSameHoweverLateItIsAsked) {
  Link prompt = link_of(stopping(), Buffer{.depth = Bytes(1'000'000), .aqm = DropTail{}});
  Link late = link_of(stopping(), Buffer{.depth = Bytes(1'000'000), .aqm = DropTail{}});
  for (std::uint64_t i = 0; i < 500; ++i) {
    EXPECT_FALSE(prompt.offer({.token = i, .bytes = kFull}, at(0s)));
    EXPECT_FALSE(late.offer({.token = i, .bytes = kFull}, at(0s)));
  }
  std::vector<Outcome> at_once;
  for (const Duration t : {70ms, 71ms, 300ms, 450ms, 9000ms}) late.advance(at(t), at_once);
  const auto one_by_one = drain(prompt, at(0s), at(9s));
  ASSERT_EQ(one_by_one.size(), at_once.size());
  for (std::size_t i = 0; i < at_once.size(); ++i) EXPECT_EQ(one_by_one[i].at, at_once[i].at);
}

TEST(Buffer, FollowsASine) {
  const Schedule::Sine sine{20e6, 0.5, 200ms};
  Link link = link_of(Schedule(sine), Buffer{.depth = Bytes(10'000'000), .aqm = DropTail{}});
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(link.offer({.bytes = 1000}, at(0s)));
  // 20 Mbit/s for a whole number of periods: 500 kB each.
  EXPECT_EQ(drain(link, at(0s), at(200ms + 1us)).size(), 500U);
  EXPECT_EQ(drain(link, at(200ms), at(400ms + 1us)).size(), 500U);
}

TEST(Buffer, TellsTheWaitOfWhatComesNow) {
  Link link = link_of(stopping(), Buffer{.depth = Bytes(1'000'000), .aqm = DropTail{}});
  EXPECT_EQ(link.queue(at(0s)), 0ns);
  for (int i = 0; i < 150; ++i) EXPECT_FALSE(link.offer({.bytes = 1000}, at(0s)));
  // 1.2 Mbit: 1 in the first 0.1 s, 0.2 at 20 Mbit/s from 0.5 s on.
  EXPECT_NEAR(milliseconds(link.queue(at(0s))), 510.0, 1e-3);
  std::vector<Outcome> out;
  link.advance(at(50ms), out);
  EXPECT_NEAR(milliseconds(link.queue(at(50ms))), 460.0, 1e-3);
}

TEST(Buffer, DropsWhatDoesNotFit) {
  Link link = link_of(Schedule(10e6), Buffer{.depth = Bytes(10'000), .aqm = DropTail{}});
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(link.offer({.bytes = 1000}, at(0s)));
  EXPECT_EQ(link.offer({.bytes = 64}, at(0s))->fate, Fate::over_limit);
  EXPECT_EQ(drain(link, at(0s), at(801us)).size(), 1U);
  EXPECT_FALSE(link.offer({.bytes = 1000}, at(801us)));
  EXPECT_EQ(link.offer({.bytes = 64}, at(801us))->fate, Fate::over_limit);
}

TEST(Buffer, ByTimeHoldsSoLongAQueueAndAtLeastOnePacket) {
  Link link = link_of(Schedule({{0s, 80e6}, {1s, 8e6}, {2s, 80e3}}),
                      Buffer{.depth = Duration(100ms), .aqm = DropTail{}});
  const auto room = [&](TimePoint now) {
    int n = 0;
    while (!link.offer({.bytes = 1000}, now)) ++n;
    return n;
  };
  EXPECT_EQ(room(at(0s)), 1000);
  EXPECT_NEAR(milliseconds(link.queue(at(0s))), 100.0, 1e-3);
  drain(link, at(0s), at(1s));
  EXPECT_EQ(room(at(1s)), 100);
  drain(link, at(1s), at(2s));
  EXPECT_EQ(room(at(2s)), 1);
}

// ---- RED ----

/// A queue that stands: whatever leaves or is refused is replaced at once. How many were offered from one
/// refusal to the next.
std::vector<int> gaps_at_standing_queue(Link& link, int waiting, int offers) {
  for (int i = 0; i < waiting; ++i) EXPECT_FALSE(link.offer({.bytes = 1000}, at(0s)));
  std::vector<int> gaps;
  int gap = 0;
  std::vector<Outcome> out;
  TimePoint now;
  for (int i = 0; i < offers; ++i) {
    if (link.queue(now) < waiting * 799us) {
      ++gap;
      if (link.offer({.bytes = 1000}, now)) gaps.push_back(std::exchange(gap, 0));
    } else {
      now = *link.next(now);
      link.advance(now, out);
    }
  }
  return gaps;
}

TEST(RedQueue, BelowTheLowerThresholdNothingIsDropped) {
  // 40 packets of 0.8 ms: 32 ms.
  Link link = link_of(Schedule(10e6), Buffer{.depth = Bytes(1'000'000), .aqm = Red{33ms, 99ms}});
  EXPECT_TRUE(gaps_at_standing_queue(link, 40, 50'000).empty());
}

TEST(RedQueue, DropsComeEvenlySpacedAsInThePaper) {
  // Floyd and Jacobson 1993, section 7: with a constant p the gaps are uniform; by the way its pseudo-code
  // counts on 1..1/p - 1, 1 / 2p on average. A queue in the middle between the thresholds: p = 0.05.
  Link link = link_of(Schedule(10e6), Buffer{.depth = Bytes(10'000'000), .aqm = Red{40ms, 120ms}}, {}, 3);
  std::vector<int> gaps = gaps_at_standing_queue(link, 100, 200'000);
  ASSERT_GT(gaps.size(), 2000U);
  gaps.erase(gaps.begin(), gaps.begin() + 500);  // until the average has come to the queue
  EXPECT_NEAR(std::accumulate(gaps.begin(), gaps.end(), 0.0) / static_cast<double>(gaps.size()), 10.0, 0.5);
  EXPECT_LE(*std::max_element(gaps.begin(), gaps.end()), 20);
}

TEST(RedQueue, TheGentleVariantDropsAllFromTwiceTheUpperThresholdOn) {
  Link link = link_of(Schedule(10e6), Buffer{.depth = Bytes(10'000'000), .aqm = Red{6ms, 18ms}});
  int refused = 0;
  double queue = 0.0;
  TimePoint now;
  std::vector<Outcome> out;
  constexpr int kOffers = 40'000;
  for (int i = 0; i < kOffers; ++i) {
    now += 400us;  // twice the capacity
    link.advance(now, out);
    refused += link.offer({.bytes = 1000}, now).has_value();
    if (i >= kOffers / 2) queue += milliseconds(link.queue(now)) / (kOffers / 2);
  }
  // Half must go: a gap of 2 on average, uniform on 1..3, is a p of a quarter, and 0.1 + 0.9 (q - 18) / 18
  // comes to that at 21.
  EXPECT_NEAR(refused, kOffers / 2, 300);
  EXPECT_NEAR(queue, 21.0, 1.0);
}

TEST(RedQueue, TheAverageFallsWhileTheQueueIsEmpty) {
  Link link = link_of(Schedule(10e6), Buffer{.depth = Bytes(10'000'000), .aqm = Red{40ms, 120ms}});
  EXPECT_FALSE(gaps_at_standing_queue(link, 100, 50'000).empty());
  std::vector<Outcome> out;
  link.advance(at(60s), out);
  // A second is 826 full packets' times: the average of 80 ms is 0.998^826 of itself, 15 ms, and below the
  // threshold.
  int refused = 0;
  for (int i = 0; i < 100; ++i) refused += link.offer({.bytes = 1000}, at(61s)).has_value();
  EXPECT_EQ(refused, 0);
}

// ---- CoDel (RFC 8289) ----

Buffer codel(bool ecn = false) {
  return {.depth = Bytes(100'000'000), .aqm = CoDel{}, .ecn = ecn};
}

/// Twice the capacity of 10 Mbit/s for two seconds.
std::vector<Outcome> overloaded(Link& link, bool ecn_capable = false) {
  std::vector<Outcome> out;
  for (TimePoint now; now < at(2s); now += 400us) {
    link.advance(now, out);
    EXPECT_FALSE(link.offer({.bytes = 1000, .ecn_capable = ecn_capable}, now));
  }
  return out;
}

std::vector<Duration> times_of(const std::vector<Outcome>& out, Fate fate) {
  std::vector<Duration> times;
  for (const Outcome& o : out) {
    if (o.fate == fate) times.push_back(o.at.time_since_epoch());
  }
  return times;
}

TEST(CoDelQueue, DropsAfterAnIntervalAboveTheTargetAndThenEverSooner) {
  Link link = link_of(Schedule(10e6), codel());
  const auto dropped = times_of(overloaded(link), Fate::over_limit);
  ASSERT_GE(dropped.size(), 10U);
  // The sojourn time grows by half of what passes: it is at the target of 5 ms after 10 ms.
  EXPECT_NEAR(milliseconds(dropped[0]), 110.0, 1.7);
  double due = milliseconds(dropped[0]);
  for (std::size_t n = 1; n < 10; ++n) {
    due += 100.0 / std::sqrt(static_cast<double>(n));  // section 5.4: interval / sqrt(count)
    EXPECT_GE(milliseconds(dropped[n]), due - 1e-3) << n;
    EXPECT_LE(milliseconds(dropped[n]), due + 0.81) << n;
  }
}

TEST(CoDelQueue, LeavesAShortQueueAlone) {
  Link link = link_of(Schedule(10e6), codel());
  std::vector<Outcome> out;
  for (TimePoint now; now < at(5s); now += 4ms) {
    link.advance(now, out);
    for (int i = 0; i < 5; ++i) EXPECT_FALSE(link.offer({.bytes = 1000}, now));  // 4 ms of queue
  }
  EXPECT_TRUE(times_of(out, Fate::over_limit).empty());
}

TEST(CoDelQueue, NeverDropsTheLastPacket) {
  // 100 kbit/s: a packet takes 120 ms by itself. Whenever one goes into service, no more than one waits
  // behind it.
  Link link = link_of(Schedule(100e3), codel());
  std::vector<Outcome> out;
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(link.offer({.bytes = kFull}, at(0s)));
  for (TimePoint now; now < at(20s); now = *link.next(now)) {
    link.advance(now, out);
    EXPECT_FALSE(link.offer({.bytes = kFull}, now));
  }
  EXPECT_TRUE(times_of(out, Fate::over_limit).empty());
}

TEST(CoDelQueue, AnEmptyQueueEndsWhatWasMeasured) {
  Link link = link_of(Schedule(1e6), codel());
  std::vector<Outcome> out;
  // 80 ms, all but the first packet above the target: no interval, however often it comes.
  for (TimePoint now; now < at(50s); now += 10s) {
    link.advance(now, out);
    for (int i = 0; i < 10; ++i) EXPECT_FALSE(link.offer({.bytes = 1000}, now));
  }
  link.advance(at(60s), out);
  EXPECT_TRUE(times_of(out, Fate::over_limit).empty());
}

TEST(CoDelQueue, MarksWhatCanBeMarked) {
  Link dropping = link_of(Schedule(10e6), codel(true));
  EXPECT_TRUE(times_of(overloaded(dropping, false), Fate::marked).empty());
  Link marking = link_of(Schedule(10e6), codel(true));
  const auto out = overloaded(marking, true);
  EXPECT_TRUE(times_of(out, Fate::over_limit).empty());
  EXPECT_GE(times_of(out, Fate::marked).size(), 10U);
  EXPECT_NEAR(static_cast<double>(times_of(out, Fate::forwarded).size()), 2500.0, 2.0)
      << "a mark costs nothing";
}

// ---- random loss ----

struct Runs {
  int offered = 0;
  int lost = 0;
  int runs = 0;
};
Runs losses(RandomLoss loss, int packets, std::uint32_t bytes = kFull, std::uint64_t seed = 11) {
  Link link = link_of(Schedule(0.0), Unlimited{}, std::move(loss), seed);
  Runs r{.offered = packets};
  bool before = false;
  for (int i = 0; i < packets; ++i) {
    const bool lost = link.offer({.bytes = bytes}, at(0s))->fate == Fate::at_random;
    r.lost += lost;
    r.runs += lost && !before;
    before = lost;
  }
  return r;
}

TEST(RandomLossOfALink, HasItsRatioAndItsRunsWithinChance) {
  for (const auto& [ratio, burst] : {std::pair{0.01, 1.0}, {0.01, 10.0}, {0.2, 3.0}, {0.001, 30.0}}) {
    constexpr int kPackets = 2'000'000;
    const Runs r = losses({.ratio = Schedule(ratio), .burst = burst}, kPackets);
    const double length = std::max(burst, 1.0 / (1.0 - ratio));
    // Five standard deviations; a run counts as one event whose length is geometric.
    const double expected = kPackets * ratio;
    EXPECT_NEAR(r.lost, expected, 5 * std::sqrt(expected * (2 * length - 1))) << ratio << " in " << burst;
    const double runs = r.runs;
    EXPECT_NEAR(r.lost / runs, length, 5 * length / std::sqrt(runs)) << ratio << " in " << burst;
  }
}

TEST(RandomLossOfALink, WithoutBurstsEveryPacketIsADrawOfItsOwn) {
  const Runs half = losses({.ratio = Schedule(0.5)}, 100'000);
  EXPECT_NEAR(half.lost, 50'000, 800);
  EXPECT_NEAR(half.runs, 25'000, 600) << "a loss follows a loss as often as a packet that passes";
  EXPECT_EQ(losses({.ratio = Schedule(1.0)}, 1000).lost, 1000);
  EXPECT_EQ(losses({.ratio = Schedule(0.0)}, 1000).lost, 0);
}

TEST(RandomLossOfALink, FollowsItsSchedule) {
  Link link = link_of(Schedule(0.0), Unlimited{}, {.ratio = Schedule({{0s, 1.0}, {1s, 0.0}, {2s, 1.0}})});
  EXPECT_EQ(link.offer({.bytes = 64}, at(0s))->fate, Fate::at_random);
  EXPECT_EQ(link.offer({.bytes = 64}, at(1s))->fate, Fate::forwarded);
  EXPECT_EQ(link.offer({.bytes = 64}, at(2s))->fate, Fate::at_random);
}

TEST(RandomLossOfALink, APauseEndsARun) {
  Link link = link_of(Schedule(0.0), Unlimited{},
                      {.ratio = Schedule({{0s, 1.0}, {1s, 0.0}, {2s, 0.001}}), .burst = 1e6});
  EXPECT_EQ(link.offer({.bytes = 64}, at(0s))->fate, Fate::at_random);
  EXPECT_EQ(link.offer({.bytes = 64}, at(1s))->fate, Fate::forwarded);
  EXPECT_EQ(link.offer({.bytes = 64}, at(2s))->fate, Fate::forwarded);
}

TEST(RandomLossOfALink, MayHitSmallPacketsOnly) {
  EXPECT_EQ(losses({.ratio = Schedule(1.0), .below = 200}, 1000, 199).lost, 1000);
  EXPECT_EQ(losses({.ratio = Schedule(1.0), .below = 200}, 1000, 200).lost, 0);
}

TEST(RandomLossOfALink, ComesFromTheSeed) {
  EXPECT_EQ(losses({.ratio = Schedule(0.1)}, 10'000, kFull, 1).lost,
            losses({.ratio = Schedule(0.1)}, 10'000, kFull, 1).lost);
  EXPECT_NE(losses({.ratio = Schedule(0.1)}, 10'000, kFull, 1).runs,
            losses({.ratio = Schedule(0.1)}, 10'000, kFull, 2).runs);
}

}  // namespace
}  // namespace weir::proving
