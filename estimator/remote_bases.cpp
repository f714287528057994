#include "estimator/remote_bases.hpp"

#include <algorithm>

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kHosts = 16'384;
constexpr std::size_t kNetworks = 4'096;
constexpr Duration kLongStanding = 30s;
constexpr Duration kNetworkExpires = std::chrono::minutes(10);

/// The /24 or /64 around a host.
[[nodiscard]] IpAddress network_of(const IpAddress& host) {
  IpAddress network = host;
  std::fill(network.bytes.begin() + (host.family == Family::v4 ? 3 : 8), network.bytes.end(),
            std::uint8_t{0});
  return network;
}

}  // namespace

RemoteBases::RemoteBases() : hosts_(kHosts), networks_(kNetworks) {}

void RemoteBases::vouch(const IpAddress& host, Duration base, TimePoint now) {
  Network& network = networks_.reach(network_of(host), now);
  if (network.hosts == 0 || now - network.since > kNetworkExpires) {
    network = {.least = base, .most = base, .hosts = 0, .since = now};
  }
  network.least = std::min(network.least, base);
  network.most = std::max(network.most, base);
  ++network.hosts;
}

Duration RemoteBases::learn(const IpAddress& host, Duration rtt, Duration flow_base, TimePoint now) {
  Host& known = hosts_.reach(host, now);
  if (!known.known) {
    known.known = true;
    known.since = now;
  }
  known.floor.add(rtt, now);
  const Duration own = std::min(flow_base, known.floor.value().value_or(flow_base));
  if (now - known.since >= kLongStanding) {
    if (!known.vouches) {
      known.vouches = true;
      vouch(host, own, now);
    }
    return own;
  }
  const Network* network = networks_.find(network_of(host));
  const bool agrees = network != nullptr && network->hosts >= 2 && now - network->since <= kNetworkExpires &&
                      network->most <= network->least + network->least / 4 + 2ms;
  return agrees ? std::min(own, network->least) : own;
}

}  // namespace weir
