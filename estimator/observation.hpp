/// `weir observe`: what a tap or a capture file showed, summed up for a person and for a program.
///
/// Pure: the frames' own times drive the ticks. Not thread-safe: one owner. The page answers three questions:
/// where is it lost, is it congestion, what rate should be set. Rates in the one unit (config/units.hpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "config/units.hpp"
#include "estimator/capacity.hpp"
#include "estimator/estimator.hpp"

namespace weir {

/// Set by hand, a rate stays this much below the capacity: the queue is then ours (docs/CONTROLLER.md, g).
inline constexpr double kRateByHand = 0.98;
/// Under this many segments a ratio says nothing.
inline constexpr std::uint64_t kLeastSegmentsForRatio = 100;

struct DirectionObservation {
  Direction direction = Direction::outbound;
  Bytes sent;  ///< charged, all protocols that the tap saw
  Bytes sent_tcp;
  Rate busiest;  ///< sent in the busiest half second
  SegmentTotals segments;
  std::uint64_t lost_beyond = 0;  ///< wire segments; of `segments.data`
  std::uint64_t lost_before = 0;
  /// Interval of the true loss beyond (Wilson, 95 %); nullopt: too few segments.
  std::optional<double> loss_low{};
  std::optional<double> loss_high{};
  RttTotals rtt;
  CapacityFinding capacity;

  [[nodiscard]] std::optional<double> loss_beyond() const;
  [[nodiscard]] std::optional<double> loss_before() const;
  [[nodiscard]] std::optional<Rate> rate_to_set() const;
};

struct Observation {
  std::string source;  ///< file or interface
  std::uint64_t packets = 0;
  std::uint64_t tcp_packets = 0;
  double seconds = 0.0;
  std::uint64_t kernel_drops = 0;
  std::uint64_t malformed = 0;
  std::uint64_t opaque = 0;       ///< not IP
  std::uint64_t one_way = 0;      ///< data segments of flows whose other direction the tap does not show
  bool truncated = false;         ///< the file ended in the middle of a record
  bool sides_configured = false;  ///< sites or `inside` were given
  SideFinding sides;
  std::vector<DirectionObservation> directions;  ///< outbound, inbound
};

/// Members and their meaning: docs/ESTIMATOR.md, "weir observe --json".
[[nodiscard]] boost::json::object to_json(const Observation& observation);
[[nodiscard]] std::string to_text(const Observation& observation);

/// Feeds an Estimator and closes its ticks. For a file call on_frame only; live, call on_time as well (ten
/// times a second), so that ticks close while no frame comes.
class Observer {
 public:
  Observer(EstimatorSettings settings, std::string source);

  void on_frame(const Frame& frame);
  void on_time(TimePoint now);
  /// The capture lost `count` more frames since the last call.
  void on_kernel_drops(std::uint64_t count);
  void on_truncated() { truncated_ = true; }
  /// Closes what is still open, as if nothing came any more, and sums up. Call once, at the end of a file.
  [[nodiscard]] Observation finish();
  /// Sums up what is known by now; open cohorts are not in it.
  [[nodiscard]] Observation summary() const;
  [[nodiscard]] const TickResult& last_tick() const { return last_tick_; }

 private:
  struct Sums {
    Bytes sent;
    Bytes sent_tcp;
    Rate busiest;
    std::vector<Bytes> last_half_second;
    CapacityObserver capacity;
  };
  void close_ticks_until(TimePoint now);
  void close_tick(TimePoint at);
  void add(const std::vector<SiteMeasurement>& sites, Sums& sums);
  [[nodiscard]] DirectionObservation direction(Direction which, const Sums& sums) const;

  std::string source_;
  bool sides_configured_;
  Estimator estimator_;
  std::optional<TimePoint> first_;
  TimePoint last_;
  TimePoint next_tick_;
  bool lost_in_tick_ = false;
  bool truncated_ = false;
  std::uint64_t kernel_drops_ = 0;
  TickResult last_tick_;
  Sums outbound_;
  Sums inbound_;
};

}  // namespace weir
