/// StormGuard, LibreQoS's adaptive site rate, in its default strategy (`delay_probe`) with its default
/// settings.
///
/// Once a second, from what passed through the box:
///
///   delay = p90 of the RTTs - baseline;  baseline follows them by 1 % a tick upwards, 10 % downwards
///   delay >= 80 ms or RTT >= 1.20 baseline or retransmitted >= 10 %   -> x0.88, then 7.5 s of rest
///   delay >= 40 ms or RTT >= 1.10 baseline or retransmitted >= 5 %    -> x0.95, then 3.75 s
///   delay <= 20 ms and RTT <= 1.05 baseline, load >= 80 %, 10 ticks since the last change  -> x1.15, then 1
///   s
///
/// Retransmissions are the mean of the last 15 ticks' shares. Rates are whole Mbit/s, at least 4. A step that
/// would leave [minimum, maximum] is not made at all, and costs no rest.
///
/// Source: LibreQoS, src/rust/lqos_stormguard (site_state/site.rs, site_state.rs) and
/// src/rust/lqos_config/src/etc/v15/stormguard.rs, at 455bc13 of August 2026; its BPF side counts as a
/// retransmission every segment whose sequence number goes back (lqos_sys/src/bpf/common/flows.h).
///
/// The kinder readings: its RTTs do not contain our own queue (its own, taken in front of the shaper, do).
#pragma once

#include <array>
#include <string>
#include <vector>

#include "proving/laws/law.hpp"

namespace weir::proving {

class Stormguard final : public Law {
 public:
  /// `minimum`: its `minimum_upload_percentage` of the ceiling, 50 % as shipped.
  Stormguard(Rate minimum, const LawSettings& settings, TimePoint now);

  /// It decides once a second; oftener, to hear the RTTs between.
  [[nodiscard]] Duration period() const override { return std::chrono::milliseconds(10); }
  [[nodiscard]] std::optional<Rate> step(const LawInput& input) override;
  [[nodiscard]] std::string_view reason() const override { return reason_; }

 private:
  /// Means of the last values put in.
  class Ring {
   public:
    void add(double value);
    [[nodiscard]] double mean() const;

   private:
    std::array<double, 15> values_{};
    std::size_t count_ = 0, next_ = 0;
  };
  struct Step {
    float factor;  ///< its settings are floats, which decides how halves are rounded
    Duration rest;
    std::string_view name;
  };

  void listen(const LawInput& input);
  void decide(TimePoint now);
  void learn(TimePoint now);
  [[nodiscard]] const Step* wanted(TimePoint now, double load) const;
  void forget_tick(TimePoint now);

  static const Step kRaise, kCut, kCutFast;

  Rate minimum_, maximum_, rate_;
  TimePoint tick_began_;

  // of the current tick
  Bytes sent_;
  std::uint64_t segments_ = 0, retransmitted_ = 0;
  std::vector<Duration> rtts_;

  Ring retransmitted_share_;
  std::optional<double> baseline_ms_;
  std::optional<double> rtt_ms_;  ///< p90 of the newest tick that had any
  TimePoint rtt_at_;
  TimePoint rest_began_;
  Duration rest_{};
  unsigned ticks_since_change_ = 0;
  std::string reason_;
};

}  // namespace weir::proving
