#include "estimator/flow_table.hpp"

#include <cstddef>

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

/// Of a tracking: all that a segment in its turn or its ACK touches.
constexpr std::size_t kTrackingPrefetched = offsetof(Tracking, seen) + sizeof(Tracking::seen);

template <std::size_t kBytes>
inline void prefetch_lines(const void* object) {
  constexpr std::size_t kLine = 64;
  for (std::size_t at = 0; at < kBytes; at += kLine)
    __builtin_prefetch(static_cast<const char*>(object) + at);
}

}  // namespace

std::uint32_t FlowTable::hash_of(const Flow& flow) {
  if (flow.is_v6) return hash_of_ends(v6_pairs_[flow.addresses[0]], flow.ports, Family::v6, seed_);
  return hash_of_ends({std::uint64_t{flow.addresses[0]} << 32U | flow.addresses[1], 0, 0, 0}, flow.ports,
                      Family::v4, seed_);
}

void FlowTable::prefetch_flow(FlowKey& key) {
  const Number likely = index_.find(key.hash, [](Number) { return true; });
  if (likely == FlowIndex::kNone) return;
  key.likely = &flows_[likely];
  key.as_of = removed_;
  prefetch_lines<sizeof(Flow)>(key.likely);
}

void FlowTable::prefetch_tracking(const FlowKey& key) {
  if (key.likely == nullptr) return;
  for (const HalfFlow& half : key.likely->halves) {
    if (half.tracking() != TrackingPool::kNone)
      prefetch_lines<kTrackingPrefetched>(&trackings_[half.tracking()]);
  }
}

void FlowTable::prefetch_ring(const FlowKey& key) {
  if (key.likely == nullptr) return;
  for (const HalfFlow& half : key.likely->halves) {
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
  ++removed_;
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
