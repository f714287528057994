/// What the capture thread tells the control loop.
#pragma once

#include <cstdint>
#include <string>

#include "estimator/capture.hpp"
#include "estimator/estimator.hpp"

namespace weir::gateway {

/// One tick's measurements and the totals at its end.
struct CaptureTick {
  std::uint64_t generation = 0;  ///< of the estimator settings that made it
  TickResult result;
  CaptureCounters counters;
  EstimatorTotals totals;
};

/// The tap opened, or failed. Told once per change.
struct CaptureChange {
  bool up = false;
  std::string text;  ///< why it is down; empty when up
};

}  // namespace weir::gateway
