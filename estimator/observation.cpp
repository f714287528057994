#include "estimator/observation.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include <boost/json/array.hpp>

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTick = 100ms;
constexpr std::size_t kTicksPerHalfSecond = 5;
/// No cohort waits longer for its fate: behind a longer silence ticks would close nothing.
constexpr Duration kNothingLeftOpen = 15s;

/// One measurement of all sites together. What has no sum (RTT, queue) is that of the busiest site.
[[nodiscard]] SiteMeasurement all_sites(const std::vector<SiteMeasurement>& sites) {
  SiteMeasurement sum;
  const SiteMeasurement* busiest = nullptr;
  for (const SiteMeasurement& site : sites) {
    sum.at = site.at;
    sum.interval = site.interval;
    sum.valid = sum.valid && site.valid;
    sum.sent += site.sent;
    sum.sent_tcp += site.sent_tcp;
    sum.mature.insert(sum.mature.end(), site.mature.begin(), site.mature.end());
    if (site.delivered_bytes)
      sum.delivered_bytes = sum.delivered_bytes.value_or(Bytes()) + *site.delivered_bytes;
    if (site.rtt && (busiest == nullptr || site.sent > busiest->sent)) busiest = &site;
  }
  if (busiest != nullptr) {
    sum.rtt = busiest->rtt;
    sum.queue = busiest->queue;
  }
  return sum;
}

/// Wilson's score interval at 95 %: holds for small counts, where the plain one goes below zero.
[[nodiscard]] std::pair<double, double> wilson(double lost, double all) {
  constexpr double z = 1.96;
  const double p = lost / all;
  const double centre = p + z * z / (2.0 * all);
  const double reach = z * std::sqrt(p * (1.0 - p) / all + z * z / (4.0 * all * all));
  const double scale = 1.0 + z * z / all;
  return {std::max(0.0, (centre - reach) / scale), std::min(1.0, (centre + reach) / scale)};
}

}  // namespace

// -- the numbers --

std::optional<double> DirectionObservation::loss_beyond() const {
  if (segments.data < kLeastSegmentsForRatio) return std::nullopt;
  return static_cast<double>(lost_beyond) / static_cast<double>(segments.data);
}

std::optional<double> DirectionObservation::loss_before() const {
  if (segments.data < kLeastSegmentsForRatio) return std::nullopt;
  return static_cast<double>(lost_before) / static_cast<double>(segments.data);
}

std::optional<Rate> DirectionObservation::rate_to_set() const {
  if (!capacity.rate) return std::nullopt;
  return *capacity.rate * kRateByHand;
}

// -- Observer --

Observer::Observer(EstimatorSettings settings, std::string source)
    : source_(std::move(source)),
      sides_configured_(!settings.sites.empty() || !settings.inside.empty()),
      estimator_(std::move(settings)) {}

void Observer::on_frame(const Frame& frame) {
  if (!first_) {
    first_ = last_ = frame.time;
    next_tick_ = frame.time + kTick;
    last_tick_ = estimator_.tick(frame.time, false);
  }
  close_ticks_until(frame.time);
  last_ = std::max(last_, frame.time);
  estimator_.on_frame(frame);
}

void Observer::on_time(TimePoint now) {
  if (first_) close_ticks_until(now);
}

void Observer::on_kernel_drops(std::uint64_t count) {
  kernel_drops_ += count;
  lost_in_tick_ = lost_in_tick_ || count > 0;
}

void Observer::close_ticks_until(TimePoint now) {
  while (next_tick_ <= now) {
    if (now - last_ > kNothingLeftOpen && next_tick_ - last_ > kNothingLeftOpen) {
      next_tick_ = now + kTick;  // a long silence: go to its end in one step
      return;
    }
    close_tick(next_tick_);
  }
}

void Observer::close_tick(TimePoint at) {
  last_tick_ = estimator_.tick(at, std::exchange(lost_in_tick_, false));
  next_tick_ = at + kTick;
  add(last_tick_.outbound, outbound_);
  add(last_tick_.inbound, inbound_);
}

void Observer::add(const std::vector<SiteMeasurement>& sites, Sums& sums) {
  const SiteMeasurement tick = all_sites(sites);
  sums.sent += tick.sent;
  sums.sent_tcp += tick.sent_tcp;
  sums.capacity.add(tick);
  auto& recent = sums.last_half_second;
  if (recent.size() == kTicksPerHalfSecond) recent.erase(recent.begin());
  recent.push_back(tick.sent);
  Bytes half_second;
  for (const Bytes& b : recent) half_second += b;
  if (recent.size() == kTicksPerHalfSecond) {
    sums.busiest = std::max(sums.busiest, Rate::of(half_second, kTick * std::int64_t{kTicksPerHalfSecond}));
  }
}

Observation Observer::finish() {
  if (first_) {
    for (TimePoint at = next_tick_; at <= last_ + kNothingLeftOpen; at += kTick) close_tick(at);
  }
  return summary();
}

DirectionObservation Observer::direction(Direction which, const Sums& sums) const {
  const EstimatorTotals& totals = estimator_.totals();
  const bool outbound = which == Direction::outbound;
  DirectionObservation d{.direction = which,
                         .sent = sums.sent,
                         .sent_tcp = sums.sent_tcp,
                         .busiest = sums.busiest,
                         .segments = outbound ? totals.outbound : totals.inbound,
                         .rtt = estimator_.rtt_totals(which),
                         .capacity = sums.capacity.finding()};
  // Seen twice: lost behind the tap. First seen below H: lost in front of it. Which of the two is beyond our
  // border depends on the way the data go.
  d.lost_beyond = outbound ? d.segments.retransmitted : d.segments.hole_fill;
  d.lost_before = outbound ? d.segments.hole_fill : d.segments.retransmitted;
  if (d.segments.data >= kLeastSegmentsForRatio) {
    const auto [low, high] = wilson(static_cast<double>(std::min(d.lost_beyond, d.segments.data)),
                                    static_cast<double>(d.segments.data));
    d.loss_low = low;
    d.loss_high = high;
  }
  return d;
}

Observation Observer::summary() const {
  const EstimatorTotals& totals = estimator_.totals();
  return {.source = source_,
          .packets = totals.frames,
          .tcp_packets = totals.tcp,
          .seconds = first_ ? seconds(last_ - *first_) : 0.0,
          .kernel_drops = kernel_drops_,
          .malformed = totals.malformed,
          .opaque = totals.opaque,
          .one_way = totals.one_way,
          .truncated = truncated_,
          .sides_configured = sides_configured_,
          .sides = estimator_.sides(),
          .directions = {direction(Direction::outbound, outbound_), direction(Direction::inbound, inbound_)}};
}

// -- for programs --

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

// -- for people --

namespace {

/// 1234567 -> "1 234 567": long counts are read, not parsed.
[[nodiscard]] std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), 1, ' ');
  }
  return digits;
}

[[nodiscard]] std::string readable(Rate rate) {
  if (rate >= Rate::mbps(1)) return fmt::format("{:.2f} Mbit/s", rate.mbps());
  return fmt::format("{:.1f} kbit/s", static_cast<double>(rate.bps()) / 1e3);
}

[[nodiscard]] std::string percent(double ratio) {
  return fmt::format("{:.{}f} %", ratio * 100.0, ratio < 0.001 ? 4 : 2);
}

[[nodiscard]] std::string share_of(std::uint64_t part, const std::optional<double>& ratio,
                                   std::uint64_t all) {
  if (!ratio) return fmt::format("{} of {} segments (too few for a ratio)", grouped(part), grouped(all));
  return fmt::format("{} of {} segments, {}", grouped(part), grouped(all), percent(*ratio));
}

[[nodiscard]] std::string where_lost(const DirectionObservation& d) {
  if (d.segments.data == 0) return "no TCP data in this direction";
  if (d.lost_beyond == 0 && d.lost_before == 0) return "nowhere: no segment was lost";
  if (d.lost_before == 0) return "beyond: all of it on the WAN side of the tap";
  if (d.lost_beyond == 0) return "before: all of it on our own side of the tap";
  const bool mostly_beyond = d.lost_beyond > d.lost_before;
  return fmt::format("mostly {} the tap", mostly_beyond ? "on the WAN side of" : "on our own side of");
}

[[nodiscard]] std::string is_it_congestion(const DirectionObservation& d) {
  const CapacityFinding& c = d.capacity;
  switch (c.mode) {
    case CapacityMode::policer:
      return fmt::format("yes, a policer: in {} half seconds loss grew with the load, no queue stood",
                         c.windows);
    case CapacityMode::buffer:
      return fmt::format("yes, a full buffer: a queue of {:.1f} ms (median) stood in {} half seconds",
                         milliseconds(c.queue), c.windows);
    case CapacityMode::lossy:
      return fmt::format("no: {} of loss that does not answer to the rate; slowing down would not help",
                         percent(c.loss));
    case CapacityMode::unknown:
      return c.loss > 0.0 ? "cannot be told: too little loss to see whether it follows the load"
                          : "no sign of it: the path was not seen full";
  }
  return "unknown";
}

[[nodiscard]] std::string rate_to_set(const DirectionObservation& d) {
  const auto rate = d.rate_to_set();
  if (!rate) return "none can be told from this traffic";
  return fmt::format("{}  (98 % of {}; half of the windows between {} and {})", readable(*rate),
                     readable(*d.capacity.rate), readable(d.capacity.low), readable(d.capacity.high));
}

void append_direction(std::string& page, const DirectionObservation& d, double length) {
  const bool outbound = d.direction == Direction::outbound;
  const SegmentTotals& s = d.segments;
  auto out = std::back_inserter(page);
  fmt::format_to(out, "\n{}\n",
                 outbound ? "OUTBOUND, from our side to the WAN" : "INBOUND, from the WAN to our side");
  if (d.sent == Bytes()) {
    page += "  nothing seen\n";
    return;
  }
  fmt::format_to(out, "  sent                  {} on average, {} in the busiest half second\n",
                 readable(Rate::of(d.sent, from_seconds(length))), readable(d.busiest));
  fmt::format_to(out, "  lost beyond the tap   {}\n", share_of(d.lost_beyond, d.loss_beyond(), s.data));
  if (d.loss_low && d.lost_beyond > 0) {
    fmt::format_to(out, "                        (95 % certain between {} and {})\n", percent(*d.loss_low),
                   percent(*d.loss_high));
  }
  fmt::format_to(out, "  lost before the tap   {}\n", share_of(d.lost_before, d.loss_before(), s.data));
  fmt::format_to(
      out, "  not losses            {} spurious, {} reordered, {} duplicates, {} keep-alives, {} probes\n",
      grouped(s.spurious), grouped(s.reordered), grouped(s.duplicate), grouped(s.keepalive),
      grouped(s.probe));
  if (s.syn_retransmitted > 0)
    fmt::format_to(out, "  SYNs sent again       {}\n", grouped(s.syn_retransmitted));
  if (d.rtt.samples > 0) {
    fmt::format_to(out, "  RTT {:<17} min {:.2f}  p50 {:.2f}  p95 {:.2f}  p99 {:.2f} ms  ({} samples)\n",
                   outbound ? "beyond the tap" : "on our side", milliseconds(d.rtt.min),
                   milliseconds(d.rtt.p50), milliseconds(d.rtt.p95), milliseconds(d.rtt.p99),
                   grouped(d.rtt.samples));
  }
  fmt::format_to(out, "  Where is it lost?     {}\n", where_lost(d));
  fmt::format_to(out, "  Is it congestion?     {}\n", is_it_congestion(d));
  fmt::format_to(out, "  What rate to set?     {}\n", rate_to_set(d));
}

}  // namespace

std::string to_text(const Observation& o) {
  std::string page;
  auto out = std::back_inserter(page);
  fmt::format_to(out, "{}: {:.1f} s, {} packets, {} of them TCP\n", o.source, o.seconds, grouped(o.packets),
                 grouped(o.tcp_packets));
  if (o.kernel_drops > 0) {
    fmt::format_to(out, "The capture lost {} frames: what passed around them is not counted as loss.\n",
                   grouped(o.kernel_drops));
  }
  if (o.truncated) page += "The file ends in the middle of a record; this is what it held.\n";
  if (o.malformed > 0) fmt::format_to(out, "{} frames were malformed.\n", grouped(o.malformed));
  if (o.one_way > 0) {
    fmt::format_to(out, "{} data segments belong to connections without visible acknowledgments.\n",
                   grouped(o.one_way));
  }
  if (!o.sides.inside.empty()) {
    fmt::format_to(out, "Our side was inferred ({}):", to_string(o.sides.basis));
    constexpr std::size_t kShown = 4;
    for (std::size_t i = 0; i < std::min(kShown, o.sides.inside.size()); ++i) {
      fmt::format_to(out, " {}", o.sides.inside[i].to_string());
    }
    page +=
        o.sides.inside.size() > kShown ? " ...; say --inside to be sure.\n" : "; say --inside to be sure.\n";
  }
  for (const DirectionObservation& d : o.directions) append_direction(page, d, o.seconds);
  return page;
}

}  // namespace weir
