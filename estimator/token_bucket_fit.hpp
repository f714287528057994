/// Which token bucket explains the fates of the segments: the rate of a policer, and its bucket.
///
/// A bucket of B bytes that fills with rate R passes a segment exactly when it holds enough tokens. So, for
/// the true R and no other:
///
///   bytes above R   B |- - - - - x - - - x- x x - - - - x -   every loss finds the bucket at the same depth,
///   since the bucket  |       .'  '.   .'  '           .'     nothing is lost before it, and nothing passes
///   was full          |    .-'      '-'              .'       below it
///                   0 |__.'__________________________________ time of sending
///
/// Random loss knows no depth, whatever rate is tried. (Token bucket: RFC 2697, Linux net/sched/act_police.c.
/// That policing shows in the traffic's own losses: T. Flach et al., "An Internet-Wide Analysis of Traffic
/// Policing", SIGCOMM 2016; the rule here is another.) docs/ESTIMATOR.md, "Capacity", says how often it is
/// right.
///
/// Pure; one owner; not thread-safe; memory bounded by kMostEntries.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "config/units.hpp"
#include "estimator/measurement.hpp"

namespace weir {

class TokenBucketFit {
 public:
  struct Finding {
    std::optional<Rate> rate;  ///< nullopt: a bucket it is, but it does not tell rates apart
    Rate low;                  ///< rates that explain nearly as much
    Rate high;
    Bytes bucket;  ///< what passed above the rate after a pause: not more than that is known of it
    std::uint32_t events = 0;  ///< losses, a round trip and more apart, that an emptied bucket foretold
    TimePoint newest;          ///< the last of all losses
  };

  /// Cohorts of one path in order of sending; one out of it starts the record anew. Those without slots tell
  /// nothing.
  void add(const Cohort& cohort);
  /// The capture lost frames: how full the bucket was is not known any more.
  void clear() { entries_.clear(); }
  /// nullopt: no bucket explains the losses, or they are too few. `round_trip` apart losses count as
  /// separate. The work is bounded, some tens of ms: a few passes over the entries for each of some 150
  /// rates.
  [[nodiscard]] std::optional<Finding> finding(Duration round_trip) const;

 private:
  /// What was sent in one slot; without losses also in several in a row, which then stands at their end.
  struct Entry {
    std::uint32_t slot = 0;  ///< since epoch_
    std::uint32_t bytes = 0;
    std::uint16_t sent = 0;
    std::uint16_t delivered = 0;
    std::uint16_t lost = 0;
    std::uint16_t span = 1;  ///< slots

    [[nodiscard]] std::uint32_t fates() const { return std::uint32_t{delivered} + lost; }
    [[nodiscard]] double segment() const { return sent == 0 ? bytes : static_cast<double>(bytes) / sent; }
    /// Bytes that passed; what has no fate went the way of the others.
    [[nodiscard]] double passed() const {
      return fates() == 0 ? bytes : static_cast<double>(bytes) * delivered / fates();
    }
  };
  /// How well a rate (bytes per slot) explains the losses.
  struct Score;

  void append(const Entry& entry);
  [[nodiscard]] std::vector<double> candidates(std::uint32_t apart) const;
  [[nodiscard]] std::optional<double> bucket_of(double rate) const;
  [[nodiscard]] Score score(double rate, std::uint32_t apart, double to_beat) const;
  [[nodiscard]] bool is_nearly_silent() const;
  [[nodiscard]] Bytes largest_burst(double rate) const;

  std::optional<TimePoint> epoch_;
  std::deque<Entry> entries_;
};

}  // namespace weir
