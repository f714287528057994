#include "estimator/half_flow.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <utility>

#include "estimator/half_flow_usual.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Reordering within a network is over sooner; a retransmission cannot come sooner than a round trip.
constexpr Duration kLongestReordering = 3ms;
/// A repeated IP identification within this time, and sooner than a round trip, is the same packet seen
/// twice; some stacks send again with the old one.
constexpr Duration kDuplicateWithin = 100ms;
constexpr Duration kDuplicateByTimestampWithin = 1ms;
/// A SYN repeated sooner was captured twice: the first timer runs for a second (RFC 6298, 2.1).
constexpr Duration kSynDuplicateWithin = 100ms;
/// Timers wait longer (Linux: 200 ms and the RTT); what ACKs ask for follows them sooner, even paced.
constexpr Duration kLeastTimeout = 100ms;
constexpr Duration kLongestReaction = 50ms;
constexpr std::uint8_t kStraysBeforeRestart = 3;
/// Segments in flight that are remembered of a direction that nobody has answered.
constexpr std::size_t kMostUnanswered = 256;

/// Of `segments` wire segments in `size` bytes, those in `part` of them. All but the last are full, the last
/// may be short: one less, each of as many bytes, comes out right wherever the cut is a full segment's.
[[nodiscard]] std::uint32_t segments_in(std::uint32_t part, std::uint32_t segments, std::uint32_t size) {
  const std::uint64_t full = segments > 1 ? segments - 1 : segments;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>((full * part + size - 1) / size, segments));
}

}  // namespace

/// A frame's bytes and wire segments, shared out over parts of its sequence range.
struct HalfFlow::Parts {
  const DataSegment& whole;

  [[nodiscard]] std::uint32_t segments(SequenceRange part) const {
    if (whole.wire_segments <= 1 || part == whole.range) return whole.wire_segments;
    return segments_in(part.size(), whole.wire_segments, whole.range.size());
  }
  [[nodiscard]] std::uint32_t charged(SequenceRange part) const {
    if (part == whole.range) return static_cast<std::uint32_t>(whole.charged.count());
    const std::uint64_t size = std::max<std::uint64_t>(whole.range.size(), 1);
    return static_cast<std::uint32_t>(whole.charged.count() * part.size() / size);
  }
};

// -- opening, and the end --

SynVerdict HalfFlow::on_syn(const DataSegment& syn, std::uint16_t mss) {
  if (state_.opened) {
    if (last_sent_again_.before(syn.time) < kSynDuplicateWithin) return SynVerdict::duplicate;
    state_.syn_waits = false;
    last_sent_again_ = CoarseTime(syn.time);
    state_.sent_again = true;
    return SynVerdict::repeated;
  }
  state_.opened = true;
  state_.syn_waits = true;
  last_sent_again_ = CoarseTime(syn.time);
  state_.sent_again = true;
  offered_mss_ = mss;
  start(syn.range.begin + 1, false);
  return SynVerdict::first;
}

void HalfFlow::start(SequenceNumber at, bool mid_stream) {
  low_ = high_ = at;
  state_.low_moved = mid_stream;
  state_.started = true;
  state_.in_step = !mid_stream;
  state_.strays = 0;
}

void HalfFlow::raise_low(SequenceNumber to) {
  low_ = later_of(low_, to);
  state_.low_moved = true;
}

void HalfFlow::leave(const FlowWork& work) {
  Tracking* t = tracking_in(work.trackings);
  if (t == nullptr) return;
  while (!t->ring.empty()) make_room(*t, work.path);
  if (t->trouble) {
    for (const Hole& hole : t->trouble->holes) work.path.hole_closed(hole.opened);
  }
  work.trackings.give_back(std::exchange(tracking_, TrackingPool::kNone));
}

void HalfFlow::rest(TrackingPool& trackings) {
  const Tracking* t = tracking_in(trackings);
  if (t != nullptr && t->rests()) trackings.give_back(std::exchange(tracking_, TrackingPool::kNone));
}

/// Refused data were not lost: they will be sent again as if for the first time.
void HalfFlow::reject_syn_data(const FlowWork& work) {
  leave(work);
  high_ = low_;
}

// -- classes --

bool HalfFlow::is_zero_window_probe(const DataSegment& s) const {
  return state_.peer_window_zero && s.payload <= 1 && s.range.size() == s.payload;
}

/// A keep-alive repeats the last byte *acknowledged* (RFC 9293, 3.8.4); one byte that nobody has acknowledged
/// yet is a retransmission like any other.
bool HalfFlow::is_keepalive(const DataSegment& s) const {
  return s.payload == 1 && s.range.size() == 1 && s.range.begin == high_ - 1 && state_.acked &&
         at_or_before(high_, last_ack_);
}

/// Both halves of the round trip together; zero: neither is known.
Duration HalfFlow::least_round_trip(const HalfFlow& peer) const {
  return least_rtt().value_or(Duration::zero()) + peer.least_rtt().value_or(Duration::zero());
}

Duration HalfFlow::duplicate_within(const HalfFlow& peer) const {
  const Duration round_trip = least_round_trip(peer);
  if (round_trip == Duration::zero()) return kDuplicateWithin;
  return std::clamp(round_trip, kLongestReordering, kDuplicateWithin);
}

bool HalfFlow::is_capture_duplicate(const DataSegment& s, const HalfFlow& peer, const Tracking& t) const {
  for (const SeenSegment& seen : t.seen) {
    if (seen.sequence != s.range.begin || seen.length == 0 ||
        seen.length != static_cast<std::uint16_t>(s.range.size())) {
      continue;
    }
    const Duration age = seen.at.before(s.time);
    if (s.ip_id != 0) {
      if (!seen.by_timestamp && seen.mark == s.ip_id && age < duplicate_within(peer)) return true;
      continue;
    }
    const Duration least = floor_.value().value_or(kDuplicateByTimestampWithin);
    if (s.has_timestamp && seen.by_timestamp && seen.mark == s.timestamp &&
        age < std::min(least, kDuplicateByTimestampWithin)) {
      return true;
    }
  }
  return false;
}

/// More than a quarter of the sequence space away from H: garbage, or another connection whose SYN was not
/// seen.
bool HalfFlow::is_out_of_reach(const DataSegment& s) {
  if (std::abs(static_cast<std::int64_t>(sequence_distance(s.range.end, high_))) < kReach) {
    state_.strays = 0;
    return false;
  }
  state_.strays = (state_.strays + 1U) & 3U;
  return state_.strays < kStraysBeforeRestart;
}

SegmentVerdict HalfFlow::on_data(const DataSegment& s, const HalfFlow& peer, const CaptureGap& gap,
                                 const FlowWork& work) {
  const std::uint32_t all = s.wire_segments;
  if (Tracking* const usual = in_turn(s.range, s.payload, all, work.trackings)) [[likely]] {
    work.path.segments_sent(s.time, all, smoothed_.mean());
    take_in_turn(s, *usual);
    return {.kind = SegmentClass::fresh, .fresh = all};
  }
  if (!state_.started) start(state_.acked ? later_of(s.range.begin, last_ack_) : s.range.begin, true);
  if (is_zero_window_probe(s)) return {.kind = SegmentClass::probe, .segments = all};
  if (is_keepalive(s)) return {.kind = SegmentClass::keepalive, .segments = all};
  Tracking* t = borrow_tracking(work.trackings);
  if (t == nullptr) return classify_untracked(s);
  if (is_capture_duplicate(s, peer, *t)) return {.kind = SegmentClass::duplicate, .segments = all};
  remember(s, *t);
  if (is_out_of_reach(s)) return {.kind = SegmentClass::unknown, .segments = all};
  if (state_.strays >= kStraysBeforeRestart) {
    leave(work);
    start(s.range.begin, true);
    t = borrow_tracking(work.trackings);
    if (t == nullptr) return classify_untracked(s);
  }
  note_ecn(s, *t);

  const Parts parts{s};
  if (at_or_before(high_, s.range.begin)) {
    append_fresh(s.range, parts, *t, work.path);
    return {.kind = SegmentClass::fresh, .fresh = all};
  }
  return classify_below_high(parts, peer, gap, *t, work);
}

/// No working memory was to be had: the bytes below H are still told from the new ones, their fates are not
/// followed.
SegmentVerdict HalfFlow::classify_untracked(const DataSegment& s) {
  const std::uint32_t all = s.wire_segments;
  if (is_out_of_reach(s)) return {.kind = SegmentClass::unknown, .segments = all};
  if (state_.strays >= kStraysBeforeRestart) start(s.range.begin, true);
  if (at_or_before(high_, s.range.begin)) {
    if (precedes(high_, s.range.begin)) raise_low(s.range.begin);  // a hole that cannot be kept
    raise_high(s.range.end);
    return {.kind = SegmentClass::fresh, .fresh = all};
  }
  raise_high(later_of(high_, s.range.end));
  if (precedes(s.range.begin, low_)) return {.kind = SegmentClass::unknown, .segments = all};
  const bool acknowledged = state_.acked && at_or_before(s.range.end, last_ack_);
  return {.kind = acknowledged ? SegmentClass::spurious : SegmentClass::retransmitted, .segments = all};
}

SegmentVerdict HalfFlow::classify_below_high(const Parts& parts, const HalfFlow& peer, const CaptureGap& gap,
                                             Tracking& t, const FlowWork& work) {
  PathWindow& path = work.path;
  const DataSegment& s = parts.whole;
  const SequenceRange fresh{later_of(s.range.begin, high_), s.range.end};
  const SequenceRange old{s.range.begin, earlier_of(s.range.end, high_)};
  if (!fresh.empty()) append_fresh(fresh, parts, t, path);
  const std::uint32_t old_segments = parts.segments(old);
  SegmentVerdict verdict{
      .kind = SegmentClass::unknown, .segments = old_segments, .fresh = s.wire_segments - old_segments};
  if (precedes(old.begin, low_)) return verdict;

  // Younger than both halves of the round trip: no retransmission can have been asked for and sent since.
  const Duration round_trip = least_round_trip(peer);
  const Duration reordering =
      round_trip > Duration::zero() ? std::min(round_trip, kLongestReordering) : kLongestReordering;
  const Duration timeout = timeout_at(s.time, peer, t);
  const SentAgain again = send_again(old, parts, timeout, t, work);  // skips the holes
  const Filled filled = fill_holes(old, parts, reordering, gap, t, path);
  if (filled.bytes() < old.size())
    t.in_trouble(nothing_doubted_below()).sent_twice.add(old, parts.charged(old));
  last_sent_again_ = CoarseTime(s.time);
  state_.sent_again = true;

  if (filled.bytes() * 2 >= old.size()) {
    verdict.kind = filled.late > 0        ? SegmentClass::hole_fill
                   : filled.reordered > 0 ? SegmentClass::reordered
                                          : SegmentClass::unknown;
    return verdict;
  }
  if (!again.lost) {
    verdict.kind = SegmentClass::spurious;
    return verdict;
  }
  verdict.kind = SegmentClass::retransmitted;
  verdict.resent_after = again.after;
  verdict.by_timeout = again.after && *again.after > timeout;
  return verdict;
}

/// What is sent again after more than this was sent by a timer: later than both halves of the round trip
/// usually take, and no ACK came in time to ask for it. The delay alone does not tell: after a burst of
/// losses ACKs ask for the last of them round trips later.
Duration HalfFlow::timeout_at(TimePoint now, const HalfFlow& peer, const Tracking& t) const {
  const Duration reaction = peer.smoothed_.longest_usual() + kLongestReaction;
  if (now - t.last_ack < reaction) return Duration::max();
  return std::max(kLeastTimeout, smoothed_.longest_usual() + peer.smoothed_.longest_usual());
}

// -- new bytes --

void HalfFlow::append_fresh(SequenceRange part, const Parts& parts, Tracking& t, PathWindow& path) {
  const TimePoint at = parts.whole.time;
  const SequenceNumber before = high_;
  raise_high(part.end);

  if (precedes(before, part.begin)) {
    if (!state_.in_step) {
      raise_low(part.begin);  // joined mid-stream: what was in flight then is neither lost nor reordered
    } else if (!state_.acked || precedes(last_ack_, part.begin)) {
      open_hole({state_.acked ? later_of(before, last_ack_) : before, part.begin}, at, t, path);
    }
  }
  t.ring.note_followed(at);
  keep_in_flight(t.ring.size(), part, parts, t, path);
}

void HalfFlow::open_hole(SequenceRange hole, TimePoint at, Tracking& t, PathWindow& path) {
  auto& holes = t.in_trouble(nothing_doubted_below()).holes;
  if (holes.size() >= Trouble::kMostHoles) {
    // The oldest leaves S together with all below it: "unknown" from now on.
    path.hole_closed(holes.front().opened);
    raise_low(holes.front().range.end);
    holes.erase(holes.begin());
  }
  holes.push_back({.range = hole, .opened = at});
  path.hole_opened(at);
}

/// Makes room for one more hole beside holes[i], of which `here` has just been filled. False: holes[i] is the
/// oldest itself, and only what lies above `here` is left of it.
bool HalfFlow::forget_oldest_hole(std::size_t& i, SequenceRange here, Tracking& t, PathWindow& path) {
  auto& holes = t.trouble->holes;
  if (i == 0) {
    raise_low(here.begin);
    holes[i++].range.begin = here.end;
    return false;
  }
  path.hole_closed(holes.front().opened);
  raise_low(holes.front().range.end);
  holes.erase(holes.begin());
  --i;
  return true;
}

/// The ring is full (or the budget of all flows spent): give up the oldest fate.
void HalfFlow::make_room(Tracking& t, PathWindow& path) {
  if (t.ring.empty()) return;
  SentSegment& oldest = t.ring[0];
  if (!oldest.has_fate()) {
    if (oldest.is(SentSegment::kDoubtful)) path.segments_undoubted(oldest.sent, oldest.segments);
    path.segments_forgotten(oldest.sent, oldest.segments);
  }
  t.ring.pop_front();
}

void HalfFlow::keep_in_flight(std::size_t at, SequenceRange part, const Parts& parts, Tracking& t,
                              PathWindow& path) {
  const TimePoint now = parts.whole.time;
  SentSegment segment{.range = part,
                      .sent = now,
                      .charged = parts.charged(part),
                      .segments = static_cast<std::uint16_t>(std::min(parts.segments(part), kMostOfOne))};
  if (state_.acked) {
    path.segments_sent(now, segment.segments, smoothed_.mean());
  } else {
    segment.set(SentSegment::kUncounted);
  }
  if (state_.acked && at_or_before(part.end, last_ack_)) {  // the tap saw the ACK first
    path.segments_delivered(segment.sent, segment.segments);
    path.delivered(now, Bytes(segment.charged));
    return;
  }
  SegmentRing& ring = t.ring;
  if (!state_.acked && ring.size() >= kMostUnanswered) {  // they are in no cohort: nothing is lost with them
    ring.pop_front();
    at = at > 0 ? at - 1 : 0;
  }
  if (ring.insert(at, segment)) return;

  // No room. A bulk sender's neighbours of one time slot can share an entry: only their RTT is given up.
  SentSegment* last = at > 0 ? &ring[at - 1] : nullptr;
  if (last != nullptr && last->range.end == part.begin && path.same_slot(last->sent, now) &&
      sequence_distance(part.end, last->range.begin) < kReach && precedes(last->range.begin, part.end) &&
      (last->flags | SentSegment::kFollowed | SentSegment::kMerged) ==
          (segment.flags | SentSegment::kFollowed | SentSegment::kMerged) &&
      last->segments + segment.segments <= static_cast<int>(kMostOfOne)) {
    last->range.end = part.end;
    last->charged += segment.charged;
    last->segments = static_cast<std::uint16_t>(last->segments + segment.segments);
    last->sent = now;
    last->set(SentSegment::kMerged);
    return;
  }
  make_room(t, path);
  if (!ring.insert(at > 0 ? at - 1 : 0, segment) && state_.acked)
    path.segments_forgotten(segment.sent, segment.segments);
}

// -- bytes below H --

std::size_t HalfFlow::split_at(SequenceNumber at, SegmentRing& ring) {
  const std::size_t i = ring.first_ending_after(at);
  if (i == ring.size() || !precedes(ring[i].range.begin, at)) return i;
  return split(i, at, ring) ? i + 1 : i;
}

bool HalfFlow::split(std::size_t i, SequenceNumber at, SegmentRing& ring) {
  SentSegment lower = ring[i];
  const std::uint32_t size = lower.range.size();
  if (size == 0) return false;
  const std::uint32_t part = at - lower.range.begin;
  lower.range.end = at;
  lower.charged = static_cast<std::uint32_t>(std::uint64_t{lower.charged} * part / size);
  lower.segments = static_cast<std::uint16_t>(segments_in(part, lower.segments, size));
  const SentSegment before = ring[i];
  if (!ring.insert(i, lower)) return false;  // no room: the whole shares the fate of its upper part
  SentSegment& upper = ring[i + 1];
  upper.range.begin = at;
  upper.charged = before.charged - lower.charged;
  upper.segments = static_cast<std::uint16_t>(before.segments - lower.segments);
  return true;
}

/// Bytes that passed before pass again: what was acknowledged or SACKed in the meantime was sent again for
/// nothing, the rest was lost behind the tap, and is in flight anew.
HalfFlow::SentAgain HalfFlow::send_again(SequenceRange part, const Parts& parts, Duration timeout,
                                         Tracking& t, const FlowWork& work) {
  PathWindow& path = work.path;
  SentAgain again;
  const SequenceRange open{state_.acked ? later_of(part.begin, last_ack_) : part.begin, part.end};
  if (open.empty()) return again;

  const TimePoint now = parts.whole.time;
  Trouble& trouble = t.in_trouble(nothing_doubted_below());
  SegmentRing& ring = t.ring;
  const std::size_t first = split_at(open.begin, ring);
  static_cast<void>(split_at(open.end, ring));
  for (std::size_t i = first; i < ring.size() && precedes(ring[i].range.begin, open.end); ++i) {
    if (ring[i].is(SentSegment::kSacked)) continue;
    const Duration after = now - ring[i].sent;
    again.after = std::max(again.after.value_or(after), after);
  }
  const bool by_timeout = again.after && *again.after > timeout;
  bool any = false;
  for (std::size_t i = first; i < ring.size(); ++i) {
    SentSegment& segment = ring[i];
    if (!precedes(segment.range.begin, open.end)) break;
    any = true;
    if (segment.is(SentSegment::kSacked)) continue;
    again.lost = true;
    if (!segment.is(SentSegment::kUncounted)) {
      if (segment.is(SentSegment::kDoubtful)) path.segments_undoubted(segment.sent, segment.segments);
      bool in_cohort = !segment.is(SentSegment::kSetAside);
      if (segment.is(SentSegment::kLost)) {
        path.loss_told_again(segment.sent, now);
      } else if (in_cohort) {
        in_cohort = path.segments_lost_after_tap(segment.sent, segment.segments, now, work.remote);
      }
      trouble.losses.add({.range = segment.range,
                          .sent = segment.sent,
                          .segments = segment.segments,
                          .by_timeout = by_timeout,
                          .has_timestamp = parts.whole.has_timestamp,
                          .in_cohort = in_cohort,
                          .timestamp = parts.whole.timestamp});
      path.segments_sent(now, segment.segments, smoothed_.mean());
    }
    segment.sent = now;
    segment.unset(SentSegment::kDoubtful);
    segment.unset(SentSegment::kLost);
    segment.unset(SentSegment::kSetAside);
    segment.unset(SentSegment::kFollowed);
    segment.set(SentSegment::kRetransmitted);
    if (trouble.resent.size() < Trouble::kMostResent)
      trouble.resent.push_back({segment.range.begin, segment.sent});
  }
  // Bytes seen whose fate was given up (the ring was full) were not acknowledged either: sent again, lost.
  again.lost = again.lost || !any;
  return again;
}

HalfFlow::Filled HalfFlow::fill_holes(SequenceRange part, const Parts& parts, Duration reordering,
                                      const CaptureGap& gap, Tracking& t, PathWindow& path) {
  Filled filled;
  if (!t.trouble) return filled;
  auto& holes = t.trouble->holes;
  for (std::size_t i = 0; i < holes.size();) {
    const SequenceRange here = overlap_of(holes[i].range, part);
    if (here.empty()) {
      ++i;
      continue;
    }
    const Hole hole = holes[i];
    if (hole.opened >= gap.begin && hole.opened <= gap.end) {
      filled.unknown += here.size();  // the capture's own hole
    } else if (parts.whole.time - hole.opened < reordering) {
      filled.reordered += here.size();
    } else {
      filled.late += here.size();
      if (state_.acked) path.hole_filled_late(hole.opened, parts.segments(here));
    }
    keep_in_flight(t.ring.first_ending_after(here.begin), here, parts, t, path);

    const SequenceRange below{hole.range.begin, here.begin};
    const SequenceRange above{here.end, hole.range.end};
    if (below.empty() && above.empty()) {
      path.hole_closed(hole.opened);
      holes.erase(holes.begin() + static_cast<std::ptrdiff_t>(i));
    } else if (below.empty() || above.empty()) {
      holes[i++].range = below.empty() ? above : below;
    } else if (holes.size() < Trouble::kMostHoles || forget_oldest_hole(i, here, t, path)) {
      holes[i].range = below;
      holes.insert(holes.begin() + static_cast<std::ptrdiff_t>(i) + 1, Hole{above, hole.opened});
      path.hole_opened(hole.opened);
      i += 2;
    }
  }
  return filled;
}

}  // namespace weir
