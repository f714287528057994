#include "estimator/parse.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "estimator/estimator.hpp"
#include "estimator/parse_link.hpp"
#include "estimator/parse_reader.hpp"
#include "estimator/parse_usual.hpp"

namespace weir {
namespace {

constexpr std::uint8_t kProtocolHopByHop = 0;
constexpr std::uint8_t kProtocolIp4 = 4;
constexpr std::uint8_t kProtocolUdp = 17;
constexpr std::uint8_t kProtocolIp6 = 41;
constexpr std::uint8_t kProtocolRouting = 43;
constexpr std::uint8_t kProtocolFragment = 44;
constexpr std::uint8_t kProtocolGre = 47;
constexpr std::uint8_t kProtocolAuthentication = 51;
constexpr std::uint8_t kProtocolDestinationOptions = 60;

// -- IP --

/// The bytes that a packet has room for on the wire, from its IP header on.
struct Room {
  /// In place of a total length of 0, which is what Linux leaves in
  /// super-packets of 64 kB and more (and offloading cards in theirs): what is
  /// in front of the packet, or the frame's length, is all there is then.
  std::uint32_t otherwise = 0;
  std::uint32_t most = 0;  ///< a packet that claims more contradicts what is in front of it
};

/// What an IP header says beside what it leaves in the record.
struct Network {
  ParseOutcome outcome = ParseOutcome::malformed;  ///< ip: the header is whole,
                                                   ///< and the record has it
  bool opens = false;                              ///< the reader stands at the first byte of the payload
  std::uint8_t traffic_class = 0;
  std::uint32_t total = 0;    ///< bytes on the wire, from the IP header on
  std::uint32_t payload = 0;  ///< of these, behind the header and its extensions
};

[[nodiscard, gnu::always_inline]] inline Network take_ip4(Reader& reader, Room room, PacketRecord& record) {
  const auto ip = reader.peek<20>();
  if (!ip || ip.u8<0>() >> 4 != 4) return {};
  const std::uint32_t header = (ip.u8<0>() & 0x0fU) * 4U;
  const std::uint32_t said = ip.u16<2>();
  const std::uint32_t total = said == 0 ? room.otherwise : said;
  if (header < 20 || total < header || total > room.most) return {};
  record.protocol = ip.u8<9>();
  record.ip_id = ip.u16<4>();
  ip.copy_ip4<12>(record.source);
  ip.copy_ip4<16>(record.destination);
  const bool fragment = (ip.u16<6>() & 0x3fffU) != 0;  // more-fragments bit or an offset
  return {.outcome = ParseOutcome::ip,
          .opens = reader.skip(header) && !fragment,
          .traffic_class = ip.u8<1>(),
          .total = total,
          .payload = total - header};
}

[[nodiscard]] constexpr bool is_ip6_extension(std::uint8_t protocol) {
  return protocol == kProtocolHopByHop || protocol == kProtocolRouting ||
         protocol == kProtocolDestinationOptions || protocol == kProtocolAuthentication;
}

/// RFC 8200, 4; 4302, 2.2: counted in units of eight bytes less one, but for AH
/// in four less two.
[[nodiscard]] constexpr std::size_t extension_length(std::uint8_t protocol, std::uint8_t said) {
  return protocol == kProtocolAuthentication ? (said + 2U) * 4U : (said + 1U) * 8U;
}

/// The headers between an IPv6 header and its payload.
struct Extensions {
  std::uint8_t protocol = 0;  ///< of what is behind them
  bool whole = true;          ///< false: the snap length cut them
  std::size_t length = 0;
};

/// A fragment header ends the walk: what is behind it is no beginning of a
/// payload.
[[nodiscard]] Extensions walk_ip6_extensions(std::uint8_t protocol, Reader reader) {
  Extensions found{.protocol = protocol};
  // Bounded by the captured bytes: each round skips at least eight of them.
  while (is_ip6_extension(found.protocol)) {
    const auto extension = reader.peek<8>();
    const std::size_t length = extension ? extension_length(found.protocol, extension.u8<1>()) : 8;
    found.whole = reader.skip(length);
    if (!found.whole) break;
    found.protocol = extension.u8<0>();
    found.length += length;
  }
  return found;
}

[[nodiscard, gnu::always_inline]] inline Network take_ip6(Reader& reader, Room room, PacketRecord& record) {
  constexpr std::uint32_t kHeader = 40;
  const auto ip = reader.take<kHeader>();
  if (!ip || ip.u8<0>() >> 4 != 6) return {};
  Extensions extensions{.protocol = ip.u8<6>()};
  if (is_ip6_extension(extensions.protocol)) {
    extensions = walk_ip6_extensions(extensions.protocol, reader);
    static_cast<void>(reader.skip(extensions.length));
  }
  const std::uint32_t headers = kHeader + static_cast<std::uint32_t>(extensions.length);
  const std::uint32_t said = ip.u16<4>();
  const std::uint32_t total = said == 0 ? room.otherwise : said + kHeader;
  if (total < headers || total > room.most) return {};
  record.protocol = extensions.protocol;
  record.ip_id = 0;
  ip.copy_ip6<8>(record.source);
  ip.copy_ip6<24>(record.destination);
  return {.outcome = ParseOutcome::ip,
          .opens = extensions.whole && extensions.protocol != kProtocolFragment,
          .traffic_class = static_cast<std::uint8_t>(ip.u16<0>() >> 4),
          .total = total,
          .payload = total - headers};
}

/// Leaves the record alone unless the outcome is `ip`. Inlined by order: with
/// the reader in registers parsing takes three fifths of the time.
[[nodiscard, gnu::always_inline]] inline Network take_network(Layer layer, Reader& reader, Room room,
                                                              PacketRecord& record) {
  if (layer == Layer::ip_by_version) {
    const auto first = reader.peek<1>();
    if (!first) return {};
    const unsigned version = first.u8<0>() >> 4U;
    layer = version == 4 ? Layer::ip4 : version == 6 ? Layer::ip6 : Layer::opaque;
  }
  switch (layer) {
    case Layer::ip4:
      return take_ip4(reader, room, record);
    case Layer::ip6:
      return take_ip6(reader, room, record);
    case Layer::opaque:
      return {.outcome = ParseOutcome::opaque};
    default:
      return {};
  }
}

// -- TCP --

void take_sack_blocks(Reader blocks, PacketRecord& record) {
  while (record.sack_count < record.sack.size()) {
    const auto block = blocks.take<8>();
    if (!block) return;
    record.sack[record.sack_count++] = {block.u32<0>(), block.u32<4>()};
  }
}

void take_tcp_option(Reader option, PacketRecord& record) {
  const auto head = option.take<2>();
  if (!head) return;
  const std::uint8_t kind = head.u8<0>();
  const std::uint8_t length = head.u8<1>();
  if (kind == 2 && length == 4) {
    if (const auto mss = option.peek<2>()) record.mss_option = mss.u16<0>();
  } else if (kind == 5) {
    take_sack_blocks(option, record);
  } else if (kind == 8 && length == 10) {
    if (const auto stamps = option.peek<8>()) {
      record.has_timestamp = true;
      record.timestamp_value = stamps.u32<0>();
      record.timestamp_echo = stamps.u32<4>();
    }
  }
}

/// RFC 9293, 3.2; 2018 (SACK), 7323 (timestamps). Options behind the snap
/// length or with a wrong length end the walk: what was read before them
/// stands.
void take_tcp_options(Reader options, PacketRecord& record) {
  record.mss_option = 0;
  record.has_timestamp = false;
  record.timestamp_value = 0;
  record.timestamp_echo = 0;
  record.sack_count = 0;
  if (const auto usual = options.peek<12>(); usual && usual.u32<0>() == kUsualOptions) {
    record.has_timestamp = true;
    record.timestamp_value = usual.u32<4>();
    record.timestamp_echo = usual.u32<8>();
    static_cast<void>(options.take<12>());
  }
  while (const auto kind = options.peek<1>()) {
    if (kind.u8<0>() == 0) return;
    if (kind.u8<0>() == 1) {
      static_cast<void>(options.take<1>());
      continue;
    }
    const auto head = options.peek<2>();
    if (!head || head.u8<1>() < 2 || head.u8<1>() > options.left()) return;
    take_tcp_option(options.split(head.u8<1>()), record);
  }
}

/// `in_front`: bytes of the frame in front of the TCP header.
[[nodiscard]] ParseOutcome take_tcp(Reader reader, std::uint32_t in_front, std::uint32_t tcp_bytes,
                                    PacketRecord& record) {
  if (tcp_bytes < 20) return ParseOutcome::malformed;
  const auto tcp = reader.take<20>();
  if (!tcp)
    return ParseOutcome::ip;  // the snap length cut it: the addresses still
                              // count its bytes
  const std::uint32_t header = (tcp.u8<12>() >> 4U) * 4U;
  if (header < 20 || header > tcp_bytes) return ParseOutcome::malformed;
  record.source_port = tcp.u16<0>();
  record.destination_port = tcp.u16<2>();
  record.sequence = tcp.u32<4>();
  record.acknowledgment = tcp.u32<8>();
  record.flags = tcp.u8<13>();
  record.window = tcp.u16<14>();
  record.tcp_header_bytes = static_cast<std::uint8_t>(header);
  record.headers_bytes = in_front + header;
  record.payload = tcp_bytes - header;
  take_tcp_options(reader.split(header - 20), record);
  return ParseOutcome::tcp;
}

// -- tunnels --

/// RFC 2784 and 2890. Not for us: the routing that RFC 1701 had and the other
/// bits a receiver has to know, and any version but 0 (PPTP has 1). The rest of
/// the reserved bits is to be ignored.
[[nodiscard]] Layer skip_gre(Reader& reader) {
  constexpr unsigned kChecksum = 0x8000, kKey = 0x2000, kSequence = 0x1000;
  constexpr unsigned kUnknown = 0x4c00, kVersion = 0x0007;
  const auto gre = reader.take<4>();
  if (!gre) return Layer::malformed;
  const unsigned bits = gre.u16<0>();
  if ((bits & (kUnknown | kVersion)) != 0) return Layer::opaque;
  const auto fields = static_cast<std::size_t>(std::popcount(bits & (kChecksum | kKey | kSequence)));
  if (!reader.skip(fields * 4)) return Layer::malformed;
  const std::uint16_t type = gre.u16<2>();
  if (type == kEtherBridging) return skip_ethernet(reader);
  if (type == kEtherMpls || type == kEtherMplsMulticast) return skip_mpls_labels(reader);
  return layer_of_ethertype(type);
}

/// RFC 7348, 5. Its port, the flag that says the network number is valid, and
/// reserved bits of zero: so much a datagram that merely goes to that port will
/// not have. GPE and GBP, which use some of those bits, are not looked through.
[[nodiscard]] Layer skip_vxlan(Reader& reader) {
  constexpr std::uint16_t kPort = 4789;
  constexpr std::uint16_t kPortOfLinux = 8472;  // before a port was assigned, and still the default there
  const auto udp = reader.take<8>();
  if (!udp) return Layer::malformed;
  if (udp.u16<2>() != kPort && udp.u16<2>() != kPortOfLinux) return Layer::opaque;
  const auto vxlan = reader.take<8>();
  if (!vxlan) return Layer::malformed;
  if (vxlan.u32<0>() != 0x08000000U || vxlan.u8<7>() != 0) return Layer::opaque;
  return skip_ethernet(reader);
}

[[nodiscard]] Layer skip_tunnel(std::uint8_t protocol, Reader& reader) {
  switch (protocol) {
    case kProtocolIp4:
      return Layer::ip4;
    case kProtocolIp6:
      return Layer::ip6;
    case kProtocolGre:
      return skip_gre(reader);
    case kProtocolUdp:
      return skip_vxlan(reader);
    default:
      return Layer::opaque;
  }
}

/// The payload of an IP header that is not TCP: goes on to the innermost IP
/// header that is whole, and its TCP. What is cut or broken further in is bytes
/// of the last header that was not, never a malformed frame. `in_front`: bytes
/// of the frame in front of the payload; `payload`: its bytes on the wire.
[[nodiscard]] ParseOutcome look_through(Reader reader, std::uint32_t in_front, std::uint32_t payload,
                                        PacketRecord& record) {
  for (int tunnels = 0; tunnels < kMostTunnels; ++tunnels) {
    Reader inside = reader;
    const Layer next = skip_tunnel(record.protocol, inside);
    const auto tunnel = static_cast<std::uint32_t>(reader.left() - inside.left());
    if (next == Layer::opaque || payload < tunnel) return ParseOutcome::ip;
    const std::uint32_t room = payload - tunnel;
    const IpAddress source = record.source;
    const IpAddress destination = record.destination;
    const Network network = take_network(next, inside, {.otherwise = room, .most = room}, record);
    if (network.outcome != ParseOutcome::ip) return ParseOutcome::ip;
    if (!record.tunnelled) {
      record.tunnelled = true;
      record.outer_source = source;
      record.outer_destination = destination;
    }
    if (!network.opens) return ParseOutcome::ip;
    in_front += static_cast<std::uint32_t>(reader.left() - inside.left());
    payload = network.payload;
    reader = inside;
    if (record.protocol == kProtocolTcp) {
      const bool whole = take_tcp(reader, in_front, payload, record) == ParseOutcome::tcp;
      return whole ? ParseOutcome::tcp : ParseOutcome::ip;
    }
  }
  return ParseOutcome::ip;
}

/// The commonest link is worth not being called: Ethernet with IP behind it.
[[nodiscard]] LinkHeader take_link(int link_type, Reader frame) {
  if (link_type == kLinkEthernet) {
    const auto ethernet = frame.peek<kEthernetHeader>();
    const Layer next = ethernet ? layer_of_ethertype(ethernet.u16<12>()) : Layer::opaque;
    if (next != Layer::opaque) return {.next = next, .length = kEthernetHeader};
  }
  return parse_link(link_type, frame);
}

}  // namespace

ParseOutcome parse_frame(const Frame& frame, PacketRecord& record) {
  record.time = frame.time;
  record.frame_bytes = frame.wire_length;
  record.tunnelled = false;
  if (frame.wire_length > kLongestFrame) return ParseOutcome::malformed;

  Reader reader(frame.bytes);
  const LinkHeader link = take_link(frame.link_type, reader);
  if (!reader.skip(link.length)) return ParseOutcome::malformed;
  const auto link_bytes = static_cast<std::uint32_t>(link.length);
  const auto as_ethernet = static_cast<std::uint32_t>(link.as_ethernet);
  const std::uint32_t by_frame = frame.wire_length - std::min(frame.wire_length, link_bytes);
  const std::size_t at_ip = reader.left();
  constexpr std::uint32_t kUnbounded = std::numeric_limits<std::uint32_t>::max();
  const Network network =
      take_network(link.next, reader, {.otherwise = by_frame, .most = kUnbounded}, record);
  if (network.outcome != ParseOutcome::ip) return network.outcome;
  // A file cut by a tool may claim less than the packet itself says; padding
  // may make the frame longer: the larger is what occupied the wire.
  record.frame_bytes = as_ethernet + std::max(by_frame, network.total);
  record.traffic_class = network.traffic_class;

  if (!network.opens) return ParseOutcome::ip;
  const auto in_front = as_ethernet + static_cast<std::uint32_t>(at_ip - reader.left());
  return record.protocol == kProtocolTcp ? take_tcp(reader, in_front, network.payload, record)
                                         : look_through(reader, in_front, network.payload, record);
}

}  // namespace weir
