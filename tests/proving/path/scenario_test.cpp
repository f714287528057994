// Scenario files: what they may say, what they may not and where it is told, and that all that are shipped
// can be read.
#include "proving/path/scenario.hpp"

#include <set>

#include <gtest/gtest.h>

namespace weir::proving {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kWhole = R"(name: whole
number: 3
about: everything there is
length: 240s
warm_up: 10s
sites:
  - {name: a, floor: 10mbit, ceiling: 200mbit, start: 50mbit, contract: 45mbit}
  - {name: b, floor: 1mbit, ceiling: 20mbit, start: 5mbit}
links:
  - {name: own, site: b, capacity: 30mbit, policer: {bucket: 15000}}
  - {name: path, capacity: [[0s, 100mbit], [80s, 60mbit]], buffer: {depth: 500ms, red: [10ms, 30ms]}}
  - {name: back, way: back, capacity: {mean: 80mbit, swing: 20%, period: 60s}, buffer: {depth: 1s, aqm: codel, ecn: true}, loss: {ratio: 5%, burst: 3, below: 200}}
loads:
  - {kind: tcp, flows: 20, congestion: bbr, rtt: 2ms, site: b, way: back, bytes: 20000, pause: 1s}
  - {kind: udp, priority: true, rate: 1mbit, frame: 200, foreign: true, from: 1s, until: 2.5s}
extra_delay: [[0s, 0ms], [90s, 60ms]]
jitter: 100us
reorder: 1%
local_loss: 0.5%
events:
  - {at: 60s, do: restart}
simulate: {scale: 0.2}
)";

TEST(ScenarioFile, SaysAllThatThereIs) {
  const Scenario s = parse_scenario(kWhole, "whole.yaml");
  EXPECT_EQ(s.name, "whole");
  EXPECT_EQ(s.number, 3);
  EXPECT_EQ(s.length, 240s);
  EXPECT_EQ(s.warm_up, 10s);
  ASSERT_EQ(s.sites.size(), 2U);
  EXPECT_EQ(s.sites[0].contract, Rate::mbps(45));
  EXPECT_EQ(s.sites[1].contract, Rate::mbps(1)) << "the floor, unless told";
  ASSERT_EQ(s.links.size(), 3U);
  EXPECT_EQ(s.links[0].site, 1U);
  EXPECT_EQ(std::get<Bytes>(std::get<Policer>(s.links[0].settings.limit).bucket), Bytes(15'000));
  EXPECT_FALSE(s.links[1].site);
  EXPECT_EQ(s.links[1].settings.capacity.at(TimePoint(79s)), 100e6);
  EXPECT_EQ(s.links[1].settings.capacity.at(TimePoint(80s)), 60e6);
  const auto& red = std::get<Buffer>(s.links[1].settings.limit);
  EXPECT_EQ(std::get<Duration>(red.depth), 500ms);
  EXPECT_EQ(std::get<Red>(red.aqm).most, 30ms);
  EXPECT_TRUE(s.links[2].back);
  EXPECT_NEAR(s.links[2].settings.capacity.at(TimePoint(15s)), 96e6, 1.0);
  EXPECT_TRUE(std::holds_alternative<CoDel>(std::get<Buffer>(s.links[2].settings.limit).aqm));
  EXPECT_TRUE(std::get<Buffer>(s.links[2].settings.limit).ecn);
  EXPECT_EQ(s.links[2].settings.loss.ratio.at(TimePoint()), 0.05);
  EXPECT_EQ(s.links[2].settings.loss.burst, 3.0);
  EXPECT_EQ(s.links[2].settings.loss.below, 200U);
  ASSERT_EQ(s.loads.size(), 2U);
  EXPECT_EQ(s.loads[0].congestion, "bbr");
  EXPECT_EQ(s.loads[0].way, Load::Way::back);
  EXPECT_EQ(s.loads[0].rtt, 2ms);
  EXPECT_EQ(s.loads[0].bytes, 20'000U);
  EXPECT_EQ(s.loads[1].until, Duration(2500ms));
  EXPECT_TRUE(s.loads[1].foreign && s.loads[1].priority);
  EXPECT_EQ(s.extra_delay.at(TimePoint(90s)), 0.06);
  EXPECT_EQ(s.jitter.at(TimePoint()), 1e-4);
  EXPECT_EQ(s.reorder, 0.01);
  EXPECT_EQ(s.local_loss, 0.005);
  ASSERT_EQ(s.events.size(), 1U);
  EXPECT_EQ(s.events[0].at, 60s);
  EXPECT_EQ(s.simulate_scale, 0.2);
}

struct Fault {
  std::string_view find, put;  // in the whole file
  std::string_view line, what;
};

TEST(ScenarioFile, TellsTheLineOfEachFault) {
  for (const Fault& fault : std::initializer_list<Fault>{
           {"number: 3", "nmber: 3", "line 2:", "unknown key 'nmber'"},
           {"number: 3", "name: 3", "line 2:", "'name' is there twice"},
           {"length: 240s", "length: 240", "line 4:", "'240' is no time"},
           {"length: 240s", "length: -1s", "line 4:", "'-1s' is not between"},
           {"length: 240s", "length: nans", "line 4:", "is no number"},
           {"length: 240s", "length: 1e30s", "line 4:", "is not between"},
           {"length: 240s", "length: [240s]", "line 4:", "one value"},
           {"warm_up: 10s", "warm_up: 240s", "line 5:", "nothing is left"},
           {"name: a, ", "", "line 7:", "'name' is missing"},
           {"name: b", "name: a", "line 8:", "two sites 'a'"},
           {"start: 5mbit", "start: 50mbit", "line 8:", "floor <= start <= ceiling"},
           {"ceiling: 20mbit", "ceiling: 20", "line 8:", "'20' is no rate"},
           {"site: b, cap", "site: c, cap", "line 10:", "no site 'c'"},
           {"capacity: 30mbit, ", "", "line 10:", "a limit needs a capacity"},
           {"{bucket: 15000}", "{}", "line 10:", "'bucket' is missing"},
           {"bucket: 15000", "bucket: 15kB", "line 10:", "no whole number"},
           {"[80s, 60mbit]", "[0s, 60mbit]", "line 11:", "the times have to grow"},
           {"[80s, 60mbit]", "[80s]", "line 11:", "[time, value] is expected"},
           {"[10ms, 30ms]", "10ms", "line 11:", "[least, most] is expected"},
           {"aqm: codel", "aqm: pie", "line 12:", "codel"},
           {"way: back, cap", "way: home, cap", "line 12:", "out or back"},
           {"ratio: 5%", "ratio: 101%", "line 12:", "no percentage"},
           {"period: 60s", "period: 0s", "line 12:", "a period"},
           {", period: 60s", "", "line 12:", "'period' is missing"},
           {"ecn: true", "ecn: yes", "line 12:", "true or false"},
           {"congestion: bbr", "congestion: reno", "line 14:", "known are"},
           {"kind: tcp", "kind: sctp", "line 14:", "tcp or udp"},
           {"frame: 200", "frame: 20", "line 15:", "udp needs a rate and a frame"},
           {"until: 2.5s", "until: 1s", "line 15:", "ends before it begins"},
           {"do: restart", "do: explode", "line 21:", "restart"},
           {"scale: 0.2", "scale: 0", "line 22:", "is not between"},
           {"scale: 0.2", "scale: fast", "line 22:", "is no number"},
           {"{scale: 0.2}", "{}", "line 22:", "'scale' is missing"},
           {"events:\n", "events: now\n#", "line 20:", "a list is expected"},
       }) {
    std::string text(kWhole);
    const std::size_t place = text.find(fault.find);
    ASSERT_NE(place, std::string::npos) << fault.find;
    text.replace(place, fault.find.size(), fault.put);
    try {
      static_cast<void>(parse_scenario(text, "some.yaml"));
      ADD_FAILURE() << "no fault found in " << fault.put;
    } catch (const std::runtime_error& error) {
      const std::string said = error.what();
      EXPECT_NE(said.find("some.yaml: " + std::string(fault.line)), std::string::npos) << said;
      EXPECT_NE(said.find(fault.what), std::string::npos) << said;
    }
  }
}

TEST(ScenarioFile, NoTextIsWorseThanAMessage) {
  for (const std::string_view text :
       {"", "[", "a: [", "- 1", "name", "{sites: {a: b}, links: [], loads: [], name: x}",
        "{sites: [], links: [], loads: [], name: x, length: 1s}", "? [a]\n: b"})
    EXPECT_THROW(static_cast<void>(parse_scenario(text, "x")), std::runtime_error) << text;
  EXPECT_THROW(static_cast<void>(load_scenario("/nowhere/x.yaml")), std::runtime_error);
}

TEST(ScenarioFile, AllThatAreShippedCanBeRead) {
  std::set<std::string> names;
  const std::filesystem::path folder = std::filesystem::path(WEIR_SOURCE_DIR) / "tests/proving/scenarios";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const Scenario s = load_scenario(entry.path());
    EXPECT_TRUE(names.insert(s.name).second) << s.name;
    EXPECT_TRUE(entry.path().stem().string().ends_with(s.name)) << entry.path();
    EXPECT_EQ(std::stoi(entry.path().stem().string()), s.number) << entry.path();
  }
  EXPECT_GE(names.size(), 30U);
}

TEST(ScenarioFile, ScalesRatesAndNothingElse) {
  const Scenario s = scaled(parse_scenario(kWhole, "x"), 0.5);
  EXPECT_EQ(s.sites[0].ceiling, Rate::mbps(100));
  EXPECT_EQ(s.sites[0].contract, Rate::kbps(22'500));
  EXPECT_EQ(s.links[1].settings.capacity.at(TimePoint(80s)), 30e6);
  EXPECT_NEAR(s.links[2].settings.capacity.at(TimePoint(15s)), 48e6, 1.0);
  EXPECT_EQ(s.loads[1].rate, Rate::kbps(500));
  EXPECT_EQ(s.loads[0].rtt, 2ms);
  EXPECT_EQ(s.loads[1].frame, 200U);
  EXPECT_EQ(std::get<Bytes>(std::get<Policer>(s.links[0].settings.limit).bucket), Bytes(15'000));
}

}  // namespace
}  // namespace weir::proving
