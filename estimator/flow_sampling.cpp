#include "estimator/flow_sampling.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kWindow = 100ms;
/// Of the time. Twice as many connections cost at most twice as much.
constexpr double kRoomForTwice = 0.4;
constexpr Duration kRoomyFor = 5s;

}  // namespace

std::optional<FlowSample> FlowSampling::on_turn(const Turn& turn) {
  if (!window_) {
    window_ = Window{.began = turn.began};
    roomy_since_ = turn.began;
  }
  window_->busy += turn.ended - turn.began;
  window_->emptied = window_->emptied || turn.emptied;
  window_->dropped = window_->dropped || turn.dropped > dropped_;
  dropped_ = turn.dropped;  // a tap that was opened anew counts from zero
  // The first drop is acted on at once, in the tick that is void for it; its successors show what came of it.
  const bool first_drop = window_->dropped && !was_too_much_;
  if (turn.ended - window_->began < kWindow && !first_drop) return std::nullopt;
  const std::uint32_t before = one_in_;
  close(*window_, turn.ended);
  window_ = Window{.began = turn.ended};
  return one_in_ == before ? std::nullopt : std::optional(FlowSample{.one_in = one_in_, .seed = seed_});
}

std::optional<FlowSample> FlowSampling::due(TimePoint frame) {
  std::optional<FlowSample> newest;
  while (!begun_.empty() && begun_.front().at <= frame) {
    newest = begun_.front().sample;
    begun_.pop_front();
  }
  return newest;
}

void FlowSampling::close(const Window& window, TimePoint now) {
  const double busy = now > window.began ? seconds(window.busy) / seconds(now - window.began) : 0.0;
  // Reading all the time and never done: the ring fills up. Never done after a pause of the whole machine,
  // with hardly any reading in it, is only the pause.
  const bool behind = !window.emptied && busy > 0.5;
  was_too_much_ = window.dropped || behind;
  if (was_too_much_) {
    if (one_in_ < kMostOneIn) one_in_ *= 2;
    roomy_since_ = now;
  } else if (busy > kRoomForTwice) {
    roomy_since_ = now;
  } else if (one_in_ > 1 && now - roomy_since_ >= kRoomyFor) {
    one_in_ /= 2;
    roomy_since_ = now;
  }
}

}  // namespace weir
