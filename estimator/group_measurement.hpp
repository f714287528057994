/// Several sites that share a bottleneck, measured as one: what SiteController is told of a group.
///
/// Sums where there are sums; the queue is the lower median of the members', as one of them may have a queue
/// of its own besides; the RTT is the longest, as rounds have to wait for it; of the latency goals the least
/// room counts, as they all wait in the one queue. Cohorts of one time of sending
/// become one as soon as no member is to add to it.
///
/// Pure; bounded by what of the cohorts is waited for (4 s). Not thread-safe: one owner.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "estimator/controller.hpp"

namespace weir {

class GroupMeasurement {
 public:
  /// One tick of the members, always in the same order.
  [[nodiscard]] ControlInput add(std::span<const ControlInput* const> members, TimePoint now);

 private:
  struct Member {
    std::optional<TimePoint> told_until;  ///< begin of the newest cohort that it told of
    std::optional<TimePoint> sent_last;   ///< TCP
  };
  void collect(std::span<const ControlInput* const> members, TimePoint now, std::vector<Cohort>& into);

  std::vector<Member> members_;
  std::map<TimePoint, Cohort> waiting_;
  std::optional<TimePoint> handed_on_;  ///< begin of the newest cohort that was
};

}  // namespace weir
