// "Where would this packet go?": the words, the API's documents, the pages, and the commands that show them.
#include "gateway/explain.hpp"

#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "config/load.hpp"
#include "config/rule_text.hpp"
#include "gateway/api.hpp"
#include "gateway/explain_page.hpp"

#include "fakes.hpp"
#include "run_weir.hpp"
#include "scratch_folder.hpp"

namespace weir::gateway::test {
namespace {

namespace json = boost::json;

constexpr const char* kPolicy = R"(
wan: {interface: wan0, rate: 100mbit}
policies:
  usual:
    classes:
      - {name: voice, priority: 0, guarantee: 5%, match: [{dscp: ef}]}
      - name: shell
        priority: 1
        guarantee: 10%
        set_dscp: af21
        match:
          - {protocol: tcp, port: 22, source: 10.1.0.0/16}
          - {dscp: [af41, af42], vlan: untagged}
      - {name: rest, default: true}
sites:
  - name: coast
    subnets: [10.20.0.0/16, 10.20.7.0/24]
    policy: usual
    rate: {floor: 10mbit, ceiling: 80mbit, start: 40mbit}
  - name: farm
    subnets: [10.30.1.0/24, 10.30.2.0/24]
    each_subnet: {guarantee: 1mbit}
    rate: {floor: 5mbit, ceiling: 20mbit}
)";

Policy policy_of_text() {
  auto read = parse_policy(kPolicy);
  if (const auto* problems = std::get_if<Problems>(&read))
    throw std::runtime_error(problems->front().message);
  return std::get<Policy>(std::move(read));
}

std::string complaint_about(const QueryWords& words) {
  const auto read = parse_query(words);
  const auto* wrong = std::get_if<std::string>(&read);
  return wrong == nullptr ? "none" : *wrong;
}

TEST(QueryWords, AreReadAsAPolicySpellsThem) {
  const auto read = parse_query({{"from", "10.1.8.9"},
                                 {"to", "10.20.0.1"},
                                 {"dscp", "af41"},
                                 {"protocol", "udp"},
                                 {"source_port", "5000"},
                                 {"port", "443"},
                                 {"vlan", "100"},
                                 {"fwmark", "0x10"}});
  ASSERT_TRUE(std::holds_alternative<shaper::PacketQuery>(read)) << std::get<std::string>(read);
  const auto& query = std::get<shaper::PacketQuery>(read);
  EXPECT_EQ(query.source.to_string(), "10.1.8.9");
  EXPECT_EQ(query.destination.to_string(), "10.20.0.1");
  EXPECT_EQ(query.dscp, 34);
  EXPECT_EQ(query.protocol, 17);
  EXPECT_EQ(query.source_port, 5000);
  EXPECT_EQ(query.destination_port, 443);
  EXPECT_EQ(query.vlan, 100);
  EXPECT_EQ(query.fwmark, 16U);
  const auto least = parse_query({{"to", "2001:db8::1"}, {"from", "2001:db8::2"}});
  ASSERT_TRUE(std::holds_alternative<shaper::PacketQuery>(least));
  EXPECT_EQ(std::get<shaper::PacketQuery>(least).protocol, 6);
}

TEST(QueryWords, AreRefusedWithTheReason) {
  const auto with = [](std::initializer_list<QueryWords::value_type> more) {
    QueryWords words{{"from", "10.1.8.9"}, {"to", "10.20.0.1"}};
    words.insert(words.end(), more);
    return complaint_about(words);
  };
  EXPECT_EQ(complaint_about({{"to", "10.20.0.1"}}), "'from' is missing: the packet's source address");
  EXPECT_EQ(complaint_about({{"from", "10.20.0.1"}}), "'to' is missing: the packet's destination address");
  EXPECT_EQ(complaint_about({{"from", "10.0.0.0/8"}, {"to", "10.20.0.1"}}),
            "'from' must be an IPv4 or IPv6 address, not '10.0.0.0/8'");
  EXPECT_EQ(complaint_about({{"from", "10.0.0.1"}, {"to", "2001:db8::1"}}),
            "'from' and 'to' are not of one family: both must be IPv4 or both IPv6");
  EXPECT_EQ(with({{"dscp", "64"}}), "'dscp' must be a code point (ef, af41, cs1, 0 to 63), not '64'");
  EXPECT_EQ(with({{"protocol", "fish"}}),
            "'protocol' must be a protocol (tcp, udp, gre, 0 to 255), not 'fish'");
  EXPECT_EQ(with({{"port", "0"}}), "'port' must be a port (1 to 65535), not '0'");
  EXPECT_EQ(with({{"source_port", "80-90"}}), "'source_port' must be a port (1 to 65535), not '80-90'");
  EXPECT_EQ(with({{"vlan", "4095"}}), "'vlan' must be a VLAN id (1 to 4094) or 'untagged', not '4095'");
  EXPECT_EQ(with({{"vlan", "1-5"}}), "'vlan' must be a VLAN id (1 to 4094) or 'untagged', not '1-5'");
  EXPECT_EQ(with({{"fwmark", "0"}}), "'fwmark' must be a mark (16, 0x10), not 0, not '0'");
  EXPECT_EQ(with({{"protocol", "icmp"}, {"port", "80"}}), "a port was given, but icmp has none");
  EXPECT_EQ(with({{"colour", "red"}}),
            "unknown parameter 'colour'; known: from, to, dscp, protocol, source_port, port, vlan, fwmark, "
            "direction");
  EXPECT_EQ(with({{"to", "10.20.0.2"}}), "'to' is given twice");
  EXPECT_EQ(with({{"direction", "up"}}), "'direction' must be outbound or inbound, not 'up'");
  EXPECT_EQ(complaint_about({{"from", "2001:db8::1"}, {"to", "2001:db8::2"}, {"protocol", "44"}}),
            "44 is an IPv6 extension header; what follows it decides");
}

TEST(RuleText, SpellsAMatchEntryAsTheFileDoes) {
  const Policy policy = policy_of_text();
  const auto& classes = policy.class_sets[0].classes;
  EXPECT_EQ(rule_to_string(classes[0].match[0]), "dscp: ef");
  EXPECT_EQ(rule_to_string(classes[1].match[0]), "source: 10.1.0.0/16, protocol: tcp, port: 22");
  EXPECT_EQ(rule_to_string(classes[1].match[1]), "dscp: [af41, af42], vlan: untagged");
  MatchRule many;
  for (std::uint16_t p = 1; p <= 9; ++p)
    many.destination_port.push_back({p, static_cast<std::uint16_t>(p + 1)});
  many.fwmark = {16};
  EXPECT_EQ(rule_to_string(many), "destination_port: [1-2, 2-3, 3-4, 4-5, ... 5 more], fwmark: 16");
}

struct ExplainApi : testing::Test {
  EventLog events;
  RevisionLog revisions{"/nonexistent"};
  Policy policy = policy_of_text();
  FakePort port;
  std::vector<ClassStatus> classes;
  std::optional<Policy> lan;
  FakePort lan_port;
  std::vector<ClassStatus> lan_classes;

  void SetUp() override {
    port.policy = policy;
    classes.push_back({.counters = {.site = "coast",
                                    .name = "shell",
                                    .handle = 0x7e170012,
                                    .leaf = "fq_codel",
                                    .rate = Rate::mbps(4),
                                    .ceil = Rate::mbps(40),
                                    .priority = 1,
                                    .backlog = Bytes(1500)},
                       .sent = {}});
    port.arrived =
        shaper::ArrivalCounters{.elsewhere = {.packets = 6, .bytes = Bytes(600)},
                                .control = {.packets = 7, .bytes = Bytes(700)},
                                .sites = {{.otherwise = {.packets = 1, .bytes = Bytes(100)},
                                           .rules = {{.packets = 2, .bytes = Bytes(200)},
                                                     {.packets = 3, .bytes = Bytes(300)},
                                                     {.packets = 4, .bytes = Bytes(400)}}},
                                          {.otherwise = {.packets = 5, .bytes = Bytes(500)}, .rules = {}}}};
  }
  ApiResponse get(std::string_view target) {
    return respond({.method = "GET", .target = target},
                   {.wan = view_of(policy, classes, port),
                    .lan = lan ? std::optional(view_of(*lan, lan_classes, lan_port)) : std::nullopt,
                    .status = {},
                    .events = events,
                    .recording_of = [](std::optional<std::string_view>) { return std::nullopt; },
                    .revisions = revisions});
  }
  static PortView view_of(const Policy& policy, std::span<const ClassStatus> classes, FakePort& port) {
    return {.policy = policy,
            .classes = classes,
            .explain = [&port](const shaper::PacketQuery& query) { return port.explain(query); },
            .arrivals = [&port] { return port.arrivals(); },
            .history_of = [](std::string_view) { return nullptr; },
            .decisions_of = [](std::string_view) { return nullptr; }};
  }
  /// From here on what comes from site coast is shaped.
  void shape_inbound() {
    policy.lan = LanPort{.interface = "lan0", .rate = Rate::mbps(1000)};
    policy.inbound = {policy.sites[0]};
    lan = lan_policy(policy);
    lan_port.policy = lan;
    lan_classes.push_back(
        {.counters = {.site = "coast", .name = "rest", .handle = 0x7e170013, .leaf = "fq_codel"},
         .sent = Rate::mbps(3)});
    lan_port.arrived = shaper::ArrivalCounters{
        .elsewhere = {.packets = 60, .bytes = Bytes(6000)},
        .control = {},
        .sites = {{.otherwise = {.packets = 10, .bytes = Bytes(1000)}, .rules = {{}, {}, {}}}}};
  }
  json::value body(std::string_view target) {
    const ApiResponse response = get(target);
    EXPECT_EQ(response.status, 200U) << target << ": " << response.body;
    return json::parse(response.body);
  }
};

TEST_F(ExplainApi, WhatComesFromASiteIsAskedOfTheLanPort) {
  EXPECT_EQ(get("/v1/explain?from=10.20.0.1&to=10.1.8.9&direction=inbound").status, 404U);
  const json::value before = body("/v1/explain?from=10.20.0.1&to=10.1.8.9");
  EXPECT_EQ(before.at("direction").as_string(), "outbound");
  EXPECT_EQ(before.at("way").as_string(), "elsewhere");
  shape_inbound();
  const json::value e = body("/v1/explain?from=10.20.7.1&to=10.1.8.9");
  EXPECT_EQ(e.at("direction").as_string(), "inbound");
  EXPECT_EQ(e.at("interface").as_string(), "lan0");
  EXPECT_EQ(e.at("site").as_string(), "coast");
  EXPECT_EQ(e.at("subnet").as_string(), "10.20.7.0/24");
  EXPECT_EQ(e.at("handle").as_string(), "7e17:13");
  EXPECT_NE(render_explanation(e).find("  port       lan0, inbound\n"), std::string::npos);
  // Between two sites, and where neither end is known: out, unless that is not what is asked.
  EXPECT_EQ(body("/v1/explain?from=10.99.0.1&to=10.1.8.9").at("direction").as_string(), "outbound");
  EXPECT_EQ(body("/v1/explain?from=10.20.0.1&to=10.30.1.1").at("direction").as_string(), "outbound");
  const json::value farm = body("/v1/explain?from=10.30.1.1&to=10.1.8.9");
  EXPECT_EQ(farm.at("direction").as_string(), "inbound") << "it waits there, too";
  EXPECT_EQ(farm.at("way").as_string(), "elsewhere");
  EXPECT_NE(render_explanation(farm).find("it comes from no site that is shaped inbound"), std::string::npos);
  EXPECT_EQ(body("/v1/explain?from=10.20.0.1&to=10.1.8.9&direction=outbound").at("interface").as_string(),
            "wan0");
}

TEST_F(ExplainApi, RulesAndClassesSayWhichWay) {
  const std::size_t out = body("/v1/rules").at("rules").as_array().size();
  shape_inbound();
  const json::value all = body("/v1/rules");
  ASSERT_GT(all.at("rules").as_array().size(), out);
  EXPECT_EQ(all.at("rules").as_array()[0].at("direction").as_string(), "outbound");
  const json::value& last = all.at("rules").as_array().back();
  EXPECT_EQ(last.at("direction").as_string(), "inbound");
  EXPECT_EQ(last.at("packets").to_number<int>(), 10);
  EXPECT_EQ(body("/v1/rules?site=farm").at("rules").as_array().size(), 1U);
  const json::value shown = body("/v1/classes?site=coast");
  ASSERT_EQ(shown.at("classes").as_array().size(), 2U);
  EXPECT_EQ(shown.at("classes").at(0).at("direction").as_string(), "outbound");
  EXPECT_EQ(shown.at("classes").at(1).at("direction").as_string(), "inbound");
  const std::string metrics = get("/metrics").body;
  EXPECT_NE(
      metrics.find(
          "weir_rule_packets_total{site=\"coast\",class=\"rest\",rule=\"none\",direction=\"inbound\"} 10"),
      std::string::npos)
      << metrics;
  lan_port.counters_fail = true;
  EXPECT_EQ(body("/v1/rules").at("rules").as_array().size(), out) << "the WAN port's are known all the same";
}

TEST_F(ExplainApi, NamesSiteRuleAndClassWithWhatItHas) {
  const json::value e = body("/v1/explain?from=10.1.8.9&to=10.20.7.1&port=22");
  EXPECT_EQ(e.at("answered_by").as_string(), "program");
  EXPECT_EQ(e.at("packet").at("port").to_number<int>(), 22);
  EXPECT_TRUE(e.at("packet").at("source_port").is_null());
  EXPECT_EQ(e.at("packet").at("dscp").as_string(), "default");
  EXPECT_EQ(e.at("way").as_string(), "site");
  EXPECT_EQ(e.at("site").as_string(), "coast");
  EXPECT_EQ(e.at("subnet").as_string(), "10.20.7.0/24") << "the longest";
  EXPECT_EQ(e.at("policy").as_string(), "usual");
  EXPECT_EQ(e.at("rule").at("number").to_number<int>(), 2);
  EXPECT_EQ(e.at("rule").at("class").as_string(), "shell");
  EXPECT_EQ(e.at("rule").at("match").as_string(), "source: 10.1.0.0/16, protocol: tcp, port: 22");
  EXPECT_EQ(e.at("class").as_string(), "shell");
  EXPECT_EQ(e.at("handle").as_string(), "7e17:12");
  EXPECT_EQ(e.at("guarantee_bps").to_number<int>(), 4'000'000);
  EXPECT_EQ(e.at("ceiling_bps").to_number<int>(), 40'000'000);
  EXPECT_EQ(e.at("priority").to_number<int>(), 1);
  EXPECT_EQ(e.at("leaf").as_string(), "fq_codel");
  EXPECT_EQ(e.at("backlog_bytes").to_number<int>(), 1500);
  EXPECT_EQ(e.at("set_dscp").as_string(), "af21");

  const json::value rest = body("/v1/explain?from=10.9.8.9&to=10.20.0.1&port=22");
  EXPECT_EQ(rest.at("class").as_string(), "rest");
  EXPECT_TRUE(rest.at("rule").is_null());
  EXPECT_TRUE(rest.at("handle").is_null()) << "a class that is not among the counters yet";
  EXPECT_EQ(body("/v1/explain?from=10.9.8.9&to=10.20.0.1&port=179").at("class").as_string(), "control");
  EXPECT_EQ(body("/v1/explain?from=10.9.8.9&to=8.8.8.8").at("class").as_string(), "elsewhere");
  const json::value subnet = body("/v1/explain?from=10.9.8.9&to=10.30.2.1");
  EXPECT_EQ(subnet.at("site").as_string(), "farm");
  EXPECT_EQ(subnet.at("class").as_string(), "10.30.2.0/24");
}

TEST_F(ExplainApi, SaysWhatIsWrongWithAQuestion) {
  EXPECT_EQ(get("/v1/explain").status, 400U);
  EXPECT_EQ(get("/v1/explain?from=10.9.8.9&to=10.20.0.1&colour=red").status, 400U);
  EXPECT_EQ(get("/v1/rules?site=moon").status, 404U);
  EXPECT_EQ(get("/v1/rules?colour=red").status, 400U);
}

TEST_F(ExplainApi, WithoutAClassifierItIsNotAvailable) {
  port.policy.reset();
  port.arrived.reset();
  EXPECT_EQ(get("/v1/explain?from=10.9.8.9&to=10.20.0.1").status, 503U);
  EXPECT_EQ(get("/v1/rules").status, 503U);
  EXPECT_EQ(get("/metrics").body.find("weir_rule"), std::string::npos);
  port.counters_fail = true;
  const ApiResponse refused = get("/v1/rules");
  EXPECT_EQ(refused.status, 503U);
  EXPECT_NE(refused.body.find("read the arrival counters"), std::string::npos);
  EXPECT_EQ(get("/v1/explain?from=10.9.8.9&to=10.20.0.1").status, 503U);
  EXPECT_EQ(get("/metrics").status, 200U);
}

TEST_F(ExplainApi, RulesComeWithWhatTheyMet) {
  const auto rules = body("/v1/rules").at("rules").as_array();
  ASSERT_EQ(rules.size(), 2U + 4U + 1U);
  EXPECT_TRUE(rules[0].at("site").is_null());
  EXPECT_EQ(rules[0].at("class").as_string(), "control");
  EXPECT_EQ(rules[0].at("packets").to_number<int>(), 7);
  EXPECT_EQ(rules[1].at("class").as_string(), "elsewhere");
  EXPECT_EQ(rules[4].at("site").as_string(), "coast");
  EXPECT_EQ(rules[4].at("policy").as_string(), "usual");
  EXPECT_EQ(rules[4].at("rule").to_number<int>(), 3);
  EXPECT_EQ(rules[4].at("class").as_string(), "shell");
  EXPECT_EQ(rules[4].at("match").as_string(), "dscp: [af41, af42], vlan: untagged");
  EXPECT_EQ(rules[4].at("packets").to_number<int>(), 4);
  EXPECT_EQ(rules[4].at("bytes").to_number<int>(), 400);
  EXPECT_TRUE(rules[5].at("rule").is_null());
  EXPECT_EQ(rules[5].at("class").as_string(), "rest");
  EXPECT_EQ(rules[6].at("site").as_string(), "farm");
  EXPECT_TRUE(rules[6].at("class").is_null()) << "each subnet has its own";
  EXPECT_EQ(body("/v1/rules?site=farm").at("rules").as_array().size(), 1U);

  const std::string metrics = get("/metrics").body;
  EXPECT_NE(
      metrics.find(
          "weir_rule_packets_total{site=\"coast\",class=\"shell\",rule=\"3\",direction=\"outbound\"} 4\n"),
      std::string::npos);
  EXPECT_NE(
      metrics.find(
          "weir_rule_bytes_total{site=\"coast\",class=\"rest\",rule=\"none\",direction=\"outbound\"} 100\n"),
      std::string::npos);
}

TEST_F(ExplainApi, CountersOfAnotherPolicyAreNotMixedIn) {
  port.arrived->sites.resize(1);
  port.arrived->sites[0].rules.resize(1);
  EXPECT_EQ(body("/v1/rules").at("rules").as_array().size(), 2U + 1U + 1U);
}

TEST_F(ExplainApi, ThePageIsALineForEachThing) {
  EXPECT_EQ(render_explanation(body("/v1/explain?from=10.1.8.9&to=10.20.7.1&port=22&vlan=100")),
            "10.1.8.9 -> 10.20.7.1, tcp, port any -> 22, vlan 100\n"
            "  port       wan0, outbound\n"
            "  site       coast, by its subnet 10.20.7.0/24\n"
            "  policy     usual\n"
            "  because    rule 2: source: 10.1.0.0/16, protocol: tcp, port: 22\n"
            "  class      shell, 7e17:12\n"
            "  rates      guarantee 4.0 Mbit/s, ceiling 40.0 Mbit/s, priority 1\n"
            "  queue      fq_codel, 1500 bytes wait\n"
            "  dscp       is set to af21\n");
  EXPECT_NE(render_explanation(body("/v1/explain?from=10.1.8.9&to=8.8.8.8&dscp=ef"))
                .find("because    its destination is in no site's subnets\n"),
            std::string::npos);
  const std::string table = render_rules(body("/v1/rules"), false);
  EXPECT_NE(
      table.find(
          "coast  out  2     shell      3        300    source: 10.1.0.0/16, protocol: tcp, port: 22\n"),
      std::string::npos)
      << table;
  // Whatever it is given, it is a page.
  EXPECT_NE(render_explanation(nullptr).find("class      -, -"), std::string::npos);
  EXPECT_EQ(render_rules(nullptr, false), "SITE  WAY  RULE  CLASS  PACKETS  BYTES  MATCH\n");
}

TEST(ExplainCommand, AnswersFromTheFileWhereNoDaemonRuns) {
  const ScratchFolder folder;
  const std::string file = (folder.path() / "policy.yaml").string();
  std::ofstream(file) << kPolicy;
  const Outcome said =
      weir({"explain", "--from", "10.1.8.9", "--to", "10.20.0.1", "--port", "22", "--config", file});
  EXPECT_EQ(said.code, kExitOk) << said.complaint;
  EXPECT_NE(said.out.find("because    rule 2: source: 10.1.0.0/16, protocol: tcp, port: 22\n"),
            std::string::npos);
  EXPECT_NE(said.out.find("guarantee 4.0 Mbit/s, ceiling 40.0 Mbit/s, priority 1\n"), std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find("answered   by " + file + "; rates as at a first start\n"), std::string::npos);

  const Outcome document =
      weir({"explain", "--from", "10.1.8.9", "--to", "10.30.2.1", "--config", file, "--json"});
  const json::value e = json::parse(document.out);
  EXPECT_EQ(e.at("answered_by").as_string(), "policy");
  EXPECT_EQ(e.at("class").as_string(), "10.30.2.0/24");
  EXPECT_EQ(e.at("guarantee_bps").to_number<int>(), 1'000'000);

  const Outcome wrong = weir({"explain", "--from", "10.1.8.9", "--to", "moon", "--config", file});
  EXPECT_EQ(wrong.code, kExitPolicy);
  EXPECT_EQ(wrong.complaint, "weir: 'to' must be an IPv4 or IPv6 address, not 'moon'\n");
  const std::string socket = (folder.path() / "nobody.sock").string();
  EXPECT_EQ(weir({"rules", "--socket", socket}).code, kExitNotRunning);
}

}  // namespace
}  // namespace weir::gateway::test
