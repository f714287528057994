// Frames for tests, byte by byte, from a few words that say what matters.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "config/address.hpp"
#include "config/units.hpp"
#include "estimator/estimator.hpp"
#include "estimator/parse.hpp"

namespace weir::test {

using Bytes8 = std::vector<std::byte>;

inline void put8(Bytes8& out, unsigned v) {
  out.push_back(static_cast<std::byte>(v & 0xffU));
}
inline void put16(Bytes8& out, unsigned v) {
  put8(out, v >> 8U);
  put8(out, v);
}
inline void put32(Bytes8& out, std::uint32_t v) {
  put16(out, v >> 16U);
  put16(out, v & 0xffffU);
}
inline void put_all(Bytes8& out, const Bytes8& more) {
  out.insert(out.end(), more.begin(), more.end());
}
inline void put_address(Bytes8& out, const IpAddress& a) {
  for (std::size_t i = 0; i < (a.family == Family::v4 ? 4U : 16U); ++i) put8(out, a.bytes[i]);
}

/// "45 00 00 28" -> bytes; for frames copied from a tcpdump -xx.
inline Bytes8 from_hex(std::string_view hex) {
  Bytes8 out;
  int high = -1;
  for (char c : hex) {
    const int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (v < 0) continue;
    if (high < 0) {
      high = v;
    } else {
      put8(out, static_cast<unsigned>(high * 16 + v));
      high = -1;
    }
  }
  return out;
}

inline IpAddress address(std::string_view text) {
  return *IpAddress::parse(text);
}
inline Prefix prefix(std::string_view text) {
  return *Prefix::parse(text);
}

struct TcpSpec {
  IpAddress source = address("10.1.0.1");
  IpAddress destination = address("10.20.0.1");
  std::uint16_t source_port = 40000;
  std::uint16_t destination_port = 5001;
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  unsigned flags = kTcpAck;
  std::uint16_t window = 1000;
  std::uint32_t payload = 0;  ///< bytes said to be there; a few of them follow
  unsigned traffic_class = 0;
  std::uint16_t ip_id = 0;
  std::vector<SequenceRange> sack{};
  std::uint16_t mss = 0;
  bool timestamps = false;
  std::uint32_t tsval = 0;
  std::uint32_t tsecr = 0;
  bool zero_total_length = false;  ///< as in super-packets
};

inline Bytes8 tcp_options(const TcpSpec& s) {
  Bytes8 o;
  if (s.mss != 0) {
    put8(o, 2);
    put8(o, 4);
    put16(o, s.mss);
  }
  if (s.timestamps) {
    put16(o, 0x0101);
    put8(o, 8);
    put8(o, 10);
    put32(o, s.tsval);
    put32(o, s.tsecr);
  }
  if (!s.sack.empty()) {
    put16(o, 0x0101);
    put8(o, 5);
    put8(o, static_cast<unsigned>(2 + 8 * s.sack.size()));
    for (const SequenceRange& r : s.sack) {
      put32(o, r.begin);
      put32(o, r.end);
    }
  }
  while (o.size() % 4 != 0) put8(o, 0);
  return o;
}

inline Bytes8 tcp_header(const TcpSpec& s) {
  const Bytes8 options = tcp_options(s);
  Bytes8 t;
  put16(t, s.source_port);
  put16(t, s.destination_port);
  put32(t, s.seq);
  put32(t, s.ack);
  put8(t, static_cast<unsigned>((20 + options.size()) / 4) << 4U);
  put8(t, s.flags);
  put16(t, s.window);
  put32(t, 0);
  put_all(t, options);
  return t;
}

/// The IP packet; its payload is cut after 32 bytes, as a short snap length does.
inline Bytes8 ip_packet(const TcpSpec& s) {
  const Bytes8 tcp = tcp_header(s);
  const auto tcp_bytes = static_cast<std::uint32_t>(tcp.size() + s.payload);
  Bytes8 p;
  if (s.source.family == Family::v4) {
    put8(p, 0x45);
    put8(p, s.traffic_class);
    put16(p, s.zero_total_length ? 0 : tcp_bytes + 20);
    put16(p, s.ip_id);
    put16(p, 0x4000);
    put8(p, 64);
    put8(p, 6);
    put16(p, 0);
  } else {
    put32(p, 0x60000000U | s.traffic_class << 20U);
    put16(p, s.zero_total_length ? 0 : tcp_bytes);
    put8(p, 6);
    put8(p, 64);
  }
  put_address(p, s.source);
  put_address(p, s.destination);
  put_all(p, tcp);
  for (std::uint32_t i = 0; i < std::min(s.payload, 32U); ++i) put8(p, i);
  return p;
}

inline std::uint32_t ip_length(const TcpSpec& s) {
  return static_cast<std::uint32_t>(tcp_header(s).size()) + s.payload +
         (s.source.family == Family::v4 ? 20 : 40);
}

inline Bytes8 ethernet(unsigned ethertype, const Bytes8& payload) {
  Bytes8 f;
  put32(f, 0x02000000);
  put32(f, 0x00020200);
  put32(f, 0x00000001);
  put16(f, ethertype);
  put_all(f, payload);
  return f;
}

inline Bytes8 ethernet_frame(const TcpSpec& s) {
  return ethernet(s.source.family == Family::v4 ? 0x0800 : 0x86dd, ip_packet(s));
}

inline Frame as_frame(const Bytes8& bytes, TimePoint at, std::uint32_t wire_length, int link_type = 1) {
  return {.time = at, .wire_length = wire_length, .bytes = std::span(bytes), .link_type = link_type};
}

// -- tunnels: a packet or frame of which a snap length has left less than it says it has --

struct Packet {
  Bytes8 bytes;              ///< what is there of it
  std::uint32_t length = 0;  ///< on the wire
};

inline Packet tcp_packet(const TcpSpec& s) {
  return {.bytes = ip_packet(s), .length = ip_length(s)};
}

inline Packet behind(Bytes8 header, const Packet& packet) {
  const auto length = static_cast<std::uint32_t>(header.size()) + packet.length;
  put_all(header, packet.bytes);
  return {.bytes = std::move(header), .length = length};
}
inline Packet behind(std::string_view hex, const Packet& packet) {
  return behind(from_hex(hex), packet);
}
inline Packet behind_ethernet(unsigned ethertype, const Packet& packet) {
  return behind(ethernet(ethertype, {}), packet);
}

struct OuterSpec {
  IpAddress source = address("192.0.2.1");
  IpAddress destination = address("198.51.100.9");
  unsigned traffic_class = 0;
  std::uint16_t ip_id = 0;
  bool zero_total_length = false;
};

/// `payload` in an IP packet of this protocol.
inline Packet in_ip(const OuterSpec& o, unsigned protocol, const Packet& payload) {
  Bytes8 h;
  if (o.source.family == Family::v4) {
    put16(h, 0x4500U | o.traffic_class);
    put16(h, o.zero_total_length ? 0 : payload.length + 20);
    put16(h, o.ip_id);
    put16(h, 0x4000);
    put8(h, 64);
    put8(h, protocol);
    put16(h, 0);
  } else {
    put32(h, 0x60000000U | o.traffic_class << 20U);
    put16(h, o.zero_total_length ? 0 : payload.length);
    put8(h, protocol);
    put8(h, 64);
  }
  put_address(h, o.source);
  put_address(h, o.destination);
  return behind(std::move(h), payload);
}

/// GRE with `fields` (checksum, key, sequence number) as its `bits` say.
inline Packet in_gre(unsigned bits, std::string_view fields, unsigned type, const Packet& payload) {
  Bytes8 h;
  put16(h, bits);
  put16(h, type);
  put_all(h, from_hex(fields));
  return behind(std::move(h), payload);
}

inline Packet in_udp(unsigned port, const Packet& payload) {
  Bytes8 h;
  put16(h, 55555);
  put16(h, port);
  put16(h, payload.length + 8);
  put16(h, 0);
  return behind(std::move(h), payload);
}

/// `frame`, an Ethernet frame, in network 42 of a VXLAN.
inline Packet in_vxlan(const Packet& frame, unsigned port = 4789) {
  return in_udp(port, behind("08000000 00002a00", frame));
}

inline Frame as_frame(const Packet& packet, TimePoint at, int link_type = 1) {
  return as_frame(packet.bytes, at, packet.length, link_type);
}

inline TimePoint at_ms(double ms) {
  return TimePoint(Duration(static_cast<std::int64_t>(ms * 1e6) + 1'000'000'000));
}

}  // namespace weir::test
