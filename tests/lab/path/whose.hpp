/// Whose a frame is: by the prefixes of its far and near addresses.
///
/// Pure. Not thread-safe only in that what it counts is its own.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "config/address.hpp"

#include "headers.hpp"
#include "way.hpp"

namespace weir::lab {

struct Whose {
  std::vector<std::pair<Prefix, std::size_t>> sites;  ///< prefix of the far side -> site
  std::vector<Prefix> foreign;                        ///< of others, on either side
  std::vector<std::pair<Prefix, std::size_t>> rtts;   ///< prefix of our side -> index of the RTT

  /// The longest prefix that holds the address.
  [[nodiscard]] static std::optional<std::size_t> find(
      const std::vector<std::pair<Prefix, std::size_t>>& rules, const IpAddress& address) {
    const std::pair<Prefix, std::size_t>* best = nullptr;
    for (const auto& rule : rules) {
      if (rule.first.contains(address) && (best == nullptr || rule.first.length > best->first.length))
        best = &rule;
    }
    return best == nullptr ? std::nullopt : std::optional(best->second);
  }

  [[nodiscard]] Passenger passenger(std::span<const std::byte> frame, std::uint32_t token, bool back) const {
    Passenger p{.token = token, .bytes = static_cast<std::uint32_t>(frame.size())};
    const auto headers = read_headers(frame);
    if (!headers) {
      p.free_ride = true;
      return p;
    }
    const IpAddress& near = back ? headers->destination : headers->source;
    const IpAddress& far = back ? headers->source : headers->destination;
    p.ecn_capable = headers->ecn_capable;
    p.foreign = std::any_of(foreign.begin(), foreign.end(),
                            [&](const Prefix& f) { return f.contains(near) || f.contains(far); });
    if (!p.foreign) p.site = find(sites, far);
    if (back) p.delay = find(rtts, near);
    return p;
  }
};

}  // namespace weir::lab
