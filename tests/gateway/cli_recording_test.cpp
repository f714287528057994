// weir why, record and replay, against an API that a thread of the test serves.
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>

#include "gateway/api.hpp"
#include "gateway/http_server.hpp"
#include "gateway/why_page.hpp"

#include "../estimator/path_simulator.hpp"
#include "../estimator/recorded_run.hpp"
#include "fakes.hpp"
#include "run_weir.hpp"
#include "scratch_folder.hpp"

namespace weir::gateway::test {
namespace {

namespace json = boost::json;
using weir::test::lines_of;

const ControlLimits kLimits{.floor = Rate::mbps(10), .ceiling = Rate::mbps(500), .adapt = true};

/// A site whose controller ran on a modelled path for a while, as the daemon would show it.
struct RecordingCommands : testing::Test {
  ScratchFolder folder;
  std::string socket = (folder.path() / "weir.sock").string();
  std::string file = (folder.path() / "weir.jsonl").string();
  EventLog events;
  RevisionLog revisions{"/nonexistent"};
  ControlRecorder recorder{32U << 20U};
  DecisionLog decisions;
  GatewayStatus status;
  Policy policy;
  boost::asio::io_context loop;
  std::optional<HttpServer> server;
  std::thread thread;

  void SetUp() override {
    weir::test::PathSetup path;
    path.provider = weir::test::Provider::policer;
    weir::test::PathSimulator sim(path, kLimits, 200);
    sim.run_for(30);
    SiteController controller(kLimits, Rate::mbps(200), TimePoint());
    recorder.start("coast", kLimits, Rate::mbps(200), TimePoint());
    decisions.begin(controller.decision(), at(0).wall);
    for (const ControlInput& input : sim.inputs()) {
      const TimePoint now = input.measured.at;
      recorder.before_step("coast", now, [&] { return controller.state(); });
      const RateDecision& d = controller.step(input, now);
      recorder.tick("coast", input, d, now);
      decisions.note(d, at(seconds(now.time_since_epoch())).wall);
    }
    SiteStatus& coast = status.sites.emplace_back();
    coast.name = "coast";
    coast.shaped = controller.decision().rate;
    coast.mode = controller.decision().mode;
    coast.reason = controller.decision().reason;
    coast.since = std::chrono::seconds(12);

    server.emplace(loop, [this](const ApiRequest& request) { return respond(request, view()); });
    server->listen_unix(socket);
    thread = std::thread([this] {
      const auto stay = boost::asio::make_work_guard(loop);
      loop.run();
    });
  }
  void TearDown() override {
    boost::asio::post(loop, [this] {
      server->close();
      loop.stop();
    });
    thread.join();
  }
  ApiView view() {
    return {.wan = {.policy = policy,
                    .classes = {},
                    .explain = [](const shaper::PacketQuery&) { return std::nullopt; },
                    .arrivals = [] { return std::nullopt; },
                    .history_of = [](std::string_view) { return nullptr; },
                    .decisions_of =
                        [this](std::string_view name) { return name == "coast" ? &decisions : nullptr; }},
            .status = status,
            .events = events,
            .recording_of =
                [this](std::optional<std::string_view> site) -> std::optional<std::vector<SharedText>> {
              if (!recorder.is_on()) return std::nullopt;
              return recorder.recording({.version = "9.9",
                                         .interface = "wan0",
                                         .wall_ns = 1'700'000'030'000'000'000,
                                         .steady = TimePoint(std::chrono::seconds(30))},
                                        site);
            },
            .revisions = revisions};
  }
  [[nodiscard]] std::string written() const {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  void write(const std::string& text) const { std::ofstream(file, std::ios::binary) << text; }
};

TEST_F(RecordingCommands, ARecordingReplaysToTheSameDecisions) {
  const Outcome recorded = weir({"record", file, "--socket", socket});
  ASSERT_EQ(recorded.code, kExitOk) << recorded.complaint;
  EXPECT_NE(recorded.out.find("303 lines"), std::string::npos) << recorded.out;
  const Outcome replayed = weir({"replay", file});
  EXPECT_EQ(replayed.code, 0) << replayed.complaint << replayed.out;
  EXPECT_TRUE(replayed.out.ends_with("300 ticks of 1 site, all decisions as recorded\n")) << replayed.out;
  EXPECT_NE(replayed.out.find("coast"), std::string::npos);
  EXPECT_NE(replayed.out.find("2023-11-14T22:13:2"), std::string::npos) << "the times of that day";
  // Each decision that the daemon listed is there, its sentence included.
  for (const Decision* d : decisions.newest(5)) {
    if (d->from != d->to) {
      EXPECT_NE(replayed.out.find(because(d->reason)), std::string::npos) << d->reason;
    }
  }

  const Outcome as_json = weir({"replay", file, "--json", "--site", "coast"});
  EXPECT_EQ(as_json.code, 0);
  const auto lines = lines_of(as_json.out);
  for (const std::string& line : lines) EXPECT_TRUE(json::parse(line).is_object()) << line;
  EXPECT_EQ(lines.back(), R"({"same":true,"ticks":300,"sites":1})");
  EXPECT_EQ(lines.size() - 1, static_cast<std::size_t>(std::ranges::count(replayed.out, '\n')) - 1);
}

TEST_F(RecordingCommands, OneSiteOrStandardOutput) {
  const Outcome one = weir({"record", "-", "--site", "coast", "--socket", socket});
  EXPECT_EQ(one.code, kExitOk);
  EXPECT_EQ(std::ranges::count(one.out, '\n'), 303);
  const Outcome none = weir({"record", file, "--site", "moon/..", "--socket", socket});
  EXPECT_EQ(none.code, kExitPolicy);
  EXPECT_EQ(none.complaint, "weir: the policy has no site 'moon/..'\n");
  write(one.out);
  const Outcome absent = weir({"replay", file, "--site", "moon"});
  EXPECT_EQ(absent.code, 2);
  EXPECT_NE(absent.complaint.find("nothing of a site 'moon'"), std::string::npos) << absent.complaint;
}

TEST_F(RecordingCommands, WhatIsOffOrCannotBeWrittenIsSaid) {
  const Outcome unwritable =
      weir({"record", (folder.path() / "no/such/folder").string(), "--socket", socket});
  EXPECT_EQ(unwritable.code, kExitSystem);
  EXPECT_NE(unwritable.complaint.find("cannot write"), std::string::npos) << unwritable.complaint;
  recorder.set_bound(0);
  const Outcome off = weir({"record", file, "--socket", socket});
  EXPECT_EQ(off.code, kExitPolicy);
  EXPECT_NE(off.complaint.find("recording.mebibytes"), std::string::npos) << off.complaint;
  const std::string nobody = (folder.path() / "nobody.sock").string();
  EXPECT_EQ(weir({"record", file, "--socket", nobody}).code, kExitNotRunning);
  EXPECT_EQ(weir({"why", "coast", "--socket", nobody}).code, kExitNotRunning);
}

TEST_F(RecordingCommands, AnotherDecisionIsOne) {
  ASSERT_EQ(weir({"record", file, "--socket", socket}).code, kExitOk);
  auto lines = lines_of(written());
  const std::size_t at = lines[100].find("\"decided\":[") + 11;
  lines[100].insert(at, "1");
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  write(text);
  const Outcome replayed = weir({"replay", file});
  EXPECT_EQ(replayed.code, 1);
  EXPECT_NE(replayed.out.find("line 101, "), std::string::npos) << replayed.out;
  EXPECT_NE(replayed.out.find("coast: decided otherwise\n  recorded  1"), std::string::npos) << replayed.out;
  const Outcome as_json = weir({"replay", file, "--json"});
  EXPECT_EQ(as_json.code, 1);
  const json::value last = json::parse(lines_of(as_json.out).back());
  EXPECT_EQ(last.at("same").as_bool(), false);
  EXPECT_EQ(last.at("line").to_number<int>(), 101);
  EXPECT_NE(last.at("here").at("rate_bps"), last.at("recorded").at("rate_bps"));
}

TEST_F(RecordingCommands, ABadFileIsTwoWithItsLine) {
  ASSERT_EQ(weir({"record", file, "--socket", socket}).code, kExitOk);
  const std::string good = written();
  const auto expect_bad = [&](const std::string& text, const std::string& why) {
    write(text);
    const Outcome outcome = weir({"replay", file});
    EXPECT_EQ(outcome.code, 2);
    EXPECT_NE(outcome.complaint.find(why), std::string::npos) << outcome.complaint;
  };
  expect_bad("", "it is empty");
  expect_bad("what is this\n", "line 1: it is not JSON");
  expect_bad(std::string(6U << 20U, 'x'), "line 1: it is longer than");
  expect_bad(std::string("\0\x1b[31m\n", 7), "line 1: ");
  expect_bad(good.substr(0, good.rfind("{\"end\"")), "its closing line is missing");
  const std::size_t middle = good.size() / 2;
  expect_bad(good.substr(0, good.find(',', middle)), "(the file ends in the middle of it)");
  std::string other = good;
  other.replace(other.find("\"weir_recording\":1"), 18, "\"weir_recording\":7");
  expect_bad(other, "line 1: it is of format 7, and this program reads format 1");
  EXPECT_EQ(weir({"replay", file + ".missing"}).code, kExitSystem);
  EXPECT_EQ(weir({"replay", folder.path().string()}).code, 2) << "a folder holds no lines";
}

TEST_F(RecordingCommands, WhyShowsThePresentAndTheNewestDecisionFirst) {
  const Outcome why = weir({"why", "coast", "--socket", socket});
  ASSERT_EQ(why.code, kExitOk) << why.complaint;
  const auto lines = lines_of(why.out);
  const std::string sentence = status.sites[0].reason.substr(status.sites[0].reason.find(": ") + 2);
  EXPECT_EQ(lines[0], fmt::format("coast: {:.1f} Mbit/s, {}; last change 12 s ago: {}",
                                  status.sites[0].shaped.mbps(), to_string(status.sites[0].mode), sentence));
  ASSERT_GE(lines.size(), 5U);
  const Decision* newest = decisions.newest(1)[0];
  EXPECT_TRUE(lines[3].starts_with("2023-11-14 22:13:")) << lines[3];
  EXPECT_NE(lines[3].find(fmt::format("-> {:.1f} M", newest->to.mbps())), std::string::npos) << lines[3];
  EXPECT_EQ(lines_of(weir({"why", "coast", "-n", "1", "--socket", socket}).out).size(), 4U);

  const Outcome as_json = weir({"why", "coast", "-n", "2", "--json", "--socket", socket});
  EXPECT_EQ(json::parse(as_json.out).at("decisions").as_array().size(), 2U);
  const Outcome none = weir({"why", "moon", "--socket", socket});
  EXPECT_EQ(none.code, kExitPolicy);
  EXPECT_NE(none.complaint.find("no site 'moon'"), std::string::npos) << none.complaint;
}

TEST(WhyPage, SaysWhatALatencyGoalHoldsBack) {
  json::value site = json::parse(
      R"({"name":"coast","latency":{"class":"voice","goal_ms":20,"own_ms":0.4,"provider_ms":null,"probes_held":false}})");
  const std::string line = "latency: voice waits 0.4 ms here + - at the provider, of 20.0 ms";
  EXPECT_NE(render_why(site, nullptr).find("\n" + line + "\n"), std::string::npos)
      << render_why(site, nullptr);
  site.at("latency").as_object()["probes_held"] = true;
  EXPECT_NE(render_why(site, nullptr).find(line + "; no probe begins meanwhile\n"), std::string::npos);
}

TEST(WhyPage, OfAnyJson) {
  EXPECT_EQ(render_why(nullptr, nullptr), "-: - bit/s, -, -; last change - ago: -\n");
  const json::value site = {{"name", "a\x1b[31m"},
                            {"shaped_bps", 46'100'000},
                            {"mode", "policer"},
                            {"state", "outage"},
                            {"since_s", 4000},
                            {"reason", "46.1 Mbit/s held: no ACK"},
                            {"degraded", {{{"code", "outage"}, {"text", "no host answers"}}}}};
  const json::value decisions = {
      {"decisions", {{{"time", "x"}, {"from_bps", 50'000'000}, {"to_bps", 40'000'000}}}}};
  const auto lines = lines_of(render_why(site, decisions));
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_EQ(lines[0], "a[31m: 46.1 Mbit/s, policer, outage; last change 1 h 6 min ago: no ACK");
  EXPECT_EQ(lines[1], "DEGRADED  no host answers");
  EXPECT_NE(lines[4].find("50.0 M -> 40.0 M     -20 %"), std::string::npos) << lines[4];
}

}  // namespace
}  // namespace weir::gateway::test
