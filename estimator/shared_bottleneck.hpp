/// Which sites of one port share a bottleneck: by what their queues and losses have in common.
///
/// One tap measures all sites on one clock, so that what they saw can be laid side by side by the time at
/// which it was sent; RFC 8382, whose hosts have no such clock, has to compare summaries. Every second of
/// sending in which something was seen is evidence for each two sites that were active in it:
///
///   queue   likeness = sum of min(q_i, q_j) / sum of max(q_i, q_j) over its tenths. One queue holds up both
///           alike; of two queues one is empty while the other stands
///   loss    Pearson's chi-squared test of homogeneity (Philosophical Magazine 50, 1900) of their lost and
///           delivered segments, divided by losses per lossy cohort, as losses come in bursts. Expected
///           counts under five say nothing (W. G. Cochran, Biometrics 10, 1954)
///
/// A few seconds make a finding, as many against it end it, and ten minutes without any. At most one group is
/// found: the largest.
///
/// Pure; bounded: a hundred bytes for each two sites, 2 kB a site. Not thread-safe: one owner.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "estimator/measurement.hpp"

namespace weir {

class SharedBottleneck {
 public:
  explicit SharedBottleneck(std::size_t sites);

  /// What was measured of one site in a tick.
  void add(std::size_t site, const SiteMeasurement& m);
  /// After all sites of a tick: weighs the seconds whose losses are known by now.
  void judge(TimePoint now);
  /// This site's evidence is its own: it is in no group for a while, longer each time.
  void bar(std::size_t site, TimePoint now);

  /// The sites that share a bottleneck, ascending; empty: none do.
  [[nodiscard]] const std::vector<std::size_t>& group() const { return group_; }
  /// Members that alone lost much more than the others in the last seconds weighed.
  [[nodiscard]] const std::vector<std::size_t>& strays() const { return strays_; }

  /// Segments and losses of what a site sent in [from, to), of the last seconds.
  struct Losses {
    double segments = 0;
    double lost = 0;
    [[nodiscard]] double ratio() const { return segments > 0 ? lost / segments : 0.0; }
  };
  [[nodiscard]] Losses losses(std::size_t site, TimePoint from, TimePoint to) const;

  /// Seconds that two sites had in common, and those that one of them had alone; recent ones weigh more.
  struct Evidence {
    double common = 0.0;
    double apart = 0.0;
    TimePoint first;  ///< of the seconds in common that count
    TimePoint last;
  };
  [[nodiscard]] const Evidence& between(std::size_t a, std::size_t b) const;

 private:
  static constexpr std::size_t kTenths = 64;
  /// What was sent in a tenth of a second.
  struct Tenth {
    std::int64_t number = -1;  ///< of the steady clock's tenths
    std::int64_t queue_us = -1;
    std::uint32_t samples = 0;
    std::uint32_t segments = 0;
    std::uint32_t lost = 0;
  };
  struct Second {
    std::array<std::int64_t, 10> queue_us{};  ///< -1: none was seen
    std::int64_t seen = 0;                    ///< tenths with a queue sample
    std::int64_t most_us = 0;
    std::uint32_t samples = 0;  ///< of RTT
    double segments = 0;
    double lost = 0;
    double lossy = 0;  ///< tenths with a loss

    void fade(double by) { segments *= by, lost *= by, lossy *= by; }
    void pool(const Second& other) {
      segments += other.segments;
      lost += other.lost;
      lossy += other.lossy;
    }
  };
  struct Site {
    std::array<Tenth, kTenths> tenths;
    TimePoint barred_until;
    Duration bar{};
    Second recent_own;     ///< losses of the recent seconds in which its group lost anything,
    Second recent_others;  ///< and the other members'
  };
  enum class Verdict : std::uint8_t { none, common, apart };

  [[nodiscard]] Tenth& tenth(std::size_t site, TimePoint sent);
  [[nodiscard]] Second second_of(std::size_t site, std::int64_t first) const;
  [[nodiscard]] static Verdict compare_queues(const Second& a, const Second& b);
  [[nodiscard]] static Verdict compare_losses(const Second& a, const Second& b);
  void weigh_second(std::int64_t first, TimePoint now);
  void find_strays(std::span<const Second> seconds);
  void regroup(TimePoint now);
  void prune(std::vector<std::size_t>& set, TimePoint now) const;
  [[nodiscard]] bool linked(std::size_t a, std::size_t b, bool member, TimePoint now) const;
  [[nodiscard]] Evidence& pair(std::size_t a, std::size_t b);

  std::vector<Site> sites_;
  std::vector<Evidence> pairs_;          ///< of a < b: b (b - 1) / 2 + a
  std::optional<std::int64_t> weighed_;  ///< tenths before it have been weighed
  std::vector<std::size_t> group_;
  std::vector<std::size_t> strays_;
};

}  // namespace weir
