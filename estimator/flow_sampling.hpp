/// What to do when the capture cannot keep up: of how many connections one is followed.
///
/// Pure; one owner, which reads the tap and tells it of each turn. Whole connections are chosen, by the hash
/// of both their ends (RFC 7014, hash-based flow filtering; FlowTable::follows), because the fate of a
/// segment shows later and in the other direction: every second packet would say nothing. The share halves
/// with the first frames that are dropped, and after each tenth of a second that was too much; it doubles
/// when there has been room for twice the work for five seconds.
#pragma once

#include <cstdint>
#include <optional>

#include "config/units.hpp"

namespace weir {

class FlowSampling {
 public:
  /// Below this share too little would be known of a path to act on.
  static constexpr std::uint32_t kMostOneIn = 64;

  /// One reading of the tap.
  struct Turn {
    TimePoint began;  ///< both by the clock on the wall of the reader, not by the frames' times
    TimePoint ended;
    bool emptied = false;       ///< it took fewer frames than it might have: no more were there
    std::uint64_t dropped = 0;  ///< by the kernel for want of room, since the tap was opened
  };
  void on_turn(const Turn& turn);

  /// A power of two; 1: all connections are followed.
  [[nodiscard]] std::uint32_t one_in() const { return one_in_; }

 private:
  /// What was seen since `began`.
  struct Window {
    TimePoint began;
    Duration busy{};
    bool emptied = false;
    bool dropped = false;
  };
  void close(const Window& window, TimePoint now);

  std::uint32_t one_in_ = 1;
  std::uint64_t dropped_ = 0;
  std::optional<Window> window_;
  bool was_too_much_ = false;  ///< the window before
  TimePoint roomy_since_;
};

}  // namespace weir
