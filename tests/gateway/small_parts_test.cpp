#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "gateway/clock.hpp"
#include "gateway/file_descriptor.hpp"
#include "gateway/json_text.hpp"
#include "gateway/kernel_watch.hpp"
#include "gateway/meter.hpp"
#include "gateway/policy_library.hpp"
#include "gateway/service_notifier.hpp"
#include "gateway/status_table.hpp"

#include "fakes.hpp"
#include "scratch_folder.hpp"

namespace weir::gateway::test {
namespace {

namespace json = boost::json;

TEST(JsonText, NumbersAreDecimalAndReadBackTheSame) {
  EXPECT_EQ(to_text(json::value(12.5)), "12.5");
  EXPECT_EQ(to_text(json::value(std::uint64_t{622'000'000})), "622000000");
  EXPECT_EQ(to_text(json::value(std::numeric_limits<double>::quiet_NaN())), "null");
  EXPECT_EQ(to_text(json::value(std::numeric_limits<double>::infinity())), "null");
  const json::value document = json::parse(
      R"({"a":[1,-2,3.25,1e300,5e-324,true,null,"q\"\\\n\u0001ü",{}],"":[],"b":{"c":18446744073709551615}})");
  EXPECT_EQ(json::parse(to_text(document)), document);
}

TEST(JsonText, Rounding) {
  EXPECT_EQ(rounded(0.0213456, 4), 0.0213);
  EXPECT_EQ(rounded(-1.25, 1), -1.3);
  EXPECT_EQ(rounded(1e308, 6), 1e308);
}

TEST(Meter, TellsTickAndSecond) {
  RateMeter meter;
  EXPECT_FALSE(meter.of_last_tick());
  EXPECT_EQ(meter.of_last_second(), Rate());
  for (int i = 0; i <= 30; ++i) {
    const std::uint64_t bytes = i <= 20 ? 125'000U * static_cast<std::uint64_t>(i) : 2'500'000U;
    meter.read(Bytes(bytes), at(0.1 * i).steady);
    if (i == 20) {
      EXPECT_NEAR(meter.of_last_tick()->mbps(), 10.0, 0.01);
      EXPECT_NEAR(meter.of_last_second().mbps(), 10.0, 0.01);
    }
  }
  EXPECT_EQ(meter.of_last_tick(), Rate());
  EXPECT_NEAR(meter.of_last_second().mbps(), 0.0, 0.01);
}

TEST(Meter, ReadingsBackToBackAreOne) {
  RateMeter meter;
  meter.read(Bytes(0), at(0).steady);
  meter.read(Bytes(125'000), at(0.1).steady);
  meter.read(Bytes(126'500), at(0.1001).steady);
  EXPECT_NEAR(meter.of_last_tick()->mbps(), 10.0, 0.01);
}

TEST(Meter, ACounterThatFallsBeginsAnew) {
  RateMeter meter;
  meter.read(Bytes(1'000'000), at(0).steady);
  meter.read(Bytes(2'000'000), at(0.1).steady);
  meter.read(Bytes(100), at(0.2).steady);
  EXPECT_FALSE(meter.of_last_tick());
}

TEST(Clock, StampsAreIso) {
  EXPECT_EQ(iso_utc(at(1.25).wall), "2023-11-14T22:13:21.250Z");
  EXPECT_EQ(unix_seconds(at(1.25).wall), 1'700'000'001.25);
  const TimePoint before = monotonic_now();
  EXPECT_GE(monotonic_now(), before);
}

TEST(PolicyLibrary, ReplacesAtomically) {
  const ScratchFolder folder;
  const PolicyLibrary library(folder.path() / "new" / "folder");
  library.store({{.path = "a.yaml", .text = "first"}});
  library.store({{.path = "a.yaml", .text = "second, which is longer"}});
  library.store({{.path = "a.yaml", .text = "third\n"}, {.path = "b.txt", .text = "\"4\""}});
  std::ifstream kept(library.last_good());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(kept), {}),
            R"({"files":[{"path":"a.yaml","text":"third\n"},{"path":"b.txt","text":"\"4\""}]})");
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(library.last_good().parent_path())) {
    files += entry.is_regular_file() ? 1U : 0U;
  }
  EXPECT_EQ(files, 1U) << "nothing is left beside it";
}

/// The service manager's end of the notification socket.
class Manager {
 public:
  explicit Manager(const std::string& name) : socket_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const void* raw = &address;
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    if (::bind(socket_.get(), static_cast<const sockaddr*>(raw), length) != 0)
      throw std::runtime_error("bind " + name);
  }
  std::string next() {
    std::array<char, 512> buffer{};
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    return {buffer.data(), got < 0 ? 0 : static_cast<std::size_t>(got)};
  }

 private:
  FileDescriptor socket_;
};

TEST(ServiceNotifier, SpeaksTheProtocolOverBothKindsOfName) {
  const ScratchFolder folder;
  for (const std::string& name :
       {(folder.path() / "notify").string(), "@weir-test-" + folder.path().filename().string()}) {
    Manager manager(name);
    const ServiceNotifier notifier(name);
    notifier.ready("2 sites\nMAINPID=1");
    EXPECT_EQ(manager.next(), "READY=1\nSTATUS=2 sites MAINPID=1") << "a status can't smuggle in variables";
    notifier.reloading(TimePoint(std::chrono::milliseconds(1500)));
    EXPECT_EQ(manager.next(), "RELOADING=1\nMONOTONIC_USEC=1500000");
    notifier.watchdog();
    EXPECT_EQ(manager.next(), "WATCHDOG=1");
    notifier.status("fine");
    EXPECT_EQ(manager.next(), "STATUS=fine");
    notifier.stopping();
    EXPECT_EQ(manager.next(), "STOPPING=1");
  }
}

TEST(ServiceNotifier, WithoutAManagerNothingHappens) {
  ServiceNotifier("").ready("x");
  ServiceNotifier("/nowhere/at/all").ready("x");
  ServiceNotifier(std::string(300, 'x')).ready("x");
}

TEST(ServiceNotifier, TheWatchdogIsOursOnlyWhenItSaysSo) {
  ::unsetenv("WATCHDOG_USEC");
  EXPECT_FALSE(watchdog_interval());
  ::setenv("WATCHDOG_USEC", "10000000", 1);
  EXPECT_EQ(watchdog_interval(), std::chrono::seconds(10));
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(watchdog_interval());
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(watchdog_interval(), std::chrono::seconds(10));
  ::setenv("WATCHDOG_USEC", "soon", 1);
  EXPECT_FALSE(watchdog_interval());
  ::unsetenv("WATCHDOG_USEC");
  ::unsetenv("WATCHDOG_PID");
}

TEST(KernelWatch, OnlyWhatOthersDidToOurPortConcernsUs) {
  using Kind = shaper::KernelEvent::Kind;
  const auto event = [](Kind kind, const std::string& interface, std::uint32_t origin) {
    shaper::KernelEvent e;
    e.kind = kind;
    e.interface = interface;
    e.origin = origin;
    return e;
  };
  constexpr std::uint32_t kOwn = 4711;
  EXPECT_TRUE(concerns_us(event(Kind::qdisc_removed, "wan0", 99), "wan0", kOwn));
  EXPECT_TRUE(concerns_us(event(Kind::class_changed, "wan0", 99), "wan0", kOwn)) << "somebody else's rate";
  EXPECT_FALSE(concerns_us(event(Kind::class_changed, "wan0", kOwn), "wan0", kOwn));
  EXPECT_FALSE(concerns_us(event(Kind::qdisc_removed, "lan0", 99), "wan0", kOwn));
  EXPECT_TRUE(concerns_us(event(Kind::link_removed, "", 0), "wan0", kOwn)) << "it may have been ours";
  EXPECT_TRUE(concerns_us(event(Kind::overrun, "lan0", kOwn), "wan0", kOwn));
  shaper::KernelEvent renamed = event(Kind::link_renamed, "wan0", 0);
  renamed.former_name = "eth7";
  EXPECT_TRUE(concerns_us(renamed, "wan0", kOwn));
  EXPECT_TRUE(concerns_us(renamed, "eth7", kOwn));
  EXPECT_EQ(describe(renamed), "the interface eth7 is now wan0");
  shaper::KernelEvent removed = event(Kind::qdisc_removed, "wan0", 99);
  removed.handle = 0x7e170000;
  EXPECT_EQ(describe(removed), "qdisc 7e17: was removed");
}

constexpr const char* kStatus = R"({"version":"9.9","uptime_s":11520,"interface":"wan0","port_bps":622000000,
  "degraded":[{"code":"fifo_leaves","text":"plain FIFOs"}],"policy":{"reload_error":null},
  "sites":[{"name":"dc-küste","shaped_bps":46100000,"capacity":{"bps":47000000,"low_bps":46000000,"high_bps":48000000},
    "state":"hold","mode":"policer","loss":{"beyond":0.0002,"before":0},"rtt_ms":{"base":20.1,"p50":21,"p95":24},
    "sent_bps":44000000,"delivered_bps":null,"demand":true,"since_s":12.4,"reason":"2.1 % lost \u001b[31m","degraded":[]},
   {"name":"x","state":"outage","degraded":[{"code":"outage","text":"nobody answers"}]}]})";

TEST(StatusTable, LinesUpAndLeavesOutEscapes) {
  const std::string page = render_status(json::parse(kStatus), nullptr, {.colour = false});
  EXPECT_EQ(page.find('\033'), std::string::npos) << "neither colour nor what a stranger's text holds";
  EXPECT_NE(page.find("wan0  622.0 Mbit/s  up 3 h 12 min  weir 9.9\n"), std::string::npos) << page;
  EXPECT_NE(page.find("DEGRADED  plain FIFOs\n"), std::string::npos);
  EXPECT_NE(page.find("47.0 M (46.0 M - 48.0 M)"), std::string::npos);
  EXPECT_NE(page.find("20.1 / 24.0 ms"), std::string::npos);
  EXPECT_NE(page.find("44.0 M  -          yes         12 s"), std::string::npos);
  EXPECT_NE(page.find("  2.1 % lost [31m\n"), std::string::npos);
  EXPECT_NE(page.find("DEGRADED  nobody answers\n"), std::string::npos);
  // "dc-küste" has a two-byte letter: the next column must still begin where that of "x" does.
  const auto line_of = [&](const std::string& start) {
    const auto from = page.find("\n" + start) + 1;
    return page.substr(from, page.find('\n', from) - from);
  };
  EXPECT_EQ(line_of("dc-küste").find("46.1 M"), line_of("SITE").find("SHAPED") + 1) << page;
}

TEST(StatusTable, AFileProblemKeepsItsLines) {
  const json::value status =
      json::parse(R"({"policy":{"reload_error":"p.yaml:2:1: unknown key 'x'\n    x: 1\n    ^\n"}})");
  const std::string page = render_status(status, nullptr, {.colour = false});
  EXPECT_NE(
      page.find("POLICY FILE  p.yaml:2:1: unknown key 'x'\nPOLICY FILE      x: 1\nPOLICY FILE      ^\n"),
      std::string::npos)
      << page;
}

TEST(StatusTable, ColoursStatesOnATerminal) {
  const std::string page = render_status(json::parse(kStatus), nullptr, {.colour = true});
  EXPECT_NE(page.find("\033[32mhold\033[0m"), std::string::npos);
  EXPECT_NE(page.find("\033[31moutage\033[0m"), std::string::npos);
}

TEST(StatusTable, ClassesStandUnderTheirSite) {
  const json::value classes = json::parse(
      R"({"classes":[{"site":"x","name":"voice","priority":0,"sent_bps":1000,"drops":7,"leaf":"fq_codel"},
          {"site":"x","name":"","drops":1},{"site":"","name":"control"}]})");
  const std::string page = render_status(json::parse(kStatus), classes, {.colour = false});
  EXPECT_NE(page.find("    voice"), std::string::npos) << page;
  EXPECT_EQ(page.find("control"), std::string::npos);
}

TEST(StatusTable, WhatComesInStandsUnderItsSiteToo) {
  const json::value status = json::parse(
      R"({"sites":[{"name":"x","inbound":{"shaped_bps":300000000,"sent_bps":2000000,"backlog_bytes":4500}},
          {"name":"y","inbound":null},
          {"name":"z","inbound":{"shaped_bps":40000000,"adapt":true,"state":"hold","reason":"it drained",
           "capacity":{"bps":41000000,"low_bps":40000000,"high_bps":42000000},
           "degraded":[{"text":"somebody else's"}]}}]})");
  const json::value classes = json::parse(
      R"({"classes":[{"site":"x","direction":"inbound","name":"rest","leaf":"fq_codel"},
          {"site":"x","direction":"outbound","name":"voice","leaf":"fq_codel"}]})");
  const std::string page = render_status(status, classes, {.colour = false});
  const auto voice = page.find("    voice");
  const auto inbound = page.find("  inbound: shaped to 300.0 Mbit/s, hands on 2.0 Mbit/s, 4500 bytes wait\n");
  const auto rest = page.find("    rest");
  ASSERT_NE(inbound, std::string::npos) << page;
  EXPECT_LT(voice, inbound);
  EXPECT_LT(inbound, rest);
  const auto follows = page.find("  inbound: shaped to 40.0 Mbit/s, ");
  ASSERT_NE(follows, std::string::npos) << page;
  EXPECT_EQ(page.find("inbound", inbound + 10), follows + 2) << page;
  EXPECT_NE(page.find("    hold, path carries 41.0 M (40.0 M - 42.0 M): it drained\n", follows),
            std::string::npos)
      << page;
  EXPECT_NE(page.find("    DEGRADED  somebody else's\n", follows), std::string::npos) << page;
}

TEST(StatusTable, TakesAnyDocument) {
  for (const char* text :
       {"null", "{}", "[]", "{\"sites\":7}", "{\"sites\":[null,{\"name\":1,\"loss\":\"x\"}]}"}) {
    EXPECT_FALSE(render_status(json::parse(text), json::parse(text), {.colour = true}).empty()) << text;
  }
}

}  // namespace
}  // namespace weir::gateway::test
