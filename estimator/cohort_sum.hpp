/// The sum of cohorts of one interval, and of what waits for one. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <vector>

#include "estimator/measurement.hpp"

namespace weir {

template <class Counter>
void add_up_to_its_end(Counter& to, Counter more) {
  to = static_cast<Counter>(to + std::min<Counter>(more, std::numeric_limits<Counter>::max() - to));
}

/// Slots as far as both have them.
inline void add_cohort(const Cohort& part, Cohort& into) {
  into.segments += part.segments;
  into.lost_beyond += part.lost_beyond;
  into.lost_before += part.lost_before;
  into.sent += part.sent;
  into.one_in = std::max(into.one_in, part.one_in);
  for (std::size_t i = 0; i < std::min(part.slots.size(), into.slots.size()); ++i) {
    add_up_to_its_end(into.slots[i].bytes, part.slots[i].bytes);
    add_up_to_its_end(into.slots[i].sent, part.slots[i].sent);
    add_up_to_its_end(into.slots[i].delivered, part.slots[i].delivered);
    add_up_to_its_end(into.slots[i].lost, part.slots[i].lost);
  }
}

/// What is mature where it was seen, and still waits for others to tell theirs.
inline void tell_young(const std::map<TimePoint, Cohort>& waiting, std::vector<YoungCohort>& into) {
  for (const auto& [begin, cohort] : waiting) {
    if (cohort.lost_beyond > 0)
      into.push_back({.begin = begin, .segments = cohort.segments, .lost_beyond = cohort.lost_beyond});
  }
}

}  // namespace weir
