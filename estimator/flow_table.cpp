#include "estimator/flow_table.hpp"

#include <cstring>

#include <endian.h>

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Longer than the longest back-off a sender is likely to be in (RFC 6298 allows 60 s) while it still counts.
constexpr Duration kIdleExpiry = 60s;
/// SYNs are repeated after 1, 3, 7, 15 and 31 s.
constexpr Duration kUnansweredExpiry = 35s;
/// Never taken from a flow that is merely far away.
constexpr Duration kLeastIdle = 10s;

}  // namespace

std::uint32_t FlowTable::hash_of(const Flow& flow) {
  if (flow.is_v6) return hash_of_ends(pair_of(flow), flow.ports, Family::v6, factor_);
  return hash_of_ends({flow.addresses, 0, 0, 0}, flow.ports, Family::v4, factor_);
}

IpAddress FlowTable::address_of(const Flow& flow, End end) {
  if (!flow.is_v6) return address_v4(flow.addresses, end);
  std::array<std::uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), &pair_of(flow)[end * std::size_t{2}], sizeof bytes);
  return IpAddress::from_v6(bytes);
}

Flow* FlowTable::create(const FlowKey& key) {
  const auto number = flows_.acquire();
  if (!number) return nullptr;
  Flow& flow = flows_[*number];
  flow.ports = key.ports;
  flow.number = next_number_++;
  flow.first_sender = key.sender & 1U;
  if (key.family == Family::v4) {
    flow.addresses = key.addresses[0];
  } else {
    flow.is_v6 = true;
    flow.addresses = *v6_pairs_.acquire(key.addresses);  // as many as flows: there is room
  }
  index_.insert(key.hash, *number);
  return &flow;
}

void FlowTable::remove(Number number) {
  Flow& flow = flows_[number];
  ++removed_;
  index_.erase(hash_of(flow), number);
  if (flow.is_v6) v6_pairs_.release(pair_number(flow));
  flows_.release(number);
}

bool FlowTable::follows(const std::array<std::uint64_t, 4>& addresses, std::uint32_t ports) const {
  const std::uint64_t words = addresses[0] ^ addresses[1] ^ addresses[2] ^ addresses[3];
  const auto folded = static_cast<std::uint32_t>(words ^ words >> 32U);
  const auto both_ports = static_cast<std::uint16_t>(ports ^ ports >> 16U);
  return sample_.follows(be32toh(htole32(folded)), be16toh(htole16(both_ports)));
}

bool FlowTable::follows_still(const Flow& flow) {
  if (sample_.one_in == 1) return true;
  if (flow.is_v6) return follows(pair_of(flow), flow.ports);
  return follows({flow.addresses, 0, 0, 0}, flow.ports);
}

bool FlowTable::is_stale(const Flow& flow, TimePoint now) {
  const Duration idle = flow.last_seen.before(now);
  if (flow.closed) return is_over(flow, now);
  return idle > (flow.answered ? kIdleExpiry : kUnansweredExpiry);
}

bool FlowTable::may_give_way(const Flow& flow, TimePoint now) {
  return !flow.answered || flow.closed || flow.last_seen.before(now) > kLeastIdle;
}

}  // namespace weir
