#include "shaper/memory.hpp"

#include <bit>
#include <variant>

namespace weir::shaper {
namespace {

constexpr std::uint64_t kClass = 2560;
constexpr std::uint64_t kQueue = 1024;
// struct fq_codel_flow, and what waits in it; both arrays have sizes that the allocator rounds up.
constexpr std::uint64_t kFlow = 64;
constexpr std::uint64_t kFlowBacklog = 4;
// Of a hash table: struct htab_elem with key and value, and its bucket.
constexpr std::uint64_t kHashEntry = 96;

std::uint64_t of_leaf(const LeafParameters& leaf) {
  const auto* fq = std::get_if<FqCodel>(&leaf);
  if (fq == nullptr) return kQueue;
  return kQueue + std::bit_ceil(std::uint64_t{fq->flows} * kFlow) +
         std::bit_ceil(std::uint64_t{fq->flows} * kFlowBacklog);
}

template <class Entries>
std::uint64_t bytes_of(const Entries& entries) {
  return entries.size() * sizeof(typename Entries::value_type);
}

}  // namespace

Bytes kernel_memory(const Tree& tree) {
  std::uint64_t sum = kQueue;
  for (const ClassSpec& spec : tree.classes) sum += kClass + (spec.leaf ? of_leaf(spec.leaf->parameters) : 0);
  return Bytes(sum);
}

Bytes kernel_memory(const ClassifierTables& tables, std::size_t processors) {
  const AddressTables& addresses = tables.addresses;
  return Bytes(bytes_of(addresses.tables) + bytes_of(addresses.slots) + bytes_of(addresses.ranges4) +
               bytes_of(addresses.ranges6) + kHashEntry * tables.fwmarks.size() + bytes_of(tables.sites) +
               bytes_of(tables.rule_verdicts) + bytes_of(tables.class_sets) + bytes_of(tables.port_pages) +
               bytes_of(tables.vectors) + processors * sizeof(weir_arrivals) * tables.arrival_slots);
}

}  // namespace weir::shaper
