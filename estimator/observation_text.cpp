/// The page of `weir observe`: where is it lost, is it congestion, what rate should be set.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>

#include <fmt/format.h>

#include "estimator/observation.hpp"

namespace weir {
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
