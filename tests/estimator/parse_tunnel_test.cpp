// Frames in tunnels: what of them is the inner packet's, what is the frame's, and where looking through ends.
#include <random>

#include <gtest/gtest.h>

#include "estimator/parse.hpp"

#include "packet_builder.hpp"

namespace weir {
namespace {

using namespace weir::test;

ParseOutcome parse(const Packet& frame, PacketRecord& record) {
  return parse_frame(as_frame(frame, at_ms(1)), record);
}

Packet ethernet_of(const OuterSpec& outer, unsigned protocol, const Packet& payload) {
  return behind_ethernet(outer.source.family == Family::v4 ? 0x0800 : 0x86dd,
                         in_ip(outer, protocol, payload));
}

OuterSpec outer6() {
  return {.source = address("2001:db8:f::1"), .destination = address("2001:db8:f::9")};
}

TcpSpec inner4() {
  return {.seq = 1000, .ack = 77, .payload = 100, .traffic_class = 0x28, .ip_id = 4242, .timestamps = true};
}

TcpSpec inner6() {
  TcpSpec s = inner4();
  s.source = address("2001:db8::1");
  s.destination = address("2001:db8:20::1");
  return s;
}

unsigned ethertype_of(const TcpSpec& s) {
  return s.source.family == Family::v4 ? 0x0800 : 0x86dd;
}

Packet frame_of(const TcpSpec& s) {
  return behind_ethernet(ethertype_of(s), tcp_packet(s));
}

struct TunnelCase {
  const char* name;
  Packet frame;
  TcpSpec inner;
  OuterSpec outer;
};

/// Each kind of tunnel over each version of IP.
std::vector<TunnelCase> tunnels() {
  const std::string_view labels = "00010040 00011140";
  std::vector<TunnelCase> all;
  for (const OuterSpec& o : {OuterSpec{.traffic_class = 0xb8, .ip_id = 7}, outer6()}) {
    for (const TcpSpec& s : {inner4(), inner6()}) {
      const auto add = [&](const char* name, unsigned protocol, const Packet& payload) {
        all.push_back({name, ethernet_of(o, protocol, payload), s, o});
      };
      const Packet ip = tcp_packet(s);
      const Packet frame = frame_of(s);
      const unsigned type = ethertype_of(s);
      add("IP in IP", s.source.family == Family::v4 ? 4 : 41, ip);
      add("GRE", 47, in_gre(0, "", type, ip));
      add("GRE, checksum", 47, in_gre(0x8000, "abcd0000", type, ip));
      add("GRE, key", 47, in_gre(0x2000, "00000007", type, ip));
      add("GRE, sequence", 47, in_gre(0x1000, "00000001", type, ip));
      add("GRE, all of them", 47, in_gre(0xb000, "abcd0000 00000007 00000001", type, ip));
      add("GRE, bits to be ignored", 47, in_gre(0x03f8, "", type, ip));
      add("GRE, Ethernet", 47, in_gre(0x2000, "00000007", 0x6558, frame));
      add("GRE, MPLS", 47, in_gre(0, "", 0x8847, behind(labels, ip)));
      add("VXLAN", 17, in_vxlan(frame));
      add("VXLAN, Linux's port", 17, in_vxlan(frame, 8472));
      add("VXLAN, tagged", 17,
          in_vxlan(behind(type == 0x0800 ? "020200020200 020000000001 8100 0007 0800"
                                         : "020200020200 020000000001 8100 0007 86dd",
                          ip)));
    }
  }
  return all;
}

// IP (tos 0xb8, id 7, proto GRE (47)) 192.0.2.1 > 198.51.100.9: GREv0, proto IPv4 (0x0800), length ...
//   IP (tos 0x28, id 4242, proto TCP (6)) 10.1.0.1.40000 > 10.20.0.1.5001: Flags [.], seq 1000:1100, ...
TEST(ParseTunnel, TheSegmentIsTheInnerOneTheBytesAreTheFrames) {
  for (const TunnelCase& c : tunnels()) {
    PacketRecord r;
    ASSERT_EQ(parse(c.frame, r), ParseOutcome::tcp) << c.name;
    EXPECT_TRUE(r.tunnelled) << c.name;
    EXPECT_EQ(r.source, c.inner.source) << c.name;
    EXPECT_EQ(r.destination, c.inner.destination) << c.name;
    EXPECT_EQ(r.outer_source, c.outer.source) << c.name;
    EXPECT_EQ(r.outer_destination, c.outer.destination) << c.name;
    EXPECT_EQ(r.traffic_class, c.outer.traffic_class) << c.name;
    EXPECT_EQ(r.protocol, 6) << c.name;
    EXPECT_EQ(r.ip_id, c.inner.source.family == Family::v4 ? 4242 : 0) << c.name;
    EXPECT_EQ(r.sequence, 1000U) << c.name;
    EXPECT_EQ(r.source_port, 40000) << c.name;
    EXPECT_TRUE(r.has_timestamp) << c.name;
    EXPECT_EQ(r.payload, 100U) << c.name;
    EXPECT_EQ(r.frame_bytes, c.frame.length) << c.name;
    EXPECT_EQ(r.headers_bytes, c.frame.length - 100) << c.name;
  }
}

TEST(ParseTunnel, ABareFrameHasNoOuterAddresses) {
  PacketRecord r;
  ASSERT_EQ(parse(frame_of(inner4()), r), ParseOutcome::tcp);
  EXPECT_FALSE(r.tunnelled);
}

// IP6 2001:db8:f::1 > 2001:db8:f::9: DSTOPT (opt_type 0x04: tunnel encapsulation limit 4) IP ..., as Linux's
//   ip6tnl sends it (RFC 2473, 4.1.1)
TEST(ParseTunnel, TheLimitOfNestingStandsInFrontOfTheInnerPacket) {
  const Packet frame = ethernet_of(outer6(), 60, behind("04 00 04 01 04 01 01 00", tcp_packet(inner4())));
  PacketRecord r;
  ASSERT_EQ(parse(frame, r), ParseOutcome::tcp);
  EXPECT_EQ(r.source, inner4().source);
  EXPECT_EQ(r.headers_bytes, frame.length - 100);
}

/// The outermost header's own, and nothing more.
void expect_outer_bytes(const char* what, const Packet& frame, std::uint8_t protocol) {
  PacketRecord r;
  ASSERT_EQ(parse(frame, r), ParseOutcome::ip) << what;
  EXPECT_FALSE(r.tunnelled) << what;
  EXPECT_EQ(r.source, OuterSpec{}.source) << what;
  EXPECT_EQ(r.destination, OuterSpec{}.destination) << what;
  EXPECT_EQ(r.protocol, protocol) << what;
  EXPECT_EQ(r.frame_bytes, frame.length) << what;
}

// IP 192.0.2.1 > 198.51.100.9: GREv1, call 7, seq 1: PPTP; and what a receiver that knows version 0 must drop
TEST(ParseTunnel, GreThatSaysMoreThanWeKnowIsOpaque) {
  const Packet ip = tcp_packet(inner4());
  const auto gre = [&](unsigned bits, std::string_view fields, unsigned type) {
    return ethernet_of({}, 47, in_gre(bits, fields, type, ip));
  };
  expect_outer_bytes("version 1", gre(0x3001, "00200007 00000001", 0x880b), 47);
  expect_outer_bytes("version 1 with IP", gre(0x0001, "", 0x0800), 47);
  expect_outer_bytes("routing", gre(0x4000, "00000000", 0x0800), 47);
  expect_outer_bytes("strict source route", gre(0x0800, "", 0x0800), 47);
  expect_outer_bytes("recursion", gre(0x0400, "", 0x0800), 47);
  expect_outer_bytes("WCCP", gre(0, "", 0x883e), 47);
  expect_outer_bytes("tag", gre(0, "00070800", 0x8100), 47);
}

// IP 192.0.2.1.55555 > 198.51.100.9.4789: VXLAN, flags [I] (0x08), vni 42; and what only looks a bit like it
TEST(ParseTunnel, VxlanIsToldByItsPortItsFlagAndItsZeros) {
  const Packet frame = frame_of(inner4());
  const auto with = [&](std::string_view header, unsigned port = 4789) {
    return ethernet_of({}, 17, in_udp(port, behind(header, frame)));
  };
  PacketRecord r;
  EXPECT_EQ(parse(with("08000000 ffffff00"), r), ParseOutcome::tcp);
  expect_outer_bytes("another port", with("08000000 00002a00", 4790), 17);
  expect_outer_bytes("no flag", with("00000000 00002a00"), 17);
  expect_outer_bytes("GPE", with("0c000003 00002a00"), 17);
  expect_outer_bytes("GBP", with("88000007 00002a00"), 17);
  expect_outer_bytes("the last byte", with("08000000 00002a01"), 17);

  Packet answer = with("08000000 00002a00", 55555);  // 4789 is where it comes from
  answer.bytes[14 + 20] = std::byte{4789 >> 8};
  answer.bytes[14 + 20 + 1] = std::byte{4789 & 0xff};
  expect_outer_bytes("the source port", answer, 17);
}

TEST(ParseTunnel, FramesInsideThatAreNotIpAreOuterBytes) {
  const Packet arp = behind("ffffffffffff 020000000001 0806 0001 0800 06 04 0001", Packet{});
  expect_outer_bytes("ARP in VXLAN", ethernet_of({}, 17, in_vxlan(arp)), 17);
  expect_outer_bytes("ARP in GRE", ethernet_of({}, 47, in_gre(0, "", 0x6558, arp)), 47);
  const Packet pseudowire = in_gre(0, "", 0x8847, behind("00010140 00000001", frame_of(inner4())));
  expect_outer_bytes("Ethernet behind a label", ethernet_of({}, 47, pseudowire), 47);
}

// IP 192.0.2.1 > 198.51.100.9: IP 10.1.0.1 > 10.20.0.1: ICMP echo request: the site of the inner addresses
TEST(ParseTunnel, AnotherProtocolInsideHasItsAddressesAndTheOuterClass) {
  const OuterSpec inner{
      .source = address("10.1.0.1"), .destination = address("10.20.0.1"), .traffic_class = 0x28};
  const Packet frame = ethernet_of({.traffic_class = 0xb8}, 4, in_ip(inner, 1, behind("0800 0000", {})));
  PacketRecord r;
  ASSERT_EQ(parse(frame, r), ParseOutcome::ip);
  EXPECT_TRUE(r.tunnelled);
  EXPECT_EQ(r.source, inner.source);
  EXPECT_EQ(r.outer_source, OuterSpec{}.source);
  EXPECT_EQ(r.traffic_class, 0xb8);
  EXPECT_EQ(r.protocol, 1);
  EXPECT_EQ(r.frame_bytes, frame.length);
}

// IP (frag offset 0, flags [+], proto IPIP (4)): the rest of what is inside is in another frame
TEST(ParseTunnel, FragmentsAreNotLookedThrough) {
  Packet outer = ethernet_of({}, 4, tcp_packet(inner4()));
  outer.bytes[14 + 6] = std::byte{0x20};
  expect_outer_bytes("outer fragment", outer, 4);

  Packet inner = ethernet_of({}, 4, tcp_packet(inner4()));
  inner.bytes[14 + 20 + 6] = std::byte{0x20};
  PacketRecord r;
  ASSERT_EQ(parse(inner, r), ParseOutcome::ip);
  EXPECT_EQ(r.source, inner4().source) << "a fragment has its addresses";
}

// The bound: an IP header behind four tunnels is the last one.
TEST(ParseTunnel, AreNestedFourDeepAtMost) {
  for (int deep = 1; deep <= 8; ++deep) {
    Packet packet = tcp_packet(inner4());
    for (int i = 1; i <= deep; ++i) {
      OuterSpec o;
      o.source.bytes[3] = static_cast<std::uint8_t>(i);
      packet = i % 2 == 0 ? in_ip(o, 47, in_gre(0, "", 0x0800, packet)) : in_ip(o, 4, packet);
    }
    const Packet frame = behind_ethernet(0x0800, packet);
    PacketRecord r;
    const ParseOutcome outcome = parse(frame, r);
    EXPECT_EQ(outcome, deep <= kMostTunnels ? ParseOutcome::tcp : ParseOutcome::ip) << deep;
    EXPECT_EQ(r.frame_bytes, frame.length) << deep;
    EXPECT_EQ(r.outer_source.bytes[3], deep) << "the outermost, " << deep;
    if (deep <= kMostTunnels) {
      EXPECT_EQ(r.source, inner4().source) << deep;
      EXPECT_EQ(r.headers_bytes, frame.length - 100) << deep;
    } else {
      EXPECT_EQ(r.source.bytes[3], deep - kMostTunnels) << "the last that was looked at, " << deep;
    }
  }
}

// Cut at every byte: the frame is malformed only while its own headers are cut, and all its bytes count from
// then on, for the outer addresses until the inner ones are there.
TEST(ParseTunnel, TakesEveryTruncation) {
  for (const TunnelCase& c : tunnels()) {
    const std::size_t outer_end = 14U + (c.outer.source.family == Family::v4 ? 20U : 40U);
    const std::size_t inner_at = c.frame.bytes.size() - ip_packet(c.inner).size();
    const std::size_t tcp_at = inner_at + (c.inner.source.family == Family::v4 ? 20U : 40U);
    for (std::size_t length = 0; length <= c.frame.bytes.size(); ++length) {
      // A copy of exactly this length, so that the sanitizer sees one byte too far.
      const Packet cut{
          .bytes = Bytes8(c.frame.bytes.begin(), c.frame.bytes.begin() + static_cast<std::ptrdiff_t>(length)),
          .length = c.frame.length};
      PacketRecord r;
      const ParseOutcome outcome = parse(cut, r);
      ASSERT_EQ(outcome, length < outer_end     ? ParseOutcome::malformed
                         : length < tcp_at + 20 ? ParseOutcome::ip
                                                : ParseOutcome::tcp)
          << c.name << " cut at " << length;
      if (outcome == ParseOutcome::malformed) continue;
      ASSERT_EQ(r.frame_bytes, c.frame.length) << c.name << " cut at " << length;
      ASSERT_EQ(r.tunnelled, length >= tcp_at) << c.name << " cut at " << length;
      ASSERT_EQ(r.source, length >= tcp_at ? c.inner.source : c.outer.source)
          << c.name << " cut at " << length;
    }
  }
}

// What contradicts itself inside a tunnel is its affair: the bytes are there.
TEST(ParseTunnel, ContradictionsInsideAreNotTheFrames) {
  const Packet good = ethernet_of({}, 4, tcp_packet(inner4()));
  constexpr std::size_t kInner = 14 + 20;
  const auto with = [&](std::size_t at, unsigned value) {
    Packet bad = good;
    bad.bytes[kInner + at] = static_cast<std::byte>(value);
    return bad;
  };
  expect_outer_bytes("version 6", with(0, 0x65), 4);
  expect_outer_bytes("header of 16 bytes", with(0, 0x44), 4);
  expect_outer_bytes("total length below the header", with(3, 10), 4);
  expect_outer_bytes("total length beyond the outer one", with(2, 0x7f), 4);
  for (const unsigned data_offset : {0x40U, 0xf0U}) {
    Packet bad = with(20 + 12, data_offset);
    if (data_offset == 0xf0) bad.bytes[kInner + 3] = std::byte{60};  // ... behind the packet's end
    PacketRecord r;
    ASSERT_EQ(parse(bad, r), ParseOutcome::ip) << data_offset;
    EXPECT_EQ(r.source, inner4().source) << "its IP header is whole";
  }
}

// VXLAN that carries frames padded to 60 bytes, as a switch hands them in: the padding is no payload
TEST(ParseTunnel, PaddingInsideIsNotPayload) {
  Packet frame = frame_of({});
  frame.bytes.resize(60);
  frame.length = 60;
  const Packet outer = ethernet_of({}, 17, in_vxlan(frame));
  PacketRecord r;
  ASSERT_EQ(parse(outer, r), ParseOutcome::tcp);
  EXPECT_EQ(r.payload, 0U);
  EXPECT_EQ(r.frame_bytes, outer.length);
}

// Super-packets of a tunnel: the inner length counts where there is one, else what the outer one leaves, else
// what the frame leaves.
TEST(ParseTunnel, ASuperPacketsPayloadIsFoundThroughEveryLengthThatIsZero) {
  for (const bool inner_zero : {false, true}) {
    for (const bool outer_zero : {false, true}) {
      for (TcpSpec s : {inner4(), inner6()}) {
        s.payload = outer_zero && inner_zero ? 100'000 : 60'000;
        s.zero_total_length = inner_zero;
        for (OuterSpec o : {OuterSpec{}, outer6()}) {
          o.zero_total_length = outer_zero;
          const Packet frame = ethernet_of(o, 17, in_vxlan(frame_of(s)));
          PacketRecord r;
          ASSERT_EQ(parse(frame, r), ParseOutcome::tcp);
          EXPECT_EQ(r.payload, s.payload);
          EXPECT_EQ(r.frame_bytes, frame.length);
          EXPECT_EQ(r.headers_bytes, frame.length - s.payload);
        }
      }
    }
  }
}

TEST(ParseTunnel, TakesAnyBytes) {
  const std::vector<TunnelCase> cases = tunnels();
  std::mt19937 random(7);
  for (int round = 0; round < 40'000; ++round) {
    Packet frame = cases[random() % cases.size()].frame;
    for (int flips = 0; flips < 4; ++flips)
      frame.bytes[random() % frame.bytes.size()] = static_cast<std::byte>(random());
    frame.bytes.resize(random() % (frame.bytes.size() + 1));
    PacketRecord r;
    const ParseOutcome outcome = parse(frame, r);
    if (outcome == ParseOutcome::tcp) {
      EXPECT_GE(r.tcp_header_bytes, 20);
      EXPECT_GE(r.frame_bytes, r.headers_bytes + r.payload);
    }
    if (outcome == ParseOutcome::ip) {
      EXPECT_GE(r.frame_bytes, frame.length);
    }
  }
}

}  // namespace
}  // namespace weir
