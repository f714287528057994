/// Prefixes as tables in which the classifier finds an address: disjoint ranges in order, and an index into
/// them.
///
///     prefixes  10.0.0.0/8 -> 1, 10.20.0.0/16 -> 2      (the longest one around an address counts)
///     ranges    0.0.0.0 -> none | 10.0.0.0 -> 1 | 10.20.0.0 -> 2 | 10.21.0.0 -> 1 | 11.0.0.0 -> none
///     slots     equal parts of what lies between the first and the last prefix, each with the ranges in it
///
/// A slot in which many ranges crowd (10/8 beside a few public addresses, two providers' IPv6 blocks) is cut
/// up likewise, by what lies between its own first and last one. A look-up is a slot, seldom two, and a
/// binary search over a few ranges, where the kernel's longest-prefix trie waits for memory at each of its
/// nodes: an index before the search, as Lampson, Srinivasan, Varghese: IP lookups using multiway and
/// multicolumn search (INFOCOM 1998), have it. Pure. The program's view of these tables is
/// bpf/classifier_layout.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "config/address.hpp"
#include "shaper/bpf/classifier_layout.h"

namespace weir::shaper {

struct PrefixValue {
  Prefix prefix;
  std::uint32_t value = 0;
};

/// Any number of them, one after another in common arrays.
struct AddressTables {
  std::vector<weir_address_table> tables;  ///< in pairs, IPv4's and IPv6's, and those within them
  std::vector<weir_address_slot> slots;
  std::vector<weir_range4> ranges4;
  std::vector<weir_range6> ranges6;
  std::uint32_t index_levels = 0;  ///< tables within one another, at most
  std::uint32_t search_steps = 0;  ///< that the longest search takes
};

/// Appends a pair of tables and returns the number of its first. An address of no prefix has WEIR_NO_VALUE;
/// of equal prefixes the last counts. A prefix takes at most two ranges, and a table has a slot for two of
/// its ranges. Throws std::system_error when a table would have more than 2^WEIR_MAX_SEARCH_STEPS ranges:
/// what a policy may list (a million prefixes) always fits.
std::uint32_t add_address_tables(AddressTables& to, std::span<const PrefixValue> prefixes);

}  // namespace weir::shaper
