/// One tick of several workers that share a tap's frames, each connection's with one of them: the TickResult
/// that a single estimator would have had.
///
/// Pure; one owner. What adds up is added: bytes, segments, cohorts by their begin. The rest is computed anew
/// from what it is made of (PathPart): a mean of delivered rates, of queues or of RTTs would be that of no
/// path. docs/ESTIMATOR.md, "Several cores", says what stays different.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "config/units.hpp"
#include "estimator/estimator.hpp"
#include "estimator/path_meter.hpp"

namespace weir {

class MergedTicks {
 public:
  /// `sites` counts "elsewhere".
  explicit MergedTicks(std::size_t sites);

  /// The next tick, of all workers in their order: one end for all, and one grid of cohorts. When one of them
  /// lost frames the tick and all that is open is void.
  [[nodiscard]] TickResult add(std::span<const TickResult* const> workers);
  /// End of the last tick that was void; TimePoint::min(): there was none.
  [[nodiscard]] TimePoint void_until() const { return void_until_; }

 private:
  struct Path {
    PathMeter meter;
    std::map<TimePoint, Cohort> waiting;  ///< by begin, for the workers that have not told theirs yet
  };
  /// One path as a worker saw it.
  struct Share {
    const SiteMeasurement& measured;
    const PathPart& part;
  };
  [[nodiscard]] SiteMeasurement merge(std::unique_ptr<Path>& path, std::span<const Share> shares, bool valid);
  static void merge_ticks(Path& path, std::span<const Share> shares, SiteMeasurement& into);
  void merge_cohorts(Path& path, std::span<const Share> shares, SiteMeasurement& into) const;
  static void merge_life_signs(std::span<const Share> shares, SiteMeasurement& into);

  std::array<std::vector<std::unique_ptr<Path>>, 2> paths_;  ///< [direction][site]; made with its traffic
  TimePoint void_until_ = TimePoint::min();
};

}  // namespace weir
