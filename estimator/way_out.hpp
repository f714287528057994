/// A tick's queue as far as it is ours to drain: what waits on the way out. Pure.
#pragma once

#include <algorithm>
#include <optional>

#include "estimator/control_constants.hpp"
#include "estimator/measurement.hpp"

namespace weir {

/// Where timestamps tell the two ways apart, the split's own figure, without its doubt; else all of it.
/// nullopt: no queue was seen.
[[nodiscard]] inline std::optional<QueueDelay> queue_on_the_way_out(const SiteMeasurement& m) {
  std::optional<QueueDelay> queue = m.queue;
  const auto& split = m.queue_by_way;
  if (queue && split && split->samples >= control::kSplitSamples)
    queue->q = std::min(queue->q, split->forward);
  return queue;
}

}  // namespace weir
