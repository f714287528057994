/// Delivered rate, RTT and queue of one path (a site in one direction), from what each tick added to them.
///
/// Pure; one owner. Of a path that several workers watch (merged_ticks) it is given their sums together: a
/// mean of their rates would be wrong where one of them has the bytes of other protocols. Rules:
/// docs/ESTIMATOR.md, "Delivered rate" and "RTT and queue".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "config/units.hpp"
#include "estimator/histogram.hpp"
#include "estimator/measurement.hpp"

namespace weir {

/// Before any RTT is known the fate of a segment is waited for this long.
inline constexpr Duration kUnknownRtt = std::chrono::milliseconds(450);

/// One RTT that obeys the sampling rules, with what is needed to weigh it.
struct RttSample {
  TimePoint sent;
  TimePoint taken;
  Duration rtt{};
  Duration base{};         ///< of its flow (or its remote host)
  Bytes weight;            ///< newly acknowledged by the sample's ACK
  std::uint32_t flow = 0;  ///< tells flows apart
};

enum class FrameKind : std::uint8_t {
  no_tcp,
  other_tcp,  ///< of a connection that is not followed, or not to be told (a fragment)
  followed_tcp,
};
inline constexpr std::size_t kFrameKinds = 3;

/// Frames that belong to none of a tick's other two sums.
class BytesByKind {
 public:
  void add(FrameKind kind, Bytes bytes) { sums_[static_cast<std::size_t>(kind)] += bytes; }
  BytesByKind& operator+=(const BytesByKind& other) {
    for (std::size_t i = 0; i < kFrameKinds; ++i) sums_[i] += other.sums_[i];
    return *this;
  }
  [[nodiscard]] Bytes all() const { return of(FrameKind::no_tcp) + tcp(); }
  [[nodiscard]] Bytes tcp() const { return of(FrameKind::other_tcp) + followed(); }
  [[nodiscard]] Bytes followed() const { return of(FrameKind::followed_tcp); }

 private:
  [[nodiscard]] Bytes of(FrameKind kind) const { return sums_[static_cast<std::size_t>(kind)]; }
  std::array<Bytes, kFrameKinds> sums_{};
};

/// Charged bytes of one tick, kept as long as the sliding window for delivery may need them.
struct PathTick {
  TimePoint begin;
  TimePoint end;
  BytesByKind sent;
  Bytes delivered;
  std::optional<TimePoint> first_delivery;
  Bytes first_delivery_bytes;
  bool data = false;  ///< any TCP payload was sent

  /// Of other packets of the same path in the same time.
  void add(const PathTick& other);
};

/// What one of several workers adds to a tick of a path, besides its SiteMeasurement.
struct PathPart {
  bool watched = false;  ///< false: nothing of the path ever came by, all else means nothing
  PathTick tick;
  std::vector<RttSample> samples{};      ///< taken in it, in order; thinned when too many
  std::array<std::uint32_t, 2> flows{};  ///< with data in this period of flows, and in the one before
  std::uint64_t in_flight = 0;           ///< transmissions without a fate yet
  std::optional<TimePoint>
      open_since{};  ///< begin of the oldest cohort that is yet to come; nullopt: none is
};

class PathMeter {
 public:
  /// See PathWindow::follow_one_in.
  void follow_one_in(std::uint32_t n);
  [[nodiscard]] std::uint32_t one_in() const { return one_in_; }

  /// In order of taking.
  void rtt_sampled(const RttSample& sample) {
    add_rtt(sample.taken, sample.rtt, sample.base, sample.weight);
    if (keeps_next()) keep(sample);
  }
  /// The same in steps, for who takes them by the million: a sample that is not kept is not put together.
  void add_rtt(TimePoint taken, Duration rtt, Duration base, Bytes weight);
  [[nodiscard]] bool keeps_next() { return ++samples_skipped_ >= sample_stride_; }
  [[gnu::noinline]] void keep(const RttSample& sample);
  /// Those of the tick that is open.
  [[nodiscard]] std::span<const RttSample> fresh_samples() const {
    return std::span(samples_).last(samples_fresh_);
  }

  /// Closes a tick: fills in what was delivered, RTT and queue. `in_flight`: transmissions without a fate
  /// yet.
  void close_tick(const PathTick& tick, std::uint64_t in_flight, SiteMeasurement& into);
  /// At the end of the last tick.
  [[nodiscard]] const std::optional<RttSummary>& rtt() const { return summary_; }

 private:
  [[gnu::noinline]] void begin_slot_with(TimePoint taken, Duration rtt, Duration base, Bytes weight);
  void sum_up_rtt(TimePoint now);
  void keep_for_delivery(PathTick tick, std::uint64_t in_flight);
  [[nodiscard]] std::optional<double> bytes_per_followed_byte(const PathTick& tick) const;
  [[nodiscard]] std::optional<Delivery> delivery_over_window(TimePoint now, double scale) const;
  [[nodiscard]] Duration delivery_window() const;
  [[nodiscard]] std::optional<QueueDelay> queue_of_tick();

  std::uint32_t one_in_ = 1;
  bool reselected_ = false;                ///< in this tick
  std::optional<TimePoint> settled_from_;  ///< the followed connections' ACKs count from then on
  std::deque<PathTick> ticks_;
  std::optional<double> scale_;  ///< all bytes per followed byte, at the end of the last tick
  std::vector<RttSample>
      samples_;  ///< in order of taking, not older than half a second; thinned when too many
  std::uint32_t sample_stride_ = 1;
  std::uint32_t samples_skipped_ = 0;
  std::uint32_t samples_fresh_ = 0;  ///< of samples_, taken in this tick

  /// RTT and base over the last 10 s; made with the first sample, since most sites of a policy may be silent.
  struct RttHistory;
  struct RttHistoryDeleter {
    void operator()(RttHistory* history) const;
  };
  std::unique_ptr<RttHistory, RttHistoryDeleter> rtt_history_;
  std::optional<RttSummary> summary_;
  Duration base_{};  ///< newest weighted median of the flows' bases; zero: unknown
};

}  // namespace weir
