/// Mean and variation of the RTT as a sender's timer keeps them (RFC 6298, 2).
///
/// Pure.
#pragma once

#include <chrono>

#include "config/units.hpp"

namespace weir {

class SmoothedRtt {
 public:
  void add(Duration rtt) {
    if (!is_known()) {
      mean_ = rtt;
      variation_ = rtt / 2;
      return;
    }
    variation_ += (std::chrono::abs(rtt - mean_) - variation_) / 4;
    mean_ += (rtt - mean_) / 8;
  }
  [[nodiscard]] bool is_known() const { return mean_ != Duration::zero(); }
  /// Zero until it is known.
  [[nodiscard]] Duration mean() const { return mean_; }
  /// An answer that takes longer is not on its way any more: the mean and four times the variation.
  [[nodiscard]] Duration longest_usual() const { return mean_ + 4 * variation_; }

 private:
  Duration mean_{};
  Duration variation_{};
};

}  // namespace weir
