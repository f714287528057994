#include "estimator/dscp_verdict.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "estimator/control_constants.hpp"
#include "estimator/measurement.hpp"

namespace weir {
namespace {

/// 12.8 s: no fate is waited for longer (path_window).
constexpr std::int64_t kMostOpenWindows = 128;
/// Of several workers: no fate comes later, and the next part comes before a window is closed without it.
constexpr std::int64_t kMostOpenInParts = 110;
constexpr std::int64_t kWindowsPerSecond = std::chrono::seconds(1) / kCohortLength;
/// Under so many congested seconds nothing is said: they may all be one event.
constexpr std::uint32_t kLeastSeconds = 10;
/// Losses that the favoured class would have had if it were treated like the other.
constexpr double kLeastExpected = 10.0;
/// Both chances of being wrong, "honoured" and "ignored", over all that was compared.
constexpr double kMostDoubt = 0.01;
/// The model is no surer of itself, whatever the sums say.
constexpr double kMostConfidence = 0.999;
/// "Ignored" is not said while a class may be spared with less doubt than this.
constexpr double kHint = 0.1;
/// Half the loss, half the queue: less of a difference may come of how the flows themselves send. Smooth
/// ones lose less in the same queue than bursty ones.
constexpr double kHalf = 0.5;

/// Chance of a standard normal value above z.
[[nodiscard]] double normal_tail(double z) {
  return 0.5 * std::erfc(z / std::sqrt(2.0));
}

[[nodiscard]] Duration long_queue(Duration base) {
  return std::max(control::kQueueHigh,
                  std::chrono::duration_cast<Duration>(base * control::kQueueHighOfBase));
}

}  // namespace

std::string_view to_string(DscpVerdict verdict) {
  switch (verdict) {
    case DscpVerdict::unknown:
      return "unknown";
    case DscpVerdict::honoured:
      return "honoured";
    case DscpVerdict::ignored:
      return "ignored";
  }
  return "unknown";
}

std::string_view to_string(ServiceClass service) {
  switch (service) {
    case ServiceClass::lower_effort:
      return "le";
    case ServiceClass::standard:
      return "default";
    case ServiceClass::af1:
      return "af1";
    case ServiceClass::af2:
      return "af2";
    case ServiceClass::af3:
      return "af3";
    case ServiceClass::af4:
      return "af4";
    case ServiceClass::signalling:
      return "cs5";
    case ServiceClass::expedited:
      return "ef";
    case ServiceClass::control:
      return "cs6";
  }
  return "unknown";
}

std::optional<ServiceClass> service_class_of(std::uint8_t dscp) {
  switch (dscp) {
    case 0:
      return ServiceClass::standard;
    case 1:  // LE
    case 8:  // CS1: what LE was before RFC 8622
      return ServiceClass::lower_effort;
    case 10:
    case 12:
    case 14:
      return ServiceClass::af1;
    case 16:  // CS2
    case 18:
    case 20:
    case 22:
      return ServiceClass::af2;
    case 24:  // CS3
    case 26:
    case 28:
    case 30:
      return ServiceClass::af3;
    case 32:  // CS4
    case 34:
    case 36:
    case 38:
      return ServiceClass::af4;
    case 40:  // CS5
      return ServiceClass::signalling;
    case 44:  // VOICE-ADMIT
    case 46:  // EF
      return ServiceClass::expedited;
    case 48:  // CS6
    case 56:  // CS7
      return ServiceClass::control;
    default:
      return std::nullopt;
  }
}

// -- the open windows --

DscpComparison::WindowId DscpComparison::id_of(TimePoint at) {
  return at.time_since_epoch() / kCohortLength;
}

void DscpComparison::sent(std::uint8_t dscp, TimePoint at, std::uint32_t segments) {
  const WindowId id = id_of(at);
  while (!open_.empty() && id - first_ >= kMostOpenWindows) {
    evidence_.add(open_.front(), first_);
    open_.pop_front();
    ++first_;
  }
  if (open_.empty()) first_ = id;
  if (id < first_) return;
  while (id - first_ >= static_cast<WindowId>(open_.size())) open_.emplace_back();
  if (ClassSums* sums = find(dscp, at)) sums->sent += segments;
}

DscpComparison::ClassSums* DscpComparison::find(std::uint8_t dscp, TimePoint sent) {
  const auto service = service_class_of(dscp);
  const WindowId id = id_of(sent);
  if (!service || id < first_ || id - first_ >= static_cast<WindowId>(open_.size())) return nullptr;
  return &open_[static_cast<std::size_t>(id - first_)][static_cast<std::size_t>(*service)];
}

void DscpComparison::lost(std::uint8_t dscp, TimePoint sent, std::uint32_t segments) {
  if (ClassSums* sums = find(dscp, sent)) sums->lost += segments;
}

void DscpComparison::loss_undone(std::uint8_t dscp, TimePoint sent, std::uint32_t segments) {
  if (ClassSums* sums = find(dscp, sent)) sums->lost -= std::min(sums->lost, segments);
}

void DscpComparison::queued(std::uint8_t dscp, TimePoint sent, Duration queue, Duration base) {
  if (ClassSums* sums = find(dscp, sent)) {
    ++sums->samples;
    sums->queue += queue;
    sums->base += base;
  }
}

// -- several workers --

DscpComparison::Part DscpComparison::part(TimePoint now) {
  Part part;
  part.first_ = first_;
  part.windows_.assign(open_.begin(), open_.end());
  for (; !open_.empty() && first_ <= id_of(now) - kMostOpenInParts; ++first_) open_.pop_front();
  return part;
}

void DscpComparison::add(std::span<const Part> parts, TimePoint now, TimePoint void_until) {
  const WindowId newest = id_of(now);
  first_ = newest - kMostOpenInParts + 1;
  open_.assign(static_cast<std::size_t>(kMostOpenInParts), Window{});
  const auto add_up = [](const Window& window, Window& into) {
    for (std::size_t c = 0; c < kServiceClasses; ++c) {
      into[c].sent += window[c].sent;
      into[c].lost += window[c].lost;
      into[c].samples += window[c].samples;
      into[c].queue += window[c].queue;
      into[c].base += window[c].base;
    }
  };
  std::map<WindowId, Window> closed;
  for (const Part& part : parts) {
    for (std::size_t i = 0; i < part.windows_.size(); ++i) {
      const WindowId id = part.first_ + static_cast<WindowId>(i);
      if (id <= id_of(void_until) || id > newest) continue;
      add_up(part.windows_[i], id < first_ ? closed[id] : open_[static_cast<std::size_t>(id - first_)]);
    }
  }
  for (const auto& [id, window] : closed) evidence_.add(window, id);
}

// -- evidence --

void DscpComparison::Score::add(double difference, double variance, std::int64_t second) {
  if (second != second_) {
    squares_ += in_second_ * in_second_;
    in_second_ = 0.0;
    second_ = second;
    ++seconds_;
  }
  sum_ += difference;
  in_second_ += difference;
  variance_ += variance;
}

double DscpComparison::Score::z() const {
  const double spread = std::max(variance_, squares_ + in_second_ * in_second_);
  return spread > 0.0 ? sum_ / std::sqrt(spread) : 0.0;
}

/// Of m losses the favoured class has its share by chance; were its probability of loss r times the other's,
/// that share would be r n1 / (r n1 + n2). The variance is the hypergeometric one.
void DscpComparison::Evidence::add_loss(Pair& pair, LossScores& scores, const ClassSums& favoured,
                                        const ClassSums& other, std::int64_t second) {
  const auto n1 = static_cast<double>(favoured.sent);
  const auto n2 = static_cast<double>(other.sent);
  const double a = std::min<double>(favoured.lost, n1);
  const double b = std::min<double>(other.lost, n2);
  const double m = a + b;
  const double all = n1 + n2;
  const double left = (all - m) / (all - 1.0);
  const auto share = [&](double r) { return r * n1 / (r * n1 + n2); };
  const auto variance = [&](double p) { return m * p * (1.0 - p) * left; };
  scores.expected += m * share(1.0);
  scores.below_equal.add(m * share(1.0) - a, variance(share(1.0)), second);
  scores.above_half.add(a - m * share(kHalf), variance(share(kHalf)), second);
  scores.below_double.add(m * share(1.0 / kHalf) - a, variance(share(1.0 / kHalf)), second);
  pair.ratio_favoured += a * n2 / all;
  pair.ratio_other += b * n1 / all;
}

void DscpComparison::Evidence::add(const Window& window, WindowId id) {
  const std::int64_t second = id / kWindowsPerSecond;
  const auto mean_queue = [](const ClassSums& sums) { return sums.queue / sums.samples; };
  const auto waits_long = [&](const ClassSums& sums) {
    return sums.samples > 0 && mean_queue(sums) > long_queue(sums.base / sums.samples);
  };
  const bool queue = std::any_of(window.begin(), window.end(), waits_long);
  const bool loss = std::any_of(window.begin(), window.end(), [](const ClassSums& s) { return s.lost > 0; });
  if (!queue && !loss) return;

  for (std::size_t f = 1; f < kServiceClasses; ++f) {
    const ClassSums& favoured = window[f];
    if (favoured.sent == 0) continue;
    for (std::size_t o = 0; o < f; ++o) {
      const ClassSums& other = window[o];
      if (other.sent == 0) continue;
      Pair& pair = of(f, o);
      ++pair.windows;
      if (favoured.lost + other.lost > 0) {
        add_loss(pair, queue ? pair.queued : pair.losing, favoured, other, second);
      }
      if (favoured.samples == 0 || other.samples == 0) continue;
      if (!waits_long(favoured) && !waits_long(other)) continue;
      const auto a = static_cast<double>(mean_queue(favoured).count());
      const auto b = static_cast<double>(mean_queue(other).count());
      const bool spared = a <= kHalf * b;
      const bool alike = !spared && b > kHalf * a;
      pair.spared.add(spared ? 1.0 : -1.0, 1.0, second);
      pair.alike.add(alike ? 1.0 : -1.0, 1.0, second);
    }
  }
}

// -- the verdict --

DscpFinding DscpComparison::finding(bool loss_is_congestion) const {
  Evidence evidence = evidence_;
  for (std::size_t i = 0; i < open_.size(); ++i) evidence.add(open_[i], first_ + static_cast<WindowId>(i));

  DscpFinding honoured{.verdict = DscpVerdict::honoured};
  DscpFinding ignored{.verdict = DscpVerdict::ignored};
  DscpFinding unknown;
  double least_doubt_honoured = 1.0;
  double least_doubt_ignored = 1.0;
  std::uint32_t compared = 0;
  for (std::size_t f = 1; f < kServiceClasses; ++f) {
    for (std::size_t o = 0; o < f; ++o) {
      const Pair& pair = evidence.of(f, o);
      unknown.windows = std::max(unknown.windows, pair.windows);
      const auto judge = [&](double doubt_honoured, double doubt_ignored) {
        ++compared;
        const auto take = [&](double doubt, double& least, DscpFinding& into) {
          if (doubt >= least) return;
          least = doubt;
          into.windows = pair.windows;
          into.favoured = static_cast<ServiceClass>(f);
          into.other = static_cast<ServiceClass>(o);
        };
        take(doubt_honoured, least_doubt_honoured, honoured);
        take(doubt_ignored, least_doubt_ignored, ignored);
      };
      const bool halved = pair.ratio_favoured <= kHalf * pair.ratio_other;
      for (const bool queued : {true, false}) {
        const LossScores& scores = queued ? pair.queued : pair.losing;
        if (scores.expected < kLeastExpected || scores.below_equal.seconds() < kLeastSeconds) continue;
        const bool congestion = queued || loss_is_congestion;
        const double alike = std::min(scores.above_half.z(), scores.below_double.z());
        judge(halved ? normal_tail(scores.below_equal.z()) : 1.0, congestion ? normal_tail(alike) : 1.0);
      }
      if (pair.spared.seconds() >= kLeastSeconds) {
        judge(normal_tail(pair.spared.z()), normal_tail(pair.alike.z()));
      }
    }
  }
  // So many comparisons had their chance of being wrong (Bonferroni).
  const double doubt_honoured = least_doubt_honoured * compared;
  const double doubt_ignored = least_doubt_ignored * compared;
  if (compared > 0 && doubt_honoured <= kMostDoubt) {
    honoured.confidence = std::min(1.0 - doubt_honoured, kMostConfidence);
    return honoured;
  }
  if (compared > 0 && doubt_ignored <= kMostDoubt && doubt_honoured > kHint) {
    ignored.confidence = std::min(1.0 - doubt_ignored, kMostConfidence);
    return ignored;
  }
  return unknown;
}

}  // namespace weir
