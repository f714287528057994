/// Which of the times that frames carry are to be believed.
///
/// Pure. Stamps of several queues may go back by microseconds: nothing behind this ever sees time go back. A
/// single stamp far ahead is broken; several in a row are a long silence, or a clock that was set.
#pragma once

#include <chrono>
#include <cstdint>

#include "config/units.hpp"

namespace weir {

class FrameClock {
 public:
  /// The time to use for the next frame, never before the last one.
  [[nodiscard]] TimePoint believed(TimePoint stamp) {
    if (ahead(stamp) > kUsual) [[unlikely]]
      return of_unusual(stamp);
    far_ahead_ = 0;
    now_ = stamp;
    return now_;
  }
  /// What `believed` will say of `stamps` (anything with a time) in turn, when they do not go back, and end
  /// within a step from now: the last one's own time. False otherwise, and nothing was done.
  template <typename Stamps>
  [[nodiscard]] bool pass(const Stamps& stamps) {
    TimePoint before = now_;
    bool back = false;
    for (const auto& stamp : stamps) {
      back |= stamp.time < before;
      before = stamp.time;
    }
    if (back || ahead(before) > kUsual) return false;
    if (!stamps.empty()) far_ahead_ = 0;
    now_ = before;
    return true;
  }
  /// The last one believed.
  [[nodiscard]] TimePoint now() const { return now_; }

 private:
  [[nodiscard]] TimePoint of_unusual(TimePoint stamp) {
    if (now_ == kNever) {
      now_ = stamp;
    } else if (stamp < now_) {
      far_ahead_ = 0;
    } else if (++far_ahead_ >= kConfirmed) {
      far_ahead_ = 0;
      now_ = stamp;
    }
    return now_;
  }

  /// Modulo 2^64: a stamp before now_ is far ahead of it, and so is the first one.
  [[nodiscard]] std::uint64_t ahead(TimePoint stamp) const {
    return static_cast<std::uint64_t>(stamp.time_since_epoch().count()) -
           static_cast<std::uint64_t>(now_.time_since_epoch().count());
  }

  static constexpr TimePoint kNever = TimePoint::min();
  static constexpr std::uint64_t kUsual = std::chrono::nanoseconds(std::chrono::hours(24)).count();
  static constexpr int kConfirmed = 3;
  TimePoint now_ = kNever;
  int far_ahead_ = 0;
};

}  // namespace weir
