/// What is known of all sites, as the file that outlives the daemon: one JSON document, a site a line.
///
///   {"weir_memory":1,"interface":"wan0","saved_ns":1740830400250000000,"sites":[{"site":"dc-coast",
///   "mode":"policer","capacity":[46500000,12000,5000000000],...}
///   ,{"site":...}
///   ]}
///
/// The members of a site: estimator/site_memory_json.hpp. Pure (the instant is an argument). The text is
/// untrusted: it is taken whole or not at all, and nothing throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>

#include "estimator/site_memory.hpp"
#include "gateway/clock.hpp"

namespace weir::gateway {

/// By the site's name.
using SiteMemories = std::map<std::string, SiteMemory, std::less<>>;

inline constexpr std::uint32_t kMemoryFormat = 1;
inline constexpr std::size_t kLargestMemoryFile =
    std::size_t{16} << 20U;  ///< a site takes 250 bytes, a port has at most 65 500

struct KeptMemories {
  std::string interface;  ///< the port behind which the sites lie
  WallTime saved;         ///< when the ages in `sites` were true
  SiteMemories sites;
};

[[nodiscard]] std::string to_text(const KeptMemories& kept);

/// Why the file is no use: one clause for people.
struct UnusableMemory {
  std::string why;
};
/// The sites of `interface` as they are known at `now`: by the wall clock, which alone goes on while the
/// machine is off. Unusable, too, what was kept for another port, more than a day ago, or after `now`.
[[nodiscard]] std::variant<SiteMemories, UnusableMemory> parse_memories(std::string_view text,
                                                                        std::string_view interface,
                                                                        WallTime now);

/// The same after `passed`.
[[nodiscard]] SiteMemories aged(SiteMemories sites, Duration passed);

}  // namespace weir::gateway
