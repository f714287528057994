// What acknowledgments tell of a half flow: deliveries, losses, RTT (half_flow.cpp has the data's side).
#include <algorithm>
#include <cstddef>
#include <utility>

#include "estimator/half_flow_usual.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Without any RTT known a segment is overtaken when others sent this much later have arrived.
constexpr Duration kLongestReordering = 3ms;
/// RFC 6675, 2 (DupThresh): a segment is lost when this many segments above it are SACKed.
constexpr std::uint32_t kSackedAboveLost = 3;
/// MTU 1500 less IPv4 and TCP headers, when no SYN told.
constexpr std::uint32_t kUsualMss = 1460;

}  // namespace

// -- deliveries --

void HalfFlow::undo_loss(SequenceRange range, AckProgress& progress, Trouble& trouble, PathWindow& path) {
  const auto loss = trouble.losses.take(range);
  if (!loss) return;
  if (loss->in_cohort) path.loss_undone(loss->sent, loss->segments);
  progress.undone.segments += loss->segments;
  if (loss->by_timeout) progress.undone.timeouts += loss->segments;
  progress.undone.sent = loss->sent;
}

/// Of a segment that was sent once and never doubted there is nothing else to tell.
inline void HalfFlow::settle_delivered(SentSegment& segment, AckProgress& progress, Tracking& t,
                                       PathWindow& path) {
  constexpr unsigned kNothingElse = SentSegment::kFollowed | SentSegment::kMerged;
  if ((segment.flags & ~kNothingElse) != 0) return settle_troubled(segment, progress, t, path);
  progress.charged += segment.charged;
  progress.bytes += segment.range.size();
  t.newest_delivered = std::max(t.newest_delivered, segment.sent);
  path.segments_delivered(segment.sent, segment.segments);
}

void HalfFlow::settle_troubled(SentSegment& segment, AckProgress& progress, Tracking& t, PathWindow& path) {
  if (segment.is(SentSegment::kSacked)) return;
  progress.charged += segment.charged;
  progress.bytes += segment.range.size();
  const bool resent = segment.is(SentSegment::kRetransmitted);
  // Which of several transmissions arrived is not known: only a segment sent once dates its arrival.
  if (!resent) t.newest_delivered = std::max(t.newest_delivered, segment.sent);
  if (segment.is(SentSegment::kLost)) {  // not lost, only overtaken
    path.loss_undone(segment.sent, segment.segments);
    state_.reorders = true;
  } else if (segment.is(SentSegment::kSetAside)) {
    state_.reorders = true;
  } else if (!segment.is(SentSegment::kUncounted)) {
    if (segment.is(SentSegment::kDoubtful)) path.segments_undoubted(segment.sent, segment.segments);
    path.segments_delivered(segment.sent, segment.segments);
  }
  if (!resent || !t.trouble) return;
  if (was_needless(segment, progress, *t.trouble)) {
    undo_loss(segment.range, progress, *t.trouble, path);
    progress.edge = segment.range.end;  // so may be the next one that was sent again with it
    return;
  }
  // Without timestamps: an answer sooner than light can be only to the transmission before. Half the least
  // RTT: the least one seen may itself hold a queue.
  const auto least = floor_.value();
  if (least && progress.now - segment.sent < *least / 2) {
    undo_loss(segment.range, progress, *t.trouble, path);
  }
}

/// RFC 3522 (Eifel), 3.2: the ACK for what the receiver waited for repeats the timestamp of the transmission
/// that arrived (RFC 7323, 4.3). An older one than that of the last transmission: the one before had arrived.
/// Of what lies above the receiver keeps no timestamp.
bool HalfFlow::was_needless(const SentSegment& segment, const AckProgress& progress, const Trouble& trouble) {
  if (!progress.has_echo || segment.range.begin != progress.edge) return false;
  const ChargedLoss* const loss = trouble.losses.find(segment.range);
  return loss != nullptr && loss->has_timestamp && precedes(progress.echo, loss->timestamp);
}

void HalfFlow::acknowledge_up_to(SequenceNumber ack, AckProgress& progress, Tracking& t, PathWindow& path) {
  SegmentRing& ring = t.ring;
  while (!ring.empty() && precedes(ring.front().range.begin, ack)) {
    if (precedes(ack, ring.front().range.end)) static_cast<void>(split(0, ack, ring));
    SentSegment& segment = ring.front();
    if (precedes(ack, segment.range.end)) return;  // no room to split it: its upper part decides
    settle_delivered(segment, progress, t, path);
    constexpr auto kUnfit = SentSegment::kRetransmitted | SentSegment::kSacked | SentSegment::kMerged;
    if (segment.range.end == ack && (segment.flags & kUnfit) == 0 && !was_sent_again_since(segment.sent)) {
      progress.timed = segment.sent;
      progress.immediate = segment.is(SentSegment::kFollowed);
      state_.sent_again = false;  // all that is still in flight left later
    }
    ring.pop_front();
  }
  if (ring.empty()) state_.sent_again = false;
}

void HalfFlow::acknowledge_selectively(const PacketRecord& ack, AckProgress& progress, Tracking& t,
                                       const FlowWork& work) {
  if (ack.sack_count == 0) return;
  Trouble& trouble = t.in_trouble(nothing_doubted_below());
  SegmentRing& ring = t.ring;
  bool any_new = false;
  for (std::size_t b = 0; b < ack.sack_count; ++b) {
    const SequenceRange block = ack.sack[b];
    const bool sane = precedes(last_ack_, block.end) && at_or_before(last_ack_, block.begin) &&
                      precedes(block.begin, block.end) && at_or_before(block.end, high_);
    if (!sane) continue;
    trouble.sacked.add(block, [&](SequenceRange part) {
      any_new = true;
      // One search: thousands of segments may be in flight, and every ACK of an RTT be selective.
      for (std::size_t i = split_at(part.begin, ring); i < ring.size(); ++i) {
        if (!precedes(ring[i].range.begin, part.end)) break;
        if (precedes(part.end, ring[i].range.end)) static_cast<void>(split(i, part.end, ring));
        SentSegment& segment = ring[i];
        if (segment.is(SentSegment::kSacked)) continue;
        settle_delivered(segment, progress, t, work.path);
        // The first block holds the segment that made the receiver send this ACK, at once, unless that
        // segment has advanced the number (RFC 2018, 4).
        const bool fit = !segment.is(SentSegment::kRetransmitted) && !segment.is(SentSegment::kMerged);
        if (b == 0 && !progress.advanced && segment.range.end == block.end && fit) {
          progress.timed = segment.sent;
          progress.immediate = true;
        }
        segment.set(SentSegment::kSacked);
        segment.unset(SentSegment::kDoubtful);
        segment.unset(SentSegment::kLost);
        segment.unset(SentSegment::kSetAside);
      }
    });
  }
  if (!any_new || trouble.sacked.empty() || ring.empty()) return;
  if (!state_.reorders) {
    const std::uint32_t reach = (kSackedAboveLost - 1) * (work.mss != 0 ? work.mss : kUsualMss);
    count_lost_below_sacked(reach, progress.now, t, work);
  }
  doubt_below_sacked(trouble, ring, work);
}

// -- losses known before their retransmission --

/// RFC 6675, 4 (IsLost): more than two segments' bytes SACKed above a segment mean that it was lost; its
/// retransmission, an RTT from now, will only confirm it. Not on a path that has been seen to overtake.
void HalfFlow::count_lost_below_sacked(std::uint32_t reach, TimePoint now, Tracking& t,
                                       const FlowWork& work) const {
  PathWindow& path = work.path;
  Trouble& trouble = *t.trouble;
  SegmentRing& ring = t.ring;
  const auto& ranges = trouble.sacked.ranges();
  std::uint32_t above = 0;
  auto range = ranges.rbegin();
  for (; range != ranges.rend(); ++range) {
    above += range->size();
    if (above > reach) break;
  }
  if (range == ranges.rend() || !precedes(trouble.lost_below, range->begin)) return;
  const SequenceNumber edge = range->begin;
  for (std::size_t i = ring.first_ending_after(later_of(trouble.lost_below, ring[0].range.begin));
       i < ring.size() && at_or_before(ring[i].range.end, edge); ++i) {
    SentSegment& segment = ring[i];
    if (segment.has_fate() || segment.is(SentSegment::kRetransmitted)) continue;
    if (segment.sent > t.newest_delivered) continue;  // a hole filled since: nothing has overtaken it
    if (segment.is(SentSegment::kDoubtful)) path.segments_undoubted(segment.sent, segment.segments);
    const bool counts = path.segments_lost_after_tap(segment.sent, segment.segments, now, work.remote);
    segment.unset(SentSegment::kDoubtful);
    segment.set(counts ? SentSegment::kLost : SentSegment::kSetAside);
  }
  trouble.lost_below = edge;
}

/// Whatever lies below the highest SACKed bytes is late. That alone is no loss, it only holds maturity back:
/// whether it was lost is told by more SACKs, by its retransmission, or by 2 RTT without an answer
/// (path_window).
void HalfFlow::doubt_below_sacked(Trouble& trouble, SegmentRing& ring, const FlowWork& work) {
  const SequenceNumber edge = trouble.sacked.ranges().back().begin;
  if (!precedes(trouble.doubted_below, edge)) return;
  for (std::size_t i = ring.first_ending_after(later_of(trouble.doubted_below, ring[0].range.begin));
       i < ring.size() && at_or_before(ring[i].range.end, edge); ++i) {
    if (!ring[i].is(SentSegment::kRetransmitted)) doubt(ring[i], work);
  }
  trouble.doubted_below = edge;
}

void HalfFlow::doubt(SentSegment& segment, const FlowWork& work) {
  if (segment.has_fate() || segment.is(SentSegment::kDoubtful)) return;
  if (work.path.segments_doubtful(segment.sent, segment.segments, work.remote))
    segment.set(SentSegment::kDoubtful);
}

/// The idea of RACK (RFC 8985, 6.2): a retransmission that segments sent a quarter of an RTT after it have
/// overtaken is lost as well. Without this nothing but the sender's timer would tell, long after its cohort
/// is closed.
void HalfFlow::doubt_overtaken_retransmissions(Tracking& t, const FlowWork& work) const {
  auto& resent = t.trouble->resent;
  if (resent.empty()) return;
  const Duration reordering = floor_.value().value_or(kLongestReordering) / 4;
  while (!resent.empty() && resent.front().sent + reordering < t.newest_delivered) {
    const Trouble::Resent oldest = resent.front();
    resent.pop_front();
    const std::size_t i = t.ring.first_ending_after(oldest.begin);
    if (i < t.ring.size() && t.ring[i].range.begin == oldest.begin && t.ring[i].sent == oldest.sent)
      doubt(t.ring[i], work);
  }
}

/// Acknowledged bytes that never passed here: the capture missed them, or they went another way. Not a loss.
/// True: there were any, and whatever was sent above them waited for them at the receiver.
bool HalfFlow::close_holes_below(SequenceNumber ack, Trouble& trouble, PathWindow& path) {
  const bool any = !trouble.holes.empty() && precedes(trouble.holes.front().range.begin, ack);
  std::size_t kept = 0;
  for (Hole& hole : trouble.holes) {
    hole.range.begin = later_of(hole.range.begin, ack);
    if (hole.range.empty()) {
      path.hole_closed(hole.opened);
    } else {
      trouble.holes[kept++] = hole;
    }
  }
  trouble.holes.resize(kept);
  return any;
}

/// RFC 2883: a first block below the ACK, or within the second block, reports bytes that arrived twice. So
/// they were not lost, and the path has carried both of their transmissions.
void HalfFlow::take_dsack(const PacketRecord& ack, AckProgress& progress, Trouble& trouble,
                          PathWindow& path) {
  const SequenceRange first = ack.sack[0];
  if (first.empty()) return;
  const bool below = at_or_before(first.end, ack.acknowledgment);
  const bool within = ack.sack_count > 1 && at_or_before(ack.sack[1].begin, first.begin) &&
                      at_or_before(first.end, ack.sack[1].end);
  if (!below && !within) return;
  undo_loss(first, progress, trouble, path);
  progress.charged_twice = trouble.sent_twice.take(first);
}

// -- acknowledgments --

/// From a SYN sent once to its answer. Tells how far the other end is, roughly; no RTT sample, since a proxy
/// or a full backlog may stand in for the host.
Duration HalfFlow::take_handshake(const PacketRecord& ack) {
  if (precedes(ack.acknowledgment, low_)) return Duration::zero();
  state_.syn_waits = false;
  const Duration took = last_sent_again_.before(ack.time);
  if (!smoothed_.is_known()) smoothed_.add(took);
  return took;
}

/// Joined mid-stream: what was in flight then is answered. Not when bytes beyond H have arrived: the view
/// began with a retransmission, and the sender is further on.
bool HalfFlow::brings_in_step(const PacketRecord& ack) const {
  for (std::size_t b = 0; b < ack.sack_count; ++b) {
    if (precedes(high_, ack.sack[b].end)) return false;
  }
  return precedes(low_, ack.acknowledgment) && at_or_before(ack.acknowledgment, high_);
}

AckVerdict HalfFlow::on_ack(const PacketRecord& ack, const FlowWork& work) {
  state_.peer_window_zero = ack.window == 0 && !ack.has(kTcpSyn);
  const SequenceNumber number = ack.acknowledgment;
  if (!state_.acked) {
    state_.acked = true;
    last_ack_ = number;
  }
  AckVerdict verdict;
  if (state_.syn_waits) verdict.answered = take_handshake(ack);
  Tracking* const t = state_.started ? tracking_in(work.trackings) : nullptr;
  if (t == nullptr) {
    if (precedes(last_ack_, number)) last_ack_ = number;
    return verdict;
  }
  if (!state_.in_step && brings_in_step(ack)) state_.in_step = true;

  AckProgress progress{.now = ack.time};
  if (t->trouble && ack.sack_count > 0) take_dsack(ack, progress, *t->trouble, work.path);
  if (at_or_before(last_ack_, number)) {
    progress.advanced = number != last_ack_;
    progress.has_echo = progress.advanced && ack.has_timestamp;
    progress.echo = ack.timestamp_echo;
    progress.edge = last_ack_;
    last_ack_ = number;
    acknowledge(ack, progress, *t, work);
  }
  finish_ack(ack, progress, *t, work, verdict);
  return verdict;
}

/// What on_usual_ack leaves when it meets something unusual among the segments.
AckVerdict HalfFlow::go_on_with_ack(const PacketRecord& ack, const FlowWork& work, std::uint64_t charged,
                                    std::uint32_t bytes) {
  Tracking& t = *tracking_in(work.trackings);
  AckProgress progress{.now = ack.time, .charged = charged, .bytes = bytes, .advanced = true};
  AckVerdict verdict;
  acknowledge(ack, progress, t, work);
  finish_ack(ack, progress, t, work, verdict);
  return verdict;
}

void HalfFlow::acknowledge(const PacketRecord& ack, AckProgress& progress, Tracking& t,
                           const FlowWork& work) {
  PathWindow& path = work.path;
  const SequenceNumber number = ack.acknowledgment;
  acknowledge_up_to(earlier_of(number, high_), progress, t, path);
  if (t.trouble && !t.trouble->is_over()) {
    Trouble& trouble = *t.trouble;
    if (close_holes_below(number, trouble, path)) progress.timed = AckProgress::kUntimed;
    trouble.sacked.trim_below(number);
    trouble.doubted_below = later_of(trouble.doubted_below, number);
    trouble.lost_below = later_of(trouble.lost_below, number);
  }
  acknowledge_selectively(ack, progress, t, work);
}

void HalfFlow::finish_ack(const PacketRecord& ack, const AckProgress& progress, Tracking& t,
                          const FlowWork& work, AckVerdict& verdict) {
  if (progress.charged > 0 || ack.payload == 0) t.last_ack = ack.time;
  const std::uint64_t carried = progress.charged + progress.charged_twice;
  if (carried > 0) work.path.delivered(ack.time, Bytes(carried));
  if (progress.charged > 0 && t.trouble) doubt_overtaken_retransmissions(t, work);
  if (progress.undone.segments > 0) state_.reorders = true;
  t.troubled = t.trouble && !t.trouble->is_at_rest();
  verdict.undone = progress.undone;
  rest_in_a_crowd(t, work.trackings);  // t is gone then
  conclude(ack, progress, work.mss, verdict);
}

bool HalfFlow::left_unmarked(TimePoint now, TrackingPool& trackings) const {
  if (!state_.ecn_capable) return false;
  if (tracking_ == TrackingPool::kNone) return true;
  const TimePoint marked = trackings[tracking_].last_marked;
  return marked == TimePoint() || now - marked > std::max<Duration>(2 * smoothed_.mean(), 200ms);
}

}  // namespace weir
