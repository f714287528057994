/// One direction of a TCP connection as the tap sees it: which bytes passed, what became of them.
///
/// Pure. Holds H (highest sequence end seen) and S (the bytes seen: everything from `low` to H but the
/// holes); the segments in flight, and what losses and reordering need, lie in a Tracking that is lent while
/// there is any (tracking.hpp). A record of 52 bytes: two of them and the key share two cache lines
/// (flow_table). Reports fates to the PathWindow that it is given with each call; the same one for the whole
/// life of the flow, or the flow is moved with `leave`.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>

#include "config/units.hpp"
#include "estimator/coarse_time.hpp"
#include "estimator/corroboration.hpp"
#include "estimator/parse.hpp"
#include "estimator/path_window.hpp"
#include "estimator/rtt_floor.hpp"
#include "estimator/sequence.hpp"
#include "estimator/smoothed_rtt.hpp"
#include "estimator/tracking.hpp"

namespace weir {

/// docs/ESTIMATOR.md, "Class of a data segment"; in the order of the tests.
enum class SegmentClass : std::uint8_t {
  probe,
  keepalive,
  duplicate,
  spurious,
  retransmitted,
  reordered,
  hole_fill,
  fresh,
  unknown,
};

struct SegmentVerdict {
  SegmentClass kind = SegmentClass::fresh;
  std::uint32_t segments = 0;  ///< wire segments that the class holds for
  std::uint32_t fresh = 0;     ///< wire segments of the same frame that carry new bytes
  /// Of a retransmission: the time since the oldest of its lost bytes were last sent; nullopt: not known.
  std::optional<Duration> resent_after{};
  bool by_timeout = false;  ///< no ACK can have asked for it: the sender's timer ran out
};

enum class SynVerdict : std::uint8_t { first, repeated, duplicate };

/// A segment that occupies sequence space. A FIN occupies one number; alone it has no wire segments to count.
struct DataSegment {
  TimePoint time{};
  SequenceRange range{};
  std::uint32_t payload = 0;
  std::uint32_t wire_segments = 0;
  Bytes charged{};
  std::uint16_t ip_id = 0;
  bool has_timestamp = false;
  std::uint32_t timestamp = 0;
  std::uint8_t ecn = 0;
};

/// An interval of time in which the capture lost frames.
struct CaptureGap {
  TimePoint begin;
  TimePoint end;
};

/// Losses that were charged and were none: the bytes had arrived.
struct UndoneLosses {
  std::uint32_t segments = 0;  ///< wire segments that were counted as retransmitted and were spurious
  std::uint32_t timeouts = 0;  ///< of these, counted as sent again by timeout
  TimePoint sent{};            ///< when the last of them had been sent
};

/// What an acknowledgment told. Plain members: it is made for every one of them.
struct AckVerdict {
  Duration rtt{};  ///< of a segment sent at `sent`, by the rules for samples; zero: none
  Duration
      answered{};  ///< how soon the other end answered, held back or not: an upper bound; zero: not known
  TimePoint sent{};
  Bytes charged{};  ///< newly acknowledged
  UndoneLosses undone{};
};

/// Payload bytes of one wire segment whose TCP header has `header` bytes, with `mss` agreed on by both SYNs
/// (0: not seen).
[[nodiscard]] inline std::uint32_t segment_payload(std::uint16_t mss, std::uint8_t header) {
  constexpr std::uint32_t kMtuLessIpHeader = 1480;  // of Ethernet and IPv4
  if (mss == 0) return kMtuLessIpHeader - header;
  // The MSS option does not count TCP options (RFC 6691); they take their room from the payload.
  const std::uint32_t options = header - 20U;
  return mss > options ? mss - options : 1U;
}

/// What a half flow works on beside itself, for one call.
struct FlowWork {
  TrackingPool& trackings;
  PathWindow& path;
  std::uint16_t mss = 0;       ///< agreed on by both SYNs; 0: not seen
  RemoteKey remote = kNobody;  ///< to whom the data go; the short ways tell no losses, and do not ask
};

class HalfFlow {
 public:
  HalfFlow() = default;

  /// A SYN, its range the one sequence number that it occupies.
  SynVerdict on_syn(const DataSegment& syn, std::uint16_t mss);
  /// True when a SYN with this number opens another connection than the one that is tracked: the ports are
  /// used anew.
  [[nodiscard]] bool conflicts_with_syn(SequenceNumber isn) const {
    return state_.started && !(state_.opened && !state_.low_moved && isn + 1 == low_);
  }

  /// `peer` is the other direction of the same connection.
  SegmentVerdict on_data(const DataSegment& segment, const HalfFlow& peer, const CaptureGap& gap,
                         const FlowWork& work);
  /// An acknowledgment that repeats the last one: most data carry one. (on_ack could still split a segment
  /// that an ACK seen before its data had cut through; the next ACK does.)
  [[nodiscard]] bool is_told_nothing_by(const PacketRecord& ack) const {
    return was_told_last(ack.acknowledgment) && ack.sack_count == 0 && ack.payload > 0 && ack.window != 0;
  }
  /// The acknowledgment before had the same number, and nothing else is waited for.
  [[nodiscard]] bool was_told_last(SequenceNumber acknowledgment) const {
    return steadily_acked() && acknowledgment == last_ack_;
  }
  // Inlined by whoever takes packets by the million: half_flow_usual.hpp.
  /// The working memory of a segment that is what most are: in its turn, more than a probe, of a direction
  /// that is tracked and acknowledged. It was never seen, and cannot lie out of reach. nullptr: it is
  /// another, or there is no room for it.
  [[nodiscard]] Tracking* in_turn(SequenceRange range, std::uint32_t payload, std::uint32_t wire_segments,
                                  TrackingPool& trackings);
  /// What on_data does with it, but for telling the path that it was sent.
  void take_in_turn(const DataSegment& segment, Tracking& t);
  [[nodiscard]] Duration usual_rtt() const { return smoothed_.mean(); }
  /// The working memory for an acknowledgment that is what most are, without SACK blocks or a closed window:
  /// it advances the number, and nothing of what is in flight was SACKed, overtaken or sent again. nullptr:
  /// it is another.
  [[nodiscard]] Tracking* asked_usually(const PacketRecord& ack, TrackingPool& trackings) const;
  /// What on_ack does with it. One of the two is given the verdict: `tell` when no loss is taken back;
  /// `tell_any` when the long way had to be taken after all, and there may be anything in it.
  template <typename Tell, typename TellAny>
  void on_usual_ack(const PacketRecord& ack, Tracking& t, const FlowWork& work, Tell&& tell,
                    TellAny&& tell_any);
  /// An acknowledgment of this direction's data, seen travelling the other way.
  AckVerdict on_ack(const PacketRecord& ack, const FlowWork& work);
  /// A keep-alive or probe without payload: the byte below the last one acknowledged is repeated in the
  /// number only.
  [[nodiscard]] std::optional<SegmentClass> classify_empty(SequenceNumber sequence) const {
    if (!state_.acked || sequence != last_ack_ - 1) return std::nullopt;
    if (state_.started && precedes(last_ack_, high_)) return std::nullopt;
    return state_.peer_window_zero ? SegmentClass::probe : SegmentClass::keepalive;
  }
  /// The ACK of this direction's data that a mark came back with: true when the data had left unmarked by us.
  [[nodiscard]] bool left_unmarked(TimePoint now, TrackingPool& trackings) const;

  /// Takes everything in flight out of the cohorts: the flow died, or belongs to another window.
  void leave(const FlowWork& work);
  /// Gives the working memory back when nothing is in flight.
  void rest(TrackingPool& trackings);
  /// The pool took back the working memory, in which nothing was in flight.
  void tracking_is_gone() { tracking_ = TrackingPool::kNone; }
  [[nodiscard]] TrackingPool::Number tracking() const { return tracking_; }
  /// TCP Fast Open: a SYN-ACK that covers the SYN but not the SYN's data refuses them (RFC 7413, 4.2.2).
  [[nodiscard]] bool refuses_syn_data(SequenceNumber ack) const {
    return state_.opened && !state_.acked && ack == low_ && high_ != low_;
  }
  void reject_syn_data(const FlowWork& work);

  [[nodiscard]] std::uint16_t offered_mss() const { return offered_mss_; }
  [[nodiscard]] std::optional<Duration> least_rtt() const { return floor_.value(); }
  [[nodiscard]] bool is_acknowledged() const { return state_.acked; }
  /// True for the first data of each period (PathWindow::flow_period).
  [[nodiscard]] bool first_data_in(std::int64_t period) {
    const auto low_bits = static_cast<std::uint16_t>(period);
    if (counted_period_ == low_bits) return false;
    if (counted_period_ / kBasePeriods != low_bits / kBasePeriods) state_.base_due = true;
    counted_period_ = low_bits;
    return true;
  }

  /// The base to measure this direction's queue from, as the owner learnt it; zero: never.
  [[nodiscard]] Duration base() const { return base_.value(); }
  void set_base(Duration base) { base_ = CoarseDuration(base); }
  /// Of the last data or SYN.
  [[nodiscard]] std::uint8_t dscp() const { return dscp_; }
  void set_dscp(std::uint8_t dscp) { dscp_ = dscp; }
  /// True once in eight periods with data: the base may have aged.
  [[nodiscard]] bool base_is_due() {
    const bool due = state_.base_due;
    state_.base_due = false;
    return due;
  }

 private:
  struct Parts;
  struct AckProgress;
  /// What is known of it, in one word: the short ways ask for several at once.
  struct State {
    std::uint16_t opened : 1 = 0;     ///< its SYN was seen
    std::uint16_t started : 1 = 0;    ///< low and H are meaningful
    std::uint16_t in_step : 1 = 0;    ///< 0: joined mid-stream, what was in flight then is unknown
    std::uint16_t acked : 1 = 0;      ///< the other direction acknowledges: not a one-way view
    std::uint16_t low_moved : 1 = 0;  ///< low is not the one after the SYN's any more
    std::uint16_t peer_window_zero : 1 = 0;
    std::uint16_t ecn_capable : 1 = 0;
    std::uint16_t syn_waits : 1 = 0;   ///< sent once and not answered yet
    std::uint16_t sent_again : 1 = 0;  ///< last_sent_again_ is meaningful
    std::uint16_t reorders : 1 = 0;    ///< the path overtakes: SACKs above a segment do not prove it lost
    std::uint16_t base_due : 1 = 0;
    std::uint16_t strays : 2 = 0;  ///< segments in a row that lie out of reach of H
    std::uint16_t unused : 3 = 0;
  };
  /// In step, and nothing of the other end is waited for.
  [[nodiscard]] bool steadily_acked() const {
    return is_so({.in_step = 1, .acked = 1, .peer_window_zero = 1, .syn_waits = 1},
                 {.in_step = 1, .acked = 1});
  }
  /// Whether those of `mask` are as in `wanted`.
  [[nodiscard]] bool is_so(State mask, State wanted) const {
    const auto bits = [](State state) { return std::bit_cast<std::uint16_t>(state); };
    return (bits(state_) & bits(mask)) == bits(wanted);
  }
  /// The look-up of a host costs as much as an acknowledgment otherwise where each of many connections is
  /// due; what a flow's own samples tell is learnt at once.
  static constexpr std::uint16_t kBasePeriods = 8;
  /// S is kept this far below H: a quarter of the sequence space, so that comparisons stay unambiguous.
  static constexpr std::int32_t kReach = 1 << 30;
  /// Wire segments that one entry counts.
  static constexpr std::uint32_t kMostOfOne = 0xffff;
  /// Bytes of holes that were filled, by what they had been.
  struct Filled {
    std::uint32_t late = 0;
    std::uint32_t reordered = 0;
    std::uint32_t unknown = 0;
    [[nodiscard]] std::uint32_t bytes() const { return late + reordered + unknown; }
  };
  /// What was sent again.
  struct SentAgain {
    bool lost = false;                ///< any of it; else all had been delivered
    std::optional<Duration> after{};  ///< since the oldest of the lost bytes were last sent
  };

  void start(SequenceNumber at, bool mid_stream);
  void raise_low(SequenceNumber to);
  [[nodiscard]] Tracking* tracking_in(TrackingPool& trackings) {
    return tracking_ == TrackingPool::kNone ? nullptr : &trackings[tracking_];
  }
  [[nodiscard]] Tracking* borrow_tracking(TrackingPool& trackings);
  [[nodiscard]] SequenceNumber nothing_doubted_below() const { return state_.acked ? last_ack_ : low_; }

  static void remember(const DataSegment& s, Tracking& t);
  void note_ecn(const DataSegment& s, Tracking& t);
  void raise_high(SequenceNumber to);
  [[nodiscard]] bool is_zero_window_probe(const DataSegment& s) const;
  [[nodiscard]] bool is_keepalive(const DataSegment& s) const;
  [[nodiscard]] Duration least_round_trip(const HalfFlow& peer) const;
  [[nodiscard]] Duration duplicate_within(const HalfFlow& peer) const;
  [[nodiscard]] bool is_capture_duplicate(const DataSegment& s, const HalfFlow& peer,
                                          const Tracking& t) const;
  [[nodiscard]] bool is_out_of_reach(const DataSegment& s);
  [[nodiscard]] SegmentVerdict classify_untracked(const DataSegment& s);
  [[nodiscard]] SegmentVerdict classify_below_high(const Parts& parts, const HalfFlow& peer,
                                                   const CaptureGap& gap, Tracking& t, const FlowWork& work);
  [[nodiscard]] Duration timeout_at(TimePoint now, const HalfFlow& peer, const Tracking& t) const;

  void append_fresh(SequenceRange part, const Parts& parts, Tracking& t, PathWindow& path);
  void open_hole(SequenceRange hole, TimePoint at, Tracking& t, PathWindow& path);
  [[nodiscard]] bool forget_oldest_hole(std::size_t& i, SequenceRange here, Tracking& t, PathWindow& path);
  void keep_in_flight(std::size_t at, SequenceRange part, const Parts& parts, Tracking& t, PathWindow& path);
  static void make_room(Tracking& t, PathWindow& path);
  [[nodiscard]] Filled fill_holes(SequenceRange part, const Parts& parts, Duration reordering,
                                  const CaptureGap& gap, Tracking& t, PathWindow& path);
  [[nodiscard]] SentAgain send_again(SequenceRange part, const Parts& parts, Duration timeout, Tracking& t,
                                     const FlowWork& work);
  /// The index of the first segment that ends behind `at`; it begins there, or the ring has no room for both
  /// parts.
  static std::size_t split_at(SequenceNumber at, SegmentRing& ring);
  /// `at` lies within segment i. False: nothing was done.
  static bool split(std::size_t i, SequenceNumber at, SegmentRing& ring);

  [[nodiscard]] AckVerdict go_on_with_ack(const PacketRecord& ack, const FlowWork& work,
                                          std::uint64_t charged, std::uint32_t bytes);
  void acknowledge(const PacketRecord& ack, AckProgress& progress, Tracking& t, const FlowWork& work);
  void finish_ack(const PacketRecord& ack, const AckProgress& progress, Tracking& t, const FlowWork& work,
                  AckVerdict& verdict);
  void conclude(const PacketRecord& ack, const AckProgress& progress, std::uint16_t mss, AckVerdict& verdict);
  /// Older bytes that were sent again held up the ACK of what was sent then.
  [[nodiscard]] bool was_sent_again_since(TimePoint sent) const {
    return state_.sent_again && last_sent_again_.before(sent) <= Duration::zero();
  }
  /// What lost or marked something lately is still asked about: D-SACKs and ECE come after the last ACK.
  void rest_in_a_crowd(const Tracking& t, TrackingPool& trackings) {
    if (trackings.is_crowded() && !t.trouble && !t.marked) rest(trackings);
  }
  void acknowledge_up_to(SequenceNumber ack, AckProgress& progress, Tracking& t, PathWindow& path);
  void acknowledge_selectively(const PacketRecord& ack, AckProgress& progress, Tracking& t,
                               const FlowWork& work);
  void settle_delivered(SentSegment& segment, AckProgress& progress, Tracking& t, PathWindow& path);
  void settle_troubled(SentSegment& segment, AckProgress& progress, Tracking& t, PathWindow& path);
  void count_lost_below_sacked(std::uint32_t reach, TimePoint now, Tracking& t, const FlowWork& work) const;
  [[nodiscard]] static bool was_needless(const SentSegment& segment, const AckProgress& progress,
                                         const Trouble& trouble);
  static void doubt_below_sacked(Trouble& trouble, SegmentRing& ring, const FlowWork& work);
  void doubt_overtaken_retransmissions(Tracking& t, const FlowWork& work) const;
  static void doubt(SentSegment& segment, const FlowWork& work);
  static bool close_holes_below(SequenceNumber ack, Trouble& trouble, PathWindow& path);
  static void undo_loss(SequenceRange range, AckProgress& progress, Trouble& trouble, PathWindow& path);
  static void take_dsack(const PacketRecord& ack, AckProgress& progress, Trouble& trouble, PathWindow& path);
  [[nodiscard]] bool brings_in_step(const PacketRecord& ack) const;
  [[nodiscard]] Duration take_handshake(const PacketRecord& ack);

  SequenceNumber low_ = 0;   ///< below it nothing is known; the one after the SYN's own, until it is raised
  SequenceNumber high_ = 0;  ///< H
  SequenceNumber last_ack_ = 0;
  RttFloor floor_;
  SmoothedRtt smoothed_;
  CoarseDuration base_;
  CoarseTime last_sent_again_;  ///< anything below H, and the SYN: older bytes held the ACKs of newer ones
  TrackingPool::Number tracking_ = TrackingPool::kNone;
  std::uint16_t offered_mss_ = 0;
  std::uint16_t counted_period_ = 0xffff;
  std::uint8_t dscp_ = 0;
  State state_;
};
static_assert(sizeof(HalfFlow) <= 52, "two of them and the key of a flow fill two cache lines");

}  // namespace weir
