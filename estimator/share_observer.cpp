#include "estimator/share_observer.hpp"

#include <algorithm>
#include <utility>

namespace weir {
namespace {

[[nodiscard]] EstimatorSettings of_a_share(EstimatorSettings settings) {
  settings.keep_accounts = true;
  settings.in_parts = true;
  return settings;
}

}  // namespace

ShareObserver::ShareObserver(EstimatorSettings settings, TimePoint begin)
    : estimator_(of_a_share(std::move(settings))), tick_ends_(begin + kCohortLength) {
  // Sets the cohorts' grid to that of the ticks; there is nothing in it yet.
  static_cast<void>(estimator_.tick(begin, false));
}

void ShareObserver::on_frame(const Frame& frame) {
  if (!first_) first_ = last_ = frame.time;
  last_ = std::max(last_, frame.time);
  estimator_.on_frame(frame);
}

ShareTick ShareObserver::close_tick(std::uint64_t drops) {
  const bool lost = drops > std::exchange(drops_, drops);
  ShareTick tick;
  tick.result = estimator_.tick(tick_ends_, lost);
  tick.any_frame = first_.has_value();
  if (++ticks_ % kTicksPerAccount == 0) tick.findings = findings();
  tick_ends_ += kCohortLength;
  return tick;
}

ShareFindings ShareObserver::findings() {
  const auto of = [this](auto sums) {
    return std::array{(estimator_.*sums)(Direction::outbound), (estimator_.*sums)(Direction::inbound)};
  };
  return {.totals = estimator_.totals(),
          .retransmission_delay = of(&Estimator::retransmission_delay_sums),
          .sides = estimator_.sides(),
          .accounts = estimator_.accounts()->part(tick_ends_),
          .first = first_,
          .last = last_,
          .kernel_drops = drops_};
}

}  // namespace weir
