#include "config/spelling.hpp"

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "config/load.hpp"
#include "config/suggest.hpp"

namespace weir {
namespace {

using namespace std::string_literals;

TEST(NameOfDscp, IsWhatParseDscpReadsBack) {
  EXPECT_EQ(name_of_dscp(46), "ef");
  EXPECT_EQ(name_of_dscp(0), "default");
  EXPECT_EQ(name_of_dscp(3), std::nullopt);
  for (unsigned dscp = 0; dscp < 256; ++dscp) {
    const auto number = static_cast<std::uint8_t>(dscp);
    const auto name = name_of_dscp(number);
    EXPECT_EQ(name ? parse_dscp(*name) : number, number);
  }
}

TEST(ParseRate, ReadsDecimalMultiples) {
  EXPECT_EQ(parse_rate("1bit"), Rate::bps(1));
  EXPECT_EQ(parse_rate("0bit"), Rate::bps(0));
  EXPECT_EQ(parse_rate("8kbit"), Rate::bps(8'000));
  EXPECT_EQ(parse_rate("622mbit"), Rate::bps(622'000'000));
  EXPECT_EQ(parse_rate("622.08mbit"), Rate::bps(622'080'000));
  EXPECT_EQ(parse_rate("1.5gbit"), Rate::bps(1'500'000'000));
  EXPECT_EQ(parse_rate("0.000000001gbit"), Rate::bps(1));
  EXPECT_EQ(parse_rate("1.50000000000000000000gbit"), Rate::bps(1'500'000'000));
  EXPECT_EQ(parse_rate("045mbit"), Rate::bps(45'000'000)) << "decimal, never octal";
  EXPECT_EQ(parse_rate("45Mbit"), Rate::bps(45'000'000));
}

TEST(ParseRate, IsExactWhereFloatingPointIsNot) {
  EXPECT_EQ(parse_rate("9007199254740993bit"), Rate::bps(9'007'199'254'740'993));
  EXPECT_EQ(parse_rate("0.3mbit"), Rate::bps(300'000));
  EXPECT_EQ(parse_rate("4.35gbit"), Rate::bps(4'350'000'000));
}

TEST(ParseRate, RefusesEverythingElse) {
  for (const std::string& text :
       {""s,        "45"s,     "mbit"s,     "-45mbit"s,   "+45mbit"s, "45 mbit"s,    " 45mbit"s,
        "45mbit "s, "45mbps"s, "45m"s,      "45Mb"s,      "45MB"s,    "45mbits"s,    "45%"s,
        "4,5mbit"s, ".5gbit"s, "5.gbit"s,   "1.5.0gbit"s, "1e3kbit"s, "0x10mbit"s,   "infbit"s,
        "nanbit"s,  "1tbit"s,  "45mbit\0"s, "45\0mbit"s,  "1.5bit"s,  "0.0001kbit"s, "1.0000000001gbit"s}) {
    EXPECT_FALSE(parse_rate(text).has_value()) << text;
  }
}

TEST(ParseRate, RefusesOverflow) {
  EXPECT_EQ(parse_rate("18446744073709551615bit"), Rate::bps(UINT64_MAX));
  EXPECT_EQ(parse_rate("18446744073.709551615gbit"), Rate::bps(UINT64_MAX));
  EXPECT_FALSE(parse_rate("18446744073709551616bit").has_value());
  EXPECT_FALSE(parse_rate("18446744073.709551616gbit").has_value());
  EXPECT_FALSE(parse_rate("18446744074gbit").has_value());
  EXPECT_FALSE(parse_rate(std::string(10'000, '9') + "mbit").has_value());
}

TEST(ParseDuration, ReadsUnitsExactly) {
  EXPECT_EQ(parse_duration("20ms"), Duration(20'000'000));
  EXPECT_EQ(parse_duration("0.1us"), Duration(100));
  EXPECT_EQ(parse_duration("1.000000001s"), Duration(1'000'000'001));
  EXPECT_EQ(parse_duration("0ms"), Duration(0));
  EXPECT_EQ(parse_duration("9223372036.854775807s"), Duration::max());
  for (const std::string& text :
       {""s, "20"s, "ms"s, "-20ms"s, "+20ms"s, "20 ms"s, "20ms "s, "20msec"s, "20m"s, "1e3ms"s, "20ns"s,
        "0.0001us"s, "9223372036.854775808s"s, "20\0ms"s, std::string(10'000, '9') + "ms"}) {
    EXPECT_FALSE(parse_duration(text).has_value()) << text;
  }
}

TEST(DurationToString, IsWhatParseDurationReadsBack) {
  EXPECT_EQ(duration_to_string(Duration(1'000'000'000)), "1s");
  EXPECT_EQ(duration_to_string(Duration(1'500'000'000)), "1500ms");
  EXPECT_EQ(duration_to_string(Duration(20'000'000)), "20ms");
  for (const std::int64_t ns : {0LL, 1LL, 999LL, 1'000LL, 1'001LL, 123'456'789LL, 86'400'000'000'000LL})
    EXPECT_EQ(parse_duration(duration_to_string(Duration(ns))), Duration(ns)) << ns;
}

TEST(ProbableDuration, GuessesOnlyWhatIsATime) {
  EXPECT_EQ(probable_duration("20 ms"), "20ms");
  EXPECT_EQ(probable_duration("20 Milliseconds"), "20ms");
  EXPECT_EQ(probable_duration("500 microseconds"), "500us");
  EXPECT_EQ(probable_duration("1 second"), "1s");
  for (const char* text : {"", "20", "20m", "ms", "-20ms", "soon"})
    EXPECT_FALSE(probable_duration(text)) << text;
}

TEST(RateToString, IsTheShortestExactSpelling) {
  EXPECT_EQ(to_string(Rate::bps(0)), "0bit");
  EXPECT_EQ(to_string(Rate::bps(1)), "1bit");
  EXPECT_EQ(to_string(Rate::bps(12'345)), "12345bit");
  EXPECT_EQ(to_string(Rate::kbps(8)), "8kbit");
  EXPECT_EQ(to_string(Rate::kbps(100)), "100kbit");
  EXPECT_EQ(to_string(Rate::mbps(45)), "45mbit");
  EXPECT_EQ(to_string(Rate::kbps(622'080)), "622.08mbit");
  EXPECT_EQ(to_string(Rate::mbps(1'500)), "1.5gbit");
  EXPECT_EQ(to_string(Rate::mbps(1'000)), "1gbit");
  EXPECT_EQ(to_string(Rate::bps(UINT64_MAX)), "18446744073709551615bit");
}

TEST(RateToString, ParseRateReadsBackTheSameRate) {
  std::mt19937_64 random(20'240'229);
  std::vector<std::uint64_t> values{
      0, 7, 8, 999, 1'000, 1'001, 999'999, 1'000'000, 1'000'000'001, UINT64_MAX - 1, UINT64_MAX};
  for (int i = 0; i < 20'000; ++i) {
    // Of every magnitude, some of them round.
    std::uint64_t value = random() >> (random() % 64);
    if (i % 2 == 0) value = value / 1'000 * 1'000;
    if (i % 6 == 0) value = value / 1'000'000 * 1'000'000;
    values.push_back(value);
  }
  for (const std::uint64_t value : values) {
    const Rate rate = Rate::bps(value);
    ASSERT_EQ(parse_rate(to_string(rate)), rate) << to_string(rate);
  }
}

TEST(ProbableRate, GuessesWhatPeopleWriteByHabit) {
  EXPECT_EQ(probable_rate("45 mbit"), "45mbit");
  EXPECT_EQ(probable_rate("45Mbps"), "45mbit");
  EXPECT_EQ(probable_rate("45m"), "45mbit");
  EXPECT_EQ(probable_rate("1.5Gb/s"), "1.5gbit");
  EXPECT_EQ(probable_rate("64k"), "64kbit");
  EXPECT_EQ(probable_rate("800bps"), "800bit");
  EXPECT_FALSE(probable_rate("45").has_value());
  EXPECT_FALSE(probable_rate("fast").has_value());
  EXPECT_FALSE(probable_rate("99999999999999999999g").has_value()) << "a guess that would not parse is none";
}

TEST(ParseDscp, ReadsNamesAndNumbers) {
  EXPECT_EQ(parse_dscp("ef"), 46);
  EXPECT_EQ(parse_dscp("EF"), 46);
  EXPECT_EQ(parse_dscp("va"), 44);
  EXPECT_EQ(parse_dscp("le"), 1);
  EXPECT_EQ(parse_dscp("default"), 0);
  EXPECT_EQ(parse_dscp("0"), 0);
  EXPECT_EQ(parse_dscp("63"), 63);
  // RFC 2474 section 4.2.2.2: class selectors are the precedence bits.
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(parse_dscp("cs" + std::to_string(i)), i * 8);
  // RFC 2597 section 6: class 1..4, drop precedence 1..3.
  for (unsigned c = 1; c <= 4; ++c) {
    for (unsigned d = 1; d <= 3; ++d)
      EXPECT_EQ(parse_dscp("af" + std::to_string(c) + std::to_string(d)), c * 8 + d * 2);
  }
}

TEST(ParseDscp, RefusesTheRest) {
  for (const std::string& text :
       {""s, "64"s, "-1"s, "+1"s, "af"s, "af44"s, "af51"s, "cs8"s, "e"s, "ef "s, " 8"s, "0x2e"s,
        "default-and-more-than-16"s, "ef\0"s, "99999999999999999999"s}) {
    EXPECT_FALSE(parse_dscp(text).has_value()) << text;
  }
}

TEST(ParseProtocol, ReadsNamesAndNumbers) {
  EXPECT_EQ(parse_protocol("tcp"), 6);
  EXPECT_EQ(parse_protocol("UDP"), 17);
  EXPECT_EQ(parse_protocol("ipv6-icmp"), 58);
  EXPECT_EQ(parse_protocol("0"), 0);
  EXPECT_EQ(parse_protocol("255"), 255);
  EXPECT_FALSE(parse_protocol("256").has_value());
  EXPECT_FALSE(parse_protocol("http").has_value());
  for (const auto& [name, number] : protocol_names())
    EXPECT_EQ(parse_protocol(protocol_to_string(number)), number) << name;
  EXPECT_EQ(protocol_to_string(200), "200");
}

TEST(ParsePercent, ReadsNonNegativePercentages) {
  EXPECT_DOUBLE_EQ(parse_percent("5%").value(), 0.05);
  EXPECT_DOUBLE_EQ(parse_percent("2.5%").value(), 0.025);
  EXPECT_DOUBLE_EQ(parse_percent("0%").value(), 0.0);
  EXPECT_DOUBLE_EQ(parse_percent("250%").value(), 2.5);
  for (const std::string& text : {""s, "%"s, "5"s, "-5%"s, "+5%"s, "5 %"s, "5%%"s, ".5%"s, "5.%"s, "1e2%"s,
                                  "inf%"s, "nan%"s, std::string(400, '9') + "%"}) {
    EXPECT_FALSE(parse_percent(text).has_value()) << text;
  }
}

TEST(ParsePortRange, ReadsPortsAndRanges) {
  EXPECT_EQ(parse_port_range("22"), (PortRange{.first = 22, .last = 22}));
  EXPECT_EQ(parse_port_range("5000-5010"), (PortRange{.first = 5000, .last = 5010}));
  EXPECT_EQ(parse_port_range("1-65535"), (PortRange{.first = 1, .last = 65535}));
  for (const std::string& text : {""s, "0"s, "65536"s, "-"s, "22-"s, "-22"s, "22-21"s, "22 - 23"s,
                                  "22-23-24"s, "22,23"s, "ssh"s, "22\0"s}) {
    EXPECT_FALSE(parse_port_range(text).has_value()) << text;
  }
}

TEST(EditDistance, CountsSlipsOfTheFinger) {
  EXPECT_EQ(edit_distance("guarantee", "guarantee", 3), 0U);
  EXPECT_EQ(edit_distance("guarante", "guarantee", 3), 1U);
  EXPECT_EQ(edit_distance("gaurantee", "guarantee", 3), 1U) << "a swap is one slip";
  EXPECT_EQ(edit_distance("Guarantee", "guarantee", 3), 0U);
  EXPECT_EQ(edit_distance("garantie", "guarantee", 3), 2U);
  EXPECT_EQ(edit_distance("", "abc", 3), 3U);
  EXPECT_EQ(edit_distance("abc", "xyz", 2), 3U) << "more than asked for is one more than asked for";
  EXPECT_EQ(edit_distance(std::string(65, 'a'), std::string(65, 'a'), 2), 3U) << "no name is that long";
}

TEST(NearestName, OffersOnlyWhatIsNear) {
  NearestName near("subnet");
  for (const char* name : {"name", "subnets", "rate", "policy"}) near.offer(name);
  EXPECT_EQ(near.best(), "subnets");
  NearestName far("weight");
  for (const char* name : {"name", "subnets", "rate", "policy"}) far.offer(name);
  EXPECT_FALSE(far.best().has_value());
}

}  // namespace
}  // namespace weir
