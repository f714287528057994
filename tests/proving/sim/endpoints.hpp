/// The hosts: ns-3 nodes with its TCP and applications, whose only device hands every packet to the world.
#pragma once

#include <functional>
#include <string>

#include <ns3/ipv4-address.h>
#include <ns3/node.h>
#include <ns3/virtual-net-device.h>

#include "proving/path/scenario.hpp"

namespace weir::proving {

/// What every TCP of the world has: buffers that never limit, SACK, timestamps, RFC 6928's window, and the
/// timers of Linux (ns-3 delays an ACK for as long as the sender waits for it).
void set_tcp_defaults();

class Host {
 public:
  /// `sends` gets every packet from its IP header on.
  Host(ns3::Ipv4Address address, const std::string& congestion,
       std::function<void(ns3::Ptr<ns3::Packet>)> sends);
  void receive(const ns3::Ptr<ns3::Packet>& packet);
  [[nodiscard]] ns3::Ipv4Address address() const { return address_; }
  [[nodiscard]] const ns3::Ptr<ns3::Node>& node() const { return node_; }

 private:
  ns3::Ipv4Address address_;
  ns3::Ptr<ns3::Node> node_;
  ns3::Ptr<ns3::VirtualNetDevice> device_;
};

/// Sends what `load` says from `from` to `to` over TCP; starts are spread over a second by ns-3's random
/// numbers.
void start_tcp(const Load& load, const Host& from, const Host& to, Duration end);

/// One UDP datagram of `frame` bytes on the wire.
[[nodiscard]] ns3::Ptr<ns3::Packet> udp_packet(ns3::Ipv4Address from, ns3::Ipv4Address to, std::uint16_t port,
                                               std::uint32_t frame, std::uint8_t dscp);

}  // namespace weir::proving
