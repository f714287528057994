/// One direction of a TCP connection as the tap sees it: which bytes passed, what became of them.
///
/// Pure. Holds H (highest sequence end seen), S (the bytes seen: everything from `low` to H but the holes),
/// and the segments in flight with their send times. Reports fates to the PathWindow that it is given with
/// each call; the same one for the whole life of the flow, or the flow is moved with `leave`.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "config/units.hpp"
#include "estimator/charged_losses.hpp"
#include "estimator/parse.hpp"
#include "estimator/path_window.hpp"
#include "estimator/rtt_floor.hpp"
#include "estimator/segment_ring.hpp"
#include "estimator/sequence.hpp"
#include "estimator/smoothed_rtt.hpp"

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

/// What an acknowledgment told.
struct AckVerdict {
  std::optional<RttSample> sample;  ///< without base and flow, which the caller knows
  std::optional<Duration>
      answered;  ///< how soon the other end answered, held back or not: no RTT, an upper bound
  UndoneLosses undone{};
};

class HalfFlow {
 public:
  HalfFlow() = default;

  /// A SYN, its range the one sequence number that it occupies.
  SynVerdict on_syn(const DataSegment& syn, std::uint16_t mss);
  /// True when a SYN with this number opens another connection than the one that is tracked: the ports are
  /// used anew.
  [[nodiscard]] bool conflicts_with_syn(SequenceNumber isn) const { return opened_ ? isn != isn_ : started_; }

  /// `peer` is the other direction: it knows the other half of the round trip.
  SegmentVerdict on_data(const DataSegment& segment, const HalfFlow& peer, const CaptureGap& gap,
                         SegmentBudget& budget, PathWindow& path);
  /// An acknowledgment of this direction's data, seen travelling the other way.
  AckVerdict on_ack(const PacketRecord& ack, PathWindow& path);
  /// A keep-alive or probe without payload.
  [[nodiscard]] std::optional<SegmentClass> classify_empty(SequenceNumber sequence) const;
  /// The ACK of this direction's data that a mark came back with: true when the data had left unmarked by us.
  [[nodiscard]] bool left_unmarked(TimePoint now) const;

  /// Takes everything in flight out of the cohorts: the flow died, or belongs to another window.
  void leave(PathWindow& path);
  /// Gives the working memory back when nothing is in flight.
  void rest() {
    if (tracking_ && tracking_->ring.empty() && tracking_->holes.empty()) tracking_.reset();
  }
  /// TCP Fast Open: a SYN-ACK that covers the SYN but not the SYN's data refuses them (RFC 7413, 4.2.2).
  [[nodiscard]] bool refuses_syn_data(SequenceNumber ack) const {
    return opened_ && !acked_ && ack == isn_ + 1 && high_ != isn_ + 1;
  }
  void reject_syn_data(PathWindow& path);

  /// Payload bytes of one wire segment whose TCP header has `header` bytes.
  [[nodiscard]] std::uint32_t segment_payload(std::uint8_t header) const;
  void agree_mss(std::uint16_t mss) { mss_ = mss; }
  [[nodiscard]] std::uint16_t offered_mss() const { return offered_mss_; }

  [[nodiscard]] Duration smoothed_rtt() const { return smoothed_.mean(); }
  [[nodiscard]] std::optional<Duration> least_rtt() const { return floor_.value(); }
  [[nodiscard]] bool has_data() const { return started_ && high_ != low_at_start_; }
  [[nodiscard]] bool is_acknowledged() const { return acked_; }
  [[nodiscard]] bool in_flight() const { return tracking_ && !tracking_->ring.empty(); }
  [[nodiscard]] bool first_data_in(std::int64_t second) {
    const auto low_bits = static_cast<std::int32_t>(second & 0x7fffffff);
    return std::exchange(counted_second_, low_bits) != low_bits;
  }

 private:
  struct Hole {
    SequenceRange range;
    TimePoint opened;
  };
  /// A retransmission in flight, in order of sending.
  struct Resent {
    SequenceNumber begin = 0;
    TimePoint sent;
  };
  /// Working memory of a direction with data in flight; most flows of a large table have none.
  struct Tracking {
    explicit Tracking(SegmentBudget& budget) : ring(budget), sacked(kMostSackedRanges) {}
    SegmentRing ring;
    std::vector<Hole> holes;
    SequenceRangeSet sacked;
    SequenceNumber doubted_below = 0;
    std::deque<Resent> resent;
    TimePoint newest_delivered;  ///< when the latest-sent segment known to have arrived was sent
    TimePoint last_ack;          ///< that may have asked for a retransmission
    ChargedLosses losses;
  };
  struct Seen {
    SequenceNumber sequence = 0;
    std::uint32_t timestamp = 0;
    std::uint16_t length = 0;
    std::uint16_t ip_id = 0;
    std::int64_t at = 0;
  };
  struct Parts;

  static constexpr std::size_t kMostHoles = 256;
  static constexpr std::size_t kMostSackedRanges = 256;
  static constexpr std::size_t kMostResent = 1024;

  void start(SequenceNumber at, bool mid_stream);
  [[nodiscard]] bool is_zero_window_probe(const DataSegment& s) const {
    return peer_window_zero_ && s.payload <= 1 && s.range.size() == s.payload;
  }
  [[nodiscard]] bool is_keepalive(const DataSegment& s) const;
  [[nodiscard]] bool is_capture_duplicate(const DataSegment& s) const;
  void remember(const DataSegment& s);
  [[nodiscard]] bool is_out_of_reach(const DataSegment& s);

  void append_fresh(SequenceRange part, const Parts& parts, PathWindow& path);
  void open_hole(SequenceRange hole, TimePoint at, PathWindow& path);
  void keep_in_flight(std::size_t at, SequenceRange part, const Parts& parts, PathWindow& path);
  void make_room(PathWindow& path);
  /// Bytes of holes that were filled, by what they had been.
  struct Filled {
    std::uint32_t late = 0;
    std::uint32_t reordered = 0;
    std::uint32_t unknown = 0;
    [[nodiscard]] std::uint32_t bytes() const { return late + reordered + unknown; }
  };
  [[nodiscard]] Filled fill_holes(SequenceRange part, const Parts& parts, Duration reordering,
                                  const CaptureGap& gap, PathWindow& path);
  struct SentAgain {
    bool lost = false;
    std::optional<Duration> after{};  ///< since the oldest of the lost bytes were last sent
  };
  [[nodiscard]] SentAgain send_again(SequenceRange part, const Parts& parts, Duration timeout,
                                     PathWindow& path);
  void split_at(SequenceNumber at);

  struct AckProgress;
  void acknowledge_up_to(SequenceNumber ack, AckProgress& progress, PathWindow& path);
  void acknowledge_selectively(const PacketRecord& ack, AckProgress& progress, PathWindow& path);
  void settle_delivered(SentSegment& segment, AckProgress& progress, PathWindow& path);
  void doubt_below_sacked(PathWindow& path);
  void doubt_overtaken_retransmissions(PathWindow& path);
  void doubt(SentSegment& segment, PathWindow& path);
  void close_holes_below(SequenceNumber ack, PathWindow& path);
  void undo_loss(SequenceRange range, AckProgress& progress, PathWindow& path);
  void undo_by_dsack(const PacketRecord& ack, AckProgress& progress, PathWindow& path);
  [[nodiscard]] std::optional<Duration> take_handshake(const PacketRecord& ack);

  SequenceNumber isn_ = 0;
  SequenceNumber low_ = 0;  ///< below it nothing is known
  SequenceNumber low_at_start_ = 0;
  SequenceNumber high_ = 0;  ///< H
  SequenceNumber last_ack_ = 0;
  std::uint16_t mss_ = 0;  ///< agreed on by both SYNs; 0: not seen
  std::uint16_t offered_mss_ = 0;
  bool opened_ = false;   ///< its SYN was seen
  bool started_ = false;  ///< low and H are meaningful
  bool in_step_ = false;  ///< false: joined mid-stream, what was in flight then is unknown
  bool acked_ = false;    ///< the other direction acknowledges: not a one-way view
  bool peer_window_zero_ = false;
  bool ecn_capable_ = false;
  bool syn_waits_ = false;   ///< sent once and not answered yet
  std::uint8_t strays_ = 0;  ///< segments in a row that lie out of reach of H
  std::uint8_t next_seen_ = 0;
  std::int32_t counted_second_ = -1;
  SmoothedRtt smoothed_;
  RttFloor floor_;
  TimePoint last_sent_again_;  ///< anything below H: older bytes held the ACKs of newer ones
  TimePoint last_marked_;      ///< data that left us with CE
  std::array<Seen, 4> seen_{};
  std::unique_ptr<Tracking> tracking_;
};

}  // namespace weir
