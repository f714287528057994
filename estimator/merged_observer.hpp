/// `weir observe` by several workers: their ticks in, one Observation out.
///
/// Pure; one owner. What is different from one Observer that sees all the frames: docs/ESTIMATOR.md, "Several
/// cores".
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/units.hpp"
#include "estimator/accounts.hpp"
#include "estimator/duration_sums.hpp"
#include "estimator/estimator.hpp"
#include "estimator/merged_ticks.hpp"
#include "estimator/observation.hpp"
#include "estimator/observation_sums.hpp"
#include "estimator/share_observer.hpp"

namespace weir {

class MergedObserver {
 public:
  /// `settings` as the workers have them, `site_names` in the order of their sites.
  MergedObserver(const EstimatorSettings& settings, std::string source,
                 std::vector<std::string> site_names = {});

  /// The next tick, of all workers in their order.
  void add(std::span<const ShareTick> workers);
  /// As of the last tick with findings; see Observer.
  [[nodiscard]] Observation summary();
  [[nodiscard]] Observation finish();
  [[nodiscard]] const TickResult& last_tick() const { return last_tick_; }

 private:
  void take_findings(std::span<const ShareTick> workers, TimePoint now);
  [[nodiscard]] EstimatorFindings findings() const;

  MergedTicks ticks_;
  ObservationSums sums_;
  TickResult last_tick_;
  bool began_ = false;  ///< a frame was seen

  // Of the last tick that came with findings.
  EstimatorTotals totals_;
  std::array<DurationSums, 2> retransmission_delay_;  ///< [direction]
  SideFinding sides_;
  Accounts accounts_;
  std::optional<TimePoint> first_;
  TimePoint last_;
  std::uint64_t kernel_drops_ = 0;
};

}  // namespace weir
