/// Ticks made by hand, for tests of single decisions of the controller.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>

#include "estimator/controller.hpp"

#include "path_simulator.hpp"

namespace weir::test {

/// A tick of 100 ms that ends at `end`; one cohort of it matures at once, its losses evenly spread.
inline ControlInput tick(double end, double mbps, std::uint32_t segments, std::uint32_t lost) {
  ControlInput input;
  SiteMeasurement& m = input.measured;
  m.at = at(end);
  m.interval = std::chrono::milliseconds(100);
  input.sent = Rate::bps(static_cast<std::uint64_t>(mbps * 1e6));
  m.sent = m.sent_tcp = input.sent.in(m.interval);
  m.delivered_bytes = m.sent;
  Cohort c;
  c.begin = at(end - 0.1);
  c.segments = segments;
  c.lost_beyond = lost;
  c.sent = m.sent;
  const auto upto = [](std::uint32_t whole, std::size_t slots) {
    return static_cast<std::uint16_t>(whole * slots / kSlotsPerCohort);
  };
  for (std::size_t i = 0; i < kSlotsPerCohort; ++i) {
    Slot slot{.bytes = static_cast<std::uint32_t>(m.sent.count() / kSlotsPerCohort),
              .sent = static_cast<std::uint16_t>(upto(segments, i + 1) - upto(segments, i)),
              .lost = static_cast<std::uint16_t>(upto(lost, i + 1) - upto(lost, i))};
    slot.delivered = static_cast<std::uint16_t>(slot.sent - slot.lost);
    c.slots.push_back(slot);
  }
  m.mature.push_back(std::move(c));
  return input;
}

/// The same tick with a queue, seen by what was sent 130 to 30 ms ago, of which `delivered_mbps` arrive.
inline ControlInput queued(ControlInput input, Duration q, double delivered_mbps) {
  SiteMeasurement& m = input.measured;
  m.rtt = RttSummary{.base = std::chrono::milliseconds(30)};
  m.queue = QueueDelay{.q = q,
                       .samples = 50,
                       .flows = 5,
                       .sent_from = m.at - std::chrono::milliseconds(130),
                       .sent_to = m.at - std::chrono::milliseconds(30)};
  m.delivered_bytes = Rate::bps(static_cast<std::uint64_t>(delivered_mbps * 1e6)).in(m.interval);
  return input;
}

/// Whose samples rise from `begin` to `end` within the tick.
inline ControlInput rising(ControlInput input, double begin_ms, double end_ms, double delivered_mbps) {
  const auto part = [&](double share) {
    return from_seconds((begin_ms + share * (end_ms - begin_ms)) / 1e3);
  };
  input = queued(std::move(input), std::min(part(0.2), part(0.8)), delivered_mbps);
  input.measured.queue->p10 = std::min(part(0.1), part(0.9));
  input.measured.queue->p90 = std::max(part(0.1), part(0.9));
  return input;
}

/// Knows the path to carry 100 Mbit/s, from a queue that it has drained.
inline SiteController drained_at_100(double& now, Duration base) {
  SiteController c(kUsualLimits, Rate::mbps(100), at(0));
  bool stood = false;
  while (now < 10) {
    now += 0.1;
    const bool drains = c.decision().state == ControlState::drain;
    if (stood && !drains) break;
    stood = stood || drains;
    ControlInput input = queued(tick(now, c.decision().rate.mbps(), 700, 0),
                                std::chrono::milliseconds(drains || now < 0.25 ? 1 : 30), 100);
    input.measured.rtt->base = base;
    static_cast<void>(c.step(input, at(now)));
  }
  return c;
}

/// A policer, of 40 Mbit/s at first, before a site that sends whatever it may, a tick at a time.
class PolicedSite {
 public:
  explicit PolicedSite(std::uint64_t start_mbps, double bucket_bytes = 50e3)
      : controller(kUsualLimits, Rate::mbps(start_mbps), at(0)),
        bucket_(bucket_bytes * 8),
        level_(bucket_bytes * 8) {}
  const RateDecision& step() {
    constexpr double kSegment = 1500 * 8;
    now += 0.1;
    const double mbps = std::min(controller.decision().rate.mbps(), demand_mbps);
    level_ = std::min(bucket_, level_ + (limit_mbps - mbps) * 1e5);
    std::uint32_t lost = by_chance;
    for (; level_ < 0; level_ += kSegment) ++lost;
    lost_in_all += lost;
    const auto segments = static_cast<std::uint32_t>(mbps * 1e5 / kSegment);
    ControlInput input = tick(now, mbps, segments, lost);
    if (in_one_burst) gather(input.measured.mature.front());
    if (exact && lost > 0) drop_from_when_it_is_empty(input.measured.mature.front(), mbps);
    young_.push_back(std::move(input.measured.mature.front()));
    input.measured.mature.clear();
    if (young_.size() > mature_after) {
      input.measured.mature.push_back(std::move(young_.front()));
      young_.pop_front();
    }
    for (const Cohort& c : young_) {
      const std::uint32_t told = c.lost_beyond + spurious;
      if (told > 0)
        input.measured.young.push_back({.begin = c.begin, .segments = c.segments, .lost_beyond = told});
    }
    return controller.step(input, at(now));
  }
  SiteController controller;
  double now = 0;
  double limit_mbps = 40;
  double demand_mbps = 1e4;
  std::uint32_t by_chance = 0;   ///< lost in each tick beside what the limit drops
  bool in_one_burst = false;     ///< the losses of a tick: within 2 ms
  std::uint32_t spurious = 0;    ///< of each cohort, told to be lost until it is mature
  std::size_t mature_after = 0;  ///< ticks; losses are told at once
  bool exact = false;            ///< losses are where the bucket is empty, not all through their tick
  std::uint64_t lost_in_all = 0;

 private:
  static void gather(Cohort& c) {
    Slot& one = c.slots[c.slots.size() / 2];
    for (Slot& slot : c.slots) {
      slot.delivered = static_cast<std::uint16_t>(slot.delivered + slot.lost);
      slot.lost = 0;
    }
    one.lost = static_cast<std::uint16_t>(std::min<std::uint32_t>(c.lost_beyond, one.sent));
    one.delivered = static_cast<std::uint16_t>(one.sent - one.lost);
  }
  /// Its losses are of the last part of the tick: as long as the limit takes to drop so many.
  void drop_from_when_it_is_empty(Cohort& c, double mbps) const {
    const double share = std::max(1.0 - limit_mbps / mbps, 1e-3);
    double due = 0;
    std::uint32_t left = c.lost_beyond;
    for (auto slot = c.slots.rbegin(); slot != c.slots.rend(); ++slot) {
      due += share * slot->sent;
      slot->lost = static_cast<std::uint16_t>(std::min<std::uint32_t>(left, static_cast<std::uint32_t>(due)));
      slot->lost = std::min(slot->lost, slot->sent);
      due -= slot->lost;
      left -= slot->lost;
      slot->delivered = static_cast<std::uint16_t>(slot->sent - slot->lost);
    }
  }
  double bucket_;
  double level_;
  std::deque<Cohort> young_;
};

}  // namespace weir::test
