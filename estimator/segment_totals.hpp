/// Verdicts about segments, counted.
///
/// Pure.
#pragma once

#include "estimator/estimator.hpp"
#include "estimator/half_flow.hpp"

namespace weir {

void count_unusual(const SegmentVerdict& verdict, bool lone_fin, SegmentTotals& totals);
/// `lone_fin`: the segment was a FIN without payload, which is no wire segment.
inline void count(const SegmentVerdict& verdict, bool lone_fin, SegmentTotals& totals) {
  totals.fresh += verdict.fresh;
  if (verdict.kind != SegmentClass::fresh) count_unusual(verdict, lone_fin, totals);
}
/// Moves what was counted as retransmitted, fast or by timeout, to the spurious ones.
void take_back(const UndoneLosses& undone, SegmentTotals& totals);
/// Adds `part` to `totals`.
void add(const SegmentTotals& part, SegmentTotals& totals);

}  // namespace weir
