#include "estimator/flow_log.hpp"

#include <algorithm>
#include <tuple>

namespace weir {
namespace {

/// The larger one first; a fixed order for equal ones, so that two runs print the same.
[[nodiscard]] bool is_larger(const FlowRow& a, const FlowRow& b) {
  const auto key = [](const FlowRow& row) {
    return std::tuple(row.first, row.inside, row.inside_port, row.far, row.far_port);
  };
  return a.sent() != b.sent() ? a.sent() > b.sent() : key(a) < key(b);
}

void put_in_order(FlowListing& listing, std::size_t most) {
  if (listing.rows.size() > most) {
    const auto last = listing.rows.begin() + static_cast<std::ptrdiff_t>(most);
    std::nth_element(listing.rows.begin(), last, listing.rows.end(), is_larger);
    listing.omitted += listing.rows.size() - most;
    listing.rows.erase(last, listing.rows.end());
  }
  std::sort(listing.rows.begin(), listing.rows.end(), is_larger);
}

}  // namespace

std::string_view to_string(FlowState state) {
  switch (state) {
    case FlowState::open:
      return "open";
    case FlowState::closed:
      return "closed";
    case FlowState::one_way:
      return "one-way";
    case FlowState::half_open:
      return "half-open";
  }
  return "unknown";
}

void FlowLog::packet(const Packet& packet, const PacketRecord& record) {
  Live& flow = live_[packet.flow];
  Half& sender = flow.halves[packet.end];
  Half& receiver = flow.halves[1U - packet.end];
  if (!sender.seen && !receiver.seen) {
    sender.address = record.source;
    sender.port = record.source_port;
    receiver.address = record.destination;
    receiver.port = record.destination_port;
    flow.first = record.time;
  }
  sender.seen = true;
  sender.row.sent += packet.charged;
  sender.row.dscp = packet.dscp;
  sender.finished = sender.finished || record.has(kTcpFin);
  flow.reset = flow.reset || record.has(kTcpRst);
  flow.only_syns = flow.only_syns && record.has(kTcpSyn);
  flow.last = record.time;
  flow.site = packet.site;
  flow.inside = packet.end_inside ? packet.end : static_cast<std::uint8_t>(1U - packet.end);
}

FlowLog::Half* FlowLog::find(std::uint32_t flow, std::uint8_t end) {
  const auto found = live_.find(flow);
  return found == live_.end() ? nullptr : &found->second.halves[end];
}

void FlowLog::classified(std::uint32_t flow, std::uint8_t end, std::uint32_t segments,
                         const SegmentVerdict& verdict) {
  Half* half = find(flow, end);
  if (half == nullptr) return;
  half->row.segments += segments;
  if (verdict.kind == SegmentClass::retransmitted) half->row.retransmitted += verdict.segments;
  if (verdict.kind == SegmentClass::spurious) half->row.spurious += verdict.segments;
  if (verdict.kind == SegmentClass::hole_fill) half->row.hole_fill += verdict.segments;
}

void FlowLog::losses_undone(std::uint32_t flow, std::uint8_t end, std::uint32_t segments) {
  Half* half = find(flow, end);
  if (half == nullptr) return;
  const std::uint64_t undone = std::min<std::uint64_t>(segments, half->row.retransmitted);
  half->row.retransmitted -= undone;
  half->row.spurious += undone;
}

void FlowLog::rtt_sampled(std::uint32_t flow, std::uint8_t end, Duration rtt) {
  Half* half = find(flow, end);
  if (half == nullptr) return;
  FlowDirectionRow& row = half->row;
  row.least_rtt = row.least_rtt == Duration::zero() ? rtt : std::min(row.least_rtt, rtt);
  half->rtt.add(rtt);
}

void FlowLog::ended(std::uint32_t flow) {
  const auto found = live_.find(flow);
  if (found == live_.end()) return;
  FlowRow row = row_of(found->second);
  live_.erase(found);
  if (ended_.size() == most_) {
    ++omitted_;
    if (!is_larger(row, ended_.front())) return;
    std::pop_heap(ended_.begin(), ended_.end(), is_larger);
    ended_.pop_back();
  }
  ended_.push_back(row);
  std::push_heap(ended_.begin(), ended_.end(), is_larger);
}

FlowState FlowLog::state_of(const Live& flow) {
  const auto& [a, b] = flow.halves;
  if (flow.reset || (a.finished && b.finished)) return FlowState::closed;
  if (a.seen && b.seen) return FlowState::open;
  return flow.only_syns ? FlowState::half_open : FlowState::one_way;
}

FlowRow FlowLog::row_of(const Live& flow) {
  const Half& inside = flow.halves[flow.inside];
  const Half& far = flow.halves[1U - flow.inside];
  const auto with_rtt = [](const Half& half) {
    FlowDirectionRow row = half.row;
    row.smoothed_rtt = half.rtt.mean();
    return row;
  };
  return {.inside = inside.address,
          .far = far.address,
          .inside_port = inside.port,
          .far_port = far.port,
          .site = flow.site,
          .state = state_of(flow),
          .first = flow.first,
          .last = flow.last,
          .outbound = with_rtt(inside),
          .inbound = with_rtt(far)};
}

FlowListing FlowLog::listing() const {
  FlowListing listing{.rows = ended_, .omitted = omitted_};
  listing.rows.reserve(ended_.size() + live_.size());
  for (const auto& [number, flow] : live_) listing.rows.push_back(row_of(flow));
  put_in_order(listing, most_);
  return listing;
}

FlowListing merged(std::span<const FlowListing* const> listings, std::size_t most) {
  FlowListing all;
  for (const FlowListing* listing : listings) {
    all.rows.insert(all.rows.end(), listing->rows.begin(), listing->rows.end());
    all.omitted += listing->omitted;
  }
  put_in_order(all, most);
  return all;
}

}  // namespace weir
