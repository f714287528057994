/// What names a connection: both its ends, the smaller one first, so that both directions find the same flow.
///
/// Pure. `seed` keeps strangers from choosing keys whose hashes collide.
#pragma once

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
  std::array<std::uint64_t, 4> addresses{};  ///< IPv4: both in the first word
  std::uint32_t ports = 0;
  std::uint32_t hash = 0;
  Family family = Family::v4;
  End sender = 0;           ///< which end sent the packet
  Flow* likely = nullptr;   ///< a flow under this hash
  std::uint64_t as_of = 0;  ///< ... as long as so many were removed
  [[nodiscard]] bool same_connection(const FlowKey& other) const {
    return addresses == other.addresses && ports == other.ports && family == other.family;
  }
};

/// Both halves of the product folded: every bit of either factor reaches every bit of it.
[[nodiscard]] inline std::uint64_t fold_product(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{a} * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

[[nodiscard]] inline std::uint32_t hash_of_ends(const std::array<std::uint64_t, 4>& addresses,
                                                std::uint32_t ports, Family family, std::uint64_t seed) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;
  const std::uint64_t factor = (seed ^ kGolden) | 1U;  // odd: nobody who does not know it can make it zero
  // The ports come in behind the product: addresses that make it zero leave them.
  std::uint64_t h = fold_product(addresses[0] ^ factor, factor ^ std::uint64_t{ports} << 1U) ^ ports;
  if (family == Family::v6) {
    for (std::size_t i = 1; i < addresses.size(); ++i) h = fold_product(h ^ addresses[i], factor);
  }
  return static_cast<std::uint32_t>(fold_product(h ^ seed, factor) >> 16U);
}

/// In place, for each packet: `key` may hold an earlier one.
inline void find_key(const PacketRecord& record, std::uint64_t seed, FlowKey& key) {
  key.family = record.source.family;
  key.likely = nullptr;
  bool in_order = true;
  if (key.family == Family::v4) {
    const auto word = [](const IpAddress& address) {
      std::uint32_t w = 0;
      std::memcpy(&w, address.bytes.data(), sizeof w);
      return std::uint64_t{w};
    };
    const std::uint64_t source = word(record.source);
    const std::uint64_t destination = word(record.destination);
    in_order = (source << 16U | record.source_port) <= (destination << 16U | record.destination_port);
    key.addresses = {in_order ? source << 32U | destination : destination << 32U | source, 0, 0, 0};
  } else {
    const auto source = words_of(record.source);
    const auto destination = words_of(record.destination);
    in_order = std::tie(source, record.source_port) <= std::tie(destination, record.destination_port);
    const auto& first = in_order ? source : destination;
    const auto& second = in_order ? destination : source;
    key.addresses = {first[0], first[1], second[0], second[1]};
  }
  key.sender = in_order ? 0 : 1;
  key.ports = in_order ? std::uint32_t{record.source_port} << 16U | record.destination_port
                       : std::uint32_t{record.destination_port} << 16U | record.source_port;
  key.hash = hash_of_ends(key.addresses, key.ports, key.family, seed);
}

[[nodiscard]] inline FlowKey key_of(const PacketRecord& record, std::uint64_t seed) {
  FlowKey key;
  find_key(record, seed, key);
  return key;
}

}  // namespace weir
