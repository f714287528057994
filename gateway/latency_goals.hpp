/// How long the packets of a site's classes with a latency goal wait in their own queues, and what their
/// goals leave to the provider's queue.
///
///   class queue (here) --w--> provider's queue --q-->          goal: w + q
///     more rate shortens w    more rate lengthens q
///
/// Pure; bounded by a second of readings. Not thread-safe: the site's loop owns it.
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/policy.hpp"
#include "config/site_classes.hpp"
#include "gateway/meter.hpp"
#include "gateway/status.hpp"
#include "shaper/port_shaper.hpp"

namespace weir::gateway {

class LatencyGoals {
 public:
  LatencyGoals() = default;
  explicit LatencyGoals(const std::vector<SiteClass>& classes);

  /// SiteCounters::goals of one reading. Another number of them belongs to another policy: nothing is known
  /// then.
  void read(std::span<const shaper::QueueCounters> queues, TimePoint at);
  /// The least that a goal leaves to the provider's queue while the site is shaped at `shaped`; nullopt: no
  /// class has one. At least half of the goal: of a class that waits longer than that for its own site's
  /// rate, more rate is the cure.
  [[nodiscard]] std::optional<Duration> room(Rate shaped) const;
  /// The goal that is kept worst, one that holds probes back before all others. `provider`: what waits there
  /// on the way out; nullopt: not known.
  [[nodiscard]] std::optional<LatencyStatus> status(Rate shaped, std::optional<Duration> provider) const;

 private:
  struct Goal {
    std::string name;
    Duration most{};
    RateOrShare guarantee;
    RateMeter sent;
    struct Reading {
      Bytes backlog;
      TimePoint at;
    };
    std::deque<Reading> readings;  ///< of the last second
    [[nodiscard]] Duration wait(Rate shaped) const;
  };
  std::vector<Goal> goals_;
};

}  // namespace weir::gateway
