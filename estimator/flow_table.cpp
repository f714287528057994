#include "estimator/flow_table.hpp"

#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Longer than the longest back-off a sender is likely to be in (RFC 6298 allows 60 s) while it still counts.
constexpr Duration kIdleExpiry = 60s;
/// SYNs are repeated after 1, 3, 7, 15 and 31 s.
constexpr Duration kUnansweredExpiry = 35s;
/// RSTs and the last ACKs of a closed connection may come late, its ports are used anew.
constexpr Duration kClosedExpiry = 10s;
/// Never taken from a flow that is merely far away.
constexpr Duration kLeastIdle = 10s;

}  // namespace

std::size_t FlowKeyHash::operator()(const FlowKey& key) const {
  std::uint64_t h = mix_bits(key.addresses[0] ^ key.ports);
  h = mix_bits(h ^ key.addresses[2]);
  if (key.family == Family::v6) h = mix_bits(mix_bits(h ^ key.addresses[1]) ^ key.addresses[3]);
  return static_cast<std::size_t>(h);
}

FlowKey key_of(const PacketRecord& record, End& sender) {
  const auto source = words_of(record.source);
  const auto destination = words_of(record.destination);
  sender = std::pair(source, record.source_port) <= std::pair(destination, record.destination_port) ? 0 : 1;
  const auto& first = sender == 0 ? source : destination;
  const auto& second = sender == 0 ? destination : source;
  const std::uint32_t first_port = sender == 0 ? record.source_port : record.destination_port;
  const std::uint32_t second_port = sender == 0 ? record.destination_port : record.source_port;
  return {.addresses = {first[0], first[1], second[0], second[1]},
          .ports = first_port << 16 | second_port,
          .family = record.source.family};
}

FlowTable::FlowTable(std::size_t max_flows, std::size_t max_segments)
    : max_flows_(max_flows), budget_{.limit = max_segments, .used = 0} {}

bool FlowTable::take_slot(std::uint32_t& slot) {
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
    return true;
  }
  if (slots_ >= max_flows_) return false;
  if (slots_ % kChunk == 0) chunks_.push_back(std::make_unique<Flow[]>(kChunk));
  slot = slots_++;
  return true;
}

bool FlowTable::is_stale(const Flow& flow, TimePoint now) const {
  const Duration idle = now - flow.last_seen;
  if (flow.closed) return idle > kClosedExpiry;
  return idle > (flow.answered ? kIdleExpiry : kUnansweredExpiry);
}

bool FlowTable::may_give_way(const Flow& flow, TimePoint now) const {
  return !flow.answered || flow.closed || now - flow.last_seen > kLeastIdle;
}

}  // namespace weir
