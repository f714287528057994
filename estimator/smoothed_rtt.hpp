/// Mean and variation of the RTT as a sender's timer keeps them (RFC 6298, 2).
///
/// Pure. To 64 ns, in eight bytes.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "config/units.hpp"
#include "estimator/coarse_time.hpp"

namespace weir {

class SmoothedRtt {
 public:
  void add(Duration rtt) {
    if (!is_known()) {
      mean_ = CoarseDuration(rtt);
      variation_ = CoarseDuration(rtt / 2);
      return;
    }
    const std::int64_t off = CoarseDuration(rtt).steps() - mean_.steps();
    variation_.move_by((std::abs(off) - variation_.steps()) / 4);
    mean_.move_by(off / 8);
  }
  [[nodiscard]] bool is_known() const { return !mean_.is_zero(); }
  /// Zero until it is known.
  [[nodiscard]] Duration mean() const { return mean_.value(); }
  /// An answer that takes longer is not on its way any more: the mean and four times the variation.
  [[nodiscard]] Duration longest_usual() const { return mean() + 4 * variation_.value(); }

 private:
  CoarseDuration mean_;
  CoarseDuration variation_;
};

}  // namespace weir
