/// Which way the queue of a round trip waits, told by the far host's own clock.
///
/// Pure, a value. The TSval of a segment is its sender's clock at the moment of sending (RFC 7323, 3.2): the
/// time of its arrival less TSval is the delay of the way from there to the tap, but for a constant that
/// nobody knows, the tick and the drift of two clocks against each other. For every RTT sample, whose queue q
/// is RTT - base, the part that waited on the way back is between nothing and q. That bounds the constant
/// from both sides:
///
///        reading = arrival - TSval * tick                 constant <= reading
///        reading = constant + phase + reverse queue       constant >= reading - q - tick
///        0 <= phase < tick,  0 <= reverse queue <= q
///
/// so that one quiet moment tells it to a tick, and what no bound allows is a clock that was set or garbage.
/// Rule and sources: docs/ESTIMATOR.md, "Which way waits".
#pragma once

#include <cstdint>
#include <optional>

#include "config/units.hpp"

namespace weir {

/// An RTT sample, and the TSval of the segment that ended it.
struct TimestampSample {
  TimePoint at;             ///< when that segment passed
  std::uint32_t value = 0;  ///< TSval
  Duration rtt{};
  Duration base{};
};

/// The queue of one RTT sample by the way on which it waited.
struct QueueSplit {
  Duration forward{};  ///< on the way of the data, from the tap on; also what the far host took
  Duration reverse{};  ///< on the way of their acknowledgment, up to the tap
  Duration within{};   ///< either may be wrong by so much; above zero
  bool operator==(const QueueSplit&) const = default;
};

class RemoteClock {
 public:
  /// Samples in order of time. nullopt: the clock is not known, or not well enough for this queue.
  [[nodiscard]] std::optional<QueueSplit> on_sample(const TimestampSample& sample);
  /// nullopt: not known (yet, or any more).
  [[nodiscard]] std::optional<Duration> tick() const;
  [[nodiscard]] TimePoint last() const { return at_; }

 private:
  enum class State : std::uint8_t { fresh, learning, known };

  void begin(const TimestampSample& sample, Duration queue);
  void learn(const TimestampSample& sample, Duration queue);
  void know(const TimestampSample& sample, Duration queue, Duration moved);
  [[nodiscard]] std::optional<QueueSplit> follow(const TimestampSample& sample, Duration queue);
  void narrow_skew(const TimestampSample& sample);
  void anchor_here();
  [[nodiscard]] std::optional<QueueSplit> split(Duration queue) const;

  TimePoint at_;         ///< of the last sample that fitted
  TimePoint anchor_at_;  ///< of an earlier one, from which the tick and the skew are told
  // Reading less constant, which is reverse queue and phase, of the last sample: bounds, and the best guess.
  Duration least_{};
  Duration most_{};
  Duration guess_{};
  Duration anchor_least_{};  ///< the same bounds at the anchor
  Duration anchor_most_{};
  Duration base_{};     ///< of the last sample: when it falls, earlier queues were longer than they looked
  Duration reverse_{};  ///< of the last split
  Duration phase_{};    ///< what that may be wrong by, since only the tick of its sending is known
  std::uint32_t value_ = 0;
  std::uint32_t anchor_value_ = 0;
  // How fast the constant grows: bounds, in seconds a second.
  float skew_low_ = 0.0F;
  float skew_high_ = 0.0F;
  State state_ = State::fresh;
  std::uint8_t tick_ = 0;     ///< which one; while learning the one that fits
  std::uint8_t fitting_ = 0;  ///< learning: samples in a row; known: samples with the same TSval
  std::uint8_t strange_ = 0;  ///< samples that did not fit
};
static_assert(sizeof(RemoteClock) <= 104);

}  // namespace weir
