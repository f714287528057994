/// Prefixes that nest, touch, repeat and reach the ends of the address space, and the addresses at their
/// edges.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include "shaper/address_tables.hpp"

namespace weir::shaper::test {

class RandomPrefixes {
 public:
  explicit RandomPrefixes(std::uint32_t seed) : engine_(seed) {}

  /// `values`: how many different ones there are, so that neighbours also have the same.
  std::vector<PrefixValue> make(std::size_t count, std::uint32_t values) {
    std::vector<PrefixValue> all;
    while (all.size() < count) {
      const auto& before = all.empty() ? PrefixValue{} : all[below(static_cast<std::uint32_t>(all.size()))];
      all.push_back({.prefix = next_to(before.prefix, all.empty()), .value = below(values)});
    }
    return all;
  }

  IpAddress address(Family family) {
    IpAddress out{.family = family, .bytes = {}};
    for (std::size_t i = 0; i < width(family) / 8; ++i)
      out.bytes[i] = static_cast<std::uint8_t>(below(4) == 0 ? below(256) : below(2) * 255);
    return out;
  }

  /// The first and the last address of a prefix, the ones beside them and one within.
  std::vector<IpAddress> edges(const Prefix& prefix) {
    const auto first = prefix.address;
    auto last = first, within = address(first.family);
    for (std::size_t bit = 0; bit < width(first.family); ++bit) {
      const auto mask = static_cast<std::uint8_t>(0x80U >> bit % 8);
      if (bit >= prefix.length) {
        last.bytes[bit / 8] |= mask;
      } else {
        within.bytes[bit / 8] =
            static_cast<std::uint8_t>((within.bytes[bit / 8] & ~mask) | (first.bytes[bit / 8] & mask));
      }
    }
    return {first, last, stepped(first, -1), stepped(last, 1), within};
  }

  std::uint32_t below(std::uint32_t n) {
    return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(engine_);
  }

 private:
  static std::size_t width(Family family) { return family == Family::v4 ? 32 : 128; }

  static Prefix cut(IpAddress address, std::size_t length) {
    for (std::size_t bit = length; bit < width(address.family); ++bit)
      address.bytes[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> bit % 8));
    return {.address = address, .length = static_cast<std::uint8_t>(length)};
  }

  /// Goes round at the ends.
  static IpAddress stepped(IpAddress address, int by) {
    for (std::size_t i = width(address.family) / 8; i-- > 0;) {
      address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] + by);
      if (address.bytes[i] != (by > 0 ? 0 : 255)) break;
    }
    return address;
  }

  /// One around or within an earlier one, the one behind it, the same once more, or any.
  Prefix next_to(const Prefix& before, bool is_first) {
    const auto family = before.address.family;
    const auto bits = static_cast<std::uint32_t>(width(family));
    switch (is_first ? 9 : below(10)) {
      case 0:
        return before;
      case 1:
        return cut(before.address, below(before.length + 1U));
      case 2:
      case 3:
        return cut(edges(before).back(), before.length + below(bits - before.length + 1U));
      case 4:
      case 5:
        return cut(edges(before)[3], before.length);
      default: {
        const auto any = address(below(2) == 0 ? Family::v4 : Family::v6);
        return cut(any, below(static_cast<std::uint32_t>(width(any.family)) + 1U));
      }
    }
  }

  std::mt19937 engine_;
};

}  // namespace weir::shaper::test
