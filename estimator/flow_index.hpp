/// From the hash of a connection's key to the numbers of flows that may be it.
///
/// Pure, not thread-safe. Open addressing with linear probing, half full at most (a quarter while it is
/// small: most look-ups end at the first entry then), and deletion by moving back (Knuth, The Art of Computer
/// Programming 6.4, algorithm R): eight bytes an entry, so that a probe stays in the cache line that
/// `prefetch` asked for. It does not know keys: the caller compares. Hashes have to be seeded where strangers
/// choose the keys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "estimator/mapped_pages.hpp"

namespace weir {

class FlowIndex {
 public:
  using Number = std::uint32_t;
  static constexpr Number kNone = 0xffffffff;

  FlowIndex() { resize(kLeastEntries); }

  [[gnu::always_inline]] void prefetch(std::uint32_t hash) const {
    __builtin_prefetch(&entries_[hash & mask()]);
  }

  /// The first number under `hash` that `matches(number)`; kNone without one.
  template <typename Matches>
  [[nodiscard]] Number find(std::uint32_t hash, Matches&& matches) const {
    for (std::size_t at = hash & mask(); entries_[at].number != kNone; at = (at + 1) & mask()) {
      if (entries_[at].hash == hash && matches(entries_[at].number)) return entries_[at].number;
    }
    return kNone;
  }
  void insert(std::uint32_t hash, Number number) {
    const std::size_t spare = capacity() < kLarge ? 4 : 2;
    if ((size_ + 1) * spare > capacity()) resize(capacity() * 2);
    put({hash, number});
    ++size_;
  }
  /// The pair has to be there.
  void erase(std::uint32_t hash, Number number) {
    std::size_t gap = hash & mask();
    while (entries_[gap].number != number) gap = (gap + 1) & mask();
    for (std::size_t at = (gap + 1) & mask(); entries_[at].number != kNone; at = (at + 1) & mask()) {
      const std::size_t home = entries_[at].hash & mask();
      if (((at - home) & mask()) < ((at - gap) & mask())) continue;  // it stands between its home and the gap
      entries_[gap] = entries_[at];
      gap = at;
    }
    entries_[gap] = {};
    --size_;
    if (capacity() > kLeastEntries && size_ * 16 < capacity()) resize(capacity() / 4);
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t bytes_held() const { return capacity() * sizeof(Entry); }

 private:
  struct Entry {
    std::uint32_t hash = 0;
    Number number = kNone;
  };
  static constexpr std::size_t kLeastEntries = 1024;
  static constexpr std::size_t kLarge = std::size_t{1} << 18U;

  [[nodiscard]] std::size_t mask() const { return mask_; }
  void put(Entry entry) {
    std::size_t at = entry.hash & mask();
    while (entries_[at].number != kNone) at = (at + 1) & mask();
    entries_[at] = entry;
  }
  void resize(std::size_t to) {
    const std::size_t before = capacity();
    MappedPages old = std::exchange(pages_, map_pages(to * sizeof(Entry)));
    const Entry* const from = std::exchange(entries_, reinterpret_cast<Entry*>(pages_.get()));
    std::uninitialized_fill_n(entries_, to, Entry{});
    mask_ = to - 1;
    for (std::size_t i = 0; old && i < before; ++i) {
      if (from[i].number != kNone) put(from[i]);
    }
  }
  [[nodiscard]] std::size_t capacity() const { return mask_ + 1; }

  MappedPages pages_;
  Entry* entries_ = nullptr;  ///< in them
  std::size_t mask_ = 0;
  std::size_t size_ = 0;
};

}  // namespace weir
