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
constexpr Bytes kMostFifo{UINT32_MAX};  // tc_fifo_qopt has 32 bits for it
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

FqCodel fq_codel_for(const LeafSize& size, const LeafPolicy& asked) {
  const Rate served = octave(std::max(size.guarantee, size.ceil * kBorrowedShare));
  const Bytes frame_and_a_half(size.frame.count() * 3 / 2);
  const std::uint64_t frame = std::max<std::uint64_t>(size.frame.count(), 1);
  // An interval that was asked for bounds the target that nobody asked for: a tenth of it (RFC 8289, 4.3).
  const Duration least_target = asked.interval ? std::min<Duration>(kTarget, *asked.interval / 10) : kTarget;
  const Duration target = asked.target.value_or(
      std::min<Duration>(std::max(least_target, served.time_for(frame_and_a_half)), 10s));
  const Bytes depth =
      asked.packets ? Bytes(*asked.packets * frame) : octave(size.ceil).in(asked.depth.value_or(kFqDepth));
  const std::uint64_t packets =
      asked.packets ? *asked.packets
                    : std::clamp<std::uint64_t>(depth.count() / frame, asked.depth ? 1 : 128, 10240);
  return {.limit = static_cast<std::uint32_t>(packets),
          // Small packets cost the kernel several times their length.
          .memory_limit = std::clamp(Bytes(4 * depth.count()), kLeastMemory, kMostMemory),
          .target_us = microseconds(target),
          .interval_us = microseconds(asked.interval.value_or(std::max(kInterval, target * 10))),
          .flows = asked.flows.value_or(flows_for(size.leaves_on_port)),
          .quantum = asked.quantum.value_or(static_cast<std::uint32_t>(size.frame.count())),
          .ecn = asked.ecn.value_or(true)};
}

ByteFifo byte_fifo_for(const LeafSize& size, const LeafPolicy& asked) {
  const Bytes depth = asked.packets ? Bytes(*asked.packets * size.frame.count())
                                    : octave(size.ceil).in(asked.depth.value_or(kFifoDepth));
  return {.limit = std::clamp(depth, kLeastFifo, kMostFifo)};
}

}  // namespace weir::shaper
