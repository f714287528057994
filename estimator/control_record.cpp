#include "estimator/control_record.hpp"

#include "estimator/json_line.hpp"
#include "estimator/site_memory_json.hpp"

namespace weir {
namespace {

void write_limits(LineWriter& w, TimePoint now, const ControlLimits& limits) {
  w.member("now", now).member("floor", limits.floor).member("ceiling", limits.ceiling);
  w.member("adapt", limits.adapt).member_unless("paced", limits.paced, true);
}

void write_decision(LineWriter& w, Rate rate, ControlState state, PathMode mode,
                    std::optional<std::string_view> reason) {
  w.key("decided").open('[').value(rate).value(to_string(state)).value(to_string(mode));
  if (reason) w.value(*reason);
  w.close(']');
}

/// [slots, [empty ones before it, bytes, sent, delivered, lost], ...]; delivered and lost are left out where
/// all that was sent was delivered.
void write_slots(LineWriter& w, const std::vector<Slot>& slots) {
  w.key("slots").open('[').value(slots.size());
  std::size_t written = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const Slot& s = slots[i];
    if (s == Slot{}) continue;
    w.open('[').value(i - written).value(s.bytes).value(s.sent);
    if (s.delivered != s.sent || s.lost != 0) w.value(s.delivered).value(s.lost);
    w.close(']');
    written = i + 1;
  }
  w.close(']');
}

void write_cohort(LineWriter& w, const Cohort& c) {
  w.open('{').member("begin", c.begin).member("segments", c.segments);
  w.member_unless("beyond", c.lost_beyond, 0U).member_unless("before", c.lost_before, 0U);
  w.member("sent", c.sent).member_unless("one_in", c.one_in, 1U);
  if (!c.slots.empty()) write_slots(w, c.slots);
  w.close('}');
}

void write_measurement(LineWriter& w, const SiteMeasurement& m) {
  w.member("at", m.at).member("interval", m.interval).member_unless("valid", m.valid, true);
  w.member("sent", m.sent).member("tcp", m.sent_tcp).member_unless("one_in", m.one_in, 1U);
  if (!m.mature.empty()) {
    w.key("mature").open('[');
    for (const Cohort& c : m.mature) write_cohort(w, c);
    w.close(']');
  }
  if (!m.young.empty()) {
    w.key("young").open('[');
    for (const YoungCohort& c : m.young)
      w.open('[').value(c.begin).value(c.segments).value(c.lost_beyond).close(']');
    w.close(']');
  }
  if (m.delivered) w.array("delivered", m.delivered->rate, m.delivered->over);
  if (m.delivered_bytes) w.member("delivered_bytes", *m.delivered_bytes);
  if (const auto& q = m.queue)
    w.array("queue", q->q, q->p10, q->p90, q->samples, q->flows, q->sent_from, q->sent_to);
  if (const auto& q = m.queue_by_way) w.array("queue_by_way", q->forward, q->reverse, q->within, q->samples);
  if (m.rtt) w.array("rtt", m.rtt->base, m.rtt->p50, m.rtt->p95, m.rtt->samples);
  w.member_unless("ece", m.ece_echoes, 0U).member_unless("flows", m.flows, 0U);
  if (m.last_ack) w.member("last_ack", *m.last_ack);
  if (m.unanswered_since) w.member("unanswered_since", *m.unanswered_since);
}

}  // namespace

void append_line(std::string& out, const RecordingHeader& header) {
  LineWriter w(out);
  w.open('{').member("weir_recording", header.format).member("version", std::string_view(header.version));
  w.member("interface", std::string_view(header.interface)).member("wall_ns", header.wall_ns);
  w.member("steady_ns", header.steady).close('}');
  out += '\n';
}

void append_line(std::string& out, const RecordedStart& start) {
  LineWriter w(out);
  w.open('{').member("site", std::string_view(start.site)).key("start").open('{');
  write_limits(w, start.now, start.limits);
  w.member("rate", start.start.rate);
  if (start.start.from != StartedFrom::policy) w.member("from", to_string(start.start.from));
  if (start.start.memory) {
    w.key("memory").open('{');
    write_memory(w, *start.start.memory);
    w.close('}');
  }
  w.close('}').close('}');
  out += '\n';
}

void append_line(std::string& out, const RecordedCheckpoint& checkpoint) {
  LineWriter w(out);
  w.open('{').member("site", std::string_view(checkpoint.site)).key("checkpoint").open('{');
  w.member("now", checkpoint.now).member("steps", checkpoint.steps);
  w.member("state", std::string_view(checkpoint.state)).close('}').close('}');
  out += '\n';
}

void append_line(std::string& out, const RecordedLimits& change) {
  LineWriter w(out);
  w.open('{').key("limits").open('{');
  write_limits(w, change.now, change.limits);
  w.close('}');
  const RecordedDecision& d = change.decided;
  write_decision(w, d.rate, d.state, d.mode, d.reason);
  w.close('}');
  out += '\n';
}

void append_line(std::string& out, const RecordingEnd& end) {
  LineWriter w(out);
  w.open('{').member("end", end.lines).close('}');
  out += '\n';
}

void append_tick_line(std::string& out, TimePoint now, const ControlInput& input, const RateDecision& decided,
                      std::optional<std::string_view> reason) {
  LineWriter w(out);
  w.open('{').key("tick").open('{').member("now", now).member("sent", input.sent);
  w.member_unless("backlogged", input.backlogged, false);
  if (input.latency_room) w.member("latency_room", *input.latency_room);
  if (const auto& s = input.share) w.array("share", s->rate, s->whole, s->sites);
  w.close('}').key("measured").open('{');
  write_measurement(w, input.measured);
  w.close('}');
  write_decision(w, decided.rate, decided.state, decided.mode, reason);
  w.close('}');
  out += '\n';
}

}  // namespace weir
