#include "gateway/api.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "fakes.hpp"
#include "scratch_folder.hpp"

namespace weir::gateway::test {
namespace {

namespace json = boost::json;

struct ApiTest : testing::Test {
  EventLog events;
  ScratchFolder folder;
  RevisionLog revisions{folder.path()};
  History history;
  DecisionLog decisions;
  ControlRecorder recorder{1'000'000};
  std::vector<ClassStatus> classes;
  GatewayStatus status;
  Policy policy;
  FakePort port;
  std::optional<PortView> lan;

  void SetUp() override {
    port.policy = policy;
    port.arrived.emplace();
    revisions.add({{.path = "/etc/weir/weir.yaml", .text = "sites: []\n"}}, "root", "as before",
                  RevisionState::good, at(0).wall);
    status.version = "9.9";
    status.at = at(100).wall;
    status.started = at(0).wall;
    status.uptime = std::chrono::seconds(100);
    status.interface = "wan0";
    status.port_rate = Rate::mbps(622);
    status.policy = {
        .file = "/etc/weir/weir.yaml", .last_good = false, .loaded = at(0).wall, .reload_error = {}};
    status.capture.up = true;
    status.capture.last_tick_age = std::chrono::milliseconds(40);
    status.shaper.in_place = true;
    SiteStatus coast;
    coast.name = "dc coast/1";
    coast.policy = "usual";
    coast.shaped = coast.wanted = Rate::bps(46'123'456);
    coast.floor = Rate::mbps(45);
    coast.ceiling = Rate::mbps(600);
    coast.mode = PathMode::policer;
    coast.reason = "-31 % because 2.1 % of 41 210 segments were lost";
    coast.since = std::chrono::milliseconds(12'500);
    coast.capacity = {.rate = Rate::mbps(47),
                      .low = Rate::mbps(46),
                      .high = Rate::mbps(48),
                      .age = std::chrono::seconds(13)};
    coast.loss_beyond = 0.0213456789;
    coast.loss_segments = 41'210;
    coast.rtt = RttSummary{.base = std::chrono::microseconds(20'100),
                           .p50 = std::chrono::milliseconds(21),
                           .p95 = std::chrono::milliseconds(24),
                           .samples = 99};
    coast.sent = Rate::mbps(44);
    coast.demand = true;
    status.sites.push_back(coast);
    SiteStatus hills;
    hills.name = "hills";
    status.sites.push_back(hills);
    classes.push_back(
        {.counters = {.site = "hills", .name = "rest", .handle = 0x7e170011, .leaf = "fq_codel"},
         .sent = Rate::mbps(1)});
    classes.push_back(
        {.counters = {.site = "", .name = "control", .handle = 0x7e170002, .leaf = "fq_codel"}, .sent = {}});
    for (int i = 0; i < 5; ++i) {
      HistorySample sample;
      sample.unix_ms = 1'700'000'000'000 + i * 1000;
      sample.shaped_bps = 45e6F;
      history.add(sample);
    }
  }
  PortView view_of(const Policy& of) {
    return {.policy = of,
            .classes = classes,
            .explain = [this](const shaper::PacketQuery& query) { return port.explain(query); },
            .arrivals = [this] { return port.arrivals(); },
            .history_of = [this](std::string_view name) { return name == "dc coast/1" ? &history : nullptr; },
            .decisions_of =
                [this](std::string_view name) { return name == "dc coast/1" ? &decisions : nullptr; }};
  }
  ApiView view() {
    return {.wan = view_of(policy),
            .lan = lan,
            .status = status,
            .events = events,
            .recording_of =
                [this](std::optional<std::string_view> site) -> std::optional<std::vector<SharedText>> {
              if (!recorder.is_on()) return std::nullopt;
              return recorder.recording({.version = "9.9", .interface = "wan0"}, site);
            },
            .revisions = revisions};
  }
  ApiResponse get(std::string_view target, std::string_view method = "GET") {
    return respond({.method = method, .target = target}, view());
  }
  json::value body(std::string_view target) {
    const ApiResponse response = get(target);
    EXPECT_EQ(response.status, 200U) << target << ": " << response.body;
    EXPECT_EQ(response.content_type, "application/json");
    return json::parse(response.body);
  }
  void expect_problem(std::string_view target, unsigned code, std::string_view method = "GET") {
    const ApiResponse response = get(target, method);
    EXPECT_EQ(response.status, code) << target;
    EXPECT_EQ(response.content_type, "application/problem+json") << target;
    const json::value document = json::parse(response.body);
    EXPECT_EQ(document.at("status").to_number<unsigned>(), code);
    EXPECT_FALSE(document.at("title").as_string().empty());
    EXPECT_FALSE(document.at("detail").as_string().empty());
  }
};

TEST_F(ApiTest, DecisionsComeOldestFirstWithTheirNumbers) {
  RateDecision d;
  d.rate = Rate::mbps(60);
  d.reason = "60.0 Mbit/s: where it started";
  decisions.begin(d, at(1).wall);
  d.rate = Rate::mbps(46);
  d.state = ControlState::verify;
  d.mode = PathMode::policer;
  d.reason = "46.0 Mbit/s, -23 %: lost";
  decisions.note(d, at(2).wall);
  const json::value all = body("/v1/sites/dc%20coast%2F1/decisions");
  EXPECT_EQ(all.at("site").as_string(), "dc coast/1");
  ASSERT_EQ(all.at("decisions").as_array().size(), 2U);
  const json::value& last = all.at("decisions").as_array()[1];
  EXPECT_EQ(last.at("time").as_string(), "2023-11-14T22:13:22.000Z");
  EXPECT_EQ(last.at("from_bps").to_number<std::uint64_t>(), 60'000'000U);
  EXPECT_EQ(last.at("to_bps").to_number<std::uint64_t>(), 46'000'000U);
  EXPECT_EQ(last.at("state_before").as_string(), "hold");
  EXPECT_EQ(last.at("state").as_string(), "verify");
  EXPECT_EQ(last.at("mode").as_string(), "policer");
  EXPECT_EQ(last.at("reason").as_string(), "46.0 Mbit/s, -23 %: lost");
  const json::value one = body("/v1/sites/dc%20coast%2F1/decisions?limit=1");
  ASSERT_EQ(one.at("decisions").as_array().size(), 1U);
  EXPECT_EQ(one.at("decisions").as_array()[0], last);
  expect_problem("/v1/sites/moon/decisions", 404);
  for (const char* wrong : {"limit=0", "limit=201", "limit=x", "n=5"})
    expect_problem("/v1/sites/dc%20coast%2F1/decisions?" + std::string(wrong), 400);
}

TEST_F(ApiTest, ARecordingIsLinesOfJsonWithHeaderAndEnd) {
  recorder.start("hills", {.floor = Rate::mbps(1), .ceiling = Rate::mbps(9)}, Rate::mbps(5), at(0).steady);
  for (const auto& [target, lines] :
       std::map<std::string, std::ptrdiff_t>{{"/v1/recording", 3},
                                             {"/v1/sites/hills/recording", 3},
                                             {"/v1/sites/dc%20coast%2F1/recording", 2}}) {
    const ApiResponse response = get(target);
    EXPECT_EQ(response.status, 200U) << target;
    EXPECT_EQ(response.content_type, "application/jsonl");
    std::string text = response.body;
    std::string room;
    for (const SharedText& part : response.more) text += part->read(room);
    EXPECT_EQ(std::ranges::count(text, '\n'), lines) << text;
    EXPECT_TRUE(text.starts_with("{\"weir_recording\":1,")) << text;
    EXPECT_TRUE(text.ends_with("{\"end\":" + std::to_string(lines - 1) + "}\n")) << text;
  }
  expect_problem("/v1/sites/moon/recording", 404);
  expect_problem("/v1/recording?site=hills", 400);
  recorder.set_bound(0);
  expect_problem("/v1/recording", 404);
}

TEST_F(ApiTest, ASiteHasEveryPromisedField) {
  const json::value site = body("/v1/sites/dc%20coast%2F1");
  EXPECT_EQ(site.at("shaped_bps").to_number<std::uint64_t>(), 46'123'456U);
  EXPECT_EQ(site.at("floor_bps").to_number<std::uint64_t>(), 45'000'000U);
  EXPECT_EQ(site.at("ceiling_bps").to_number<std::uint64_t>(), 600'000'000U);
  EXPECT_EQ(site.at("state").as_string(), "hold");
  EXPECT_EQ(site.at("mode").as_string(), "policer");
  EXPECT_EQ(site.at("reason").as_string(), "-31 % because 2.1 % of 41 210 segments were lost");
  EXPECT_EQ(site.at("since_s").to_number<double>(), 12.5);
  EXPECT_EQ(site.at("capacity").at("bps").to_number<std::uint64_t>(), 47'000'000U);
  EXPECT_EQ(site.at("capacity").at("low_bps").to_number<std::uint64_t>(), 46'000'000U);
  EXPECT_EQ(site.at("capacity").at("high_bps").to_number<std::uint64_t>(), 48'000'000U);
  EXPECT_EQ(site.at("capacity").at("age_s").to_number<double>(), 13.0);
  EXPECT_EQ(site.at("loss").at("beyond").to_number<double>(), 0.021346);
  EXPECT_EQ(site.at("loss").at("before").to_number<double>(), 0.0);
  EXPECT_EQ(site.at("loss").at("segments").to_number<int>(), 41'210);
  EXPECT_EQ(site.at("rtt_ms").at("base").to_number<double>(), 20.1);
  EXPECT_EQ(site.at("rtt_ms").at("p50").to_number<double>(), 21.0);
  EXPECT_EQ(site.at("rtt_ms").at("p95").to_number<double>(), 24.0);
  EXPECT_EQ(site.at("sent_bps").to_number<std::uint64_t>(), 44'000'000U);
  EXPECT_TRUE(site.at("delivered_bps").is_null()) << "unknown is null, not zero";
  EXPECT_TRUE(site.at("demand").as_bool());
  EXPECT_TRUE(site.at("degraded").as_array().empty());
}

TEST_F(ApiTest, RatesAreIntegersAndNumbersReadable) {
  const ApiResponse response = get("/v1/sites/dc%20coast%2F1");
  EXPECT_NE(response.body.find("\"shaped_bps\":46123456,"), std::string::npos) << response.body;
  EXPECT_NE(response.body.find("\"since_s\":12.5,"), std::string::npos) << response.body;
}

TEST_F(ApiTest, WhatIsNotKnownIsNull) {
  const json::value site = body("/v1/sites/hills");
  EXPECT_TRUE(site.at("capacity").is_null());
  EXPECT_TRUE(site.at("rtt_ms").is_null());
}

TEST_F(ApiTest, ALatencyGoalIsShownWithWhatWaitsWhere) {
  EXPECT_TRUE(body("/v1/sites/hills").at("latency").is_null());
  EXPECT_EQ(get("/metrics").body.find("weir_site_probes_held{"), std::string::npos) << "no goal, no figure";
  status.sites[1].latency = {.class_name = "voice",
                             .goal = std::chrono::milliseconds(20),
                             .own = std::chrono::microseconds(1'250),
                             .provider = std::nullopt};
  const json::value quiet = body("/v1/sites/hills").at("latency");
  EXPECT_TRUE(quiet.at("provider_ms").is_null());
  EXPECT_TRUE(quiet.at("missed").is_null());
  status.sites[1].latency->provider = std::chrono::milliseconds(26);
  status.sites[1].latency->missed = LatencyMissed::provider;
  status.sites[1].latency->probes_held = true;
  EXPECT_EQ(body("/v1/sites/hills").at("latency"),
            json::parse(R"({"class":"voice","goal_ms":20,"own_ms":1.25,"provider_ms":26,"missed":"provider",
                            "probes_held":true})"));
  status.sites[1].latency->missed = LatencyMissed::own;
  EXPECT_EQ(body("/v1/sites/hills").at("latency").at("missed").as_string(), "own");
  const std::string metrics = get("/metrics").body;
  EXPECT_NE(metrics.find("weir_site_latency_goal_seconds{site=\"hills\"} 0.02\n"), std::string::npos);
  EXPECT_NE(metrics.find("weir_site_latency_own_seconds{site=\"hills\"} 0.00125\n"), std::string::npos);
  EXPECT_NE(metrics.find("weir_site_probes_held{site=\"hills\"} 1\n"), std::string::npos);
}

struct InboundApiTest : ApiTest {
  Policy lan_policy;
  void SetUp() override {
    ApiTest::SetUp();
    status.lan = LanStatus{.interface = "lan0", .port_rate = Rate::mbps(1000), .shaper = {}};
    status.lan->shaper.in_place = true;
    SiteStatus comes = status.sites.at(0);
    comes.shaped = Rate::mbps(77);
    comes.reason = "it comes";
    comes.queue = std::chrono::milliseconds(3);
    status.inbound = {comes};
    lan.emplace(view_of(lan_policy));
    lan->classes = {};
  }
};

TEST_F(InboundApiTest, WhatComesFromASiteIsToldAsTheSiteIs) {
  const json::value site = body("/v1/sites/dc%20coast%2F1");
  const json::value& comes = site.at("inbound");
  EXPECT_EQ(comes.at("shaped_bps").to_number<std::uint64_t>(), 77'000'000U);
  EXPECT_EQ(comes.at("reason").as_string(), "it comes");
  EXPECT_EQ(comes.at("queue_ms").to_number<double>(), 3.0);
  for (const auto& member : site.as_object()) {
    if (member.key() == "name" || member.key() == "inbound") continue;
    EXPECT_TRUE(comes.as_object().contains(member.key())) << member.key();
  }
  EXPECT_TRUE(body("/v1/sites/hills").at("inbound").is_null());
  EXPECT_FALSE(body("/v1/status").at("sites").at(0).at("inbound").is_null());
  status.lan->shaper.in_place = false;
  EXPECT_TRUE(body("/v1/sites/dc%20coast%2F1").at("inbound").at("shaped_bps").is_null())
      << "the tree does not stand";
}

TEST_F(InboundApiTest, HistoryAndDecisionsAreOfADirection) {
  EXPECT_EQ(body("/v1/sites/dc%20coast%2F1/history?direction=inbound").at("time").as_array().size(), 5U);
  EXPECT_EQ(get("/v1/sites/dc%20coast%2F1/decisions?direction=inbound").status, 200U);
  EXPECT_EQ(get("/v1/sites/dc%20coast%2F1/decisions?direction=outbound").status, 200U);
  for (const char* target :
       {"/v1/sites/dc%20coast%2F1/history?direction=up", "/v1/sites/dc%20coast%2F1/decisions?direction="})
    EXPECT_EQ(get(target).status, 400U) << target;
  EXPECT_EQ(get("/v1/sites/nowhere/history?direction=inbound").status, 404U);
  lan->history_of = [](std::string_view) { return nullptr; };
  EXPECT_NE(get("/v1/sites/dc%20coast%2F1/history?direction=inbound").body.find("is not shaped"),
            std::string::npos);
  lan.reset();
  EXPECT_EQ(get("/v1/sites/dc%20coast%2F1/decisions?direction=inbound").status, 404U);
}

TEST_F(InboundApiTest, MetricsTellOfThoseSitesAlone) {
  const std::string text = get("/metrics").body;
  EXPECT_NE(text.find("weir_site_inbound_shaped_bits_per_second{site=\"dc coast/1\"} 77000000\n"),
            std::string::npos);
  EXPECT_NE(text.find("weir_site_inbound_provider_queue_seconds{site=\"dc coast/1\"} 0.003\n"),
            std::string::npos);
  EXPECT_EQ(text.find("weir_site_inbound_floor_bits_per_second{site=\"hills\""), std::string::npos);
}

TEST_F(ApiTest, StatusHoldsTheSites) {
  status.degraded.push_back({"capture_down", "no capture"});
  const json::value document = body("/v1/status");
  EXPECT_EQ(document.at("sites").as_array().size(), 2U);
  EXPECT_EQ(document.at("interface").as_string(), "wan0");
  EXPECT_EQ(document.at("port_bps").to_number<std::uint64_t>(), 622'000'000U);
  EXPECT_EQ(document.at("time").as_string(), "2023-11-14T22:15:00.000Z");
  EXPECT_EQ(document.at("degraded").at(0).at("code").as_string(), "capture_down");
  EXPECT_EQ(body("/v1/sites").at("sites").as_array().size(), 2U);
}

TEST_F(ApiTest, HistoryIsColumnsOfEqualLength) {
  const json::value document = body("/v1/sites/dc%20coast%2F1/history?seconds=3");
  for (const auto& [key, column] : document.as_object()) {
    if (column.is_array()) {
      EXPECT_EQ(column.as_array().size(), 3U) << key;
    }
  }
  EXPECT_EQ(document.at("time").at(0).to_number<double>(), 1'700'000'002.0);
  EXPECT_EQ(document.at("shaped_bps").at(0).to_number<std::uint64_t>(), 45'000'000U);
  EXPECT_TRUE(document.at("rtt_p50_ms").at(0).is_null());
}

TEST_F(ApiTest, ClassesCanBeAskedForOneSite) {
  EXPECT_EQ(body("/v1/classes").at("classes").as_array().size(), 2U);
  const json::value one = body("/v1/classes?site=hills");
  ASSERT_EQ(one.at("classes").as_array().size(), 1U);
  EXPECT_EQ(one.at("classes").at(0).at("handle").as_string(), "7e17:11");
}

TEST_F(ApiTest, EventsCanBeFollowedWithoutAGap) {
  for (int i = 0; i < 300; ++i) {
    events.record(EventKind::rate_changed, Severity::info, i % 2 == 0 ? "hills" : "", "it moved", at(i).wall);
  }
  const json::value newest = body("/v1/events?limit=2");
  EXPECT_EQ(newest.at("events").at(1).at("id").to_number<int>(), 300);
  EXPECT_TRUE(newest.at("events").at(1).at("site").is_null());
  std::set<int> seen;
  std::uint64_t since = 0;
  for (;;) {
    const json::value page = body("/v1/events?limit=70&since=" + std::to_string(since));
    if (page.at("events").as_array().empty()) break;
    for (const auto& e : page.at("events").as_array()) seen.insert(e.at("id").to_number<int>());
    since = page.at("last_id").to_number<std::uint64_t>();
  }
  EXPECT_EQ(seen.size(), 300U);
  EXPECT_EQ(body("/v1/events?since=18446744073709551615").at("events").as_array().size(), 0U);
}

TEST_F(ApiTest, TheEventRingForgetsTheOldestAndSaysSo) {
  EventLog small(10);
  for (int i = 0; i < 25; ++i) small.record(EventKind::repaired, Severity::info, "", "x", at(i).wall);
  EXPECT_EQ(small.oldest_id(), 16U);
  EXPECT_EQ(small.newest_id(), 25U);
  EXPECT_EQ(small.after(0, 100).size(), 10U);
  EXPECT_EQ(small.after(20, 100).size(), 5U);
  EXPECT_EQ(small.after(25, 100).size(), 0U);
  EXPECT_EQ(small.newest(3).front()->id, 23U);
}

TEST_F(ApiTest, ReadinessNamesWhatIsMissing) {
  EXPECT_EQ(get("/readyz").status, 200U);
  status.capture.up = false;
  status.capture.why_down = "wan0 disappeared";
  const ApiResponse response = get("/readyz");
  EXPECT_EQ(response.status, 503U);
  EXPECT_NE(response.body.find("wan0 disappeared"), std::string::npos);
  EXPECT_EQ(get("/healthz").status, 200U) << "alive all the same";
  status.capture.up = true;
  status.capture.last_tick_age = std::chrono::seconds(9);
  EXPECT_EQ(get("/readyz").status, 503U);
}

TEST_F(ApiTest, WrongRequestsAreProblems) {
  expect_problem("/v1/nothing", 404);
  expect_problem("/v1/sites/nowhere", 404);
  expect_problem("/v1/sites/nowhere/history", 404);
  expect_problem("/v1/sites/hills/future", 404);
  expect_problem("/v1/sites/", 404);
  expect_problem("/v1/status/", 404);
  expect_problem("/v1/sites/dc%20coast%2F1/history?seconds=0", 400);
  expect_problem("/v1/sites/dc%20coast%2F1/history?seconds=3601", 400);
  expect_problem("/v1/sites/dc%20coast%2F1/history?seconds=ten", 400);
  expect_problem("/v1/sites/dc%20coast%2F1/history?seconds=-1", 400);
  expect_problem("/v1/sites/dc%20coast%2F1/history?seconds=99999999999999999999999", 400);
  expect_problem("/v1/sites/dc%20coast%2F1/history?minutes=1", 400);
  expect_problem("/v1/status?pretty=1", 400);
  expect_problem("/v1/events?since=abc", 400);
  expect_problem("/v1/events?limit=1001", 400);
  expect_problem("/v1/status", 405, "POST");
  expect_problem("/v1/status", 405, "DELETE");
  expect_problem("/v1/sites/%zz", 400);
  expect_problem("/v1/sites/%2", 400);
  expect_problem("*", 400);
  expect_problem("", 400);
  expect_problem("v1/status", 400);
  expect_problem("/" + std::string(3000, 'a'), 414);
  EXPECT_EQ(get("/v1/status", "PUT").allow, "GET, HEAD");
}

TEST_F(ApiTest, PercentDecodingNeverMakesASeparatorOrEscapes) {
  expect_problem("/v1%2Fstatus", 404);
  expect_problem("/v1/sites/..%2F..%2Fstatus", 404);
  expect_problem("/v1/sites/../status", 404);
  expect_problem("/v1/sites/a%00b", 404);
  EXPECT_EQ(get("http://localhost/v1/status").status, 200U)
      << "the absolute form is a server's duty (RFC 9112, 3.2.2)";
}

TEST_F(ApiTest, TheIndexNamesOnlyPathsThatExist) {
  const json::value index = body("/");
  for (const auto& path : index.at("paths").as_array()) {
    std::string target(path.as_string());
    if (const auto name = target.find("{name}"); name != std::string::npos)
      target.replace(name, 6, "dc%20coast%2F1");
    if (const auto number = target.find("{number}"); number != std::string::npos)
      target.replace(number, 8, "1");
    if (target == "/v1/explain") target += "?from=10.0.0.1&to=10.0.0.2";
    EXPECT_EQ(get(target).status, 200U) << target;
  }
}

/// name[{label="value",...}] number; in a value every quote, backslash and line feed is escaped.
bool is_sample(std::string_view line) {
  constexpr std::string_view kName = "abcdefghijklmnopqrstuvwxyz0123456789_";
  const auto eat_name = [&] {
    const auto length = std::min(line.find_first_not_of(kName), line.size());
    line.remove_prefix(length);
    return length > 0;
  };
  const auto eat = [&](std::string_view text) {
    if (!line.starts_with(text)) return false;
    line.remove_prefix(text.size());
    return true;
  };
  const auto eat_value = [&] {
    while (!line.empty() && line.front() != '"') {
      if (line.front() == '\\') {
        if (line.size() < 2 || std::string_view("\\\"n").find(line[1]) == std::string_view::npos)
          return false;
        line.remove_prefix(1);
      }
      line.remove_prefix(1);
    }
    return eat("\"");
  };
  if (!eat_name()) return false;
  if (eat("{")) {
    do {
      if (!eat_name() || !eat("=\"") || !eat_value()) return false;
    } while (eat(","));
    if (!eat("}")) return false;
  }
  if (!eat(" ") || line.empty()) return false;
  double number = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  return error == std::errc() && end == line.data() + line.size();
}

/// A reader of the exposition format, strict about what the format asks.
TEST_F(ApiTest, MetricsAreWellFormed) {
  status.sites[0].name = "quote\" back\\ line\nend";
  const ApiResponse response = get("/metrics");
  EXPECT_EQ(response.status, 200U);
  EXPECT_TRUE(response.content_type.starts_with("text/plain; version=0.0.4"));
  std::set<std::string> families;
  std::set<std::string> series;
  std::string type_of;
  std::istringstream lines(response.body);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      const std::string name = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(families.insert(name).second) << "one family, one block: " << name;
      continue;
    }
    if (line.starts_with("# TYPE ")) {
      type_of = line.substr(7, line.find(' ', 7) - 7);
      const bool counter = line.ends_with(" counter");
      EXPECT_EQ(counter, type_of.ends_with("_total")) << line;
      continue;
    }
    EXPECT_EQ(line.substr(0, line.find_first_of("{ ")), type_of) << "a sample stands under its own TYPE";
    EXPECT_TRUE(is_sample(line)) << line;
    EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << "twice: " << line;
  }
  for (const char* name : {"weir_site_shaped_bits_per_second", "weir_site_loss_beyond_ratio",
                           "weir_site_rtt_base_seconds", "weir_class_sent_bytes_total", "weir_build_info"}) {
    EXPECT_TRUE(families.contains(name)) << name;
  }
  EXPECT_NE(response.body.find("{site=\"quote\\\" back\\\\ line\\nend\"} 46123456\n"), std::string::npos);
}

/// Every key of a document and of those inside it.
void collect_keys(const json::value& value, std::set<std::string>& keys) {
  if (const auto* object = value.if_object()) {
    for (const auto& [key, member] : *object) {
      keys.insert(std::string(key));
      collect_keys(member, keys);
    }
  } else if (const auto* array = value.if_array()) {
    for (const json::value& element : *array) collect_keys(element, keys);
  }
}

/// The metrics that a text names; families that differ in one word may be folded:
/// weir_site_{sent,received}_ratio.
std::set<std::string> families_named_in(const std::string& text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789_";
  std::set<std::string> names;
  for (auto at = text.find("weir_"); at != std::string::npos; at = text.find("weir_", at + 1)) {
    const auto end = std::min(text.find_first_not_of(kLetters, at), text.size());
    const std::string head = text.substr(at, end - at);
    if (end == text.size() || text[end] != '{') {
      names.insert(head);
      continue;
    }
    const auto close = text.find('}', end);
    if (close == std::string::npos) break;
    const auto tail_end = std::min(text.find_first_not_of(kLetters, close + 1), text.size());
    std::istringstream words(text.substr(end + 1, close - end - 1));
    for (std::string word; std::getline(words, word, ',');) {
      names.insert(head + word + text.substr(close + 1, tail_end - close - 1));
    }
  }
  return names;
}

TEST_F(ApiTest, TheManualHasEveryFieldKindAndMetric) {
  std::ifstream file(WEIR_SOURCE_DIR "/docs/API.md");
  const std::string manual(std::istreambuf_iterator<char>(file), {});
  ASSERT_FALSE(manual.empty());
  events.record(EventKind::started, Severity::info, "", "x", at(0).wall);
  status.degraded.push_back({"capture_down", "x"});
  std::set<std::string> keys;
  for (const char* target :
       {"/", "/v1/status", "/v1/sites/dc%20coast%2F1", "/v1/sites/dc%20coast%2F1/history", "/v1/classes",
        "/v1/rules", "/v1/explain?from=10.0.0.1&to=10.0.0.2", "/v1/policy/revisions",
        "/v1/policy/revisions/1", "/v1/events", "/healthz", "/readyz"}) {
    collect_keys(body(target), keys);
  }
  keys.erase("paths");
  const auto documented = [&](const std::string& word) {
    for (auto found = manual.find(word); found != std::string::npos; found = manual.find(word, found + 1)) {
      const bool begins =
          found > 0 && std::string_view("`\".").find(manual[found - 1]) != std::string_view::npos;
      const char after = found + word.size() < manual.size() ? manual[found + word.size()] : ' ';
      if (begins && std::string_view("`\",").find(after) != std::string_view::npos) return true;
    }
    return false;
  };
  for (const std::string& key : keys) EXPECT_TRUE(documented(key)) << key;
  for (int kind = 0; kind <= static_cast<int>(EventKind::api_failed); ++kind) {
    EXPECT_TRUE(documented(std::string(to_string(static_cast<EventKind>(kind)))));
  }
  const std::set<std::string> metrics = families_named_in(manual);
  std::istringstream lines(get("/metrics").body);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("# TYPE ")) continue;
    const std::string name = line.substr(7, line.find(' ', 7) - 7);
    EXPECT_TRUE(metrics.contains(name)) << name;
  }
}

}  // namespace
}  // namespace weir::gateway::test
