/// CAKE's `autorate-ingress`: the rate from what arrives alone.
///
/// The gap between packets is averaged (1/4 of a longer one, 1/256 of a shorter one). A packet after a gap
/// longer than that ends a window, whose bytes over its length are a throughput; the peak of those is kept
/// (1/4 of a higher one, 1/256 of a lower one) and 15/16 of it is the rate.
///
/// Source: Linux, net/sched/sch_cake.c, cake_enqueue(). It means to set the rate every 250 ms; the variable
/// that holds when it did so last is never written, there nor in dtaht/sch_cake, and so it does at the end of
/// each window. Its clocks start at zero: the first packet ends an empty window after the longest gap, 1 s.
///
/// It is made for the far end of a bottleneck that somebody else fills (`behind_the_bottleneck`). In front of
/// one it is led by its own spacing: even, it takes 15/16 of its own rate again and again; uneven, it runs
/// away upwards. The kinder reading: it stays within the site's limits; CAKE knows none.
#pragma once

#include "proving/laws/law.hpp"

namespace weir::proving {

class CakeIngress final : public Law {
 public:
  CakeIngress(const LawSettings& settings, TimePoint now);

  [[nodiscard]] Duration period() const override { return std::chrono::milliseconds(10); }
  [[nodiscard]] bool behind_the_bottleneck() const override { return true; }
  [[nodiscard]] std::optional<Rate> step(const LawInput& input) override;

 private:
  void hear(const Arrival& arrival);

  Rate floor_, ceiling_, rate_;
  std::optional<TimePoint> last_packet_;
  TimePoint window_began_;
  double gap_ = 0;     ///< seconds
  double window_ = 0;  ///< bits
  double peak_;        ///< bit/s
};

}  // namespace weir::proving
