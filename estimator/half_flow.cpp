#include "estimator/half_flow.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Reordering within a network is over sooner; a retransmission cannot come sooner than a round trip.
constexpr Duration kLongestReordering = 3ms;
/// A repeated IP identification within this time is the same packet seen twice, later it has wrapped.
constexpr Duration kDuplicateWithin = 1s;
constexpr Duration kDuplicateByTimestampWithin = 1ms;
constexpr Duration kBackToBack = 1ms;
constexpr Duration kLongestRtt = 60s;
/// Timers wait longer (Linux: 200 ms and the RTT); what ACKs ask for follows them sooner, even paced.
constexpr Duration kLeastTimeout = 100ms;
constexpr Duration kLongestReaction = 50ms;
/// S is kept this far below H: a quarter of the sequence space, so that comparisons stay unambiguous.
constexpr std::int32_t kReach = 1 << 30;
constexpr std::uint8_t kStraysBeforeRestart = 3;
/// Payload of a segment when no SYN told: MTU 1500 less IPv4 and TCP headers.
constexpr std::uint32_t kMtuLessIpHeader = 1480;

}  // namespace

// -- a segment cut into the parts that share a fate --

/// Bytes and wire segments of a frame, shared out over parts of its sequence range.
struct HalfFlow::Parts {
  const DataSegment& whole;

  [[nodiscard]] std::uint32_t segments(SequenceRange part) const {
    if (whole.wire_segments <= 1 || part == whole.range) return whole.wire_segments;
    const std::uint32_t each = (whole.range.size() + whole.wire_segments - 1) / whole.wire_segments;
    return std::min(whole.wire_segments, (part.size() + each - 1) / each);
  }
  [[nodiscard]] std::uint32_t charged(SequenceRange part) const {
    const std::uint64_t size = std::max<std::uint64_t>(whole.range.size(), 1);
    return static_cast<std::uint32_t>(whole.charged.count() * part.size() / size);
  }
};

// -- opening --

SynVerdict HalfFlow::on_syn(const DataSegment& syn, std::uint16_t mss) {
  if (is_capture_duplicate(syn)) return SynVerdict::duplicate;
  remember(syn);
  if (opened_) {
    syn_waits_ = false;
    return SynVerdict::repeated;
  }
  opened_ = true;
  syn_waits_ = true;
  last_sent_again_ = syn.time;
  isn_ = syn.range.begin;
  offered_mss_ = mss;
  start(isn_ + 1, false);
  return SynVerdict::first;
}

void HalfFlow::start(SequenceNumber at, bool mid_stream) {
  low_ = low_at_start_ = high_ = at;
  started_ = true;
  in_step_ = !mid_stream;
  strays_ = 0;
}

std::uint32_t HalfFlow::segment_payload(std::uint8_t header) const {
  if (mss_ == 0) return kMtuLessIpHeader - header;
  // The MSS option does not count TCP options (RFC 6691); they take their room from the payload.
  const std::uint32_t options = header - 20U;
  return mss_ > options ? mss_ - options : 1U;
}

// -- classes --

/// A keep-alive repeats the last byte *acknowledged* (RFC 9293, 3.8.4); one byte that nobody has acknowledged
/// yet is a retransmission like any other.
bool HalfFlow::is_keepalive(const DataSegment& s) const {
  return s.payload == 1 && s.range.size() == 1 && s.range.begin == high_ - 1 && acked_ &&
         at_or_before(high_, last_ack_);
}

/// Without payload the byte below the last one acknowledged is repeated in the number only.
std::optional<SegmentClass> HalfFlow::classify_empty(SequenceNumber sequence) const {
  const bool all_acked = acked_ && (!started_ || at_or_before(high_, last_ack_));
  if (!all_acked || sequence != last_ack_ - 1) return std::nullopt;
  return peer_window_zero_ ? SegmentClass::probe : SegmentClass::keepalive;
}

bool HalfFlow::is_capture_duplicate(const DataSegment& s) const {
  return std::any_of(seen_.begin(), seen_.end(), [&](const Seen& seen) {
    if (seen.length == 0 || seen.sequence != s.range.begin ||
        seen.length != static_cast<std::uint16_t>(s.range.size())) {
      return false;
    }
    const Duration age = s.time - TimePoint(Duration(seen.at));
    if (s.ip_id != 0) return seen.ip_id == s.ip_id && age < kDuplicateWithin;
    const Duration least = floor_.value().value_or(kDuplicateByTimestampWithin);
    return s.has_timestamp && seen.timestamp == s.timestamp &&
           age < std::min(least, kDuplicateByTimestampWithin);
  });
}

void HalfFlow::remember(const DataSegment& s) {
  seen_[next_seen_] = {.sequence = s.range.begin,
                       .timestamp = s.timestamp,
                       .length = static_cast<std::uint16_t>(s.range.size()),
                       .ip_id = s.ip_id,
                       .at = s.time.time_since_epoch().count()};
  next_seen_ = static_cast<std::uint8_t>((next_seen_ + 1U) % seen_.size());
}

/// More than a quarter of the sequence space away from H: garbage, or another connection whose SYN was not
/// seen.
bool HalfFlow::is_out_of_reach(const DataSegment& s) {
  if (std::abs(static_cast<std::int64_t>(sequence_distance(s.range.end, high_))) < kReach) {
    strays_ = 0;
    return false;
  }
  return ++strays_ < kStraysBeforeRestart;
}

SegmentVerdict HalfFlow::on_data(const DataSegment& s, const HalfFlow& peer, const CaptureGap& gap,
                                 SegmentBudget& budget, PathWindow& path) {
  const std::uint32_t all = s.wire_segments;
  if (!started_) start(acked_ ? later_of(s.range.begin, last_ack_) : s.range.begin, true);
  if (is_zero_window_probe(s)) return {.kind = SegmentClass::probe, .segments = all};
  if (is_keepalive(s)) return {.kind = SegmentClass::keepalive, .segments = all};
  if (is_capture_duplicate(s)) return {.kind = SegmentClass::duplicate, .segments = all};
  remember(s);
  if (is_out_of_reach(s)) return {.kind = SegmentClass::unknown, .segments = all};
  if (strays_ >= kStraysBeforeRestart) {
    leave(path);
    start(s.range.begin, true);
  }
  if (!tracking_) {
    tracking_ = std::make_unique<Tracking>(budget);
    tracking_->doubted_below = acked_ ? last_ack_ : low_;
  }
  if (s.ecn != 0) ecn_capable_ = true;
  if (s.ecn == kEcnCe) last_marked_ = s.time;

  const Parts parts{s};
  const SequenceRange fresh{later_of(s.range.begin, high_), s.range.end};
  if (fresh == s.range) {
    append_fresh(fresh, parts, path);
    return {.kind = SegmentClass::fresh, .fresh = all};
  }

  const SequenceRange old{s.range.begin, earlier_of(s.range.end, high_)};
  if (!fresh.empty()) append_fresh(fresh, parts, path);
  const std::uint32_t old_segments = parts.segments(old);
  SegmentVerdict verdict{
      .kind = SegmentClass::unknown, .segments = old_segments, .fresh = all - old_segments};
  if (precedes(old.begin, low_)) return verdict;

  // Younger than both halves of the round trip: no retransmission can have been asked for and sent since.
  const Duration round_trip =
      floor_.value().value_or(Duration::zero()) + peer.floor_.value().value_or(Duration::zero());
  const Duration reordering =
      round_trip > Duration::zero() ? std::min(round_trip, kLongestReordering) : kLongestReordering;
  // Timed out: later than both halves usually take, and no ACK came in time to ask for it. The delay alone
  // does not tell: after a burst of losses ACKs ask for the last of them round trips later.
  const Duration reaction = peer.smoothed_.longest_usual() + kLongestReaction;
  const bool asked_for = s.time - tracking_->last_ack < reaction;
  const Duration timeout =
      asked_for ? Duration::max()
                : std::max(kLeastTimeout, smoothed_.longest_usual() + peer.smoothed_.longest_usual());
  const SentAgain again = send_again(old, parts, timeout, path);  // skips the holes
  const Filled filled = fill_holes(old, parts, reordering, gap, path);
  last_sent_again_ = s.time;

  if (filled.bytes() * 2 >= old.size()) {
    verdict.kind = filled.late > 0        ? SegmentClass::hole_fill
                   : filled.reordered > 0 ? SegmentClass::reordered
                                          : SegmentClass::unknown;
  } else if (again.lost) {
    verdict.kind = SegmentClass::retransmitted;
    verdict.resent_after = again.after;
    verdict.by_timeout = again.after && *again.after > timeout;
  } else {
    verdict.kind = SegmentClass::spurious;
  }
  return verdict;
}

// -- new bytes --

void HalfFlow::append_fresh(SequenceRange part, const Parts& parts, PathWindow& path) {
  const TimePoint at = parts.whole.time;
  const SequenceNumber before = high_;
  high_ = part.end;
  if (sequence_distance(high_, low_) > kReach) low_ = high_ - kReach;

  if (precedes(before, part.begin)) {
    if (!in_step_) {
      low_ = part.begin;  // joined mid-stream: what was in flight at that time is neither lost nor reordered
    } else if (!acked_ || precedes(last_ack_, part.begin)) {
      open_hole({acked_ ? later_of(before, last_ack_) : before, part.begin}, at, path);
    }
  }
  SegmentRing& ring = tracking_->ring;
  if (!ring.empty() && at - ring.back().sent <= kBackToBack) ring.back().set(SentSegment::kFollowed);
  keep_in_flight(ring.size(), part, parts, path);
}

void HalfFlow::open_hole(SequenceRange hole, TimePoint at, PathWindow& path) {
  auto& holes = tracking_->holes;
  if (holes.size() >= kMostHoles) {
    // The oldest leaves S together with all below it: "unknown" from now on.
    path.hole_closed(holes.front().opened);
    low_ = later_of(low_, holes.front().range.end);
    holes.erase(holes.begin());
  }
  holes.push_back({.range = hole, .opened = at});
  path.hole_opened(at);
}

/// The ring is full (or the budget of all flows spent): give up the oldest fate.
void HalfFlow::make_room(PathWindow& path) {
  SegmentRing& ring = tracking_->ring;
  if (ring.empty()) return;
  SentSegment& oldest = ring[0];
  if (!oldest.is(SentSegment::kSacked) && !oldest.is(SentSegment::kUncounted)) {
    if (oldest.is(SentSegment::kDoubtful)) path.segments_undoubted(oldest.sent, oldest.segments);
    path.segments_forgotten(oldest.sent, oldest.segments);
  }
  ring.pop_front();
}

void HalfFlow::keep_in_flight(std::size_t at, SequenceRange part, const Parts& parts, PathWindow& path) {
  const TimePoint now = parts.whole.time;
  SentSegment segment{.range = part,
                      .sent = now,
                      .charged = parts.charged(part),
                      .segments = static_cast<std::uint16_t>(std::min(parts.segments(part), 0xffffU))};
  if (acked_) {
    path.segments_sent(now, segment.segments, smoothed_.mean());
  } else {
    segment.set(SentSegment::kUncounted);
  }
  if (acked_ && at_or_before(part.end, last_ack_)) {  // the tap saw the ACK first
    path.segments_delivered(segment.sent, segment.segments);
    path.delivered(now, Bytes(segment.charged));
    return;
  }
  SegmentRing& ring = tracking_->ring;
  if (ring.insert(at, segment)) return;

  // No room. A bulk sender's neighbours of one time slot can share an entry: only their RTT is given up.
  SentSegment* last = at > 0 ? &ring[at - 1] : nullptr;
  if (last != nullptr && last->range.end == part.begin && path.same_slot(last->sent, now) &&
      (last->flags | SentSegment::kFollowed | SentSegment::kMerged) ==
          (segment.flags | SentSegment::kFollowed | SentSegment::kMerged) &&
      last->segments + segment.segments <= 0xffff) {
    last->range.end = part.end;
    last->charged += segment.charged;
    last->segments = static_cast<std::uint16_t>(last->segments + segment.segments);
    last->sent = now;
    last->set(SentSegment::kMerged);
    return;
  }
  make_room(path);
  if (!ring.insert(at > 0 ? at - 1 : 0, segment) && acked_)
    path.segments_forgotten(segment.sent, segment.segments);
}

// -- bytes below H --

void HalfFlow::split_at(SequenceNumber at) {
  SegmentRing& ring = tracking_->ring;
  const std::size_t i = ring.first_ending_after(at);
  if (i == ring.size() || !precedes(ring[i].range.begin, at)) return;
  SentSegment lower = ring[i];
  const std::uint64_t size = lower.range.size();
  const std::uint64_t part = at - lower.range.begin;
  lower.range.end = at;
  lower.charged = static_cast<std::uint32_t>(lower.charged * part / size);
  lower.segments = static_cast<std::uint16_t>((lower.segments * part + size - 1) / size);
  const SentSegment before = ring[i];
  if (!ring.insert(i, lower)) return;  // no room: the whole shares the fate of its upper part
  SentSegment& upper = ring[i + 1];
  upper.range.begin = at;
  upper.charged = before.charged - lower.charged;
  upper.segments = static_cast<std::uint16_t>(before.segments - lower.segments);
}

/// Bytes that passed before pass again: what was acknowledged or SACKed in the meantime was sent again for
/// nothing, the rest was lost behind the tap, and is in flight anew.
HalfFlow::SentAgain HalfFlow::send_again(SequenceRange part, const Parts& parts, Duration timeout,
                                         PathWindow& path) {
  const SequenceRange open{acked_ ? later_of(part.begin, last_ack_) : part.begin, part.end};
  SentAgain again;
  if (open.empty()) return again;

  split_at(open.begin);
  split_at(open.end);
  SegmentRing& ring = tracking_->ring;
  bool any = false;
  for (std::size_t i = ring.first_ending_after(open.begin); i < ring.size(); ++i) {
    SentSegment& segment = ring[i];
    if (!precedes(segment.range.begin, open.end)) break;
    any = true;
    if (segment.is(SentSegment::kSacked)) continue;
    again.lost = true;
    const Duration after = parts.whole.time - segment.sent;
    again.after = std::max(again.after.value_or(after), after);
    if (!segment.is(SentSegment::kUncounted)) {
      if (segment.is(SentSegment::kDoubtful)) path.segments_undoubted(segment.sent, segment.segments);
      path.segments_lost_after_tap(segment.sent, segment.segments);
      tracking_->losses.add({.range = segment.range,
                             .sent = segment.sent,
                             .segments = segment.segments,
                             .by_timeout = after > timeout});
      path.segments_sent(parts.whole.time, segment.segments, smoothed_.mean());
    }
    segment.sent = parts.whole.time;
    segment.unset(SentSegment::kDoubtful);
    segment.unset(SentSegment::kFollowed);
    segment.set(SentSegment::kRetransmitted);
    if (tracking_->resent.size() < kMostResent)
      tracking_->resent.push_back({segment.range.begin, segment.sent});
  }
  // Bytes seen whose fate was given up (the ring was full) were not acknowledged either: sent again, lost.
  again.lost = again.lost || !any;
  return again;
}

HalfFlow::Filled HalfFlow::fill_holes(SequenceRange part, const Parts& parts, Duration reordering,
                                      const CaptureGap& gap, PathWindow& path) {
  Filled filled;
  auto& holes = tracking_->holes;
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
      path.hole_filled_late(hole.opened, parts.segments(here));
    }
    keep_in_flight(tracking_->ring.first_ending_after(here.begin), here, parts, path);

    const SequenceRange below{hole.range.begin, here.begin};
    const SequenceRange above{here.end, hole.range.end};
    if (below.empty() && above.empty()) {
      path.hole_closed(hole.opened);
      holes.erase(holes.begin() + static_cast<std::ptrdiff_t>(i));
    } else if (below.empty() || above.empty()) {
      holes[i++].range = below.empty() ? above : below;
    } else {
      holes[i].range = below;
      holes.insert(holes.begin() + static_cast<std::ptrdiff_t>(i) + 1, Hole{above, hole.opened});
      path.hole_opened(hole.opened);
      i += 2;
    }
  }
  return filled;
}

// -- acknowledgments --

struct HalfFlow::AckProgress {
  TimePoint now;
  std::uint64_t charged = 0;
  std::uint32_t bytes = 0;
  UndoneLosses undone{};
  std::optional<SentSegment> timed{};  ///< the segment whose arrival this ACK reports
  bool immediate = false;              ///< the receiver cannot have held the ACK back
};

void HalfFlow::undo_loss(SequenceRange range, AckProgress& progress, PathWindow& path) {
  const auto loss = tracking_->losses.take(range);
  if (!loss) return;
  path.loss_undone(loss->sent, loss->segments);
  progress.undone.segments += loss->segments;
  if (loss->by_timeout) progress.undone.timeouts += loss->segments;
  progress.undone.sent = loss->sent;
}

void HalfFlow::settle_delivered(SentSegment& segment, AckProgress& progress, PathWindow& path) {
  if (segment.is(SentSegment::kSacked)) return;
  progress.charged += segment.charged;
  progress.bytes += segment.range.size();
  // Which of several transmissions arrived is not known: only a segment sent once dates its arrival.
  if (!segment.is(SentSegment::kRetransmitted)) {
    tracking_->newest_delivered = std::max(tracking_->newest_delivered, segment.sent);
  }
  if (!segment.is(SentSegment::kUncounted)) {
    if (segment.is(SentSegment::kDoubtful)) path.segments_undoubted(segment.sent, segment.segments);
    path.segments_delivered(segment.sent, segment.segments);
  }
  // An answer sooner than light can be only to the transmission before (the idea of Eifel, RFC 3522). Half
  // the least RTT: the least one seen may itself hold a queue.
  const auto least = floor_.value();
  if (segment.is(SentSegment::kRetransmitted) && least && progress.now - segment.sent < *least / 2) {
    undo_loss(segment.range, progress, path);
  }
}

void HalfFlow::acknowledge_up_to(SequenceNumber ack, AckProgress& progress, PathWindow& path) {
  split_at(ack);
  SegmentRing& ring = tracking_->ring;
  while (!ring.empty() && at_or_before(ring[0].range.end, ack)) {
    SentSegment& segment = ring[0];
    settle_delivered(segment, progress, path);
    const bool fit = !segment.is(SentSegment::kRetransmitted) && !segment.is(SentSegment::kSacked) &&
                     !segment.is(SentSegment::kMerged) && segment.sent > last_sent_again_;
    if (segment.range.end == ack && fit) {
      progress.timed = segment;
      progress.immediate = segment.is(SentSegment::kFollowed);
    }
    ring.pop_front();
  }
}

void HalfFlow::acknowledge_selectively(const PacketRecord& ack, AckProgress& progress, PathWindow& path) {
  bool any_new = false;
  for (std::size_t b = 0; b < ack.sack_count; ++b) {
    const SequenceRange block = ack.sack[b];
    const bool sane = precedes(last_ack_, block.end) && at_or_before(last_ack_, block.begin) &&
                      precedes(block.begin, block.end) && at_or_before(block.end, high_);
    if (!sane) continue;
    tracking_->sacked.add(block, [&](SequenceRange part) {
      any_new = true;
      split_at(part.begin);
      split_at(part.end);
      SegmentRing& ring = tracking_->ring;
      for (std::size_t i = ring.first_ending_after(part.begin); i < ring.size(); ++i) {
        SentSegment& segment = ring[i];
        if (!precedes(segment.range.begin, part.end)) break;
        if (segment.is(SentSegment::kSacked)) continue;
        settle_delivered(segment, progress, path);
        // The first block holds the segment that made the receiver send this ACK, at once (RFC 2018, 4).
        const bool fit = !segment.is(SentSegment::kRetransmitted) && !segment.is(SentSegment::kMerged);
        if (b == 0 && segment.range.end == block.end && fit) {
          progress.timed = segment;
          progress.immediate = true;
        }
        segment.set(SentSegment::kSacked);
        segment.unset(SentSegment::kDoubtful);
      }
    });
  }
  if (any_new) doubt_below_sacked(path);
}

/// Whatever lies below the highest SACKed bytes is late. That alone is no loss, it only holds maturity back:
/// whether it was lost is told by its retransmission, or by 2 RTT without an answer (path_window).
void HalfFlow::doubt_below_sacked(PathWindow& path) {
  SegmentRing& ring = tracking_->ring;
  if (tracking_->sacked.empty() || ring.empty()) return;
  const SequenceNumber edge = tracking_->sacked.ranges().back().begin;
  if (!precedes(tracking_->doubted_below, edge)) return;
  for (std::size_t i = ring.first_ending_after(later_of(tracking_->doubted_below, ring[0].range.begin));
       i < ring.size() && at_or_before(ring[i].range.end, edge); ++i) {
    if (!ring[i].is(SentSegment::kRetransmitted)) doubt(ring[i], path);
  }
  tracking_->doubted_below = edge;
}

void HalfFlow::doubt(SentSegment& segment, PathWindow& path) {
  if (segment.is(SentSegment::kSacked) || segment.is(SentSegment::kUncounted) ||
      segment.is(SentSegment::kDoubtful)) {
    return;
  }
  segment.set(SentSegment::kDoubtful);
  path.segments_doubtful(segment.sent, segment.segments);
}

/// The idea of RACK (RFC 8985, 6.2): a retransmission that segments sent a quarter of an RTT after it have
/// overtaken is lost as well. Without this nothing but the sender's timer would tell, long after its cohort
/// is closed.
void HalfFlow::doubt_overtaken_retransmissions(PathWindow& path) {
  auto& resent = tracking_->resent;
  const Duration reordering = floor_.value().value_or(kLongestReordering) / 4;
  while (!resent.empty() && resent.front().sent + reordering < tracking_->newest_delivered) {
    const Resent oldest = resent.front();
    resent.pop_front();
    SegmentRing& ring = tracking_->ring;
    const std::size_t i = ring.first_ending_after(oldest.begin);
    if (i < ring.size() && ring[i].range.begin == oldest.begin && ring[i].sent == oldest.sent)
      doubt(ring[i], path);
  }
}

/// Acknowledged bytes that never passed here: the capture missed them, or they went another way. Not a loss.
void HalfFlow::close_holes_below(SequenceNumber ack, PathWindow& path) {
  auto& holes = tracking_->holes;
  std::size_t kept = 0;
  for (Hole& hole : holes) {
    hole.range.begin = later_of(hole.range.begin, ack);
    if (hole.range.empty()) {
      path.hole_closed(hole.opened);
    } else {
      holes[kept++] = hole;
    }
  }
  holes.resize(kept);
}

/// RFC 2883: a first block below the ACK, or within the second block, reports bytes that arrived twice.
void HalfFlow::undo_by_dsack(const PacketRecord& ack, AckProgress& progress, PathWindow& path) {
  if (ack.sack_count == 0) return;
  const SequenceRange first = ack.sack[0];
  if (first.empty()) return;
  const bool below = at_or_before(first.end, ack.acknowledgment);
  const bool within = ack.sack_count > 1 && at_or_before(ack.sack[1].begin, first.begin) &&
                      at_or_before(first.end, ack.sack[1].end);
  if (below || within) undo_loss(first, progress, path);
}

/// From a SYN sent once to its answer. Tells how far the other end is, roughly; no RTT sample, since a proxy
/// or a full backlog may stand in for the host.
std::optional<Duration> HalfFlow::take_handshake(const PacketRecord& ack) {
  if (!syn_waits_ || precedes(ack.acknowledgment, isn_ + 1)) return std::nullopt;
  syn_waits_ = false;
  const Duration took = ack.time - last_sent_again_;
  if (!smoothed_.is_known()) smoothed_.add(took);
  return took;
}

AckVerdict HalfFlow::on_ack(const PacketRecord& ack, PathWindow& path) {
  peer_window_zero_ = ack.window == 0 && !ack.has(kTcpSyn);
  const SequenceNumber number = ack.acknowledgment;
  if (!acked_) {
    acked_ = true;
    last_ack_ = number;
  }
  AckVerdict verdict;
  verdict.answered = take_handshake(ack);
  if (!started_ || !tracking_) {
    if (precedes(last_ack_, number)) last_ack_ = number;
    return verdict;
  }
  if (!in_step_ && at_or_before(low_, number)) in_step_ = true;

  AckProgress progress{.now = ack.time};
  undo_by_dsack(ack, progress, path);
  if (at_or_before(last_ack_, number)) {
    last_ack_ = number;
    acknowledge_up_to(earlier_of(number, high_), progress, path);
    close_holes_below(number, path);
    tracking_->sacked.trim_below(number);
    tracking_->doubted_below = later_of(tracking_->doubted_below, number);
    acknowledge_selectively(ack, progress, path);
  }
  if (progress.charged > 0 || ack.payload == 0) tracking_->last_ack = ack.time;
  if (progress.charged > 0) {
    path.delivered(ack.time, Bytes(progress.charged));
    doubt_overtaken_retransmissions(path);
  }

  verdict.undone = progress.undone;
  if (!progress.timed) return verdict;
  const Duration rtt = ack.time - progress.timed->sent;
  const bool held_back = !progress.immediate && progress.bytes < 2 * segment_payload(ack.tcp_header_bytes);
  if (rtt <= Duration::zero() || rtt > kLongestRtt) return verdict;
  verdict.answered = rtt;
  if (held_back) return verdict;
  floor_.add(rtt, ack.time);
  smoothed_.add(rtt);
  verdict.sample = RttSample{
      .sent = progress.timed->sent, .taken = ack.time, .rtt = rtt, .weight = Bytes(progress.charged)};
  return verdict;
}

bool HalfFlow::left_unmarked(TimePoint now) const {
  if (!ecn_capable_) return false;
  return last_marked_ == TimePoint() || now - last_marked_ > std::max<Duration>(2 * smoothed_.mean(), 200ms);
}

// -- the end --

void HalfFlow::leave(PathWindow& path) {
  if (!tracking_) return;
  while (!tracking_->ring.empty()) make_room(path);
  for (const Hole& hole : tracking_->holes) path.hole_closed(hole.opened);
  tracking_.reset();
}

/// Refused data were not lost: they will be sent again as if for the first time.
void HalfFlow::reject_syn_data(PathWindow& path) {
  leave(path);
  high_ = low_ = low_at_start_;
}

}  // namespace weir
