// The other way of control_record.cpp: an untrusted line to what it says.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "estimator/control_record.hpp"
#include "estimator/json_line.hpp"
#include "estimator/site_memory_json.hpp"
#include "estimator/state_text.hpp"

namespace weir {
namespace {

namespace json = boost::json;

constexpr std::uint32_t kMostSegments = 1U << 24U;  ///< of a cohort: 2 Tbit/s

void read_limits(LineReader& r, const json::object& from, TimePoint& now, ControlLimits& limits) {
  r.get(from, "now", now);
  r.get(from, "floor", limits.floor);
  r.get(from, "ceiling", limits.ceiling);
  r.get(from, "adapt", limits.adapt);
  r.get_if_there(from, "paced", limits.paced);
}

RecordedDecision read_decision(LineReader& r, const json::object& line) {
  RecordedDecision d;
  json::value decided;
  if (const json::value* found = line.if_contains("decided")) decided = *found;
  const json::array& elements = r.array(decided, "decided");
  if (elements.size() < 3 || elements.size() > 4) {
    r.blame("'decided' has neither three nor four elements");
    return d;
  }
  r.get(elements[0], "rate", d.rate);
  r.get(elements[1], "state", d.state);
  r.get(elements[2], "mode", d.mode);
  if (elements.size() == 4) r.get(elements[3], "reason", d.reason.emplace());
  return d;
}

std::vector<Slot> read_slots(LineReader& r, const json::value& from) {
  const json::array& elements = r.array(from, "slots");
  std::uint32_t size = 0;
  if (elements.empty()) r.blame("'slots' does not say how many there are");
  if (!r.ok()) return {};
  r.get(elements[0], "slots", size, 1U, static_cast<std::uint32_t>(kSlotsPerCohort));
  std::vector<Slot> slots(size);
  std::size_t next = 0;
  for (std::size_t i = 1; i < elements.size() && r.ok(); ++i) {
    const json::array& element = r.array(elements[i], "slots");
    if (element.size() != 3 && element.size() != 5) {
      r.blame("a slot has neither three nor five elements");
      break;
    }
    std::uint32_t gap = 0;
    r.get(element[0], "slots", gap, 0U, static_cast<std::uint32_t>(kSlotsPerCohort));
    next += gap;
    if (next >= slots.size()) {
      r.blame("'slots' holds more of them than it says");
      break;
    }
    Slot& slot = slots[next++];
    r.get(element[1], "slots", slot.bytes);
    r.get(element[2], "slots", slot.sent);
    slot.delivered = slot.sent;
    if (element.size() == 5) {
      r.get(element[3], "slots", slot.delivered);
      r.get(element[4], "slots", slot.lost);
    }
  }
  return slots;
}

Cohort read_cohort(LineReader& r, const json::value& from) {
  Cohort c;
  const json::object& line = r.object(from, "mature");
  r.get(line, "begin", c.begin);
  r.get(line, "segments", c.segments);
  r.get_if_there(line, "beyond", c.lost_beyond);
  r.get_if_there(line, "before", c.lost_before);
  r.get(line, "sent", c.sent);
  r.get_if_there(line, "one_in", c.one_in);
  if (const json::value* slots = line.if_contains("slots")) c.slots = read_slots(r, *slots);
  if (std::max({c.segments, c.lost_beyond, c.lost_before}) > kMostSegments)
    r.blame("a cohort has more segments than a path can carry");
  return c;
}

void read_measurement(LineReader& r, const json::object& from, SiteMeasurement& m) {
  r.get(from, "at", m.at);
  r.get(from, "interval", m.interval);
  if (r.ok() && (m.interval < control::kLeastTick || m.interval > control::kMostTick))
    r.blame("'interval' is out of range");
  r.get_if_there(from, "valid", m.valid);
  r.get(from, "sent", m.sent);
  r.get(from, "tcp", m.sent_tcp);
  r.get_if_there(from, "one_in", m.one_in);
  if (const json::value* mature = from.if_contains("mature")) {
    const json::array& cohorts = r.array(*mature, "mature");
    if (cohorts.size() > control::kMostRemembered) r.blame("'mature' has too many cohorts");
    for (std::size_t i = 0; i < cohorts.size() && r.ok(); ++i) m.mature.push_back(read_cohort(r, cohorts[i]));
  }
  if (const json::value* young = from.if_contains("young")) {
    const json::array& cohorts = r.array(*young, "young");
    if (cohorts.size() > control::kMostRemembered) r.blame("'young' has too many cohorts");
    for (std::size_t i = 0; i < cohorts.size() && r.ok(); ++i) {
      YoungCohort& c = m.young.emplace_back();
      r.get_all(cohorts[i], "young", c.begin, c.segments, c.lost_beyond);
      if (std::max(c.segments, c.lost_beyond) > kMostSegments)
        r.blame("a cohort has more segments than a path can carry");
    }
  }
  if (const json::value* found = from.if_contains("delivered")) {
    Delivery& d = m.delivered.emplace();
    r.get_all(*found, "delivered", d.rate, d.over);
  }
  r.get(from, "delivered_bytes", m.delivered_bytes);
  if (const json::value* found = from.if_contains("queue")) {
    QueueDelay& q = m.queue.emplace();
    r.get_all(*found, "queue", q.q, q.p10, q.p90, q.samples, q.flows, q.sent_from, q.sent_to);
  }
  if (const json::value* found = from.if_contains("queue_by_way")) {
    QueueByWay& q = m.queue_by_way.emplace();
    r.get_all(*found, "queue_by_way", q.forward, q.reverse, q.within, q.samples);
  }
  if (const json::value* found = from.if_contains("rtt")) {
    RttSummary& rtt = m.rtt.emplace();
    r.get_all(*found, "rtt", rtt.base, rtt.p50, rtt.p95, rtt.samples);
  }
  r.get_if_there(from, "ece", m.ece_echoes);
  r.get_if_there(from, "flows", m.flows);
  r.get(from, "last_ack", m.last_ack);
  r.get(from, "unanswered_since", m.unanswered_since);
}

RecordLine read_header(LineReader& r, const json::object& line) {
  RecordingHeader header;
  r.get(line, "weir_recording", header.format);
  if (r.ok() && header.format != kRecordingFormat) {
    r.blame(
        fmt::format("it is of format {}, and this program reads format {}", header.format, kRecordingFormat));
  }
  r.get(line, "version", header.version);
  r.get(line, "interface", header.interface);
  r.get(line, "wall_ns", header.wall_ns);
  r.get(line, "steady_ns", header.steady);
  return header;
}

RecordLine read_segment(LineReader& r, const json::object& line) {
  std::string site;
  r.get(line, "site", site);
  constexpr std::size_t kLongestName = 256;  // the policy's are at most 63
  if (site.empty() || site.size() > kLongestName) r.blame("'site' is no name");
  if (line.contains("start")) {
    RecordedStart start{.site = std::move(site), .now = {}, .limits = {}, .start = {}};
    const json::object& from = r.object(line, "start");
    read_limits(r, from, start.now, start.limits);
    r.get(from, "rate", start.start.rate);
    r.get_if_there(from, "from", start.start.from);
    if (const json::value* memory = from.if_contains("memory"))
      start.start.memory = read_memory(r, r.object(*memory, "memory"));
    return start;
  }
  RecordedCheckpoint checkpoint{.site = std::move(site), .now = {}, .steps = 0, .state = {}};
  const json::object& from = r.object(line, "checkpoint");
  r.get(from, "now", checkpoint.now);
  r.get(from, "steps", checkpoint.steps);
  r.get(from, "state", checkpoint.state);
  return checkpoint;
}

RecordLine read_tick(LineReader& r, const json::object& line) {
  RecordedTick tick;
  const json::object& from = r.object(line, "tick");
  r.get(from, "now", tick.now);
  r.get(from, "sent", tick.input.sent);
  r.get_if_there(from, "backlogged", tick.input.backlogged);
  r.get(from, "latency_room", tick.input.latency_room);
  if (const json::value* found = from.if_contains("share")) {
    GroupShare& share = tick.input.share.emplace();
    r.get_all(*found, "share", share.rate, share.whole, share.sites);
  }
  read_measurement(r, r.object(line, "measured"), tick.input.measured);
  tick.decided = read_decision(r, line);
  return tick;
}

RecordLine read_line(LineReader& r, const json::object& line) {
  if (line.contains("tick")) return read_tick(r, line);
  if (line.contains("site")) return read_segment(r, line);
  if (line.contains("limits")) {
    RecordedLimits change;
    read_limits(r, r.object(line, "limits"), change.now, change.limits);
    change.decided = read_decision(r, line);
    return change;
  }
  if (line.contains("weir_recording")) return read_header(r, line);
  if (line.contains("end")) {
    RecordingEnd end;
    r.get(line, "end", end.lines);
    return end;
  }
  r.blame("it is no line of a recording");
  return RecordingEnd{};
}

}  // namespace

std::variant<RecordLine, BadRecordLine> parse_record_line(std::string_view line) {
  if (line.size() > kLongestRecordLine)
    return BadRecordLine{fmt::format("it is longer than {} bytes", kLongestRecordLine)};
  boost::system::error_code malformed;
  const json::value parsed = json::parse(json::string_view(line.data(), line.size()), malformed);
  if (malformed) return BadRecordLine{"it is not JSON"};
  const json::object* object = parsed.if_object();
  if (object == nullptr) return BadRecordLine{"it is not a JSON object"};
  LineReader reader;
  RecordLine found = read_line(reader, *object);
  if (!reader.ok()) return BadRecordLine{reader.why()};
  return found;
}

}  // namespace weir
