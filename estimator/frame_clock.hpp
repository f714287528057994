/// Which of the times that frames carry are to be believed.
///
/// Pure. Stamps of several queues may go back by microseconds: nothing behind this ever sees time go back. A
/// single stamp far ahead is broken; several in a row are a long silence, or a clock that was set.
#pragma once

#include "config/units.hpp"

namespace weir {

class FrameClock {
 public:
  /// The time to use for the next frame, never before the last one.
  [[nodiscard]] TimePoint believed(TimePoint stamp) {
    if (!started_) {
      started_ = true;
      now_ = stamp;
      return now_;
    }
    if (stamp - now_ <= kLargestStep) {
      far_ahead_ = 0;
      if (stamp > now_) now_ = stamp;
      return now_;
    }
    if (++far_ahead_ >= kConfirmed) {
      far_ahead_ = 0;
      now_ = stamp;
    }
    return now_;
  }

 private:
  static constexpr Duration kLargestStep = std::chrono::hours(24);
  static constexpr int kConfirmed = 3;
  TimePoint now_;
  int far_ahead_ = 0;
  bool started_ = false;
};

}  // namespace weir
