/// cake-autorate: pings to six reflectors in turn tell the queue, the interface's counters the load.
///
/// On each reply, with owd = RTT/2 (its default pinger, fping, measures round trips) and b the reflector's
/// baseline:
///
///   b += a (owd - b), a = 0.001 upwards, 0.9 downwards, in whole us;  b starts at 100 ms;  d = owd - b
///   late: d > 30 ms;  avg: mean of the last 6 d, of whichever reflectors
///   3 of the last 6 late, 300 ms since the last cut:        r x= 0.99 - 0.24 clamp((avg - 30)/(60 - 30))
///   else load > 75 %, a new reading of it, the same 300 ms: r x= 1 + 0.04 clamp((30 - avg)/(30 - 10))
///   else 1 s since the rate was last moved:                 1 % towards the base rate
///
/// within [minimum, maximum]. Load is read every 200 ms. Each threshold is longer by the time that one packet
/// of full size takes at the shaped rate. No reply, no change; loss is no signal.
///
/// Source: lynxthecat/cake-autorate, cake-autorate.sh and defaults.sh, at 94238be of August 2026.
/// `enable_sleep_function=0` (an idle gateway goes on pinging) and stalls, which change nothing without
/// `min_shaper_rates_enforcement`, are as though they were not there. It starts at its base rate, ours the
/// contract, whatever the start rate.
#pragma once

#include <array>
#include <string>

#include "proving/laws/law.hpp"

namespace weir::proving {

class CakeAutorate final : public Law {
 public:
  /// Thresholds of avg: under which it raises in full, above which a sample is late, above which it cuts in
  /// full.
  struct Thresholds {
    Duration raise, late, cut;
  };
  static constexpr Thresholds kShipped{std::chrono::milliseconds(10), std::chrono::milliseconds(30),
                                       std::chrono::milliseconds(60)};
  /// For a wired link, whose delay without a queue hardly varies.
  static constexpr Thresholds kTuned{std::chrono::milliseconds(1), std::chrono::milliseconds(3),
                                     std::chrono::milliseconds(15)};

  CakeAutorate(const Thresholds& thresholds, const LawSettings& settings, TimePoint now);

  /// It wakes up for every reply; this often it can be told of them.
  [[nodiscard]] Duration period() const override { return std::chrono::milliseconds(10); }
  [[nodiscard]] std::optional<Rate> step(const LawInput& input) override;
  [[nodiscard]] std::string_view reason() const override { return reason_; }

 private:
  static constexpr std::size_t kReflectors = 6;
  static constexpr std::size_t kWindow = 6;

  void read_load(const LawInput& input);
  void hear(const PingReply& reply);
  [[nodiscard]] double delta_of(const PingReply& reply);
  void cut(TimePoint at, double average);
  void raise(TimePoint at, double average);
  void decay(TimePoint at);
  void move(Rate rate, TimePoint at);

  Thresholds thresholds_;
  Rate minimum_, maximum_, base_, rate_;
  std::array<double, kReflectors> baselines_ms_;
  std::size_t reflector_ = 0;
  std::array<double, kWindow> deltas_ms_{};
  std::array<bool, kWindow> late_{};
  std::size_t next_ = 0;
  TimePoint last_cut_, last_move_;

  TimePoint load_since_;
  Bytes sent_;  ///< since then
  bool high_load_ = false, load_is_new_ = false;
  std::string reason_;
};

}  // namespace weir::proving
