/// What the path reads of a frame's headers: the addresses that say whose it is, the five-tuple for the
/// account of drops, and the ECN bits.
///
/// Pure; untrusted bytes: what cannot be read is left out, never an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "config/address.hpp"

namespace weir::lab {

struct Headers {
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;      ///< of IPv6 the first next header
  std::uint16_t source_port = 0;  ///< TCP, UDP, SCTP; 0: none, or not there to be read
  std::uint16_t destination_port = 0;
  bool ecn_capable = false;
};

/// Behind at most two VLAN tags; nullopt: no IP, or too short.
[[nodiscard]] std::optional<Headers> read_headers(std::span<const std::byte> frame);
/// Sets CE in an IP header that read_headers could read, and mends IPv4's checksum (RFC 1624).
void mark_congestion(std::span<std::byte> frame);

}  // namespace weir::lab
