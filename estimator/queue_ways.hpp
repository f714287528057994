/// Which way the queue of one site and direction waits: how many RTT samples are asked, and what they said.
///
/// Pure; one owner. To split a sample costs as much as half a packet, and ten thousand a second tell all
/// that there is to tell: beyond that one in 3, 9, 27 ... is asked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "config/units.hpp"
#include "estimator/measurement.hpp"
#include "estimator/remote_clock.hpp"

namespace weir {

class QueueWays {
 public:
  /// Whether the next RTT sample is to be asked; one call a sample.
  [[nodiscard]] bool asks_next() {
    if (++passed_over_ < stride_) return false;
    passed_over_ = 0;
    ++asked_;
    return true;
  }
  void add(TimePoint taken, const QueueSplit& split, Bytes weight) {
    if (fresh_ >= kMostFresh) return;
    samples_.push_back({.taken = taken, .split = split, .weight = weight});
    ++fresh_;
  }
  /// Closes the tick. nullopt: none was split in it, or too few.
  [[nodiscard]] std::optional<QueueByWay> close_tick(TimePoint now);

 private:
  /// More come in a tick only before fewer are asked: those of half a second stay below six times as many.
  static constexpr std::uint32_t kMostFresh = 4096;
  struct Sample {
    TimePoint taken;
    QueueSplit split;
    Bytes weight;
  };
  void adapt_stride();

  std::vector<Sample> samples_;  ///< in order of taking, not older than half a second
  std::uint32_t fresh_ = 0;      ///< of samples_, in this tick
  std::uint32_t asked_ = 0;      ///< in this tick
  std::uint32_t stride_ = 1;
  std::uint32_t passed_over_ = 0;
};

}  // namespace weir
