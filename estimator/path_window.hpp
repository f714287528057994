/// Sums of one site in one direction: cohorts by send time, delivered bytes, RTT, queue delay, ACK life
/// signs.
///
/// Pure; one owner. Whoever classifies segments (half_flow) reports the fate of each transmission once:
///
///   segments_sent --> segments_delivered | segments_lost_after_tap | segments_forgotten
///                \--> segments_doubtful (SACKed bytes lie above it) --> one of the three, or --undoubted
///
/// "After" and "before" the tap are meant along the data's own way; this class knows its direction and turns
/// them into beyond (the WAN side) and before (our side).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "estimator/corroboration.hpp"
#include "estimator/estimator.hpp"
#include "estimator/measurement.hpp"
#include "estimator/path_meter.hpp"
#include "estimator/queue_ways.hpp"

namespace weir {

class PathWindow {
 public:
  PathWindow(Direction direction, TimePoint epoch);

  /// Of the connections only one in `n` will be followed from now on, others than before. What waits for
  /// their answers waits no more, and what is delivered is unknown until the new ones' ACKs can have come.
  void follow_one_in(std::uint32_t n);
  /// From now on what one remote alone tells of losses and marks does not count (corroboration.hpp). Such
  /// segments are in no cohort.
  void corroborate() { witnesses_ = std::make_unique<Witnesses>(); }
  /// Segments whose loss did not count for that.
  [[nodiscard]] std::uint64_t set_aside() const { return witnesses_ ? witnesses_->set_aside : 0; }

  // -- frames --
  void frame_seen(TimePoint at, Bytes charged, FrameKind kind) {
    tick_.sent.add(kind, charged);
    if (const Place& p = reach(at); p.cohort) add(p.slot->bytes, static_cast<std::uint32_t>(charged.count()));
  }
  void data_seen(TimePoint at) {
    tick_.data = true;
    if (unanswered_since_ == kNever) unanswered_since_ = at;
  }
  /// Flows are counted by the second, or what a shift makes of it: 2^30 ns.
  [[nodiscard]] static std::int64_t flow_period(TimePoint at) { return at.time_since_epoch().count() >> 30; }
  /// A flow had data in a period for the first time.
  void flow_seen(TimePoint at);
  void ack_seen(TimePoint at) {
    last_ack_ = at;
    unanswered_since_ = kNever;
  }
  void unmarked_data_echoed(TimePoint at, RemoteKey by);

  // -- fate of transmissions --
  // A transmission is known by the time at which it was sent; what is told of a cohort that has been emitted
  // comes too late and is passed over.
  /// `rtt` of the flow (zero: unknown) says how long the fate may take.
  void segments_sent(TimePoint at, std::uint32_t segments, Duration rtt) {
    in_flight_ += segments;
    const Place& p = reach(at);
    if (p.cohort == nullptr) return;
    p.book_sent(segments, waited_for(rtt));
  }
  /// All that a frame tells which carries nothing but data sent for the first time: frame_seen, data_seen,
  /// charge_sent and segments_sent. `remote()`: to whom.
  template <typename RemoteOf>
  [[gnu::always_inline]] void fresh_data_seen(TimePoint at, Bytes charged, std::uint32_t segments,
                                              Duration rtt, RemoteOf&& remote) {
    if (!now_place_.holds(at)) [[unlikely]] {
      if (is_sample_due(at)) sample(at, charged, remote());
      turn_to(at);
    }
    unbooked_.charged += charged;
    unbooked_.segments += segments;
    unbooked_.rtt = std::max(unbooked_.rtt, waited_for(rtt));
    if (unanswered_since_ == kNever) unanswered_since_ = at;
  }
  /// frame_seen of an acknowledgment without data, of a connection that is followed.
  void lone_ack_passed(TimePoint at, Bytes charged) {
    static_cast<void>(reach(at));
    unbooked_.without_data += charged;
  }
  /// Of a frame with data that is not one of those, before frame_seen.
  void sample_remote(TimePoint at, Bytes charged, RemoteKey remote) {
    if (is_sample_due(at)) sample(at, charged, remote);
  }
  void charge_sent(TimePoint at, Bytes charged) {
    if (const Place& p = reach(at); p.cohort) p.cohort->charged += charged;
  }
  void segments_delivered(TimePoint sent, std::uint32_t segments) {
    fates_told(segments);
    count_delivered(sent, segments);
  }
  /// The same in two steps, so that the first may be taken once for many.
  void fates_told(std::uint32_t segments) {
    if (in_flight_ < segments) [[unlikely]]
      return more_fates_told(segments);
    in_flight_ -= segments;
  }
  void count_delivered(TimePoint sent, std::uint32_t segments) {
    if (!sent_place_.holds(sent)) [[unlikely]] {
      sent_place_ = find_open(sent);
      if (sent_place_.cohort == nullptr) return;
    }
    sent_place_.cohort->delivered += segments;
    add(sent_place_.slot->delivered, segments);
  }
  /// `told`: when their retransmission passed; `by`: whose ACKs, or silence, told it. False: nobody else's
  /// bear it out, and they are forgotten.
  bool segments_lost_after_tap(TimePoint sent, std::uint32_t segments, TimePoint told,
                               RemoteKey by = kNobody);
  /// A loss that SACKs had told is told by its retransmission as well.
  void loss_told_again(TimePoint sent, TimePoint told);
  /// A loss that was charged turns out to have been delivered (DSACK, an ACK too early for the
  /// retransmission).
  void loss_undone(TimePoint sent, std::uint32_t segments);
  void segments_forgotten(TimePoint sent, std::uint32_t segments);
  /// False: it is not to be counted, as above, and nothing was done.
  bool segments_doubtful(TimePoint sent, std::uint32_t segments, RemoteKey by = kNobody);
  void segments_undoubted(TimePoint sent, std::uint32_t segments);

  /// Holes are waited for at least as long as what fills them may take: two such round trips. Zero, as it is
  /// at first: those of the direction's own samples.
  void wait_for_holes(Duration round_trip) { holes_filled_within_ = round_trip; }
  void hole_opened(TimePoint at);
  void hole_closed(TimePoint opened);
  void hole_filled_late(TimePoint opened, std::uint32_t segments);

  // -- acknowledgments --
  void delivered(TimePoint at, Bytes charged) {
    if (!tick_.first_delivery) {
      tick_.first_delivery = at;
      tick_.first_delivery_bytes = charged;
    }
    tick_.delivered += charged;
  }
  void rtt_sampled(const RttSample& sample) { meter_.rtt_sampled(sample); }
  [[nodiscard]] PathMeter& meter() { return meter_; }
  [[nodiscard]] QueueWays& queue_ways() { return queue_ways_; }

  /// Closes the tick (previous close, now]. With `part` that is filled in, and cohorts come whole: also those
  /// that hold nothing but bytes.
  [[nodiscard]] SiteMeasurement close_tick(TimePoint now, bool capture_lost, PathPart* part = nullptr);

  /// Whether two transmissions are booked in one place, so that their fates may be told together.
  [[nodiscard]] bool same_slot(TimePoint a, TimePoint b) const {
    return (a - epoch_) / kSlotLength == (b - epoch_) / kSlotLength;
  }

 private:
  /// Number of a 100 ms interval of send time since the estimator's epoch.
  using CohortId = std::uint32_t;
  static constexpr TimePoint kNever = TimePoint::min();
  [[nodiscard]] static std::optional<TimePoint> unless_never(TimePoint at) {
    return at == kNever ? std::nullopt : std::optional(at);
  }

  /// Counters of strangers' packets: they stop at their ends instead of wrapping.
  template <class Counter>
  static void add(Counter& to, std::uint64_t count) {
    if (__builtin_add_overflow(to, count, &to)) [[unlikely]]
      to = std::numeric_limits<Counter>::max();
  }
  template <class Counter>
  static void take_off(Counter& from, std::uint32_t count) {
    from = static_cast<Counter>(from - std::min<std::uint32_t>(from, count));
  }

  struct OpenCohort {
    std::uint32_t sent = 0;  ///< transmissions whose fate is tracked
    std::uint32_t delivered = 0;
    std::uint32_t lost_after = 0;
    std::uint32_t doubtful = 0;
    std::uint32_t holes_open = 0;
    std::uint32_t lost_before_tap = 0;
    Bytes charged;
    Duration rtt{};     ///< longest among the flows that sent in it
    TimePoint lost_at;  ///< when the last of its losses was told
    std::uint32_t one_in = 1;
    std::array<Slot, kSlotsPerCohort> slots{};
    bool voided = false;
    [[nodiscard]] bool untouched() const { return sent == 0 && lost_before_tap == 0 && charged.count() == 0; }
  };

  /// Where a transmission is booked; one without a cohort holds no time. Most look-ups ask for the same slot
  /// as the one before.
  struct Place {
    TimePoint begin;  ///< of the slot
    TimePoint end;
    OpenCohort* cohort = nullptr;
    Slot* slot = nullptr;
    [[nodiscard]] bool holds(TimePoint at) const { return at >= begin && at < end; }
    void book_sent(std::uint64_t segments, Duration waits) const {
      cohort->sent += static_cast<std::uint32_t>(segments);
      if (cohort->rtt < waits) cohort->rtt = waits;
      add(slot->sent, segments);
    }
  };
  [[nodiscard]] static Duration waited_for(Duration rtt) {
    return rtt > Duration::zero() ? rtt : kUnknownRtt;
  }
  /// What belongs to now_place_ and is not booked there: most packets add to few sums, each slot to all.
  struct Unbooked {
    Bytes charged;       ///< of frames with data
    Bytes without_data;  ///< of others
    std::uint64_t segments = 0;
    Duration rtt{};  ///< longest that any of them waits for
  };

  [[nodiscard]] bool is_sample_due(TimePoint at) const { return witnesses_ && at >= witnesses_->sample_at; }
  void sample(TimePoint at, Bytes charged, RemoteKey remote);
  [[nodiscard]] CohortId cohort_of(TimePoint at) const;
  [[nodiscard]] TimePoint begin_of(CohortId cohort) const;
  [[nodiscard]] OpenCohort& cohort(CohortId id) { return ring_[id & (ring_.size() - 1)]; }
  [[nodiscard]] Place place_of(TimePoint at, CohortId id);
  /// The place of a time whose cohort is open; its cohort is nullptr otherwise.
  [[nodiscard]] const Place& open(TimePoint sent) {
    if (!sent_place_.holds(sent)) sent_place_ = find_open(sent);
    return sent_place_;
  }
  /// The same, made if need be; its cohort is nullptr when it has been emitted.
  const Place& reach(TimePoint at) {
    if (!now_place_.holds(at)) [[unlikely]]
      turn_to(at);
    return now_place_;
  }
  void turn_to(TimePoint at);
  void book();
  void more_fates_told(std::uint32_t segments);
  [[nodiscard]] Place find_open(TimePoint sent);
  [[nodiscard]] Place make(TimePoint at);
  void widen();
  void forget_places() { now_place_ = sent_place_ = Place{}; }
  [[nodiscard]] bool is_mature(const OpenCohort& cohort, CohortId id, TimePoint now) const;
  [[nodiscard]] Cohort finish(const OpenCohort& cohort, CohortId id) const;
  void collect_mature(TimePoint now, bool whole, std::vector<Cohort>& into);
  void tell_young(std::vector<YoungCohort>& into);
  void void_open_cohorts(TimePoint now);

  /// What others have to bear out, and by how much they can.
  struct Witnesses {
    RemoteShares shares;
    /// The next packet from here on is a sample: at random, since queues serve flows in turn, and every n-th
    /// packet may be the same one's.
    TimePoint sample_at;
    std::uint64_t random = 1;
    Corroboration losses{std::chrono::milliseconds(10)};
    Corroboration marks{kCohortLength};  ///< echoes go on for a round trip (RFC 3168, 6.1.3)
    std::uint64_t set_aside = 0;
    void close_tick() {
      shares.close_tick();
      losses.close_tick();
      marks.close_tick();
    }
  };

  Direction direction_;
  std::uint32_t one_in_ = 1;
  std::unique_ptr<Witnesses> witnesses_;  ///< nullptr: whatever is told counts
  TimePoint epoch_;
  TimePoint tick_began_;
  bool ticked_ = false;

  std::vector<OpenCohort> ring_;  ///< open cohorts by number, modulo its size, a power of two
  CohortId first_cohort_ = 0;     ///< oldest open one
  std::uint32_t open_cohorts_ = 0;
  Place now_place_;  ///< of what was sent last
  Unbooked unbooked_;
  Place sent_place_;  ///< of the fate told last

  PathTick tick_;
  PathMeter meter_;
  std::uint64_t in_flight_ = 0;  ///< transmissions without a fate yet, but for those of unbooked_
  QueueWays queue_ways_;

  Duration holes_filled_within_{};
  std::uint32_t ece_echoes_ = 0;
  std::int64_t flows_period_ = 0;
  std::uint32_t flows_this_period_ = 0;
  std::uint32_t flows_last_period_ = 0;
  TimePoint last_ack_ = kNever;
  TimePoint unanswered_since_ = kNever;
};

}  // namespace weir
