/// Finds an address in the address tables as the classifier program does, and the plain way in the prefixes
/// themselves.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <tuple>

#include "shaper/address_tables.hpp"

namespace weir::shaper::test {

/// The upper or the lower half, as a number.
inline std::uint64_t half_of(const IpAddress& address, std::size_t first_byte, std::size_t count) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < count; ++i) number = number * 256 + address.bytes[first_byte + i];
  return number;
}

/// `pair`: the number of its IPv4 table.
inline std::uint32_t walk(const AddressTables& t, std::uint32_t pair, const IpAddress& address) {
  const bool v4 = address.family == Family::v4;
  const auto key = half_of(address, 0, v4 ? 4 : 8);
  const auto lower = half_of(address, 8, 8);
  const weir_address_slot* slot = nullptr;
  for (std::uint32_t level = 0; slot == nullptr || slot->ranges == 0; ++level) {
    if (level == t.index_levels) throw std::logic_error("a table too deep");
    const auto& table = t.tables.at(slot != nullptr ? slot->first : v4 ? pair : pair + 1);
    const auto number = key < table.base ? 0 : (key - table.base) >> table.shift;
    slot = &t.slots.at(table.first_slot + std::min<std::uint64_t>(number, table.slots - 1));
  }
  if (slot->ranges > 1U << t.search_steps) throw std::logic_error("a search too long");
  const auto last_of = [&](const auto& all, auto begins_behind) {
    const auto ranges = std::span(all).subspan(slot->first, slot->ranges);
    return std::prev(std::ranges::find_if(ranges, begins_behind))->value;
  };
  if (v4) return last_of(t.ranges4, [&](const weir_range4& r) { return r.start > key; });
  return last_of(t.ranges6, [&](const weir_range6& r) {
    return std::tie(r.start_upper, r.start_lower) > std::tie(key, lower);
  });
}

/// By the longest prefix around the address, the last of equal ones.
inline std::uint32_t longest_match(std::span<const PrefixValue> prefixes, const IpAddress& address) {
  std::uint32_t value = WEIR_NO_VALUE;
  int longest = -1;
  for (const auto& [prefix, its_value] : prefixes)
    if (prefix.contains(address) && prefix.length >= longest) {
      value = its_value;
      longest = prefix.length;
    }
  return value;
}

}  // namespace weir::shaper::test
