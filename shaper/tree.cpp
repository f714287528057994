#include "shaper/tree.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace weir::shaper {
namespace {

constexpr double kMicroseconds = 1e6;
constexpr double kTicksPerMicrosecond = 15.625;  // 1000 ns / 64 ns
constexpr auto kMostTicks = std::numeric_limits<std::uint32_t>::max();

// CoDel keeps times in units of 1024 ns (net/codel.h CODEL_SHIFT): 5000 us come back as 4999.
std::uint32_t codel_rounded(std::uint32_t us) {
  const std::uint64_t units = static_cast<std::uint64_t>(us) * 1000U >> 10U;
  return static_cast<std::uint32_t>((units << 10U) / 1000U);
}

}  // namespace

Ticks ticks_for(Bytes burst, Rate rate) {
  const double us = std::floor(kMicroseconds * static_cast<double>(burst.count()) /
                               static_cast<double>(std::max<std::uint64_t>(rate.bytes_per_second(), 1)));
  const double ticks = std::floor(us * kTicksPerMicrosecond);
  return {ticks >= kMostTicks ? kMostTicks : static_cast<std::uint32_t>(ticks)};
}

Bytes burst_for(Ticks ticks, Rate rate) {
  const double us = std::ceil(ticks.count / kTicksPerMicrosecond);
  return Bytes(static_cast<std::uint64_t>(
      std::ceil(us * static_cast<double>(rate.bytes_per_second()) / kMicroseconds)));
}

const char* kind_of(const LeafParameters& leaf) {
  return std::holds_alternative<FqCodel>(leaf) ? "fq_codel" : "bfifo";
}

LeafParameters as_read_back(const LeafParameters& leaf) {
  if (const auto* fq = std::get_if<FqCodel>(&leaf)) {
    FqCodel rounded = *fq;
    rounded.target_us = codel_rounded(fq->target_us);
    rounded.interval_us = codel_rounded(fq->interval_us);
    rounded.quantum = std::max<std::uint32_t>(fq->quantum, 256);  // sch_fq_codel.c, fq_codel_change
    return rounded;
  }
  return leaf;
}

Observed as_read_back(const Tree& tree) {
  Observed seen;
  seen.root = ObservedRoot{.kind = "htb", .handle = kRoot, .htb = tree.root};
  for (const auto& spec : tree.classes) {
    seen.classes.emplace_hint(
        seen.classes.end(), spec.handle,
        ObservedClass{.handle = spec.handle, .parent = spec.parent, .htb = spec.htb, .inner = !spec.leaf});
    if (spec.leaf) {
      seen.leaves.emplace_hint(seen.leaves.end(), spec.handle,
                               ObservedLeaf{.handle = spec.leaf->handle,
                                            .parent = spec.handle,
                                            .kind = kind_of(spec.leaf->parameters),
                                            .parameters = as_read_back(spec.leaf->parameters)});
    }
  }
  return seen;
}

std::string tc_name(Handle handle) {
  char text[16];
  const unsigned major = handle >> 16U;
  const unsigned minor = handle & 0xffffU;
  if (minor == 0) {
    std::snprintf(text, sizeof text, "%x:", major);
  } else {
    std::snprintf(text, sizeof text, "%x:%x", major, minor);
  }
  return text;
}

}  // namespace weir::shaper
