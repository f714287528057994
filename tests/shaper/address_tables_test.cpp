// Prefixes -> ranges and slots, walked as the program does, beside a plain longest-prefix match.
#include "shaper/address_tables.hpp"

#include <system_error>

#include <gtest/gtest.h>

#include "address_walk.hpp"
#include "classifier_policy.hpp"
#include "random_prefixes.hpp"

namespace weir::shaper::test {
namespace {

AddressTables tables_of(const std::vector<PrefixValue>& prefixes) {
  AddressTables t;
  EXPECT_EQ(add_address_tables(t, prefixes), 0U);
  return t;
}

std::uint32_t found(const AddressTables& t, const std::string& address, std::uint32_t pair = 0) {
  return walk(t, pair, IpAddress::parse(address).value());
}

TEST(AddressTables, NothingIsFoundInNoPrefix) {
  const auto t = tables_of({});
  for (const auto* address : {"0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"})
    EXPECT_EQ(found(t, address), WEIR_NO_VALUE) << address;
}

TEST(AddressTables, AnInnerPrefixHidesTheOuterOneAndEndsWhereItEnds) {
  const auto t = tables_of({{prefix("10.20.0.0/16"), 2}, {prefix("10.0.0.0/8"), 1}});
  EXPECT_EQ(found(t, "9.255.255.255"), WEIR_NO_VALUE);
  EXPECT_EQ(found(t, "10.0.0.0"), 1U);
  EXPECT_EQ(found(t, "10.19.255.255"), 1U);
  EXPECT_EQ(found(t, "10.20.0.0"), 2U);
  EXPECT_EQ(found(t, "10.20.255.255"), 2U);
  EXPECT_EQ(found(t, "10.21.0.0"), 1U);
  EXPECT_EQ(found(t, "10.255.255.255"), 1U);
  EXPECT_EQ(found(t, "11.0.0.0"), WEIR_NO_VALUE);
  EXPECT_EQ(t.ranges4.size(), 5U);
}

TEST(AddressTables, TheEndsOfTheAddressSpaceBelongToIt) {
  const auto t = tables_of({{prefix("0.0.0.0/0"), 1},
                            {prefix("255.255.255.255"), 2},
                            {prefix("0.0.0.0"), 3},
                            {prefix("::/0"), 4},
                            {prefix("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 5}});
  EXPECT_EQ(found(t, "0.0.0.0"), 3U);
  EXPECT_EQ(found(t, "0.0.0.1"), 1U);
  EXPECT_EQ(found(t, "255.255.255.254"), 1U);
  EXPECT_EQ(found(t, "255.255.255.255"), 2U);
  EXPECT_EQ(found(t, "::"), 4U);
  EXPECT_EQ(found(t, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"), 4U);
  EXPECT_EQ(found(t, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 5U);
}

TEST(AddressTables, HostsOfOneSubnetAreToldApart) {
  const auto t =
      tables_of({{prefix("2001:db8::1"), 1}, {prefix("2001:db8::3"), 3}, {prefix("2001:db8::/64"), 9}});
  EXPECT_EQ(found(t, "2001:db8::"), 9U);
  EXPECT_EQ(found(t, "2001:db8::1"), 1U);
  EXPECT_EQ(found(t, "2001:db8::2"), 9U);
  EXPECT_EQ(found(t, "2001:db8::3"), 3U);
  EXPECT_EQ(found(t, "2001:db8::4"), 9U);
  EXPECT_EQ(found(t, "2001:db8:0:1::"), WEIR_NO_VALUE);
  EXPECT_EQ(found(t, "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"), WEIR_NO_VALUE);
}

TEST(AddressTables, OfEqualPrefixesTheLastCounts) {
  const auto t =
      tables_of({{prefix("10.0.0.0/8"), 1}, {prefix("10.1.0.0/16"), 2}, {prefix("10.0.0.0/8"), 3}});
  EXPECT_EQ(found(t, "10.0.0.1"), 3U);
  EXPECT_EQ(found(t, "10.1.0.1"), 2U);
  EXPECT_EQ(found(t, "10.2.0.1"), 3U);
  EXPECT_EQ(found(t, "11.0.0.1"), WEIR_NO_VALUE);
}

TEST(AddressTables, NeighboursOfOneValueAreOneRange) {
  const auto t =
      tables_of({{prefix("10.0.0.0/24"), 1}, {prefix("10.0.1.0/24"), 1}, {prefix("10.0.0.128/25"), 1}});
  EXPECT_EQ(t.ranges4.size(), 3U) << "before them, they, behind them";
}

TEST(AddressTables, PairsAreKeptApart) {
  AddressTables t;
  const std::vector<PrefixValue> ones{{prefix("10.0.0.0/8"), 1}, {prefix("2001:db8::/32"), 2}};
  const std::vector<PrefixValue> others{{prefix("10.0.0.0/9"), 3}, {prefix("2001:db8:1::/48"), 4}};
  EXPECT_EQ(add_address_tables(t, ones), 0U);
  EXPECT_EQ(add_address_tables(t, others), 2U);
  EXPECT_EQ(add_address_tables(t, {}), 4U);
  EXPECT_EQ(found(t, "10.200.0.0", 0), 1U);
  EXPECT_EQ(found(t, "10.200.0.0", 2), WEIR_NO_VALUE);
  EXPECT_EQ(found(t, "10.100.0.0", 2), 3U);
  EXPECT_EQ(found(t, "2001:db8:2::", 0), 2U);
  EXPECT_EQ(found(t, "2001:db8:1::", 2), 4U);
  EXPECT_EQ(found(t, "2001:db8:1::", 4), WEIR_NO_VALUE);
}

TEST(AddressTables, AnyPrefixesAsAPlainLongestMatchSays) {
  int found_some = 0, asked = 0;
  for (std::uint32_t seed = 1; seed <= 400; ++seed) {
    RandomPrefixes random(seed);
    const auto prefixes = random.make(random.below(seed % 10 == 0 ? 300 : 30), 1 + random.below(8));
    AddressTables t;
    add_address_tables(t, std::vector<PrefixValue>{{prefix("10.0.0.0/8"), 77}, {prefix("::/1"), 78}});
    const auto pair = add_address_tables(t, prefixes);
    EXPECT_LE(t.ranges4.size() + t.ranges6.size(), 2 * (prefixes.size() + 2) + 4);
    EXPECT_LE(t.slots.size(), t.index_levels * (t.ranges4.size() + t.ranges6.size()));
    const auto ask = [&](const IpAddress& address) {
      const auto expected = longest_match(prefixes, address);
      ASSERT_EQ(walk(t, pair, address), expected) << "seed " << seed << ", " << address.to_string();
      ++asked;
      if (expected != WEIR_NO_VALUE) ++found_some;
    };
    for (const auto& [prefix, value] : prefixes)
      for (const auto& address : random.edges(prefix)) ask(address);
    for (int i = 0; i < 50; ++i) ask(random.address(i % 2 == 0 ? Family::v4 : Family::v6));
  }
  EXPECT_GT(found_some, 10'000);
  EXPECT_GT(asked - found_some, 5'000);
}

std::vector<PrefixValue> numbered(std::uint32_t count, const Prefix& first, std::size_t low_byte) {
  std::vector<PrefixValue> all;
  for (std::uint32_t i = 0; i < count; ++i) {
    Prefix next = first;
    next.address.bytes[low_byte - 1] = static_cast<std::uint8_t>(i >> 8U);
    next.address.bytes[low_byte] = static_cast<std::uint8_t>(i);
    all.push_back({.prefix = next, .value = i});
  }
  return all;
}

TEST(AddressTables, ACrowdIsCutUpByItself) {
  auto prefixes = numbered(50'000, prefix("10.0.0.0/25"), 2);
  EXPECT_EQ(tables_of(prefixes).index_levels, 1U);
  prefixes.push_back({prefix("1.0.0.1"), 70'000});
  prefixes.push_back({prefix("223.0.0.1"), 70'001});
  for (const auto* block : {"2001:db8::/48", "2a02:800::/48", "2a02:900::/48"})
    for (const auto& subnet : numbered(20'000, prefix(block), 5)) prefixes.push_back(subnet);
  const auto t = tables_of(prefixes);
  EXPECT_LE(t.index_levels, 3U);
  EXPECT_LE(t.search_steps, 4U);
  EXPECT_EQ(found(t, "10.195.79.1"), 49'999U);
  EXPECT_EQ(found(t, "10.195.79.129"), WEIR_NO_VALUE);
  EXPECT_EQ(found(t, "1.0.0.1"), 70'000U);
  EXPECT_EQ(found(t, "223.0.0.1"), 70'001U);
  EXPECT_EQ(found(t, "2a02:900:4e1f::1"), 19'999U);
  EXPECT_EQ(found(t, "2a02:800:4e20::1"), WEIR_NO_VALUE);
}

TEST(AddressTables, HostsOfOneNetworkAreSearchedThrough) {
  const auto t = tables_of(numbered(50'000, prefix("2001:db8::/128"), 15));
  EXPECT_EQ(t.search_steps, 16U);
  EXPECT_EQ(found(t, "2001:db8::c34f"), 49'999U);
  EXPECT_EQ(found(t, "2001:db8::c350"), WEIR_NO_VALUE);
}

TEST(AddressTables, MoreRangesThanASearchGoesThroughAreRefused) {
  std::vector<PrefixValue> hosts;
  for (std::uint32_t i = 0; i < (1U << (WEIR_MAX_SEARCH_STEPS - 1)); ++i) {
    IpAddress host{.family = Family::v4, .bytes = {}};
    const auto number = 2 * i + 1;  // none beside another
    host.bytes = {static_cast<std::uint8_t>(number >> 24U), static_cast<std::uint8_t>(number >> 16U),
                  static_cast<std::uint8_t>(number >> 8U), static_cast<std::uint8_t>(number)};
    hosts.push_back({.prefix = {.address = host, .length = 32}, .value = 1});
  }
  AddressTables t;
  EXPECT_THROW(add_address_tables(t, hosts), std::system_error);
  hosts.pop_back();
  EXPECT_NO_THROW(add_address_tables(t, hosts));
}

}  // namespace
}  // namespace weir::shaper::test
