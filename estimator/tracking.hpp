/// The working memory of a direction with data in flight, and the pool that lends it.
///
/// Pure, not thread-safe. Most flows of a large table have nothing in flight: a flow's own record
/// (flow_table) stays small, and what depends on the window is lent from here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "estimator/charged_losses.hpp"
#include "estimator/coarse_time.hpp"
#include "estimator/segment_ring.hpp"
#include "estimator/sent_twice.hpp"
#include "estimator/sequence.hpp"
#include "estimator/slab.hpp"

namespace weir {

class HalfFlow;

/// Bytes below H that did not pass here.
struct Hole {
  SequenceRange range;
  TimePoint opened;
};

/// What is needed only once something was lost, reordered or sent again.
struct Trouble {
  static constexpr std::size_t kMostHoles = 256;
  static constexpr std::size_t kMostSackedRanges = 256;
  static constexpr std::size_t kMostResent = 1024;

  /// A retransmission in flight, in order of sending.
  struct Resent {
    SequenceNumber begin = 0;
    TimePoint sent;
  };

  std::vector<Hole> holes;
  SequenceRangeSet sacked{kMostSackedRanges};
  SequenceNumber doubted_below = 0;  ///< no segment below it is left to be doubted
  SequenceNumber lost_below = 0;     ///< the same for those that are lost by the SACKs above them
  std::deque<Resent> resent;
  ChargedLosses losses;
  SentTwice sent_twice;

  /// Nothing is left of it but the memory of what was lost or sent twice.
  [[nodiscard]] bool is_over() const { return holes.empty() && sacked.empty(); }
  [[nodiscard]] bool is_at_rest() const { return is_over() && resent.empty(); }
};

/// A segment that passed a moment ago: a copy of it is known by it.
struct SeenSegment {
  SequenceNumber sequence = 0;
  std::uint32_t mark = 0;  ///< IP identification, or the timestamp where there is none
  CoarseTime at;
  std::uint16_t length = 0;  ///< 0: nothing
  bool by_timestamp = false;
};

/// Three cache lines are all that is touched to lend one, to put two segments into it, to take them out for
/// their ACK and to give it back: among many connections, what was not asked for in time is waited for.
struct alignas(64) Tracking {
  static constexpr std::size_t kUsualLines = 3;

  Tracking(HalfFlow& for_whom, SegmentBudget& budget) : owner(&for_whom), ring(budget) {}

  HalfFlow* owner;
  std::unique_ptr<Trouble> trouble;
  TimePoint newest_delivered;  ///< when the latest-sent segment known to have arrived was sent
  TimePoint last_ack;          ///< that may have asked for a retransmission
  std::uint8_t next_seen = 0;
  bool troubled = false;  ///< holes, SACKed bytes or retransmissions are in flight
  bool marked = false;    ///< last_marked is meaningful
  TimePoint last_marked;  ///< data that left us with CE
  std::array<SeenSegment, 4> seen{};
  SegmentRing ring;

  [[nodiscard]] bool rests() const { return ring.empty() && (!trouble || trouble->holes.empty()); }
  [[nodiscard]] Trouble& in_trouble(SequenceNumber nothing_doubted_below) {
    troubled = true;
    if (!trouble) trouble = std::make_unique<Trouble>();
    if (trouble->is_over()) trouble->doubted_below = trouble->lost_below = nothing_doubted_below;
    return *trouble;
  }
};
static_assert(sizeof(Tracking) == 256, "the upper two of the ring's own segments are the fourth line");

class TrackingPool {
 public:
  using Number = std::uint32_t;
  static constexpr Number kNone = 0xffffffff;

  TrackingPool(std::size_t most, std::size_t most_segments)
      : budget_{.limit = most_segments, .used = 0}, trackings_(most) {}

  /// kNone: all are lent, and none of those looked at can be spared. One that rests is taken from its owner,
  /// or one of a direction that nobody has answered: its segments are in no cohort.
  [[nodiscard]] Number lend(HalfFlow& owner);
  void give_back(Number number) {
    trackings_.release(number);
    if (is_crowded()) lately_[given_back_++ % lately_.size()] = number;
  }
  [[nodiscard]] Tracking& operator[](Number number) { return trackings_[number]; }
  /// So many are lent that resting ones are worth more to others.
  [[nodiscard]] bool is_crowded() const { return trackings_.size() > kCrowd; }
  [[nodiscard]] std::size_t size() const { return trackings_.size(); }
  [[nodiscard]] std::size_t bytes_held() const {
    return trackings_.bytes_held() + budget_.used * sizeof(SentSegment);
  }

 private:
  static constexpr std::size_t kCrowd = 8192;
  static constexpr std::size_t kVictimsLookedAt = 64;

  [[nodiscard]] static bool can_be_spared(const Tracking& t);

  SegmentBudget budget_;  ///< outlives the rings that it is shared by
  Slab<Tracking, kHugePage / sizeof(Tracking)> trackings_;
  Number hand_ = 0;
  /// A ring of those given back in a crowd, lent again from its newest end while their memory is at hand. One
  /// may have been lent meanwhile.
  std::array<Number, 64> lately_{};
  std::size_t given_back_ = 0;  ///< ... those after the last one that was lent again
};

}  // namespace weir
