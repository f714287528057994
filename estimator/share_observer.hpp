/// One worker of several that share a tap's frames: its estimator, and what it tells of each tick.
///
/// Pure; one owner, which closes ticks and feeds frames in the order of their times. The ticks of all workers
/// are put together by a MergedObserver, in whatever thread that lives.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "config/units.hpp"
#include "estimator/accounts.hpp"
#include "estimator/duration_sums.hpp"
#include "estimator/estimator.hpp"
#include "estimator/measurement.hpp"

namespace weir {

/// Of so many ticks one tells all that was found since the start.
inline constexpr std::uint64_t kTicksPerAccount = std::chrono::seconds(1) / kCohortLength;

/// What one worker found since the start.
struct ShareFindings {
  EstimatorTotals totals;
  std::array<DurationSums, 2> retransmission_delay;  ///< [direction]
  SideFinding sides;
  Accounts::Part accounts;
  std::optional<TimePoint> first;  ///< frame
  TimePoint last;
  std::uint64_t kernel_drops = 0;
};

struct ShareTick {
  TickResult result;
  bool any_frame = false;                   ///< one was seen by now
  std::optional<ShareFindings> findings{};  ///< once a second, in the same tick of all workers
};

class ShareObserver {
 public:
  /// Ticks end at `begin` and multiples of kCohortLength behind it, for all workers. `settings` are those of
  /// all.
  ShareObserver(EstimatorSettings settings, TimePoint begin);

  void on_frame(const Frame& frame);
  void follow(const FlowSample& sample) { estimator_.follow(sample); }
  /// `drops`: what this worker's tap has lost until now, since the start.
  [[nodiscard]] ShareTick close_tick(std::uint64_t drops);
  /// End of the tick that is open.
  [[nodiscard]] TimePoint tick_ends() const { return tick_ends_; }
  /// Ticks closed by now.
  [[nodiscard]] std::uint64_t ticks() const { return ticks_; }

 private:
  [[nodiscard]] ShareFindings findings();

  Estimator estimator_;
  TimePoint tick_ends_;
  std::uint64_t ticks_ = 0;
  std::uint64_t drops_ = 0;
  std::optional<TimePoint> first_;
  TimePoint last_;
};

}  // namespace weir
