/// Does the provider honour DSCP? Compares the loss and the queue of two service classes within the same
/// congested 100 ms.
///
/// Pure; not thread-safe; one per path (a site's outbound direction). Within one such window both classes met
/// the same path at the same time, so that load, route and hour cancel out; over many windows the comparison
/// is the stratified one of Cochran, Mantel and Haenszel (JNCI 22, 1959) for loss, a sign test for the queue.
/// docs/ESTIMATOR.md, "Does the provider honour DSCP?", discusses the thresholds.
///
///   ef  |  sent 20, lost 0  |  sent 18, lost 0  |  ...      window = send time of the segments, 100 ms
///   be  |  sent 80, lost 4  |  sent 70, lost 3  |  ...  --> expected of ef, treated alike: 0.8 + 0.6 + ...
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "config/units.hpp"

namespace weir {

enum class DscpVerdict : std::uint8_t { unknown, honoured, ignored };
[[nodiscard]] std::string_view to_string(DscpVerdict verdict);

/// Code points that one queue would serve (RFC 4594, figure 3; RFC 5865; RFC 8622), the most favoured last.
enum class ServiceClass : std::uint8_t {
  lower_effort,
  standard,
  af1,
  af2,
  af3,
  af4,
  signalling,
  expedited,
  control,
};
inline constexpr std::size_t kServiceClasses = 9;
[[nodiscard]] std::string_view to_string(ServiceClass service);
/// nullopt: a code point without a meaning of its own.
[[nodiscard]] std::optional<ServiceClass> service_class_of(std::uint8_t dscp);

struct DscpFinding {
  DscpVerdict verdict = DscpVerdict::unknown;
  double confidence = 0.0;    ///< that it is no accident, 0..1; 0 when unknown
  std::uint32_t windows = 0;  ///< congested ones that both classes were sent in
  /// The pair that decided.
  std::optional<ServiceClass> favoured{};
  std::optional<ServiceClass> other{};
};

class DscpComparison {
  struct ClassSums {
    std::uint32_t sent = 0;
    std::uint32_t lost = 0;
    std::uint32_t samples = 0;
    Duration queue{};  ///< sums over the samples
    Duration base{};
  };
  using Window = std::array<ClassSums, kServiceClasses>;
  /// Number of a window of send time since the clock's epoch.
  using WindowId = std::int64_t;

 public:
  // Times are those of sending. What is told of a window that is closed comes too late and is passed over.
  /// Opens the window of `at`, which is not before the last call's.
  void sent(std::uint8_t dscp, TimePoint at, std::uint32_t segments);
  void lost(std::uint8_t dscp, TimePoint sent, std::uint32_t segments);
  void loss_undone(std::uint8_t dscp, TimePoint sent, std::uint32_t segments);
  /// A segment met `queue` on a path whose RTT is else `base`.
  void queued(std::uint8_t dscp, TimePoint sent, Duration queue, Duration base);
  /// The capture lost frames: nothing that is open is evidence.
  void forget_open() { open_.clear(); }

  // -- a path that several workers watch: each compares nothing, its windows are added up --
  /// What one of them saw, in windows without gaps.
  class Part {
    friend class DscpComparison;
    WindowId first_ = 0;
    std::vector<Window> windows_;
  };
  /// What was told until `now`, once a second: a window comes again each time until it is closed.
  [[nodiscard]] Part part(TimePoint now);
  /// The parts of all workers at `now`. Windows that began until `void_until` are no evidence.
  void add(std::span<const Part> parts, TimePoint now, TimePoint void_until);

  /// `loss_is_congestion`: the path's loss is known to follow the load. Otherwise a window without a queue
  /// cannot show that DSCP is ignored: random loss spares nobody, whatever the provider does.
  [[nodiscard]] DscpFinding finding(bool loss_is_congestion) const;

 private:
  /// A sum of differences from what a hypothesis expects, and how far it strays by chance.
  ///
  /// Losses come in bursts and queues last: neighbouring windows are no independent draws. The differences of
  /// one second are therefore squared together, and the larger of the two variances counts.
  class Score {
   public:
    void add(double difference, double variance, std::int64_t second);
    /// In standard deviations.
    [[nodiscard]] double z() const;
    [[nodiscard]] std::uint32_t seconds() const { return seconds_; }

   private:
    double sum_ = 0.0;
    double variance_ = 0.0;
    double squares_ = 0.0;  ///< of whole seconds, the last one excepted
    double in_second_ = 0.0;
    std::int64_t second_ = -1;
    std::uint32_t seconds_ = 0;
  };
  /// Of the losses that both classes had, how many the favoured one should have had.
  struct LossScores {
    Score below_equal;   ///< fewer than when both lose alike
    Score above_half;    ///< more than when it loses half as often
    Score below_double;  ///< fewer than when it loses twice as often
    double expected = 0.0;
  };
  struct Pair {
    LossScores losing;  ///< of windows with loss and no long queue
    LossScores queued;  ///< of windows with a long queue
    double ratio_favoured =
        0.0;  ///< Mantel and Haenszel's ratio of the loss probabilities is one by the other
    double ratio_other = 0.0;
    Score spared;  ///< +1 where the favoured class waited at most half as long, else -1
    Score alike;   ///< +1 where neither waited less than half as long as the other, else -1
    std::uint32_t windows = 0;
  };
  struct Evidence {
    std::array<Pair, kServiceClasses*(kServiceClasses - 1) / 2> pairs{};
    /// `other` is less than `favoured`.
    [[nodiscard]] Pair& of(std::size_t favoured, std::size_t other) {
      return pairs[favoured * (favoured - 1) / 2 + other];
    }
    void add(const Window& window, WindowId id);
    static void add_loss(Pair& pair, LossScores& scores, const ClassSums& favoured, const ClassSums& other,
                         std::int64_t second);
  };

  [[nodiscard]] static WindowId id_of(TimePoint at);
  [[nodiscard]] ClassSums* find(std::uint8_t dscp, TimePoint sent);

  std::deque<Window> open_;  ///< front is number first_
  WindowId first_ = 0;
  Evidence evidence_;
};

}  // namespace weir
