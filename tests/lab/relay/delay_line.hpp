/// One direction of the relay: frames wait here, in order, until they are due.
///
/// Pure and bounded: all slots are allocated once; a full line refuses and counts. Times are CLOCK_MONOTONIC
/// nanoseconds given by the caller. Not thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace weir::lab {

using Nanoseconds = std::chrono::nanoseconds;

/// Room for one frame. Reception starts behind a gap in which a VLAN tag, that the kernel took out of the
/// frame, can be put back without moving the payload.
struct FrameSlot {
  static constexpr std::size_t kTagRoom = 4;
  static constexpr std::size_t kFrameRoom = 2044;
  std::array<std::byte, kTagRoom + kFrameRoom> room;
  std::size_t begin = kTagRoom;
  std::size_t length = 0;
  Nanoseconds due{};

  [[nodiscard]] std::span<std::byte> receive_area() { return std::span(room).subspan(kTagRoom); }
  [[nodiscard]] std::span<std::byte> frame() { return std::span(room).subspan(begin, length); }
};

/// A ring of slots: [head, head + waiting) hold frames, the ones after that are free.
class DelayLine {
 public:
  DelayLine(std::size_t slots, Nanoseconds delay) : slots_(slots), delay_(delay) {}

  [[nodiscard]] bool empty() const { return waiting_ == 0; }
  [[nodiscard]] std::size_t waiting() const { return waiting_; }
  [[nodiscard]] std::size_t room() const { return slots_.size() - waiting_; }
  /// The i-th free slot; i < room().
  [[nodiscard]] FrameSlot& free_slot(std::size_t i) { return slots_[(head_ + waiting_ + i) % slots_.size()]; }
  /// The i-th waiting frame, oldest first; i < waiting().
  [[nodiscard]] FrameSlot& waiting_frame(std::size_t i) { return slots_[(head_ + i) % slots_.size()]; }

  /// Takes the first free slot, filled by the caller with a frame that arrived at `arrived`.
  void admit(Nanoseconds arrived) {
    FrameSlot& slot = free_slot(0);
    // A shortened delay must not let a later frame overtake an earlier one.
    slot.due = std::max(arrived + delay_, last_due_);
    last_due_ = slot.due;
    ++waiting_;
  }

  /// How many frames, from the oldest on, are due at `now`.
  [[nodiscard]] std::size_t due(Nanoseconds now) {
    std::size_t n = 0;
    while (n < waiting_ && waiting_frame(n).due <= now) ++n;
    return n;
  }

  /// Forgets the `n` oldest frames.
  void release(std::size_t n) {
    head_ = (head_ + n) % slots_.size();
    waiting_ -= n;
  }

  [[nodiscard]] std::optional<Nanoseconds> next_due() {
    if (empty()) return std::nullopt;
    return waiting_frame(0).due;
  }

  void set_delay(Nanoseconds delay) { delay_ = delay; }

 private:
  std::vector<FrameSlot> slots_;
  std::size_t head_ = 0;
  std::size_t waiting_ = 0;
  Nanoseconds delay_;
  Nanoseconds last_due_{};
};

}  // namespace weir::lab
