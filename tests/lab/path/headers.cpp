#include "headers.hpp"

#include <algorithm>
#include <array>

namespace weir::lab {
namespace {

constexpr std::size_t kEthernet = 14;
constexpr std::size_t kTag = 4;
constexpr std::size_t kIpv4 = 20;
constexpr std::size_t kIpv6 = 40;

[[nodiscard]] std::uint8_t byte(std::span<const std::byte> bytes, std::size_t at) {
  return std::to_integer<std::uint8_t>(bytes[at]);
}
[[nodiscard]] std::uint16_t word(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(byte(bytes, at) << 8U | byte(bytes, at + 1));
}
void put_word(std::span<std::byte> bytes, std::size_t at, std::uint16_t value) {
  bytes[at] = std::byte(value >> 8U);
  bytes[at + 1] = std::byte(value & 0xffU);
}

/// Where the IP header begins; nullopt: there is none, or not all of its fixed part.
[[nodiscard]] std::optional<std::size_t> ip_begin(std::span<const std::byte> frame) {
  std::size_t type_at = kEthernet - 2;
  if (frame.size() < kEthernet) return std::nullopt;
  for (int tags = 0; tags < 2; ++tags) {
    const std::uint16_t type = word(frame, type_at);
    if (type != 0x8100 && type != 0x88a8) break;
    type_at += kTag;
    if (frame.size() < type_at + 2) return std::nullopt;
  }
  const std::size_t at = type_at + 2;
  const std::uint16_t type = word(frame, type_at);
  if (type == 0x0800 && frame.size() >= at + kIpv4 && byte(frame, at) >> 4U == 4) return at;
  if (type == 0x86dd && frame.size() >= at + kIpv6 && byte(frame, at) >> 4U == 6) return at;
  return std::nullopt;
}

template <std::size_t N>
[[nodiscard]] std::array<std::uint8_t, N> raw(std::span<const std::byte> bytes, std::size_t at) {
  std::array<std::uint8_t, N> copy;
  std::transform(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                 bytes.begin() + static_cast<std::ptrdiff_t>(at + N), copy.begin(),
                 [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
  return copy;
}

void read_ports(std::span<const std::byte> frame, std::size_t at, Headers& h) {
  const bool has_ports = h.protocol == 6 || h.protocol == 17 || h.protocol == 132;
  if (!has_ports || frame.size() < at + 4) return;
  h.source_port = word(frame, at);
  h.destination_port = word(frame, at + 2);
}

}  // namespace

std::optional<Headers> read_headers(std::span<const std::byte> frame) {
  const auto begin = ip_begin(frame);
  if (!begin) return std::nullopt;
  const std::size_t at = *begin;
  Headers h;
  if (byte(frame, at) >> 4U == 4) {
    h.source = IpAddress::from_v4(raw<4>(frame, at + 12));
    h.destination = IpAddress::from_v4(raw<4>(frame, at + 16));
    h.protocol = byte(frame, at + 9);
    h.ecn_capable = (byte(frame, at + 1) & 3U) != 0;
    const bool first_fragment = (word(frame, at + 6) & 0x1fffU) == 0;
    const std::size_t length = 4U * (byte(frame, at) & 15U);
    if (first_fragment && length >= kIpv4) read_ports(frame, at + length, h);
  } else {
    h.source = IpAddress::from_v6(raw<16>(frame, at + 8));
    h.destination = IpAddress::from_v6(raw<16>(frame, at + 24));
    h.protocol = byte(frame, at + 6);
    h.ecn_capable = (byte(frame, at + 1) >> 4U & 3U) != 0;
    read_ports(frame, at + kIpv6, h);
  }
  return h;
}

void mark_congestion(std::span<std::byte> frame) {
  const auto begin = ip_begin(frame);
  if (!begin) return;
  const std::size_t at = *begin;
  if (byte(frame, at) >> 4U == 6) {
    frame[at + 1] |= std::byte(0x30);
    return;
  }
  const std::uint16_t before = word(frame, at);
  frame[at + 1] |= std::byte(3);
  // ~(~sum + ~before + after), carries added in again.
  std::uint32_t sum = std::uint32_t{0xffffU & ~std::uint32_t{word(frame, at + 10)}} +
                      (0xffffU & ~std::uint32_t{before}) + word(frame, at);
  while (sum > 0xffffU) sum = (sum & 0xffffU) + (sum >> 16U);
  put_word(frame, at + 10, static_cast<std::uint16_t>(~sum));
}

}  // namespace weir::lab
