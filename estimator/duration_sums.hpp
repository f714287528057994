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
    least_ = histogram_.total() == 0 ? d : std::min(least_, d);
    histogram_.add(d, weight);
  }
  void merge(const DurationSums& other) {
    if (other.histogram_.total() == 0) return;
    least_ = histogram_.total() == 0 ? other.least_ : std::min(least_, other.least_);
    histogram_.merge(other.histogram_);
  }
  /// Zero when nothing was added.
  [[nodiscard]] Duration least() const { return least_; }
  [[nodiscard]] const DurationHistogram& histogram() const { return histogram_; }

 private:
  DurationHistogram histogram_;
  Duration least_{};
};

}  // namespace weir
