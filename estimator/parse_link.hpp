/// What stands in front of an IP header: link headers, tags, labels, sessions. Private to the parser.
///
/// Pure; whatever the bytes are, nothing is read behind their end (parse_reader.hpp). Functions called skip_x
/// take the header off the reader and say what follows it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "estimator/parse_reader.hpp"

namespace weir {

// Link types by their number in pcap/dlt.h (the values that a Linux capture or a file may carry); repeated
// here so that the pure part needs no libpcap.
inline constexpr int kLinkNull = 0;
inline constexpr int kLinkEthernet = 1;
inline constexpr int kLinkPpp = 9;
inline constexpr int kLinkFddi = 10;
inline constexpr int kLinkRawBsd = 12;
inline constexpr int kLinkPppSerial = 50;
inline constexpr int kLinkPppEther = 51;
inline constexpr int kLinkRawFile = 101;
inline constexpr int kLinkCiscoHdlc = 104;
inline constexpr int kLinkLoop = 108;
inline constexpr int kLinkSll = 113;
inline constexpr int kLinkRawIp4 = 228;
inline constexpr int kLinkRawIp6 = 229;
inline constexpr int kLinkSll2 = 276;

// EtherTypes, of which GRE makes use as well.
inline constexpr std::uint16_t kEtherIp4 = 0x0800;
inline constexpr std::uint16_t kEtherIp6 = 0x86dd;
inline constexpr std::uint16_t kEtherBridging = 0x6558;
inline constexpr std::uint16_t kEtherMpls = 0x8847;
inline constexpr std::uint16_t kEtherMplsMulticast = 0x8848;

inline constexpr std::size_t kEthernetHeader = 14;

enum class Layer : std::uint8_t { ip4, ip6, ip_by_version, opaque, malformed };

/// What follows the link's headers, how long they are, and how many bytes an Ethernet frame would have had in
/// their place: an Ethernet header for the link's own, tags and labels as they are.
struct LinkHeader {
  Layer next = Layer::malformed;
  std::size_t length = 0;
  std::size_t as_ethernet = kEthernetHeader;
};

[[nodiscard]] inline Layer layer_of_ethertype(std::uint16_t type) {
  if (type == kEtherIp4) return Layer::ip4;
  if (type == kEtherIp6) return Layer::ip6;
  return Layer::opaque;
}

/// `frame` from its first byte on.
[[nodiscard]] LinkHeader parse_link(int link_type, Reader frame);
[[nodiscard]] Layer skip_ethernet(Reader& reader);
[[nodiscard]] Layer skip_mpls_labels(Reader& reader);

}  // namespace weir
