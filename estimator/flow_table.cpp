#include "estimator/flow_table.hpp"

#include <cstring>
#include <tuple>

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

constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;

[[nodiscard]] std::uint32_t v4_word(const IpAddress& address) {
  std::uint32_t word = 0;
  std::memcpy(&word, address.bytes.data(), sizeof word);
  return word;
}

/// Both halves of the product folded: every bit of either factor reaches every bit of it.
[[nodiscard]] std::uint64_t fold_product(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{a} * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

/// The second factor is odd and holds half of the seed, so that nobody who does not know it can zero it.
[[nodiscard]] std::uint32_t hash_of_ends(const std::array<std::uint64_t, 4>& addresses, std::uint32_t ports,
                                         Family family, std::uint64_t seed) {
  const std::uint64_t factor = seed * kGolden | 1U;
  std::uint64_t h = fold_product(addresses[0] ^ seed, factor ^ std::uint64_t{ports} << 1U);
  if (family == Family::v6) {
    h = fold_product(h ^ addresses[1], factor);
    h = fold_product(h ^ addresses[2], factor);
    h = fold_product(h ^ addresses[3], factor);
  }
  return static_cast<std::uint32_t>(fold_product(h ^ seed, factor) >> 16U);
}

/// Of a tracking: all that a segment in its turn or its ACK touches.
constexpr std::size_t kTrackingPrefetched = offsetof(Tracking, seen) + sizeof(Tracking::seen);

template <std::size_t kBytes>
inline void prefetch_lines(const void* object) {
  constexpr std::size_t kLine = 64;
  for (std::size_t at = 0; at < kBytes; at += kLine)
    __builtin_prefetch(static_cast<const char*>(object) + at);
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

bool FlowTable::is_stale(const Flow& flow, TimePoint now) {
  const Duration idle = flow.last_seen.before(now);
  if (flow.closed) return idle > kClosedExpiry;
  return idle > (flow.answered ? kIdleExpiry : kUnansweredExpiry);
}

bool FlowTable::may_give_way(const Flow& flow, TimePoint now) {
  return !flow.answered || flow.closed || flow.last_seen.before(now) > kLeastIdle;
}

}  // namespace weir
