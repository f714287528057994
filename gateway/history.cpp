#include "gateway/history.hpp"

#include <algorithm>

namespace weir::gateway {

void History::add(const HistorySample& sample) {
  if (ring_.size() < kCapacity) {
    ring_.push_back(sample);
    return;
  }
  ring_[oldest_] = sample;
  oldest_ = (oldest_ + 1) % kCapacity;
}

std::vector<HistorySample> History::newest(std::size_t most) const {
  const std::size_t count = std::min(most, ring_.size());
  std::vector<HistorySample> samples;
  samples.reserve(count);
  for (std::size_t i = ring_.size() - count; i < ring_.size(); ++i) {
    samples.push_back(ring_[(oldest_ + i) % ring_.size()]);
  }
  return samples;
}

}  // namespace weir::gateway
