/// What names a connection: both its ends, in an order of their own, so that both directions find the same
/// flow.
///
/// Pure. `seed` keeps strangers from choosing keys whose hashes collide.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <tuple>

#include <endian.h>

#include "config/address.hpp"
#include "estimator/host_cache.hpp"
#include "estimator/parse.hpp"

namespace weir {

struct Flow;

/// Index of an end: 0 is the first one of the key.
using End = std::uint8_t;

/// Addresses and ports are words as they lie in the header; the first end's are the lower ones.
struct FlowKey {
  std::array<std::uint64_t, 4> addresses{};  ///< IPv4: both in the first word, the others mean nothing
  std::uint32_t ports = 0;
  std::uint32_t hash = 0;
  Family family = Family::v4;
  End sender = 0;          ///< which end sent the packet
  Flow* likely = nullptr;  ///< a flow under this hash, until one is removed
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

/// What hash_of_ends multiplies with.
[[nodiscard]] inline std::uint64_t hash_factor(std::uint64_t seed) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;
  return (seed ^ kGolden) | 1U;  // odd: nobody who does not know it can make it zero
}

[[nodiscard, gnu::always_inline]] inline std::uint32_t hash_of_ends(
    const std::array<std::uint64_t, 4>& addresses, std::uint32_t ports, Family family, std::uint64_t factor) {
  std::uint64_t h = fold_product(addresses[0] ^ factor, std::rotl(factor, 32) ^ ports);
  if (family == Family::v6) [[unlikely]] {
    for (std::size_t i = 1; i < addresses.size(); ++i) h = fold_product(h ^ addresses[i], factor);
  }
  // The ports once more, behind the product: addresses that make it zero leave them.
  return static_cast<std::uint32_t>(h >> 16U) ^ ports;
}

/// All of an IPv4 key but its hash, in place, for each packet: `key` may hold an earlier one. Words with the
/// source in the lower half, as they lie in the headers.
[[gnu::always_inline]] inline void find_ends_v4(std::uint64_t addresses, std::uint32_t ports, FlowKey& key) {
  const std::uint64_t back = std::rotl(addresses, 32);
  bool turned = addresses > back;
  if (addresses == back) [[unlikely]]
    turned = ports > std::rotl(ports, 16);
  key.addresses[0] = std::rotl(addresses, turned ? 32 : 0);
  key.ports = std::rotl(ports, turned ? 16 : 0);
  key.family = Family::v4;
  key.sender = static_cast<End>(turned);
  key.likely = nullptr;
}

inline void find_ends(const PacketRecord& record, FlowKey& key) {
  const auto source = words_of(record.source);
  const auto destination = words_of(record.destination);
  const auto port_word = [](std::uint16_t port) { return std::uint32_t{le16toh(htobe16(port))}; };
  const std::uint32_t ports = port_word(record.source_port) | port_word(record.destination_port) << 16U;
  if (record.source.family == Family::v4) {
    const std::uint64_t addresses = le64toh(source[0]) | le64toh(destination[0]) << 32U;
    return find_ends_v4(addresses, ports, key);
  }
  const bool in_order =
      std::tie(source, record.source_port) <= std::tie(destination, record.destination_port);
  const auto& first = in_order ? source : destination;
  const auto& second = in_order ? destination : source;
  key.addresses = {first[0], first[1], second[0], second[1]};
  key.ports = in_order ? ports : std::rotl(ports, 16);
  key.family = Family::v6;
  key.sender = in_order ? 0 : 1;
  key.likely = nullptr;
}

[[nodiscard]] inline FlowKey key_of(const PacketRecord& record, std::uint64_t seed) {
  FlowKey key;
  find_ends(record, key);
  key.hash = hash_of_ends(key.addresses, key.ports, key.family, hash_factor(seed));
  return key;
}

/// The address of one end of an IPv4 key.
[[nodiscard]] inline IpAddress address_v4(std::uint64_t addresses, End end) {
  const std::uint32_t word = htole32(static_cast<std::uint32_t>(addresses >> (end * 32U)));
  IpAddress address;
  std::memcpy(address.bytes.data(), &word, sizeof word);
  return address;
}

}  // namespace weir
