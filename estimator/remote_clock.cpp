#include "estimator/remote_clock.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Clocks that are known to tick so: Linux with tcp_usec_ts; Linux, BSD, macOS, Windows; Linux of 250 and of
/// 100 jiffies a second. RFC 7323, 5.4, asks for 1 ms to 1 s.
constexpr std::array<Duration, 4> kTicks = {1us, 1ms, 4ms, 10ms};
/// Crystals are good to 100 ppm; a clock that is being set right runs faster or slower yet.
constexpr float kMostSkew = 250e-6F;
/// Skew changes with the temperature: what was learnt is worth less for the next anchor.
constexpr float kSkewWanders = 20e-6F;

/// A tick is proven when what queues and ticks can explain is this small a part of the time: none of kTicks
/// can be taken for another then, nor 1024 or 64 ticks a second for one of them.
constexpr std::int64_t kProof = 50;
constexpr Duration kLeastProof = 500ms;
constexpr std::uint8_t kFittingWanted = 4;
/// So many that did not fit, with none that did for this long, are another clock.
constexpr std::uint8_t kMostStrange = 8;
constexpr Duration kStrangeFor = 200ms;
/// The bounds of two clocks drift apart: behind a longer pause they are learnt anew.
constexpr Duration kLongestPause = 60s;

/// Stamps of a busy tap or sender are off by this much without being wrong.
constexpr Duration kSlack = 500us;
/// Nothing moves in between that is worth a look.
constexpr Duration kLeastStep = 250us;

constexpr Duration kSkewFrom = 2s;
constexpr Duration kAnchorFor = 60s;
constexpr Duration kAnchorAtMost = 600s;
constexpr Duration kGoodAnchor = 2ms;

// A split is told when it cannot be wrong by more than the greatest of these.
constexpr Duration kWithin = 4ms;
constexpr std::int64_t kWithinQueue = 8;  ///< an eighth of the queue

[[nodiscard]] Duration part_of(Duration d, float part) {
  return Duration(static_cast<std::int64_t>(static_cast<float>(d.count()) * part));
}

/// Wraps as the timestamps do (RFC 7323, 5.2).
[[nodiscard]] Duration ticks_between(std::uint32_t from, std::uint32_t to, Duration tick) {
  return static_cast<std::int64_t>(static_cast<std::int32_t>(to - from)) * tick;
}

}  // namespace

std::optional<Duration> RemoteClock::tick() const {
  return state_ == State::known ? std::optional(kTicks[tick_]) : std::nullopt;
}

std::optional<QueueSplit> RemoteClock::on_sample(const TimestampSample& sample) {
  const Duration queue = std::max(sample.rtt - sample.base, Duration::zero());
  const Duration since = sample.at - at_;
  if (state_ == State::fresh || since > kLongestPause || since < -kSlack) {
    begin(sample, queue);
    return std::nullopt;
  }
  if (sample.base < base_) {
    most_ += base_ - sample.base;
    anchor_most_ += base_ - sample.base;
  }
  base_ = sample.base;
  if (state_ == State::known) return follow(sample, queue);
  learn(sample, queue);
  return std::nullopt;
}

// -- which tick --

void RemoteClock::begin(const TimestampSample& sample, Duration queue) {
  state_ = State::learning;
  at_ = anchor_at_ = sample.at;
  value_ = anchor_value_ = sample.value;
  most_ = queue;
  base_ = sample.base;
  fitting_ = strange_ = 0;
}

/// The time since the anchor and the ticks since then differ by the change of the reverse queue, which is
/// within both samples' queues, by a tick and by the skew.
void RemoteClock::learn(const TimestampSample& sample, Duration queue) {
  const Duration since = sample.at - anchor_at_;
  at_ = sample.at;
  if (queue + kSlack < most_ / 2 || since > kLongestPause) return begin(sample, queue);
  const Duration slip = kSlack + part_of(since, kMostSkew);
  for (std::size_t i = 0; i < kTicks.size(); ++i) {
    const Duration tick = kTicks[i];
    const Duration moved = since - ticks_between(anchor_value_, sample.value, tick);
    if (moved < -(most_ + tick + slip) || moved > queue + tick + slip) continue;
    if (strange_ > 0) --strange_;
    if (since < kLeastProof || most_ + queue + 2 * tick > since / kProof) return;  // it need not be this one
    fitting_ = tick_ == i ? static_cast<std::uint8_t>(fitting_ + 1) : std::uint8_t{1};
    tick_ = static_cast<std::uint8_t>(i);
    if (fitting_ >= kFittingWanted) know(sample, queue, moved);
    return;
  }
  fitting_ = 0;
  if (++strange_ >= kMostStrange) begin(sample, queue);
}

void RemoteClock::know(const TimestampSample& sample, Duration queue, Duration moved) {
  const Duration tick = kTicks[tick_];
  const Duration slip = part_of(sample.at - anchor_at_, kMostSkew);
  state_ = State::known;
  skew_low_ = -kMostSkew;
  skew_high_ = kMostSkew;
  anchor_least_ = Duration::zero();
  anchor_most_ = most_ + tick;
  guess_ = anchor_most_ / 2 + moved;
  most_ = std::clamp(anchor_most_ + moved + slip, Duration::zero(), queue + tick);
  least_ = std::clamp(moved - slip, Duration::zero(), most_);
  guess_ = std::clamp(guess_, least_, most_);
  reverse_ = std::min(guess_, queue);
  phase_ = tick / 2;
  value_ = sample.value;
  fitting_ = 1;
  strange_ = 0;
}

// -- what it says --

std::optional<QueueSplit> RemoteClock::follow(const TimestampSample& sample, Duration queue) {
  const Duration tick = kTicks[tick_];
  const Duration elapsed = sample.at - at_;
  const bool same = sample.value == value_;
  const Duration ticked = ticks_between(value_, sample.value, tick);
  const bool between_edges =
      same || (tick < kLeastStep && ticked > Duration::zero() && ticked < 2 * kLeastStep);
  if (between_edges && elapsed < std::max(tick / 4, kLeastStep)) {
    fitting_ = std::min<std::uint8_t>(fitting_, 254) + 1U;
    return split(queue);
  }

  const Duration moved = elapsed - ticked;
  const Duration least = least_ + moved - part_of(elapsed, skew_high_);
  const Duration most = most_ + moved - part_of(elapsed, skew_low_);
  if (most < -kSlack || least > queue + tick + kSlack) {
    if (strange_ < kMostStrange) ++strange_;
    if (strange_ == kMostStrange && elapsed > kStrangeFor) begin(sample, queue);
    return std::nullopt;
  }
  strange_ = 0;
  guess_ += moved - part_of(elapsed, std::clamp(0.0F, skew_low_, skew_high_));
  least_ = std::clamp(least, Duration::zero(), queue + tick);
  most_ = std::clamp(most, least_, queue + tick);
  guess_ = std::clamp(guess_, least_, most_);
  at_ = sample.at;
  value_ = sample.value;
  narrow_skew(sample);

  if (same) {  // it left as much later than the one before as it came later
    fitting_ = std::min<std::uint8_t>(fitting_, 254) + 1U;
    reverse_ = std::clamp(reverse_, guess_ - tick, guess_);
  } else {
    // The first segment of a tick left the sooner after its edge the more segments the tick before had.
    const Duration phase = ticked == tick ? std::min(tick, 2 * tick / (fitting_ + 1)) : tick;
    fitting_ = 1;
    reverse_ = guess_ - phase / 2;
    phase_ = std::min(phase, tick / 2);
  }
  reverse_ = std::clamp(reverse_, Duration::zero(), queue);
  return split(queue);
}

std::optional<QueueSplit> RemoteClock::split(Duration queue) const {
  const Duration reverse = std::min(reverse_, queue);
  const Duration forward = queue - reverse;
  const Duration within =
      std::min(std::max(most_ - guess_, guess_ - least_) + phase_, std::max(forward, reverse));
  const Duration tick = kTicks[tick_];
  if (within > std::max({kWithin, tick / 2 + tick / 10, queue / kWithinQueue})) return std::nullopt;
  return QueueSplit{.forward = forward, .reverse = reverse, .within = std::max(within, Duration(1))};
}

// -- drift --

/// From the anchor to here the constant grew by what the readings grew, less what the reverse queue did.
void RemoteClock::narrow_skew(const TimestampSample& sample) {
  const Duration since = sample.at - anchor_at_;
  if (since < kSkewFrom) return;
  const Duration moved = since - ticks_between(anchor_value_, sample.value, kTicks[tick_]);
  const float a_second = 1.0F / static_cast<float>(since.count());
  const auto rate = [a_second](Duration d) { return static_cast<float>(d.count()) * a_second; };
  skew_low_ = std::max(skew_low_, rate(anchor_least_ + moved - most_ - kSlack));
  skew_high_ = std::min(skew_high_, rate(anchor_most_ + moved - least_ + kSlack));
  if (skew_low_ > skew_high_) {  // it runs otherwise than it did: it is being set right
    skew_low_ = -kMostSkew;
    skew_high_ = kMostSkew;
    return anchor_here();
  }
  const Duration width = most_ - least_;
  const bool good = width <= kGoodAnchor + kTicks[tick_];
  if (2 * width < anchor_most_ - anchor_least_ || (since > kAnchorFor && good) || since > kAnchorAtMost) {
    skew_low_ = std::max(skew_low_ - kSkewWanders, -kMostSkew);
    skew_high_ = std::min(skew_high_ + kSkewWanders, kMostSkew);
    anchor_here();
  }
}

void RemoteClock::anchor_here() {
  anchor_at_ = at_;
  anchor_value_ = value_;
  anchor_least_ = least_;
  anchor_most_ = most_;
}

}  // namespace weir
