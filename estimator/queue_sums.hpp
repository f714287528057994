/// Queues of RTT samples by the way on which they waited, summed up over a run.
///
/// Pure, fixed memory.
#pragma once

#include <cstdint>
#include <optional>

#include "config/units.hpp"
#include "estimator/histogram.hpp"
#include "estimator/remote_clock.hpp"

namespace weir {

/// Of the data of one direction; forward is their way from the tap on, reverse that of their
/// acknowledgments.
struct QueueTotals {
  Duration forward_p50{};
  Duration forward_p95{};
  Duration reverse_p50{};
  Duration reverse_p95{};
  Duration within{};          ///< mean of what a single split may be wrong by
  std::uint64_t samples = 0;  ///< RTT samples that could be split; 0: the durations mean nothing
  std::uint64_t asked = 0;    ///< of so many

  [[nodiscard]] double share() const {
    return asked == 0 ? 0.0 : static_cast<double>(samples) / static_cast<double>(asked);
  }
};

class QueueSums {
 public:
  /// nullopt: the sample told nothing.
  void add(const std::optional<QueueSplit>& split) {
    ++asked_;
    if (!split) return;
    forward_.add(split->forward);
    reverse_.add(split->reverse);
    within_ += split->within;
  }
  void merge(const QueueSums& other) {
    forward_.merge(other.forward_);
    reverse_.merge(other.reverse_);
    within_ += other.within_;
    asked_ += other.asked_;
  }
  [[nodiscard]] QueueTotals totals() const {
    const std::uint64_t samples = forward_.total();
    if (samples == 0) return {.asked = asked_};
    return {.forward_p50 = forward_.quantile(0.50),
            .forward_p95 = forward_.quantile(0.95),
            .reverse_p50 = reverse_.quantile(0.50),
            .reverse_p95 = reverse_.quantile(0.95),
            .within = within_ / static_cast<std::int64_t>(samples),
            .samples = samples,
            .asked = asked_};
  }

 private:
  DurationHistogram forward_;
  DurationHistogram reverse_;
  Duration within_{};
  std::uint64_t asked_ = 0;
};

}  // namespace weir
