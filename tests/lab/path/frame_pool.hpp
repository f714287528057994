/// Room for the frames that are under way in the path: all of it is there from the start, and a frame is one
/// place of it until it has left.
///
/// Bounded: who asks a full pool gets nothing and leaves his frame where it is. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "config/units.hpp"

namespace weir::lab {

/// Reception starts behind a gap in which a VLAN tag, that the kernel took out of the frame, can be put back
/// without moving the payload.
struct FrameSlot {
  static constexpr std::size_t kTagRoom = 4;
  static constexpr std::size_t kFrameRoom = 2028;
  std::array<std::byte, kTagRoom + kFrameRoom> room;
  std::uint32_t begin;
  std::uint32_t length;
  Duration arrived;  ///< CLOCK_MONOTONIC

  [[nodiscard]] std::span<std::byte> receive_area() { return std::span(room).subspan(kTagRoom); }
  [[nodiscard]] std::span<std::byte> frame() { return std::span(room).subspan(begin, length); }
};

using FrameId = std::uint32_t;

class FramePool {
 public:
  explicit FramePool(std::size_t frames)
      : slots_(std::make_unique_for_overwrite<FrameSlot[]>(frames)), size_(frames), free_(frames) {
    std::iota(free_.rbegin(), free_.rend(), FrameId{0});
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t room() const { return free_.size(); }
  [[nodiscard]] FrameSlot& at(FrameId id) { return slots_[id]; }
  /// The place freed last comes first: it is still in the caches. room() > 0.
  [[nodiscard]] FrameId take() {
    const FrameId id = free_.back();
    free_.pop_back();
    return id;
  }
  void give_back(FrameId id) { free_.push_back(id); }

 private:
  std::unique_ptr<FrameSlot[]> slots_;
  std::size_t size_;
  std::vector<FrameId> free_;
};

}  // namespace weir::lab
