/// The short way of parse_frame, to be inlined where frames are taken by the million.
///
/// Pure. Private to the estimator. Says the same as parse_frame of what it takes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "estimator/estimator.hpp"
#include "estimator/parse.hpp"
#include "estimator/parse_link.hpp"
#include "estimator/parse_reader.hpp"

namespace weir {

/// A length that only a broken or forged file claims: super-packets end far below it. Sums of lengths and
/// sequence numbers stay unambiguous under it.
inline constexpr std::uint32_t kLongestFrame = 16U << 20U;

/// Two NOPs and the head of the timestamps, as RFC 7323 lays them out (appendix A): all the options that most
/// segments have.
inline constexpr std::uint32_t kUsualOptions = 0x0101080a;

inline constexpr std::uint8_t kProtocolTcp = 6;

/// What most frames are, in one look: Ethernet, IPv4 without options, TCP without options but the timestamps
/// as RFC 7323 lays them out. False, and nothing of the record is touched, when it is anything else, or
/// anything is wrong with it.
[[nodiscard, gnu::always_inline]] inline bool parse_usual(const Frame& frame, PacketRecord& record) {
  constexpr std::size_t kIp = kEthernetHeader, kTcp = kIp + 20, kOptions = kTcp + 20;
  Reader reader(frame.bytes);
  const auto usual = reader.take<kOptions>();
  if (!usual || frame.link_type != kLinkEthernet) return false;
  // The ethertype, version and header length; no fragment, and TCP (its time to live lies between).
  const std::uint32_t begins = usual.u32<kEthernetHeader - 2>();
  const std::uint32_t carries = usual.u32<kIp + 6>();
  if ((begins & 0xffffff00U) != (std::uint32_t{kEtherIp4} << 16U | 0x4500U)) return false;
  if ((carries & 0x3fff00ffU) != kProtocolTcp) return false;
  const std::uint32_t header = (usual.u8<kTcp + 12>() >> 4U) * 4U;
  const auto stamps = header == 32 ? reader.peek<12>() : Header<12>();
  if (stamps ? stamps.u32<0>() != kUsualOptions : header != 20) return false;
  const std::uint32_t total = usual.u16<kIp + 2>();
  if (total < 20 + header || frame.wire_length > kLongestFrame) return false;

  record.time = frame.time;
  record.frame_bytes = std::max<std::uint32_t>(frame.wire_length, kIp + total);
  record.traffic_class = static_cast<std::uint8_t>(begins);
  record.protocol = kProtocolTcp;
  record.ip_id = usual.u16<kIp + 4>();
  record.tunnelled = false;
  usual.copy_ip4<kIp + 12>(record.source);
  usual.copy_ip4<kIp + 16>(record.destination);
  record.source_port = usual.u16<kTcp>();
  record.destination_port = usual.u16<kTcp + 2>();
  record.sequence = usual.u32<kTcp + 4>();
  record.acknowledgment = usual.u32<kTcp + 8>();
  record.tcp_header_bytes = static_cast<std::uint8_t>(header);
  record.flags = usual.u8<kTcp + 13>();
  record.window = usual.u16<kTcp + 14>();
  record.headers_bytes = kTcp + header;
  record.payload = total - 20 - header;
  record.mss_option = 0;
  record.has_timestamp = static_cast<bool>(stamps);
  record.timestamp_value = stamps ? stamps.u32<4>() : 0;
  record.timestamp_echo = stamps ? stamps.u32<8>() : 0;
  record.sack_count = 0;
  return true;
}

}  // namespace weir
