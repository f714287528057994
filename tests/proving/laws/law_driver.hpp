/// Runs one law on a clock of its own against a path that the test holds still or changes by hand.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "proving/laws/law.hpp"

namespace weir::proving::test {

inline LawSettings site() {
  return {.floor = Rate::mbps(10),
          .ceiling = Rate::mbps(100),
          .start = Rate::mbps(100),
          .contract = Rate::mbps(45)};
}

inline Cohort cohort(TimePoint begin, std::uint64_t segments, std::uint64_t lost_beyond) {
  Cohort made;
  made.begin = begin;
  made.segments = static_cast<std::uint32_t>(segments);
  made.lost_beyond = static_cast<std::uint32_t>(lost_beyond);
  return made;
}

/// What the law sees of the world, as long as nobody changes it.
struct Path {
  Rate capacity = Rate::mbps(100);
  double load = 1.0;             ///< share of the shaped rate that is sent
  std::optional<Rate> received;  ///< nullopt: all that is sent
  std::optional<Duration> rtt;
  double lost = 0.0;             ///< share of segments lost beyond us
  std::optional<Duration> ping;  ///< RTT of the echoes, one every 50 ms
};

struct Change {
  double at;  ///< seconds since the driver began
  Rate rate;
};

class LawDriver {
 public:
  LawDriver(std::string_view name, const LawSettings& settings)
      : law_(make_law(name, settings, now_)), rate_(settings.start) {}

  Path path;

  void run(Duration d) {
    for (const TimePoint end = now_ + d; now_ < end;) step();
  }

  [[nodiscard]] Rate rate() const { return rate_; }
  [[nodiscard]] double mbps() const { return rate_.mbps(); }
  [[nodiscard]] double now() const { return seconds(now_.time_since_epoch()); }
  [[nodiscard]] const std::vector<Change>& changes() const { return changes_; }
  [[nodiscard]] Law& law() { return *law_; }

 private:
  void step() {
    now_ += law_->period();
    std::vector<PingReply> pings;
    for (; path.ping && next_ping_ <= now_; next_ping_ += std::chrono::milliseconds(50))
      pings.push_back({.at = next_ping_, .rtt = *path.ping});
    if (!path.ping) next_ping_ = now_ + std::chrono::milliseconds(50);
    ControlInput control;
    const bool tick = now_ >= next_tick_;
    if (tick) {
      next_tick_ = now_ + kCohortLength;
      control.measured.mature = {
          cohort(now_ - kCohortLength, 1000, static_cast<std::uint64_t>(path.lost * 1000))};
    }
    LawInput input;
    input.now = now_;
    input.interval = law_->period();
    input.control = tick ? &control : nullptr;
    input.capacity = path.capacity;
    input.sent = path.load * rate_;
    input.received = path.received.value_or(input.sent);
    input.rtt = path.rtt;
    input.pings = pings;
    const Rate before = std::exchange(rate_, law_->step(input).value_or(Rate()));
    if (rate_ != before) changes_.push_back({.at = now(), .rate = rate_});
  }

  TimePoint now_;
  TimePoint next_ping_ = now_ + std::chrono::milliseconds(50);
  TimePoint next_tick_ = now_ + kCohortLength;
  std::unique_ptr<Law> law_;
  Rate rate_;
  std::vector<Change> changes_;
};

}  // namespace weir::proving::test
