// What the path carries towards us: downloads whose queue and losses are known at every moment.
#include "estimator/way_in.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "estimator/echo_times.hpp"

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

// -- echoes --

TEST(EchoTimes, TheFirstEchoTellsTheRoundTrip) {
  EchoTimes echoes;
  echoes.left(1, 0, 699, at_ms(-1));
  echoes.left(1, 0, 700, at_ms(0));
  echoes.left(1, 0, 700, at_ms(0.4));  // the same tick of our clock
  echoes.left(1, 0, 705, at_ms(5));
  const auto first = echoes.came_back(1, 0, 700, at_ms(20));
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->left, at_ms(0));
  EXPECT_EQ(first->rtt, 20ms);
  EXPECT_FALSE(echoes.came_back(1, 0, 700, at_ms(21)).has_value()) << "it has been told";
  const auto second = echoes.came_back(1, 0, 705, at_ms(40));
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->rtt, 35ms);
  EXPECT_EQ(second->least, 20ms);
}

// Of a clock that ticks slower than the round trip: what was in flight at the second departure echoes the
// first.
TEST(EchoTimes, ATsvalThatWasEchoedIsNotNotedAgain) {
  EchoTimes echoes;
  echoes.left(1, 0, 6, at_ms(-10));
  echoes.left(1, 0, 7, at_ms(0));
  EXPECT_TRUE(echoes.came_back(1, 0, 7, at_ms(6)).has_value());
  echoes.left(1, 0, 7, at_ms(6.1));
  EXPECT_FALSE(echoes.came_back(1, 0, 7, at_ms(6.2)).has_value());
}

TEST(EchoTimes, AValueWhoseFirstDepartureMayHavePassedUnseenIsNotNoted) {
  EchoTimes echoes;
  echoes.left(1, 0, 50, at_ms(0));
  EXPECT_FALSE(echoes.came_back(1, 0, 50, at_ms(20)).has_value()) << "the first of the flow";
  for (std::uint32_t i = 1; i < 10; ++i) echoes.left(1, 0, 50 + i, at_ms(30 + i));
  EXPECT_TRUE(echoes.came_back(1, 0, 54, at_ms(50)).has_value()) << "so many are waited for";
  echoes.left(1, 0, 59, at_ms(50.5));  // it left at 39 ms, when no more were noted
  EXPECT_FALSE(echoes.came_back(1, 0, 59, at_ms(60)).has_value());
}

TEST(EchoTimes, ALaterEchoMakesUpForThoseThatWereLost) {
  EchoTimes echoes;
  for (const std::uint32_t ms : {0U, 10U, 20U}) echoes.left(1, 0, ms, at_ms(ms));
  EXPECT_FALSE(echoes.came_back(1, 0, 15, at_ms(30)).has_value()) << "of a segment that was not noted";
  EXPECT_TRUE(echoes.came_back(1, 0, 20, at_ms(31)).has_value());
}

TEST(EchoTimes, NothingIsWaitedForForEver) {
  EchoTimes echoes;
  for (std::uint32_t i = 0; i < 10; ++i) echoes.left(1, 0, 100 + i, at_ms(i));
  for (std::uint32_t i = 0; i < 30; ++i) echoes.left(1, 0, 200 + i, at_ms(100 * (i + 1)));
  EXPECT_FALSE(echoes.came_back(1, 0, 210, at_ms(3020)).has_value()) << "none was noted while four waited";
  EXPECT_TRUE(echoes.came_back(1, 0, 220, at_ms(3020)).has_value())
      << "nobody echoed the others for two seconds";
  echoes.left(1, 0, 300, at_ms(3100));
  EXPECT_FALSE(echoes.came_back(1, 0, 300, at_ms(5200)).has_value()) << "the far end had nothing to send";
}

TEST(EchoTimes, AClockThatWasSetBackIsFollowedSoon) {
  EchoTimes echoes;
  echoes.left(1, 0, 1'000'000, at_ms(0));
  std::uint32_t told = 0;
  for (std::uint32_t i = 0; i < 40; ++i) {
    echoes.left(1, 0, 500 + i, at_ms(100.0 * i));
    told += echoes.came_back(1, 0, 500 + i, at_ms(100.0 * i + 20)).has_value() ? 1U : 0U;
  }
  EXPECT_GE(told, 15U) << "from two seconds on";
}

TEST(EchoTimes, TimestampsWrap) {
  EchoTimes echoes;
  echoes.left(1, 0, 0xffff'fffe, at_ms(0));
  echoes.left(1, 0, 1, at_ms(3));
  const auto echo = echoes.came_back(1, 0, 1, at_ms(20));
  ASSERT_TRUE(echo.has_value());
  EXPECT_EQ(echo->rtt, 17ms);
}

TEST(EchoTimes, FlowsAndEndsAreToldApartAndTheTableIsBounded) {
  EchoTimes echoes;
  EXPECT_EQ(echoes.bytes_held(), 0U);
  EXPECT_FALSE(echoes.came_back(1, 0, 5, at_ms(1)).has_value());
  const auto both = [&](std::uint32_t flow, double ms) {
    echoes.left(flow, 0, 4, at_ms(ms));
    echoes.left(flow, 0, 5, at_ms(ms + 1));
  };
  both(1, 0);
  EXPECT_FALSE(echoes.came_back(1, 1, 5, at_ms(2)).has_value());
  EXPECT_FALSE(echoes.came_back(2, 0, 5, at_ms(2)).has_value());
  const std::size_t held = echoes.bytes_held();
  for (std::uint32_t flow = 1; flow < 100'000; ++flow) both(flow, 0.01 * flow);
  EXPECT_EQ(echoes.bytes_held(), held);
  EXPECT_TRUE(echoes.came_back(99'999, 0, 5, at_ms(1020)).has_value());
  EXPECT_FALSE(echoes.came_back(1, 0, 5, at_ms(1020)).has_value()) << "it gave way";
}

// -- downloads --

EstimatorSettings watching() {
  EstimatorSettings settings = one_site();
  settings.inside = {prefix("10.1.0.0/16")};
  settings.watch_way_in = {true};
  return settings;
}

/// A far host 10 ms away sends two segments for each of our ACKs, one every millisecond and a bit. What it
/// sends at some time waits so long on the way in, our ACK so long on the way out.
class Download {
 public:
  static constexpr double kEvery = 1.013;
  static constexpr std::uint32_t kPayload = 1448;
  static constexpr std::uint32_t kFrame = kPayload + 66;

  explicit Download(EstimatorSettings settings = watching()) : wire(std::move(settings)) {}

  std::function<double(double)> in_ms = [](double) { return 0.0; };
  std::function<double(double)> out_ms = [](double) { return 0.0; };
  std::function<bool(std::uint32_t)> lost_on_the_way = [](std::uint32_t) { return false; };
  /// The same within our own network: it comes by the tap, and again later. (The receiver here has it at
  /// once.)
  std::function<bool(std::uint32_t)> lost_behind_us = [](std::uint32_t) { return false; };
  bool timestamps = true;
  unsigned traffic_class = 0;
  double one_way_ms = 10.0;
  double our_tick_ms = 1.0;

  /// All ticks up to then.
  std::vector<SiteMeasurement> until(double ms) {
    std::vector<SiteMeasurement> ticks;
    for (; now_ < ms; now_ += kEvery) {
      const double asked = now_ + one_way_ms + out_ms(now_);
      last_in_ = std::max(last_in_, asked + one_way_ms + in_ms(asked));
      const double again = 2 * one_way_ms + 20;  // when it was missed, and has come anew
      schedule(now_, our_ack(now_));
      for (int i = 0; i < 2; ++i, ++number_) {  // of two an acknowledgment is not held back
        const double arrives = last_in_ + 0.01 * i;
        const bool lost = lost_on_the_way(number_);
        if (!lost) schedule(arrives, segment(number_, now_, asked));
        if (lost || lost_behind_us(number_))
          schedule(arrives + again, segment(number_, now_ + again, asked + again));
      }
    }
    while (!due_.empty() && due_.begin()->first <= ms) {
      for (; tick_ + 100 <= due_.begin()->first; ticks.push_back(close_tick())) {
      }
      TcpSpec& s = due_.begin()->second;
      if (s.payload > 0) {
        arrive((s.seq - wire.peer_base) / kPayload);
      } else {
        s.ack = wire.peer_base + in_order_ * kPayload;
      }
      wire.send(due_.begin()->first, s);
      due_.erase(due_.begin());
    }
    for (; tick_ + 100 <= ms; ticks.push_back(close_tick())) {
    }
    return ticks;
  }

  Wire wire;

 private:
  SiteMeasurement close_tick() {
    tick_ += 100;
    TickResult result = wire.tick(tick_);
    EXPECT_EQ(result.way_in.size(), 1U);
    return result.way_in.at(0);
  }
  /// Behind us nothing takes time.
  void arrive(std::uint32_t number) {
    early_.insert(number);
    while (early_.erase(in_order_) > 0) ++in_order_;
  }
  void schedule(double ms, const TcpSpec& s) { due_.emplace(ms, s); }
  TcpSpec our_ack(double ms) {
    TcpSpec s = wire.out(0, 0);
    s.timestamps = timestamps;
    s.tsval = static_cast<std::uint32_t>(50'000 + std::floor(ms / our_tick_ms));
    return s;
  }
  /// `asked`: when the far host sends it.
  TcpSpec segment(std::uint32_t number, double echoes, double asked) {
    TcpSpec s = wire.in(0);
    s.seq = wire.peer_base + number * kPayload;
    s.payload = kPayload;
    s.traffic_class = traffic_class;
    s.timestamps = timestamps;
    s.tsval = static_cast<std::uint32_t>(777'000 + std::floor(asked));
    s.tsecr = static_cast<std::uint32_t>(50'000 + std::floor(echoes / our_tick_ms));
    return s;
  }

  std::multimap<double, TcpSpec> due_;
  double now_ = 1.0;
  double last_in_ = 0.0;
  double tick_ = 0.0;
  std::uint32_t number_ = 0;
  std::uint32_t in_order_ = 0;     ///< so many have arrived,
  std::set<std::uint32_t> early_;  ///< and these behind a hole
};

/// Grows within a tenth of a second to so much from then on.
auto queue_from(double ms, double high) {
  return [=](double at) { return high * std::clamp((at - ms) / 100.0, 0.0, 1.0); };
}

TEST(WayIn, IsWatchedOnlyWhenAskedFor) {
  Wire wire;
  wire.data(1, 0);
  EXPECT_TRUE(wire.tick(100).way_in.empty());
}

TEST(WayIn, WhatWaitsThereIsItsQueue) {
  Download download;
  download.in_ms = queue_from(3000, 20);
  const auto ticks = download.until(5000);
  const SiteMeasurement& quiet = ticks.at(28);
  ASSERT_TRUE(quiet.queue.has_value());
  EXPECT_LT(milliseconds(quiet.queue->q), 1.5);
  const SiteMeasurement& full = ticks.back();
  ASSERT_TRUE(full.queue.has_value());
  EXPECT_NEAR(milliseconds(full.queue->q), 20, 1.5);
  ASSERT_TRUE(full.rtt.has_value());
  EXPECT_NEAR(milliseconds(full.rtt->base), 20, 1.5);
  EXPECT_FALSE(full.queue_by_way.has_value()) << "it is the way in alone already";
}

TEST(WayIn, WhatWaitsOnTheWayOutIsNot) {
  Download download;
  download.out_ms = queue_from(3000, 20);
  const auto ticks = download.until(5000);
  ASSERT_TRUE(ticks.back().queue.has_value());
  EXPECT_LT(milliseconds(ticks.back().queue->q), 2.0);
}

TEST(WayIn, WithoutTimestampsNoQueueIsTold) {
  Download download;
  download.timestamps = false;
  download.in_ms = queue_from(3000, 20);
  for (const SiteMeasurement& m : download.until(4000)) EXPECT_FALSE(m.queue.has_value());
}

TEST(WayIn, WhatArrivesIsWhatThePathDelivered) {
  Download download;
  const auto ticks = download.until(2000);
  const SiteMeasurement& m = ticks.back();
  ASSERT_TRUE(m.delivered_bytes.has_value());
  EXPECT_EQ(*m.delivered_bytes, m.sent);
  const double frames = 2 * 100 / Download::kEvery;
  EXPECT_NEAR(static_cast<double>(m.sent.count()), frames * Download::kFrame, 4.0 * Download::kFrame);
  ASSERT_TRUE(m.delivered.has_value());
  EXPECT_NEAR(m.delivered->rate.mbps(), 2 * 8e-3 * Download::kFrame / Download::kEvery, 0.6);
}

/// All cohorts of the ticks.
std::vector<Cohort> cohorts_of(const std::vector<SiteMeasurement>& ticks) {
  std::vector<Cohort> all;
  for (const SiteMeasurement& m : ticks) all.insert(all.end(), m.mature.begin(), m.mature.end());
  return all;
}

std::uint64_t lost_beyond(const std::vector<Cohort>& cohorts) {
  std::uint64_t lost = 0;
  for (const Cohort& c : cohorts) lost += c.lost_beyond;
  return lost;
}

TEST(WayIn, WhatIsLostBeforeTheTapIsThePathsLoss) {
  Download download;
  download.lost_on_the_way = [](std::uint32_t n) { return n % 100 == 50; };
  const auto cohorts = cohorts_of(download.until(4000));
  ASSERT_GT(cohorts.size(), 20U);
  std::uint64_t segments = 0;
  std::uint64_t in_slots = 0;
  for (const Cohort& c : cohorts) {
    segments += c.segments;
    for (const Slot& slot : c.slots) {
      in_slots += slot.lost;
      EXPECT_EQ(slot.delivered, slot.sent) << "what came by has arrived";
    }
    EXPECT_EQ(c.lost_before, 0U);
  }
  EXPECT_NEAR(static_cast<double>(lost_beyond(cohorts)) / static_cast<double>(segments), 0.01, 0.002);
  EXPECT_EQ(in_slots, lost_beyond(cohorts));
}

TEST(WayIn, WhatIsLostBehindUsIsNot) {
  Download download;
  download.lost_behind_us = [](std::uint32_t n) { return n % 100 == 50; };
  const auto cohorts = cohorts_of(download.until(4000));
  ASSERT_GT(cohorts.size(), 20U);
  EXPECT_EQ(lost_beyond(cohorts), 0U);
}

// Its retransmission takes the path's round trip, ten times ours: until then the loss is not known.
TEST(WayIn, ALossOnALongPathIsWaitedFor) {
  Download download;
  download.one_way_ms = 125;
  download.lost_on_the_way = [](std::uint32_t n) { return n % 100 == 50; };
  const auto cohorts = cohorts_of(download.until(8000));
  std::uint64_t segments = 0;
  for (const Cohort& c : cohorts) segments += c.segments;
  EXPECT_NEAR(static_cast<double>(lost_beyond(cohorts)) / static_cast<double>(segments), 0.01, 0.003);
}

// Linux of 100 jiffies a second: many round trips within a tick.
TEST(WayIn, AClockOfOursThatTicksSlowlyMakesNoRoundTripShort) {
  Download download;
  download.one_way_ms = 3;
  download.our_tick_ms = 10;
  const auto ticks = download.until(4000);
  ASSERT_TRUE(ticks.back().rtt.has_value());
  EXPECT_NEAR(milliseconds(ticks.back().rtt->base), 6, 1.2);
  ASSERT_TRUE(ticks.back().queue.has_value());
  EXPECT_LT(milliseconds(ticks.back().queue->q), 1.5);
}

// A rate that is set now is answered a round trip later, and when our leaf has dropped something: 150 and 20
// ms, in whole cohorts.
TEST(WayIn, IsTimedByTheRateThatItAnswers) {
  Download download;
  download.lost_on_the_way = [](std::uint32_t n) { return n == 2500; };
  const auto ticks = download.until(4000);
  const auto cohorts = cohorts_of(ticks);
  const auto hit =
      std::find_if(cohorts.begin(), cohorts.end(), [](const Cohort& c) { return c.lost_beyond > 0; });
  ASSERT_NE(hit, cohorts.end());
  const double seen = 1 + 1250 * Download::kEvery + 20;
  const double told = milliseconds(hit->begin - at_ms(0));
  EXPECT_LE(told, seen - 200);
  EXPECT_GT(told, seen - 200 - 105) << "the begin of a cohort of 100 ms";
  const SiteMeasurement& last = ticks.back();
  ASSERT_TRUE(last.queue.has_value());
  EXPECT_LE(last.queue->sent_to, last.at - 200ms);
  for (std::size_t i = 1; i < cohorts.size(); ++i)
    EXPECT_GE(cohorts[i].begin - cohorts[i - 1].begin, kCohortLength) << "no two overlap";
}

TEST(WayIn, SitesThatNobodyWatchesAreNoEvidence) {
  EstimatorSettings settings = watching();
  settings.sites.push_back({prefix("10.30.0.0/16")});
  settings.watch_way_in = {true, false};
  Wire wire(settings);
  wire.data(1, 0);
  const TickResult result = wire.tick(100);
  ASSERT_EQ(result.way_in.size(), 2U);
  EXPECT_TRUE(result.way_in[0].valid);
  EXPECT_FALSE(result.way_in[1].valid);
  EXPECT_EQ(result.way_in[1].interval, 100ms);
}

TEST(WayIn, MarksOfCongestionCount) {
  Download download;
  download.traffic_class = kEcnCe;
  const auto ticks = download.until(1000);
  EXPECT_NEAR(ticks.back().ece_echoes, 2 * 100 / Download::kEvery, 5);
}

TEST(WayIn, ACaptureThatLostFramesIsNoEvidence) {
  Wire wire(watching());
  wire.data(1, 0);
  EXPECT_FALSE(wire.tick(100, true).way_in.at(0).valid);
  EXPECT_TRUE(wire.tick(200).way_in.at(0).valid);
}

}  // namespace
}  // namespace weir
