/// A gateway over stand-ins: a policy file in a folder of its own, ports that remember, laws that do as they
/// are told.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "gateway/gateway.hpp"

#include "fakes.hpp"
#include "scratch_folder.hpp"

namespace weir::gateway::test {

inline constexpr const char* kPolicy = R"(
wan: {{interface: wan0, rate: 622mbit}}
sites:
  - name: coast
    subnets: [10.20.0.0/16]
    rate: {{floor: {floor}mbit, ceiling: 600mbit, start: {start}mbit}}
    policy: usual
{more}
policies:
  usual:
    classes:
      - {{name: rest, default: true}}
)";

inline std::string policy_text(int floor = 45, const std::string& more = "") {
  return fmt::format(kPolicy, fmt::arg("floor", floor), fmt::arg("start", std::max(floor, 100)),
                     fmt::arg("more", more));
}

inline std::string another_site(const std::string& name, const std::string& subnet) {
  return fmt::format(
      "  - name: {}\n    subnets: [{}]\n    rate: {{floor: 10mbit, ceiling: 90mbit, start: 20mbit}}\n    "
      "policy: usual\n",
      name, subnet);
}

struct GatewayTest : testing::Test {
  ScratchFolder folder;
  std::filesystem::path file = folder.path() / "policy.yaml";
  PolicyLibrary library{folder.path() / "library"};
  std::optional<RevisionLog> revisions;
  EventLog events;
  LawMaker laws;
  FakePort port;
  FakePort lan_port;
  Port* lan = nullptr;
  std::optional<Gateway> gateway;

  void write(const std::string& text) { std::ofstream(file) << text; }
  void boot(double s = 0) {
    revisions.emplace(folder.path() / "library");
    auto loaded = load_boot_policy(file, library, *revisions);
    ASSERT_TRUE(std::holds_alternative<BootPolicy>(loaded)) << std::get<LoadFailure>(loaded).rendered;
    gateway.emplace(Gateway::Settings{.version = "9.9", .policy_file = file},
                    std::get<BootPolicy>(std::move(loaded)), Gateway::Ports{.wan = port, .lan = lan}, library,
                    *revisions, laws.maker(), events, at(s));
  }
  void start() {
    write(policy_text());
    boot();
    ASSERT_TRUE(gateway->start(at(0)).ok());
  }
  void start_knowing(const RememberedSites& remembered) {
    write(policy_text());
    boot();
    ASSERT_TRUE(gateway->start(at(0), remembered).ok());
  }
  void tick(double s, std::uint64_t generation = 0) {
    CaptureTick t;
    t.generation = generation == 0 ? gateway->estimator_generation() : generation;
    t.result = quiet_tick(gateway->policy().sites.size(), at(s));
    gateway->on_tick(t, at(s));
  }
  [[nodiscard]] bool degraded(const std::string& code, double s) const {
    return std::ranges::any_of(gateway->status(at(s)).degraded,
                               [&](const auto& d) { return d.code == code; });
  }
  [[nodiscard]] std::size_t count(EventKind kind) const {
    std::size_t found = 0;
    for (const Event* e : events.after(0, 10'000)) found += e->kind == kind ? 1 : 0;
    return found;
  }
};

}  // namespace weir::gateway::test
