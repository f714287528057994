// Every fault that a policy file can have (policy_fault.hpp).

#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "config/load.hpp"

#include "policy_fault.hpp"

namespace weir::test {
namespace {

TEST_P(PolicyFault, IsNamedWithPlaceAndMend) {
  std::string text = GetParam().text();
  const auto places = take_marks(text);
  const auto& expected = GetParam().expected;
  ASSERT_EQ(places.size(), expected.size()) << "a case marks each place it expects";

  const auto parsed = parse_policy(text);
  ASSERT_TRUE(std::holds_alternative<Problems>(parsed)) << "accepted:\n" << text;
  const auto& problems = std::get<Problems>(parsed);
  const std::string rendered = render(problems, "policy.yaml", text);
  ASSERT_EQ(problems.size(), expected.size()) << rendered;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    EXPECT_EQ(problems[i].message, expected[i].message) << rendered;
    EXPECT_EQ(problems[i].mend, expected[i].mend) << rendered;
    EXPECT_EQ(problems[i].line, places[i].first) << rendered;
    EXPECT_EQ(problems[i].column, places[i].second) << rendered;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Keys, PolicyFault,
    ::testing::Values(
        Case{.name = "UnknownKeyNearAKnownOne",
             .classes = "[{name: rest, default: true, @guarante: 5%}]",
             .expected = {{"unknown key 'guarante' in a class", "did you mean 'guarantee'?"}}},
        Case{.name = "UnknownKeyNearNothing",
             .more = "@bandwidth: 3",
             .expected = {{"unknown key 'bandwidth' in the policy file",
                           "keys here: wan, lan, sites, policies, control, elsewhere, api, recording, "
                           "gro, groups, include"}}},
        Case{.name = "KeyOfAnotherMapping",
             .sites = site("rate: {floor: 45mbit}, @ceiling: 50mbit"),
             .expected = {{"unknown key 'ceiling' in a site",
                           "it belongs into a site's rate; keys here: name, subnets, rate, policy, "
                           "each_subnet, set_dscp, inbound"}}},
        Case{.name = "KeyOfTheTopLevel",
             .lan = "{interface: lan0, @wan: x}",
             .expected = {{"unknown key 'wan' in lan",
                           "it belongs at the top level; keys here: interface, rate"}}},
        Case{.name = "KeyThatIsNoText",
             .lan = "{interface: lan0, ? @[a, b] : c}",
             .expected = {{"unknown key '' in lan", "keys here: interface, rate"}}},
        Case{.name = "KeyThatIsNoValue",
             .wan = "{interface: wan0, rate: 622mbit, @link_layer: }",
             .expected = {{"'link_layer' has no value", "write link_layer: {kind: ethernet, overhead: 24}"}}},
        Case{.name = "KeyTwice",
             .lan = "{interface: lan0, @interface: lan1}",
             .expected = {{"'interface' stands twice, first on line 2, column 7", "remove one of them"}}},
        Case{.name = "TopLevelKeyTwice",
             .more = "@lan: {interface: lan1}",
             .expected = {{"'lan' stands twice, first on line 2, column 1", "remove one of them"}}},
        Case{.name = "PolicyTwice",
             .more = "  @p: {classes: [{name: rest, default: true}]}",
             .expected = {{"policy 'p' stands twice, first on line 5, column 3",
                           "rename or remove one of them"}}},
        Case{.name = "RequiredKeysMissing",
             .wan = "@@{}",
             .lan = "@{}",
             .sites = "[@@@{policy: p}]",
             .classes = "[@{default: true}]",
             .expected = {{"wan lacks 'interface'", "add interface: wan0"},
                          {"wan lacks 'rate'", "add rate: 622mbit"},
                          {"lan lacks 'interface'", "add interface: lan0"},
                          {"a site lacks 'name'", "add name: dc-coast"},
                          {"a site lacks 'rate'", "add rate: {floor: 45mbit, ceiling: 600mbit}"},
                          {"a site lacks 'subnets'", "add subnets: [10.20.0.0/16]"},
                          {"a class lacks 'name'", "add name: voice"}}},
        Case{.name = "MappingExpected",
             .wan = "@wan0",
             .sites = "[@coast]",
             .classes = "[@voice]",
             .more = "api: @[a]",
             .expected = {{"wan must be a mapping of keys to values",
                           "keys here: interface, rate, link_layer"},
                          {"a site must be a mapping of keys to values",
                           "keys here: name, subnets, rate, policy, each_subnet, set_dscp, inbound"},
                          {"a class must be a mapping of keys to values",
                           "keys here: name, match, default, guarantee, ceiling, priority, leaf, latency, "
                           "classes, set_dscp"},
                          {"api must be a mapping of keys to values", "keys here: socket, listen"}}},
        Case{.name = "SingleValueExpected",
             .wan = "{interface: @[wan0, wan1], rate: @{a: b}}",
             .expected = {{"'interface' takes a single value here", "write interface: wan0"},
                          {"'rate' takes a single value here", "write rate: 622mbit"}}},
        Case{.name = "PlainValuesExpectedInAList",
             .sites =
                 "[{name: coast, subnets: [10.20.0.0/16, @[10.30.0.0/16], @{a: b}], rate: {floor: 45mbit}}]",
             .expected = {{"'subnets' takes plain values in its list", "write subnets: [10.20.0.0/16]"},
                          {"'subnets' takes plain values in its list", "write subnets: [10.20.0.0/16]"}}},
        Case{.name = "UnquotedIpv6AddressThatYamlTakesForAMapping",
             .sites = "[{name: coast, subnets: [2001:db8::/32, @2001:db8:20::, 10.0.0.0/8], rate: {floor: "
                      "45mbit}}]",
             .expected = {{"'subnets' takes plain values in its list",
                           "put an IPv6 address that ends in ':' into quotes"}}},
        Case{.name = "EmptyLists",
             .sites = "[{name: coast, subnets: @[], rate: {floor: 45mbit}}]",
             .classes = match("[{dscp: @[]}]"),
             .expected = {{"'subnets' is an empty list", "write subnets: [10.20.0.0/16]"},
                          {"'dscp' is an empty list", "write dscp: [af41, af42]"}}},
        Case{.name = "NoSites",
             .sites = "@[]",
             .expected = {{"'sites' is an empty list",
                           "write sites: [{name: coast, subnets: [10.20.0.0/16], rate: {floor: 45mbit}}]"}}},
        Case{.name = "NoClasses",
             .classes = " @[]",
             .expected = {{"'classes' is an empty list", "write classes: [{name: rest, default: true}]"}}},
        Case{.name = "BuiltInClassAsAList",
             .more = "control: @[]",
             .expected = {{"control must be a mapping of keys to values", "keys here: guarantee, ceiling"}}}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    Names, PolicyFault,
    ::testing::Values(
        Case{.name = "SiteNameWithBlanks",
             .sites = "[{name: @dc coast/2, subnets: 10.0.0.0/8, rate: {floor: 1mbit}}]",
             .expected = {{"the name 'dc coast/2' holds more than letters, digits, '-', '_' and '.'",
                           "write dc-coast-2"}}},
        Case{.name = "NameWithControlCharacters",
             .sites = "[{name: @\"co\\x07ast\\e[2J\", subnets: 10.0.0.0/8, rate: {floor: 1mbit}}]",
             .expected = {{"the name 'co?ast?[2J' holds more than letters, digits, '-', '_' and '.'",
                           "write co-ast-2J"}}},
        Case{.name = "NameTooLong",
             .sites = "[{name: @" + std::string(64, 'a') + ", subnets: 10.0.0.0/8, rate: {floor: 1mbit}}]",
             .expected = {{"the name '" + std::string(48, 'a') + "...' is longer than 63 characters",
                           "write " + std::string(63, 'a')}}},
        Case{.name = "NameEmpty",
             .sites = "[{name: @\"\", subnets: 10.0.0.0/8, rate: {floor: 1mbit}}]",
             .expected = {{"the name '' is empty", "write site-1"}}},
        Case{.name = "SiteNamedLikeABuiltInClass",
             .sites = "[{name: @elsewhere, subnets: 10.0.0.0/8, rate: {floor: 1mbit}}]",
             .expected = {{"'elsewhere' is the name of a built-in class", "give the site another name"}}},
        Case{.name = "SiteNameTwice",
             .sites = "[{name: a, subnets: 10.1.0.0/16, rate: {floor: 1mbit}},\n"
                      "  {name: @a, subnets: 10.2.0.0/16, rate: {floor: 1mbit}}]",
             .expected = {{"site 'a' stands twice, first on line 3, column 16",
                           "rename or remove one of them"}}},
        Case{.name = "ClassNameTwice",
             .classes = "[{name: a, match: {dscp: ef}}, {name: @a, default: true}]",
             .expected = {{"class 'a' stands twice, first on line 5, column 24",
                           "rename or remove one of them"}}},
        Case{.name = "UnknownPolicyNearAKnownOne",
             .sites = site("rate: {floor: 1mbit}, policy: @replicated"),
             .more = "  replicate: {classes: [{name: rest, default: true}]}",
             .expected = {{"there is no policy 'replicated'", "did you mean 'replicate'?"}}},
        Case{.name = "UnknownPolicyNearNothing",
             .sites = site("rate: {floor: 1mbit}, policy: @backbone"),
             .expected = {{"there is no policy 'backbone'",
                           "define it under 'policies', or leave 'policy' out for a single class"}}},
        Case{.name = "InterfaceNames",
             .wan = "{interface: @sixteen-letters-, rate: 622mbit}",
             .lan = "{interface: @eth/0}",
             .expected = {{"'sixteen-letters-' cannot be the name of an interface",
                           "write a name as 'ip link' shows it: 1 to 15 characters, no blanks, '/' or ':'"},
                          {"'eth/0' cannot be the name of an interface",
                           "write a name as 'ip link' shows it: 1 to 15 characters, no blanks, '/' or ':'"}}},
        Case{.name = "InterfaceNamesWithBlanksOrDots",
             .wan = "{interface: @\"wan 0\", rate: 622mbit}",
             .lan = "{interface: @..}",
             .expected = {{"'wan 0' cannot be the name of an interface",
                           "write a name as 'ip link' shows it: 1 to 15 characters, no blanks, '/' or ':'"},
                          {"'..' cannot be the name of an interface",
                           "write a name as 'ip link' shows it: 1 to 15 characters, no blanks, '/' or ':'"}}},
        Case{.name = "OneInterfaceForBothPorts",
             .lan = "{interface: @wan0}",
             .expected = {{"'wan0' is the interface of both wan and lan",
                           "a bridge has two ports: name the other one"}}}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    Subnets, PolicyFault,
    ::testing::Values(
        Case{.name = "BadPrefixes",
             .sites = "[{name: coast, subnets: [@10.20.0.1/16, @10.0.0.0/33, @\"2001:db8::/129\", "
                      "@10.0.0.0/255.128.0.0, "
                      "@10.0.0.0/255.0.255.0, @coast], rate: {floor: 45mbit}}]",
             .expected = {{"'10.20.0.1/16' has bits set behind its length", "did you mean 10.20.0.0/16?"},
                          {"'10.0.0.0/33' has no valid length", "write a length from /0 to /32"},
                          {"'2001:db8::/129' has no valid length", "write a length from /0 to /128"},
                          {"'10.0.0.0/255.128.0.0' has a netmask in place of a length",
                           "did you mean 10.0.0.0/9?"},
                          {"'10.0.0.0/255.0.255.0' has no valid length", "write a length from /0 to /32"},
                          {"'coast' is not an IP address or prefix",
                           "write one like 10.20.0.0/16 or 2001:db8:20::/48"}}},
        Case{.name = "OneSubnetInTwoSites",
             .sites =
                 "\n"
                 "  - {name: coast, subnets: [10.20.0.0/16, \"2001:db8:20::/48\"], rate: {floor: 1mbit}}\n"
                 "  - {name: hill, subnets: [10.30.0.0/16, @\"2001:DB8:20:0::/48\"], rate: {floor: 1mbit}}",
             .expected =
                 {{"2001:db8:20::/48 belongs to site 'coast' (on line 4, column 43) and to site 'hill'",
                   "leave it in one site; a longer prefix within it may go to the other"}}},
        Case{.name = "OneSubnetInThreeSites",
             .sites = "\n"
                      "  - {name: a, subnets: 10.20.0.0/16, rate: {floor: 1mbit}}\n"
                      "  - {name: b, subnets: @10.20.0.0/16, rate: {floor: 1mbit}}\n"
                      "  - {name: c, subnets: @10.20.0.0/16, rate: {floor: 1mbit}}",
             .expected = {{"10.20.0.0/16 belongs to site 'a' (on line 4, column 24) and to site 'b'",
                           "leave it in one site; a longer prefix within it may go to the other"},
                          {"10.20.0.0/16 belongs to site 'a' (on line 4, column 24) and to site 'c'",
                           "leave it in one site; a longer prefix within it may go to the other"}}},
        Case{.name = "OneSubnetTwiceInASite",
             .sites = "[{name: coast, subnets: [10.0.0.1, @10.0.0.1/32], rate: {floor: 1mbit}}]",
             .expected = {{"10.0.0.1/32 stands twice in site 'coast', first on line 3, column 33",
                           "remove one of them"}}}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    Rates, PolicyFault,
    ::testing::Values(
        Case{.name = "BadUnits",
             .wan = "{interface: wan0, rate: @622}",
             .sites = rate("floor: @45mbps, ceiling: @50 Mbit, start: @fast"),
             .expected = {{"'622' is not a rate", "add the unit: 622mbit, 622kbit, ..."},
                          {"'45mbps' is not a rate", "did you mean 45mbit?"},
                          {"'50 Mbit' is not a rate", "did you mean 50mbit?"},
                          {"'fast' is not a rate", "write start: 45mbit (units: bit, kbit, mbit, gbit)"}}},
        Case{.name = "NegativeRate",
             .sites = rate("floor: @-45mbit"),
             .expected = {{"'-45mbit' is not a rate", "write floor: 45mbit (units: bit, kbit, mbit, gbit)"}}},
        Case{.name = "ShareWhereARateBelongs",
             .sites = rate("floor: @50%"),
             .expected = {{"'50%' is a share, but 'floor' is a fixed rate", "write floor: 45mbit"}}},
        Case{.name = "RatesOutOfRange",
             .wan = "{interface: wan0, rate: @10001gbit}",
             .sites = rate("floor: @7999bit"),
             .expected = {{"'10001gbit' is too high a rate", "write at most 10000gbit"},
                          {"'7999bit' is too low a rate", "write at least 8kbit"}}},
        Case{.name = "FloorAboveCeiling",
             .sites = rate("floor: @45mbit, ceiling: 30mbit, start: 40mbit"),
             .expected = {{"floor 45mbit is above the ceiling of 30mbit",
                           "write at most 30mbit, or raise the ceiling"}}},
        Case{.name = "CeilingAboveThePort",
             .sites = rate("floor: 45mbit, ceiling: @1gbit"),
             .expected = {{"ceiling 1gbit is above the port's rate of 622mbit",
                           "write at most 622mbit, or correct wan.rate on line 1, column 30"}}},
        Case{.name = "FloorAboveThePort",
             .sites = rate("floor: @1gbit"),
             .expected = {{"floor 1gbit is above the port's rate of 622mbit",
                           "write at most 622mbit, or correct wan.rate on line 1, column 30"}}},
        Case{.name = "StartBelowTheFloor",
             .sites = rate("floor: 45mbit, start: @40mbit"),
             .expected = {{"start 40mbit is below the floor of 45mbit", "write at least 45mbit"}}},
        Case{.name = "StartAboveTheCeiling",
             .sites = rate("floor: 45mbit, ceiling: 90mbit, start: @100mbit"),
             .expected = {{"start 100mbit is above the ceiling of 90mbit", "write at most 90mbit"}}},
        Case{.name = "StartAboveThePort",
             .sites = rate("floor: 45mbit, start: @1gbit"),
             .expected = {{"start 1gbit is above the ceiling of 622mbit", "write at most 622mbit"}}},
        Case{.name = "FloorsOverThePort",
             .wan = "{interface: wan0, rate: 100mbit}",
             .sites = "[{name: a, subnets: 10.1.0.0/16, rate: {floor: 50mbit}},\n"
                      "  {name: b, subnets: 10.2.0.0/16, rate: {floor: @48mbit}},\n"
                      "  {name: c, subnets: 10.3.0.0/16, rate: {floor: 10mbit}}]",
             .expected = {{"the floors of all sites (108mbit) and what control and elsewhere are guaranteed "
                           "(3mbit) do not "
                           "fit into the port's 100mbit",
                           "lower the floors by 11mbit in total"}}},
        Case{.name = "FloorsAndReservationsOverThePort",
             .wan = "{interface: wan0, rate: 100mbit}",
             .sites = "[{name: a, subnets: 10.1.0.0/16, rate: {floor: @90mbit}}]",
             .more = "control: {guarantee: 8mbit}\nelsewhere: {guarantee: 5%}",
             .expected = {{"the floors of all sites (90mbit) and what control and elsewhere are guaranteed "
                           "(13mbit) do not "
                           "fit into the port's 100mbit",
                           "lower the floors by 3mbit in total"}}},
        Case{.name = "BuiltInClassesOutOfOrder",
             .more = "control: {guarantee: 10%, ceiling: @5%}\nelsewhere: {ceiling: @1mbit}",
             .expected = {{"the ceiling of 5% is below the guarantee of 10%",
                           "raise the ceiling or lower the guarantee"},
                          {"the ceiling of 1mbit is below the guarantee of 1%",
                           "raise the ceiling or lower the guarantee"}}},
        Case{.name = "BuiltInClassAboveThePort",
             .more = "elsewhere: {ceiling: @1gbit}",
             .expected = {{"1gbit is above the port's rate of 622mbit", "write at most 100%"}}},
        Case{.name = "LinkLayerOutOfRange",
             .wan =
                 "{interface: wan0, rate: 622mbit, link_layer: {kind: @ethernt, overhead: @-65, mpu: @257}}",
             .expected = {{"'kind' cannot be 'ethernt'", "did you mean ethernet?"},
                          {"'overhead' cannot be '-65'", "write a whole number from -64 to 256"},
                          {"'mpu' cannot be '257'", "write a whole number from 0 to 256"}}},
        Case{.name = "AdaptIsNoFlag",
             .sites = rate("floor: 45mbit, adapt: @yes"),
             .expected = {{"'yes' is neither true nor false", "write true"}}}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    Guarantees, PolicyFault,
    ::testing::Values(
        Case{.name = "SharesOverTheWhole",
             .classes = "[{name: a, match: {dscp: ef}, guarantee: 60%}, {name: b, match: {dscp: cs1}, "
                        "guarantee: @45%},"
                        " {name: rest, default: true, guarantee: 5%}]",
             .expected = {{"the guarantees of policy 'p' add up to 110%", "lower them by 10% in total"}}},
        Case{.name = "SharesOverTheWholeInAnUnusedPolicy",
             .sites = site("rate: {floor: 45mbit}"),
             .classes = "[{name: a, match: {dscp: ef}, guarantee: 60%}, {name: rest, default: true, "
                        "guarantee: @40.5%}]",
             .expected = {{"the guarantees of policy 'p' add up to 100.5%", "lower them by 0.5% in total"}}},
        Case{.name = "FixedRatesOverTheFloorOfTheTightestSite",
             .sites = "[{name: a, subnets: 10.1.0.0/16, rate: {floor: 100mbit}, policy: p},\n"
                      "  {name: b, subnets: 10.2.0.0/16, rate: {floor: 20mbit}, policy: p}]",
             .classes = "[{name: a, match: {dscp: ef}, guarantee: 15mbit}, {name: rest, default: true, "
                        "guarantee: @30%}]",
             .expected = {{"the guarantees of policy 'p' add up to 21mbit at site 'b', whose floor is 20mbit "
                           "(on line 4, "
                           "column 49)",
                           "lower them by 1mbit in total, or raise the floor"}}},
        Case{
            .name = "BadShares",
            .classes = "[{name: a, match: {dscp: ef}, guarantee: @0%, ceiling: @101%},"
                       " {name: rest, default: true, guarantee: @-5%, ceiling: @5}]",
            .expected = {{"'0%' is not a share of something", "write more than 0%, or leave 'guarantee' out"},
                         {"'101%' is not a share of something", "write at most 100%"},
                         {"'-5%' is not a rate", "write guarantee: 10% (units: bit, kbit, mbit, gbit)"},
                         {"'5' has no unit", "write 5% or a rate like 5mbit"}}},
        Case{.name = "CeilingBelowTheGuarantee",
             .classes = "[{name: a, match: {dscp: ef}, guarantee: 20%, ceiling: @10%},"
                        " {name: b, match: {dscp: cs1}, guarantee: 5mbit, ceiling: @4mbit},"
                        " {name: rest, default: true, guarantee: 6mbit, ceiling: @10%}]",
             .expected = {{"the ceiling of 10% is below the guarantee of 20%",
                           "raise the ceiling or lower the guarantee"},
                          {"the ceiling of 4mbit is below the guarantee of 5mbit",
                           "raise the ceiling or lower the guarantee"},
                          {"the ceiling of 10% is below the guarantee of 6mbit at the floor of site 'coast'",
                           "raise the ceiling or lower the guarantee"}}}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    Classes, PolicyFault,
    ::testing::Values(
        Case{.name = "NoDefault",
             .classes = "@[{name: a, match: {dscp: ef}}]",
             .expected = {{"policy 'p' has no default class for what matches none",
                           "add {name: rest, default: true} as its last class"}}},
        Case{.name = "TwoDefaults",
             .classes = "[{name: a, default: true}, {name: b, default: @true}]",
             .expected = {{"policy 'p' has a second default class; the first is 'a' on line 5, column 36",
                           "leave 'default: true' with one class"}}},
        Case{.name = "ClassWithoutMatch",
             .classes = "[@{name: a, priority: 1}, @{name: b, default: false}, {name: rest, default: true}]",
             .expected = {{"class 'a' is neither matched nor the default: no packet reaches it",
                           "add match: [{dscp: ef}] or default: true"},
                          {"class 'b' is neither matched nor the default: no packet reaches it",
                           "add match: [{dscp: ef}] or default: true"}}},
        Case{.name = "EmptyMatch",
             .classes = match("@[]"),
             .expected = {{"'match' is an empty list", "write match: [{dscp: ef}]"}}},
        Case{.name = "EntryWithoutCondition",
             .classes = match("[@{}]"),
             .expected =
                 {{"this entry has no condition",
                   "name a condition, or make this the default class with default: true and no match"}}},
        Case{.name = "ClassesBehindAnEntryWithoutCondition",
             .classes =
                 "[{name: a, match: [@{}]}, {name: b, match: [{dscp: ef}]}, {name: rest, default: true}]",
             .expected =
                 {{"this entry has no condition: no packet reaches the classes after it",
                   "name a condition, or make this the default class with default: true and no match"}}},
        Case{.name = "ClassesBehindAnEntryThatMatchesEverything",
             .classes =
                 "[{name: a, match: [@{source: [0.0.0.0/0, \"::/0\"]}]}, {name: b, match: [{dscp: ef}]}, "
                 "{name: rest, default: true}]",
             .expected =
                 {{"this entry matches every packet: no packet reaches the classes after it",
                   "name a condition, or make this the default class with default: true and no match"}}},
        Case{.name = "EntryRepeated",
             .classes =
                 "[{name: a, match: [{dscp: [ef, cs5], protocol: udp}]}, {name: b, match: [{dscp: cs1}, "
                 "@{protocol: 17, dscp: [40, 46]}]}, {name: rest, default: true}]",
             .expected = {{"this entry is the same as the one on line 5, column 35, which always comes first",
                           "remove one of them"}}},
        Case{.name = "BadMatchValues",
             .classes = match("[{dscp: [@af44, @64], protocol: [@tpc, @256, @http2], port: [@0, @70000, "
                              "@5010-5000, @ssh]}]"),
             .expected = {{"'af44' is not a DSCP", "did you mean af41?"},
                          {"'64' is not a DSCP",
                           "write 0 to 63 or one of default, df, be, le, cs0, cs1, cs2, cs3, cs4, cs5, "
                           "cs6, cs7, af11, af12, af13, af21, af22, af23, af31, af32, af33, af41, af42, "
                           "af43, va, ef"},
                          {"'tpc' is not an IP protocol", "did you mean tcp?"},
                          {"'256' is not an IP protocol",
                           "write 0 to 255 or one of icmp, igmp, ipip, tcp, udp, dccp, ipv6, gre, esp, ah, "
                           "icmpv6, ipv6-icmp, "
                           "ospf, pim, vrrp, l2tp, sctp"},
                          {"'http2' is not an IP protocol",
                           "write 0 to 255 or one of icmp, igmp, ipip, tcp, udp, dccp, ipv6, gre, esp, ah, "
                           "icmpv6, ipv6-icmp, "
                           "ospf, pim, vrrp, l2tp, sctp"},
                          {"'0' is not a port or a range of ports",
                           "write a port from 1 to 65535, or a range like 5000-5010"},
                          {"'70000' is not a port or a range of ports",
                           "write a port from 1 to 65535, or a range like 5000-5010"},
                          {"'5010-5000' is not a port or a range of ports", "did you mean 5000-5010?"},
                          {"'ssh' is not a port or a range of ports",
                           "write a port from 1 to 65535, or a range like 5000-5010"}}},
        Case{.name = "PortOfAProtocolWithoutPorts",
             .classes = match("[@{protocol: [tcp, gre], destination_port: 80}]"),
             .expected = {{"this entry asks for a port, but gre has none that Weir reads",
                           "write protocol: tcp, udp or sctp, or leave the port out"}}},
        Case{.name = "SourceAndDestinationOfDifferentVersions",
             .classes = match("[@{source: 10.0.0.0/8, destination: \"2001:db8::/32\"}]"),
             .expected = {{"source and destination are of different IP versions: no packet has both",
                           "write two entries, one for IPv4 and one for IPv6"}}},
        Case{.name = "PriorityAndLeaf",
             .classes = "[{name: rest, default: true, priority: @8, leaf: @codel}]",
             .expected = {{"'priority' cannot be '8'", "write a whole number from 0 to 7"},
                          {"'leaf' cannot be 'codel'", "write one of auto, fq_codel, fifo"}}},
        Case{.name = "LatencyIsNoTime",
             .classes = "[{name: a, match: {dscp: ef}, guarantee: 5%, latency: @-20ms},"
                        " {name: b, match: {dscp: 5}, guarantee: 5%, latency: @20},"
                        " {name: c, match: {dscp: 6}, guarantee: 5%, latency: @20 msec},"
                        " {name: d, match: {dscp: 7}, guarantee: 5%, latency: @5%},"
                        " {name: rest, default: true}]",
             .expected = {{"'-20ms' is not a time", "write latency: 20ms (units: us, ms, s; from 1ms to 1s)"},
                          {"'20' is not a time", "add the unit: 20ms, 20us, ..."},
                          {"'20 msec' is not a time", "did you mean 20ms?"},
                          {"'5%' is not a time", "write latency: 20ms (units: us, ms, s; from 1ms to 1s)"}}},
        Case{
            .name = "LatencyOutOfRange",
            .classes = "[{name: a, match: {dscp: ef}, guarantee: 5%, latency: @0ms},"
                       " {name: b, match: {dscp: 5}, guarantee: 5%, latency: @999us},"
                       " {name: c, match: {dscp: 6}, guarantee: 5%, latency: @1.001s},"
                       " {name: d, match: {dscp: 7}, guarantee: 5%, latency: @99999999999999999s},"
                       " {name: rest, default: true}]",
            .expected = {{"'latency' cannot be '0ms'", "write a time from 1ms to 1s, or leave 'latency' out"},
                         {"'latency' cannot be '999us'",
                          "write a time from 1ms to 1s, or leave 'latency' out"},
                         {"'latency' cannot be '1.001s'", "write a time from 1ms to 1s"},
                         {"'99999999999999999s' is not a time",
                          "write latency: 20ms (units: us, ms, s; from 1ms to 1s)"}}},
        // Whether a guarantee that could not be read was one is not held against the goal.
        Case{.name = "LatencyWithoutAGuarantee",
             .classes = "[{name: voice, match: {dscp: ef}, priority: 0, latency: @20ms},"
                        " {name: b, match: {dscp: 5}, guarantee: @lots, latency: 20ms},"
                        " {name: rest, default: true}]",
             .expected =
                 {{"class 'voice' has a latency goal and no guarantee: how long it waits is up to the others",
                   "add guarantee: 5%, or leave 'latency' out"},
                  {"'lots' is not a rate", "write guarantee: 10% (units: bit, kbit, mbit, gbit)"}}}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    Api, PolicyFault,
    ::testing::Values(
        Case{.name = "SocketIsRelative",
             .more = "api: {socket: @run/weir.sock}",
             .expected = {{"'run/weir.sock' is not an absolute path", "write socket: /run/weir/weir.sock"}}},
        Case{.name = "SocketPathTooLong",
             .more = "api: {socket: @/" + std::string(107, 's') + "}",
             .expected = {{"'/" + std::string(47, 's') +
                               "...' is longer than the 107 bytes that a Unix socket's path may have",
                           "write socket: /run/weir/weir.sock"}}},
        Case{.name = "SocketIsADirectory",
             .more = "api: {socket: @/run/weir/}",
             .expected = {{"'/run/weir/' does not name a socket", "write socket: /run/weir/weir.sock"}}},
        Case{.name = "RecordingTooLarge",
             .more = "recording: {mebibytes: @201}",
             .expected = {{"'mebibytes' cannot be '201'", "write a whole number from 0 to 64"}}},
        Case{.name = "RecordingWithAUnit",
             .more = "recording: {mebibytes: @32MiB}",
             .expected = {{"'mebibytes' cannot be '32MiB'", "write a whole number from 0 to 64"}}},
        Case{.name = "ListenOnEverything",
             .more = "api: {listen: @\"0.0.0.0:8440\"}",
             .expected = {{"'0.0.0.0:8440' is not a loopback address: the API has no passwords",
                           "write 127.0.0.1:8440 and put a proxy before it"}}},
        Case{.name = "ListenOnAGlobalIpv6Address",
             .more = "api: {listen: @\"[2001:db8::1]:8440\"}",
             .expected = {{"'[2001:db8::1]:8440' is not a loopback address: the API has no passwords",
                           "write \"[::1]:8440\" and put a proxy before it"}}},
        Case{.name = "ListenWithoutPort",
             .more = "api: {listen: @127.0.0.1}",
             .expected = {{"'127.0.0.1' is not an address with a port",
                           "write listen: \"127.0.0.1:8440\" or \"[::1]:8440\""}}},
        Case{.name = "ListenOnPortZero",
             .more = "api: {listen: @\"127.0.0.1:0\"}",
             .expected = {{"'127.0.0.1:0' is not an address with a port",
                           "write listen: \"127.0.0.1:8440\" or \"[::1]:8440\""}}},
        Case{.name = "ListenOnIpv6WithoutBrackets",
             .more = "api: {listen: @\"::1:8440\"}",
             .expected = {{"'::1:8440' is not an address with a port",
                           "write listen: \"127.0.0.1:8440\" or \"[::1]:8440\""}}}),
    case_name);

TEST(PolicyFaults, TooManyClassesForHtbAreRefused) {
  std::string classes = "[{name: rest, default: true}";
  for (int i = 0; i < 63; ++i)
    classes += ", {name: c" + std::to_string(i) + ", match: {dscp: " + std::to_string(i) + "}}";
  std::string text =
      "wan: {interface: wan0, rate: 100gbit}\npolicies: {p: {classes: " + classes + "]}}\nsites:\n";
  constexpr int kFit = 65'500 / (1 + 64);
  for (int i = 0; i <= kFit; ++i) {
    text += "- {name: s" + std::to_string(i) + ", subnets: 10." + std::to_string(i / 250) + "." +
            std::to_string(i % 250) + ".0/24, rate: {floor: 1mbit}, policy: p}\n";
  }
  const auto parsed = parse_policy(text);
  const auto& problems = std::get<Problems>(parsed);
  ASSERT_EQ(problems.size(), 1U) << render(problems, "policy.yaml", text);
  EXPECT_EQ(problems[0].message,
            "from here on the port would need more than 65500 classes, the most that HTB can number");
  EXPECT_EQ(problems[0].line, 4U + kFit);
}

TEST(PolicyFaults, OneProblemBehindAnAliasIsNamedOnce) {
  const auto parsed = parse_policy(
      "wan: {interface: wan0, rate: 100mbit}\n"
      "sites:\n"
      "  - {name: a, subnets: 10.1.0.0/16, rate: &r {floor: 1mb}}\n"
      "  - {name: b, subnets: 10.2.0.0/16, rate: *r}\n");
  const auto& problems = std::get<Problems>(parsed);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].message, "'1mb' is not a rate");
}

}  // namespace
}  // namespace weir::test
