/// One site's part of the box: HTB's rate over a priority leaf and an fq_codel leaf (ns-3's).
///
/// The owner's callback gets what leaves. Runs inside ns-3's one thread.
#pragma once

#include <deque>
#include <functional>
#include <optional>

#include <ns3/event-id.h>
#include <ns3/queue-disc.h>

#include "config/units.hpp"

#include "proving/sim/unit.hpp"

namespace weir::proving {

class SiteBox {
 public:
  SiteBox(Rate rate, std::function<void(Unit)> leaves);

  void take(Unit unit);
  void set_rate(Rate rate);
  [[nodiscard]] Rate rate() const { return rate_; }
  [[nodiscard]] bool backlogged() const { return !priority_.empty() || fair_->GetNPackets() > 0; }
  [[nodiscard]] std::uint64_t sent_bytes() const { return sent_bytes_; }

 private:
  void fill();
  void send_what_may();
  void wait_for_tokens();
  [[nodiscard]] std::optional<Unit> next();

  Rate rate_;
  std::function<void(Unit)> leaves_;
  std::deque<Unit> priority_;
  ns3::Ptr<ns3::QueueDisc> fair_;
  double tokens_ = 0.0;  ///< bits; below zero: the last packet was longer than what there was
  TimePoint filled_;
  std::uint64_t sent_bytes_ = 0;
  ns3::EventId timer_;
};

}  // namespace weir::proving
