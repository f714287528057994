/// The segments of one direction that are in flight: a growing ring in sequence order, within a shared
/// budget.
///
/// Pure. Appending and taking from the front are O(1); a hole that is filled inserts in the middle (rare, and
/// close to the end). The first few lie in the ring itself, so that small windows cost no allocation; more
/// memory is taken in doublings and given back when the ring is destroyed.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "config/units.hpp"
#include "estimator/sequence.hpp"

namespace weir {

/// What all rings together may hold beside their first few; the table's owner sets the limit.
struct SegmentBudget {
  std::size_t limit = 0;
  std::size_t used = 0;
};

/// One transmission without a fate: bytes [begin, end) as last sent.
struct SentSegment {
  enum Flag : std::uint8_t {
    kRetransmitted = 1,  ///< sent more than once: no RTT sample (Karn)
    kSacked = 2,         ///< delivered, and counted as such
    kDoubtful = 4,       ///< SACKed bytes lie above it
    kFollowed = 8,       ///< the next segment left within a millisecond: its ACK cannot be a delayed one
    kUncounted = 16,     ///< not part of a cohort (one-way view)
    kMerged = 32,        ///< stands for several segments with times of their own: no RTT sample
    kLost = 64,          ///< counted as lost, and not sent again yet
    kSetAside = 128,     ///< would be that, but for who told it: not part of a cohort
  };
  SequenceRange range;
  TimePoint sent;
  std::uint32_t charged = 0;
  std::uint16_t segments = 0;
  std::uint8_t flags = 0;

  [[nodiscard]] bool is(Flag flag) const { return (flags & flag) != 0; }
  [[nodiscard]] bool has_fate() const { return (flags & (kSacked | kUncounted | kLost | kSetAside)) != 0; }
  void set(Flag flag) { flags = static_cast<std::uint8_t>(flags | flag); }
  void unset(Flag flag) { flags = static_cast<std::uint8_t>(flags & ~flag); }
};

class SegmentRing {
 public:
  static constexpr std::size_t kMostSegments = 16'384;
  static constexpr std::size_t kOwnSegments = 4;

  explicit SegmentRing(SegmentBudget& budget) : budget_(&budget) { slots_ = own_.data(); }
  ~SegmentRing() {
    if (!has_more()) return;
    budget_->used -= capacity();
    delete[] slots_;
  }
  SegmentRing(const SegmentRing&) = delete;
  SegmentRing& operator=(const SegmentRing&) = delete;

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] SentSegment& operator[](std::size_t i) { return slots_[(head_ + i) & mask_]; }
  [[nodiscard]] const SentSegment& operator[](std::size_t i) const { return slots_[(head_ + i) & mask_]; }
  [[nodiscard]] SentSegment& front() { return slots_[head_]; }
  [[nodiscard]] SentSegment& back() { return (*this)[size_ - 1]; }
  /// Asks for the memory of the oldest two, or of the newest and the next that will be appended. They span
  /// two cache lines at most, but for those at the ring's seam.
  [[gnu::always_inline]] void prefetch_end(bool newest) const {
    const std::uint32_t at =
        head_ + ((size_ - 1) & (0U - std::uint32_t{newest}));  // no branch: it takes turns
    const auto* first = reinterpret_cast<const char*>(&slots_[at & mask_]);
    __builtin_prefetch(first, 1);
    __builtin_prefetch(first + 2 * sizeof(SentSegment) - 1, 1);
  }
  void pop_front() {
    head_ = (head_ + 1) & mask_;
    --size_;
  }
  /// Takes from the front what `take` returns true for, and stops behind it.
  template <typename Take>
  [[gnu::always_inline]] void pop_while(Take&& take) {
    const SentSegment* const slots = slots_;
    const std::uint32_t mask = mask_;
    std::uint32_t head = head_;
    std::uint32_t left = size_;
    for (; left > 0 && take(slots[head]); --left) head = (head + 1) & mask;
    head_ = head;
    size_ = left;
  }
  /// False when neither the ring nor the budget has room.
  [[nodiscard]] bool insert(std::size_t at, const SentSegment& segment) {
    if (at == size_) return push_back(segment);
    if (is_full()) return false;
    ++size_;
    for (std::size_t i = size_ - 1; i > at; --i) (*this)[i] = (*this)[i - 1];
    (*this)[at] = segment;
    return true;
  }
  [[nodiscard]] bool push_back(const SentSegment& segment) {
    if (is_full()) return false;
    push_with_room(segment);
    return true;
  }
  /// Neither the ring nor the budget has room for one more; else there is room now.
  [[nodiscard]] bool is_full() { return size_ > mask_ && !grow(); }
  void push_with_room(const SentSegment& segment) { slots_[(head_ + size_++) & mask_] = segment; }
  /// The same, and note_followed before.
  [[gnu::always_inline]] void push_in_turn(const SentSegment& segment) {
    SentSegment* const slots = slots_;
    const std::uint32_t mask = mask_;
    const std::uint32_t size = size_;
    const std::uint32_t behind = head_ + size;
    if (size > 0) follow(slots[(behind - 1) & mask], segment.sent);
    slots[behind & mask] = segment;
    size_ = size + 1;
  }
  /// Another one leaves `at`: the ACK of what was sent just before cannot be a delayed one.
  void note_followed(TimePoint at) {
    if (!empty()) follow(back(), at);
  }

  /// Index of the first segment that ends behind `at`; size() when there is none.
  [[nodiscard]] std::size_t first_ending_after(SequenceNumber at) const {
    std::size_t low = 0;
    std::size_t high = size_;
    while (low < high) {
      const std::size_t middle = low + (high - low) / 2;
      if (precedes(at, (*this)[middle].range.end)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

 private:
  static void follow(SentSegment& segment, TimePoint at) {
    constexpr Duration kBackToBack = std::chrono::milliseconds(1);
    if (at - segment.sent <= kBackToBack) segment.set(SentSegment::kFollowed);
  }
  [[nodiscard]] std::size_t capacity() const { return std::size_t{mask_} + 1; }
  [[nodiscard]] bool has_more() const { return capacity() > kOwnSegments; }
  [[nodiscard]] bool grow() {
    const std::size_t wider = 2 * capacity();
    const std::size_t taken = has_more() ? capacity() : 0;
    if (wider > kMostSegments || budget_->used + (wider - taken) > budget_->limit) return false;
    auto larger = std::make_unique_for_overwrite<SentSegment[]>(wider);
    for (std::size_t i = 0; i < size_; ++i) larger[i] = (*this)[i];
    if (has_more()) delete[] slots_;
    budget_->used += wider - taken;
    slots_ = larger.release();
    mask_ = static_cast<std::uint32_t>(wider - 1);
    head_ = 0;
    return true;
  }

  SentSegment* slots_ = nullptr;           ///< of the ring itself; owned, when it has more
  std::uint32_t mask_ = kOwnSegments - 1;  ///< capacity less one
  std::uint32_t head_ = 0;
  std::uint32_t size_ = 0;
  SegmentBudget* budget_;
  union {
    std::array<SentSegment, kOwnSegments> own_;  ///< none is made before it comes: its memory is let be
  };
};

}  // namespace weir
