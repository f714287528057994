/// The short ways of HalfFlow, to be inlined where packets are worked on by the million: segments in their
/// turn, and acknowledgments of what was sent once and never doubted.
///
/// Private to the estimator. Each says the same as the long way of what it takes (half_flow.cpp,
/// half_flow_acks.cpp), which goes on from where it stops.
#pragma once

#include <algorithm>
#include <chrono>

#include "estimator/half_flow.hpp"

namespace weir {

struct HalfFlow::AckProgress {
  static constexpr TimePoint kUntimed = TimePoint::min();
  TimePoint now;
  std::uint64_t charged = 0;
  std::uint32_t bytes = 0;
  std::uint64_t charged_twice = 0;  ///< of bytes that came once more, for nothing
  UndoneLosses undone{};
  TimePoint timed = kUntimed;  ///< when the segment was sent whose arrival this ACK reports
  bool immediate = false;      ///< the receiver cannot have held the ACK back
  bool advanced = false;       ///< the ACK covers more than the one before
  bool has_echo = false;
  std::uint32_t echo = 0;   ///< the timestamp that the ACK repeats
  SequenceNumber edge = 0;  ///< what the receiver waited for: the number of the ACK before
};

inline Tracking* HalfFlow::borrow_tracking(TrackingPool& trackings) {
  if (tracking_ == TrackingPool::kNone) tracking_ = trackings.lend(*this);
  return tracking_in(trackings);
}

// -- data --

/// Its copy is known by it (is_capture_duplicate).
[[gnu::always_inline]] inline void HalfFlow::remember(const DataSegment& s, Tracking& t) {
  if (s.ip_id == 0 && !s.has_timestamp) [[unlikely]]
    return;
  t.seen[t.next_seen] = {.sequence = s.range.begin,
                         .mark = s.ip_id != 0 ? s.ip_id : s.timestamp,
                         .at = CoarseTime(s.time),
                         .length = static_cast<std::uint16_t>(s.range.end - s.range.begin),
                         .by_timestamp = s.ip_id == 0};
  t.next_seen = static_cast<std::uint8_t>((t.next_seen + 1U) % t.seen.size());
}

inline void HalfFlow::note_ecn(const DataSegment& s, Tracking& t) {
  if (s.ecn == 0) [[likely]]
    return;
  state_.ecn_capable = true;
  if (s.ecn != kEcnCe) return;
  t.marked = true;
  t.last_marked = s.time;
}

inline void HalfFlow::raise_high(SequenceNumber to) {
  high_ = to;
  if (sequence_distance(high_, low_) > kReach) [[unlikely]]
    raise_low(high_ - kReach);
}

[[gnu::always_inline]] inline Tracking* HalfFlow::in_turn(SequenceRange range, std::uint32_t payload,
                                                          std::uint32_t wire_segments,
                                                          TrackingPool& trackings) {
  const bool steady = is_so({.started = 1, .acked = 1, .strays = 3}, {.started = 1, .acked = 1});
  if (range.begin != high_ || !steady) [[unlikely]]
    return nullptr;
  if (payload <= 1 || !precedes(last_ack_, range.end) || wire_segments > kMostOfOne) [[unlikely]]
    return nullptr;
  Tracking* const t = borrow_tracking(trackings);
  if (t == nullptr || t->ring.is_full()) [[unlikely]]
    return nullptr;
  return t;
}

[[gnu::always_inline]] inline void HalfFlow::take_in_turn(const DataSegment& s, Tracking& t) {
  remember(s, t);
  note_ecn(s, t);
  raise_high(s.range.end);
  t.ring.push_in_turn({.range = s.range,
                       .sent = s.time,
                       .charged = static_cast<std::uint32_t>(s.charged.count()),
                       .segments = static_cast<std::uint16_t>(s.wire_segments)});
}

// -- acknowledgments --

/// From what arrived to what it tells.
[[gnu::always_inline]] inline void HalfFlow::conclude(const PacketRecord& ack, const AckProgress& progress,
                                                      std::uint16_t mss, AckVerdict& verdict) {
  constexpr Duration kLongestRtt = std::chrono::seconds(60);
  if (progress.timed == AckProgress::kUntimed) return;
  const Duration rtt = ack.time - progress.timed;
  if (rtt <= Duration::zero() || rtt > kLongestRtt) return;
  verdict.answered = rtt;
  const bool held_back =
      !progress.immediate && progress.bytes < 2 * segment_payload(mss, ack.tcp_header_bytes);
  if (held_back) return;
  floor_.add(rtt, ack.time);
  smoothed_.add(rtt);
  verdict.rtt = rtt;
  verdict.sent = progress.timed;
  verdict.charged = Bytes(progress.charged);
}

[[gnu::always_inline]] inline Tracking* HalfFlow::asked_usually(const PacketRecord& ack,
                                                                TrackingPool& trackings) const {
  if (!steadily_acked()) [[unlikely]]
    return nullptr;
  const bool advances = precedes(last_ack_, ack.acknowledgment) && at_or_before(ack.acknowledgment, high_);
  if (!advances || tracking_ == TrackingPool::kNone) [[unlikely]]
    return nullptr;
  Tracking& t = trackings[tracking_];
  if (t.troubled) [[unlikely]]
    return nullptr;
  return &t;
}

template <typename Tell, typename TellAny>
[[gnu::always_inline]] inline void HalfFlow::on_usual_ack(const PacketRecord& ack, Tracking& t,
                                                          const FlowWork& work, Tell&& tell,
                                                          TellAny&& tell_any) {
  SegmentRing& ring = t.ring;
  PathWindow& path = work.path;
  const SequenceNumber number = ack.acknowledgment;
  last_ack_ = number;
  // What lives through the loop stays in registers: scalars, told of once behind it.
  std::uint64_t charged = 0;
  std::uint32_t bytes = 0;
  std::uint32_t segments = 0;
  std::int64_t newest = t.newest_delivered.time_since_epoch().count();
  std::int64_t sent = 0;
  SequenceNumber end = number - 1;
  unsigned flags = 0;
  ring.pop_while([&](const SentSegment& segment) {
    const SequenceRange range = segment.range;
    if (precedes(number, range.end)) return false;
    if ((segment.flags & ~unsigned{SentSegment::kFollowed}) != 0) [[unlikely]]
      return false;
    flags = segment.flags;
    end = range.end;
    sent = segment.sent.time_since_epoch().count();
    charged += segment.charged;
    bytes += end - range.begin;
    newest = sent > newest ? sent : newest;
    segments += segment.segments;
    path.count_delivered(segment.sent, segment.segments);
    return true;
  });
  t.newest_delivered = TimePoint(Duration(newest));
  path.fates_told(segments);
  if (!ring.empty() && precedes(ring.front().range.begin, number)) [[unlikely]]
    return tell_any(go_on_with_ack(ack, work, charged, bytes));

  AckProgress progress{.now = ack.time, .charged = charged, .bytes = bytes, .advanced = true};
  if (end == number && !was_sent_again_since(TimePoint(Duration(sent)))) {
    progress.timed = TimePoint(Duration(sent));
    progress.immediate = flags != 0;
    state_.sent_again = 0;  // all that is still in flight left later
  }
  if (ring.empty()) state_.sent_again = false;
  if (charged > 0 || ack.payload == 0) t.last_ack = ack.time;
  if (charged > 0) path.delivered(ack.time, Bytes(charged));
  rest_in_a_crowd(t, work.trackings);
  AckVerdict verdict;
  conclude(ack, progress, work.mss, verdict);
  tell(verdict);
}

}  // namespace weir
