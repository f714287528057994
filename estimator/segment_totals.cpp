#include "estimator/segment_totals.hpp"

#include <algorithm>

namespace weir {

void count_unusual(const SegmentVerdict& verdict, bool lone_fin, SegmentTotals& totals) {
  const std::uint32_t n = verdict.segments;
  switch (verdict.kind) {
    case SegmentClass::fresh:
      break;
    case SegmentClass::probe:
      totals.probe += n;
      break;
    case SegmentClass::keepalive:
      totals.keepalive += n;
      break;
    case SegmentClass::duplicate:
      totals.duplicate += n;
      break;
    case SegmentClass::spurious:
      totals.spurious += n;
      totals.fin_retransmitted += lone_fin ? 1 : 0;
      break;
    case SegmentClass::retransmitted:
      totals.retransmitted += n;
      totals.fin_retransmitted += lone_fin ? 1 : 0;
      if (verdict.resent_after) (verdict.by_timeout ? totals.timeout : totals.fast) += n;
      break;
    case SegmentClass::reordered:
      totals.reordered += n;
      break;
    case SegmentClass::hole_fill:
      totals.hole_fill += n;
      break;
    case SegmentClass::unknown:
      totals.unknown += n;
      break;
  }
}

void take_back(const UndoneLosses& undone, SegmentTotals& totals) {
  const std::uint64_t all = std::min<std::uint64_t>(undone.segments, totals.retransmitted);
  totals.retransmitted -= all;
  totals.spurious += all;
  const std::uint64_t timeouts = std::min({std::uint64_t{undone.timeouts}, all, totals.timeout});
  totals.timeout -= timeouts;
  totals.fast -= std::min(all - timeouts, totals.fast);
  totals.timeout =
      std::min(totals.timeout, totals.retransmitted - std::min(totals.retransmitted, totals.fast));
}

void add(const SegmentTotals& part, SegmentTotals& totals) {
  totals.data += part.data;
  totals.fresh += part.fresh;
  totals.retransmitted += part.retransmitted;
  totals.fast += part.fast;
  totals.timeout += part.timeout;
  totals.spurious += part.spurious;
  totals.hole_fill += part.hole_fill;
  totals.reordered += part.reordered;
  totals.probe += part.probe;
  totals.keepalive += part.keepalive;
  totals.duplicate += part.duplicate;
  totals.unknown += part.unknown;
  totals.syn_retransmitted += part.syn_retransmitted;
  totals.fin_retransmitted += part.fin_retransmitted;
}

}  // namespace weir
