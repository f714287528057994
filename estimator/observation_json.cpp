/// The JSON of `weir observe`: docs/ESTIMATOR.md, "weir observe --json", says what each member means.
#include <string_view>
#include <utility>

#include <boost/json/array.hpp>

#include "config/load.hpp"
#include "estimator/observation.hpp"

namespace weir {
namespace {

using boost::json::array;
using boost::json::object;
using boost::json::value;

[[nodiscard]] std::string_view name_of(Direction direction) {
  return direction == Direction::outbound ? "outbound" : "inbound";
}

template <typename T>
[[nodiscard]] value or_null(const std::optional<T>& v) {
  return v ? value(*v) : value(nullptr);
}

/// "ef", or the number of a code point without a name; "rest" for those without sums of their own.
[[nodiscard]] value json_of_dscp(const std::optional<std::uint8_t>& dscp) {
  if (!dscp) return "rest";
  const auto name = name_of_dscp(*dscp);
  return name ? value(*name) : value(*dscp);
}

[[nodiscard]] object json_of(const SegmentTotals& s) {
  return {{"data", s.data},
          {"new", s.fresh},
          {"retransmitted", s.retransmitted},
          {"fast", s.fast},
          {"timeout", s.timeout},
          {"spurious", s.spurious},
          {"hole_fill", s.hole_fill},
          {"reordered", s.reordered},
          {"probe", s.probe},
          {"keepalive", s.keepalive},
          {"duplicate", s.duplicate},
          {"unknown", s.unknown},
          {"syn_retransmitted", s.syn_retransmitted},
          {"fin_retransmitted", s.fin_retransmitted}};
}

[[nodiscard]] object json_of(const LossShares& loss) {
  return {{"beyond", or_null(loss.beyond)},
          {"before", or_null(loss.before)},
          {"low", or_null(loss.low)},
          {"high", or_null(loss.high)},
          {"beyond_segments", loss.beyond_segments},
          {"before_segments", loss.before_segments}};
}

/// Of RttTotals and DelayTotals.
template <typename Totals>
[[nodiscard]] object json_of_durations(const Totals& totals) {
  object json{{"samples", totals.samples}};
  if (totals.samples == 0) return json;
  json["min"] = milliseconds(totals.min);
  json["p50"] = milliseconds(totals.p50);
  json["p95"] = milliseconds(totals.p95);
  json["p99"] = milliseconds(totals.p99);
  return json;
}

[[nodiscard]] object json_of(const DelayTotals& delay) {
  object json = json_of_durations(delay);
  array histogram;
  for (const DurationHistogram::Bin& bin : delay.histogram) {
    const bool bounded = bin.end != Duration::max();
    histogram.push_back(
        object{{"le_ms", bounded ? value(milliseconds(bin.end)) : value(nullptr)}, {"count", bin.count}});
  }
  json["histogram"] = std::move(histogram);
  return json;
}

[[nodiscard]] object json_of(const QueueTotals& queue) {
  object json{{"samples", queue.samples}};
  if (queue.asked > 0) json["share"] = queue.share();
  if (queue.samples == 0) return json;
  json["within"] = milliseconds(queue.within);
  json["forward"] =
      object{{"p50", milliseconds(queue.forward_p50)}, {"p95", milliseconds(queue.forward_p95)}};
  json["reverse"] =
      object{{"p50", milliseconds(queue.reverse_p50)}, {"p95", milliseconds(queue.reverse_p95)}};
  return json;
}

[[nodiscard]] object json_of(const CapacityFinding& c, const std::optional<Rate>& rate_to_set) {
  object json{{"mode", to_string(c.mode)}, {"windows", c.windows}};
  if (c.rate) {
    json["bps"] = c.rate->bps();
    json["low_bps"] = c.low.bps();
    json["high_bps"] = c.high.bps();
    json["rate_to_set_bps"] = rate_to_set->bps();
  }
  if (c.depth) json["buffer_ms"] = milliseconds(*c.depth);
  if (c.bucket) json["bucket_bytes"] = c.bucket->count();
  if (c.age) json["age_s"] = seconds(*c.age);
  return json;
}

[[nodiscard]] object json_of(const DscpFinding& finding) {
  object json{{"verdict", to_string(finding.verdict)},
              {"confidence", finding.confidence},
              {"windows", finding.windows}};
  if (finding.favoured) json["favoured"] = to_string(*finding.favoured);
  if (finding.other) json["other"] = to_string(*finding.other);
  return json;
}

[[nodiscard]] array json_of(const std::vector<DscpObservation>& dscps) {
  array json;
  for (const DscpObservation& d : dscps) {
    json.push_back(object{{"dscp", json_of_dscp(d.dscp)},
                          {"segments", json_of(d.segments)},
                          {"loss", json_of(d.loss)},
                          {"rtt_ms", json_of_durations(d.rtt)},
                          {"queue_ms", json_of(d.queue)}});
  }
  return json;
}

[[nodiscard]] object json_of(const DirectionObservation& d) {
  object json{{"name", name_of(d.direction)},
              {"sent_bytes", d.sent.count()},
              {"sent_tcp_bytes", d.sent_tcp.count()},
              {"busiest_bps", d.busiest.bps()},
              {"segments", json_of(d.segments)},
              {"loss", json_of(d.loss)},
              {"rtt_ms", json_of_durations(d.rtt)},
              {"queue_ms", json_of(d.queue)},
              {"dscp", json_of(d.dscps)}};
  if (d.capacity) json["capacity"] = json_of(*d.capacity, d.rate_to_set());
  if (d.retransmission_delay) json["retransmission_delay_ms"] = json_of(*d.retransmission_delay);
  if (d.dscp_honoured) json["dscp_honoured"] = json_of(*d.dscp_honoured);
  return json;
}

[[nodiscard]] array json_of(const std::vector<DirectionObservation>& directions) {
  array json;
  for (const DirectionObservation& d : directions) json.push_back(json_of(d));
  return json;
}

[[nodiscard]] object json_of(const FlowDirectionRow& row) {
  object json{{"dscp", json_of_dscp(row.dscp)}, {"bytes", row.sent.count()},
              {"segments", row.segments},       {"retransmitted", row.retransmitted},
              {"spurious", row.spurious},       {"hole_fill", row.hole_fill}};
  if (row.least_rtt > Duration::zero()) {
    json["rtt_ms"] =
        object{{"min", milliseconds(row.least_rtt)}, {"smoothed", milliseconds(row.smoothed_rtt)}};
  }
  return json;
}

[[nodiscard]] array json_of(const FlowListing& flows, const Observation& o) {
  array json;
  for (const FlowRow& row : flows.rows) {
    object flow{{"inside", row.inside.to_string()},
                {"inside_port", row.inside_port},
                {"far", row.far.to_string()},
                {"far_port", row.far_port}};
    if (row.site < o.site_names.size()) flow["site"] = o.site_names[row.site];
    flow["state"] = to_string(row.state);
    flow["start_s"] = seconds(row.first - o.first);
    flow["duration_s"] = seconds(row.last - row.first);
    flow["outbound"] = json_of(row.outbound);
    flow["inbound"] = json_of(row.inbound);
    json.push_back(std::move(flow));
  }
  return json;
}

[[nodiscard]] object json_of_capture(const Observation& o) {
  object capture{{"packets", o.packets},
                 {"tcp_packets", o.tcp_packets},
                 {"seconds", o.seconds},
                 {"kernel_drops", o.kernel_drops},
                 {"sampled_share", 1.0 / o.one_in},
                 {"unsampled_packets", o.unsampled},
                 {"malformed", o.malformed},
                 {"opaque", o.opaque},
                 {"one_way_segments", o.one_way},
                 {"one_directional", o.one_directional},
                 {"truncated", o.truncated},
                 {"flows_refused", o.flows_refused},
                 {"flows_evicted", o.flows_evicted}};
  if (o.one_directional) {
    capture["voids"] = array{"segments.spurious", "segments.fast", "segments.timeout", "loss", "rtt_ms",
                             "queue_ms",          "capacity",      "dscp_honoured"};
  }
  return capture;
}

/// Null: nothing was configured, and no connection showed which side is ours.
[[nodiscard]] value basis_of(const Observation& o) {
  if (!o.sides.inside.empty()) return value(to_string(o.sides.basis));
  return o.sides_configured ? value(to_string(SideBasis::configured)) : value(nullptr);
}

}  // namespace

object to_json(const Observation& o) {
  array inside;
  for (const IpAddress& address : o.sides.inside) inside.emplace_back(address.to_string());
  object json{{"version", 1},
              {"source", o.source},
              {"capture", json_of_capture(o)},
              {"sides", {{"basis", basis_of(o)}, {"inside", std::move(inside)}}},
              {"directions", json_of(o.directions)}};
  if (!o.site_names.empty()) {
    array sites;
    for (const SiteObservation& site : o.sites) {
      sites.push_back(object{{"name", site.name}, {"directions", json_of(site.directions)}});
    }
    json["sites"] = std::move(sites);
  }
  if (o.flows) {
    json["flows"] = json_of(*o.flows, o);
    json["flows_omitted"] = o.flows->omitted;
  }
  return json;
}

}  // namespace weir
