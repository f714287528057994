#include "gateway/metrics.hpp"

#include <array>
#include <concepts>
#include <initializer_list>
#include <iterator>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "gateway/api.hpp"
#include "gateway/explain.hpp"
#include "gateway/port.hpp"

namespace weir::gateway {
namespace {

using Label = std::pair<std::string_view, std::string_view>;

/// Backslash, quote and line feed are what the format asks to escape in a label's value.
std::string escaped(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

/// One metric family: HELP and TYPE first, then its samples.
class Family {
 public:
  Family(std::string& out, std::string_view name, std::string_view type, std::string_view help)
      : out_(out), name_(name) {
    fmt::format_to(std::back_inserter(out_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <class Number>
  void sample(std::initializer_list<Label> labels, Number value) {
    out_ += name_;
    char separator = '{';
    for (const auto& [key, text] : labels) {
      fmt::format_to(std::back_inserter(out_), "{}{}=\"{}\"", separator, key, escaped(text));
      separator = ',';
    }
    if (labels.size() > 0) out_ += '}';
    fmt::format_to(std::back_inserter(out_), " {}\n", value);
  }

 private:
  std::string& out_;
  std::string_view name_;
};

/// One gauge with a sample per site; a site for which `value_of` is empty has none.
template <class ValueOf>
void per_site(std::string& out, std::span<const SiteStatus> sites, std::string_view name,
              std::string_view help, ValueOf&& value_of) {
  Family family(out, name, "gauge", help);
  for (const SiteStatus& site : sites) {
    if (const auto value = value_of(site)) family.sample({{"site", site.name}}, *value);
  }
}
template <class ValueOf>
void per_site(std::string& out, const GatewayStatus& status, std::string_view name, std::string_view help,
              ValueOf&& value_of) {
  per_site(out, std::span(status.sites), name, help, std::forward<ValueOf>(value_of));
}

/// One family with a sample per class.
template <class ValueOf>
void per_class(std::string& out, const ApiView& view, std::string_view name, std::string_view type,
               std::string_view help, ValueOf&& value_of) {
  Family family(out, name, type, help);
  view.for_each_port([&](const PortView& port, Direction way) {
    for (const ClassStatus& one : port.classes) {
      family.sample({{"site", one.counters.site},
                     {"class", one.counters.name},
                     {"handle", handle_text(one.counters.handle)},
                     {"direction", to_string(way)}},
                    value_of(one.counters));
    }
  });
}

void site_rates(std::string& out, const GatewayStatus& s) {
  using S = SiteStatus;
  using Value = std::optional<std::uint64_t>;
  per_site(out, s, "weir_site_shaped_bits_per_second", "Shaped rate in force in the kernel.",
           [](const S& x) { return Value(x.shaped.bps()); });
  per_site(out, s, "weir_site_floor_bits_per_second", "Configured floor of the shaped rate.",
           [](const S& x) { return Value(x.floor.bps()); });
  per_site(out, s, "weir_site_ceiling_bits_per_second", "Configured ceiling of the shaped rate.",
           [](const S& x) { return Value(x.ceiling.bps()); });
  per_site(out, s, "weir_site_capacity_bits_per_second",
           "What the path is believed to carry; absent when unknown.",
           [](const S& x) { return x.capacity ? Value(x.capacity->rate.bps()) : Value(); });
  per_site(out, s, "weir_site_sent_bits_per_second", "Sent to the site over the last second, all protocols.",
           [](const S& x) { return Value(x.sent.bps()); });
  per_site(out, s, "weir_site_delivered_bits_per_second", "What the site acknowledged; absent when unknown.",
           [](const S& x) { return x.delivered ? Value(x.delivered->bps()) : Value(); });
  per_site(out, s, "weir_site_received_bits_per_second", "Received from the site over the last second.",
           [](const S& x) { return Value(x.received.bps()); });
  per_site(out, s, "weir_site_backlog_bytes", "Bytes that wait in the site's own queues.",
           [](const S& x) { return Value(x.backlog.count()); });
}

void site_path(std::string& out, const GatewayStatus& s) {
  using S = SiteStatus;
  using Value = std::optional<double>;
  const auto loss = [&](std::string_view name, std::string_view help, auto&& ratio) {
    per_site(out, s, name, help, ratio);
  };
  loss("weir_site_loss_beyond_ratio", "Share of segments lost on the WAN side of the box, last ten seconds.",
       [](const S& x) { return Value(x.loss_beyond); });
  loss("weir_site_loss_before_ratio", "Share of segments lost on our side of the box, last ten seconds.",
       [](const S& x) { return Value(x.loss_before); });
  const auto rtt = [&](std::string_view name, std::string_view help, Duration RttSummary::*which) {
    per_site(out, s, name, help,
             [which](const S& x) { return x.rtt ? Value(seconds((*x.rtt).*which)) : Value(); });
  };
  rtt("weir_site_rtt_base_seconds", "Round trip without queues, from the box.", &RttSummary::base);
  rtt("weir_site_rtt_p50_seconds", "Median round trip over the last ten seconds.", &RttSummary::p50);
  rtt("weir_site_rtt_p95_seconds", "95th percentile of the round trip over the last ten seconds.",
      &RttSummary::p95);
  per_site(out, s, "weir_site_provider_queue_seconds",
           "Queueing delay beyond the box; absent without fresh samples.",
           [](const S& x) { return x.queue ? Value(seconds(*x.queue)) : Value(); });
  per_site(out, s, "weir_site_rate_age_seconds", "Time since the shaped rate last changed.",
           [](const S& x) { return Value(seconds(x.since)); });
  per_site(out, s, "weir_site_demand", "1 when the site has more to send than it is let.",
           [](const S& x) { return std::optional(x.demand ? 1 : 0); });
  per_site(out, s, "weir_site_latency_goal_seconds",
           "Goal of the class that keeps its goal worst; absent without goals.",
           [](const S& x) { return x.latency ? Value(seconds(x.latency->goal)) : Value(); });
  per_site(out, s, "weir_site_latency_own_seconds", "Time that this class's packets wait in its own queue.",
           [](const S& x) { return x.latency ? Value(seconds(x.latency->own)) : Value(); });
  per_site(out, s, "weir_site_probes_held", "1 while no probe begins because a latency goal is missed.",
           [](const S& x) { return x.latency ? Value(x.latency->probes_held ? 1 : 0) : Value(); });
  per_site(out, s, "weir_site_flows", "TCP flows with data in the last second.",
           [](const S& x) { return std::optional(x.flows); });
  per_site(out, s, "weir_site_degraded", "Number of things that do not work as meant for this site.",
           [](const S& x) { return std::optional(x.degraded.size()); });
}

void site_states(std::string& out, const GatewayStatus& s) {
  Family states(out, "weir_site_state", "gauge", "1 for the state the site's controller is in.");
  for (const SiteStatus& site : s.sites) {
    for (const ControlState state : {ControlState::hold, ControlState::drain, ControlState::verify,
                                     ControlState::probe, ControlState::outage, ControlState::contend}) {
      states.sample({{"site", site.name}, {"state", to_string(state)}}, site.state == state ? 1 : 0);
    }
  }
  Family modes(out, "weir_site_mode", "gauge", "1 for the kind of limit the site's path shows.");
  for (const SiteStatus& site : s.sites) {
    for (const PathMode mode :
         {PathMode::unknown, PathMode::policer, PathMode::buffer, PathMode::lossy, PathMode::blind}) {
      modes.sample({{"site", site.name}, {"mode", to_string(mode)}}, site.mode == mode ? 1 : 0);
    }
  }
}

/// Of those sites alone from which what comes is shaped.
void site_inbound(std::string& out, const GatewayStatus& s) {
  using S = SiteStatus;
  using Value = std::optional<std::uint64_t>;
  using Number = std::optional<double>;
  const bool stands = s.lan && s.lan->shaper.in_place;
  const auto each = [&](std::string_view name, std::string_view help, auto&& value_of) {
    per_site(out, s.inbound, name, help, value_of);
  };
  each("weir_site_inbound_shaped_bits_per_second", "Rate at which what comes from the site is shaped.",
       [stands](const S& x) { return stands ? Value(x.shaped.bps()) : Value(); });
  each("weir_site_inbound_floor_bits_per_second", "Least that this rate may be.",
       [](const S& x) { return Value(x.floor.bps()); });
  each("weir_site_inbound_ceiling_bits_per_second", "Most that this rate may be.",
       [](const S& x) { return Value(x.ceiling.bps()); });
  each("weir_site_inbound_capacity_bits_per_second",
       "What the path is believed to carry from the site; absent when unknown.",
       [](const S& x) { return x.capacity ? Value(x.capacity->rate.bps()) : Value(); });
  each("weir_site_inbound_sent_bits_per_second", "Handed on from the site to our hosts over the last second.",
       [](const S& x) { return Value(x.sent.bps()); });
  each("weir_site_inbound_backlog_bytes", "Bytes from the site that wait at the LAN port.",
       [](const S& x) { return Value(x.backlog.count()); });
  each("weir_site_inbound_loss_beyond_ratio",
       "Share of segments from the site lost before they came here, last ten seconds.",
       [](const S& x) { return Number(x.loss_beyond); });
  each("weir_site_inbound_provider_queue_seconds",
       "Queueing delay on the way here; absent without fresh samples.",
       [](const S& x) { return x.queue ? Number(seconds(*x.queue)) : Number(); });
  each("weir_site_inbound_rate_age_seconds", "Time since this rate last changed.",
       [](const S& x) { return Number(seconds(x.since)); });
}

void classes(std::string& out, const ApiView& all) {
  using C = shaper::ClassCounters;
  per_class(out, all, "weir_class_guarantee_bits_per_second", "gauge", "HTB guarantee in force.",
            [](const C& c) { return c.rate.bps(); });
  per_class(out, all, "weir_class_ceiling_bits_per_second", "gauge", "HTB ceiling in force.",
            [](const C& c) { return c.ceil.bps(); });
  per_class(out, all, "weir_class_sent_bytes_total", "counter", "Charged bytes sent.",
            [](const C& c) { return c.sent.count(); });
  per_class(out, all, "weir_class_sent_packets_total", "counter", "Packets sent.",
            [](const C& c) { return c.packets; });
  per_class(out, all, "weir_class_dropped_packets_total", "counter", "Packets dropped by the class's queue.",
            [](const C& c) { return c.drops; });
  per_class(out, all, "weir_class_ecn_marked_packets_total", "counter",
            "Packets marked CE by the class's queue.", [](const C& c) { return c.ecn_marks; });
  per_class(out, all, "weir_class_backlog_bytes", "gauge", "Bytes that wait.",
            [](const C& c) { return c.backlog.count(); });
  per_class(out, all, "weir_class_backlog_packets", "gauge", "Packets that wait.",
            [](const C& c) { return c.backlog_packets; });
}

void segments(std::string& out, const EstimatorTotals& totals) {
  Family family(out, "weir_tcp_segments_total", "counter",
                "TCP segments seen on the WAN port, by what they were.");
  const auto direction = [&](std::string_view name, const SegmentTotals& t) {
    const std::array<std::pair<std::string_view, std::uint64_t>, 11> kinds = {{
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
        {"fin_retransmitted", t.fin_retransmitted},
    }};
    for (const auto& [kind, count] : kinds) family.sample({{"direction", name}, {"kind", kind}}, count);
  };
  direction("outbound", totals.outbound);
  direction("inbound", totals.inbound);
}

void daemon(std::string& out, const ApiView& view) {
  const GatewayStatus& s = view.status;
  const auto gauge = [&](std::string_view name, std::string_view help, auto value) {
    Family(out, name, "gauge", help).sample({}, value);
  };
  const auto counter = [&](std::string_view name, std::string_view help, std::uint64_t value) {
    Family(out, name, "counter", help).sample({}, value);
  };
  Family(out, "weir_build_info", "gauge", "Always 1; the version is in the label.")
      .sample({{"version", s.version}}, 1);
  gauge("weir_start_time_seconds", "When the daemon began, in seconds since 1970.", unix_seconds(s.started));
  gauge("weir_degraded", "Number of things that do not work as meant.", s.degraded.size());
  gauge("weir_last_good_policy", "1 while the last good policy serves because the file is bad.",
        s.policy.last_good ? 1 : 0);
  gauge("weir_reload_failed", "1 when the last reload changed nothing.", s.policy.reload_error ? 1 : 0);
  gauge("weir_port_bits_per_second", "Configured rate of the WAN port.", s.port_rate.bps());
  gauge("weir_shaper_in_place", "1 while the queue tree stands as applied.", s.shaper.in_place ? 1 : 0);
  if (s.lan) {
    gauge("weir_lan_shaper_in_place", "1 while the queue tree of the LAN port stands as applied.",
          s.lan->shaper.in_place ? 1 : 0);
  }
  counter("weir_shaper_batches_total", "Batches of rates written to the kernel.", s.shaper.batches);
  counter("weir_shaper_batches_failed_total", "Batches of rates that the kernel refused.",
          s.shaper.batches_failed);
  counter("weir_shaper_messages_total", "Netlink messages and map updates written.", s.shaper.messages);
  gauge("weir_capture_up", "1 while the WAN port is captured.", s.capture.up ? 1 : 0);
  counter("weir_capture_received_frames_total", "Frames handed over by the kernel.",
          s.capture.counters.received);
  counter("weir_capture_dropped_frames_total", "Frames lost because the capture ring was full.",
          s.capture.counters.dropped);
  gauge("weir_capture_sampled_share",
        "Share of the connections that is followed; less than 1 under overload.",
        1.0 / s.capture.totals.one_in);
  counter("weir_capture_unsampled_frames_total", "TCP frames of connections not followed: only bytes count.",
          s.capture.totals.unsampled);
  counter("weir_control_ticks_total", "Measurements handled by the control loop.", s.capture.ticks);
  counter("weir_control_ticks_dropped_total", "Measurements thrown away because the loop lagged.",
          s.capture.ticks_dropped);
  gauge("weir_estimator_flows", "TCP flows in the table.", s.capture.totals.flows);
  counter("weir_estimator_flows_evicted_total", "Flows pushed out of the full table.",
          s.capture.totals.flows_evicted);
  counter("weir_events_total", "Events recorded.", view.events.newest_id());
}

void rules(std::string& out, const ApiView& view) {
  std::vector<std::pair<RuleStatus, Direction>> all;
  view.for_each_port([&](const PortView& port, Direction way) {
    try {
      const std::optional<shaper::ArrivalCounters> arrived = port.arrivals();
      if (!arrived) return;
      for (RuleStatus& rule : rules_of_policy(port.policy, *arrived)) all.emplace_back(std::move(rule), way);
    } catch (const std::exception&) {
      // What is not known is left out; why, /v1/rules says.
    }
  });
  if (all.empty()) return;
  const auto family = [&](std::string_view name, std::string_view help, auto&& value_of) {
    Family counters(out, name, "counter", help);
    for (const auto& [one, direction] : all) {
      if (one.arrived.packets == 0) continue;  // most rules of most sites
      counters.sample({{"site", one.site == nullptr ? std::string_view() : std::string_view(one.site->name)},
                       {"class", one.cls},
                       {"rule", one.rule ? std::to_string(*one.rule + 1) : std::string("none")},
                       {"direction", to_string(direction)}},
                      value_of(one.arrived));
    }
  };
  family("weir_rule_packets_total", "Packets for which this rule of the policy decided, before any queue.",
         [](const shaper::Arrivals& a) { return a.packets; });
  family("weir_rule_bytes_total", "Their bytes, without the link layer's overhead.",
         [](const shaper::Arrivals& a) { return a.bytes.count(); });
}

}  // namespace

std::string metrics_text(const ApiView& view) {
  std::string out;
  daemon(out, view);
  segments(out, view.status.capture.totals);
  site_rates(out, view.status);
  site_path(out, view.status);
  site_states(out, view.status);
  site_inbound(out, view.status);
  classes(out, view);
  rules(out, view);
  return out;
}

}  // namespace weir::gateway
