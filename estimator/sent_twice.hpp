/// Bytes that passed the tap once more, until the receiver tells that they came twice.
///
/// Pure, fixed memory. What the path carried for nothing it has carried all the same (PathWindow::delivered):
/// here is what a D-SACK is believed for, and how much the second transmission was charged.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "estimator/sequence.hpp"

namespace weir {

class SentTwice {
 public:
  /// Neighbours sent in a row share an entry: a timer that ran out too early sends a whole window again.
  void add(SequenceRange range, std::uint32_t charged) {
    Entry& newest = entries_[(next_ + entries_.size() - 1) % entries_.size()];
    if (!newest.range.empty() && newest.range.end == range.begin && newest.range.size() < kMostOfOne &&
        range.size() < kMostOfOne) {
      newest.range.end = range.end;
      newest.charged += charged;
      return;
    }
    keep({.range = range, .charged = charged});
  }

  /// `twice` came twice: what the second transmission of these bytes was charged, of as many of them as are
  /// remembered. They are forgotten.
  [[nodiscard]] std::uint64_t take(SequenceRange twice) {
    std::uint64_t charged = 0;
    Entry below;
    for (std::size_t back = 1; back <= entries_.size() && !twice.empty(); ++back) {
      Entry& entry = entries_[(next_ + entries_.size() - back) % entries_.size()];
      const SequenceRange both = overlap_of(entry.range, twice);
      if (entry.range.empty() || both.empty()) continue;
      charged += entry.share(both);
      below = entry.part({entry.range.begin, both.begin});
      entry = entry.part({both.end, entry.range.end});
      if (entry.range.empty()) std::swap(entry, below);
      // Bytes that were sent three times are in two entries, and came twice in one of them.
      if (both.begin == twice.begin) {
        twice.begin = both.end;
      } else {
        twice.end = both.begin;
      }
    }
    if (!below.range.empty()) keep(below);
    return charged;
  }

 private:
  static constexpr std::uint32_t kMostOfOne = 1U << 24U;  ///< bytes: their charge stays within 32 bits
  /// D-SACKs come an RTT after the retransmissions, of which a window may hold many.
  static constexpr std::size_t kRemembered = 64;

  struct Entry {
    SequenceRange range;
    std::uint32_t charged = 0;
    [[nodiscard]] std::uint32_t share(SequenceRange of) const {
      return static_cast<std::uint32_t>(std::uint64_t{charged} * of.size() / range.size());
    }
    [[nodiscard]] Entry part(SequenceRange of) const { return {.range = of, .charged = share(of)}; }
  };

  void keep(const Entry& entry) {
    entries_[next_] = entry;
    next_ = static_cast<std::uint8_t>((next_ + 1U) % entries_.size());
  }

  std::array<Entry, kRemembered> entries_{};
  std::uint8_t next_ = 0;
};

}  // namespace weir
