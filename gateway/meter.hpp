/// A rate over the last second from a counter that only grows.
///
/// Pure. A counter that falls (the class was made anew) begins a new window: its past is no evidence.
#pragma once

#include <optional>
#include <vector>

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
  /// Of about a second, strictly rising times. Few: a deque for each class would take 576 bytes for them.
  std::vector<Reading> readings_;
};

}  // namespace weir::gateway
