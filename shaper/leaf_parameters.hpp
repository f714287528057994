/// How long and how deep the queue of one class is. Pure.
///
/// Depths follow the class's rates in octaves, not exactly: a rate change that moves a class by a few
/// percent, and nearly all do, then needs no message for its leaf.
#pragma once

#include "config/policy.hpp"
#include "shaper/tree.hpp"

namespace weir::shaper {

struct LeafSize {
  Rate guarantee;
  Rate ceil;
  Bytes frame;                     ///< largest wire frame
  std::size_t leaves_on_port = 1;  ///< queues that share the machine's memory
};

/// Target at least 1.5 frame times at the class's rate; limits for about 200 ms; what the policy says
/// instead.
[[nodiscard]] FqCodel fq_codel_for(const LeafSize& size, const LeafPolicy& asked = {});
/// About 100 ms at the ceil, or what the policy says; but never so short that a 64 KB super-packet does not
/// fit: it would be dropped each time.
[[nodiscard]] ByteFifo byte_fifo_for(const LeafSize& size, const LeafPolicy& asked = {});
/// The power-of-two multiple of 1 bit/s nearest to `rate` by ratio.
[[nodiscard]] Rate octave(Rate rate);

}  // namespace weir::shaper
