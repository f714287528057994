#include "gateway/api_json.hpp"

#include <cmath>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/explain.hpp"
#include "gateway/json_text.hpp"
#include "gateway/port.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

double age(Duration d) {
  return rounded(seconds(d), 3);
}
double ms(Duration d) {
  return rounded(milliseconds(d), 3);
}
double ratio(double r) {
  return rounded(r, 6);
}

json::value capacity_json(const std::optional<CapacityStatus>& capacity) {
  if (!capacity) return nullptr;
  return json::object{{"bps", capacity->rate.bps()},
                      {"low_bps", capacity->low.bps()},
                      {"high_bps", capacity->high.bps()},
                      {"age_s", age(capacity->age)}};
}

json::value rtt_json(const std::optional<RttSummary>& rtt) {
  if (!rtt) return nullptr;
  return json::object{
      {"base", ms(rtt->base)}, {"p50", ms(rtt->p50)}, {"p95", ms(rtt->p95)}, {"samples", rtt->samples}};
}

json::value latency_json(const std::optional<LatencyStatus>& latency) {
  if (!latency) return nullptr;
  json::value missed;
  if (latency->missed == LatencyMissed::own) missed = "own";
  if (latency->missed == LatencyMissed::provider) missed = "provider";
  return json::object{
      {"class", latency->class_name},
      {"goal_ms", ms(latency->goal)},
      {"own_ms", ms(latency->own)},
      {"provider_ms", latency->provider ? json::value(ms(*latency->provider)) : json::value(nullptr)},
      {"missed", std::move(missed)},
      {"probes_held", latency->probes_held}};
}

json::value or_null(const std::optional<std::string>& text) {
  return text ? json::value(json::string(*text)) : json::value(nullptr);
}

json::object segments_json(const SegmentTotals& t) {
  return {{"data", t.data},
          {"fresh", t.fresh},
          {"retransmitted", t.retransmitted},
          {"spurious", t.spurious},
          {"hole_fill", t.hole_fill},
          {"reordered", t.reordered},
          {"probe", t.probe},
          {"keepalive", t.keepalive},
          {"duplicate", t.duplicate},
          {"unknown", t.unknown},
          {"syn_retransmitted", t.syn_retransmitted},
          {"fin_retransmitted", t.fin_retransmitted}};
}

json::object capture_json(const CaptureStatus& c) {
  return {{"up", c.up},
          {"why_down", c.up ? json::value(nullptr) : json::value(json::string(c.why_down))},
          {"received_frames", c.counters.received},
          {"dropped_frames", c.counters.dropped},
          {"sampled_share", 1.0 / c.totals.one_in},
          {"unsampled_frames", c.totals.unsampled},
          {"ticks", c.ticks},
          {"ticks_dropped", c.ticks_dropped},
          {"last_tick_age_s", c.last_tick_age ? json::value(age(*c.last_tick_age)) : json::value(nullptr)},
          {"flows", c.totals.flows},
          {"flows_evicted", c.totals.flows_evicted},
          {"flows_refused", c.totals.flows_refused},
          {"one_way_segments", c.totals.one_way},
          {"set_aside_segments", c.totals.set_aside},
          {"tcp_frames", c.totals.tcp},
          {"opaque_frames", c.totals.opaque},
          {"malformed_frames", c.totals.malformed},
          {"outbound_segments", segments_json(c.totals.outbound)},
          {"inbound_segments", segments_json(c.totals.inbound)}};
}

json::object shaper_json(const ShaperStatus& s) {
  return {{"in_place", s.in_place},
          {"adopted", s.adopted},
          {"fifo_leaves", s.fifo_leaves},
          {"batches", s.batches},
          {"batches_failed", s.batches_failed},
          {"messages", s.messages},
          {"fault", or_null(s.fault)}};
}

json::object policy_json(const PolicyStatus& p) {
  return {{"file", p.file},
          {"source", p.last_good ? "last_good" : "file"},
          {"loaded", iso_utc(p.loaded)},
          {"revision", p.revision},
          {"confirm_by", p.confirm_by ? json::value(iso_utc(*p.confirm_by)) : json::value(nullptr)},
          {"reload_error", or_null(p.reload_error)}};
}

json::value lan_json(const std::optional<LanStatus>& s) {
  if (!s) return nullptr;
  return json::object{
      {"interface", s->interface}, {"port_bps", s->port_rate.bps()}, {"shaper", shaper_json(s->shaper)}};
}

/// What a port does with a site.
json::object direction_json(const SiteStatus& s) {
  return {
      {"policy", s.policy},
      {"shaped_bps", s.shaped.bps()},
      {"wanted_bps", s.wanted.bps()},
      {"floor_bps", s.floor.bps()},
      {"ceiling_bps", s.ceiling.bps()},
      {"adapt", s.adapt},
      {"state", json::string(to_string(s.state))},
      {"mode", json::string(to_string(s.mode))},
      {"reason", s.reason},
      {"since_s", age(s.since)},
      {"sharing", s.sharing ? json::value(*s.sharing) : json::value(nullptr)},
      {"capacity", capacity_json(s.capacity)},
      {"loss", json::object{{"beyond", ratio(s.loss_beyond)},
                            {"before", ratio(s.loss_before)},
                            {"segments", s.loss_segments}}},
      {"evidence", rounded(s.evidence, 2)},
      {"rtt_ms", rtt_json(s.rtt)},
      {"queue_ms", s.queue ? json::value(ms(*s.queue)) : json::value(nullptr)},
      {"sent_bps", s.sent.bps()},
      {"delivered_bps", s.delivered ? json::value(s.delivered->bps()) : json::value(nullptr)},
      {"received_bps", s.received.bps()},
      {"demand", s.demand},
      {"backlog_bytes", s.backlog.count()},
      {"flows", s.flows},
      {"latency", latency_json(s.latency)},
      {"degraded", degraded_json(s.degraded)},
  };
}

/// NaN marks what was not known.
json::value rate_or_null(float bps) {
  return std::isnan(bps) ? json::value(nullptr) : json::value(static_cast<std::uint64_t>(bps));
}
json::value number_or_null(float number, int digits) {
  return std::isnan(number) ? json::value(nullptr)
                            : json::value(rounded(static_cast<double>(number), digits));
}

}  // namespace

json::array degraded_json(std::span<const Degradation> degraded) {
  json::array all;
  for (const Degradation& d : degraded) all.push_back(json::object{{"code", d.code}, {"text", d.text}});
  return all;
}

json::object site_json(const SiteStatus& site, const SiteStatus* inbound,
                       const std::optional<LanStatus>& lan) {
  json::object all{{"name", site.name}};
  for (auto& member : direction_json(site)) all.insert(member);
  json::value comes;
  if (inbound != nullptr) {
    comes = direction_json(*inbound);
    if (!lan || !lan->shaper.in_place) comes.as_object()["shaped_bps"] = nullptr;
  }
  all.emplace("inbound", std::move(comes));
  return all;
}

json::array sites_json(const GatewayStatus& s) {
  json::array all;
  auto inbound = s.inbound.begin();  // in the order of the sites as well
  for (const SiteStatus& site : s.sites) {
    const bool comes = inbound != s.inbound.end() && inbound->name == site.name;
    all.push_back(site_json(site, comes ? &*inbound : nullptr, s.lan));
    if (comes) ++inbound;
  }
  return all;
}

json::object status_json(const GatewayStatus& s) {
  return {
      {"version", s.version},
      {"time", iso_utc(s.at)},
      {"started", iso_utc(s.started)},
      {"uptime_s", age(s.uptime)},
      {"interface", s.interface},
      {"port_bps", s.port_rate.bps()},
      {"policy", policy_json(s.policy)},
      {"capture", capture_json(s.capture)},
      {"shaper", shaper_json(s.shaper)},
      {"lan", lan_json(s.lan)},
      {"degraded", degraded_json(s.degraded)},
      {"sites", sites_json(s)},
  };
}

json::object class_json(const ClassStatus& one, Direction direction) {
  const shaper::ClassCounters& c = one.counters;
  return {
      {"site", c.site},
      {"direction", json::string(to_string(direction))},
      {"name", c.name},
      {"handle", handle_text(c.handle)},
      {"leaf", c.leaf},
      {"guarantee_bps", c.rate.bps()},
      {"ceiling_bps", c.ceil.bps()},
      {"priority", c.priority},
      {"sent_bps", one.sent.bps()},
      {"sent_bytes", c.sent.count()},
      {"packets", c.packets},
      {"drops", c.drops},
      {"overlimits", c.overlimits},
      {"ecn_marks", c.ecn_marks},
      {"backlog_bytes", c.backlog.count()},
      {"backlog_packets", c.backlog_packets},
  };
}

json::object revision_json(const Revision& r) {
  return {{"number", r.number},
          {"time", iso_utc(r.at)},
          {"by", r.by},
          {"comment", r.comment},
          {"state", json::string(to_string(r.state))},
          {"note", r.note}};
}

json::object event_json(const Event& e) {
  return {{"id", e.id},
          {"time", iso_utc(e.at)},
          {"severity", json::string(to_string(e.severity))},
          {"kind", json::string(to_string(e.kind))},
          {"site", e.site.empty() ? json::value(nullptr) : json::value(json::string(e.site))},
          {"text", e.text}};
}

json::object decision_json(const Decision& d) {
  return {{"time", iso_utc(d.at)},
          {"from_bps", d.from.bps()},
          {"to_bps", d.to.bps()},
          {"state_before", json::string(to_string(d.state_before))},
          {"state", json::string(to_string(d.state))},
          {"mode", json::string(to_string(d.mode))},
          {"reason", d.reason}};
}

json::object history_json(std::string_view site, std::span<const HistorySample> samples) {
  const auto column = [&](auto&& value_of) {
    json::array values;
    values.reserve(samples.size());
    for (const HistorySample& sample : samples) values.push_back(value_of(sample));
    return values;
  };
  using S = HistorySample;
  return {
      {"site", json::string(site)},
      {"interval_s", 1},
      {"time", column([](const S& s) { return static_cast<double>(s.unix_ms) / 1000.0; })},
      {"shaped_bps", column([](const S& s) { return rate_or_null(s.shaped_bps); })},
      {"sent_bps", column([](const S& s) { return rate_or_null(s.sent_bps); })},
      {"delivered_bps", column([](const S& s) { return rate_or_null(s.delivered_bps); })},
      {"capacity_bps", column([](const S& s) { return rate_or_null(s.capacity_bps); })},
      {"loss_beyond", column([](const S& s) { return number_or_null(s.loss_beyond, 6); })},
      {"loss_before", column([](const S& s) { return number_or_null(s.loss_before, 6); })},
      {"rtt_base_ms", column([](const S& s) { return number_or_null(s.rtt_base_ms, 3); })},
      {"rtt_p50_ms", column([](const S& s) { return number_or_null(s.rtt_p50_ms, 3); })},
      {"rtt_p95_ms", column([](const S& s) { return number_or_null(s.rtt_p95_ms, 3); })},
      {"queue_ms", column([](const S& s) { return number_or_null(s.queue_ms, 3); })},
      {"state", column([](const S& s) { return json::string(to_string(s.state)); })},
      {"mode", column([](const S& s) { return json::string(to_string(s.mode)); })},
      {"demand", column([](const S& s) { return s.demand; })},
  };
}

}  // namespace weir::gateway
