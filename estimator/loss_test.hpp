/// Is the loss more than harmless? Wald's sequential probability ratio test over cohorts, corrected for
/// bursts.
///
///   L <- max(0, L + [k ln(p1/p0) + (n-k) ln((1-p1)/(1-p0))] / phi),   p0 = max(floor, 0.05 %), p1 = p0 +
///   max(0.4 %, p0)
///
/// (A. Wald, "Sequential Analysis", 1947; the reflection at 0 makes it Page's CUSUM, 1954.) phi is the larger
/// of what quiet times taught, Var(k)/mean(k) of their cohorts, and of what the losses themselves show,
/// losses per event (beginning with one event of ten): a burst of ten losses is one event, not ten. Few
/// packets cannot move L: silence is no evidence.
///
/// Pure; not thread-safe.
#pragma once

#include <cstdint>

#include "config/units.hpp"
#include "estimator/control_constants.hpp"

namespace weir::control {

/// Upper end of Wilson's score interval for k of n at z standard deviations (JASA 22, 1927).
[[nodiscard]] double wilson_upper(double k, double n, double z);
/// Its lower end.
[[nodiscard]] double wilson_lower(double k, double n, double z);
/// P(K >= k) for a Poisson count of that mean.
[[nodiscard]] double poisson_tail(std::uint64_t k, double mean);

class LossTest {
  friend struct StateFields;

 public:
  /// One fresh cohort: `lost` of `segments`, in so many events.
  void add(std::uint64_t lost, std::uint64_t segments, std::uint64_t events);
  /// A cohort of a quiet time (no evidence standing, no probe): teaches phi.
  void learn(std::uint64_t lost, std::uint64_t segments, TimePoint now);
  void restart() { evidence_ = 0.0; }
  /// The ratio that has been shown not to answer to the rate.
  void set_floor(double ratio, TimePoint now);
  void expire(TimePoint now);
  /// From before: a floor that was learnt then (0: none), and phi as quiet times had taught it.
  void remember(double floor, TimePoint floor_learnt, double dispersion);

  [[nodiscard]] bool fires() const;
  [[nodiscard]] double evidence() const { return evidence_; }
  [[nodiscard]] double floor() const { return floor_; }
  [[nodiscard]] double harmless() const;
  [[nodiscard]] double dispersion() const;
  [[nodiscard]] TimePoint floor_learnt() const { return floor_learnt_; }
  /// phi as quiet times taught it; 1: not yet.
  [[nodiscard]] double learnt_dispersion() const { return dispersion_; }

 private:
  double evidence_ = 0.0;
  double floor_ = 0.0;
  TimePoint floor_learnt_;
  double dispersion_ = 1.0;                            ///< learnt in quiet times; 1: not yet
  double losses_ = kInitialDispersion, events_ = 1.0;  ///< recent ones, forgotten over seconds

  struct Quiet {
    TimePoint since;
    double cohorts = 0, sum = 0, square = 0;
  } quiet_;
};

}  // namespace weir::control
