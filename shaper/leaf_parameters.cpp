#include "shaper/leaf_parameters.hpp"

#include <algorithm>
#include <bit>

namespace weir::shaper {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTarget = 5ms;      // CoDel's own default, RFC 8289 section 4.2
constexpr Duration kInterval = 100ms;  // RFC 8289 section 4.3
constexpr Duration kFqDepth = 200ms;
constexpr Duration kFifoDepth = 100ms;
// sch_fifo.c drops a packet that does not fit as a whole, and GRO hands us up to 64 KB in one.
constexpr Bytes kLeastFifo{72U << 10U};
constexpr Bytes kLeastMemory{256U << 10U};
constexpr Bytes kMostMemory{32U << 20U};  // fq_codel's default
// A guarantee may be next to nothing while the class lives by borrowing: it is then served at some share of
// its ceil.
constexpr double kBorrowedShare = 1.0 / 20.0;

std::uint32_t microseconds(Duration d) {
  return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(d).count());
}

// 1024 flows cost about 68 kB a leaf: 0.7 GB at 10 000 leaves.
std::uint32_t flows_for(std::size_t leaves_on_port) {
  if (leaves_on_port <= 500) return 1024;
  return leaves_on_port <= 2000 ? 128 : 32;
}

}  // namespace

Rate octave(Rate rate) {
  const std::uint64_t below = std::bit_floor(std::max<std::uint64_t>(rate.bps(), 1));
  const bool nearer_above = static_cast<double>(rate.bps()) > static_cast<double>(below) * 1.41421356;
  return Rate::bps(nearer_above && below < 1ULL << 62U ? below * 2 : below);
}

FqCodel fq_codel_for(const LeafSize& size) {
  const Rate served = octave(std::max(size.guarantee, size.ceil * kBorrowedShare));
  const Bytes frame_and_a_half(size.frame.count() * 3 / 2);
  const Duration target = std::max(kTarget, served.time_for(frame_and_a_half));
  const Bytes depth = octave(size.ceil).in(kFqDepth);
  return {.limit = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
              depth.count() / std::max<std::uint64_t>(size.frame.count(), 1), 128, 10240)),
          // Small packets cost the kernel several times their length.
          .memory_limit = std::clamp(Bytes(4 * depth.count()), kLeastMemory, kMostMemory),
          .target_us = microseconds(std::min<Duration>(target, 10s)),
          .interval_us = microseconds(std::max(kInterval, std::min<Duration>(target, 10s) * 10)),
          .flows = flows_for(size.leaves_on_port),
          .quantum = static_cast<std::uint32_t>(size.frame.count()),
          .ecn = true};
}

ByteFifo byte_fifo_for(const LeafSize& size) {
  return {.limit = std::max(octave(size.ceil).in(kFifoDepth), kLeastFifo)};
}

}  // namespace weir::shaper
