#include "proving/laws/cake_ingress.hpp"

#include <algorithm>

namespace weir::proving {
namespace {

constexpr double kUp = 1.0 / 4, kDown = 1.0 / 256;
constexpr double kShareOfPeak = 15.0 / 16;
constexpr double kLongestGap = 1.0;
// As long as the first window lasted, since the machine booted: nothing to its bytes.
constexpr Duration kUptime = std::chrono::hours(24);

double follow(double average, double sample) {
  return average + (sample > average ? kUp : kDown) * (sample - average);
}

}  // namespace

CakeIngress::CakeIngress(const LawSettings& settings, TimePoint now)
    : floor_(settings.floor),
      ceiling_(settings.ceiling),
      rate_(settings.start),
      window_began_(now - kUptime),
      peak_(static_cast<double>(settings.start.bps())) {}

std::optional<Rate> CakeIngress::step(const LawInput& input) {
  for (const Arrival& arrival : input.arrivals) hear(arrival);
  return rate_;
}

void CakeIngress::hear(const Arrival& arrival) {
  window_ += arrival.bytes.bits();
  const double gap = last_packet_ ? std::min(seconds(arrival.at - *last_packet_), kLongestGap) : kLongestGap;
  gap_ = follow(gap_, gap);
  last_packet_ = arrival.at;
  if (gap <= gap_ || arrival.at <= window_began_) return;
  peak_ = follow(peak_, window_ / seconds(arrival.at - window_began_));
  window_ = 0;
  window_began_ = arrival.at;
  rate_ = std::clamp(Rate::bps(static_cast<std::uint64_t>(kShareOfPeak * peak_)), floor_, ceiling_);
}

}  // namespace weir::proving
