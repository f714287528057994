/// The page of `weir observe`: where is it lost, is it congestion, what rate should be set.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "config/load.hpp"
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
  const auto [beyond, before] = std::pair(d.loss.beyond_segments, d.loss.before_segments);
  if (beyond == 0 && before == 0) return "nowhere: no segment was lost";
  if (before == 0) return "beyond: all of it on the WAN side of the tap";
  if (beyond == 0) return "before: all of it on our own side of the tap";
  return fmt::format("mostly {} the tap", beyond > before ? "on the WAN side of" : "on our own side of");
}

[[nodiscard]] std::string is_it_congestion(const DirectionObservation& d) {
  if (!d.capacity) return "not looked at";
  const CapacityFinding& c = *d.capacity;
  switch (c.mode) {
    case CapacityMode::policer:
      return fmt::format(
          "yes, a policer: a token bucket of at least {:.0f} kB foretells the loss, {} times apart{}",
          static_cast<double>(c.bucket.value_or(Bytes()).count()) / 1e3, c.windows,
          c.rate ? "" : "; its rate cannot be told");
    case CapacityMode::buffer:
      return fmt::format(
          "yes, a full buffer: a queue of {:.1f} ms (median; {:.1f} ms at its longest) stood in {} half "
          "seconds",
          milliseconds(c.queue), milliseconds(c.depth.value_or(c.queue)), c.windows);
    case CapacityMode::lossy:
      return fmt::format("no: {} of loss that does not answer to the rate; slowing down would not help",
                         percent(c.loss));
    case CapacityMode::application_limited:
      return fmt::format("no: in {} half seconds the senders never filled the path", c.busy_windows);
    case CapacityMode::unknown:
      return c.loss > 0.0 ? "cannot be told: too little loss to see whether it follows the load"
                          : "no sign of it: the path was not seen full";
  }
  return "unknown";
}

/// By the 95th percentiles; below two milliseconds nothing waits.
[[nodiscard]] std::string which_way_waits(const DirectionObservation& d) {
  constexpr double kWaits = 2.0;
  const QueueTotals& q = d.queue;
  if (q.samples == 0) return "cannot be told: the clock of no receiver is known (TCP timestamps)";
  const bool outbound = d.direction == Direction::outbound;
  const std::string_view there = outbound ? "out" : "to our hosts";
  const std::string_view back = outbound ? "back" : "back from them";
  const double forward = milliseconds(q.forward_p95);
  const double reverse = milliseconds(q.reverse_p95);
  const std::string verdict = std::max(forward, reverse) < kWaits ? "neither"
                              : forward >= 2.0 * reverse          ? fmt::format("the way {}", there)
                              : reverse >= 2.0 * forward          ? fmt::format("the way {}", back)
                                                                  : "both";
  return fmt::format("{}: {:.1f} ms {}, {:.1f} ms {} (p95, to {:.1f} ms; {:.0f} % of the RTT samples tell)",
                     verdict, forward, there, reverse, back, milliseconds(q.within), 100.0 * q.share());
}

[[nodiscard]] std::string rate_to_set(const DirectionObservation& d) {
  const auto rate = d.rate_to_set();
  if (!rate) return "none can be told from this traffic";
  const CapacityFinding& c = *d.capacity;
  const std::string_view range = c.mode == CapacityMode::buffer
                                     ? "half of the windows lie between"
                                     : "the losses fit nearly as well to any rate between";
  return fmt::format("{}  (98 % of {}; {} {} and {}; last seen {:.0f} s ago)", readable(*rate),
                     readable(*c.rate), range, readable(c.low), readable(c.high),
                     seconds(c.age.value_or(Duration::zero())));
}

[[nodiscard]] std::string name_of(const std::optional<std::uint8_t>& dscp) {
  if (!dscp) return "rest";
  const auto name = name_of_dscp(*dscp);
  return name ? std::string(*name) : std::to_string(*dscp);
}

[[nodiscard]] std::string is_dscp_honoured(const DscpFinding& f) {
  if (f.verdict == DscpVerdict::unknown) {
    return fmt::format("cannot be told from {} congested windows with several classes", grouped(f.windows));
  }
  return fmt::format("{}, {:.1f} % certain: {} against {} in {} congested windows of 100 ms",
                     f.verdict == DscpVerdict::honoured ? "yes" : "no", f.confidence * 100.0,
                     to_string(*f.favoured), to_string(*f.other), grouped(f.windows));
}

void append_answers(std::string& page, const DirectionObservation& d, std::string_view indent) {
  auto out = std::back_inserter(page);
  fmt::format_to(out, "{}Where is it lost?     {}\n", indent, where_lost(d));
  fmt::format_to(out, "{}Is it congestion?     {}\n", indent, is_it_congestion(d));
  if (d.rtt.samples > 0) fmt::format_to(out, "{}Which way waits?      {}\n", indent, which_way_waits(d));
  fmt::format_to(out, "{}What rate to set?     {}\n", indent, rate_to_set(d));
  if (d.dscp_honoured) {
    fmt::format_to(out, "{}Is DSCP honoured?     {}\n", indent, is_dscp_honoured(*d.dscp_honoured));
  }
}

void append_dscps(std::string& page, const DirectionObservation& d) {
  if (d.dscps.size() < 2) return;
  auto out = std::back_inserter(page);
  for (const DscpObservation& dscp : d.dscps) {
    fmt::format_to(out, "  DSCP {:<16} lost beyond {}", name_of(dscp.dscp),
                   share_of(dscp.loss.beyond_segments, dscp.loss.beyond, dscp.segments.data));
    if (dscp.rtt.samples > 0) {
      fmt::format_to(out, "; RTT p50 {:.2f}  p95 {:.2f} ms", milliseconds(dscp.rtt.p50),
                     milliseconds(dscp.rtt.p95));
    }
    page += '\n';
  }
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
  fmt::format_to(out, "  lost beyond the tap   {}\n",
                 share_of(d.loss.beyond_segments, d.loss.beyond, s.data));
  if (d.loss.low && d.loss.beyond_segments > 0) {
    fmt::format_to(out, "                        (95 % certain between {} and {})\n", percent(*d.loss.low),
                   percent(*d.loss.high));
  }
  fmt::format_to(out, "  lost before the tap   {}\n",
                 share_of(d.loss.before_segments, d.loss.before, s.data));
  if (d.retransmission_delay && d.retransmission_delay->samples > 0) {
    const DelayTotals& delay = *d.retransmission_delay;
    fmt::format_to(out, "  sent again after      min {:.1f}  p50 {:.1f}  p95 {:.1f}  p99 {:.1f} ms",
                   milliseconds(delay.min), milliseconds(delay.p50), milliseconds(delay.p95),
                   milliseconds(delay.p99));
    fmt::format_to(out, "  ({} fast, {} by timeout)\n", grouped(s.fast), grouped(s.timeout));
  }
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
  append_dscps(page, d);
  append_answers(page, d, "  ");
}

void append_site(std::string& page, const SiteObservation& site, double length) {
  auto out = std::back_inserter(page);
  fmt::format_to(out, "\nSITE {}\n", site.name);
  for (const DirectionObservation& d : site.directions) {
    const bool outbound = d.direction == Direction::outbound;
    if (d.sent == Bytes()) continue;
    fmt::format_to(out, "  {:<24}{} on average, {} in the busiest half second\n",
                   outbound ? "outbound" : "inbound", readable(Rate::of(d.sent, from_seconds(length))),
                   readable(d.busiest));
    const bool lost = d.loss.beyond_segments + d.loss.before_segments > 0;
    if (d.segments.data < kLeastSegmentsForRatio && !lost) continue;  // nothing to tell
    fmt::format_to(out, "    lost beyond           {}\n",
                   share_of(d.loss.beyond_segments, d.loss.beyond, d.segments.data));
    if (d.loss.before_segments > 0) {
      fmt::format_to(out, "    lost before           {}\n",
                     share_of(d.loss.before_segments, d.loss.before, d.segments.data));
    }
    append_answers(page, d, "    ");
  }
}

/// In the order of the policy; when they are too many for a page, those that sent most.
void append_sites(std::string& page, const Observation& o) {
  constexpr std::size_t kShown = 32;
  std::vector<const SiteObservation*> shown;
  shown.reserve(o.sites.size());
  for (const SiteObservation& site : o.sites) shown.push_back(&site);
  if (shown.size() > kShown) {
    const auto more = [](const SiteObservation* a, const SiteObservation* b) {
      return a->sent() != b->sent() ? a->sent() > b->sent() : a < b;
    };
    std::partial_sort(shown.begin(), shown.begin() + kShown, shown.end(), more);
    shown.resize(kShown);
    std::sort(shown.begin(), shown.end());
  }
  for (const SiteObservation* site : shown) append_site(page, *site, o.seconds);
  if (o.sites.size() > shown.size()) {
    fmt::format_to(std::back_inserter(page), "\n{} more sites sent less than these: --json has them all.\n",
                   o.sites.size() - shown.size());
  }
}

[[nodiscard]] std::string endpoint(const IpAddress& address, std::uint16_t port) {
  const bool v6 = address.family == Family::v6;
  return fmt::format("{}{}{}:{}", v6 ? "[" : "", address.to_string(), v6 ? "]" : "", port);
}

/// Counts of both directions: "12/3".
[[nodiscard]] std::string both(std::uint64_t outbound, std::uint64_t inbound) {
  return fmt::format("{}/{}", outbound, inbound);
}

void append_flows(std::string& page, const FlowListing& flows, const Observation& o) {
  auto out = std::back_inserter(page);
  fmt::format_to(out, "\nFLOWS, the largest first: {} shown, {} more; counts are outbound/inbound\n",
                 grouped(flows.rows.size()), grouped(flows.omitted));
  std::size_t inside = 8;  // "our side", "far side"
  std::size_t far = 8;
  std::size_t site = 4;
  for (const FlowRow& row : flows.rows) {
    inside = std::max(inside, endpoint(row.inside, row.inside_port).size());
    far = std::max(far, endpoint(row.far, row.far_port).size());
    if (row.site < o.site_names.size()) site = std::max(site, o.site_names[row.site].size());
  }
  const auto line = [&](std::string_view ours, std::string_view theirs, std::string_view where,
                        const auto&... rest) {
    fmt::format_to(out, "  {:<{}}  {:<{}}", ours, inside, theirs, far);
    if (!o.site_names.empty()) fmt::format_to(out, "  {:<{}}", where, site);
    fmt::format_to(out, "  {:<9}  {:<11}  {:>8}  {:>15}  {:>15}  {:>11}  {:>11}  {:>11}  {:>15}\n", rest...);
  };
  line("our side", "far side", "site", "state", "DSCP", "seconds", "kB", "segments", "sent again", "spurious",
       "hole fills", "RTT min/mean ms");
  for (const FlowRow& row : flows.rows) {
    const FlowDirectionRow& a = row.outbound;
    const FlowDirectionRow& b = row.inbound;
    line(endpoint(row.inside, row.inside_port), endpoint(row.far, row.far_port),
         row.site < o.site_names.size() ? o.site_names[row.site] : "", to_string(row.state),
         fmt::format("{}/{}", name_of(a.dscp), name_of(b.dscp)),
         fmt::format("{:.1f}", seconds(row.last - row.first)),
         both(a.sent.count() / 1000, b.sent.count() / 1000), both(a.segments, b.segments),
         both(a.retransmitted, b.retransmitted), both(a.spurious, b.spurious), both(a.hole_fill, b.hole_fill),
         a.least_rtt > Duration::zero()
             ? fmt::format("{:.1f}/{:.1f}", milliseconds(a.least_rtt), milliseconds(a.smoothed_rtt))
             : "-");
  }
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
  if (o.one_in > 1) {
    fmt::format_to(out, "The capture cannot keep up: one connection in {} is followed.\n", o.one_in);
  }
  if (o.unsampled > 0) {
    fmt::format_to(out, "{} TCP packets were of connections not followed for that: only their bytes count.\n",
                   grouped(o.unsampled));
  }
  if (o.truncated) page += "The file ends in the middle of a record; this is what it held.\n";
  if (o.malformed > 0) fmt::format_to(out, "{} frames were malformed.\n", grouped(o.malformed));
  if (o.opaque > 0) fmt::format_to(out, "{} frames were not IP.\n", grouped(o.opaque));
  if (o.flows_refused > 0) {
    fmt::format_to(out, "{} packets were of connections too many to follow: only their bytes are counted.\n",
                   grouped(o.flows_refused));
  }
  if (o.one_directional) {
    page +=
        "Only one direction is visible: hardly a connection shows its answers (a mirror port that carries "
        "one?).\n"
        "Unknown for that reason: RTT, queue, capacity, the rate to set. What is called lost on the far side "
        "of\n"
        "the tap is no less than what was: retransmissions that were for nothing are among it.\n";
  } else if (o.one_way > 0) {
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
  append_sites(page, o);
  if (o.flows) append_flows(page, *o.flows, o);
  return page;
}

}  // namespace weir
