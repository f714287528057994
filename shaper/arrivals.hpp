/// What came to the port, as the classifier counts it: before any queue could drop it. Values.
#pragma once

#include <cstdint>
#include <vector>

#include "config/units.hpp"

namespace weir::shaper {

struct Arrivals {
  std::uint64_t packets = 0;  ///< on the wire: a super-packet counts its segments
  Bytes bytes;                ///< without the link layer's overhead
};

struct SiteArrivals {
  Arrivals otherwise;           ///< no rule held
  std::vector<Arrivals> rules;  ///< by number (shaper/packet_query.hpp)

  [[nodiscard]] Arrivals total() const {
    Arrivals sum = otherwise;
    for (const Arrivals& one : rules) {
      sum.packets += one.packets;
      sum.bytes += one.bytes;
    }
    return sum;
  }
};

/// Since the policy in force was loaded.
struct ArrivalCounters {
  Arrivals elsewhere;
  Arrivals control;
  std::vector<SiteArrivals> sites;  ///< in the policy's order
};

}  // namespace weir::shaper
