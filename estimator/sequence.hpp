/// TCP sequence numbers: comparison that survives wrapping, ranges, and a bounded set of ranges.
///
/// Pure. Comparisons are signed 32-bit differences (RFC 9293, 3.4): right as long as both numbers lie within
/// 2^31 of each other, which the callers see to.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace weir {

using SequenceNumber = std::uint32_t;

/// How far `a` lies behind `b` in the sequence space; negative when it lies before it.
[[nodiscard]] constexpr std::int32_t sequence_distance(SequenceNumber a, SequenceNumber b) {
  return static_cast<std::int32_t>(a - b);
}
[[nodiscard]] constexpr bool precedes(SequenceNumber a, SequenceNumber b) {
  return sequence_distance(a, b) < 0;
}
[[nodiscard]] constexpr bool at_or_before(SequenceNumber a, SequenceNumber b) {
  return sequence_distance(a, b) <= 0;
}
[[nodiscard]] constexpr SequenceNumber later_of(SequenceNumber a, SequenceNumber b) {
  return precedes(a, b) ? b : a;
}
[[nodiscard]] constexpr SequenceNumber earlier_of(SequenceNumber a, SequenceNumber b) {
  return precedes(a, b) ? a : b;
}

/// Bytes [begin, end) of one direction of a connection.
struct SequenceRange {
  SequenceNumber begin = 0;
  SequenceNumber end = 0;
  [[nodiscard]] constexpr bool empty() const { return at_or_before(end, begin); }
  [[nodiscard]] constexpr std::uint32_t size() const { return empty() ? 0 : end - begin; }
  bool operator==(const SequenceRange&) const = default;
};

[[nodiscard]] constexpr SequenceRange overlap_of(SequenceRange a, SequenceRange b) {
  return {later_of(a.begin, b.begin), earlier_of(a.end, b.end)};
}

/// Disjoint ranges in ascending order, at most `limit` of them. Beyond that an addition is refused: what a
/// stranger's packets can grow is bounded.
class SequenceRangeSet {
 public:
  explicit SequenceRangeSet(std::size_t limit) : limit_(limit) {}

  [[nodiscard]] const std::vector<SequenceRange>& ranges() const { return ranges_; }
  [[nodiscard]] bool empty() const { return ranges_.empty(); }
  void clear() { ranges_.clear(); }

  /// Adds `range` and calls `on_new` for each part of it that was not in the set before, in ascending order.
  template <typename OnNew>
  void add(SequenceRange range, OnNew&& on_new) {
    if (range.empty()) return;
    const auto first = std::find_if(ranges_.begin(), ranges_.end(),
                                    [&](const SequenceRange& r) { return at_or_before(range.begin, r.end); });
    auto last = first;
    SequenceNumber covered = range.begin;
    SequenceRange merged = range;
    for (; last != ranges_.end() && at_or_before(last->begin, range.end); ++last) {
      if (precedes(covered, last->begin)) on_new(SequenceRange{covered, last->begin});
      covered = later_of(covered, last->end);
      merged = {earlier_of(merged.begin, last->begin), later_of(merged.end, last->end)};
    }
    if (first == last && ranges_.size() >= limit_) return;
    if (precedes(covered, range.end)) on_new(SequenceRange{covered, range.end});
    if (first == last) {
      ranges_.insert(first, merged);
    } else {
      *first = merged;
      ranges_.erase(first + 1, last);
    }
  }

  /// Forgets everything below `edge`.
  void trim_below(SequenceNumber edge) {
    const auto keep = std::find_if(ranges_.begin(), ranges_.end(),
                                   [&](const SequenceRange& r) { return precedes(edge, r.end); });
    ranges_.erase(ranges_.begin(), keep);
    if (!ranges_.empty()) ranges_.front().begin = later_of(ranges_.front().begin, edge);
  }

 private:
  std::vector<SequenceRange> ranges_;
  std::size_t limit_;
};

}  // namespace weir
