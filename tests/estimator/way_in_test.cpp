// What the path carries towards us: downloads whose queue and losses are known at every moment.
#include "estimator/way_in.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

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

TEST(EchoTimes, ALaterEchoMakesUpForThoseThatWereLost) {
  EchoTimes echoes;
  echoes.left(1, 0, 10, at_ms(0));
  echoes.left(1, 0, 20, at_ms(10));
  EXPECT_FALSE(echoes.came_back(1, 0, 15, at_ms(30)).has_value()) << "of a segment that was not noted";
  EXPECT_TRUE(echoes.came_back(1, 0, 20, at_ms(31)).has_value());
}

TEST(EchoTimes, NoMoreThanAFewAreWaitedForAndNotForEver) {
  EchoTimes echoes;
  for (std::uint32_t i = 0; i < 10; ++i) echoes.left(1, 0, 100 + i, at_ms(i));
  EXPECT_FALSE(echoes.came_back(1, 0, 109, at_ms(30)).has_value()) << "beyond those that are waited for";
  for (std::uint32_t i = 0; i < 4; ++i) echoes.left(1, 0, 200 + i, at_ms(100 + i));
  echoes.left(1, 0, 300, at_ms(1000));
  EXPECT_FALSE(echoes.came_back(1, 0, 300, at_ms(1020)).has_value());
  for (std::uint32_t i = 0; i < 4; ++i) echoes.left(2, 0, 200 + i, at_ms(100 + i));
  echoes.left(2, 0, 300, at_ms(2200));  // nobody echoed the others for two seconds
  EXPECT_TRUE(echoes.came_back(2, 0, 300, at_ms(2220)).has_value());
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
  echoes.left(1, 0, 5, at_ms(0));
  EXPECT_FALSE(echoes.came_back(1, 1, 5, at_ms(1)).has_value());
  EXPECT_FALSE(echoes.came_back(2, 0, 5, at_ms(1)).has_value());
  const std::size_t held = echoes.bytes_held();
  for (std::uint32_t flow = 1; flow < 100'000; ++flow) echoes.left(flow, 0, 5, at_ms(flow));
  EXPECT_EQ(echoes.bytes_held(), held);
  EXPECT_TRUE(echoes.came_back(99'999, 0, 5, at_ms(100'100)).has_value());
  EXPECT_FALSE(echoes.came_back(1, 0, 5, at_ms(100'100)).has_value()) << "it gave way";
}

// -- downloads --

EstimatorSettings watching() {
  EstimatorSettings settings = one_site();
  settings.inside = {prefix("10.1.0.0/16")};
  settings.watch_way_in = true;
  return settings;
}

/// A far host 10 ms away sends a segment for each of our ACKs, one every millisecond and a bit. What it sends
/// at some time waits so long on the way in, our ACK so long on the way out.
class Download {
 public:
  static constexpr double kEvery = 1.013;
  static constexpr std::uint32_t kPayload = 1000;
  static constexpr std::uint32_t kUnacked = 80;  ///< segments: what was lost has come again by then

  explicit Download(EstimatorSettings settings = watching()) : wire(std::move(settings)) {}

  std::function<double(double)> in_ms = [](double) { return 0.0; };
  std::function<double(double)> out_ms = [](double) { return 0.0; };
  std::function<bool(std::uint32_t)> lost_on_the_way = [](std::uint32_t) { return false; };
  /// The same within our own network: it comes by the tap, and again later.
  std::function<bool(std::uint32_t)> lost_behind_us = [](std::uint32_t) { return false; };
  bool timestamps = true;
  unsigned traffic_class = 0;

  /// All ticks up to then.
  std::vector<SiteMeasurement> until(double ms) {
    std::vector<SiteMeasurement> ticks;
    for (; now_ < ms; now_ += kEvery) {
      const double asked = now_ + 10 + out_ms(now_);
      last_in_ = std::max(last_in_, asked + 10 + in_ms(asked));
      schedule(now_, our_ack(now_));
      if (!lost_on_the_way(number_)) schedule(last_in_, segment(number_, now_, asked));
      if (lost_on_the_way(number_)) schedule(last_in_ + 40, segment(number_, now_ + 40, asked + 40));
      if (lost_behind_us(number_)) schedule(last_in_ + 40, segment(number_, now_ + 40, asked + 40));
      ++number_;
    }
    while (!due_.empty() && due_.begin()->first <= ms) {
      for (; tick_ + 100 <= due_.begin()->first; ticks.push_back(close_tick())) {
      }
      wire.send(due_.begin()->first, due_.begin()->second);
      if (due_.begin()->second.payload > 0) ++arrived_;
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
  void schedule(double ms, const TcpSpec& s) { due_.emplace(ms, s); }
  TcpSpec our_ack(double ms) {
    TcpSpec s = wire.out(0, 0);
    s.ack = wire.peer_base + (number_ > kUnacked ? number_ - kUnacked : 0) * kPayload;
    s.timestamps = timestamps;
    s.tsval = static_cast<std::uint32_t>(50'000 + std::floor(ms));
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
    s.tsecr = static_cast<std::uint32_t>(50'000 + std::floor(echoes));
    return s;
  }

  std::multimap<double, TcpSpec> due_;
  double now_ = 1.0;
  double last_in_ = 0.0;
  double tick_ = 0.0;
  std::uint32_t number_ = 0;
  std::uint32_t arrived_ = 0;
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
  const double frames = 100 / Download::kEvery;
  EXPECT_NEAR(static_cast<double>(m.sent.count()), frames * (Download::kPayload + 66), 2.0 * 1066);
  ASSERT_TRUE(m.delivered.has_value());
  EXPECT_NEAR(m.delivered->rate.mbps(), 8e-3 * 1066 / Download::kEvery, 0.3);
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

// A rate that is set now is answered a round trip later, and when our leaf has dropped something.
TEST(WayIn, IsTimedByTheRateThatItAnswers) {
  Download download;
  download.lost_on_the_way = [](std::uint32_t n) { return n == 2500; };
  const auto ticks = download.until(4000);
  const auto cohorts = cohorts_of(ticks);
  const auto hit =
      std::find_if(cohorts.begin(), cohorts.end(), [](const Cohort& c) { return c.lost_beyond > 0; });
  ASSERT_NE(hit, cohorts.end());
  const double seen = 2501 * Download::kEvery + 20;
  const double told = milliseconds(hit->begin - at_ms(0));
  EXPECT_NEAR(told, seen - 20 - 150, 105) << "the begin of a cohort of 100 ms";
  EXPECT_LT(told, seen - 20 - 150 + 5);
  const SiteMeasurement& last = ticks.back();
  ASSERT_TRUE(last.queue.has_value());
  EXPECT_LE(last.queue->sent_to, last.at - 20ms - 150ms + 5ms);
}

TEST(WayIn, MarksOfCongestionCount) {
  Download download;
  download.traffic_class = kEcnCe;
  const auto ticks = download.until(1000);
  EXPECT_NEAR(ticks.back().ece_echoes, 100 / Download::kEvery, 3);
}

TEST(WayIn, ACaptureThatLostFramesIsNoEvidence) {
  Wire wire(watching());
  wire.data(1, 0);
  EXPECT_FALSE(wire.tick(100, true).way_in.at(0).valid);
  EXPECT_TRUE(wire.tick(200).way_in.at(0).valid);
}

}  // namespace
}  // namespace weir
