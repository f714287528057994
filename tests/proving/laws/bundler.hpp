/// Bundler's inner loop with its basic delay rule, which is Nimbus's.
///
/// Every 10 ms, with S what was sent and R what arrived of it over the newest round trip, u the bottleneck's
/// rate:
///
///   z = u S/R - S                                                      what others have of the bottleneck
///   r = S + 0.8 (u - z - S) - 0.5 (u/RTT) (RTT - 1.25 RTTmin),   r >= 0.05 u
///
/// RTTmin is the least ever seen. Loss is no signal; at a policer (R = u, no queue) r = 0.2 S + 0.925 u,
/// whose fixed point is 1.156 u. The first second is sent at a fixed rate (ours: the start rate).
///
/// u is told, as in the runs that were published (`bw_est_mode = false`), or is the largest moving average of
/// R so far (2 % of each report): it never falls.
///
/// Sources: F. Cangialosi et al., "Site-to-Site Internet Traffic Control", EuroSys 2021; ccp-project/nimbus,
/// branch queue-control (src/lib.rs), which bundler-project/evaluation runs; bundler-project/bundler
/// (src/inbox) for S and R: both over the same packets, in epochs of a quarter to a half of the packets in
/// flight, as many as make up a round trip.
///
/// The kinder readings: no pulses (+-25 % of u, they serve to detect elastic cross traffic), and a report
/// with loss changes the rate like any other (the program drops it, and so keeps an excessive rate while its
/// losses last).
#pragma once

#include <deque>

#include "proving/laws/law.hpp"

namespace weir::proving {

class Bundler final : public Law {
 public:
  enum class Capacity { told, estimated };
  Bundler(Capacity capacity, const LawSettings& settings, TimePoint now);

  [[nodiscard]] Duration period() const override { return std::chrono::milliseconds(10); }
  [[nodiscard]] std::optional<Rate> step(const LawInput& input) override;

 private:
  struct Interval {
    TimePoint end;
    Duration length;
    double sent = 0, received = 0;  ///< bit/s
  };
  struct Epoch {
    double sent, received;  ///< bit/s, of the same packets
  };

  void remember(const LawInput& input);
  [[nodiscard]] std::optional<Epoch> newest_epoch(TimePoint now, Duration rtt) const;
  [[nodiscard]] double mean(double Interval::*rate, TimePoint from, TimePoint to) const;

  Capacity capacity_;
  Rate ceiling_, rate_;
  TimePoint began_;
  std::deque<Interval> history_;
  std::optional<Duration> base_rtt_;
  double received_average_ = 0, most_received_ = 0;  ///< bit/s
};

}  // namespace weir::proving
