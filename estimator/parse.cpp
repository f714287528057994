#include "estimator/parse.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "estimator/estimator.hpp"

namespace weir {
namespace {

// Link types by their number in pcap/dlt.h (the values that a Linux capture or a file may carry); repeated
// here so that the pure part needs no libpcap.
constexpr int kLinkNull = 0;
constexpr int kLinkEthernet = 1;
constexpr int kLinkRawBsd = 12;
constexpr int kLinkRawFile = 101;
constexpr int kLinkLoop = 108;
constexpr int kLinkSll = 113;
constexpr int kLinkRawIp4 = 228;
constexpr int kLinkRawIp6 = 229;
constexpr int kLinkSll2 = 276;

constexpr std::uint16_t kEtherIp4 = 0x0800;
constexpr std::uint16_t kEtherIp6 = 0x86dd;
constexpr std::uint16_t kEtherVlan = 0x8100;
constexpr std::uint16_t kEtherQinq = 0x88a8;
constexpr std::uint16_t kEtherQinqOld = 0x9100;
constexpr std::uint16_t kEtherMpls = 0x8847;
constexpr std::uint16_t kEtherMplsMulticast = 0x8848;
constexpr std::uint16_t kEtherPppoeSession = 0x8864;

constexpr std::uint8_t kProtocolHopByHop = 0;
constexpr std::uint8_t kProtocolTcp = 6;
constexpr std::uint8_t kProtocolRouting = 43;
constexpr std::uint8_t kProtocolFragment = 44;
constexpr std::uint8_t kProtocolAuthentication = 51;
constexpr std::uint8_t kProtocolDestinationOptions = 60;

constexpr std::size_t kEthernetHeader = 14;

/// A cursor over the captured bytes; every access says whether it was there.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::size_t left() const { return bytes_.size() - at_; }
  [[nodiscard]] std::size_t offset() const { return at_; }
  [[nodiscard]] bool has(std::size_t count) const { return left() >= count; }
  void skip(std::size_t count) { at_ += std::min(count, left()); }

  /// Callers check has() first; these read at `ahead` bytes from here.
  [[nodiscard]] std::uint8_t u8(std::size_t ahead) const {
    return std::to_integer<std::uint8_t>(bytes_[at_ + ahead]);
  }
  [[nodiscard]] std::uint16_t u16(std::size_t ahead) const {
    return static_cast<std::uint16_t>(u8(ahead) << 8 | u8(ahead + 1));
  }
  [[nodiscard]] std::uint32_t u32(std::size_t ahead) const {
    return static_cast<std::uint32_t>(u16(ahead)) << 16 | u16(ahead + 2);
  }
  [[nodiscard]] IpAddress address(std::size_t ahead, Family family) const {
    IpAddress a{.family = family, .bytes = {}};
    std::memcpy(a.bytes.data(), bytes_.data() + at_ + ahead, family == Family::v4 ? 4 : 16);
    return a;
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

enum class Layer : std::uint8_t { ip4, ip6, ip_by_version, opaque, malformed };

/// What link header there is, and how many bytes of it an Ethernet frame would have had instead.
struct LinkHeader {
  Layer next = Layer::malformed;
  std::size_t as_ethernet = kEthernetHeader;
};

[[nodiscard]] Layer layer_of_ethertype(std::uint16_t type) {
  if (type == kEtherIp4) return Layer::ip4;
  if (type == kEtherIp6) return Layer::ip6;
  return Layer::opaque;
}

/// RFC 3032: the label stack ends at the entry with the bottom bit; what follows tells its version itself.
[[nodiscard]] Layer skip_mpls_labels(Cursor& cursor) {
  while (cursor.has(4)) {
    const bool bottom = (cursor.u8(2) & 1) != 0;
    cursor.skip(4);
    if (bottom) return Layer::ip_by_version;
  }
  return Layer::malformed;
}

/// RFC 2516: six bytes of header, then the PPP protocol number.
[[nodiscard]] Layer skip_pppoe(Cursor& cursor) {
  if (!cursor.has(8)) return Layer::malformed;
  const std::uint16_t protocol = cursor.u16(6);
  cursor.skip(8);
  if (protocol == 0x0021) return Layer::ip4;
  if (protocol == 0x0057) return Layer::ip6;
  return Layer::opaque;
}

/// Follows tags and encapsulations behind an EtherType that has just been read.
[[nodiscard]] Layer follow_ethertype(std::uint16_t type, Cursor& cursor) {
  while (type == kEtherVlan || type == kEtherQinq || type == kEtherQinqOld) {
    if (!cursor.has(4)) return Layer::malformed;
    type = cursor.u16(2);
    cursor.skip(4);
  }
  if (type == kEtherMpls || type == kEtherMplsMulticast) return skip_mpls_labels(cursor);
  if (type == kEtherPppoeSession) return skip_pppoe(cursor);
  return layer_of_ethertype(type);
}

[[nodiscard]] LinkHeader parse_ethertype_link(Cursor& cursor, std::size_t header, std::size_t type_at) {
  if (!cursor.has(header)) return {};
  const std::uint16_t type = cursor.u16(type_at);
  cursor.skip(header);
  const Layer next = follow_ethertype(type, cursor);
  return {.next = next, .as_ethernet = kEthernetHeader + cursor.offset() - header};
}

/// DLT_NULL and DLT_LOOP carry an address family of four bytes; its number differs between systems and its
/// byte order between writers, so the IP version decides.
[[nodiscard]] LinkHeader parse_loopback_link(Cursor& cursor) {
  if (!cursor.has(4)) return {};
  cursor.skip(4);
  return {.next = Layer::ip_by_version};
}

[[nodiscard]] LinkHeader parse_link(int link_type, Cursor& cursor) {
  switch (link_type) {
    case kLinkEthernet:
      return parse_ethertype_link(cursor, kEthernetHeader, 12);
    case kLinkSll:
      return parse_ethertype_link(cursor, 16, 14);
    case kLinkSll2:
      return parse_ethertype_link(cursor, 20, 0);
    case kLinkNull:
    case kLinkLoop:
      return parse_loopback_link(cursor);
    case kLinkRawBsd:
    case kLinkRawFile:
      return {.next = Layer::ip_by_version};
    case kLinkRawIp4:
      return {.next = Layer::ip4};
    case kLinkRawIp6:
      return {.next = Layer::ip6};
    default:
      return {.next = Layer::opaque, .as_ethernet = 0};
  }
}

/// What an IP header says; `tcp_bytes` is TCP header and payload together on the wire.
struct NetworkHeader {
  ParseOutcome outcome = ParseOutcome::malformed;
  std::uint32_t ip_bytes = 0;  ///< the whole packet, from the IP header on
  std::uint32_t tcp_bytes = 0;
};

/// A total length of 0 is what Linux leaves in super-packets of 64 kB and more (and offloading cards in
/// theirs): the frame's own length is all there is then.
[[nodiscard]] std::uint32_t length_or(std::uint32_t said, std::uint32_t by_frame) {
  return said == 0 ? by_frame : said;
}

[[nodiscard]] NetworkHeader parse_ip4(Cursor& cursor, std::uint32_t bytes_by_frame, PacketRecord& record) {
  if (!cursor.has(20) || cursor.u8(0) >> 4 != 4) return {};
  const std::uint32_t header = (cursor.u8(0) & 0x0fU) * 4U;
  const std::uint32_t total = length_or(cursor.u16(2), bytes_by_frame);
  if (header < 20 || total < header) return {};
  record.traffic_class = cursor.u8(1);
  record.ip_id = cursor.u16(4);
  record.protocol = cursor.u8(9);
  record.source = cursor.address(12, Family::v4);
  record.destination = cursor.address(16, Family::v4);
  const bool fragment = (cursor.u16(6) & 0x3fff) != 0;  // more-fragments bit or an offset
  if (fragment || record.protocol != kProtocolTcp || !cursor.has(header)) {
    return {.outcome = ParseOutcome::ip, .ip_bytes = total};
  }
  cursor.skip(header);
  return {.outcome = ParseOutcome::tcp, .ip_bytes = total, .tcp_bytes = total - header};
}

/// RFC 8200, 4: walks the extension headers that may stand in front of TCP. Returns the protocol found, or
/// nothing when the chain is cut by the snap length; fragments count as protocol 44.
[[nodiscard]] std::optional<std::uint8_t> skip_ip6_extensions(std::uint8_t next, Cursor& cursor) {
  // Bounded by the captured bytes: each round skips at least eight of them.
  while (next == kProtocolHopByHop || next == kProtocolRouting || next == kProtocolDestinationOptions ||
         next == kProtocolAuthentication) {
    if (!cursor.has(8)) return std::nullopt;
    const std::size_t length =
        next == kProtocolAuthentication ? (cursor.u8(1) + 2U) * 4U : (cursor.u8(1) + 1U) * 8U;
    next = cursor.u8(0);
    if (!cursor.has(length)) return std::nullopt;
    cursor.skip(length);
  }
  return next;
}

[[nodiscard]] NetworkHeader parse_ip6(Cursor& cursor, std::uint32_t bytes_by_frame, PacketRecord& record) {
  constexpr std::uint32_t kHeader = 40;
  if (!cursor.has(kHeader) || cursor.u8(0) >> 4 != 6) return {};
  const std::size_t start = cursor.offset();
  const std::uint32_t said = cursor.u16(4);
  const std::uint32_t total = said == 0 ? bytes_by_frame : said + kHeader;
  record.traffic_class = static_cast<std::uint8_t>(cursor.u16(0) >> 4);
  record.source = cursor.address(8, Family::v6);
  record.destination = cursor.address(24, Family::v6);
  record.protocol = cursor.u8(6);
  cursor.skip(kHeader);
  const auto protocol = skip_ip6_extensions(record.protocol, cursor);
  if (protocol) record.protocol = *protocol;
  if (!protocol || *protocol != kProtocolTcp) return {.outcome = ParseOutcome::ip, .ip_bytes = total};
  const auto headers = static_cast<std::uint32_t>(cursor.offset() - start);
  if (total < headers) return {};
  return {.outcome = ParseOutcome::tcp, .ip_bytes = total, .tcp_bytes = total - headers};
}

[[nodiscard]] NetworkHeader parse_network(Layer layer, Cursor& cursor, std::uint32_t bytes_by_frame,
                                          PacketRecord& record) {
  if (layer == Layer::ip_by_version) {
    if (!cursor.has(1)) return {};
    const int version = cursor.u8(0) >> 4;
    if (version != 4 && version != 6) return {.outcome = ParseOutcome::opaque, .ip_bytes = bytes_by_frame};
    layer = version == 4 ? Layer::ip4 : Layer::ip6;
  }
  return layer == Layer::ip4 ? parse_ip4(cursor, bytes_by_frame, record)
                             : parse_ip6(cursor, bytes_by_frame, record);
}

void read_sack_blocks(const Cursor& cursor, std::size_t at, std::size_t bytes, PacketRecord& record) {
  for (std::size_t block = 0; block + 8 <= bytes && record.sack_count < record.sack.size(); block += 8) {
    record.sack[record.sack_count++] = {cursor.u32(at + block), cursor.u32(at + block + 4)};
  }
}

/// RFC 9293, 3.2; 2018 (SACK), 7323 (timestamps). Options behind the snap length or with a wrong length end
/// the walk: what was read before them stands.
void parse_tcp_options(const Cursor& cursor, std::size_t header, PacketRecord& record) {
  const std::size_t end = std::min(header, cursor.left());
  std::size_t at = 20;
  while (at < end) {
    const std::uint8_t kind = cursor.u8(at);
    if (kind == 0) return;
    if (kind == 1) {
      ++at;
      continue;
    }
    if (at + 2 > end) return;
    const std::size_t length = cursor.u8(at + 1);
    if (length < 2 || at + length > end) return;
    if (kind == 2 && length == 4) record.mss_option = cursor.u16(at + 2);
    if (kind == 5) read_sack_blocks(cursor, at + 2, length - 2, record);
    if (kind == 8 && length == 10) {
      record.has_timestamp = true;
      record.timestamp_value = cursor.u32(at + 2);
      record.timestamp_echo = cursor.u32(at + 6);
    }
    at += length;
  }
}

[[nodiscard]] ParseOutcome parse_tcp(const Cursor& cursor, std::uint32_t tcp_bytes, PacketRecord& record) {
  if (tcp_bytes < 20) return ParseOutcome::malformed;
  if (!cursor.has(20))
    return ParseOutcome::ip;  // the snap length cut it: the addresses still count its bytes
  const std::uint32_t header = (cursor.u8(12) >> 4) * 4U;
  if (header < 20 || header > tcp_bytes) return ParseOutcome::malformed;
  record.source_port = cursor.u16(0);
  record.destination_port = cursor.u16(2);
  record.sequence = cursor.u32(4);
  record.acknowledgment = cursor.u32(8);
  record.flags = cursor.u8(13);
  record.window = cursor.u16(14);
  record.tcp_header_bytes = static_cast<std::uint8_t>(header);
  record.payload = tcp_bytes - header;
  parse_tcp_options(cursor, header, record);
  return ParseOutcome::tcp;
}

}  // namespace

ParseOutcome parse_frame(const Frame& frame, PacketRecord& record) {
  record = PacketRecord{};
  record.time = frame.time;
  record.frame_bytes = frame.wire_length;

  Cursor cursor(frame.bytes);
  const LinkHeader link = parse_link(frame.link_type, cursor);
  if (link.next == Layer::malformed) return ParseOutcome::malformed;
  if (link.next == Layer::opaque) return ParseOutcome::opaque;

  const auto real = static_cast<std::uint32_t>(cursor.offset());
  const auto as_ethernet = static_cast<std::uint32_t>(link.as_ethernet);
  const std::uint32_t by_frame = frame.wire_length - std::min(frame.wire_length, real);
  const NetworkHeader network = parse_network(link.next, cursor, by_frame, record);
  if (network.outcome == ParseOutcome::malformed) return ParseOutcome::malformed;

  // A file cut by a tool may claim less than the packet itself says; padding may make the frame longer: the
  // larger is what occupied the wire.
  record.frame_bytes = as_ethernet + std::max(by_frame, network.ip_bytes);
  if (network.outcome != ParseOutcome::tcp) return network.outcome;
  record.headers_bytes = as_ethernet + network.ip_bytes - network.tcp_bytes;
  const ParseOutcome outcome = parse_tcp(cursor, network.tcp_bytes, record);
  record.headers_bytes += record.tcp_header_bytes;
  return outcome;
}

}  // namespace weir
