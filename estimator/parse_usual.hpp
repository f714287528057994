/// The short way of parse_frame, to be inlined where frames are taken by the million.
///
/// Pure. Private to the estimator. Says the same as parse_frame of what it takes, in two steps: most packets
/// need only the first.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include <endian.h>

#include "estimator/estimator.hpp"
#include "estimator/flow_key.hpp"
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

/// Of one of the two lengths of a TCP header; `stamps` only with the longer one.
template <std::uint32_t kHeader>
[[nodiscard, gnu::always_inline]] inline bool take_usual_tcp(const Frame& frame, Header<54> usual,
                                                             [[maybe_unused]] Header<12> stamps,
                                                             PacketRecord& record) {
  constexpr std::size_t kIp = kEthernetHeader, kTcp = kIp + 20;
  constexpr bool kStamped = kHeader > 20;
  const std::uint32_t length_and_id = usual.u32<kIp + 2>();
  const std::uint32_t total = length_and_id >> 16U;
  if (total < 20 + kHeader || frame.wire_length > kLongestFrame) return false;
  record.frame_bytes = std::max<std::uint32_t>(frame.wire_length, kIp + total);
  record.traffic_class = usual.u8<kIp + 1>();
  record.ip_id = static_cast<std::uint16_t>(length_and_id);
  record.sequence = usual.u32<kTcp + 4>();
  record.acknowledgment = usual.u32<kTcp + 8>();
  record.tcp_header_bytes = kHeader;
  record.flags = usual.u8<kTcp + 13>();
  record.window = usual.u16<kTcp + 14>();
  record.headers_bytes = kTcp + kHeader;
  record.payload = total - 20 - kHeader;
  record.has_timestamp = kStamped;
  if constexpr (kStamped) {
    record.timestamp_value = stamps.u32<4>();
    record.timestamp_echo = stamps.u32<8>();
  } else {
    record.timestamp_value = 0;
    record.timestamp_echo = 0;
  }
  return true;
}

/// What most frames are, in one look: Ethernet, IPv4 without options, TCP without options but the timestamps
/// as RFC 7323 lays them out. Fills in what the short ways read of the record but its time, and all of the
/// key but its hash; complete_usual does the rest. False, and nothing is touched, when it is anything else,
/// or anything is wrong with it.
[[nodiscard, gnu::always_inline]] inline bool parse_usual(const Frame& frame, PacketRecord& record,
                                                          FlowKey& key) {
  constexpr std::size_t kIp = kEthernetHeader, kTcp = kIp + 20, kOptions = kTcp + 20;
  const std::span<const std::byte> bytes = frame.bytes;
  if (bytes.size() < kOptions || frame.link_type != kLinkEthernet) return false;
  const Header<kOptions> usual(bytes.data());
  // The ethertype, version and header length; no fragment, and TCP (its time to live lies between).
  const std::uint32_t begins = usual.u32<kEthernetHeader - 2>();
  const std::uint32_t carries = usual.u32<kIp + 6>();
  if ((begins & 0xffffff00U) != (std::uint32_t{kEtherIp4} << 16U | 0x4500U)) return false;
  if ((carries & 0x3fff00ffU) != kProtocolTcp) return false;
  const unsigned words = usual.u8<kTcp + 12>() >> 4U;
  if (words == 8) [[likely]] {
    if (bytes.size() < kOptions + 12) return false;
    const Header<12> stamps(bytes.data() + kOptions);
    if (stamps.u32<0>() != kUsualOptions) return false;
    if (!take_usual_tcp<32>(frame, usual, stamps, record)) return false;
  } else if (words != 5 || !take_usual_tcp<20>(frame, usual, {}, record)) {
    return false;
  }
  find_ends_v4(usual.raw64<kIp + 12>(), usual.raw32<kTcp>(), key);
  return true;
}

/// The rest of a record that parse_usual has begun, but for its time.
inline void complete_usual(const FlowKey& key, PacketRecord& record) {
  record.protocol = kProtocolTcp;
  record.tunnelled = false;
  record.source = address_v4(key.addresses[0], key.sender);
  record.destination = address_v4(key.addresses[0], key.sender ^ 1U);
  const std::uint32_t ports = std::rotl(key.ports, key.sender * 16);
  record.source_port = be16toh(htole16(static_cast<std::uint16_t>(ports)));
  record.destination_port = be16toh(htole16(static_cast<std::uint16_t>(ports >> 16U)));
  record.mss_option = 0;
  record.sack_count = 0;
}

}  // namespace weir
