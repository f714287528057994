/// The recent past of one site, as the control law looks at it: ticks (what was sent, delivered, queued) and
/// cohorts (what became of the segments by send time), for the last kMemory.
///
/// Pure; bounded by kMemory / tick; not thread-safe.
#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <ranges>
#include <vector>

#include "estimator/controller.hpp"
#include "estimator/measurement.hpp"

namespace weir::control {

/// Segments and their losses, pooled.
struct LossCount {
  std::uint64_t segments = 0;
  std::uint64_t beyond = 0;
  std::uint64_t before = 0;
  [[nodiscard]] double ratio() const {
    return segments == 0 ? 0.0 : static_cast<double>(beyond) / static_cast<double>(segments);
  }
  /// What it surely is: Wilson's lower bound, two standard deviations below.
  [[nodiscard]] double ratio_at_least() const;
};

/// Losses beyond the box that come within kLossEvent of one another are one event.
[[nodiscard]] std::uint64_t loss_events(const Cohort& cohort);

/// A count with the events that its losses beyond the box came in.
struct LossesInEvents {
  LossCount count;
  std::uint64_t events = 0;
};

/// A capacity with the spread of the samples behind it.
struct Capacity {
  Rate rate;
  double relative_error = 0.0;
  TimePoint measured;
};

/// Of two figures for the same, weighed by their errors; measured when `b` was.
[[nodiscard]] Capacity weighed_mean(const Capacity& a, Capacity b);

class ControlWindow {
  friend struct StateFields;

 public:
  /// `queue`: what of the input's is on the way out.
  void add(const ControlInput& input, const std::optional<QueueDelay>& queue, TimePoint now);
  /// The path fell silent: what was sent around it says nothing.
  void forget_cohorts() { cohorts_.clear(); }

  /// S over [from, to), from the shaper's counters.
  [[nodiscard]] Rate sent(TimePoint from, TimePoint to) const;
  /// True if the site could have sent more all through the last `span`: S >= share * rate, or leaves that
  /// waited.
  [[nodiscard]] bool demand(Rate rate, double share, Duration span, TimePoint now) const;
  /// Mature cohorts that were sent in [from, to).
  [[nodiscard]] LossCount loss(TimePoint from, TimePoint to) const;
  /// As loss(), for the few who need the events: it reads every slot of the cohorts that lost something.
  [[nodiscard]] LossesInEvents losses_in_events(TimePoint from, TimePoint to) const;
  /// Begin of the first cohort since `from` that lost anything beyond the box; nullopt: none.
  [[nodiscard]] std::optional<TimePoint> first_loss(TimePoint from) const;
  /// End of the newest mature cohort; nullopt if none is remembered.
  [[nodiscard]] std::optional<TimePoint> mature_until() const;

  /// Each of the last `ticks` had a D of no more than that.
  [[nodiscard]] bool delivers_at_most(Rate rate, int ticks) const;
  /// D over the ticks that began at `from` or later, in the far end's time; nullopt when unknown.
  [[nodiscard]] std::optional<Rate> delivered(TimePoint from) const;

  /// Policer: the most that got through after a loss, over the time since, for what was sent in [from, to).
  /// At the loss the bucket was empty, so that since then no more than the limit can have passed, whatever
  /// the bucket holds; and just the limit while it goes on dropping. Each span is lengthened by what its
  /// timing may be off; one with a long silence counts only where there is no other. (The same holds for a
  /// full drop-tail buffer.) nullopt: nothing was lost, or
  /// hardly anything passed since.
  [[nodiscard]] std::optional<Capacity> policed_capacity(TimePoint from, TimePoint to) const;
  /// Whether the queue was seen in `ticks` ticks on end since `from`, and longer in each than in the one
  /// before.
  [[nodiscard]] bool queue_rises(TimePoint from, int ticks) const;

  /// The least queue of the ticks whose samples were sent at `from` or later; nullopt: none.
  [[nodiscard]] std::optional<Duration> least_queue(TimePoint from) const;

  /// The queue that the data met which were sent in the middle of the last tick's samples; nullopt: not
  /// known.
  [[nodiscard]] std::optional<Duration> queue_at_middle() const {
    return ticks_.empty() ? std::nullopt : ticks_.back().middle;
  }
  /// Buffer: D over the ticks since `from` whose queue stood above `target` to their end, the first of them
  /// left out when there are others: an emptied bottleneck delivers what we send, not what it can. What was
  /// sent at t arrives at t + q, so that from three such ticks on the queue tells D as well, and better than
  /// counted packets where these are few: the mean of both, weighed by their errors. Where they differ, what
  /// was counted: of an overflowing queue not all arrives.
  [[nodiscard]] std::optional<Capacity> buffered_capacity(TimePoint from, Duration target) const;

 private:
  struct Tick;
  [[nodiscard]] Duration delivery_time(const SiteMeasurement& m) const;
  /// The rate at which what was sent arrived: the straight line through these ticks' bytes sent and times of
  /// arrival. nullopt: too few.
  [[nodiscard]] std::optional<Capacity> stretched_capacity(const std::vector<const Tick*>& busy) const;
  struct SlotEnd;
  [[nodiscard]] std::vector<SlotEnd> slot_ends(TimePoint from, TimePoint to) const;

  struct Tick {
    TimePoint begin;
    TimePoint end;
    Bytes sent;
    std::optional<Bytes> delivered;
    Duration delivered_in{};          ///< at the far end
    std::optional<Duration> reverse;  ///< what waited on the way back
    std::optional<Duration> queue;
    TimePoint queue_sent;            ///< when the first of its samples was sent
    std::optional<Duration> middle;  ///< of the queue, which the data met that was sent at
    TimePoint middle_sent;
    bool backlogged = false;
  };
  /// The cohorts that were sent in [from, to).
  [[nodiscard]] auto cohorts_in(TimePoint from, TimePoint to) const {
    const auto before = [](const Cohort& c, TimePoint at) { return c.begin < at; };
    const auto first = std::lower_bound(cohorts_.begin(), cohorts_.end(), from, before);
    return std::ranges::subrange(first, std::lower_bound(first, cohorts_.end(), std::max(from, to), before));
  }

  std::deque<Tick> ticks_;
  std::deque<Cohort> cohorts_;  ///< oldest first
};

}  // namespace weir::control
