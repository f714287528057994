// What happens under overload: when fewer connections are followed, and what that does to the measurements.
#include "estimator/flow_sampling.hpp"

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/flow_table.hpp"

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

/// A reader that turns a hundred times a second.
struct Reader {
  static constexpr Duration kTurn = 10ms;
  FlowSampling sampling{1};
  TimePoint now = at_ms(0);
  std::uint64_t dropped = 0;

  /// Each turn is busy for this share of its time.
  void read(Duration for_so_long, double busy, bool emptied) {
    for (Duration done{}; done < for_so_long; done += kTurn) {
      const auto worked = std::chrono::duration_cast<Duration>(kTurn * busy);
      now += kTurn;
      static_cast<void>(
          sampling.on_turn({.began = now - worked, .ended = now, .emptied = emptied, .dropped = dropped}));
    }
  }
};

TEST(FlowSampling, FollowsAllWhileTheTapIsEmptiedNowAndThen) {
  Reader reader;
  reader.read(60s, 0.99, true);
  EXPECT_EQ(reader.sampling.one_in(), 1U);
}

TEST(FlowSampling, HalvesWithEachTenthOfASecondThatIsTooMuch) {
  Reader reader;
  reader.read(100ms, 1.0, false);
  EXPECT_EQ(reader.sampling.one_in(), 2U) << "before anything is dropped";
  reader.read(100ms, 1.0, false);
  EXPECT_EQ(reader.sampling.one_in(), 4U);
  reader.read(10s, 1.0, false);
  EXPECT_EQ(reader.sampling.one_in(), FlowSampling::kMostOneIn);
}

TEST(FlowSampling, HalvesOnceForFramesDroppedAtOnce) {
  Reader reader;
  reader.read(1s, 0.1, true);
  reader.dropped = 5;
  reader.read(10ms, 0.1, true);
  EXPECT_EQ(reader.sampling.one_in(), 2U) << "at once";
  reader.dropped = 6;
  reader.read(90ms, 0.1, true);
  EXPECT_EQ(reader.sampling.one_in(), 2U) << "what it brought is not seen yet";
  reader.read(1s, 0.1, true);
  EXPECT_EQ(reader.sampling.one_in(), 4U);
  reader.dropped = 0;  // the interface was gone, and came back
  reader.read(1s, 0.1, true);
  EXPECT_EQ(reader.sampling.one_in(), 4U);
}

TEST(FlowSampling, APauseOfTheMachineIsNoOverload) {
  Reader reader;
  reader.read(1s, 0.1, true);
  reader.now += 300ms;
  reader.read(10ms, 0.5, false);  // what had piled up
  reader.read(1s, 0.1, true);
  EXPECT_EQ(reader.sampling.one_in(), 1U);
}

TEST(FlowSampling, DoublesOnceThereWasRoomForTwiceTheWorkForFiveSeconds) {
  Reader reader;
  reader.read(200ms, 1.0, false);
  ASSERT_EQ(reader.sampling.one_in(), 4U);
  reader.read(60s, 0.45, true);
  EXPECT_EQ(reader.sampling.one_in(), 4U) << "twice as much would be too much again";
  reader.read(4900ms, 0.3, true);
  EXPECT_EQ(reader.sampling.one_in(), 4U);
  reader.read(200ms, 0.3, true);
  EXPECT_EQ(reader.sampling.one_in(), 2U);
  reader.read(4800ms, 0.3, true);
  EXPECT_EQ(reader.sampling.one_in(), 2U) << "each step is tried for as long";
  reader.read(300ms, 0.3, true);
  EXPECT_EQ(reader.sampling.one_in(), 1U);
}

// What the tap holds from before the change is of the sample before.
TEST(FlowSampling, ASampleIsDueWithTheFirstFrameThatCameUnderIt) {
  FlowSampling sampling(1);
  sampling.began({.one_in = 2}, at_ms(100));
  sampling.began({.one_in = 4}, at_ms(200));
  EXPECT_FALSE(sampling.due(at_ms(99)));
  EXPECT_EQ(sampling.due(at_ms(100)).value().one_in, 2U);
  EXPECT_FALSE(sampling.due(at_ms(199)));
  EXPECT_EQ(sampling.due(at_ms(300)).value().one_in, 4U);
  EXPECT_FALSE(sampling.due(at_ms(400)));
  sampling.began({.one_in = 8}, at_ms(500));
  sampling.began({.one_in = 16}, at_ms(600));
  EXPECT_EQ(sampling.due(at_ms(700)).value().one_in, 16U) << "nothing came between them";
}

TEST(FlowSample, IsTheSameForBothDirectionsAndAsLargeAsItSays) {
  for (const std::uint32_t one_in : {1U, 2U, 64U}) {
    const FlowSample sample{.one_in = one_in, .seed = 99};
    std::uint32_t followed = 0;
    FlowTable table(FlowLimits{}, 7);
    table.follow(sample);
    for (std::uint32_t port = 0; port < 64'000; ++port) {
      PacketRecord there;
      there.source = address("10.1.0.1");
      there.destination = address("10.20.0.1");
      there.source_port = static_cast<std::uint16_t>(port);
      there.destination_port = 443;
      PacketRecord back = there;
      std::swap(back.source, back.destination);
      std::swap(back.source_port, back.destination_port);
      const bool follows = table.follows(table.key_of(there));
      ASSERT_EQ(follows, table.follows(table.key_of(back)));
      followed += follows ? 1U : 0U;
    }
    EXPECT_NEAR(followed, 64'000.0 / one_in, 0.1 * 64'000.0 / one_in) << one_in;
  }
}

/// Connections that send two segments every 10 ms over a path of 20 ms; of each the first of every 25th pair
/// is lost beyond the tap.
class Crowd {
 public:
  static constexpr std::uint32_t kConnections = 256;
  static constexpr std::uint32_t kSegment = 1000;
  static constexpr std::uint32_t kLostEvery = 25;

  Crowd() {
    for (std::uint32_t c = 0; c < kConnections; ++c) at(10.0 * c / kConnections, [this, c] { send_pair(c); });
  }

  /// Measurements of the outbound ticks up to `ms`.
  std::vector<SiteMeasurement> run_until(double ms) {
    std::vector<SiteMeasurement> ticks;
    while (tick_ < ms) {
      tick_ += 100.0;
      while (!due_.empty() && due_.begin()->first < tick_) {
        now_ = due_.begin()->first;
        const std::function<void()> action = std::move(due_.begin()->second);
        due_.erase(due_.begin());
        action();
      }
      ticks.push_back(wire.tick(tick_).outbound[0]);
    }
    return ticks;
  }
  [[nodiscard]] std::uint64_t bytes_sent() const { return bytes_; }

  Wire wire;

 private:
  struct Connection {
    std::uint32_t next = 0;
    std::uint32_t arrived = 0;
    std::uint32_t pairs = 0;
    std::optional<std::uint32_t> hole;
  };

  void at(double ms, std::function<void()> action) { due_.emplace(ms, std::move(action)); }
  void send_segment(std::uint32_t c, std::uint32_t from) {
    TcpSpec s = wire.out(from, kSegment);
    s.source_port = static_cast<std::uint16_t>(10'000 + c);
    wire.send(now_, s);
    bytes_ += 14 + ip_length(s);
  }
  void acknowledge(std::uint32_t c) {
    const Connection& connection = connections_[c];
    std::vector<SequenceRange> sack;
    if (connection.hole) sack = {{*connection.hole + kSegment, connection.arrived}};
    TcpSpec s = wire.in(connection.hole.value_or(connection.arrived), std::move(sack));
    s.destination_port = static_cast<std::uint16_t>(10'000 + c);
    wire.send(now_, s);
  }
  void send_pair(std::uint32_t c) {
    Connection& connection = connections_[c];
    const std::uint32_t first = connection.next;
    connection.next += 2 * kSegment;
    send_segment(c, first);
    send_segment(c, first + kSegment);
    const bool lost = ++connection.pairs % kLostEvery == c % kLostEvery;
    at(now_ + 20, [this, c, first, lost] {
      connections_[c].arrived = first + 2 * kSegment;
      if (lost) connections_[c].hole = first;
      acknowledge(c);
      if (lost) repair(c, first);
    });
    at(now_ + 10, [this, c] { send_pair(c); });
  }
  void repair(std::uint32_t c, std::uint32_t first) {
    send_segment(c, first);
    at(now_ + 20, [this, c] {
      connections_[c].hole.reset();
      acknowledge(c);
    });
  }

  std::multimap<double, std::function<void()>> due_;
  std::vector<Connection> connections_{kConnections};
  double now_ = 0;
  double tick_ = 0;
  std::uint64_t bytes_ = 0;
};

struct Sum {
  std::uint64_t sent = 0;
  std::uint64_t sent_tcp = 0;
  std::uint64_t delivered = 0;
  std::uint64_t segments = 0;
  std::uint64_t lost = 0;
  std::uint64_t lost_before = 0;
};
Sum sum_of(const std::vector<SiteMeasurement>& ticks) {
  Sum sum;
  for (const SiteMeasurement& m : ticks) {
    sum.sent += m.sent.count();
    sum.sent_tcp += m.sent_tcp.count();
    if (m.delivered_bytes) sum.delivered += m.delivered_bytes->count();
    for (const Cohort& c : m.mature) {
      sum.segments += c.segments;
      sum.lost += c.lost_beyond;
      sum.lost_before += c.lost_before;
    }
  }
  return sum;
}

class SampledEstimator : public testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(OneIn, SampledEstimator, testing::Values(1U, 2U, 8U));

// One lost of 50, of 2 * 1000 bytes and a header every 10 ms and connection, whatever share is looked at.
TEST_P(SampledEstimator, SumsAndRatiosAreThoseOfAllConnections) {
  const std::uint32_t one_in = GetParam();
  Crowd crowd;
  crowd.wire.estimator.follow({.one_in = one_in});
  crowd.run_until(1000);
  const std::uint64_t before = crowd.bytes_sent();
  const std::vector<SiteMeasurement> ticks = crowd.run_until(4000);
  const Sum sum = sum_of(ticks);
  const auto sent = static_cast<double>(crowd.bytes_sent() - before);
  EXPECT_EQ(static_cast<double>(sum.sent), sent) << "bytes are counted, not guessed";
  EXPECT_EQ(sum.sent_tcp, sum.sent);
  EXPECT_NEAR(static_cast<double>(sum.delivered), sent, 0.03 * sent) << "nearly all arrives in the end";
  EXPECT_NEAR(static_cast<double>(sum.segments) * one_in, 3.0 * 256 * 204, 0.4 * 3.0 * 256 * 204);
  EXPECT_NEAR(static_cast<double>(sum.lost) / static_cast<double>(sum.segments), 0.0196, 0.0025);
  EXPECT_EQ(sum.lost_before, 0U);
  EXPECT_EQ(ticks.back().mature.back().one_in, one_in);
  const EstimatorTotals& totals = crowd.wire.estimator.totals();
  EXPECT_NEAR(static_cast<double>(totals.unsampled), (1.0 - 1.0 / one_in) * static_cast<double>(totals.tcp),
              0.06 * static_cast<double>(totals.tcp));
  EXPECT_NEAR(static_cast<double>(totals.flows) * one_in, 256, 110);
  ASSERT_TRUE(ticks.back().rtt);
  EXPECT_NEAR(milliseconds(ticks.back().rtt->p50), 20.0, 2.0);
}

// From all to one in eight and back, in the middle of everything: a tick is void, nothing is invented.
TEST(SampledEstimatorChange, InventsNoLossAndNoOutage) {
  Crowd crowd;
  crowd.run_until(2000);
  const std::size_t all = crowd.wire.estimator.totals().flows;
  crowd.wire.estimator.follow({.one_in = 8});
  const auto narrowed = crowd.run_until(3100);
  EXPECT_FALSE(narrowed.front().valid);
  EXPECT_FALSE(narrowed.front().delivered_bytes);
  for (std::size_t i = 1; i < narrowed.size(); ++i) EXPECT_TRUE(narrowed[i].valid) << i;
  EXPECT_LT(crowd.wire.estimator.totals().flows, all / 4) << "who is not followed has left";
  for (const SiteMeasurement& m : narrowed) {
    EXPECT_FALSE(m.unanswered_since && m.at - *m.unanswered_since > 200ms);
    for (const Cohort& c : m.mature) EXPECT_LT(c.lost_beyond, 0.1 * c.segments + 5);
  }
  crowd.wire.estimator.follow({.one_in = 1});
  const auto widened = crowd.run_until(5000);
  EXPECT_TRUE(widened.front().valid);
  EXPECT_EQ(crowd.wire.estimator.totals().flows, all);
  const Sum sum = sum_of(widened);
  EXPECT_NEAR(static_cast<double>(sum.lost) / static_cast<double>(sum.segments), 0.0196, 0.0025);
  EXPECT_EQ(sum.lost_before, 0U);
  for (const auto* part : {&narrowed, &widened}) {
    for (const SiteMeasurement& m : *part) {
      if (!m.delivered) continue;
      const double sent = static_cast<double>(m.sent.bits()) / seconds(m.interval);
      EXPECT_NEAR(static_cast<double>(m.delivered->rate.bps()) / sent, 1.0, 0.12)
          << seconds(m.at.time_since_epoch());
    }
  }
  EXPECT_TRUE(narrowed.back().delivered);
  EXPECT_TRUE(widened.back().delivered);
}

// A super-packet is charged as the frames that it becomes, followed or not.
TEST(SampledEstimatorBytes, SuperPacketsCountAlikeFollowedOrNot) {
  std::optional<std::uint64_t> followed;
  for (const std::uint32_t one_in : {1U, 64U}) {
    Wire wire;
    wire.estimator.follow({.one_in = one_in});
    for (std::uint16_t port = 1; port <= 100; ++port) {
      TcpSpec s = wire.out(0, 14'600);
      s.source_port = port;
      wire.send(port, s);
    }
    const std::uint64_t sent = wire.tick(100).outbound[0].sent.count();
    EXPECT_EQ(sent, 100U * (14'600U + 10 * 54));
    EXPECT_EQ(sent, followed.value_or(sent));
    followed = sent;
  }
}

// One followed connection speaks to a host that is gone; the others, left out, are answered: no outage.
TEST(SampledEstimatorLife, AcksOfConnectionsThatAreLeftOutCount) {
  const FlowSample sample{.one_in = 2};
  Wire wire;
  wire.estimator.follow(sample);
  for (std::uint16_t port = 1; port <= 20; ++port) {
    for (int i = 0; i < 10; ++i) {
      TcpSpec data = wire.out(static_cast<std::uint32_t>(i) * 1000, 1000);
      data.source_port = port;
      wire.send(port + i * 100.0, data);
    }
  }
  const auto unanswered = [](const SiteMeasurement& m) { return m.unanswered_since.has_value(); };
  EXPECT_TRUE(unanswered(wire.tick(1000).outbound[0])) << "nobody has answered yet";
  std::size_t left_out = 0;
  for (std::uint16_t port = 1; port <= 20; ++port) {
    TcpSpec ack = wire.in(10'000);
    ack.destination_port = port;
    const std::uint64_t before = wire.estimator.totals().unsampled;
    Wire probe;  // tells which connections the sample leaves out
    probe.estimator.follow(sample);
    probe.send(1, ack);
    if (probe.estimator.totals().unsampled == 0) continue;  // followed: it stays silent
    wire.send(1000.0 + port, ack);
    left_out += wire.estimator.totals().unsampled - before;
  }
  ASSERT_GT(left_out, 0U);
  EXPECT_FALSE(unanswered(wire.tick(1100).outbound[0]));
}

}  // namespace
}  // namespace weir
