#include "proving/laws/stormguard.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

using namespace std::chrono_literals;

namespace weir::proving {
namespace {

constexpr Duration kTick = 1s;
constexpr double kDelayMs = 40.0, kDelayRatio = 1.10;  // twice as far is severe, half as far is good
constexpr double kLoss = 0.05, kHighLoss = 0.10;
constexpr double kLoad = 0.80;
constexpr unsigned kTicksBetweenRaises = 10;
constexpr double kBaselineUp = 0.01, kBaselineDown = 0.10;
constexpr Duration kRttLasts = 15s;
constexpr Rate kLeastForRtt = Rate::kbps(50);

Rate whole_mbps(double mbps) {
  return Rate::mbps(static_cast<std::uint64_t>(std::max(mbps, 0.0)));
}

}  // namespace

const Stormguard::Step Stormguard::kRaise{1.15F, 1s, "raised"};
const Stormguard::Step Stormguard::kCut{0.95F, 3750ms, "cut"};
const Stormguard::Step Stormguard::kCutFast{0.88F, 7500ms, "cut fast"};

void Stormguard::Ring::add(double value) {
  values_[next_] = value;
  next_ = (next_ + 1) % values_.size();
  count_ = std::min(count_ + 1, values_.size());
}

double Stormguard::Ring::mean() const {
  double sum = 0;
  for (const double value : values_) sum += value;
  return count_ == 0 ? 0.0 : sum / static_cast<double>(count_);
}

Stormguard::Stormguard(Rate minimum, const LawSettings& settings, TimePoint now)
    : minimum_(whole_mbps(minimum.mbps())),
      maximum_(whole_mbps(settings.ceiling.mbps())),
      rate_(std::clamp(whole_mbps(settings.start.mbps()), minimum_, maximum_)),
      tick_began_(now) {}

std::optional<Rate> Stormguard::step(const LawInput& input) {
  listen(input);
  if (input.now - tick_began_ >= kTick) {
    decide(input.now);
    forget_tick(input.now);
  }
  return rate_;
}

void Stormguard::listen(const LawInput& input) {
  sent_ += input.sent.in(input.interval);
  // A sample is new while acknowledgments come; what stands there else is an old one.
  if (input.rtt && input.received > Rate()) rtts_.push_back(*input.rtt);
  if (input.control == nullptr) return;
  for (const Cohort& cohort : input.control->measured.mature) {
    segments_ += cohort.segments + cohort.lost_before;
    retransmitted_ += cohort.lost_beyond + cohort.lost_before;
  }
}

void Stormguard::decide(TimePoint now) {
  learn(now);
  ++ticks_since_change_;
  const Rate throughput = Rate::of(sent_, now - tick_began_);
  const Step* step = wanted(now, throughput / rate_);
  const bool resting = rest_ > Duration::zero() && now - rest_began_ <= rest_;
  if (step == nullptr || resting) return;
  const Rate target = whole_mbps(std::max(4.0, std::round(rate_.mbps() * static_cast<double>(step->factor))));
  if (target == rate_ || target < minimum_ || target > maximum_) return;
  reason_ = fmt::format(
      "{} {:.0f} -> {:.0f} Mbit/s: RTT {:.1f} ms over a baseline of {:.1f} ms, {:.1f} % sent again",
      step->name, rate_.mbps(), target.mbps(), rtt_ms_.value_or(0.0), baseline_ms_.value_or(0.0),
      100 * retransmitted_share_.mean());
  rate_ = target;
  rest_began_ = now;
  rest_ = step->rest;
  ticks_since_change_ = 0;
}

void Stormguard::learn(TimePoint now) {
  retransmitted_share_.add(
      segments_ == 0 ? 0.0 : static_cast<double>(retransmitted_) / static_cast<double>(segments_));
  if (rtts_.empty()) return;
  const auto rank = std::min(rtts_.size() * 9 / 10, rtts_.size() - 1);
  std::nth_element(rtts_.begin(), rtts_.begin() + static_cast<std::ptrdiff_t>(rank), rtts_.end());
  const double rtt = milliseconds(rtts_[rank]);
  rtt_ms_ = rtt;
  rtt_at_ = now;
  if (!baseline_ms_) {
    baseline_ms_ = rtt;
  } else {
    *baseline_ms_ += (rtt > *baseline_ms_ ? kBaselineUp : kBaselineDown) * (rtt - *baseline_ms_);
  }
}

const Stormguard::Step* Stormguard::wanted(TimePoint now, double load) const {
  const bool delay_known = rtt_ms_ && baseline_ms_ && now - rtt_at_ <= kRttLasts &&
                           Rate::of(sent_, now - tick_began_) >= kLeastForRtt;
  double delay = 0, ratio = 0;
  if (delay_known) {
    const double baseline = std::max(*baseline_ms_, 1.0);
    delay = std::max(*rtt_ms_ - baseline, 0.0);
    ratio = *rtt_ms_ / baseline;
  }
  const double loss = retransmitted_share_.mean();
  if (rate_ > minimum_) {
    if (delay >= 2 * kDelayMs || ratio >= 1 + 2 * (kDelayRatio - 1) || loss >= kHighLoss) return &kCutFast;
    if (delay >= kDelayMs || ratio >= kDelayRatio || loss >= kLoss) return &kCut;
  }
  const bool good = delay_known && delay <= kDelayMs / 2 && ratio <= 1 + (kDelayRatio - 1) / 2;
  if (rate_ < maximum_ && good && load >= kLoad && ticks_since_change_ >= kTicksBetweenRaises) return &kRaise;
  return nullptr;
}

void Stormguard::forget_tick(TimePoint now) {
  tick_began_ = now;
  sent_ = Bytes();
  segments_ = retransmitted_ = 0;
  rtts_.clear();
}

}  // namespace weir::proving
