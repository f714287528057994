#include "shaper/address_tables.hpp"

#include <algorithm>
#include <bit>
#include <compare>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace weir::shaper {
namespace {

constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};

std::uint64_t big_endian(std::span<const std::uint8_t> bytes) {
  std::uint64_t number = 0;
  for (const std::uint8_t byte : bytes) number = number << 8U | byte;
  return number;
}

/// What the two families differ in: an address as a number, in the order of addresses.
struct Address4 {
  using Range = weir_range4;
  static constexpr Family kFamily = Family::v4;

  std::uint32_t number = 0;
  auto operator<=>(const Address4&) const = default;

  static Address4 of(const IpAddress& address) {
    return {static_cast<std::uint32_t>(big_endian(std::span(address.bytes).first<4>()))};
  }
  /// Where a prefix that begins here ends.
  [[nodiscard]] Address4 last(unsigned length) const {
    return {number | static_cast<std::uint32_t>(std::uint64_t{0xffffffffU} >> length)};
  }
  [[nodiscard]] std::optional<Address4> next() const {
    if (number == 0xffffffffU) return std::nullopt;
    return Address4{number + 1};
  }
  /// What slots are equal parts of.
  [[nodiscard]] std::uint64_t key() const { return number; }
  static Address4 lowest(std::uint64_t key) { return {static_cast<std::uint32_t>(key)}; }
  [[nodiscard]] weir_range4 range(std::uint32_t value) const { return {.start = number, .value = value}; }
};

struct Address6 {
  using Range = weir_range6;
  static constexpr Family kFamily = Family::v6;

  std::uint64_t upper = 0;
  std::uint64_t lower = 0;
  auto operator<=>(const Address6&) const = default;

  static Address6 of(const IpAddress& address) {
    return {big_endian(std::span(address.bytes).first<8>()), big_endian(std::span(address.bytes).last<8>())};
  }
  [[nodiscard]] Address6 last(unsigned length) const {
    return {upper | (length < 64 ? kAllOnes >> length : 0),
            lower | (length <= 64   ? kAllOnes
                     : length < 128 ? kAllOnes >> (length - 64)
                                    : 0)};
  }
  [[nodiscard]] std::optional<Address6> next() const {
    if (lower != kAllOnes) return Address6{upper, lower + 1};
    if (upper != kAllOnes) return Address6{upper + 1, 0};
    return std::nullopt;
  }
  /// A /64 is the smallest network there is (RFC 4291, 2.5.4): what differs behind it is left to the search.
  [[nodiscard]] std::uint64_t key() const { return upper; }
  static Address6 lowest(std::uint64_t key) { return {key, 0}; }
  [[nodiscard]] weir_range6 range(std::uint32_t value) const {
    return {.start_upper = upper, .start_lower = lower, .value = value, .unused = 0};
  }
};

template <typename Address>
struct Piece {
  Address start;
  std::uint32_t value;
};

/// Ranges that follow one another from the first address on; neighbours differ in their value.
template <typename Address>
class Pieces {
 public:
  /// From `start` on, which is never below an earlier one, addresses have `value`, until something else is
  /// said.
  void from(Address start, std::uint32_t value) {
    if (pieces_.back().start == start) pieces_.pop_back();
    if (pieces_.empty() || pieces_.back().value != value) pieces_.push_back({start, value});
  }
  [[nodiscard]] std::vector<Piece<Address>> take() { return std::move(pieces_); }

 private:
  std::vector<Piece<Address>> pieces_{{Address{}, WEIR_NO_VALUE}};
};

template <typename Address>
std::vector<Piece<Address>> pieces_of(std::span<const PrefixValue> prefixes) {
  struct Block {
    Address first;
    Address last;
    std::uint32_t value;
  };
  std::vector<Block> blocks;
  for (const auto& [prefix, value] : prefixes) {
    if (prefix.address.family != Address::kFamily) continue;
    const auto first = Address::of(prefix.address);
    blocks.push_back({first, first.last(prefix.length), value});
  }
  // The outer ones first; of equal ones the last is the innermost.
  std::ranges::stable_sort(blocks, [](const Block& a, const Block& b) {
    return a.first != b.first ? a.first < b.first : b.last < a.last;
  });
  Pieces<Address> pieces;
  std::vector<Block> around;
  const auto leave_innermost = [&] {
    const auto behind = around.back().last.next();
    around.pop_back();
    if (behind) pieces.from(*behind, around.empty() ? std::uint32_t{WEIR_NO_VALUE} : around.back().value);
  };
  for (const Block& block : blocks) {
    while (!around.empty() && around.back().last < block.first) leave_innermost();
    pieces.from(block.first, block.value);
    around.push_back(block);
  }
  while (!around.empty()) leave_innermost();
  return pieces.take();
}

std::uint32_t slot_of(const weir_address_table& table, std::uint64_t key) {
  if (key < table.base) return 0;
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>((key - table.base) >> table.shift, table.slots - 1));
}

/// Slots for what lies between the second range, since the first begins with the first address there is, and
/// the last. As many as half the ranges: fewer and the searches get longer, more and most are empty.
weir_address_table spread_slots(std::uint64_t first, std::uint64_t last, std::size_t ranges) {
  const std::uint64_t most = std::max<std::uint64_t>(ranges / 2, 1);
  const std::uint64_t span = last - first;
  std::uint32_t shift = 0;
  while (shift < 63 && span >> shift >= most) ++shift;
  return {.base = first,
          .shift = shift,
          .slots = static_cast<std::uint32_t>(std::min(most, (span >> shift) + 1)),
          .first_slot = 0,
          .unused = 0};
}

/// A search that finds all in one slot must end in time.
void refuse_long_search(std::size_t ranges) {
  if (ranges <= std::size_t{1} << unsigned{WEIR_MAX_SEARCH_STEPS}) return;
  throw std::system_error(std::make_error_code(std::errc::argument_list_too_long),
                          "the prefixes make " + std::to_string(ranges) +
                              " ranges of addresses; the classifier takes " +
                              std::to_string(1U << unsigned{WEIR_MAX_SEARCH_STEPS}));
}

template <typename Address>
void add_table(AddressTables& to, std::vector<typename Address::Range>& ranges,
               std::span<const PrefixValue> prefixes) {
  const auto pieces = pieces_of<Address>(prefixes);
  refuse_long_search(pieces.size());
  const auto first_range = ranges.size();
  for (const auto& [start, value] : pieces) ranges.push_back(start.range(value));

  weir_address_table table = spread_slots(pieces[std::min<std::size_t>(1, pieces.size() - 1)].start.key(),
                                          pieces.back().start.key(), pieces.size());
  table.first_slot = static_cast<std::uint32_t>(to.slots.size());
  std::size_t next = 0;
  for (std::uint32_t slot = 0; slot < table.slots; ++slot) {
    std::size_t first = next;
    while (next < pieces.size() && slot_of(table, pieces[next].start.key()) == slot) ++next;
    // What holds the slot's first address may have begun before it.
    const auto begin = Address::lowest(table.base + (std::uint64_t{slot} << table.shift));
    if (slot > 0 && (first == next || pieces[first].start != begin)) --first;
    const auto count = static_cast<std::uint32_t>(next - first);
    to.slots.push_back({.first_range = static_cast<std::uint32_t>(first_range + first), .ranges = count});
    to.search_steps = std::max(to.search_steps, static_cast<std::uint32_t>(std::bit_width(count - 1)));
  }
  to.tables.push_back(table);
}

}  // namespace

std::uint32_t add_address_tables(AddressTables& to, std::span<const PrefixValue> prefixes) {
  const auto number = static_cast<std::uint32_t>(to.tables.size());
  add_table<Address4>(to, to.ranges4, prefixes);
  add_table<Address6>(to, to.ranges6, prefixes);
  return number;
}

}  // namespace weir::shaper
