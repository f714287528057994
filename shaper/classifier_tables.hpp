/// What the classifier's kernel tables must hold for a policy. Pure: no sockets, no descriptors, no clock.
///
/// The program's own view of these tables is bpf/classifier_layout.h; how a rule becomes a bit and a field a
/// vector of them is explained in docs/CLASSIFIER.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "config/policy.hpp"
#include "shaper/address_tables.hpp"
#include "shaper/bpf/classifier_layout.h"
#include "shaper/class_ids.hpp"

namespace weir::shaper {

struct ClassifierTables {
  struct Fwmark {
    weir_fwmark_key key;
    std::uint32_t vector;
  };

  bool by_source = false;   ///< a packet is of the site that it comes from
  AddressTables addresses;  ///< whose values number sites, or, for rules, vectors
  std::vector<weir_site>
      sites;  ///< in the policy's order; of a site whose subnets are classes, each of these
  std::uint32_t arrival_slots = WEIR_ARRIVALS_FIRST_SITE;
  std::vector<weir_verdict> rule_verdicts;
  std::vector<weir_class_set> class_sets;  ///< in the policy's order
  std::vector<Fwmark> fwmarks;
  std::vector<weir_port_page> port_pages;  ///< never empty: page 0
  std::uint32_t words = 1;                 ///< 64-bit words of one vector
  std::vector<std::uint64_t> vectors;      ///< one after the other, `words` each; never empty: vector 0

  [[nodiscard]] std::size_t vector_count() const { return vectors.size() / words; }
  [[nodiscard]] std::span<const std::uint64_t> vector(std::uint32_t number) const {
    return std::span(vectors).subspan(std::size_t{number} * words, words);
  }
};

/// Counters there may be: one for each rule of each site, on every processor.
inline constexpr std::uint32_t kMostArrivalSlots = 262'144;

/// Throws std::system_error when a class set has more match entries than the program can take
/// (WEIR_MAX_RULES; the message names the set), when all sites have more rules than can be counted, when more
/// prefixes lie close together than add_address_tables takes, or when `ids` is not of this policy.
[[nodiscard]] ClassifierTables build_tables(const Policy& policy, const ClassIds& ids);

/// The first arrivals slot of each site; at the end, how many slots there are.
[[nodiscard]] std::vector<std::uint32_t> arrival_slots(const Policy& policy);

/// A number for the content: equal tables give equal numbers, different ones different numbers but for chance
/// (64 bits). `seed` takes in what else decides what the kernel holds.
[[nodiscard]] std::uint64_t content_hash(const ClassifierTables& tables, std::uint64_t seed);
/// The same function over plain bytes.
[[nodiscard]] std::uint64_t content_hash(std::span<const std::byte> bytes, std::uint64_t seed);

}  // namespace weir::shaper
