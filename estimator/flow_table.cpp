#include "estimator/flow_table.hpp"

#include <cstring>
#include <tuple>

#include <endian.h>

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

[[nodiscard]] std::uint32_t v4_word(const IpAddress& address) {
  std::uint32_t word = 0;
  std::memcpy(&word, address.bytes.data(), sizeof word);
  return word;
}

[[nodiscard]] std::uint32_t hash_of_ends(const std::array<std::uint64_t, 4>& addresses, std::uint32_t ports,
                                         Family family, std::uint64_t seed) {
  std::uint64_t h = mix_bits(addresses[0] ^ seed) ^ ports;
  if (family == Family::v6) {
    h = mix_bits(h ^ addresses[1]);
    h = mix_bits(h ^ addresses[2]);
    h ^= addresses[3];
  }
  return static_cast<std::uint32_t>(mix_bits(h) >> 16U);
}

/// Of a tracking: all that a segment in its turn or its ACK touches.
constexpr std::size_t kTrackingPrefetched = offsetof(Tracking, seen) + sizeof(Tracking::seen);

void prefetch_lines(const void* object, std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  for (std::size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(static_cast<const char*>(object) + at);
}

}  // namespace

FlowKey key_of(const PacketRecord& record, std::uint64_t seed) {
  FlowKey key;
  key.family = record.source.family;
  if (key.family == Family::v4) {
    const std::uint32_t source = v4_word(record.source);
    const std::uint32_t destination = v4_word(record.destination);
    const std::uint64_t from = std::uint64_t{source} << 16U | record.source_port;
    const std::uint64_t to = std::uint64_t{destination} << 16U | record.destination_port;
    key.sender = from <= to ? 0 : 1;
    key.addresses[0] = key.sender == 0 ? std::uint64_t{source} << 32U | destination
                                       : std::uint64_t{destination} << 32U | source;
  } else {
    const auto source = words_of(record.source);
    const auto destination = words_of(record.destination);
    key.sender =
        std::tie(source, record.source_port) <= std::tie(destination, record.destination_port) ? 0 : 1;
    const auto& first = key.sender == 0 ? source : destination;
    const auto& second = key.sender == 0 ? destination : source;
    key.addresses = {first[0], first[1], second[0], second[1]};
  }
  key.ports = key.sender == 0 ? std::uint32_t{record.source_port} << 16U | record.destination_port
                              : std::uint32_t{record.destination_port} << 16U | record.source_port;
  key.hash = hash_of_ends(key.addresses, key.ports, key.family, seed);
  return key;
}

std::uint32_t FlowTable::hash_of(const Flow& flow) {
  if (flow.is_v6) return hash_of_ends(v6_pairs_[flow.addresses[0]], flow.ports, Family::v6, seed_);
  return hash_of_ends({std::uint64_t{flow.addresses[0]} << 32U | flow.addresses[1], 0, 0, 0}, flow.ports,
                      Family::v4, seed_);
}

bool FlowTable::is(Number number, const FlowKey& key) {
  const Flow& flow = flows_[number];
  if (flow.ports != key.ports) return false;
  if (key.family == Family::v4) {
    return !flow.is_v6 && (std::uint64_t{flow.addresses[0]} << 32U | flow.addresses[1]) == key.addresses[0];
  }
  return flow.is_v6 && v6_pairs_[flow.addresses[0]] == key.addresses;
}

void FlowTable::prefetch_flow(FlowKey& key) {
  key.likely = index_.find(key.hash, [](Number) { return true; });
  if (key.likely != FlowIndex::kNone) prefetch_lines(&flows_[key.likely], sizeof(Flow));
}

void FlowTable::prefetch_tracking(const FlowKey& key) {
  if (key.likely == FlowIndex::kNone) return;
  for (const HalfFlow& half : flows_[key.likely].halves) {
    if (half.tracking() != TrackingPool::kNone)
      prefetch_lines(&trackings_[half.tracking()], kTrackingPrefetched);
  }
}

void FlowTable::prefetch_ring(const FlowKey& key) {
  if (key.likely == FlowIndex::kNone) return;
  for (const HalfFlow& half : flows_[key.likely].halves) {
    if (half.tracking() != TrackingPool::kNone) trackings_[half.tracking()].ring.prefetch_ends();
  }
}

Flow* FlowTable::create(const FlowKey& key) {
  const auto number = flows_.acquire();
  if (!number) return nullptr;
  Flow& flow = flows_[*number];
  flow.ports = key.ports;
  flow.number = next_number_++;
  flow.first_sender = key.sender & 1U;
  if (key.family == Family::v4) {
    flow.addresses = {static_cast<std::uint32_t>(key.addresses[0] >> 32U),
                      static_cast<std::uint32_t>(key.addresses[0])};
  } else {
    flow.is_v6 = true;
    flow.addresses = {*v6_pairs_.acquire(key.addresses), 0};  // as many as flows: there is room
  }
  index_.insert(key.hash, *number);
  return &flow;
}

void FlowTable::remove(Number number) {
  Flow& flow = flows_[number];
  index_.erase(hash_of(flow), number);
  if (flow.is_v6) v6_pairs_.release(flow.addresses[0]);
  flows_.release(number);
}

bool FlowTable::follows(const std::array<std::uint64_t, 4>& addresses, std::uint32_t ports) const {
  const std::uint64_t words = addresses[0] ^ addresses[1] ^ addresses[2] ^ addresses[3];
  const auto folded = static_cast<std::uint32_t>(words ^ words >> 32U);
  return sample_.follows(be32toh(folded), (ports ^ ports >> 16U) & 0xffffU);
}

bool FlowTable::follows_still(const Flow& flow) {
  if (sample_.one_in == 1) return true;
  if (flow.is_v6) return follows(v6_pairs_[flow.addresses[0]], flow.ports);
  return follows({std::uint64_t{flow.addresses[0]} << 32U | flow.addresses[1], 0, 0, 0}, flow.ports);
}

bool FlowTable::is_stale(const Flow& flow, TimePoint now) {
  const Duration idle = flow.last_seen.before(now);
  if (flow.closed) return idle > kClosedExpiry;
  return idle > (flow.answered ? kIdleExpiry : kUnansweredExpiry);
}

bool FlowTable::may_give_way(const Flow& flow, TimePoint now) {
  return !flow.answered || flow.closed || flow.last_seen.before(now) > kLeastIdle;
}

}  // namespace weir
