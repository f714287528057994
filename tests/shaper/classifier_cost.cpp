// What a packet pays for being classified: mean run time of the loaded program, in nanoseconds, by kind of
// policy. Not a test: a measuring tool, run by hand as root. Prints one line per case, the best of several
// rounds.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include "shaper/classifier_program.hpp"

#include "classifier_frames.hpp"
#include "classifier_policy.hpp"
#include "classifier_random.hpp"

namespace weir::shaper::test {
namespace {

constexpr unsigned kRepeat = 200'000;
constexpr int kRounds = 5;

std::uint32_t best_nanoseconds(const ClassifierProgram& loaded, const Octets& frame) {
  std::uint32_t best = UINT32_MAX;
  for (int i = 0; i < kRounds; ++i)
    best = std::min(best, try_frame(loaded.program, as_frame(frame), kRepeat).value().nanoseconds);
  return best;
}

void measure(const std::string& name, const Policy& policy, const Octets& frame) {
  const auto started = std::chrono::steady_clock::now();
  const auto loaded = load_program(build_tables(policy, distinct_ids(policy)), 1'000);
  const std::chrono::duration<double, std::milli> load = std::chrono::steady_clock::now() - started;
  std::cout << best_nanoseconds(loaded, frame) << " ns  (load " << load.count() << " ms)  " << name << '\n';
}

/// `count` random subnets, /24 or /48, spread over ten sites; the example's own sites stay.
Policy with_subnets(unsigned count, Family family) {
  auto policy = example_policy();
  RandomWorld world(count);
  const std::size_t first = policy.sites.size();
  for (unsigned i = 0; i < 10; ++i) policy.sites.push_back(site_of("more" + std::to_string(i), {}, 1));
  std::set<Prefix> taken;
  while (taken.size() < count) {
    IpAddress address{.family = family, .bytes = {}};
    const std::size_t random_from = family == Family::v4 ? 0 : 3;
    if (family == Family::v6) address.bytes = {0x2a, 0x02, 0x08};
    for (std::size_t i = random_from; i < random_from + 3; ++i)
      address.bytes[i] = static_cast<std::uint8_t>(world.below(224));
    const Prefix subnet{.address = address, .length = static_cast<std::uint8_t>(8 * (random_from + 3))};
    if (address.bytes[0] != 10 && taken.insert(subnet).second)
      policy.sites[first + taken.size() % 10].subnets.push_back(subnet);
  }
  return policy;
}

/// Once for a host of each of many subnets: no cache holds the tables' places for it. A clock is read for
/// each run, some 30 ns.
void measure_spread(const std::string& name, const Policy& policy) {
  std::vector<IpAddress> hosts;
  for (const auto& site : policy.sites)
    for (const auto& subnet : site.subnets) hosts.push_back(subnet.address);
  RandomWorld world(1);
  for (std::size_t i = hosts.size(); i > 1; --i)
    std::swap(hosts[i - 1], hosts[world.below(static_cast<unsigned>(i))]);
  std::vector<Octets> frames;
  for (std::size_t i = 0; i < 20'000; ++i) {
    const auto& host = hosts[i % hosts.size()];
    const auto to = host.to_string();
    frames.push_back(host.family == Family::v4 ? ethernet(0x0800, ipv4({.destination = to}, ports(1, 2)))
                                               : ethernet(0x86dd, ipv6({.destination = to}, ports(1, 2))));
  }
  const auto loaded = load_program(build_tables(policy, distinct_ids(policy)), 1'000);
  double best = 1e9;
  for (int i = 0; i < kRounds; ++i) {
    double sum = 0;
    for (const Octets& frame : frames) sum += try_frame(loaded.program, as_frame(frame)).value().nanoseconds;
    best = std::min(best, sum / static_cast<double>(frames.size()));
  }
  std::cout << best << " ns  " << name << ", each frame to another one\n";
}

Policy with_source_rules(unsigned count) {
  auto policy = example_policy();
  auto& match = policy.class_sets[0].classes[1].match;
  for (unsigned i = 0; i < count; ++i)
    match.push_back(
        Match{.source = {prefix("172.16." + std::to_string(i % 256) + ".0/24")},
              .destination_port = {{static_cast<std::uint16_t>(i), static_cast<std::uint16_t>(i + 10)}}});
  return policy;
}

void measure_all() {
  const auto data = ethernet(0x0800, ipv4({.source = "10.9.9.9"}, ports(40000, 5001)));
  const auto data6 = ethernet(0x86dd, ipv6({.source = "2001:db8:9::9"}, ports(40000, 5001)));
  Policy dscp_only = example_policy();
  dscp_only.class_sets[0].classes.resize(1);
  dscp_only.class_sets[0].classes[0].is_default = true;

  measure("ARP", example_policy(), ethernet(0x0806, Octets(28)));
  measure("IPv4, no site", example_policy(), ethernet(0x0800, ipv4({.destination = "8.8.8.8"}, ports(1, 2))));
  measure("IPv4, classes by DSCP only", dscp_only, data);
  measure("IPv4, all fields, default class", example_policy(), data);
  measure("IPv4 in QinQ, all fields", example_policy(),
          ethernet({0x88a8, 0x8100}, 0x0800, ipv4({}, ports(1, 2))));
  measure("IPv6, all fields, default class", example_policy(), data6);
  for (const unsigned rules : {57U, 250U, 1'000U})
    measure("IPv4, all fields, " + std::to_string(rules + 7) + " rules", with_source_rules(rules), data);
  for (const auto family : {Family::v4, Family::v6})
    for (const unsigned subnets : {10U, 1'000U, 10'000U, 100'000U}) {
      const auto policy = with_subnets(subnets, family);
      const auto to = policy.sites.back().subnets.front().address.to_string();
      const bool v4 = family == Family::v4;
      const auto name = (v4 ? "IPv4, " : "IPv6, ") + std::to_string(subnets) +
                        (v4 ? " random /24" : " random /48 of one /24") + ", site without rules";
      measure(name, policy,
              v4 ? ethernet(0x0800, ipv4({.destination = to}, ports(1, 2)))
                 : ethernet(0x86dd, ipv6({.destination = to}, ports(1, 2))));
      measure_spread(name, policy);
    }
}

}  // namespace
}  // namespace weir::shaper::test

int main() {
  try {
    weir::shaper::test::measure_all();
  } catch (const std::exception& e) {
    std::cerr << "classifier_cost: " << e.what() << '\n';
    return 1;
  }
}
