/// Percentiles of samples that do not all count the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "config/units.hpp"

namespace weir {

struct Weighted {
  Duration value{};
  std::uint64_t weight = 1;
};

inline void sort_by_value(std::vector<Weighted>& samples) {
  std::sort(samples.begin(), samples.end(),
            [](const Weighted& a, const Weighted& b) { return a.value < b.value; });
}

/// The value that a `fraction` (0..1) of the weight does not exceed; of sorted samples, at least one.
[[nodiscard]] inline Duration percentile(const std::vector<Weighted>& samples, double fraction) {
  std::uint64_t total = 0;
  for (const Weighted& w : samples) total += w.weight;
  const double want = fraction * static_cast<double>(total);
  double below = 0.0;
  for (const Weighted& w : samples) {
    below += static_cast<double>(w.weight);
    if (below >= want) return w.value;
  }
  return samples.back().value;
}

}  // namespace weir
