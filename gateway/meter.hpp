/// A rate over the last second from a counter that only grows.
///
/// Pure. A counter that falls (the class was made anew) begins a new window: its past is no evidence.
#pragma once

#include <deque>
#include <optional>

#include "config/units.hpp"

namespace weir::gateway {

class RateMeter {
 public:
  void reset() { readings_.clear(); }
  void read(Bytes total, TimePoint at);
  /// Between the last two readings; nullopt before there are two.
  [[nodiscard]] std::optional<Rate> of_last_tick() const;
  /// Over about the last second; zero before there are two readings.
  [[nodiscard]] Rate of_last_second() const;

 private:
  struct Reading {
    Bytes total;
    TimePoint at;
  };
  std::deque<Reading> readings_;  ///< at most kMost, strictly rising times
};

}  // namespace weir::gateway
