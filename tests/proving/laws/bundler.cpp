#include "proving/laws/bundler.hpp"

#include <algorithm>

using namespace std::chrono_literals;

namespace weir::proving {
namespace {

constexpr double kAlpha = 0.8, kBeta = 0.5;
constexpr double kQueueTarget = 1.25;  // RTT to steer to, in RTTmin
constexpr double kLeastShare = 0.05;
constexpr double kReceivedGain = 0.02;
constexpr Duration kStartLasts = 1s;
constexpr Duration kLongestRtt = 4s;
constexpr Duration kRemembered = 2 * kLongestRtt;

}  // namespace

Bundler::Bundler(Capacity capacity, const LawSettings& settings, TimePoint now)
    : capacity_(capacity), ceiling_(settings.ceiling), rate_(settings.start), began_(now) {}

std::optional<Rate> Bundler::step(const LawInput& input) {
  remember(input);
  if (!input.rtt || *input.rtt <= Duration::zero()) return rate_;
  const Duration rtt = std::min(*input.rtt, kLongestRtt);
  base_rtt_ = std::min(base_rtt_.value_or(rtt), rtt);
  // Without packets that arrive there are no reports, and without a report no new rate.
  const std::optional<Epoch> epoch = newest_epoch(input.now, rtt);
  if (!epoch) return rate_;
  received_average_ += kReceivedGain * (epoch->received - received_average_);
  most_received_ = std::max(most_received_, received_average_);
  if (input.now - began_ < kStartLasts) return rate_;

  const double u = capacity_ == Capacity::told ? static_cast<double>(input.capacity.bps()) : most_received_;
  const double s = epoch->sent;
  const double cross = u * s / epoch->received - s;
  const double queue = seconds(rtt) - kQueueTarget * seconds(*base_rtt_);
  const double r = s + kAlpha * (u - cross - s) - kBeta * u / seconds(rtt) * queue;
  rate_ = std::min(Rate::bps(static_cast<std::uint64_t>(std::max(r, kLeastShare * u))), ceiling_);
  return rate_;
}

void Bundler::remember(const LawInput& input) {
  if (input.interval <= Duration::zero()) return;
  history_.push_back({.end = input.now,
                      .length = input.interval,
                      .sent = static_cast<double>(input.sent.bps()),
                      .received = static_cast<double>(input.received.bps())});
  while (input.now - history_.front().end > kRemembered) history_.pop_front();
}

//   sent      |<-- RTTmin -->|<------- RTT ------->|
//   received                        |<-- RTTmin -->| now
// What arrived is told half an RTTmin late, and so was sent a whole RTT before now.
std::optional<Bundler::Epoch> Bundler::newest_epoch(TimePoint now, Duration rtt) const {
  const Duration length = std::max<Duration>(*base_rtt_, 10ms);
  const TimePoint from = now - rtt - length;
  if (history_.empty() || history_.front().end - history_.front().length > from) return std::nullopt;
  const Epoch epoch{.sent = mean(&Interval::sent, from, now - rtt),
                    .received = mean(&Interval::received, now - length, now)};
  if (epoch.sent <= 0 || epoch.received <= 0) return std::nullopt;
  return epoch;
}

double Bundler::mean(double Interval::*rate, TimePoint from, TimePoint to) const {
  double bits = 0;
  for (auto i = history_.rbegin(); i != history_.rend() && i->end > from; ++i) {
    const Duration overlap = std::min(i->end, to) - std::max(i->end - i->length, from);
    if (overlap > Duration::zero()) bits += (*i).*rate * seconds(overlap);
  }
  return bits / seconds(to - from);
}

}  // namespace weir::proving
