/// The connections that are tracked: a bounded table with expiry.
///
/// Pure, not thread-safe. A flow is two cache lines in a slab, whose address stays valid; an index of hashes
/// finds it (flow_index). When the table is full a flow that never got an answer, or else one long idle,
/// gives way; a newcomer that finds neither is refused, so that a flood of SYNs costs nobody else's
/// measurement. Under overload only a share of the connections is followed, chosen by their hash.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "estimator/coarse_time.hpp"
#include "estimator/corroboration.hpp"
#include "estimator/flow_index.hpp"
#include "estimator/flow_key.hpp"
#include "estimator/flow_sampling.hpp"
#include "estimator/half_flow.hpp"
#include "estimator/parse.hpp"
#include "estimator/sides.hpp"
#include "estimator/slab.hpp"
#include "estimator/tracking.hpp"

namespace weir {

struct alignas(64) Flow {
  std::array<HalfFlow, 2> halves;  ///< [e] carries the data that end e sends
  std::uint64_t addresses = 0;     ///< of IPv4, both; of IPv6 the number of the pair
  std::uint32_t ports = 0;
  std::uint32_t number = 0;  ///< tells this flow from others, also from earlier ones in the same place
  SlowTime last_seen;
  std::uint32_t path : 21 = 0;  ///< of the data that end 0 sends: two a site, outbound and inbound
  std::uint32_t basis : 3 = 0;  ///< SideBasis
  bool is_v6 : 1 = false;
  End first_sender : 1 = 0;
  bool answered : 1 = false;      ///< both ends were seen
  bool closed : 1 = false;        ///< a RST, or a FIN from both ends
  std::uint8_t finished : 2 = 0;  ///< a bit for each end: its FIN was seen

  void place(const Placement& at) {
    path = (at.site << 1U | (at.source_inside ? 0U : 1U)) & 0x1fffffU;
    basis = static_cast<std::uint32_t>(at.basis) & 7U;
  }
  /// Of the data that `end` sends: that of the other end's is its neighbour.
  [[nodiscard]] std::uint32_t path_of(End end) const { return path ^ end; }
  [[nodiscard]] std::uint32_t site() const { return path >> 1U; }
  /// End 0 is on our side.
  [[nodiscard]] bool source_inside() const { return (path & 1U) == 0; }
  /// Neither said by the policy nor told by whose answers come sooner.
  [[nodiscard]] bool side_is_a_guess() const {
    const auto by = static_cast<SideBasis>(basis);
    return by != SideBasis::configured && by != SideBasis::nearness;
  }
  /// 0 when either is not known.
  [[nodiscard]] std::uint16_t least_mss() const {
    return std::min(halves[0].offered_mss(), halves[1].offered_mss());
  }
  /// Agreed on by both SYNs; 0: one was not seen, or told none.
  [[nodiscard]] std::uint16_t mss() const {
    const std::uint16_t a = halves[0].offered_mss();
    const std::uint16_t b = halves[1].offered_mss();
    return a == 0 || b == 0 ? std::uint16_t{0} : std::min(a, b);
  }
};
static_assert(sizeof(Flow) == 128, "a flow is two cache lines");

struct FlowLimits {
  std::size_t flows = 262'144;
  std::size_t in_flight = 131'072;   ///< directions with data in flight, or just before
  std::size_t segments = 1U << 20U;  ///< in flight over all flows, beside the first few of each
};

class FlowTable {
 public:
  FlowTable(const FlowLimits& limits, std::uint64_t seed)
      : factor_(hash_factor(seed)),
        flows_(limits.flows),
        v6_pairs_(limits.flows),
        trackings_(limits.in_flight, limits.segments) {}

  [[nodiscard]] FlowKey key_of(const PacketRecord& record) const {
    FlowKey key;
    find_ends(record, key);
    find_hash(key);
    return key;
  }
  void find_hash(FlowKey& key) const {
    key.hash = hash_of_ends(key.addresses, key.ports, key.family, factor_);
  }

  /// Connections that are followed no more leave with the next ten calls of `expire`: what they send
  /// meanwhile must not look like a hole when they are followed again.
  void follow(const FlowSample& sample) {
    sample_ = sample;
    hurried_calls_ = kHurriedCalls;
  }
  [[nodiscard]] bool follows(const FlowKey& key) const {
    return sample_.one_in == 1 || follows(addresses_of(key), key.ports);
  }

  // -- a group of packets asks for its memory before it needs it: the index, the flow, what it has in flight,
  //    and the end of that, each a step behind the other. What was found (FlowKey::likely) is good until a
  //    flow is removed: whoever holds keys has to forget it then. --
  [[gnu::always_inline]] void prefetch_index(const FlowKey& key) const { index_.prefetch(key.hash); }
  void prefetch_flow(FlowKey& key) {
    const Number number = index_.find(key.hash, [](Number) { return true; });
    if (number == FlowIndex::kNone) return;
    key.likely = &flows_[number];
    prefetch_lines<2>(key.likely);
  }
  /// So many flows have been.
  [[nodiscard]] std::uint64_t removed() const { return removed_; }
  /// `data`: of the half that the sender's data belong to; else of the one that they acknowledge.
  [[gnu::always_inline]] void prefetch_tracking(const FlowKey& key, bool data) {
    if (const Tracking* t = likely_tracking(key, data)) prefetch_lines<Tracking::kUsualLines>(t);
  }
  [[gnu::always_inline]] void prefetch_ring(const FlowKey& key, bool data) {
    if (const Tracking* t = likely_tracking(key, data)) t->ring.prefetch_end(data);
  }
  /// The flow that prefetch_flow found, unless it turned out to be another's or may be over; nullptr: ask
  /// find_or_create.
  [[nodiscard]] Flow* likely(const FlowKey& key, TimePoint now) {
    if (key.likely == nullptr || !is(*key.likely, key)) [[unlikely]]
      return nullptr;
    if (key.likely->last_seen.is_longer_before(now, kClosedExpiry)) [[unlikely]]
      return nullptr;
    return key.likely;
  }
  struct Found {
    Flow* flow = nullptr;  ///< nullptr: the table is full and nothing could give way
    bool created = false;
  };
  /// `retire(Flow&)` is called before a flow is forgotten.
  template <typename Retire>
  [[nodiscard]] Found find_or_create(const FlowKey& key, TimePoint now, Retire&& retire);

  /// Looks at a fiftieth of the slab each call, so that fifty calls see all of it; at a tenth after `follow`.
  template <typename Retire>
  void expire(TimePoint now, Retire&& retire);

  [[nodiscard]] IpAddress address_of(const Flow& flow, End end);
  [[nodiscard]] RemoteKey remote_of(const Flow& flow, End end) { return remote_key(address_of(flow, end)); }

  [[nodiscard]] std::size_t size() const { return flows_.size(); }
  [[nodiscard]] std::uint64_t evicted() const { return evicted_; }
  [[nodiscard]] TrackingPool& trackings() { return trackings_; }
  /// Memory of flows, index and what is in flight.
  [[nodiscard]] std::size_t bytes_held() const {
    return flows_.bytes_held() + v6_pairs_.bytes_held() + index_.bytes_held() + trackings_.bytes_held();
  }

 private:
  using Number = FlowIndex::Number;
  using V6Pair = std::array<std::uint64_t, 4>;
  static constexpr std::size_t kVictimsLookedAt = 32;
  static constexpr Number kCallsToSeeAll = 50;
  static constexpr Number kHurriedCalls = 10;
  /// RSTs and the last ACKs of a closed connection may come late, its ports are used anew.
  static constexpr Duration kClosedExpiry = std::chrono::seconds(10);

  // The compiler drops calls of functions that only prefetch, unless they are inlined first.
  template <std::size_t kLines>
  [[gnu::always_inline]] static void prefetch_lines(const void* object) {
    constexpr std::size_t kLine = 64;
    for (std::size_t i = 0; i < kLines; ++i) __builtin_prefetch(static_cast<const char*>(object) + i * kLine);
  }
  /// What the likely flow has by now, or nothing: a flow's tracking number is good as long as the flow is.
  [[nodiscard, gnu::always_inline]] const Tracking* likely_tracking(const FlowKey& key, bool data) {
    if (key.likely == nullptr) return nullptr;
    const auto number = key.likely->halves[key.sender ^ (data ? 0U : 1U)].tracking();
    return number == TrackingPool::kNone ? nullptr : &trackings_[number];
  }
  [[nodiscard]] bool is(const Flow& flow, const FlowKey& key) {
    if (flow.ports != key.ports) return false;
    if (key.family == Family::v4) [[likely]]
      return flow.addresses == key.addresses[0] && !flow.is_v6;
    return flow.is_v6 && pair_of(flow) == key.addresses;
  }
  [[nodiscard]] Number pair_number(const Flow& flow) const { return static_cast<Number>(flow.addresses); }
  [[nodiscard]] const V6Pair& pair_of(const Flow& flow) { return v6_pairs_[pair_number(flow)]; }
  [[nodiscard]] std::uint32_t hash_of(const Flow& flow);
  [[nodiscard]] Number find(const FlowKey& key) {
    return index_.find(key.hash, [&](Number n) { return is(flows_[n], key); });
  }
  [[nodiscard]] static std::array<std::uint64_t, 4> addresses_of(const FlowKey& key) {
    return key.family == Family::v4 ? std::array<std::uint64_t, 4>{key.addresses[0]} : key.addresses;
  }
  [[nodiscard]] bool follows(const std::array<std::uint64_t, 4>& addresses, std::uint32_t ports) const;
  [[nodiscard]] bool follows_still(const Flow& flow);
  /// Closed, and nothing of it comes any more.
  [[nodiscard]] static bool is_over(const Flow& flow, TimePoint now) {
    return flow.closed && flow.last_seen.before(now) > kClosedExpiry;
  }
  [[nodiscard]] static bool is_stale(const Flow& flow, TimePoint now);
  [[nodiscard]] static bool may_give_way(const Flow& flow, TimePoint now);
  [[nodiscard]] Flow* create(const FlowKey& key);
  void remove(Number number);
  template <typename Retire>
  void make_room(TimePoint now, Retire&& retire);

  std::uint64_t factor_;  ///< of hashes
  FlowIndex index_;
  Slab<Flow, kHugePage / sizeof(Flow)> flows_;
  Slab<V6Pair> v6_pairs_;
  TrackingPool trackings_;
  Number hand_ = 0;  ///< where expiry goes on
  Number victim_hand_ = 0;
  std::uint32_t next_number_ = 1;
  FlowSample sample_;
  Number hurried_calls_ = 0;
  std::uint64_t evicted_ = 0;
  std::uint64_t removed_ = 0;
};

template <typename Retire>
FlowTable::Found FlowTable::find_or_create(const FlowKey& key, TimePoint now, Retire&& retire) {
  if (const Number known = find(key); known != FlowIndex::kNone) {
    if (!is_over(flows_[known], now)) return {.flow = &flows_[known]};
    retire(flows_[known]);  // its ports are used anew
    remove(known);
  }
  Flow* flow = create(key);
  if (flow == nullptr) {
    make_room(now, retire);
    flow = create(key);
  }
  return {.flow = flow, .created = flow != nullptr};
}

template <typename Retire>
void FlowTable::make_room(TimePoint now, Retire&& retire) {
  for (std::size_t i = 0; i < kVictimsLookedAt; ++i) {
    victim_hand_ = victim_hand_ + 1 < flows_.numbers() ? victim_hand_ + 1 : 0;
    if (!flows_.is_taken(victim_hand_) || !may_give_way(flows_[victim_hand_], now)) continue;
    ++evicted_;
    retire(flows_[victim_hand_]);
    remove(victim_hand_);
    return;
  }
}

template <typename Retire>
void FlowTable::expire(TimePoint now, Retire&& retire) {
  const Number steps = flows_.numbers() / (hurried_calls_ > 0 ? kHurriedCalls : kCallsToSeeAll) + 1;
  hurried_calls_ -= hurried_calls_ > 0 ? 1 : 0;
  for (Number i = 0; i < steps && flows_.numbers() > 0; ++i) {
    hand_ = hand_ + 1 < flows_.numbers() ? hand_ + 1 : 0;
    if (!flows_.is_taken(hand_)) continue;
    Flow& flow = flows_[hand_];
    if (is_stale(flow, now) || !follows_still(flow)) {
      retire(flow);
      remove(hand_);
    } else if (flow.last_seen.before(now) > std::chrono::seconds(2)) {
      for (HalfFlow& half : flow.halves) half.rest(trackings_);
    }
  }
}

}  // namespace weir
