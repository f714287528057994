// One row a connection, whatever became of it. Times are milliseconds.
#include "estimator/flow_log.hpp"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "estimator/accounts.hpp"

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

EstimatorSettings with_flows(std::size_t most = 100) {
  EstimatorSettings settings = one_site();
  settings.keep_accounts = true;
  settings.keep_flows = most;
  return settings;
}

FlowListing flows_of(const Wire& wire) {
  return wire.estimator.accounts()->flows().value_or(FlowListing{});
}

// 30 > seq 0:1000 1000:2000   50 < ack 0, sack {1000:2000}   51 > seq 0:1000   71 < ack 2000
TEST(FlowLog, TellsWhatPassedOurSideFirst) {
  Wire wire(with_flows());
  wire.open(0);
  const auto ef = [&](double ms, std::uint32_t seq) {
    TcpSpec s = wire.out(seq, 1000);
    s.traffic_class = 46U << 2U;
    wire.send(ms, s);
  };
  ef(30, 0);
  ef(30.1, 1000);
  wire.ack(50.1, 0, {{1000, 2000}});
  ef(51, 0);
  wire.ack(71, 2000);
  const FlowListing flows = flows_of(wire);
  ASSERT_EQ(flows.rows.size(), 1U);
  EXPECT_EQ(flows.omitted, 0U);
  const FlowRow& row = flows.rows[0];
  EXPECT_EQ(row.inside, address("10.1.0.1"));
  EXPECT_EQ(row.inside_port, 40000);
  EXPECT_EQ(row.far, address("10.20.0.1"));
  EXPECT_EQ(row.far_port, 5001);
  EXPECT_EQ(row.site, 0U);
  EXPECT_EQ(row.state, FlowState::open);
  EXPECT_EQ(row.first, at_ms(0));
  EXPECT_EQ(row.last, at_ms(71));
  EXPECT_EQ(row.outbound.dscp, 46);
  EXPECT_EQ(row.outbound.segments, 3U);
  EXPECT_EQ(row.outbound.retransmitted, 1U);
  EXPECT_EQ(row.outbound.spurious, 0U);
  EXPECT_EQ(row.outbound.sent, Bytes(54 + 4 + 54 + 3 * 1054));
  EXPECT_EQ(row.outbound.least_rtt, 20ms);
  EXPECT_EQ(row.outbound.smoothed_rtt, 20ms);
  EXPECT_EQ(row.inbound.segments, 0U);
  EXPECT_EQ(row.inbound.least_rtt, Duration::zero());
}

// The far host opened it, and has the smaller address: ours still stands first.
TEST(FlowLog, OurSideIsTheOneInsideWhoeverOpened) {
  EstimatorSettings settings = with_flows();
  settings.sites = {{prefix("10.0.5.0/24")}};
  Wire wire(settings);
  wire.send(0, {.source = address("10.0.5.1"),
                .destination = address("10.1.0.1"),
                .source_port = 50000,
                .destination_port = 80,
                .flags = kTcpSyn});
  const FlowListing flows = flows_of(wire);
  ASSERT_EQ(flows.rows.size(), 1U);
  EXPECT_EQ(flows.rows[0].inside, address("10.1.0.1"));
  EXPECT_EQ(flows.rows[0].inside_port, 80);
  EXPECT_GT(flows.rows[0].inbound.sent, Bytes());
  EXPECT_EQ(flows.rows[0].outbound.sent, Bytes());
}

class FlowStates : public testing::Test {
 protected:
  [[nodiscard]] FlowState state() const {
    const FlowListing flows = flows_of(wire_);
    return flows.rows.size() == 1 ? flows.rows[0].state : FlowState::open;
  }
  void send(double ms, TcpSpec s, unsigned flags) {
    s.flags = flags;
    wire_.send(ms, s);
  }
  Wire wire_{with_flows()};
};

TEST_F(FlowStates, ASynWithoutAnswerIsHalfOpen) {
  send(0, wire_.out(0, 0), kTcpSyn);
  send(1000, wire_.out(0, 0), kTcpSyn);
  EXPECT_EQ(state(), FlowState::half_open);
}

TEST_F(FlowStates, DataWithoutAnAnswerIsOneWay) {
  wire_.data(0, 0);
  EXPECT_EQ(state(), FlowState::one_way);
}

TEST_F(FlowStates, AResetClosesAndSoDoTwoFins) {
  wire_.open(0);
  EXPECT_EQ(state(), FlowState::open);
  send(100, wire_.out(0, 0), kTcpFin | kTcpAck);
  EXPECT_EQ(state(), FlowState::open) << "the other end may go on";
  send(120, wire_.in(1), kTcpFin | kTcpAck);
  EXPECT_EQ(state(), FlowState::closed);
}

TEST_F(FlowStates, AResetCloses) {
  wire_.open(0);
  send(100, wire_.in(0), kTcpRst);
  EXPECT_EQ(state(), FlowState::closed);
}

TEST(FlowLog, ForgottenFlowsStayInTheList) {
  Wire wire(with_flows());
  wire.open(0);
  wire.data(30, 0);
  for (int second = 1; second <= 90; ++second) {
    for (int tick = 0; tick < 10; ++tick) static_cast<void>(wire.tick(1000.0 * second + 100.0 * tick));
  }
  EXPECT_EQ(wire.estimator.totals().flows, 0U);
  const FlowListing flows = flows_of(wire);
  ASSERT_EQ(flows.rows.size(), 1U);
  EXPECT_EQ(flows.rows[0].outbound.segments, 1U);
  EXPECT_EQ(flows.rows[0].state, FlowState::open);
}

// Other sequence numbers on the same ports: another connection, another row.
TEST(FlowLog, PortsUsedAnewAreTwoRows) {
  Wire wire(with_flows());
  wire.open(0);
  wire.data(30, 0);
  wire.base += 77'000'000;
  wire.open(1000);
  wire.data(1030, 0);
  wire.data(1031, 1000);
  const FlowListing flows = flows_of(wire);
  ASSERT_EQ(flows.rows.size(), 2U);
  EXPECT_EQ(flows.rows[0].outbound.segments, 2U) << "the larger one first";
  EXPECT_EQ(flows.rows[1].outbound.segments, 1U);
  EXPECT_EQ(flows.rows[1].first, at_ms(0));
}

TEST(FlowLog, IsKeptOnlyWhenAskedFor) {
  EstimatorSettings settings = one_site();
  settings.keep_accounts = true;
  Wire wire(settings);
  wire.open(0);
  EXPECT_FALSE(wire.estimator.accounts()->flows());
  EXPECT_EQ(Wire().estimator.accounts(), nullptr);
}

// Whatever is forgotten when: the list holds the largest of all, and counts the others.
TEST(FlowLog, HoldsTheLargestOfAll) {
  for (std::uint32_t seed = 1; seed <= 50; ++seed) {
    std::mt19937 random(seed);
    FlowLog log(5);
    std::vector<std::uint64_t> sizes;
    for (std::uint32_t flow = 1; flow <= 40; ++flow) {
      sizes.push_back(random() % 1000);
      PacketRecord record;
      record.time = at_ms(flow);
      log.packet({.flow = flow, .charged = Bytes(sizes.back())}, record);
      if (random() % 2 == 0) log.ended(flow);
      if (random() % 4 == 0) log.ended(1 + static_cast<std::uint32_t>(random() % flow));
    }
    std::sort(sizes.rbegin(), sizes.rend());
    const FlowListing flows = log.listing();
    ASSERT_EQ(flows.rows.size(), 5U);
    EXPECT_EQ(flows.omitted, 35U);
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(flows.rows[i].sent(), Bytes(sizes[i])) << "seed " << seed;
  }
}

TEST(FlowLog, PassesOverFlowsThatItDoesNotKnow) {
  FlowLog log(5);
  log.classified(7, 0, 1, {.kind = SegmentClass::retransmitted, .segments = 1});
  log.losses_undone(7, 1, 1);
  log.rtt_sampled(7, 1, 1ms);
  log.ended(7);
  EXPECT_TRUE(log.listing().rows.empty());
}

}  // namespace
}  // namespace weir
