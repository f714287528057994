/// What names a connection: both its ends, the smaller one first, so that both directions find the same flow.
///
/// Pure. `seed` keeps strangers from choosing keys whose hashes collide.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <tuple>

#include "config/address.hpp"
#include "estimator/host_cache.hpp"
#include "estimator/parse.hpp"

namespace weir {

struct Flow;

/// Index of an end: 0 is the smaller one of the key.
using End = std::uint8_t;

struct FlowKey {
  std::array<std::uint64_t, 4> addresses{};  ///< IPv4: both in the first word, the others mean nothing
  std::uint32_t ports = 0;
  std::uint32_t hash = 0;
  Family family = Family::v4;
  End sender = 0;           ///< which end sent the packet
  Flow* likely = nullptr;   ///< a flow under this hash
  std::uint64_t as_of = 0;  ///< ... as long as so many were removed
  [[nodiscard]] bool same_connection(const FlowKey& other) const {
    if (ports != other.ports || family != other.family) return false;
    return family == Family::v4 ? addresses[0] == other.addresses[0] : addresses == other.addresses;
  }
};

/// Both halves of the product folded: every bit of either factor reaches every bit of it.
[[nodiscard]] inline std::uint64_t fold_product(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{a} * b;
  return static_cast<std::uint64_t>(product ^ product >> 64U);
}

[[nodiscard, gnu::always_inline]] inline std::uint32_t hash_of_ends(
    const std::array<std::uint64_t, 4>& addresses, std::uint32_t ports, Family family, std::uint64_t seed) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;
  const std::uint64_t factor = (seed ^ kGolden) | 1U;  // odd: nobody who does not know it can make it zero
  // The ports come in behind the product: addresses that make it zero leave them.
  std::uint64_t h = fold_product(addresses[0] ^ factor, factor ^ std::uint64_t{ports} << 1U) ^ ports;
  if (family == Family::v6) [[unlikely]] {
    for (std::size_t i = 1; i < addresses.size(); ++i) h = fold_product(h ^ addresses[i], factor);
  }
  return static_cast<std::uint32_t>(fold_product(h ^ seed, factor) >> 16U);
}

/// All of a key but its hash, in place, for each packet: `key` may hold an earlier one.
[[gnu::always_inline]] inline void find_ends_v4(const PacketRecord& record, FlowKey& key) {
  const auto word = [](const IpAddress& address) {
    std::uint32_t w = 0;
    std::memcpy(&w, address.bytes.data(), sizeof w);
    return std::uint64_t{w};
  };
  const std::uint64_t from = word(record.source) << 16U | record.source_port;
  const std::uint64_t to = word(record.destination) << 16U | record.destination_port;
  // Without a branch: nobody can foretell which way the next packet goes.
  const std::uint64_t turned = from > to ? 1 : 0;
  const std::uint64_t differing = (from ^ to) & (0 - turned);
  const std::uint64_t first = from ^ differing;
  const std::uint64_t second = to ^ differing;
  key.addresses[0] = first >> 16U << 32U | second >> 16U;
  key.ports = static_cast<std::uint32_t>(first << 16U | (second & 0xffffU));
  key.family = Family::v4;
  key.sender = static_cast<End>(turned);
  key.likely = nullptr;
}

inline void find_ends(const PacketRecord& record, FlowKey& key) {
  if (record.source.family == Family::v4) return find_ends_v4(record, key);
  const auto source = words_of(record.source);
  const auto destination = words_of(record.destination);
  const bool in_order =
      std::tie(source, record.source_port) <= std::tie(destination, record.destination_port);
  const auto& first = in_order ? source : destination;
  const auto& second = in_order ? destination : source;
  key.addresses = {first[0], first[1], second[0], second[1]};
  key.ports = in_order ? std::uint32_t{record.source_port} << 16U | record.destination_port
                       : std::uint32_t{record.destination_port} << 16U | record.source_port;
  key.family = Family::v6;
  key.sender = in_order ? 0 : 1;
  key.likely = nullptr;
}

[[nodiscard]] inline FlowKey key_of(const PacketRecord& record, std::uint64_t seed) {
  FlowKey key;
  find_ends(record, key);
  key.hash = hash_of_ends(key.addresses, key.ports, key.family, seed);
  return key;
}

}  // namespace weir
