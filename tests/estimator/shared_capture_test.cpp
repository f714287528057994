// Several taps that share the frames of a port, on a veth pair in a network namespace of this test's own:
// both directions of each connection come to the same one, whatever they are packed in.
#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "estimator/capture.hpp"

#include "injector.hpp"
#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;

/// A way to put a connection's packet on the wire; `back`: from the far side.
struct Packing {
  const char* name;
  bool v6;
  std::function<Packet(const TcpSpec& inner, bool back)> pack;
  bool spread = true;  ///< over all the taps, not only whole
};

OuterSpec ends(bool back, bool v6 = false) {
  OuterSpec outer{.source = address(v6 ? "2001:db8:f::1" : "192.0.2.1"),
                  .destination = address(v6 ? "2001:db8:f::9" : "198.51.100.9")};
  if (back) std::swap(outer.source, outer.destination);
  return outer;
}

Packet plain(const TcpSpec& s) {
  return {ethernet_frame(s), 14 + ip_length(s)};
}
Packet in_tags(const char* tags, const TcpSpec& s) {
  const std::string header = std::string("020200020200 020000000001") + tags;
  return behind(from_hex(header + (s.source.family == Family::v4 ? "0800" : "86dd")), tcp_packet(s));
}
/// Of a VXLAN the outer source port is a hash of the inner frame: another one for each direction.
Packet in_vxlan_of_port(unsigned source_port, const Packet& frame, unsigned port = 4789) {
  Packet udp = in_vxlan(frame, port);
  udp.bytes[0] = std::byte(source_port >> 8U);
  udp.bytes[1] = std::byte(source_port & 0xffU);
  return udp;
}

std::vector<Packing> packings() {
  const auto vxlan = [](const TcpSpec& s, bool back, unsigned port) {
    const unsigned source = 49'152U + (s.source_port * 7919U + (back ? 12'345U : 0U)) % 16'000U;
    return in_vxlan_of_port(source, plain(s), port);
  };
  const auto type = [](const TcpSpec& s) { return s.source.family == Family::v4 ? 0x0800U : 0x86ddU; };
  return {
      {"plain", false, [](const TcpSpec& s, bool) { return plain(s); }},
      {"IPv6", true, [](const TcpSpec& s, bool) { return plain(s); }},
      {"one tag", false, [](const TcpSpec& s, bool) { return in_tags("8100 0007", s); }},
      {"three tags", false,
       [](const TcpSpec& s, bool) { return in_tags("88a8 0064 8100 0007 8100 0008", s); }},
      {"a tag, IPv6", true, [](const TcpSpec& s, bool) { return in_tags("8100 0007", s); }},
      {"PPPoE", false,
       [](const TcpSpec& s, bool) {
         return behind("020200020200 020000000001 8864 1100 0001 0028 0021", tcp_packet(s));
       }},
      {"IP in IP", false,
       [](const TcpSpec& s, bool back) {
         return behind_ethernet(0x0800, in_ip(ends(back), 4, tcp_packet(s)));
       }},
      {"IPv6 in IP", true,
       [](const TcpSpec& s, bool back) {
         return behind_ethernet(0x0800, in_ip(ends(back), 41, tcp_packet(s)));
       }},
      {"IP in IPv6", false,
       [](const TcpSpec& s, bool back) {
         return behind_ethernet(0x86dd, in_ip(ends(back, true), 4, tcp_packet(s)));
       }},
      {"GRE", false,
       [type](const TcpSpec& s, bool back) {
         return behind_ethernet(0x0800, in_ip(ends(back), 47, in_gre(0, "", type(s), tcp_packet(s))));
       }},
      {"GRE whose fields differ by direction", false,
       [type](const TcpSpec& s, bool back) {
         const Packet gre = back ? in_gre(0xb000, "1234 0000 0000002a 00000007", type(s), tcp_packet(s))
                                 : in_gre(0x2000, "0000002a", type(s), tcp_packet(s));
         return behind_ethernet(0x0800, in_ip(ends(back), 47, gre));
       }},
      {"Ethernet in GRE", true,
       [](const TcpSpec& s, bool back) {
         return behind_ethernet(0x0800, in_ip(ends(back), 47, in_gre(0, "", 0x6558, plain(s))));
       }},
      {"VXLAN", false,
       [vxlan](const TcpSpec& s, bool back) {
         return behind_ethernet(0x0800, in_ip(ends(back), 17, vxlan(s, back, 4789)));
       }},
      {"VXLAN of Linux, in IPv6, tagged", true,
       [vxlan](const TcpSpec& s, bool back) {
         return behind("020200020200 020000000001 8100 0007 86dd",
                       in_ip(ends(back, true), 17, vxlan(s, back, 8472)));
       }},
      {"VXLAN in GRE", false,
       [vxlan](const TcpSpec& s, bool back) {
         const Packet inner = in_ip(ends(back), 17, vxlan(s, back, 4789));
         return behind_ethernet(0x0800, in_ip(ends(back), 47, in_gre(0, "", 0x0800, inner)));
       },
       false},
      {"MPLS", false,
       [](const TcpSpec& s, bool) {
         return behind("020200020200 020000000001 8847 00010140", tcp_packet(s));
       },
       false},
  };
}

class SharedCaptureTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, for a network namespace of its own";
  }
};

constexpr std::uint32_t kConnections = 200;
constexpr std::size_t kTaps = 3;

TcpSpec connection(std::uint32_t number, bool v6, bool back) {
  TcpSpec s{.source = address((v6 ? "2001:db8:1::" : "10.1.0.") + std::to_string(1 + number % 7)),
            .destination = address((v6 ? "2001:db8:2::" : "10.20.0.") + std::to_string(1 + number % 11)),
            .source_port = static_cast<std::uint16_t>(30'000 + number),
            .destination_port = 443};
  if (back) {
    std::swap(s.source, s.destination);
    std::swap(s.source_port, s.destination_port);
  }
  return s;
}

/// Reads until `done` says so, or nothing came for a second.
void read_until(std::vector<LiveCapture>& taps, const std::function<void(std::size_t, const Frame&)>& handler,
                const std::function<bool()>& done) {
  std::vector<pollfd> waiting;
  for (const LiveCapture& tap : taps)
    waiting.push_back({.fd = tap.descriptor(), .events = POLLIN, .revents = 0});
  while (!done() && poll(waiting.data(), waiting.size(), 1000) > 0) {
    for (std::size_t tap = 0; tap < taps.size(); ++tap)
      taps[tap].dispatch(10'000, [&](const Frame& frame) { handler(tap, frame); });
  }
}

/// Which taps got frames of each connection, and how many frames came in all.
struct Dealt {
  std::map<std::uint32_t, std::set<std::size_t>> taps;
  std::size_t frames = 0;
};

Dealt read(std::vector<LiveCapture>& taps, std::size_t wanted) {
  Dealt dealt;
  read_until(
      taps,
      [&](std::size_t tap, const Frame& frame) {
        PacketRecord record;
        if (parse_frame(frame, record) != ParseOutcome::tcp) return;
        const std::uint16_t port =
            record.destination_port == 443 ? record.source_port : record.destination_port;
        dealt.taps[port - 30'000U].insert(tap);
        ++dealt.frames;
      },
      [&] { return dealt.frames >= wanted; });
  return dealt;
}

// What leaves and what arrives look different to the program: its header is in front, its tag elsewhere. The
// connections' own frames go both ways through the port that is watched.
TEST_F(SharedCaptureTest, BothDirectionsOfEveryConnectionComeToTheSameTap) {
  in_namespace([] {
    std::vector<LiveCapture> taps = LiveCapture::share("v0", LiveCapture::Options{}, kTaps);
    Injector leaving("v0");
    Injector arriving("v1");
    for (const Packing& packing : packings()) {
      for (std::uint32_t c = 0; c < kConnections; ++c) {
        leaving.send(packing.pack(connection(c, packing.v6, false), false).bytes);
        arriving.send(packing.pack(connection(c, packing.v6, true), true).bytes);
      }
      const Dealt dealt = read(taps, std::size_t{2} * kConnections);
      EXPECT_EQ(dealt.frames, std::size_t{2} * kConnections) << packing.name << ": each frame once";
      EXPECT_EQ(dealt.taps.size(), kConnections) << packing.name;
      std::vector<std::size_t> of(kTaps);
      std::size_t torn = 0;
      for (const auto& [number, got] : dealt.taps) {
        torn += got.size() > 1 ? 1U : 0U;
        ++of[*got.begin()];
      }
      EXPECT_EQ(torn, 0U) << packing.name << ": connections torn apart";
      if (!packing.spread) continue;
      for (const std::size_t connections : of) {
        EXPECT_NEAR(static_cast<double>(connections), kConnections / double{kTaps}, kConnections * 0.14)
            << packing.name;
      }
    }
  });
}

// A sample of the connections must be one of every tap's.
TEST_F(SharedCaptureTest, EveryTapGetsItsPartOfTheConnectionsThatAreFollowed) {
  in_namespace([] {
    std::vector<LiveCapture> taps = LiveCapture::share("v0", LiveCapture::Options{}, 2);
    Injector leaving("v0");
    constexpr std::uint32_t kMany = 4000;
    for (std::uint32_t c = 0; c < kMany; ++c) leaving.send(plain(connection(c, false, false)).bytes);
    const FlowSample sample{.one_in = 8, .seed = 12345};
    std::vector<std::size_t> followed(taps.size());
    std::size_t came = 0;
    read_until(
        taps,
        [&](std::size_t tap, const Frame& frame) {
          PacketRecord record;
          if (parse_frame(frame, record) != ParseOutcome::tcp) return;
          ++came;
          std::uint32_t addresses = 0;
          for (const IpAddress& a : {record.source, record.destination}) {
            for (std::size_t i = 0; i < 4; ++i) addresses ^= std::uint32_t{a.bytes[i]} << (24U - 8U * i);
          }
          const auto ports = static_cast<std::uint32_t>(record.source_port ^ record.destination_port);
          followed[tap] += sample.follows(addresses, ports) ? 1U : 0U;
        },
        [&] { return came >= kMany; });
    ASSERT_EQ(came, kMany);
    for (const std::size_t of_tap : followed)
      EXPECT_NEAR(static_cast<double>(of_tap), kMany / 16.0, kMany / 16.0 * 0.3);
  });
}

TEST_F(SharedCaptureTest, TwoGroupsOnOnePortEachSeeEverything) {
  in_namespace([] {
    std::vector<LiveCapture> ours = LiveCapture::share("v0", LiveCapture::Options{}, 2);
    std::vector<LiveCapture> theirs = LiveCapture::share("v0", LiveCapture::Options{}, 2);
    Injector leaving("v0");
    for (std::uint32_t c = 0; c < kConnections; ++c) leaving.send(plain(connection(c, false, false)).bytes);
    EXPECT_EQ(read(ours, kConnections).frames, kConnections);
    EXPECT_EQ(read(theirs, kConnections).frames, kConnections);
  });
}

}  // namespace
}  // namespace weir
