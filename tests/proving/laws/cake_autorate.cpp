#include "proving/laws/cake_autorate.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

using namespace std::chrono_literals;

namespace weir::proving {
namespace {

constexpr double kFirstBaselineMs = 100.0;
constexpr double kBaselineUp = 0.001, kBaselineDown = 0.9;
constexpr std::ptrdiff_t kLateOfWindow = 3;
constexpr double kLeastCut = 0.99, kMostCut = 0.75, kMostRaise = 1.04, kDecay = 0.01;
constexpr Duration kBetweenCuts = 300ms, kBetweenDecays = 1s, kBetweenLoads = 200ms;
constexpr int kHighLoadPercent = 75;
constexpr Bytes kLongestPacket(1514);

}  // namespace

CakeAutorate::CakeAutorate(const Thresholds& thresholds, const LawSettings& settings, TimePoint now)
    : thresholds_(thresholds),
      minimum_(settings.floor),
      maximum_(settings.ceiling),
      base_(std::clamp(settings.contract, settings.floor, settings.ceiling)),
      rate_(base_),
      last_cut_(now),
      last_move_(now),
      load_since_(now) {
  baselines_ms_.fill(kFirstBaselineMs);
}

std::optional<Rate> CakeAutorate::step(const LawInput& input) {
  read_load(input);
  for (const PingReply& reply : input.pings) hear(reply);
  return rate_;
}

void CakeAutorate::read_load(const LawInput& input) {
  sent_ += input.sent.in(input.interval);
  const Duration passed = input.now - load_since_;
  if (passed < kBetweenLoads) return;
  const auto percent = static_cast<int>(100 * (Rate::of(sent_, passed) / rate_));
  high_load_ = percent > kHighLoadPercent;
  load_is_new_ = true;
  load_since_ = input.now;
  sent_ = Bytes();
}

void CakeAutorate::hear(const PingReply& reply) {
  const double one_packet = milliseconds(rate_.time_for(kLongestPacket));
  deltas_ms_[next_] = delta_of(reply);
  late_[next_] = deltas_ms_[next_] > milliseconds(thresholds_.late) + one_packet;
  next_ = (next_ + 1) % kWindow;
  const double average = std::accumulate(deltas_ms_.begin(), deltas_ms_.end(), 0.0) / kWindow - one_packet;

  const bool cut_lately = reply.at - last_cut_ <= kBetweenCuts;
  if (std::count(late_.begin(), late_.end(), true) >= kLateOfWindow) {
    if (!cut_lately) cut(reply.at, average);
  } else if (high_load_) {
    if (load_is_new_ && !cut_lately) raise(reply.at, average);
  } else if (reply.at - last_move_ > kBetweenDecays) {
    decay(reply.at);
  }
}

double CakeAutorate::delta_of(const PingReply& reply) {
  double& baseline = baselines_ms_[reflector_];
  reflector_ = (reflector_ + 1) % kReflectors;
  const double owd = std::floor(milliseconds(reply.rtt) * 1000 / 2) / 1000;
  baseline += (owd >= baseline ? kBaselineUp : kBaselineDown) * (owd - baseline);
  // Shell arithmetic, whole microseconds: it does not follow upwards what is less than 1 ms above it.
  baseline = std::floor(baseline * 1000) / 1000;
  return owd - baseline;
}

void CakeAutorate::cut(TimePoint at, double average) {
  const double late = milliseconds(thresholds_.late);
  const double strength = std::clamp((average - late) / (milliseconds(thresholds_.cut) - late), 0.0, 1.0);
  const double factor = kLeastCut - strength * (kLeastCut - kMostCut);
  reason_ = fmt::format("late replies, {:.1f} ms on average: x{:.3f}", average, factor);
  last_cut_ = at;
  move(rate_ * factor, at);
}

void CakeAutorate::raise(TimePoint at, double average) {
  const double late = milliseconds(thresholds_.late);
  const double strength = std::clamp((late - average) / (late - milliseconds(thresholds_.raise)), 0.0, 1.0);
  const double factor = 1 + strength * (kMostRaise - 1);
  reason_ = fmt::format("loaded, replies {:.1f} ms late on average: x{:.3f}", average, factor);
  load_is_new_ = false;
  move(rate_ * factor, at);
}

void CakeAutorate::decay(TimePoint at) {
  if (rate_ != base_) reason_ = fmt::format("little load: 1 % towards {:.1f} Mbit/s", base_.mbps());
  move(rate_ > base_ ? std::max(rate_ * (1 - kDecay), base_) : std::min(rate_ * (1 + kDecay), base_), at);
}

void CakeAutorate::move(Rate rate, TimePoint at) {
  rate_ = std::clamp(rate, minimum_, maximum_);
  last_move_ = at;
}

}  // namespace weir::proving
