/// The kernel's part of sampling: a classic BPF program that leaves out most frames of connections that are
/// not followed, before they are copied.
///
/// Pure. What it looks at: Ethernet, IPv4 without options or IPv6, then TCP, no tags and no fragments
/// ("plain" below). Of those that FlowSample::follows denies one in FlowSample::kThinning passes, at random;
/// of all others every one that `base` passes. The estimator computes the same hash and counts each of the
/// few for kThinning.
#pragma once

#include <span>
#include <vector>

#include <linux/filter.h>

#include "estimator/flow_sampling.hpp"

namespace weir {

/// `base` is a whole program for Ethernet frames, and goes on where this one lets a frame pass.
[[nodiscard]] std::vector<sock_filter> with_sampling(const FlowSample& sample,
                                                     std::span<const sock_filter> base);

}  // namespace weir
