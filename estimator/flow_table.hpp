/// The connections that are tracked: a bounded table with expiry.
///
/// Pure, not thread-safe. A flow is two cache lines in a slab, whose address stays valid; an index of hashes
/// finds it (flow_index). When the table is full a flow that never got an answer, or else one long idle,
/// gives way; a newcomer that finds neither is refused, so that a flood of SYNs costs nobody else's
/// measurement. Under overload only a share of the connections is followed, chosen by their hash.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "estimator/coarse_time.hpp"
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
  std::array<HalfFlow, 2> halves;            ///< [e] carries the data that end e sends
  std::array<std::uint32_t, 2> addresses{};  ///< of IPv4; of IPv6 the number of the pair, and 0
  std::uint32_t ports = 0;
  std::uint32_t number = 0;  ///< tells this flow from others, also from earlier ones in the same place
  SlowTime last_seen;
  std::uint32_t site : 20 = 0;
  std::uint32_t basis : 3 = 0;     ///< SideBasis
  bool source_inside : 1 = false;  ///< end 0 is on our side
  bool is_v6 : 1 = false;
  End first_sender : 1 = 0;
  bool answered : 1 = false;      ///< both ends were seen
  bool closed : 1 = false;        ///< a RST, or a FIN from both ends
  std::uint8_t finished : 2 = 0;  ///< a bit for each end: its FIN was seen

  void place(const Placement& at) {
    site = at.site & 0xfffffU;
    basis = static_cast<std::uint32_t>(at.basis) & 7U;
    source_inside = at.source_inside;
  }
  /// Neither said by the policy nor told by whose answers come sooner.
  [[nodiscard]] bool side_is_a_guess() const {
    const auto by = static_cast<SideBasis>(basis);
    return by != SideBasis::configured && by != SideBasis::nearness;
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
      : seed_(seed),
        flows_(limits.flows),
        v6_pairs_(limits.flows),
        trackings_(limits.in_flight, limits.segments) {}

  [[nodiscard]] FlowKey key_of(const PacketRecord& record) const { return weir::key_of(record, seed_); }
  void find_key(const PacketRecord& record, FlowKey& key) const { weir::find_key(record, seed_, key); }

  /// Connections that are followed no more leave with the next ten calls of `expire`.
  void follow(const FlowSample& sample) { sample_ = sample; }
  [[nodiscard]] bool follows(const FlowKey& key) const {
    return sample_.one_in == 1 || follows(key.addresses, key.ports);
  }

  // -- a batch of packets asks for its memory before it needs it: the index, the flow, what it has in flight,
  //    and both ends of that, each a step behind the other, with nothing done to the table in between --
  void prefetch_index(const FlowKey& key) const { index_.prefetch(key.hash); }
  void prefetch_flow(FlowKey& key);
  void prefetch_tracking(const FlowKey& key);
  void prefetch_ring(const FlowKey& key);

  struct Found {
    Flow* flow = nullptr;  ///< nullptr: the table is full and nothing could give way
    bool created = false;
  };
  /// `retire(Flow&)` is called before a flow is forgotten.
  template <typename Retire>
  [[nodiscard]] Found find_or_create(const FlowKey& key, TimePoint now, Retire&& retire);

  /// Looks at a tenth of the slab each call, so that ten calls see all of it.
  template <typename Retire>
  void expire(TimePoint now, Retire&& retire);

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

  [[nodiscard]] bool is(const Flow& flow, const FlowKey& key) {
    if (flow.ports != key.ports || flow.is_v6 != (key.family == Family::v6)) return false;
    if (flow.is_v6) return v6_pairs_[flow.addresses[0]] == key.addresses;
    return (std::uint64_t{flow.addresses[0]} << 32U | flow.addresses[1]) == key.addresses[0];
  }
  [[nodiscard]] std::uint32_t hash_of(const Flow& flow);
  [[nodiscard]] Number find(const FlowKey& key) {
    return index_.find(key.hash, [&](Number n) { return is(flows_[n], key); });
  }
  [[nodiscard]] bool follows(const std::array<std::uint64_t, 4>& addresses, std::uint32_t ports) const;
  [[nodiscard]] bool follows_still(const Flow& flow);
  [[nodiscard]] static bool is_stale(const Flow& flow, TimePoint now);
  [[nodiscard]] static bool may_give_way(const Flow& flow, TimePoint now);
  [[nodiscard]] Flow* create(const FlowKey& key);
  void remove(Number number);
  template <typename Retire>
  void make_room(TimePoint now, Retire&& retire);

  std::uint64_t seed_;
  FlowIndex index_;
  Slab<Flow> flows_;
  Slab<V6Pair> v6_pairs_;
  TrackingPool trackings_;
  Number hand_ = 0;  ///< where expiry goes on
  Number victim_hand_ = 0;
  std::uint32_t next_number_ = 1;
  FlowSample sample_;
  std::uint64_t evicted_ = 0;
  std::uint64_t removed_ = 0;
};

template <typename Retire>
FlowTable::Found FlowTable::find_or_create(const FlowKey& key, TimePoint now, Retire&& retire) {
  if (key.likely != nullptr && key.as_of == removed_ && is(*key.likely, key)) return {.flow = key.likely};
  if (const Number known = find(key); known != FlowIndex::kNone) return {.flow = &flows_[known]};
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
  const Number steps = flows_.numbers() / 10 + 1;
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
