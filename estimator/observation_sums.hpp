/// What `weir observe` sums up over the ticks of an estimator, or of several merged, and the Observation that
/// comes of it.
///
/// Pure; one owner.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/units.hpp"
#include "estimator/accounts.hpp"
#include "estimator/capacity.hpp"
#include "estimator/duration_sums.hpp"
#include "estimator/estimator.hpp"

namespace weir {

struct DirectionObservation;
struct Observation;
struct SiteObservation;

/// What was found since the start, at the time of asking.
struct EstimatorFindings {
  const EstimatorTotals& totals;
  const Accounts& accounts;
  std::array<const DurationSums*, 2> retransmission_delay{};  ///< [direction]
  SideFinding sides{};
  std::optional<TimePoint> first{};  ///< frame
  TimePoint last{};
  std::uint64_t kernel_drops = 0;
  bool truncated = false;
};

class ObservationSums {
 public:
  /// `site_names` in the order of the settings' sites.
  ObservationSums(const EstimatorSettings& settings, std::string source, std::vector<std::string> site_names);

  /// The next tick.
  void add(const TickResult& tick);
  /// A few paths, in turn with each call: it takes time.
  void ask_for_some_capacities(TimePoint now);
  void ask_for_all_capacities(TimePoint now);
  [[nodiscard]] Observation sum_up(const EstimatorFindings& found) const;

 private:
  /// Of one path: a direction of a site, or of all sites together.
  struct Sums {
    Bytes sent;
    Bytes sent_tcp;
    Rate busiest;
    std::vector<Bytes> last_half_second;
    std::unique_ptr<CapacityObserver> capacity;  ///< nullptr: too many paths have one already
    std::optional<CapacityFinding> found;        ///< what it said when it was last asked
    TimePoint asked;

    void add(const SiteMeasurement& tick);
  };
  void add_sites(const std::vector<SiteMeasurement>& sites, Direction direction);
  void ask_for_capacities(std::size_t most, TimePoint now);
  [[nodiscard]] static bool is_one_directional(const EstimatorFindings& found);
  [[nodiscard]] DirectionObservation direction(Direction which, const EstimatorFindings& found,
                                               const Sums& sums, const PathTotals& totals,
                                               std::optional<std::size_t> site) const;
  [[nodiscard]] static std::optional<CapacityFinding> capacity_of(const EstimatorFindings& found,
                                                                  const Sums& sums);
  [[nodiscard]] const Sums& main_path(Direction which) const;
  [[nodiscard]] DirectionObservation all_sites(const EstimatorFindings& found, Direction which) const;
  [[nodiscard]] std::vector<SiteObservation> sites(const EstimatorFindings& found) const;

  std::string source_;
  std::vector<std::string> site_names_;  ///< "elsewhere" last; empty when no sites are configured
  bool sides_configured_;
  std::array<Sums, 2> sums_;                                   ///< [direction]
  std::array<std::vector<std::unique_ptr<Sums>>, 2> by_site_;  ///< [direction][site]; made with its traffic
  std::array<std::size_t, 2> capacities_{};                    ///< [direction], of sites
  std::size_t asked_next_ = 0;                                 ///< of all capacities, in turn
};

}  // namespace weir
