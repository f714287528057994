// What holds of measurements and summaries whatever the frames were. Broken: std::abort, which a fuzzer
// reports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <boost/json/object.hpp>

#include "estimator/observation.hpp"
#include "estimator/segment_totals.hpp"

namespace weir::fuzz {

inline void require(bool condition) {
  if (!condition) std::abort();
}

inline void check(const TickResult& tick) {
  for (const auto& sites : {tick.outbound, tick.inbound}) {
    for (const SiteMeasurement& site : sites) {
      require(site.sent_tcp <= site.sent);
      for (const Cohort& cohort : site.mature) {
        require(cohort.lost_beyond <= cohort.segments);
        require(cohort.begin <= site.at);
      }
      if (const auto& ways = site.queue_by_way) {
        require(ways->forward >= Duration::zero() && ways->reverse >= Duration::zero());
        require(ways->within > Duration::zero() && ways->samples > 0);
      }
      if (site.queue) require(site.queue->q >= Duration::zero() && site.queue->p10 <= site.queue->p90);
    }
  }
}

/// Each wire segment with data is of one class; keep-alives and probes may have none.
inline void check(const SegmentTotals& t) {
  const std::uint64_t with_data =
      t.fresh + t.retransmitted + t.spurious + t.hole_fill + t.reordered + t.duplicate + t.unknown;
  require(with_data <= t.data);
  require(t.data <= with_data + t.probe + t.keepalive);
  require(t.fast + t.timeout <= t.retransmitted);
}

inline void check(const Observation& whole) {
  for (const DirectionObservation& d : whole.directions) {
    check(d.segments);
    if (d.loss.low) require(*d.loss.low <= *d.loss.high);
    require(d.queue.samples <= d.queue.asked && d.queue.asked <= d.rtt.samples);
    require(d.queue.forward_p50 <= d.queue.forward_p95 && d.queue.reverse_p50 <= d.queue.reverse_p95);
    SegmentTotals sum;
    for (const DscpObservation& dscp : d.dscps) add(dscp.segments, sum);
    // A loss taken back after its flow's mark has changed stays with the old one: only the two together add
    // up.
    require(sum.data == d.segments.data && sum.fresh == d.segments.fresh);
    require(sum.retransmitted + sum.spurious == d.segments.retransmitted + d.segments.spurious);
  }
  require(!to_text(whole).empty());
  require(!to_json(whole).empty());
}

/// An observer that keeps rows of flows, and goes the long ways with every packet, beside one that does not:
/// they say the same.
class BothWays {
 public:
  explicit BothWays(EstimatorSettings settings)
      : long_(with_rows(settings, 4), "fuzz"), short_(with_rows(settings, 0), "fuzz") {}

  void on_frame(const Frame& frame) {
    long_.on_frame(frame);
    short_.on_frame(frame);
  }
  void on_time(TimePoint now) {
    long_.on_time(now);
    short_.on_time(now);
  }
  void on_kernel_drops(std::uint64_t count) {
    long_.on_kernel_drops(count);
    short_.on_kernel_drops(count);
  }
  void check_tick() const {
    check(long_.last_tick());
    require(long_.last_tick().outbound == short_.last_tick().outbound);
    require(long_.last_tick().inbound == short_.last_tick().inbound);
  }
  void finish() {
    const Observation whole = long_.finish();
    const Observation again = short_.finish();
    check_tick();
    check(whole);
    require(whole.flows && whole.flows->rows.size() <= 4);
    boost::json::object told = to_json(whole);
    told.erase("flows");
    told.erase("flows_omitted");
    require(told == to_json(again));
  }

 private:
  [[nodiscard]] static EstimatorSettings with_rows(EstimatorSettings settings, std::size_t rows) {
    settings.keep_flows = rows;
    return settings;
  }
  Observer long_;
  Observer short_;
};

}  // namespace weir::fuzz
