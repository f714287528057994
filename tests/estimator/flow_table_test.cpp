#include "estimator/flow_table.hpp"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <set>
#include <span>

#include <gtest/gtest.h>
#include <unistd.h>

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;

TcpSpec syn_from(std::uint32_t attacker) {
  TcpSpec s{.flags = kTcpSyn};
  s.source.bytes = {static_cast<std::uint8_t>(11 + (attacker >> 24U)),
                    static_cast<std::uint8_t>(attacker >> 16U), static_cast<std::uint8_t>(attacker >> 8U),
                    static_cast<std::uint8_t>(attacker)};
  s.destination = address("10.20.0.9");
  return s;
}

TEST(FlowTable, FindsBothDirectionsOfAConnection) {
  for (const bool v6 : {false, true}) {
    FlowTable table(FlowLimits{.flows = 10}, 1);
    const auto retire = [](Flow&) { FAIL(); };
    PacketRecord there;
    there.source = address(v6 ? "2001:db8:1::1" : "10.1.0.1");
    there.destination = address(v6 ? "2001:db8:20::1" : "10.20.0.1");
    there.source_port = 1;
    there.destination_port = 2;
    PacketRecord back = there;
    std::swap(back.source, back.destination);
    std::swap(back.source_port, back.destination_port);
    const FlowKey key_there = table.key_of(there);
    const FlowKey key_back = table.key_of(back);
    const auto first = table.find_or_create(key_there, at_ms(0), retire);
    const auto second = table.find_or_create(key_back, at_ms(1), retire);
    EXPECT_TRUE(first.created);
    EXPECT_FALSE(second.created);
    EXPECT_EQ(first.flow, second.flow);
    EXPECT_NE(key_there.sender, key_back.sender);
  }
}

TEST(FlowTable, IPv4AndIPv6WithEqualBytesAreDifferent) {
  PacketRecord v4;
  v4.source = address("1.2.3.4");
  PacketRecord v6 = v4;
  v6.source.family = v6.destination.family = Family::v6;
  EXPECT_FALSE(key_of(v4, 1).same_connection(key_of(v6, 1)));
}

TEST(FlowTable, AnotherSeedSpreadsTheSameConnectionsElsewhere) {
  PacketRecord record;
  record.source = address("1.2.3.4");
  std::size_t equal = 0;
  for (std::uint16_t port = 0; port < 1000; ++port) {
    record.source_port = port;
    equal += key_of(record, 1).hash == key_of(record, 2).hash ? 1U : 0U;
  }
  EXPECT_LE(equal, 1U);
}

/// Bytes of this process that are in memory; 0 where that says nothing of what a program gave back.
std::size_t resident_bytes() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return 0;  // their allocators keep what was given back, to catch who still uses it
#else
  std::ifstream statm("/proc/self/statm");
  std::size_t all = 0;
  std::size_t resident = 0;
  statm >> all >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
#endif
}

// Twice, since an allocator may well give back the first time and keep the second.
TEST(FlowTable, GivesTheMemoryOfExpiredFlowsBack) {
  constexpr std::uint32_t kFlows = 500'000;
  EstimatorSettings settings = one_site();
  settings.max_flows = kFlows;
  Wire wire(std::move(settings));
  const std::size_t empty = wire.estimator.totals().flow_bytes;
  double now = 0;
  for (int round = 0; round < 2; ++round) {
    const std::size_t resident = resident_bytes();
    for (std::uint32_t i = 0; i < kFlows; ++i) wire.send(now + 10 + i * 0.0001, syn_from(i));
    EXPECT_EQ(wire.estimator.totals().flows, kFlows);
    EXPECT_LE(wire.estimator.totals().flow_bytes, kFlows * 160U) << "128 bytes a flow and an index";
    const std::size_t resident_full = resident_bytes();
    for (int tick = 0; tick < 500; ++tick) static_cast<void>(wire.tick(now += 100.0));
    EXPECT_EQ(wire.estimator.totals().flows, 0U);
    EXPECT_LE(wire.estimator.totals().flow_bytes, empty + 2'200'000U) << "a chunk for the next ones";
    if (resident == 0) continue;
    EXPECT_GE(resident_full, resident + kFlows * 100U) << "this test must see the memory that it asks about";
    EXPECT_LE(resident_bytes(), resident + (resident_full - resident) / 5);
  }
}

/// A connection of ours in the middle of a flood.
struct Established {
  std::uint16_t port = 0;
  std::uint32_t seq = 0;
};

// Three million SYNs in half a minute, each from another source, fill the table many times over: it stays
// bounded, who was established stays measured, and connections that open meanwhile find their place.
TEST(FlowTable, ASynFloodOfMillionsCostsNobodyTheirMeasurement) {
  constexpr std::uint32_t kSources = 3'000'000;
  constexpr std::uint32_t kSourcesInATick = 10'000;
  Wire wire;
  std::vector<Established> connections;
  const auto open = [&](double ms) {
    const auto port = static_cast<std::uint16_t>(1000 + connections.size());
    TcpSpec syn = wire.out(0, 0);
    syn.seq -= 1;
    syn.flags = kTcpSyn;
    syn.mss = 1000;
    syn.source_port = port;
    wire.send(ms, syn);
    TcpSpec answer = wire.in(0);
    answer.seq -= 1;
    answer.flags = kTcpSyn | kTcpAck;
    answer.mss = 1000;
    answer.destination_port = port;
    wire.send(ms + 0.5, answer);
    connections.push_back({.port = port});
  };
  const auto send = [&](double ms) {
    for (Established& c : connections) {
      TcpSpec data = wire.out(c.seq, 1000);
      data.source_port = c.port;
      wire.send(ms, data);
      c.seq += 1000;
    }
  };
  const auto acknowledge = [&](double ms) {
    for (const Established& c : connections) {
      TcpSpec ack = wire.in(c.seq);
      ack.destination_port = c.port;
      wire.send(ms, ack);
    }
  };
  for (int i = 0; i < 50; ++i) open(1.0 + i);

  Bytes8 flood = ethernet_frame(syn_from(0));
  std::size_t most_bytes = 0;
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;
  for (std::uint32_t i = 0; i < kSources; ++i) {
    double ms = 100.0 + i * (100.0 / kSourcesInATick);
    for (unsigned byte = 0; byte < 3; ++byte) flood[14 + 12 + 1 + byte] = std::byte(i >> (8 * (2 - byte)));
    wire.estimator.on_frame(
        Frame{.time = at_ms(ms), .wire_length = static_cast<std::uint32_t>(flood.size()), .bytes = flood});
    if (i % kSourcesInATick != kSourcesInATick / 2) continue;
    open(ms);
    send(ms += 0.6);
    send(ms += 0.1);
    acknowledge(ms += 0.5);
    sent += 2 * connections.size();
    const TickResult tick = wire.tick(ms);
    for (const Cohort& c : tick.outbound[0].mature) lost += c.lost_beyond + c.lost_before;
    most_bytes = std::max(most_bytes, wire.estimator.totals().flow_bytes);
  }
  const EstimatorTotals& totals = wire.estimator.totals();
  EXPECT_EQ(totals.flows, FlowLimits{}.flows);
  EXPECT_LE(most_bytes, FlowLimits{}.flows * 160U);
  EXPECT_GE(totals.flows_evicted, kSources - 2 * FlowLimits{}.flows);
  EXPECT_LE(totals.flows_refused, kSources / 100'000) << "only where 32 that may not give way lie together";
  EXPECT_EQ(wire.outbound().fresh, sent);
  EXPECT_EQ(wire.outbound().unknown, 0U);
  EXPECT_EQ(lost, 0U);
  EXPECT_GE(wire.estimator.rtt_totals(Direction::outbound).samples, sent / 2 - connections.size());
}

TEST(FlowTable, WhenNobodyMayGiveWayNewcomersAreRefused) {
  EstimatorSettings settings = one_site();
  settings.max_flows = 4;
  Wire wire(std::move(settings));
  for (std::uint16_t port = 1; port <= 6; ++port) {
    TcpSpec there = wire.out(0, 100);
    there.source_port = port;
    TcpSpec back = wire.in(100);
    back.destination_port = port;
    wire.send(port, there);
    wire.send(port + 0.5, back);
  }
  static_cast<void>(wire.tick(100));
  EXPECT_EQ(wire.estimator.totals().flows, 4U);
  EXPECT_EQ(wire.estimator.totals().flows_refused, 4U);
  EXPECT_EQ(wire.outbound().data, 4U);
}

TEST(FlowTable, IdleFlowsExpireButNotAFarOnes) {
  Wire wire;
  wire.open(0);
  wire.data(30, 0);
  for (int tick = 1; tick <= 150; ++tick) static_cast<void>(wire.tick(tick * 100.0));
  wire.ack(15'030, 1000);  // an RTT of 15 s
  wire.data(15'040, 1000);
  EXPECT_EQ(wire.outbound().fresh, 2U);
  EXPECT_EQ(wire.outbound().unknown, 0U);
  for (int tick = 160; tick <= 800; ++tick) static_cast<void>(wire.tick(tick * 100.0));
  EXPECT_EQ(wire.estimator.totals().flows, 0U);
}

TEST(FlowTable, TheBudgetOfSegmentsHoldsOverAllFlows) {
  SegmentBudget budget{.limit = 64, .used = 0};
  {
    SegmentRing a(budget);
    SegmentRing b(budget);
    std::size_t taken = 0;
    for (std::uint32_t i = 0; i < 100; ++i)
      taken += a.push_back({.range = {i, i + 1}, .sent = at_ms(1)}) ? 1U : 0U;
    for (std::uint32_t i = 0; i < 100; ++i)
      taken += b.push_back({.range = {i, i + 1}, .sent = at_ms(1)}) ? 1U : 0U;
    EXPECT_LE(taken, 64U + 2 * SegmentRing::kOwnSegments);
    EXPECT_LE(budget.used, 64U);
    EXPECT_EQ(a[0].range.begin, 0U);
    EXPECT_EQ(a.first_ending_after(5), 5U);
  }
  EXPECT_EQ(budget.used, 0U);
}

// What was not asked for in time is waited for: a transmission of two segments lives in the lines that are.
TEST(FlowTable, WorkingMemoryIsLeftAloneBehindItsUsualLines) {
  constexpr std::size_t kUsual = 64 * Tracking::kUsualLines;
  static constexpr std::uint8_t kUntouched = 0xa5;
  TrackingPool pool(4, 16);
  HalfFlow owner;
  const TrackingPool::Number number = pool.lend(owner);
  const std::span behind(reinterpret_cast<std::uint8_t*>(&pool[number]) + kUsual, sizeof(Tracking) - kUsual);
  pool.give_back(number);
  std::fill(behind.begin(), behind.end(), kUntouched);  // nobody's now
  ASSERT_EQ(pool.lend(owner), number);
  Tracking& t = pool[number];
  const auto push = [&t](std::uint32_t i) {
    return t.ring.push_back({.range = {i, i + 1}, .sent = at_ms(1), .charged = 1, .segments = 1});
  };
  const auto left_alone = [behind] {
    return std::count(behind.begin(), behind.end(), kUntouched) == static_cast<std::ptrdiff_t>(behind.size());
  };
  EXPECT_TRUE(push(0) && push(1));
  for (SeenSegment& seen : t.seen) seen = {.sequence = 1, .mark = 1, .at = CoarseTime(at_ms(1)), .length = 1};
  t.last_marked = t.last_ack = t.newest_delivered = at_ms(1);
  EXPECT_TRUE(left_alone());
  EXPECT_TRUE(push(2));
  EXPECT_FALSE(left_alone());
  pool.give_back(number);
}

// More directions in flight than there is working memory: resting ones give theirs up, and where none rests,
// new bytes and old ones are still told apart.
TEST(FlowTable, WorkingMemoryIsTakenFromThoseThatRest) {
  TrackingPool pool(2, 1000);
  std::array<HalfFlow, 3> halves;
  PathWindow path(Direction::outbound, at_ms(0));
  const CaptureGap no_gap{.begin = TimePoint::max(), .end = TimePoint::min()};
  const FlowWork work{.trackings = pool, .path = path};
  const auto send = [&](HalfFlow& half, std::uint32_t from) {
    const DataSegment s{.time = at_ms(1), .range = {from, from + 100}, .payload = 100, .wire_segments = 1};
    return half.on_data(s, HalfFlow(), no_gap, work).kind;
  };
  const auto acknowledge = [&](HalfFlow& half, std::uint32_t number) {
    PacketRecord ack;
    ack.time = at_ms(2);
    ack.flags = kTcpAck;
    ack.window = 100;
    ack.acknowledgment = number;
    static_cast<void>(half.on_ack(ack, work));
  };
  for (HalfFlow& half : halves) acknowledge(half, 0);
  EXPECT_EQ(send(halves[0], 0), SegmentClass::fresh);
  EXPECT_EQ(send(halves[1], 0), SegmentClass::fresh);
  EXPECT_EQ(send(halves[2], 0), SegmentClass::fresh);
  EXPECT_EQ(halves[2].tracking(), TrackingPool::kNone) << "nobody rests";
  EXPECT_EQ(send(halves[2], 0), SegmentClass::retransmitted);
  acknowledge(halves[2], 100);
  EXPECT_EQ(send(halves[2], 0), SegmentClass::spurious);
  acknowledge(halves[0], 100);
  EXPECT_EQ(send(halves[2], 100), SegmentClass::fresh);
  EXPECT_EQ(halves[0].tracking(), TrackingPool::kNone);
  EXPECT_NE(halves[2].tracking(), TrackingPool::kNone);
  EXPECT_EQ(send(halves[0], 100), SegmentClass::fresh);
  for (HalfFlow& half : halves) half.leave(work);
  EXPECT_EQ(pool.size(), 0U);
}

/// A direction with a pool of its own, for what strangers may send.
struct Direct {
  explicit Direct(std::size_t trackings = 4) : pool(trackings, 1U << 20U) {}
  SegmentVerdict send(double ms, std::uint32_t from, std::uint32_t bytes, HalfFlow& half) {
    const DataSegment s{.time = at_ms(ms),
                        .range = {from, from + bytes},
                        .payload = bytes,
                        .wire_segments = 1,
                        .charged = Bytes(bytes + 54),
                        .ip_id = next_id++};
    return half.on_data(s, HalfFlow(), CaptureGap{.begin = TimePoint::max(), .end = TimePoint::min()},
                        work());
  }
  AckVerdict ack(double ms, std::uint32_t number, HalfFlow& half) {
    PacketRecord record;
    record.time = at_ms(ms);
    record.flags = kTcpAck;
    record.window = 100;
    record.acknowledgment = number;
    return half.on_ack(record, work());
  }
  [[nodiscard]] FlowWork work() { return {.trackings = pool, .path = path}; }
  TrackingPool pool;
  PathWindow path{Direction::outbound, at_ms(0)};
  std::uint16_t next_id = 1;
};

// A hole of half a gigabyte, filled at every second byte: it falls apart into as many holes as are kept.
TEST(HalfFlow, AHoleThatIsFilledInItsMiddleNeverBecomesMoreThanAreKept) {
  Direct direct;
  HalfFlow half;
  static_cast<void>(half.on_syn({.time = at_ms(0), .range = {0xffffffffU, 0}}, 1460));
  static_cast<void>(direct.send(1, 0, 1, half));
  static_cast<void>(direct.send(2, 1U << 29U, 1, half));
  for (std::uint32_t i = 1; i < 10'000; ++i) static_cast<void>(direct.send(10, i * 2, 1, half));
  EXPECT_LE(direct.pool[half.tracking()].trouble->holes.size(), Trouble::kMostHoles);
  EXPECT_EQ(direct.send(20, 4, 1, half).kind, SegmentClass::unknown) << "the oldest left S";
  half.leave(direct.work());
  EXPECT_EQ(direct.pool.size(), 0U);
}

// Segments that nobody answers, of as many strangers as there is working memory: who is answered is followed.
TEST(HalfFlow, UnansweredSegmentsKeepNobodyFromBeingFollowed) {
  Direct direct(2);
  HalfFlow first;
  HalfFlow second;
  HalfFlow answered;
  static_cast<void>(direct.send(1, 0, 100, first));
  static_cast<void>(direct.send(1, 0, 100, second));
  static_cast<void>(direct.ack(1, 0, answered));
  static_cast<void>(direct.send(2, 0, 100, answered));
  EXPECT_NE(answered.tracking(), TrackingPool::kNone);
  EXPECT_EQ(direct.send(3, 0, 100, answered).kind, SegmentClass::retransmitted);
  for (HalfFlow* half : {&first, &second, &answered}) half->leave(direct.work());
}

// The ring is full and neighbours share an entry: never more than a quarter of the sequence space.
TEST(HalfFlow, MergedSegmentsStayShorterThanTheSequenceSpace) {
  Direct direct;
  HalfFlow half;
  static_cast<void>(direct.ack(0, 0, half));
  for (std::uint32_t i = 0; i < 60'000; ++i) static_cast<void>(direct.send(1, i * 65'000U, 65'000, half));
  const AckVerdict verdict = direct.ack(30, 60'000U * 65'000U - 30'000U, half);
  EXPECT_EQ(verdict.undone.segments, 0U);
  half.leave(direct.work());
}

// Addresses that make the product of the hash zero must not take the ports with them.
TEST(FlowKeys, PortsAloneSpreadTheHash) {
  for (const std::string_view host : {"::1", "0.0.0.0", "158.55.121.185"}) {
    std::set<std::uint32_t> hashes;
    for (std::uint16_t port = 1; port <= 1000; ++port) {
      PacketRecord record;
      record.source = record.destination = address(host);
      record.source_port = port;
      record.destination_port = 443;
      hashes.insert(key_of(record, 0).hash);
    }
    EXPECT_GT(hashes.size(), 990U) << host;
  }
}

TEST(FlowTable, HoldsNothingWhenItMayHoldNothing) {
  EstimatorSettings settings = one_site();
  settings.max_flows = 0;
  Wire wire(std::move(settings));
  wire.data(1, 0);
  EXPECT_EQ(wire.estimator.totals().flows_refused, 1U);
}

// More in flight than a ring holds: bytes are still counted once, losses found, nothing grows.
TEST(FlowTable, AVastWindowIsFollowedWithinTheRing) {
  Wire wire;
  wire.open(0);
  constexpr std::uint32_t kSegments = 40'000;
  for (std::uint32_t i = 0; i < kSegments; ++i) wire.data(30 + i * 0.001, i * 1000);
  TickResult closed = wire.tick(100);
  wire.ack(130, kSegments * 1000);
  closed = wire.tick(200);
  ASSERT_TRUE(closed.outbound[0].delivered_bytes);
  EXPECT_NEAR(static_cast<double>(closed.outbound[0].delivered_bytes->count()), kSegments * 1054.0,
              0.6 * kSegments * 1054.0);
  EXPECT_EQ(wire.outbound().fresh, kSegments);
}

}  // namespace
}  // namespace weir
