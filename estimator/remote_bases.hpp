/// The least RTT known of each remote host and, where its hosts agree, of its network.
///
/// Pure, bounded (HostCache). A flow that begins while a queue stands measures its own base too high; the
/// host it goes to, or the network around that host, may be known from better times. A network lends its base
/// to a new host only when at least two hosts of long standing in it agree: one /24 may well hold hosts at
/// many distances.
#pragma once

#include <cstdint>

#include "config/address.hpp"
#include "config/units.hpp"
#include "estimator/host_cache.hpp"
#include "estimator/rtt_floor.hpp"

namespace weir {

class RemoteBases {
 public:
  RemoteBases();
  /// Learns `rtt` of `host`; returns the base to measure its queue from, never above `flow_base`.
  [[nodiscard]] Duration learn(const IpAddress& host, Duration rtt, Duration flow_base, TimePoint now);

 private:
  struct Host {
    RttFloor floor;
    TimePoint since;
    bool known = false;
    bool vouches = false;  ///< it has counted in its network
  };
  struct Network {
    Duration least{};
    Duration most{};
    std::uint32_t hosts = 0;
    TimePoint since;
  };
  void vouch(const IpAddress& host, Duration base, TimePoint now);

  HostCache<Host> hosts_;
  HostCache<Network> networks_;
};

}  // namespace weir
