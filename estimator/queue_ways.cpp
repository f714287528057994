#include "estimator/queue_ways.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "estimator/weighted.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kMostAsked = 1024;  ///< a tick, before fewer are
/// Odd, so that it does not fall into step with ACKs that come in pairs.
constexpr std::uint32_t kStrideStep = 3;
constexpr std::uint32_t kLongestStride = 59'049;

// As for the queue itself (path_meter).
constexpr Duration kKept = 500ms;
constexpr std::size_t kWanted = 8;
constexpr double kPercentile = 0.20;

}  // namespace

void QueueWays::adapt_stride() {
  if (asked_ > kMostAsked) {
    stride_ = std::min(stride_ * kStrideStep, kLongestStride);
  } else if (asked_ < kMostAsked / (2 * kStrideStep)) {
    stride_ = std::max(stride_ / kStrideStep, 1U);
  }
  asked_ = 0;
}

std::optional<QueueByWay> QueueWays::close_tick(TimePoint now) {
  adapt_stride();
  const auto stale =
      std::find_if(samples_.begin(), samples_.end(), [&](const Sample& s) { return s.taken > now - kKept; });
  samples_.erase(samples_.begin(), stale);
  const std::uint32_t fresh = std::exchange(fresh_, 0);
  const std::size_t wanted = std::min(samples_.size(), std::max<std::size_t>(fresh, kWanted));
  if (fresh == 0 || wanted < kWanted) return std::nullopt;

  std::vector<Weighted> forward;
  std::vector<Weighted> reverse;
  Duration within{};
  for (auto s = samples_.end() - static_cast<std::ptrdiff_t>(wanted); s != samples_.end(); ++s) {
    const std::uint64_t weight = std::max<std::uint64_t>(s->weight.count(), 1);
    forward.push_back({s->split.forward, weight});
    reverse.push_back({s->split.reverse, weight});
    within += s->split.within;
  }
  sort_by_value(forward);
  sort_by_value(reverse);
  return QueueByWay{.forward = percentile(forward, kPercentile),
                    .reverse = percentile(reverse, kPercentile),
                    .within = within / static_cast<std::int64_t>(wanted),
                    .samples = static_cast<std::uint32_t>(wanted)};
}

}  // namespace weir
