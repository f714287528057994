/// The JSON of `weir observe`: docs/ESTIMATOR.md, "weir observe --json", says what each member means.
#include <string_view>
#include <utility>

#include <boost/json/array.hpp>

#include "estimator/observation.hpp"

namespace weir {
namespace {

[[nodiscard]] std::string_view name_of(Direction direction) {
  return direction == Direction::outbound ? "outbound" : "inbound";
}

template <typename T>
[[nodiscard]] boost::json::value or_null(const std::optional<T>& value) {
  return value ? boost::json::value(*value) : boost::json::value(nullptr);
}

[[nodiscard]] boost::json::object json_of(const DirectionObservation& d) {
  const SegmentTotals& s = d.segments;
  boost::json::object rtt{{"samples", d.rtt.samples}};
  if (d.rtt.samples > 0) {
    rtt["min"] = milliseconds(d.rtt.min);
    rtt["p50"] = milliseconds(d.rtt.p50);
    rtt["p95"] = milliseconds(d.rtt.p95);
    rtt["p99"] = milliseconds(d.rtt.p99);
  }
  boost::json::object capacity{{"mode", to_string(d.capacity.mode)}, {"windows", d.capacity.windows}};
  if (d.capacity.rate) {
    capacity["bps"] = d.capacity.rate->bps();
    capacity["low_bps"] = d.capacity.low.bps();
    capacity["high_bps"] = d.capacity.high.bps();
    capacity["rate_to_set_bps"] = d.rate_to_set()->bps();
  }
  if (d.capacity.mode == CapacityMode::buffer) capacity["buffer_ms"] = milliseconds(d.capacity.queue);
  return {{"name", name_of(d.direction)},
          {"sent_bytes", d.sent.count()},
          {"sent_tcp_bytes", d.sent_tcp.count()},
          {"busiest_bps", d.busiest.bps()},
          {"segments",
           {{"data", s.data},
            {"new", s.fresh},
            {"retransmitted", s.retransmitted},
            {"spurious", s.spurious},
            {"hole_fill", s.hole_fill},
            {"reordered", s.reordered},
            {"probe", s.probe},
            {"keepalive", s.keepalive},
            {"duplicate", s.duplicate},
            {"unknown", s.unknown},
            {"syn_retransmitted", s.syn_retransmitted},
            {"fin_retransmitted", s.fin_retransmitted}}},
          {"loss",
           {{"beyond", or_null(d.loss_beyond())},
            {"before", or_null(d.loss_before())},
            {"low", or_null(d.loss_low)},
            {"high", or_null(d.loss_high)},
            {"beyond_segments", d.lost_beyond},
            {"before_segments", d.lost_before}}},
          {"rtt_ms", std::move(rtt)},
          {"capacity", std::move(capacity)}};
}

}  // namespace

boost::json::object to_json(const Observation& o) {
  boost::json::array inside;
  for (const IpAddress& address : o.sides.inside) inside.emplace_back(address.to_string());
  boost::json::array directions;
  for (const DirectionObservation& d : o.directions) directions.emplace_back(json_of(d));
  return {{"version", 1},
          {"source", o.source},
          {"capture",
           {{"packets", o.packets},
            {"tcp_packets", o.tcp_packets},
            {"seconds", o.seconds},
            {"kernel_drops", o.kernel_drops},
            {"malformed", o.malformed},
            {"opaque", o.opaque},
            {"one_way_segments", o.one_way},
            {"truncated", o.truncated}}},
          {"sides",
           {{"basis", to_string(o.sides.inside.empty() ? SideBasis::configured : o.sides.basis)},
            {"inside", std::move(inside)}}},
          {"directions", std::move(directions)}};
}

}  // namespace weir
