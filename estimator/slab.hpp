/// Objects of one type under small numbers, in one range of addresses whose memory comes and goes with the
/// need, in chunks.
///
/// Pure, not thread-safe. A number stays valid, and its object in place, until it is released. The lowest
/// free number is given out first (but for acquire_again), so that chunks empty from the end and their memory
/// returns. At most `limit` objects: what strangers' packets can grow is bounded.
///
/// It is mapped pages, not malloc's: after a flood that would keep most of what it was given back, under
/// whatever was allocated later. Addresses for `limit` objects are taken at once, so that a number is an
/// object in one step.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "estimator/mapped_pages.hpp"

namespace weir {

template <typename T, std::size_t kChunk = 1024>
class Slab {
 public:
  using Number = std::uint32_t;
  static_assert(kChunk % 64 == 0 && std::has_single_bit(kChunk));

  explicit Slab(std::size_t limit)
      : limit_(limit),
        pages_(reserve_pages((limit / kChunk + 1) * kChunkBytes)),
        cells_(reinterpret_cast<Cell*>(pages_.get())) {}
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() {
    for (Number n = 0; n < numbers(); ++n) {
      if (is_taken(n)) release(n);
    }
  }

  /// A number whose object is freshly made of `arguments`; nullopt: `limit` objects are out.
  template <typename... Arguments>
  [[nodiscard]] std::optional<Number> acquire(Arguments&&... arguments) {
    if (size_ >= limit_) return std::nullopt;
    const std::size_t chunk = chunk_with_room();
    const auto number = static_cast<Number>(chunk * kChunk + occupancy_[chunk].lowest_free());
    take(number, std::forward<Arguments>(arguments)...);
    return number;
  }
  /// The same under a number that was given out before: one that was released lately is still in the caches.
  /// False: it is taken again, or `limit` objects are out.
  template <typename... Arguments>
  [[nodiscard]] bool acquire_again(Number number, Arguments&&... arguments) {
    if (size_ >= limit_ || is_taken(number)) return false;
    take(number, std::forward<Arguments>(arguments)...);
    return true;
  }

  void release(Number number) {
    const std::size_t chunk = number / kChunk;
    const std::size_t at = number % kChunk;
    std::destroy_at(&cells_[number].object);
    Occupancy& occupancy = occupancy_[chunk];
    occupancy.taken[at / 64] &= ~(1ULL << (at % 64));
    occupancy.full_words = std::min(occupancy.full_words, at / 64);
    --occupancy.count;
    --size_;
    roomy_from_ = std::min(roomy_from_, chunk);
    if (occupancy.count > 0) return;
    if (spare_ == kNone) {
      spare_ = chunk;
    } else {
      give_back(std::max(spare_, chunk));  // the lower one is needed first
      spare_ = std::min(spare_, chunk);
    }
  }

  [[nodiscard]] T& operator[](Number number) { return cells_[number].object; }
  [[nodiscard]] bool is_taken(Number number) const {
    if (number >= numbers()) return false;
    const Occupancy& occupancy = occupancy_[number / kChunk];
    return (occupancy.taken[number % kChunk / 64] >> (number % 64) & 1U) != 0;
  }
  /// Every number given out so far lies below this; none reaches `limit`.
  [[nodiscard]] Number numbers() const {
    return static_cast<Number>(std::min(occupancy_.size() * kChunk, limit_));
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t bytes_held() const { return held_ * kChunkBytes; }

 private:
  template <typename... Arguments>
  void take(Number number, Arguments&&... arguments) {
    const std::size_t chunk = number / kChunk;
    const std::size_t at = number % kChunk;
    Occupancy& occupancy = occupancy_[chunk];
    occupancy.taken[at / 64] |= 1ULL << (at % 64);
    if (occupancy.count++ == 0) {
      held_ += spare_ == chunk ? 0 : 1;
      if (spare_ == chunk) spare_ = kNone;
    }
    ++size_;
    std::construct_at(&cells_[number].object, std::forward<Arguments>(arguments)...);
  }
  /// Holds an object or not: which of both, the occupancy knows.
  union Cell {
    Cell() {}   // NOLINT(modernize-use-equals-default): a union with a non-trivial member
    ~Cell() {}  // NOLINT(modernize-use-equals-default)
    T object;
  };
  static constexpr std::size_t kChunkBytes = kChunk * sizeof(Cell);
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  static_assert(kChunkBytes % 4096 == 0, "memory is given back in pages");
  /// Nothing lives in it.
  void give_back(std::size_t chunk) {
    empty_pages(pages_.get() + chunk * kChunkBytes, kChunkBytes);
    --held_;
  }
  struct Occupancy {
    std::array<std::uint64_t, kChunk / 64> taken{};
    std::size_t count = 0;
    std::size_t full_words = 0;  ///< at least so many at the beginning
    [[nodiscard]] std::size_t lowest_free() {
      while (taken[full_words] == ~0ULL) ++full_words;
      return full_words * 64 + static_cast<std::size_t>(std::countr_one(taken[full_words]));
    }
  };

  [[nodiscard]] std::size_t chunk_with_room() {
    while (roomy_from_ < occupancy_.size() && occupancy_[roomy_from_].count == kChunk) ++roomy_from_;
    if (roomy_from_ == occupancy_.size()) {
      open_pages(pages_.get() + roomy_from_ * kChunkBytes, kChunkBytes);
      occupancy_.emplace_back();
    }
    return roomy_from_;
  }

  std::size_t limit_;
  std::size_t size_ = 0;
  std::size_t roomy_from_ = 0;  ///< no chunk below it has room
  std::size_t held_ = 0;        ///< chunks with memory
  std::size_t spare_ = kNone;   ///< an empty one of them, for objects that come and go
  MappedPages pages_;
  Cell* cells_;  ///< in them
  std::vector<Occupancy> occupancy_;
};

}  // namespace weir
