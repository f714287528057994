/// How much later than it was due each frame left: what the path itself adds to what it was told to do.
///
/// Pure; a fixed table of steps of 10 microseconds up to 100 ms. Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "config/units.hpp"

namespace weir::lab {

class Lateness {
 public:
  void add(Duration late) {
    worst_ = std::max(worst_, late);
    const auto step = static_cast<std::size_t>(std::max(late, Duration::zero()) / kStep);
    ++counts_[std::min(step, counts_.size() - 1)];
  }
  [[nodiscard]] Duration worst() const { return worst_; }
  /// The upper end of the step in which it lies; zero when nothing was added.
  [[nodiscard]] Duration quantile(double q) const {
    const auto all = std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
    const auto wanted = static_cast<std::uint64_t>(q * static_cast<double>(all));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > wanted || (seen == all && all > 0))
        return std::min(static_cast<std::int64_t>(i + 1) * kStep, std::max(worst_, kStep));
    }
    return Duration::zero();
  }

 private:
  static constexpr Duration kStep = std::chrono::microseconds(10);
  std::vector<std::uint64_t> counts_ = std::vector<std::uint64_t>(10'000);
  Duration worst_{};
};

}  // namespace weir::lab
