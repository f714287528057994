/// The last losses that were charged, so that they can be taken back.
///
/// Pure, fixed memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "config/units.hpp"
#include "estimator/sequence.hpp"

namespace weir {

struct ChargedLoss {
  SequenceRange range;
  TimePoint sent;               ///< before it got lost
  std::uint16_t segments = 0;   ///< wire segments
  bool by_timeout : 1 = false;  ///< counted as sent again by the sender's timer
  bool has_timestamp : 1 = false;
  bool in_cohort : 1 = true;    ///< false: only the totals have it
  std::uint32_t timestamp = 0;  ///< with which it was sent again
};

class ChargedLosses {
 public:
  void add(const ChargedLoss& loss) {
    losses_[next_] = loss;
    next_ = static_cast<std::uint8_t>((next_ + 1U) % losses_.size());
  }
  /// The newest one that overlaps `range`; nullptr: none.
  [[nodiscard]] const ChargedLoss* find(SequenceRange range) const {
    for (std::size_t back = 1; back <= losses_.size(); ++back) {
      const ChargedLoss& loss = losses_[(next_ + losses_.size() - back) % losses_.size()];
      if (loss.segments > 0 && !overlap_of(loss.range, range).empty()) return &loss;
    }
    return nullptr;
  }
  /// The same; it is forgotten.
  [[nodiscard]] std::optional<ChargedLoss> take(SequenceRange range) {
    const ChargedLoss* const found = find(range);
    if (found == nullptr) return std::nullopt;
    const ChargedLoss taken = *found;
    losses_[static_cast<std::size_t>(found - losses_.data())].segments = 0;
    return taken;
  }

 private:
  /// D-SACKs come an RTT after the retransmissions, of which a window may hold many.
  static constexpr std::size_t kRemembered = 64;

  std::array<ChargedLoss, kRemembered> losses_{};
  std::uint8_t next_ = 0;
};

}  // namespace weir
