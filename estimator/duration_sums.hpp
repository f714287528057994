/// Durations summed up: a histogram, and the least of them exactly.
///
/// Pure, fixed memory.
#pragma once

#include <algorithm>
#include <cstdint>

#include "config/units.hpp"
#include "estimator/histogram.hpp"

namespace weir {

class DurationSums {
 public:
  void add(Duration d, std::uint32_t weight = 1) {
    if (weight == 0) return;
    if (d < least_) least_ = d;
    histogram_.add(d, weight);
  }
  void merge(const DurationSums& other) {
    least_ = std::min(least_, other.least_);
    histogram_.merge(other.histogram_);
  }
  /// Zero when nothing was added.
  [[nodiscard]] Duration least() const { return histogram_.total() > 0 ? least_ : Duration::zero(); }
  [[nodiscard]] const DurationHistogram& histogram() const { return histogram_; }

 private:
  DurationHistogram histogram_;
  Duration least_ = Duration::max();
};

}  // namespace weir
