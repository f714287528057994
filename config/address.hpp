/// IP addresses and prefixes, IPv4 and IPv6 in one type.
///
/// Pure values. Parsing returns nullopt for anything that is not exactly an address or prefix.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace weir {

enum class Family : std::uint8_t { v4 = 4, v6 = 6 };

/// 16 bytes in network order; an IPv4 address occupies the first four, the rest are zero.
struct IpAddress {
  Family family = Family::v4;
  std::array<std::uint8_t, 16> bytes{};

  [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text);
  [[nodiscard]] static IpAddress from_v4(std::span<const std::uint8_t, 4> raw);
  [[nodiscard]] static IpAddress from_v6(std::span<const std::uint8_t, 16> raw);
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] int width() const { return family == Family::v4 ? 32 : 128; }
  auto operator<=>(const IpAddress&) const = default;
};

/// An address block. Invariant of a parsed prefix: the bits behind `length` are zero.
struct Prefix {
  IpAddress address;
  std::uint8_t length = 0;

  enum class Fault : std::uint8_t { none, not_an_address, length_out_of_range, host_bits_set };
  /// Parses "10.0.0.0/8" or a bare address (a host prefix). On a fault returns nullopt and says which in
  /// `*fault`; with host_bits_set `*mended` (when given) receives the prefix that was probably meant.
  [[nodiscard]] static std::optional<Prefix> parse(std::string_view text, Fault* fault = nullptr,
                                                   Prefix* mended = nullptr);
  [[nodiscard]] bool contains(const IpAddress& a) const;
  [[nodiscard]] bool contains(const Prefix& other) const;
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const Prefix&) const = default;
};

}  // namespace weir
