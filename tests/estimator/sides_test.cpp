#include "estimator/sides.hpp"

#include <gtest/gtest.h>

#include "estimator/remote_bases.hpp"

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

Placement place(Sides& sides, const char* source, const char* destination, bool syn = false) {
  return sides.place(address(source), address(destination), syn, at_ms(1));
}

TEST(Sides, TheLongestPrefixOfTheFarAddressDecides) {
  Sides sides({{prefix("10.20.0.0/16"), prefix("2001:db8:20::/48")},
               {prefix("10.20.7.0/24")},
               {prefix("10.0.0.0/8")}},
              {});
  Placement p = place(sides, "192.0.2.1", "10.20.1.1");
  EXPECT_EQ(p.site, 0U);
  EXPECT_TRUE(p.source_inside);
  p = place(sides, "10.20.7.9", "192.0.2.1");
  EXPECT_EQ(p.site, 1U);
  EXPECT_FALSE(p.source_inside);
  p = place(sides, "10.1.1.1", "10.20.7.9");  // both in sites: the longer prefix is far
  EXPECT_EQ(p.site, 1U);
  EXPECT_TRUE(p.source_inside);
  p = place(sides, "2001:db8:20::5", "2001:db8::1");
  EXPECT_EQ(p.site, 0U);
  EXPECT_FALSE(p.source_inside);
  EXPECT_TRUE(sides.finding().inside.empty()) << "nothing had to be inferred";
}

TEST(Sides, InsideDecidesForElsewhere) {
  Sides sides({{prefix("10.20.0.0/16")}}, {prefix("192.0.2.0/24")});
  Placement p = place(sides, "198.51.100.1", "192.0.2.1");
  EXPECT_EQ(p.site, 1U);
  EXPECT_FALSE(p.source_inside);
}

TEST(Sides, InfersInTheDeclaredOrder) {
  Sides sides({}, {});
  EXPECT_EQ(place(sides, "192.0.2.1", "10.0.0.1").basis, SideBasis::private_address);
  EXPECT_FALSE(place(sides, "192.0.2.1", "10.0.0.1").source_inside);
  EXPECT_EQ(place(sides, "192.0.2.9", "198.51.100.9", true).basis, SideBasis::first_syn);
  for (int i = 0; i < 5; ++i) static_cast<void>(place(sides, "192.0.2.9", "203.0.113.5", true));
  const Placement busy = place(sides, "203.0.113.77", "192.0.2.9");
  EXPECT_EQ(busy.basis, SideBasis::commonest);
  EXPECT_FALSE(busy.source_inside);
}

// The tap stands at the server: it answers at once, the client only after the path's RTT.
TEST(Sides, TheNearerEndIsOurs) {
  Sides sides({}, {});
  const IpAddress client = address("10.0.0.1");
  const IpAddress server = address("192.0.2.7");
  EXPECT_TRUE(place(sides, "10.0.0.1", "192.0.2.7", true).source_inside);
  EXPECT_FALSE(sides.host_answered(server, client, 200us, at_ms(2)));
  EXPECT_EQ(sides.host_answered(client, server, 100ms, at_ms(3)), false);
  const Placement p = place(sides, "10.0.0.1", "192.0.2.7");
  EXPECT_EQ(p.basis, SideBasis::nearness);
  EXPECT_FALSE(p.source_inside);
  const SideFinding finding = sides.finding();
  EXPECT_EQ(finding.basis, SideBasis::nearness);
  ASSERT_FALSE(finding.inside.empty());
  EXPECT_EQ(finding.inside.front(), server);
}

TEST(Sides, StrangersCannotMakeItGrow) {
  Sides sides({}, {});
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    IpAddress a = address("2001:db8::");
    a.bytes[12] = static_cast<std::uint8_t>(i >> 16U);
    a.bytes[13] = static_cast<std::uint8_t>(i >> 8U);
    a.bytes[14] = static_cast<std::uint8_t>(i);
    static_cast<void>(sides.place(a, address("2001:db8:1::1"), false, at_ms(i)));
  }
  EXPECT_LE(sides.finding().inside.size(), 16U);
}

// A flow whose side was guessed wrong moves as soon as the nearer end shows, and takes its cohorts out of the
// wrong sum.
TEST(Sides, AFlowThatWasGuessedWrongMoves) {
  Wire wire{EstimatorSettings{}};
  TcpSpec syn = wire.out(0, 0);
  syn.seq -= 1;
  syn.flags = kTcpSyn;
  wire.send(0, syn);
  TcpSpec answer = wire.in(0);
  answer.seq -= 1;
  answer.flags = kTcpSyn | kTcpAck;
  wire.send(0.2, answer);  // who was called answers at once ...
  wire.send(100,
            wire.out(0, 0));  // ... the caller only after the path's RTT: the tap stands at the called one
  TcpSpec data = wire.in(0);
  for (std::uint32_t i = 0; i < 10; ++i) {
    data.seq = wire.peer_base + i * 1000;
    data.payload = 1000;
    data.ip_id = wire.next_id++;
    wire.send(110 + i * 0.1, data);
  }
  TcpSpec ack = wire.out(0, 0);
  ack.ack = wire.peer_base + 10'000;
  wire.send(210.9, ack);
  EXPECT_EQ(wire.estimator.sides().basis, SideBasis::nearness);
  EXPECT_EQ(wire.outbound().data, 10U);
  EXPECT_EQ(wire.inbound().data, 0U);
}

TEST(RemoteBases, ANewFlowTakesTheOlderBaseOfItsHost) {
  RemoteBases bases;
  EXPECT_EQ(bases.learn(address("10.20.0.1"), 20ms, 20ms, at_ms(0)), 20ms);
  EXPECT_EQ(bases.learn(address("10.20.0.1"), 120ms, 120ms, at_ms(1000)), 20ms);
}

TEST(RemoteBases, ANetworkLendsItsBaseOnlyWhenItsHostsAgree) {
  for (const Duration second : {Duration(21ms), Duration(80ms)}) {
    RemoteBases bases;
    for (double ms : {0.0, 31'000.0}) {
      static_cast<void>(bases.learn(address("10.20.0.1"), 20ms, 20ms, at_ms(ms)));
      static_cast<void>(bases.learn(address("10.20.0.2"), second, second, at_ms(ms)));
    }
    const Duration newcomer = bases.learn(address("10.20.0.3"), 120ms, 120ms, at_ms(32'000));
    EXPECT_EQ(newcomer, second == 21ms ? Duration(20ms) : Duration(120ms));
  }
}

TEST(RemoteBases, BasesAreForgottenAfterTenMinutes) {
  RttFloor floor;
  floor.add(20ms, at_ms(0));
  floor.add(80ms, at_ms(301'000));
  EXPECT_EQ(floor.value(), Duration(20ms));
  floor.add(80ms, at_ms(602'000));
  EXPECT_EQ(floor.value(), Duration(80ms));
}

}  // namespace
}  // namespace weir
