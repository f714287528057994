/// Bytes of one captured frame -> one PacketRecord.
///
/// Pure. Never throws, never reads past the captured bytes, whatever they are; the outcome is closed: every
/// frame is exactly one of ParseOutcome. Looks through VLAN, QinQ, MPLS and PPPoE, and through tunnels whose
/// header says how: IP in IP (RFC 2003, 2473, 4213), GRE version 0 (RFC 2784, 2890), VXLAN (RFC 7348), in
/// each other up to kMostTunnels deep. Any other tunnel is opaque bytes of its addresses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "config/address.hpp"
#include "config/units.hpp"
#include "estimator/sequence.hpp"

namespace weir {

struct Frame;

/// What of a PacketRecord is set; nothing else in it may be read, it is of an earlier frame.
enum class ParseOutcome : std::uint8_t {
  tcp,        ///< all of it
  ip,         ///< all in front of source_port: another protocol, a fragment, or TCP cut by the snap length
  opaque,     ///< time and frame_bytes: not IP (ARP, LLDP, an unknown link type)
  malformed,  ///< the same: a header contradicts itself or ends before it is complete
};

/// Tunnel headers looked through, one in the other. Deeper is nothing that a path is made of on purpose; what
/// an attacker stacks up costs five IP headers at most.
inline constexpr int kMostTunnels = 4;

enum TcpFlag : std::uint8_t {
  kTcpFin = 0x01,
  kTcpSyn = 0x02,
  kTcpRst = 0x04,
  kTcpPsh = 0x08,
  kTcpAck = 0x10,
  kTcpEce = 0x40,
  kTcpCwr = 0x80,
};

inline constexpr std::uint8_t kEcnMask = 0x03;
inline constexpr unsigned kEcnBits = 2;  ///< of the traffic class, below the DSCP
inline constexpr std::uint8_t kEcnCe = 0x03;

/// The addresses, the IP identification and the segment are those of the innermost IP header that is whole;
/// the bytes and the traffic class those of the frame, since these are what our queues and the provider see.
struct PacketRecord {
  TimePoint time;
  std::uint32_t frame_bytes = 0;   ///< from the Ethernet header on (one is assumed where the link has none)
  std::uint8_t traffic_class = 0;  ///< DSCP << 2 | ECN of the outermost IP header
  std::uint8_t protocol = 0;       ///< IP protocol number behind the extension headers
  std::uint16_t ip_id = 0;         ///< 0 for IPv6
  bool tunnelled = false;          ///< there is an outer header; outer_x are set only then
  IpAddress source;
  IpAddress destination;
  IpAddress outer_source;  ///< of the outermost IP header
  IpAddress outer_destination;

  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  SequenceNumber sequence = 0;
  SequenceNumber acknowledgment = 0;
  std::uint8_t tcp_header_bytes = 0;
  std::uint8_t flags = 0;             ///< TcpFlag bits
  std::uint16_t window = 0;           ///< as sent, not scaled
  std::uint32_t headers_bytes = 0;    ///< of frame_bytes, all in front of the TCP payload
  std::uint32_t payload = 0;          ///< TCP payload bytes on the wire, captured or not
  std::uint32_t timestamp_value = 0;  ///< both 0 without has_timestamp
  std::uint32_t timestamp_echo = 0;
  std::uint16_t mss_option = 0;  ///< 0: none
  bool has_timestamp = false;
  std::uint8_t sack_count = 0;
  std::array<SequenceRange, 4> sack{};  ///< the first sack_count of them

  [[nodiscard]] bool has(TcpFlag flag) const { return (flags & flag) != 0; }
  bool operator==(const PacketRecord&) const = default;
};

/// Fills `record` as far as the outcome promises.
[[nodiscard]] ParseOutcome parse_frame(const Frame& frame, PacketRecord& record);

}  // namespace weir
