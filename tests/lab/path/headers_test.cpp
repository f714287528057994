// What the path reads of headers, on frames written down byte by byte.
#include "path/headers.hpp"

#include <algorithm>
#include <initializer_list>
#include <vector>

#include <gtest/gtest.h>

#include "path/whose.hpp"

namespace weir::lab {
namespace {

using Frame = std::vector<std::byte>;

Frame frame(std::initializer_list<int> bytes) {
  Frame f;
  for (const int b : bytes) f.push_back(std::byte(b));
  return f;
}

constexpr std::initializer_list<int> kAddresses = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};

Frame joined(std::initializer_list<std::initializer_list<int>> parts) {
  Frame f;
  for (const auto& part : parts) {
    const Frame more = frame(part);
    f.insert(f.end(), more.begin(), more.end());
  }
  return f;
}

/// IP 10.1.3.10.5000 > 10.20.3.10.5201: UDP, ECT(0), length 4
Frame ipv4() {
  return joined({kAddresses,
                 {0x08, 0x00},
                 {0x45, 0x02, 0, 32, 0x12, 0x34, 0, 0, 64, 17, 0x4e, 0x6f, 10, 1, 3, 10, 10, 20, 3, 10},
                 {0x13, 0x88, 0x14, 0x51, 0, 12, 0, 0, 1, 2, 3, 4}});
}
/// vlan 5, IP6 2001:db8:1::a.5000 > 2001:db8:14::a.5201: UDP
Frame ipv6_tagged() {
  return joined({kAddresses,
                 {0x81, 0x00, 0, 5, 0x86, 0xdd},
                 {0x60, 0, 0, 0, 0, 8, 17, 64},
                 {0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10},
                 {0x20, 0x01, 0x0d, 0xb8, 0, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10},
                 {0x13, 0x88, 0x14, 0x51, 0, 8, 0, 0}});
}

std::uint32_t sum_of_header(const Frame& f, std::size_t at) {
  std::uint32_t sum = 0;
  for (std::size_t i = at; i < at + 20; i += 2)
    sum += std::to_integer<std::uint32_t>(f[i]) << 8U | std::to_integer<std::uint32_t>(f[i + 1]);
  while (sum > 0xffffU) sum = (sum & 0xffffU) + (sum >> 16U);
  return sum;
}

TEST(PathHeaders, OfIpv4) {
  const auto h = read_headers(ipv4());
  ASSERT_TRUE(h);
  EXPECT_EQ(h->source.to_string(), "10.1.3.10");
  EXPECT_EQ(h->destination.to_string(), "10.20.3.10");
  EXPECT_EQ(h->protocol, 17);
  EXPECT_EQ(h->source_port, 5000);
  EXPECT_EQ(h->destination_port, 5201);
  EXPECT_TRUE(h->ecn_capable);
}

TEST(PathHeaders, OfIpv6BehindATag) {
  const auto h = read_headers(ipv6_tagged());
  ASSERT_TRUE(h);
  EXPECT_EQ(h->source.to_string(), "2001:db8:1::a");
  EXPECT_EQ(h->destination.to_string(), "2001:db8:14::a");
  EXPECT_EQ(h->destination_port, 5201);
  EXPECT_FALSE(h->ecn_capable);
}

TEST(PathHeaders, APieceOfAFrameIsReadAsFarAsItGoes) {
  for (const Frame& whole : {ipv4(), ipv6_tagged()}) {
    for (std::size_t length = 0; length < whole.size(); ++length) {
      // A copy of exactly that size: the sanitizer sees who reads behind it.
      Frame piece(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      piece.shrink_to_fit();
      static_cast<void>(read_headers(piece));
      mark_congestion(piece);
    }
  }
  Frame arp = ipv4();
  arp[13] = std::byte(6);
  EXPECT_FALSE(read_headers(arp));
  Frame fragment = ipv4();
  fragment[21] = std::byte(9);  // not the first one: no ports
  EXPECT_EQ(read_headers(fragment)->source_port, 0);
}

TEST(PathHeaders, AMarkIsCeAndTheChecksumHoldsAgain) {
  Frame f = ipv4();
  ASSERT_EQ(sum_of_header(f, 14), 0xffffU);
  mark_congestion(f);
  EXPECT_EQ(f[15], std::byte(3));
  EXPECT_EQ(sum_of_header(f, 14), 0xffffU);
  Frame six = ipv6_tagged();
  mark_congestion(six);
  EXPECT_EQ(six[19], std::byte(0x30));
}

TEST(WhoseFrame, IsToldByItsAddresses) {
  const Whose whose{.sites = {{*Prefix::parse("10.20.0.0/16"), 0}, {*Prefix::parse("10.20.3.0/24"), 1}},
                    .foreign = {*Prefix::parse("10.120.0.0/16")},
                    .rtts = {{*Prefix::parse("10.1.3.0/24"), 4}}};
  const Passenger out = whose.passenger(ipv4(), 7, false);
  EXPECT_EQ(out.token, 7U);
  EXPECT_EQ(out.bytes, ipv4().size());
  EXPECT_EQ(out.site, 1U) << "the longest prefix";
  EXPECT_FALSE(out.delay);
  EXPECT_TRUE(out.ecn_capable);
  Frame answer = ipv4();
  std::swap_ranges(answer.begin() + 26, answer.begin() + 30, answer.begin() + 30);
  EXPECT_EQ(whose.passenger(answer, 7, true).delay, 4U);
  Frame foreign = ipv4();
  foreign[31] = std::byte(120);
  EXPECT_TRUE(whose.passenger(foreign, 7, false).foreign);
  EXPECT_FALSE(whose.passenger(foreign, 7, false).site);
  EXPECT_TRUE(whose.passenger(frame({1, 2, 3}), 7, false).free_ride);
}

}  // namespace
}  // namespace weir::lab
