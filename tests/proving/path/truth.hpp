/// What really happened, in bins of 10 ms: the only thing that scores a run. Filled by whoever drives the
/// links.
///
/// Plain values; not thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/units.hpp"

#include "proving/path/link.hpp"
#include "proving/path/scenario.hpp"

namespace weir::proving {

inline constexpr Duration kBin = std::chrono::milliseconds(10);

struct LinkBin {
  double capacity_bps = 0.0;
  double queue_ms = 0.0;      ///< at the end of the bin
  std::uint32_t offered = 0;  ///< packets
  std::uint32_t over_limit = 0;
  std::uint32_t at_random = 0;
  std::uint64_t forwarded_bytes = 0;

  /// One packet's end on the link; a mark is none.
  void count(Fate fate, std::uint32_t bytes) {
    if (fate == Fate::forwarded) forwarded_bytes += bytes;
    if (fate == Fate::over_limit) ++over_limit;
    if (fate == Fate::at_random) ++at_random;
  }
};

struct SiteBin {
  double shaped_bps = 0.0;  ///< at the end of the bin; 0: not shaped
  std::uint64_t sent_bytes = 0;
  std::uint64_t received_bytes = 0;  ///< at the far end
  bool demand = false;               ///< the box held packets, or loads offer without end
};

/// A packet of the priority class: how long it took from our host to the far one.
struct PriorityPacket {
  TimePoint sent;
  std::optional<Duration> delay;  ///< nullopt: lost
};

struct Truth {
  std::vector<std::vector<LinkBin>> links;  ///< [link][bin]
  std::vector<std::vector<SiteBin>> sites;
  std::vector<PriorityPacket> priority;
};

/// Over a scenario's scored time. Ratios, not percentages.
struct LinkScore {
  std::string name;
  double utilisation = 0.0;  ///< forwarded / capacity, while any site behind it has demand
  double loss = 0.0;         ///< dropped over the limit / offered
  double random_loss = 0.0;
  double queue_p50_ms = 0.0, queue_p95_ms = 0.0, queue_most_ms = 0.0;
};
/// After a jump of the capacity that a site had to follow, or a restart of the box (from and to are the
/// same).
struct Settling {
  Duration at{};
  double from_bps = 0.0, to_bps = 0.0;
  std::optional<double>
      seconds{};  ///< until the rate stays within 5 % for a second; nullopt: not before the next
};
struct SiteScore {
  std::string name;
  double sent_bps = 0.0, received_bps = 0.0;
  double shaped_least_bps = 0.0, shaped_most_bps = 0.0;
  std::vector<Duration>
      back_offs{};  ///< when the rate fell under 0.95 of its own median of the ten seconds before
  /// Those of them that nothing on the way out called for: in the second before, the rate was at no time
  /// above what the path carried, and no link of the site had 5 ms of queue or dropped over its limit.
  std::vector<Duration> false_back_offs{};
  std::vector<Settling> settlings{};
};
struct Score {
  std::vector<LinkScore> links;
  std::vector<SiteScore> sites;
  std::optional<double> priority_p50_ms, priority_p99_ms;  ///< one way, over the least
  double priority_loss = 0.0;
};

[[nodiscard]] Score score(const Scenario& scenario, const Truth& truth);
[[nodiscard]] std::string to_json(const Score& score);
/// One row a bin. Throws std::runtime_error when the file cannot be written.
void write_csv(const Scenario& scenario, const Truth& truth, const std::filesystem::path& path);

}  // namespace weir::proving
