/// A bounded table from address to value: four-way sets, the least recently used of a set gives way.
///
/// Pure, fixed memory, one allocation: strangers' addresses cannot make it grow.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "config/address.hpp"
#include "config/units.hpp"

namespace weir {

[[nodiscard]] inline std::uint64_t mix_bits(std::uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  return x ^ (x >> 32);
}

[[nodiscard]] inline std::array<std::uint64_t, 2> words_of(const IpAddress& address) {
  std::array<std::uint64_t, 2> words{};
  std::memcpy(words.data(), address.bytes.data(), sizeof words);
  return words;
}

[[nodiscard]] inline std::uint64_t hash_of(const IpAddress& address) {
  const auto words = words_of(address);
  return mix_bits(words[0] ^ mix_bits(words[1] + static_cast<std::uint64_t>(address.family)));
}

template <typename Value>
class HostCache {
 public:
  /// `capacity` is rounded up to a power of two. The memory is taken with the first entry.
  explicit HostCache(std::size_t capacity) {
    while (capacity_ < capacity) capacity_ *= 2;
  }

  [[nodiscard]] Value* find(const IpAddress& address) {
    if (entries_.empty()) return nullptr;
    Entry* set = set_of(address);
    for (std::size_t i = 0; i < kWays; ++i) {
      if (set[i].used && set[i].address == address) return &set[i].value;
    }
    return nullptr;
  }

  /// The value of `address`, fresh when it had none.
  [[nodiscard]] Value& reach(const IpAddress& address, TimePoint now) {
    if (entries_.empty()) entries_.resize(capacity_);
    Entry* set = set_of(address);
    Entry* oldest = set;
    for (std::size_t i = 0; i < kWays; ++i) {
      if (set[i].used && set[i].address == address) {
        set[i].last = now;
        return set[i].value;
      }
      if (!set[i].used || (oldest->used && set[i].last < oldest->last)) oldest = set + i;
    }
    *oldest = Entry{.address = address, .last = now, .used = true, .value = Value{}};
    return oldest->value;
  }

  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Entry& entry : entries_) {
      if (entry.used) visit(entry.address, entry.value);
    }
  }

 private:
  static constexpr std::size_t kWays = 4;
  struct Entry {
    IpAddress address;
    TimePoint last;
    bool used = false;
    Value value{};
  };
  [[nodiscard]] Entry* set_of(const IpAddress& address) {
    return &entries_[(hash_of(address) * kWays) & (entries_.size() - 1)];
  }
  std::size_t capacity_ = kWays;
  std::vector<Entry> entries_;
};

}  // namespace weir
