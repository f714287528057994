#include "gateway/meter.hpp"

namespace weir::gateway {
namespace {

// Readings closer than this are one: two ticks handled back to back after a stall would otherwise divide a
// handful of packets by microseconds.
constexpr Duration kLeastSpacing = std::chrono::milliseconds(20);
constexpr Duration kWindow = std::chrono::seconds(1);

}  // namespace

void RateMeter::read(Bytes total, TimePoint at) {
  if (!readings_.empty()) {
    if (total < readings_.back().total)
      readings_.clear();
    else if (at - readings_.back().at < kLeastSpacing)
      return;
  }
  readings_.push_back({.total = total, .at = at});
  auto oldest = readings_.begin();
  while (readings_.end() - oldest > 2 && at - oldest[1].at >= kWindow) ++oldest;
  readings_.erase(readings_.begin(), oldest);
}

std::optional<Rate> RateMeter::of_last_tick() const {
  if (readings_.size() < 2) return std::nullopt;
  const Reading& last = readings_.back();
  const Reading& previous = readings_[readings_.size() - 2];
  return Rate::of(last.total - previous.total, last.at - previous.at);
}

Rate RateMeter::of_last_second() const {
  if (readings_.size() < 2) return {};
  return Rate::of(readings_.back().total - readings_.front().total,
                  readings_.back().at - readings_.front().at);
}

}  // namespace weir::gateway
