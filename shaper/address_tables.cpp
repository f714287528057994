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

/// A search that finds all in one slot must end in time.
void refuse_long_search(std::size_t ranges) {
  if (ranges <= std::size_t{1} << unsigned{WEIR_MAX_SEARCH_STEPS}) return;
  throw std::system_error(std::make_error_code(std::errc::argument_list_too_long),
                          "the prefixes make " + std::to_string(ranges) +
                              " ranges of addresses; the classifier takes " +
                              std::to_string(1U << unsigned{WEIR_MAX_SEARCH_STEPS}));
}

/// Makes tables of the pieces of one family, whose ranges stand from `first_range` on.
template <typename Address>
class Index {
 public:
  Index(AddressTables& to, const std::vector<Piece<Address>>& pieces, std::size_t first_range)
      : to_(to), pieces_(pieces), first_range_(first_range) {}

  void make(std::uint32_t table) { cut(table, 0, pieces_.size(), 1); }

 private:
  /// More than these in a slot are worth another table: four steps of the search.
  static constexpr std::size_t kMostInSlot = 16;

  [[nodiscard]] std::uint64_t key(std::size_t piece) const { return pieces_[piece].start.key(); }

  static std::uint32_t slot_of(const weir_address_table& table, std::uint64_t key) {
    if (key < table.base) return 0;
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>((key - table.base) >> table.shift, table.slots - 1));
  }

  /// Slots for what lies between the second piece, since the first may begin with the first address there is,
  /// and the last. As many as half the pieces: fewer and the searches get longer, more and most are empty.
  [[nodiscard]] weir_address_table spread_slots(std::size_t first, std::size_t end) const {
    const std::uint64_t most = std::max<std::uint64_t>((end - first) / 2, 1);
    const std::uint64_t base = key(std::min(first + 1, end - 1));
    const std::uint64_t span = key(end - 1) - base;
    std::uint32_t shift = 0;
    while (shift < 63 && span >> shift >= most) ++shift;
    return {.base = base,
            .shift = shift,
            .slots = static_cast<std::uint32_t>(std::min(most, (span >> shift) + 1)),
            .first_slot = static_cast<std::uint32_t>(to_.slots.size()),
            .unused = 0};
  }

  /// Makes this table of the pieces [first, end).
  void cut(std::uint32_t number, std::size_t first, std::size_t end, std::uint32_t level) {
    const weir_address_table table = spread_slots(first, end);
    to_.tables[number] = table;
    to_.slots.resize(table.first_slot + table.slots);
    to_.index_levels = std::max(to_.index_levels, level);
    std::size_t next = first;
    for (std::uint32_t slot = 0; slot < table.slots; ++slot) {
      std::size_t from = next;
      while (next < end && slot_of(table, key(next)) == slot) ++next;
      // What holds the slot's first address may have begun before it.
      const auto begin = Address::lowest(table.base + (std::uint64_t{slot} << table.shift));
      if (slot > 0 && (from == next || pieces_[from].start != begin)) --from;
      to_.slots[table.first_slot + slot] = filled(from, next, level);
    }
  }

  weir_address_slot filled(std::size_t from, std::size_t end, std::uint32_t level) {
    const std::size_t count = end - from;
    if (count > kMostInSlot && level < WEIR_MAX_INDEX_LEVELS && key(from + 1) != key(end - 1)) {
      const auto number = static_cast<std::uint32_t>(to_.tables.size());
      to_.tables.emplace_back();
      cut(number, from, end, level + 1);
      return {.first = number, .ranges = 0};
    }
    to_.search_steps = std::max(to_.search_steps, static_cast<std::uint32_t>(std::bit_width(count - 1)));
    return {.first = static_cast<std::uint32_t>(first_range_ + from),
            .ranges = static_cast<std::uint32_t>(count)};
  }

  AddressTables& to_;
  const std::vector<Piece<Address>>& pieces_;
  std::size_t first_range_;
};

template <typename Address>
void add_table(AddressTables& to, std::uint32_t number, std::vector<typename Address::Range>& ranges,
               std::span<const PrefixValue> prefixes) {
  const auto pieces = pieces_of<Address>(prefixes);
  refuse_long_search(pieces.size());
  const auto first_range = ranges.size();
  for (const auto& [start, value] : pieces) ranges.push_back(start.range(value));
  Index<Address>(to, pieces, first_range).make(number);
}

}  // namespace

std::uint32_t add_address_tables(AddressTables& to, std::span<const PrefixValue> prefixes) {
  const auto number = static_cast<std::uint32_t>(to.tables.size());
  to.tables.resize(number + 2);
  add_table<Address4>(to, number, to.ranges4, prefixes);
  add_table<Address6>(to, number + 1, to.ranges6, prefixes);
  return number;
}

}  // namespace weir::shaper
