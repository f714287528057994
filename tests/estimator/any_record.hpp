/// Random parts of a recording, for its tests.
#pragma once

#include <cstdint>
#include <limits>
#include <random>

#include "estimator/control_constants.hpp"
#include "estimator/control_record.hpp"
#include "estimator/state_fields.hpp"
#include "estimator/state_text.hpp"

namespace weir::test {

/// Draws anything that a measurement may hold, the extremes more often than chance would.
class Any {
 public:
  explicit Any(std::uint32_t seed) : random_(seed) {}

  template <class T>
  T up_to(T most) {
    if (one_in(8)) return most;
    if (one_in(8)) return T{0};
    return std::uniform_int_distribution<T>(0, most)(random_);
  }
  bool one_in(int n) { return std::uniform_int_distribution<int>(1, n)(random_) == 1; }
  Rate rate() { return Rate::bps(up_to(control::kMostBps)); }
  Bytes bytes() { return Bytes(up_to(control::kMostBytes)); }
  Duration duration() {
    const Duration d(up_to(control::kMostDuration.count()));
    return one_in(4) ? -d : d;
  }
  TimePoint time() {
    const Duration d(up_to(control::kMostTime.time_since_epoch().count()));
    return TimePoint(one_in(8) ? -d : d);
  }
  std::uint32_t count() { return up_to(std::numeric_limits<std::uint32_t>::max()); }

  Slot slot() {
    if (one_in(2)) return {};
    Slot s{.bytes = count(),
           .sent = up_to(std::numeric_limits<std::uint16_t>::max()),
           .delivered = up_to(std::numeric_limits<std::uint16_t>::max()),
           .lost = up_to(std::numeric_limits<std::uint16_t>::max())};
    if (one_in(2)) s = {.bytes = s.bytes, .sent = s.sent, .delivered = s.sent, .lost = 0};
    return s;
  }
  Cohort cohort() {
    Cohort c{.begin = time(),
             .segments = up_to(1U << 24U),
             .lost_beyond = one_in(2) ? 0 : up_to(1U << 24U),
             .lost_before = one_in(2) ? 0 : up_to(1U << 24U),
             .sent = bytes(),
             .one_in = one_in(2) ? 1 : count(),
             .slots = {}};
    if (!one_in(4)) c.slots.resize(one_in(8) ? 1 + up_to(kSlotsPerCohort - 1) : kSlotsPerCohort);
    for (Slot& s : c.slots) s = slot();
    return c;
  }
  ControlInput input() {
    SiteMeasurement m;
    m.at = time();
    m.interval = control::kLeastTick + Duration(up_to((control::kMostTick - control::kLeastTick).count()));
    m.valid = !one_in(4);
    m.sent = bytes();
    m.sent_tcp = bytes();
    m.one_in = one_in(2) ? 1 : count();
    for (int n = up_to(3); n > 0; --n) m.mature.push_back(cohort());
    for (int n = one_in(2) ? 0 : up_to(3); n > 0; --n)
      m.young.push_back({.begin = time(), .segments = up_to(1U << 24U), .lost_beyond = up_to(1U << 24U)});
    if (one_in(2)) m.delivered = {.rate = rate(), .over = duration()};
    if (one_in(2)) m.delivered_bytes = bytes();
    if (one_in(2))
      m.queue = {.q = duration(),
                 .p10 = duration(),
                 .p90 = duration(),
                 .samples = count(),
                 .flows = count(),
                 .sent_from = time(),
                 .sent_to = time()};
    if (one_in(2))
      m.queue_by_way = {
          .forward = duration(), .reverse = duration(), .within = duration(), .samples = count()};
    if (one_in(2)) m.rtt = {.base = duration(), .p50 = duration(), .p95 = duration(), .samples = count()};
    m.ece_echoes = one_in(2) ? 0 : count();
    m.flows = one_in(2) ? 0 : count();
    if (one_in(2)) m.last_ack = time();
    if (one_in(2)) m.unanswered_since = time();
    ControlInput input{.measured = m, .sent = rate(), .backlogged = one_in(2)};
    if (one_in(2)) input.share = GroupShare{.rate = rate(), .whole = rate(), .sites = count()};
    if (one_in(2)) input.latency_room = duration();
    return input;
  }
  RecordedDecision decision() {
    RecordedDecision d{.rate = rate(),
                       .state = static_cast<ControlState>(up_to(count_of(ControlState{}) - 1)),
                       .mode = static_cast<PathMode>(up_to(count_of(PathMode{}) - 1)),
                       .reason = {}};
    if (one_in(2)) d.reason = one_in(2) ? "" : "a \"quoted\" reason, with \\ and \t and \n and \u00b5";
    return d;
  }
  SiteMemory memory() {
    const auto ns = [this](Duration least, Duration most) {
      return least + Duration(up_to((most - least).count()));
    };
    SiteMemory m;
    m.mode = static_cast<PathMode>(up_to(count_of(PathMode{}) - 2));  // blind is none of a path's
    if (one_in(2))
      m.capacity = {.rate = Rate::bps(1 + up_to(SiteMemory::kMostCapacity.bps() - 1)),
                    .error_ppm = up_to(SiteMemory::kMostErrorPpm),
                    .age = ns(Duration::zero(), control::kMostDuration)};
    if (one_in(2))
      m.loss_floor = {.ppm = 1 + up_to(SiteMemory::kMostFloorPpm - 1),
                      .age = ns(Duration::zero(), control::kMostDuration)};
    if (one_in(2)) m.phi_thousandths = 1000 + up_to(SiteMemory::kMostPhi - 1000);
    if (one_in(2)) m.noise = ns(Duration::zero(), SiteMemory::kMostNoise);
    if (one_in(2)) m.noise_deviation = ns(Duration::zero(), SiteMemory::kMostNoise);
    if (one_in(2)) m.base = ns(Duration(1), SiteMemory::kMostBase);
    if (one_in(2))
      m.probe = {.wait = ns(control::kProbeWaitLeast, SiteMemory::kMostProbeWait),
                 .due_in = ns(Duration::zero(), SiteMemory::kMostProbeWait)};
    return m;
  }
  ControlStart start() {
    return {rate(), static_cast<StartedFrom>(up_to(count_of(StartedFrom{}) - 1)),
            one_in(2) ? std::optional(memory()) : std::nullopt};
  }
  ControlLimits limits() {
    return {.floor = rate(), .ceiling = rate(), .adapt = one_in(2), .paced = one_in(2)};
  }

 private:
  std::mt19937 random_;
};

}  // namespace weir::test
