// Connections inside tunnels are measured as bare ones are; their bytes are the frames', and belong to the
// site that the classifier shapes them for.
#include <gtest/gtest.h>

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;

/// Tunnel ends on the way of the segment.
OuterSpec around(const TcpSpec& s) {
  OuterSpec outer;
  if (s.source == address("10.20.0.1")) std::swap(outer.source, outer.destination);
  return outer;
}

Packet in_ipip(const TcpSpec& s) {
  return behind_ethernet(0x0800, in_ip(around(s), 4, tcp_packet(s)));
}
Packet in_keyed_gre(const TcpSpec& s) {
  return behind_ethernet(0x0800, in_ip(around(s), 47, in_gre(0x2000, "00000007", 0x0800, tcp_packet(s))));
}
Packet in_vxlan_frame(const TcpSpec& s) {
  return behind_ethernet(0x0800, in_ip(around(s), 17, in_vxlan(behind_ethernet(0x0800, tcp_packet(s)))));
}

struct Kind {
  const char* name;
  Packet (*pack)(const TcpSpec&);
  std::uint32_t overhead;
};
const std::vector<Kind> kKinds = {
    {"IP in IP", in_ipip, 20}, {"GRE", in_keyed_gre, 28}, {"VXLAN", in_vxlan_frame, 50}};

struct Findings {
  SegmentTotals outbound;
  RttTotals rtt;
  std::vector<Cohort> cohorts;
  Bytes sent;
};

/// Ten segments, the fourth lost beyond the tap; 20 ms to the far host and back.
Findings measure(Wire wire) {
  wire.open(0);
  for (std::uint32_t i = 0; i < 10; ++i) wire.data(30 + 0.1 * i, i * 1000);
  wire.ack(50, 3000, {{4000, 10'000}});
  wire.data(51, 3000);
  wire.ack(71, 10'000);
  Findings f;
  f.outbound = wire.outbound();
  f.rtt = wire.estimator.rtt_totals(Direction::outbound);
  const TickResult first = wire.tick(100);
  f.sent = first.outbound[0].sent;
  f.cohorts = first.outbound[0].mature;
  wire.ticked = 100;
  for (Cohort& c : wire.cohorts_until(1000)) f.cohorts.push_back(c);
  return f;
}

// 0.0300 IP 192.0.2.1 > 198.51.100.9: GREv0, key=0x7: IP 10.1.0.1.40000 > 10.20.0.1.5001: seq 0:1000
TEST(TunnelFlow, IsMeasuredAsIfItWereBare) {
  const Findings bare = measure(Wire());
  EXPECT_EQ(bare.outbound.retransmitted, 1U);
  constexpr std::uint32_t kFramesOut = 2 + 11;  // of the handshake, and the data
  for (const Kind& kind : kKinds) {
    Wire wire;
    wire.frame_of = kind.pack;
    const Findings f = measure(std::move(wire));
    EXPECT_EQ(f.outbound, bare.outbound) << kind.name;
    EXPECT_EQ(f.rtt.samples, bare.rtt.samples) << kind.name;
    EXPECT_EQ(f.rtt.min, bare.rtt.min) << kind.name;
    ASSERT_EQ(f.cohorts.size(), 1U) << kind.name;
    EXPECT_EQ(f.cohorts[0].segments, bare.cohorts.at(0).segments) << kind.name;
    EXPECT_EQ(f.cohorts[0].lost_beyond, 1U) << kind.name;
    EXPECT_EQ(f.sent.count(), bare.sent.count() + kFramesOut * kind.overhead) << kind.name;
  }
}

// A super-packet of ten segments is ten frames on the wire, each with all the headers of the tunnel.
TEST(TunnelFlow, SuperPacketsCountTheSegmentsInside) {
  for (const Kind& kind : kKinds) {
    for (const bool zero : {false, true}) {
      Wire wire;
      wire.frame_of = kind.pack;
      wire.open(0);
      static_cast<void>(wire.tick(100));
      TcpSpec super = wire.out(0, 10'000);
      super.zero_total_length = zero;
      wire.send(110, super);
      EXPECT_EQ(wire.outbound().data, 10U) << kind.name;
      EXPECT_EQ(wire.tick(200).outbound[0].sent.count(), 10'000U + 10U * (14 + 40 + kind.overhead))
          << kind.name;
    }
  }
}

/// Two sites, of the inner and of the outer addresses; 1500 bytes and more go out by TCP and UDP, an ACK
/// comes back.
TickResult exchange(const Kind& kind, std::string_view inner_site, std::string_view outer_site) {
  EstimatorSettings settings;
  settings.sites = {{prefix(inner_site)}, {prefix(outer_site)}};
  Wire wire(settings);
  wire.frame_of = kind.pack;
  wire.open(0);
  wire.data(30, 0);
  const TcpSpec datagram = wire.out(0, 500);
  Packet frame = wire.frame_of(datagram);
  frame.bytes[frame.bytes.size() - ip_packet(datagram).size() + 9] = std::byte{17};
  wire.estimator.on_frame(as_frame(frame, at_ms(35)));
  wire.ack(50, 1000);
  return wire.tick(100);
}

// The classifier sees the outer header only: what it shapes as a site's is measured as that site's, also when
// the inner addresses are in a site with a longer prefix.
TEST(TunnelFlow, ASiteThatClaimsTheOuterAddressesHasIt) {
  for (const Kind& kind : kKinds) {
    for (const std::string_view inner : {"10.20.0.0/16", "10.20.0.1/32"}) {
      const TickResult tick = exchange(kind, inner, "198.51.100.0/24");
      EXPECT_EQ(tick.outbound[0].sent.count(), 0U) << kind.name;
      EXPECT_EQ(tick.inbound[0].sent.count(), 0U) << kind.name;
      EXPECT_GT(tick.outbound[1].sent.count(), 1500U) << kind.name;
      EXPECT_GT(tick.outbound[1].sent_tcp.count(), 1000U) << kind.name;
      EXPECT_GT(tick.inbound[1].sent.count(), 0U) << kind.name;
    }
  }
}

TEST(TunnelFlow, OtherwiseTheInnerAddressesDecide) {
  for (const Kind& kind : kKinds) {
    const TickResult tick = exchange(kind, "10.20.0.0/16", "203.0.113.0/24");
    EXPECT_GT(tick.outbound[0].sent.count(), 1500U) << kind.name;
    EXPECT_GT(tick.inbound[0].sent.count(), 0U) << kind.name;
    EXPECT_EQ(tick.outbound[1].sent.count(), 0U) << kind.name;
    EXPECT_EQ(tick.outbound[2].sent.count(), 0U) << kind.name;
  }
}

// A frame whose inner part the snap length took away still has outer bytes.
TEST(TunnelFlow, BytesOfAFrameThatIsCutAreTheOuterAddresses) {
  EstimatorSettings settings;
  settings.sites = {{prefix("198.51.100.0/24")}};
  Wire wire(settings);
  Packet frame = in_vxlan_frame(wire.out(0, 1000));
  frame.bytes.resize(14 + 20 + 8 + 8);
  wire.estimator.on_frame(as_frame(frame, at_ms(30)));
  EXPECT_EQ(wire.tick(100).outbound[0].sent.count(), frame.length);
  EXPECT_EQ(wire.estimator.totals().malformed, 0U);
  EXPECT_EQ(wire.estimator.totals().tcp, 0U);
}

}  // namespace
}  // namespace weir
