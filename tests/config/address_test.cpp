#include "config/address.hpp"

#include <array>
#include <cstdint>
#include <random>
#include <set>

#include <gtest/gtest.h>

namespace weir {
namespace {

using namespace std::string_literals;

IpAddress address(std::string_view text) {
  const auto parsed = IpAddress::parse(text);
  EXPECT_TRUE(parsed.has_value()) << text;
  return parsed.value_or(IpAddress{});
}

Prefix prefix(std::string_view text) {
  const auto parsed = Prefix::parse(text);
  EXPECT_TRUE(parsed.has_value()) << text;
  return parsed.value_or(Prefix{});
}

TEST(IpAddress, BytesAreInNetworkOrderAndTheRestIsZero) {
  const IpAddress v4 = address("10.20.30.40");
  EXPECT_EQ(v4.family, Family::v4);
  EXPECT_EQ(v4.width(), 32);
  EXPECT_EQ(v4.bytes, (std::array<std::uint8_t, 16>{10, 20, 30, 40}));

  const IpAddress v6 = address("2001:db8::ff");
  EXPECT_EQ(v6.family, Family::v6);
  EXPECT_EQ(v6.width(), 128);
  EXPECT_EQ(v6.bytes,
            (std::array<std::uint8_t, 16>{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff}));
}

TEST(IpAddress, RawBytesGiveTheSameValueAsText) {
  constexpr std::array<std::uint8_t, 4> kV4{192, 0, 2, 1};
  EXPECT_EQ(IpAddress::from_v4(kV4), address("192.0.2.1"));
  const std::array<std::uint8_t, 16> v6 = address("2001:db8::1").bytes;
  EXPECT_EQ(IpAddress::from_v6(v6), address("2001:db8::1"));
}

TEST(IpAddress, RefusesWhatIsNotExactlyAnAddress) {
  for (const std::string& text : {""s,
                                  "10"s,
                                  "10.1"s,
                                  "10.1.2"s,
                                  "10.1.2.3.4"s,
                                  "10.1.2.256"s,
                                  "10.1.2.03"s,
                                  " 10.1.2.3"s,
                                  "10.1.2.3 "s,
                                  "0x0a.1.2.3"s,
                                  "10.1.2.3/8"s,
                                  ":"s,
                                  ":::"s,
                                  "2001:db8"s,
                                  "2001:db8:::1"s,
                                  "1:2:3:4:5:6:7:8:9"s,
                                  "fe80::1%eth0"s,
                                  "[::1]"s,
                                  "12345::"s,
                                  "10.1.2.3\0"s,
                                  "10.1.2.3\0.4"s,
                                  "::1\0"s,
                                  std::string(1000, '1'),
                                  "localhost"s}) {
    EXPECT_FALSE(IpAddress::parse(text).has_value()) << text;
  }
}

TEST(IpAddress, RandomAddressesComeBackFromTheirText) {
  std::mt19937 random(4711);
  std::uniform_int_distribution<unsigned> byte(0, 255);
  for (int i = 0; i < 2000; ++i) {
    IpAddress original;
    original.family = i % 2 == 0 ? Family::v4 : Family::v6;
    for (int b = 0; b < original.width() / 8; ++b) {
      // Many zeros, so that "::" stands in every position.
      original.bytes[static_cast<std::size_t>(b)] =
          byte(random) < 128 ? std::uint8_t{0} : static_cast<std::uint8_t>(byte(random));
    }
    EXPECT_EQ(IpAddress::parse(original.to_string()), original) << original.to_string();
  }
}

TEST(Prefix, ParsesBlocksAndBareAddresses) {
  EXPECT_EQ(prefix("10.0.0.0/8").length, 8);
  EXPECT_EQ(prefix("10.0.0.0/8").to_string(), "10.0.0.0/8");
  EXPECT_EQ(prefix("192.0.2.1").to_string(), "192.0.2.1/32");
  EXPECT_EQ(prefix("2001:DB8:20::/48").to_string(), "2001:db8:20::/48");
  EXPECT_EQ(prefix("2001:db8::1").to_string(), "2001:db8::1/128");
  EXPECT_EQ(prefix("0.0.0.0/0").to_string(), "0.0.0.0/0");
  EXPECT_EQ(prefix("::/0").to_string(), "::/0");
}

struct BadPrefix {
  std::string text;
  Prefix::Fault fault;
  std::string mended;
};

TEST(Prefix, SaysWhatIsWrongAndWhatWasMeant) {
  using Fault = Prefix::Fault;
  const std::vector<BadPrefix> cases{
      {"10.20.0.1/16", Fault::host_bits_set, "10.20.0.0/16"},
      {"10.20.128.0/16", Fault::host_bits_set, "10.20.0.0/16"},
      {"255.255.255.255/0", Fault::host_bits_set, "0.0.0.0/0"},
      {"192.0.2.255/31", Fault::host_bits_set, "192.0.2.254/31"},
      {"2001:db8:20::1/48", Fault::host_bits_set, "2001:db8:20::/48"},
      {"2001:db8:20:8000::/48", Fault::host_bits_set, "2001:db8:20::/48"},
      {"10.0.0.0/33", Fault::length_out_of_range, ""},
      {"::/129", Fault::length_out_of_range, ""},
      {"10.0.0.0/", Fault::length_out_of_range, ""},
      {"10.0.0.0/-1", Fault::length_out_of_range, ""},
      {"10.0.0.0/+8", Fault::length_out_of_range, ""},
      {"10.0.0.0/08", Fault::length_out_of_range, ""},
      {"10.0.0.0/8 ", Fault::length_out_of_range, ""},
      {"10.0.0.0/8/8", Fault::length_out_of_range, ""},
      {"10.0.0.0/99999999999999999999", Fault::length_out_of_range, ""},
      {"10.0.0.0/255.0.0.0", Fault::length_out_of_range, ""},
      {"10.0.0/8", Fault::not_an_address, ""},
      {"/8", Fault::not_an_address, ""},
      {"", Fault::not_an_address, ""},
      {"coast", Fault::not_an_address, ""},
  };
  for (const auto& [text, expected, meant] : cases) {
    auto fault = Fault::none;
    Prefix mended;
    EXPECT_FALSE(Prefix::parse(text, &fault, &mended).has_value()) << text;
    EXPECT_EQ(fault, expected) << text;
    EXPECT_EQ(fault == Fault::host_bits_set ? mended.to_string() : "", meant) << text;
    EXPECT_FALSE(Prefix::parse(text).has_value()) << "the out-parameters are optional";
  }
}

TEST(Prefix, AGoodOneClearsTheFault) {
  auto fault = Prefix::Fault::host_bits_set;
  EXPECT_TRUE(Prefix::parse("10.0.0.0/8", &fault).has_value());
  EXPECT_EQ(fault, Prefix::Fault::none);
}

TEST(Prefix, ContainsItsAddressesAndNoOthers) {
  EXPECT_TRUE(prefix("10.20.0.0/15").contains(address("10.21.255.255")));
  EXPECT_FALSE(prefix("10.20.0.0/15").contains(address("10.22.0.0")));
  EXPECT_FALSE(prefix("10.20.0.0/15").contains(address("10.19.255.255")));
  EXPECT_TRUE(prefix("0.0.0.0/0").contains(address("255.0.0.1")));
  EXPECT_FALSE(prefix("0.0.0.0/0").contains(address("::1"))) << "families do not mix";
  EXPECT_FALSE(prefix("::/0").contains(address("0.0.0.0")));
  EXPECT_TRUE(prefix("2001:db8::/33").contains(address("2001:db8:7fff::1")));
  EXPECT_FALSE(prefix("2001:db8::/33").contains(address("2001:db8:8000::1")));
}

TEST(Prefix, ContainsLongerPrefixesAndItself) {
  EXPECT_TRUE(prefix("10.0.0.0/8").contains(prefix("10.20.0.0/16")));
  EXPECT_TRUE(prefix("10.0.0.0/8").contains(prefix("10.0.0.0/8")));
  EXPECT_FALSE(prefix("10.0.0.0/8").contains(prefix("10.0.0.0/7"))) << "same bits, but shorter";
  EXPECT_FALSE(prefix("10.0.0.0/8").contains(prefix("11.0.0.0/16")));
}

TEST(Prefix, EveryCutOfAnAddressHasNoHostBitsAndContainsIt) {
  for (const char* text : {"203.0.113.255", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"}) {
    const IpAddress whole = address(text);
    for (int length = 0; length <= whole.width(); ++length) {
      auto fault = Prefix::Fault::none;
      Prefix cut;
      const std::string spelled = std::string(text) + "/" + std::to_string(length);
      if (const auto parsed = Prefix::parse(spelled, &fault, &cut)) cut = *parsed;
      EXPECT_EQ(cut.length, length);
      EXPECT_TRUE(cut.contains(whole)) << spelled;
      EXPECT_EQ(Prefix::parse(cut.to_string()), cut) << "what is mended is right: " << cut.to_string();
    }
  }
}

}  // namespace
}  // namespace weir
