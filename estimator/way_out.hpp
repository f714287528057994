/// A tick's queue as far as it is ours to drain: what waits on the way out. Pure.
#pragma once

#include <algorithm>
#include <optional>

#include "estimator/control_constants.hpp"
#include "estimator/measurement.hpp"

namespace weir {

/// The tick's queue by way, where timestamps of enough samples tell the two ways apart.
[[nodiscard]] inline std::optional<QueueByWay> queue_told_apart(const SiteMeasurement& m) {
  if (!m.queue_by_way || m.queue_by_way->samples < control::kSplitSamples) return std::nullopt;
  return m.queue_by_way;
}

/// Where timestamps tell the two ways apart, the split's own figure, without its doubt; else all of it.
/// nullopt: no queue was seen.
[[nodiscard]] inline std::optional<QueueDelay> queue_on_the_way_out(const SiteMeasurement& m) {
  std::optional<QueueDelay> queue = m.queue;
  const auto split = queue_told_apart(m);
  if (queue && split) queue->q = std::min(queue->q, split->forward);
  return queue;
}

}  // namespace weir
