#include "estimator/parse_link.hpp"

#include <optional>

namespace weir {
namespace {

constexpr std::uint16_t kEtherVlan = 0x8100;
constexpr std::uint16_t kEtherQinq = 0x88a8;
constexpr std::uint16_t kEtherQinqOld = 0x9100;
constexpr std::uint16_t kEtherPppoeSession = 0x8864;
/// IEEE 802.3, 3.2.6: up to here the field behind the addresses is a length, and LLC follows.
constexpr std::uint16_t kLargestLength = 1500;
/// ETH_P_802_2 of linux/if_ether.h, what a cooked capture has for LLC.
constexpr std::uint16_t kCookedLlc = 4;

constexpr std::uint16_t kPppIp4 = 0x0021;
constexpr std::uint16_t kPppIp6 = 0x0057;
constexpr std::uint16_t kPppMpls = 0x0281;  // RFC 3032, 4.3
constexpr std::uint16_t kPppMplsMulticast = 0x0283;

/// 802.1Q and 802.1ad, to any depth: `type` becomes the one behind the tags. False: they are cut.
[[nodiscard]] bool skip_tags(std::uint16_t& type, Reader& reader) {
  while (type == kEtherVlan || type == kEtherQinq || type == kEtherQinqOld) {
    const auto tag = reader.take<4>();
    if (!tag) return false;
    type = tag.u16<2>();
  }
  return true;
}

/// RFC 1661, 2: the last octet of a protocol number is the first odd one, so that a sender may leave a
/// leading zero away (6.5). None is ff, which is an address (RFC 1662, 3.2). Nothing: it is cut.
[[nodiscard]] std::optional<std::uint16_t> take_ppp_protocol(Reader& reader) {
  const auto first = reader.peek<1>();
  if (first && (first.u8<0>() & 1U) != 0 && first.u8<0>() != 0xff && reader.skip(1)) return first.u8<0>();
  const auto both = reader.take<2>();
  return both ? std::optional(both.u16<0>()) : std::nullopt;
}

[[nodiscard]] Layer follow_ppp_protocol(std::uint16_t protocol, Reader& reader) {
  if (protocol == kPppMpls || protocol == kPppMplsMulticast) return skip_mpls_labels(reader);
  if (protocol == kPppIp4) return Layer::ip4;
  if (protocol == kPppIp6) return Layer::ip6;
  return Layer::opaque;
}

/// RFC 2516: six bytes of header, then PPP; any code but 0 belongs to the discovery.
[[nodiscard]] Layer skip_pppoe(Reader& reader) {
  const auto pppoe = reader.take<6>();
  if (!pppoe) return Layer::malformed;
  if (pppoe.u8<1>() != 0) return Layer::opaque;
  const auto protocol = take_ppp_protocol(reader);
  return protocol ? follow_ppp_protocol(*protocol, reader) : Layer::malformed;
}

/// Follows tags and encapsulations behind an EtherType that has just been read.
[[nodiscard]] Layer follow_ethertype(std::uint16_t type, Reader& reader) {
  if (!skip_tags(type, reader)) return Layer::malformed;
  if (type == kEtherMpls || type == kEtherMplsMulticast) return skip_mpls_labels(reader);
  if (type == kEtherPppoeSession) return skip_pppoe(reader);
  return layer_of_ethertype(type);
}

/// RFC 1042 and, for its second OUI, IEEE 802.1H: behind LLC and SNAP there is an EtherType.
[[nodiscard]] Layer skip_llc_snap(Reader& reader) {
  const auto llc = reader.peek<3>();
  if (!llc) return Layer::malformed;
  if (llc.u16<0>() != 0xaaaa || llc.u8<2>() != 0x03) return Layer::opaque;
  const auto snap = reader.take<8>();
  if (!snap) return Layer::malformed;
  const std::uint32_t organization = snap.u32<2>() & 0xffffffU;
  if (organization != 0 && organization != 0x0000f8) return Layer::opaque;
  return follow_ethertype(snap.u16<6>(), reader);
}

/// What an Ethernet frame has behind its addresses.
[[nodiscard]] Layer follow_length_or_type(std::uint16_t type, Reader& reader) {
  if (!skip_tags(type, reader)) return Layer::malformed;
  return type <= kLargestLength ? skip_llc_snap(reader) : follow_ethertype(type, reader);
}

/// The link's own header has been taken; `follow` takes what an Ethernet frame would have as well.
template <typename Follow>
[[nodiscard]] LinkHeader behind_own_header(Reader& reader, Follow&& follow) {
  const std::size_t before = reader.left();
  const Layer next = follow();
  return {.next = next, .as_ethernet = kEthernetHeader + before - reader.left()};
}

[[nodiscard]] LinkHeader parse_ethernet(Reader& reader) {
  const auto ethernet = reader.take<kEthernetHeader>();
  if (!ethernet) return {};
  return behind_own_header(reader, [&] { return follow_length_or_type(ethernet.u16<12>(), reader); });
}

/// A cooked capture: a header of `Length` bytes with an EtherType at `TypeAt`.
template <std::size_t Length, std::size_t TypeAt>
[[nodiscard]] LinkHeader parse_cooked(Reader& reader) {
  const auto cooked = reader.take<Length>();
  if (!cooked) return {};
  const std::uint16_t type = cooked.template u16<TypeAt>();
  return behind_own_header(
      reader, [&] { return type == kCookedLlc ? skip_llc_snap(reader) : follow_ethertype(type, reader); });
}

/// Cisco's HDLC (RFC 1547, 4.3.1): address, control, EtherType.
[[nodiscard]] LinkHeader parse_cisco_hdlc(Reader& reader) {
  const auto hdlc = reader.take<4>();
  if (!hdlc) return {};
  return behind_own_header(reader, [&] { return follow_ethertype(hdlc.u16<2>(), reader); });
}

/// RFC 1662, 3.1: address and control, ff 03, stand there unless the ends agreed to leave them away.
[[nodiscard]] LinkHeader parse_ppp(Reader& reader) {
  if (const auto framing = reader.peek<2>(); framing && framing.u16<0>() == 0xff03)
    static_cast<void>(reader.take<2>());
  const auto protocol = take_ppp_protocol(reader);
  if (!protocol) return {};
  return behind_own_header(reader, [&] { return follow_ppp_protocol(*protocol, reader); });
}

/// A serial line is one of the two kinds; the first byte of Cisco's is its address, 0f or 8f.
[[nodiscard]] LinkHeader parse_serial(Reader& reader) {
  const auto address = reader.peek<1>();
  return address && (address.u8<0>() & 0x7fU) == 0x0f ? parse_cisco_hdlc(reader) : parse_ppp(reader);
}

/// ISO 9314-2: frame control, then the addresses; RFC 1390: IP is behind LLC and SNAP, in whose place an
/// Ethernet header has its type.
[[nodiscard]] LinkHeader parse_fddi(Reader& reader) {
  constexpr std::size_t kLlcSnap = 8;
  const auto fddi = reader.take<13>();
  if (!fddi) return {};
  // Any class of LLC frame with 48-bit addresses; the others (tokens, MAC and SMT frames) are the ring's own.
  if ((fddi.u8<0>() & 0x70U) != 0x50) return {.next = Layer::opaque};
  LinkHeader link = behind_own_header(reader, [&] { return skip_llc_snap(reader); });
  link.as_ethernet -= kLlcSnap;
  return link;
}

/// DLT_NULL and DLT_LOOP carry an address family of four bytes; its number differs between systems and its
/// byte order between writers, so the IP version decides.
[[nodiscard]] LinkHeader parse_loopback(Reader& reader) {
  if (!reader.skip(4)) return {};
  return {.next = Layer::ip_by_version};
}

[[nodiscard]] LinkHeader parse_by_type(int link_type, Reader& reader) {
  switch (link_type) {
    case kLinkEthernet:
      return parse_ethernet(reader);
    case kLinkSll:
      return parse_cooked<16, 14>(reader);
    case kLinkSll2:
      return parse_cooked<20, 0>(reader);
    case kLinkNull:
    case kLinkLoop:
      return parse_loopback(reader);
    case kLinkRawBsd:
    case kLinkRawFile:
      return {.next = Layer::ip_by_version};
    case kLinkRawIp4:
      return {.next = Layer::ip4};
    case kLinkRawIp6:
      return {.next = Layer::ip6};
    case kLinkPpp:
      return parse_ppp(reader);
    case kLinkPppSerial:
      return parse_serial(reader);
    case kLinkPppEther:
      return behind_own_header(reader, [&] { return skip_pppoe(reader); });
    case kLinkCiscoHdlc:
      return parse_cisco_hdlc(reader);
    case kLinkFddi:
      return parse_fddi(reader);
    default:
      return {.next = Layer::opaque};
  }
}

}  // namespace

/// RFC 3032: the label stack ends at the entry with the bottom bit; what follows tells its version itself.
Layer skip_mpls_labels(Reader& reader) {
  while (const auto label = reader.take<4>()) {
    if ((label.u8<2>() & 1U) != 0) return Layer::ip_by_version;
  }
  return Layer::malformed;
}

Layer skip_ethernet(Reader& reader) {
  const auto ethernet = reader.take<kEthernetHeader>();
  return ethernet ? follow_length_or_type(ethernet.u16<12>(), reader) : Layer::malformed;
}

LinkHeader parse_link(int link_type, Reader frame) {
  const std::size_t whole = frame.left();
  LinkHeader link = parse_by_type(link_type, frame);
  link.length = whole - frame.left();
  return link;
}

}  // namespace weir
