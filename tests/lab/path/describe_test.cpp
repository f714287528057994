// A scenario as a harness gets it.
#include "path/describe.hpp"

#include <gtest/gtest.h>

namespace weir::lab {
namespace {

TEST(DescribedScenario, HasWhatAHarnessDrives) {
  const auto s = proving::parse_scenario(R"(name: x
length: 90s
warm_up: 1500ms
local_loss: 1%
sites: [{name: a, floor: 1mbit, ceiling: 9mbit, start: 5mbit, contract: 2mbit}]
links: [{name: path}]
loads:
  - {kind: tcp, flows: 3, congestion: newreno, way: back, rtt: 7ms, bytes: 100, pause: 2s, until: 60s}
  - {kind: udp, foreign: true, priority: true, rate: 1mbit, frame: 200, from: 4s}
events: [{at: 60s, do: restart}]
simulate: {scale: 0.2}
)",
                                         "x");
  const auto told = describe(s);
  EXPECT_EQ(told.at("length_s").as_double(), 90.0);
  EXPECT_EQ(told.at("warm_up_s").as_double(), 1.5);
  EXPECT_EQ(told.at("local_loss").as_double(), 0.01);
  EXPECT_EQ(told.at("restarts_s").at(0).as_double(), 60.0);
  EXPECT_EQ(told.at("sites").at(0).at("contract_bps").as_uint64(), 2'000'000U);
  EXPECT_EQ(told.at("links").at(0).at("name"), "path");
  EXPECT_FALSE(told.at("links").at(0).at("limited").as_bool());
  EXPECT_FALSE(told.at("links").at(0).at("back").as_bool());
  EXPECT_EQ(told.at("simulate_scale").as_double(), 0.2);
  const auto& tcp = told.at("loads").at(0).as_object();
  EXPECT_EQ(tcp.at("kind"), "tcp");
  EXPECT_EQ(tcp.at("site"), "a");
  EXPECT_TRUE(tcp.at("back").as_bool());
  EXPECT_EQ(tcp.at("rtt_s").as_double(), 0.007);
  EXPECT_EQ(tcp.at("bytes").as_uint64(), 100U);
  EXPECT_EQ(tcp.at("until_s").as_double(), 60.0);
  const auto& udp = told.at("loads").at(1).as_object();
  EXPECT_TRUE(udp.at("foreign").as_bool() && udp.at("priority").as_bool());
  EXPECT_EQ(udp.at("rate_bps").as_uint64(), 1'000'000U);
  EXPECT_TRUE(udp.at("until_s").is_null());
}

}  // namespace
}  // namespace weir::lab
