/// What one site's path carries towards us, told as the control law asks for it: the measurement by which a
/// rate at the LAN port is set that stays under what the provider lets through inwards.
///
/// The tap stands behind that bottleneck and in front of our shaper, so that
///
///   sender -> provider's queue -> tap -> our leaf -> receiver
///     lost before the tap: holes      | what arrives *is* what the path delivered
///     waited on the way in: by the    | what our leaf drops or holds is our own
///     sender's clock, over echoes     |
///
/// A rate set here is answered late: our leaf has to fill, to mark or drop (CoDel's interval), and the
/// senders to hear of it (a round trip). So times of sending are set back by that, in whole cohorts: what is
/// told to be sent at t arrived when a rate set at t could first have been answered, and the law's rule that
/// only what was sent since the last change is evidence holds as it stands.
///
/// Pure; one owner. Sources: docs/ESTIMATOR.md, "The way in".
#pragma once

#include <cstdint>

#include "estimator/measurement.hpp"
#include "estimator/path_meter.hpp"

namespace weir {

class WayIn {
 public:
  /// A round trip that our TSval told: when its echo came back, what of it waited on the way in, and the base
  /// of its host.
  struct Echo {
    TimePoint back;
    Duration waited{};
    Duration base{};
    Bytes weight;  ///< of the segment that came back
    std::uint32_t flow = 0;
  };
  void echoed(const Echo& echo);
  /// A data segment came with a mark of congestion (CE).
  void marked() { ++marks_; }
  /// Closes the tick of both directions' measurements, of the same site.
  [[nodiscard]] SiteMeasurement close_tick(const SiteMeasurement& inbound, const SiteMeasurement& outbound);
  /// What fills a hole may take so long to come; zero: not known.
  [[nodiscard]] Duration longest_round_trip() const {
    return meter_.rtt() ? meter_.rtt()->p95 : Duration::zero();
  }

 private:
  void learn_answer_time();

  PathMeter meter_;
  Duration answers_ = 2 * kCohortLength;  ///< to a rate come so late
  std::uint32_t marks_ = 0;
};

}  // namespace weir
