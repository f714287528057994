#include "estimator/parse.hpp"

#include <random>

#include <gtest/gtest.h>

#include "estimator/parse_usual.hpp"

#include "packet_builder.hpp"

namespace weir {
namespace {

using namespace weir::test;

ParseOutcome parse(const Bytes8& bytes, std::uint32_t wire, PacketRecord& record, int link_type = 1) {
  return parse_frame(as_frame(bytes, at_ms(1), wire, link_type), record);
}

ParseOutcome parse(const Bytes8& bytes, PacketRecord& record, int link_type = 1) {
  return parse(bytes, static_cast<std::uint32_t>(bytes.size()), record, link_type);
}

// IP (tos 0xb8, ttl 64, id 4242, flags [DF], proto TCP (6), length 76)
//   10.1.0.1.40000 > 10.20.0.1.5001: Flags [P.], seq 1000:1004, ack 77, win 501,
//   options [nop,nop,TS val 9 ecr 8,nop,nop,sack 1 {100:200}], length 4 ... built by the builder
TEST(Parse, ReadsEveryFieldOfATcpSegment) {
  TcpSpec s{.seq = 1000,
            .ack = 77,
            .flags = kTcpAck | kTcpPsh,
            .window = 501,
            .payload = 4,
            .traffic_class = 0xb8,
            .ip_id = 4242,
            .sack = {{100, 200}, {300, 400}},
            .timestamps = true,
            .tsval = 9,
            .tsecr = 8};
  PacketRecord r;
  ASSERT_EQ(parse(ethernet_frame(s), r), ParseOutcome::tcp);
  EXPECT_EQ(r.source, address("10.1.0.1"));
  EXPECT_EQ(r.destination, address("10.20.0.1"));
  EXPECT_EQ(r.source_port, 40000);
  EXPECT_EQ(r.destination_port, 5001);
  EXPECT_EQ(r.sequence, 1000U);
  EXPECT_EQ(r.acknowledgment, 77U);
  EXPECT_EQ(r.window, 501);
  EXPECT_EQ(r.payload, 4U);
  EXPECT_EQ(r.traffic_class, 0xb8);
  EXPECT_EQ(r.ip_id, 4242);
  EXPECT_TRUE(r.has(kTcpPsh));
  EXPECT_TRUE(r.has_timestamp);
  EXPECT_EQ(r.timestamp_value, 9U);
  EXPECT_EQ(r.timestamp_echo, 8U);
  ASSERT_EQ(r.sack_count, 2);
  EXPECT_EQ(r.sack[1], (SequenceRange{300, 400}));
  EXPECT_EQ(r.frame_bytes, 14U + ip_length(s));
  EXPECT_EQ(r.headers_bytes, r.frame_bytes - 4U);
}

// IP 10.1.0.1.40000 > 10.20.0.1.5001: Flags [S], seq 5, win 64240, options [mss 1460], length 0
// (a frame as it came from a wire, padded to 60 bytes: the padding is no payload)
TEST(Parse, PaddingIsNotPayload) {
  Bytes8 frame = ethernet_frame({.seq = 5, .flags = kTcpSyn, .mss = 1460});
  frame.resize(60);
  PacketRecord r;
  ASSERT_EQ(parse(frame, r), ParseOutcome::tcp);
  EXPECT_EQ(r.payload, 0U);
  EXPECT_EQ(r.mss_option, 1460);
  EXPECT_EQ(r.frame_bytes, 60U);
}

// 02:00:00:00:00:01 > 02:02:00:02:02:00, ethertype IPv4, IP 192.0.2.1.443 > 198.51.100.7.51234: Flags [.],
//   seq 305419896, ack 2596069104, win 229, length 0
TEST(Parse, ReadsAHandWrittenFrame) {
  const Bytes8 frame = from_hex(
      "020200020200 020000000001 0800"
      "4500 0028 1c46 4000 4006 0000 c0000201 c6336407"
      "01bb c822 12345678 9abcdef0 5010 00e5 0000 0000");
  PacketRecord r;
  ASSERT_EQ(parse(frame, r), ParseOutcome::tcp);
  EXPECT_EQ(r.source, address("192.0.2.1"));
  EXPECT_EQ(r.destination, address("198.51.100.7"));
  EXPECT_EQ(r.destination_port, 51234);
  EXPECT_EQ(r.sequence, 0x12345678U);
  EXPECT_EQ(r.acknowledgment, 0x9abcdef0U);
  EXPECT_EQ(r.ip_id, 0x1c46);
}

TEST(Parse, KnowsTheLinkTypesOfPortsAndFiles) {
  const TcpSpec s{.seq = 7, .payload = 10};
  const Bytes8 ip = ip_packet(s);
  struct Case {
    const char* name;
    int link_type;
    Bytes8 header;
  };
  const std::vector<Case> cases = {
      {"EN10MB", 1, from_hex("020200020200 020000000001 0800")},
      {"RAW as in files", 101, {}},
      {"RAW as in BSD", 12, {}},
      {"IPV4", 228, {}},
      {"LINUX_SLL", 113, from_hex("0000 0001 0006 020000000001 0000 0800")},
      {"LINUX_SLL2", 276, from_hex("0800 0000 00000002 0001 00 06 0200000000010000")},
      {"NULL", 0, from_hex("02000000")},
      {"LOOP", 108, from_hex("00000002")},
  };
  for (const Case& c : cases) {
    Bytes8 frame = c.header;
    put_all(frame, ip);
    PacketRecord r;
    EXPECT_EQ(parse(frame, r, c.link_type), ParseOutcome::tcp) << c.name;
    EXPECT_EQ(r.payload, 10U) << c.name;
    // One unit: every link counts as if it were Ethernet.
    EXPECT_EQ(r.frame_bytes, 14U + ip_length(s)) << c.name;
  }
  PacketRecord r;
  EXPECT_EQ(parse(ip, r, 9999), ParseOutcome::opaque);
}

struct LinkCase {
  const char* name;
  int link_type;
  const char* header;
  std::uint32_t as_ethernet;  ///< bytes that the header counts for
};

/// IPv4 behind each of the headers, and all of them cut at every byte.
void expect_tcp_behind(const std::vector<LinkCase>& cases) {
  const TcpSpec s{.payload = 10, .timestamps = true};
  for (const LinkCase& c : cases) {
    const Packet frame = behind(c.header, tcp_packet(s));
    PacketRecord r;
    EXPECT_EQ(parse_frame(as_frame(frame, at_ms(1), c.link_type), r), ParseOutcome::tcp) << c.name;
    EXPECT_EQ(r.source, address("10.1.0.1")) << c.name;
    EXPECT_EQ(r.payload, 10U) << c.name;
    EXPECT_EQ(r.frame_bytes, c.as_ethernet + ip_length(s)) << c.name;
    EXPECT_EQ(r.headers_bytes, c.as_ethernet + 20 + 32) << c.name;
    const std::size_t header = frame.bytes.size() - ip_packet(s).size();
    for (std::size_t length = 0; length < frame.bytes.size(); ++length) {
      const Bytes8 cut(frame.bytes.begin(), frame.bytes.begin() + static_cast<std::ptrdiff_t>(length));
      const ParseOutcome outcome = parse(cut, frame.length, r, c.link_type);
      EXPECT_EQ(outcome == ParseOutcome::malformed, length < header + 20) << c.name << " cut at " << length;
    }
  }
}

// PPP: IP (0x0021), length 72: 10.1.0.1.40000 > 10.20.0.1.5001: Flags [.], ..., length 10
// RFC 1661, 6.5 and 6.6: address, control and a leading zero of the protocol may be left away.
TEST(Parse, ReadsPppWhateverItLeavesAway) {
  std::vector<LinkCase> cases;
  for (const int link_type : {9, 50}) {
    cases.push_back({"address, control, two bytes", link_type, "ff 03 0021", 14});
    cases.push_back({"address, control, one byte", link_type, "ff 03 21", 14});
    cases.push_back({"two bytes", link_type, "0021", 14});
    cases.push_back({"one byte", link_type, "21", 14});
    cases.push_back({"MPLS", link_type, "ff 03 0281 00010140", 18});
  }
  expect_tcp_behind(cases);
  const Packet v6 = tcp_packet({.source = address("2001:db8::1"), .destination = address("2001:db8::2")});
  PacketRecord r;
  EXPECT_EQ(parse_frame(as_frame(behind("ff 03 0057", v6), at_ms(1), 9), r), ParseOutcome::tcp);
  EXPECT_EQ(parse_frame(as_frame(behind("57", v6), at_ms(1), 9), r), ParseOutcome::tcp);
}

// PPP: LCP (0xc021), Echo-Request (0x09); VJ compressed TCP (0x002d): not IP as it stands there
TEST(Parse, PppThatIsNotIpIsOpaque) {
  PacketRecord r;
  EXPECT_EQ(parse(from_hex("ff 03 c021 09 01 0008 00000000"), r, 9), ParseOutcome::opaque);
  EXPECT_EQ(parse(from_hex("002d 00000000"), r, 9), ParseOutcome::opaque);
  EXPECT_EQ(parse(from_hex("2d 00000000"), r, 9), ParseOutcome::opaque);
  EXPECT_EQ(r.frame_bytes, 5U);
}

// CHDLC unicast, ethertype IPv4 (0x0800), length 76; on a serial line it is told by its address, 0f or 8f
TEST(Parse, ReadsCiscosHdlc) {
  expect_tcp_behind({{"C_HDLC", 104, "0f 00 0800", 14},
                     {"broadcast", 104, "8f 00 0800", 14},
                     {"serial line", 50, "0f 00 0800", 14},
                     {"MPLS on a serial line", 50, "8f 00 8847 00010140", 18}});
  PacketRecord r;
  EXPECT_EQ(parse(from_hex("8f 00 8035 00000002 00000000 00000000 ffff"), r, 104),
            ParseOutcome::opaque);  // SLARP
}

// PPPoE [ses 0x1] PPP-IP (0x0021); PPPoE PADT [ses 0x1] is of the discovery
TEST(Parse, ReadsPppoeWithoutItsEthernetHeader) {
  expect_tcp_behind({{"session", 51, "11 00 0001 0050 0021", 22}});
  PacketRecord r;
  EXPECT_EQ(parse(from_hex("11 a7 0001 0000 0021"), r, 51), ParseOutcome::opaque);
}

// FDDI async4 02:00:00:00:00:01 > 02:02:00:02:02:00, oui Ethernet (0x000000), ethertype IPv4 (0x0800)
TEST(Parse, ReadsFddi) {
  expect_tcp_behind({{"asynchronous", 10, "54 020200020200 020000000001 aaaa03 000000 0800", 14},
                     {"synchronous", 10, "d0 020200020200 020000000001 aaaa03 000000 0800", 14},
                     {"tagged", 10, "50 020200020200 020000000001 aaaa03 000000 8100 0007 0800", 18}});
  PacketRecord r;
  EXPECT_EQ(parse(from_hex("41 020200020200 020000000001 aaaa03 000000 0800 45"), r, 10),
            ParseOutcome::opaque);  // SMT
  EXPECT_EQ(parse(from_hex("54 020200020200 020000000001 424203 0000000000"), r, 10), ParseOutcome::opaque);
}

// 02:00:00:00:00:01 > 02:02:00:02:02:00, 802.3, length 80: LLC, dsap SNAP (0xaa), ssap SNAP (0xaa),
//   ctrl 0x03: oui Ethernet (0x000000), ethertype IPv4 (0x0800)
TEST(Parse, ReadsSnapInEthernet) {
  expect_tcp_behind(
      {{"RFC 1042", 1, "020200020200 020000000001 0050 aaaa03 000000 0800", 22},
       {"802.1H", 1, "020200020200 020000000001 0050 aaaa03 0000f8 0800", 22},
       {"tagged", 1, "020200020200 020000000001 8100 0007 0050 aaaa03 000000 0800", 26},
       {"tagged behind SNAP", 1, "020200020200 020000000001 0054 aaaa03 000000 8100 0007 0800", 26},
       {"cooked", 113, "0000 0001 0006 020000000001 0000 0004 aaaa03 000000 0800", 22}});
  PacketRecord r;
  const auto outcome = [&](const char* hex) { return parse(from_hex(hex), r); };
  EXPECT_EQ(outcome("0180c2000000 020000000001 0026 424203 0000000000"), ParseOutcome::opaque);        // STP
  EXPECT_EQ(outcome("01000ccccccc 020000000001 0050 aaaa03 00000c 2000 02b4"), ParseOutcome::opaque);  // CDP
  EXPECT_EQ(outcome("020200020200 020000000001 0050 aaaa"), ParseOutcome::malformed);
  // 1501 to 1535 is neither a length nor a type.
  EXPECT_EQ(outcome("020200020200 020000000001 05dd aaaa03 000000 0800 45"), ParseOutcome::opaque);
  EXPECT_EQ(outcome("020200020200 020000000001 05dc aaaa03 000000 0800 45"), ParseOutcome::malformed);
}

// The short way either leaves a frame alone or says the same as the long one.
TEST(Parse, AtALookSaysTheSame) {
  const TcpSpec plain{.seq = 7, .payload = 400, .traffic_class = 0xb8, .ip_id = 77};
  const TcpSpec stamped{.seq = 7, .payload = 400, .timestamps = true, .tsval = 9, .tsecr = 8};
  for (const TcpSpec& spec : {plain, stamped}) {
    const Bytes8 whole = ethernet_frame(spec);
    int taken = 0;
    // Every byte of the headers changed, one after the other, and every length of what was captured.
    for (std::size_t i = 0; i < 66; ++i) {
      for (const unsigned change : {0x00U, 0x01U, 0x10U, 0x80U, 0xffU}) {
        for (const std::size_t cut : {whole.size(), i}) {
          Bytes8 bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut));
          if (i < bytes.size()) bytes[i] ^= static_cast<std::byte>(change);
          const Frame frame = as_frame(bytes, at_ms(1), 14 + ip_length(spec));
          PacketRecord at_a_look;
          FlowKey key;
          if (!parse_usual(frame, at_a_look, key)) continue;
          complete_usual(key, at_a_look);
          at_a_look.time = frame.time;
          ++taken;
          PacketRecord by_parts;
          ASSERT_EQ(parse_frame(frame, by_parts), ParseOutcome::tcp) << i << ' ' << change;
          EXPECT_EQ(at_a_look, by_parts) << i << ' ' << change;
          EXPECT_TRUE(key.same_connection(key_of(by_parts, 0))) << i << ' ' << change;
          EXPECT_EQ(key.sender, key_of(by_parts, 0).sender) << i << ' ' << change;
        }
      }
    }
    EXPECT_GT(taken, 200);
  }
}

// A record that is used again: what an outcome promises is of this frame, whatever the last one left.
TEST(Parse, LeavesNothingOfAnEarlierFrame) {
  const TcpSpec rich{.source = address("2001:db8::1"),
                     .destination = address("2001:db8::2"),
                     .seq = 1000,
                     .payload = 400,
                     .traffic_class = 0xb8,
                     .sack = {{100, 200}, {300, 400}},
                     .mss = 1460,
                     .timestamps = true,
                     .tsval = 9,
                     .tsecr = 8};
  const Packet tunnelled = behind_ethernet(0x0800, in_ip({}, 41, tcp_packet(rich)));
  for (const bool plain : {true, false}) {
    PacketRecord used;
    ASSERT_EQ(parse_frame(as_frame(tunnelled, at_ms(1)), used), ParseOutcome::tcp);
    ASSERT_TRUE(used.tunnelled);
    const Bytes8 next = plain ? ethernet_frame({.seq = 7}) : ethernet_frame({.seq = 7, .timestamps = true});
    PacketRecord fresh;
    ASSERT_EQ(parse(next, fresh), ParseOutcome::tcp);
    ASSERT_EQ(parse(next, used), ParseOutcome::tcp);
    EXPECT_FALSE(used.tunnelled);
    EXPECT_EQ(used.source, fresh.source);
    EXPECT_EQ(used.destination, fresh.destination);
    EXPECT_EQ(used.traffic_class, 0);
    EXPECT_EQ(used.frame_bytes, fresh.frame_bytes);
    EXPECT_EQ(used.headers_bytes, fresh.headers_bytes);
    EXPECT_EQ(used.payload, 0U);
    EXPECT_EQ(used.sack_count, 0);
    EXPECT_EQ(used.mss_option, 0);
    EXPECT_EQ(used.has_timestamp, !plain);
    EXPECT_EQ(used.timestamp_value, 0U);
    EXPECT_EQ(used.timestamp_echo, 0U);
  }
  PacketRecord used;
  ASSERT_EQ(parse(ethernet_frame({.ip_id = 77}), used), ParseOutcome::tcp);
  ASSERT_EQ(parse(ethernet_frame(rich), used), ParseOutcome::tcp);
  EXPECT_EQ(used.ip_id, 0);
  ASSERT_EQ(parse(from_hex("020200020200 020000000001 0806 0001"), used), ParseOutcome::opaque);
  EXPECT_EQ(used.frame_bytes, 16U);
}

// 802.1Q vlan 7; 802.1ad vlan 100, 802.1Q vlan 7; MPLS (label 16, [S]); PPPoE [ses 0x1] inside vlan 7
TEST(Parse, LooksThroughTagsLabelsAndSessions) {
  const TcpSpec s{.payload = 3};
  const std::vector<std::pair<const char*, Bytes8>> headers = {
      {"vlan", from_hex("020200020200 020000000001 8100 0007 0800")},
      {"qinq", from_hex("020200020200 020000000001 88a8 0064 8100 0007 0800")},
      {"mpls", from_hex("020200020200 020000000001 8847 00010040 00011140")},
      {"pppoe in vlan", from_hex("020200020200 020000000001 8100 0007 8864 11 00 0001 0035 0021")},
  };
  for (const auto& [name, header] : headers) {
    Bytes8 frame = header;
    put_all(frame, ip_packet(s));
    PacketRecord r;
    EXPECT_EQ(parse(frame, r), ParseOutcome::tcp) << name;
    EXPECT_EQ(r.payload, 3U) << name;
    EXPECT_EQ(r.frame_bytes, header.size() + ip_length(s)) << name;
  }
}

// IP6 2001:db8::1.40000 > 2001:db8:20::1.5001: hop-by-hop, destination options, then TCP
TEST(Parse, WalksIp6ExtensionHeaders) {
  const TcpSpec s{.source = address("2001:db8::1"), .destination = address("2001:db8:20::1"), .payload = 5};
  Bytes8 packet = ip_packet(s);
  packet[6] = std::byte{0};  // hop-by-hop first
  const std::uint32_t inner = static_cast<std::uint32_t>(tcp_header(s).size()) + 5 + 24;
  packet[4] = static_cast<std::byte>(inner >> 8U);
  packet[5] = static_cast<std::byte>(inner);
  const Bytes8 extensions = from_hex("3c 00 0104 00000000  06 01 0104 00000000 0000000000000000");
  packet.insert(packet.begin() + 40, extensions.begin(), extensions.end());
  PacketRecord r;
  ASSERT_EQ(parse(ethernet(0x86dd, packet), r), ParseOutcome::tcp);
  EXPECT_EQ(r.payload, 5U);
  EXPECT_EQ(r.protocol, 6);
  EXPECT_EQ(r.source, address("2001:db8::1"));

  packet[6] = std::byte{44};  // a fragment: counted by its addresses, not tracked
  EXPECT_EQ(parse(ethernet(0x86dd, packet), r), ParseOutcome::ip);
}

// IP (frag offset 0, flags [+]) and (frag offset 1480): bytes of their addresses, no segments
TEST(Parse, FragmentsAreBytesWithoutSegments) {
  Bytes8 packet = ip_packet({.payload = 100});
  for (unsigned field : {0x2000U, 0x00b9U}) {
    packet[6] = static_cast<std::byte>(field >> 8U);
    packet[7] = static_cast<std::byte>(field & 0xffU);
    PacketRecord r;
    EXPECT_EQ(parse(ethernet(0x0800, packet), r), ParseOutcome::ip);
    EXPECT_EQ(r.source, address("10.1.0.1"));
    EXPECT_GT(r.frame_bytes, 100U);
  }
}

// IP bad-len 0: a super-packet of 100 kB whose total length field cannot hold it
TEST(Parse, TotalLengthZeroIsTheFramesOwnLength) {
  TcpSpec s{.payload = 100'000, .zero_total_length = true};
  PacketRecord r;
  ASSERT_EQ(parse(ethernet_frame(s), 14 + 40 + 100'000, r), ParseOutcome::tcp);
  EXPECT_EQ(r.payload, 100'000U);
  s.source = address("2001:db8::1");
  s.destination = address("2001:db8::2");
  ASSERT_EQ(parse(ethernet_frame(s), 14 + 60 + 100'000, r), ParseOutcome::tcp);
  EXPECT_EQ(r.payload, 100'000U);
}

TEST(Parse, SnapLengthBehindTheHeadersCostsNothing) {
  const TcpSpec s{.payload = 1448, .timestamps = true};
  Bytes8 frame = ethernet_frame(s);
  frame.resize(14 + 20 + 32);
  PacketRecord r;
  ASSERT_EQ(parse(frame, 14 + ip_length(s), r), ParseOutcome::tcp);
  EXPECT_EQ(r.payload, 1448U);
  frame.resize(14 + 20 + 8);  // the TCP header itself is cut
  EXPECT_EQ(parse(frame, 14 + ip_length(s), r), ParseOutcome::ip);
}

TEST(Parse, ContradictionsAreMalformed) {
  PacketRecord r;
  Bytes8 frame = ethernet_frame({.payload = 4});
  auto with = [&](std::size_t at, unsigned value) {
    Bytes8 f = frame;
    f[at] = static_cast<std::byte>(value);
    return parse(f, r);
  };
  EXPECT_EQ(with(14, 0x65), ParseOutcome::malformed);            // version 6 under ethertype IPv4
  EXPECT_EQ(with(14, 0x44), ParseOutcome::malformed);            // header of 16 bytes
  EXPECT_EQ(with(17, 10), ParseOutcome::malformed);              // total length below the header
  EXPECT_EQ(with(14 + 20 + 12, 0x40), ParseOutcome::malformed);  // data offset of 16
  EXPECT_EQ(with(14 + 20 + 12, 0xf0), ParseOutcome::malformed);  // data offset behind the packet's end
  EXPECT_EQ(parse({}, r), ParseOutcome::malformed);
}

TEST(Parse, BrokenOptionsEndTheWalkAndNothingElse) {
  TcpSpec s{.mss = 1460, .timestamps = true};
  Bytes8 frame = ethernet_frame(s);
  const std::size_t options = 14 + 20 + 20;
  frame[options + 6] = std::byte{8};
  frame[options + 7] = std::byte{1};  // an option of length 1
  PacketRecord r;
  ASSERT_EQ(parse(frame, r), ParseOutcome::tcp);
  EXPECT_EQ(r.mss_option, 1460);
  EXPECT_FALSE(r.has_timestamp);
}

// Every prefix of every kind of frame: an outcome, and under the sanitizer no read behind the end.
TEST(Parse, TakesEveryTruncationOfEveryFrame) {
  std::vector<std::pair<int, Bytes8>> frames;
  const TcpSpec v4{.payload = 20, .sack = {{1, 2}, {3, 4}, {5, 6}}, .mss = 1460, .timestamps = true};
  TcpSpec v6 = v4;
  v6.source = address("2001:db8::1");
  v6.destination = address("2001:db8::2");
  for (const TcpSpec& s : {v4, v6}) {
    frames.emplace_back(1, ethernet_frame(s));
    frames.emplace_back(101, ip_packet(s));
    Bytes8 tagged = from_hex("020200020200 020000000001 88a8 0064 8100 0007 8847 00010140");
    put_all(tagged, ip_packet(s));
    frames.emplace_back(1, tagged);
    Bytes8 pppoe = from_hex("020200020200 020000000001 8864 11 00 0001 0035 0021");
    put_all(pppoe, ip_packet(s));
    frames.emplace_back(1, pppoe);
  }
  for (const auto& [link_type, whole] : frames) {
    for (std::size_t length = 0; length <= whole.size(); ++length) {
      // A copy of exactly this length, so that the sanitizer sees one byte too far.
      const Bytes8 cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      PacketRecord r;
      const ParseOutcome outcome = parse(cut, static_cast<std::uint32_t>(whole.size()), r, link_type);
      EXPECT_LE(static_cast<int>(outcome), static_cast<int>(ParseOutcome::malformed));
      EXPECT_LE(r.sack_count, 4);
    }
  }
}

// A file may claim any length; with a total length of 0 the frame's own is the packet's.
TEST(Parse, RefusesLengthsThatNoLinkCarries) {
  Bytes8 bytes = ethernet_frame({.payload = 8});
  bytes[16] = bytes[17] = std::byte{0};
  for (const std::uint32_t wire : {0xffffffffU, 0xf0000000U, 0x80000000U, (16U << 20U) + 1}) {
    PacketRecord r;
    for (const int link : {0, 1, 9, 12, 50, 101, 104, 108, 113, 228, 276}) {
      EXPECT_EQ(parse(bytes, wire, r, link), ParseOutcome::malformed) << wire << " on " << link;
    }
  }
  PacketRecord r;
  EXPECT_EQ(parse(bytes, 16U << 20U, r), ParseOutcome::tcp);
  EXPECT_EQ(r.payload, (16U << 20U) - 54);
}

TEST(Parse, TakesAnyBytes) {
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    Bytes8 bytes = ethernet_frame({.payload = 8, .sack = {{1, 2}}, .timestamps = true});
    for (int flips = 0; flips < 6; ++flips) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    bytes.resize(random() % (bytes.size() + 1));
    PacketRecord r;
    const ParseOutcome outcome = parse(bytes, r);
    if (outcome == ParseOutcome::tcp) {
      EXPECT_GE(r.tcp_header_bytes, 20);
      EXPECT_GE(r.frame_bytes, r.headers_bytes + r.payload);
    }
  }
}

}  // namespace
}  // namespace weir
