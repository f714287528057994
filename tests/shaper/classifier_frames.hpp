/// Ethernet frames for classifier tests, written from the outside in: ethernet({0x8100}, 0x0800, ipv4({...},
/// tcp(1, 2))).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/address.hpp"

namespace weir::shaper::test {

using Octets = std::vector<std::uint8_t>;

inline std::span<const std::byte> as_frame(const Octets& octets) {
  return std::as_bytes(std::span(octets));
}

inline void put16(Octets& out, unsigned value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8U));
  out.push_back(static_cast<std::uint8_t>(value & 0xffU));
}

inline Octets joined(Octets head, const Octets& tail) {
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}

/// MAC addresses, one tag per TPID (VLAN 100, 400, ... with priority 3), the type, the rest.
inline Octets ethernet(const std::vector<std::uint16_t>& tag_types, std::uint16_t type,
                       const Octets& payload) {
  Octets out{0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1};
  unsigned vlan = 100;
  for (const auto tag : tag_types) {
    put16(out, tag);
    put16(out, 3U << 13U | vlan);
    vlan += 300;
  }
  put16(out, type);
  return joined(out, payload);
}
inline Octets ethernet(std::uint16_t type, const Octets& payload) {
  return ethernet({}, type, payload);
}

/// The first bytes of a TCP, UDP or SCTP header are alike: two ports.
inline Octets ports(unsigned source, unsigned destination) {
  Octets out;
  put16(out, source);
  put16(out, destination);
  out.resize(20);
  return out;
}

struct Ipv4 {
  std::string source = "10.1.1.1";
  std::string destination = "10.20.0.1";
  std::uint8_t dscp = 0;
  std::uint8_t protocol = 6;
  std::uint16_t fragment = 0;  ///< flags and offset, as in the header
  std::uint8_t option_words = 0;
};

inline Octets ipv4(const Ipv4& h, const Octets& payload) {
  Octets out{static_cast<std::uint8_t>(0x45U + h.option_words), static_cast<std::uint8_t>(h.dscp << 2U | 1U)};
  put16(out, static_cast<unsigned>(20U + h.option_words * 4U + payload.size()));
  put16(out, 7);
  put16(out, h.fragment);
  out.push_back(64);
  out.push_back(h.protocol);
  put16(out, 0);
  for (const auto* text : {&h.source, &h.destination}) {
    const auto address = IpAddress::parse(*text).value();
    out.insert(out.end(), address.bytes.begin(), address.bytes.begin() + 4);
  }
  out.insert(out.end(), std::size_t{h.option_words} * 4, 1);
  unsigned sum = 0;  // RFC 1071
  for (std::size_t i = 0; i < out.size(); i += 2) sum += out[i] * 256U + out[i + 1];
  while (sum > 0xffffU) sum = (sum & 0xffffU) + (sum >> 16U);
  out[10] = static_cast<std::uint8_t>(~sum >> 8U & 0xffU);
  out[11] = static_cast<std::uint8_t>(~sum & 0xffU);
  return joined(out, payload);
}

struct Ipv6 {
  std::string source = "2001:db8:1::1";
  std::string destination = "2001:db8:20::1";
  std::uint8_t dscp = 0;
  std::uint8_t next = 6;
};

inline Octets ipv6(const Ipv6& h, const Octets& payload) {
  Octets out{static_cast<std::uint8_t>(0x60U | h.dscp >> 2U),
             static_cast<std::uint8_t>((h.dscp & 3U) << 6U | 0x1aU), 0x12, 0x34};
  put16(out, static_cast<unsigned>(payload.size()));
  out.push_back(h.next);
  out.push_back(64);
  for (const auto* text : {&h.source, &h.destination}) {
    const auto address = IpAddress::parse(*text).value();
    out.insert(out.end(), address.bytes.begin(), address.bytes.end());
  }
  return joined(out, payload);
}

/// Hop-by-hop, routing or destination options of 8 x (1 + more) bytes.
inline Octets extension(std::uint8_t next, std::uint8_t more, const Octets& payload) {
  Octets out{next, more};
  out.resize(8U + more * 8U);
  return joined(out, payload);
}
inline Octets authentication(std::uint8_t next, const Octets& payload) {
  Octets out{next, 4};  // 24 bytes: (4 + 2) words
  out.resize(24);
  return joined(out, payload);
}
/// `offset` in bytes, a multiple of eight.
inline Octets fragment6(std::uint8_t next, std::uint16_t offset, const Octets& payload) {
  Octets out{next, 0};
  put16(out, offset | 1U);
  out.resize(8);
  return joined(out, payload);
}

}  // namespace weir::shaper::test
