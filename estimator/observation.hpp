/// `weir observe`: what a tap or a capture file showed, summed up for a person and for a program.
///
/// Pure: the frames' own times drive the ticks. Not thread-safe: one owner. The page answers three questions:
/// where is it lost, is it congestion, what rate should be set. Rates in the one unit (config/units.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "config/units.hpp"
#include "estimator/accounts.hpp"
#include "estimator/capacity.hpp"
#include "estimator/dscp_verdict.hpp"
#include "estimator/estimator.hpp"
#include "estimator/flow_log.hpp"
#include "estimator/frame_clock.hpp"
#include "estimator/observation_sums.hpp"

namespace weir {

/// Set by hand, a rate stays this much below the capacity: the queue is then ours (docs/CONTROLLER.md, g).
inline constexpr double kRateByHand = 0.98;
/// Under this many segments a ratio says nothing.
inline constexpr std::uint64_t kLeastSegmentsForRatio = 100;

/// One data segment in so many and more shows no acknowledgment: only one direction is visible.
inline constexpr double kOneDirectionalShare = 0.95;
inline constexpr std::uint64_t kLeastForOneDirectional = 1000;

/// What was lost on which side of the tap, in wire segments; shares are of the data segments, copies that the
/// capture made not counted.
struct LossShares {
  std::uint64_t beyond_segments = 0;
  std::uint64_t before_segments = 0;
  // nullopt: too few segments.
  std::optional<double> beyond{};
  std::optional<double> before{};
  std::optional<double> low{};  ///< interval of the true loss beyond (Wilson, 95 %)
  std::optional<double> high{};
};
[[nodiscard]] LossShares loss_of(Direction direction, const SegmentTotals& segments);

/// One code point; nullopt: those beyond the ones with sums of their own.
struct DscpObservation {
  std::optional<std::uint8_t> dscp;
  SegmentTotals segments;
  LossShares loss;
  RttTotals rtt;
  QueueTotals queue;
};

struct DirectionObservation {
  Direction direction = Direction::outbound;
  Bytes sent;  ///< charged, all protocols that the tap saw
  Bytes sent_tcp;
  Rate busiest;  ///< sent in the busiest half second
  SegmentTotals segments;
  LossShares loss;
  RttTotals rtt;
  QueueTotals queue;                                ///< by the way on which it waited
  std::optional<DelayTotals> retransmission_delay;  ///< of all sites together only
  /// nullopt: not looked at, since there are too many sites or only one direction is visible.
  std::optional<CapacityFinding> capacity;
  std::vector<DscpObservation> dscps;
  /// Of one path only, and outbound: nullopt where several paths are summed up, or only one mark was seen.
  std::optional<DscpFinding> dscp_honoured;

  [[nodiscard]] std::optional<Rate> rate_to_set() const;
};

struct SiteObservation {
  std::string name;
  std::vector<DirectionObservation> directions;  ///< outbound, inbound
  [[nodiscard]] Bytes sent() const;
};

struct Observation {
  std::string source;  ///< file or interface
  std::uint64_t packets = 0;
  std::uint64_t tcp_packets = 0;
  double seconds = 0.0;
  std::uint64_t kernel_drops = 0;
  std::uint32_t one_in = 1;     ///< of so many connections one is followed now: the capture is overloaded
  std::uint64_t unsampled = 0;  ///< TCP packets of connections that were not: only their bytes count
  std::uint64_t malformed = 0;
  std::uint64_t opaque = 0;         ///< not IP
  std::uint64_t flows_refused = 0;  ///< packets of connections that a full table had no room for
  std::uint64_t flows_evicted = 0;  ///< connections that gave way to others
  std::uint64_t one_way = 0;        ///< data segments of flows whose other direction the tap does not show
  bool one_directional = false;     ///< ... nearly all: RTT, capacity and what is spurious cannot be known
  bool truncated = false;           ///< the file ended in the middle of a record
  bool sides_configured = false;    ///< sites or `inside` were given
  SideFinding sides;
  std::vector<DirectionObservation> directions;  ///< outbound, inbound; all sites together
  /// Those with traffic, in the order of the settings, "elsewhere" last; empty when none are configured.
  std::vector<SiteObservation> sites{};
  std::optional<FlowListing> flows{};     ///< when they were asked for
  TimePoint first{};                      ///< frame
  std::vector<std::string> site_names{};  ///< by FlowRow::site; empty when no sites are configured
};

/// Members and their meaning: docs/ESTIMATOR.md, "weir observe --json".
[[nodiscard]] boost::json::object to_json(const Observation& observation);
[[nodiscard]] std::string to_text(const Observation& observation);

/// Feeds an Estimator and closes its ticks. For a file call on_frame only; live, call on_time as well (ten
/// times a second), so that ticks close while no frame comes.
class Observer {
 public:
  /// `site_names` in the order of the settings' sites.
  Observer(EstimatorSettings settings, std::string source, std::vector<std::string> site_names = {});

  void on_frame(const Frame& frame) { on_frames(std::span(&frame, 1)); }
  /// The same of several.
  void on_frames(std::span<const Frame> frames);
  void on_time(TimePoint now);
  /// The capture lost `count` more frames since the last call.
  void on_kernel_drops(std::uint64_t count);
  /// See Estimator::follow.
  void follow(const FlowSample& sample) { estimator_.follow(sample); }
  void on_truncated() { truncated_ = true; }
  /// Closes what is still open, as if nothing came any more, and sums up. Call once, at the end of a file.
  [[nodiscard]] Observation finish();
  /// Sums up what is known by now; open cohorts are not in it. Of many paths each call asks only a few for
  /// their capacity anew, in turn: that takes time.
  [[nodiscard]] Observation summary();
  [[nodiscard]] const TickResult& last_tick() const { return last_tick_; }
  [[nodiscard]] const Estimator& estimator() const { return estimator_; }

 private:
  void begin_at(TimePoint first);
  void close_ticks_until(TimePoint now);
  void close_tick(TimePoint at);
  [[nodiscard]] EstimatorFindings findings() const;

  ObservationSums sums_;
  Estimator estimator_;
  FrameClock clock_;
  std::optional<TimePoint> first_;
  TimePoint last_;
  TimePoint next_tick_;
  bool lost_in_tick_ = false;
  bool truncated_ = false;
  std::uint64_t kernel_drops_ = 0;
  TickResult last_tick_;
};

}  // namespace weir
