/// The connections that are tracked: a bounded table with expiry.
///
/// Pure. Flows live in a slab whose addresses stay valid; a hash map finds them. When the table is full a
/// flow that never got an answer, or else one long idle, gives way; a newcomer that finds neither is refused,
/// so that a flood of SYNs costs nobody else's measurement.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "estimator/half_flow.hpp"
#include "estimator/parse.hpp"
#include "estimator/sides.hpp"

namespace weir {

/// Both ends of a connection, the smaller one first, so that both directions find the same flow.
struct FlowKey {
  std::array<std::uint64_t, 4> addresses{};
  std::uint32_t ports = 0;
  Family family = Family::v4;
  bool operator==(const FlowKey&) const = default;
};

struct FlowKeyHash {
  std::size_t operator()(const FlowKey& key) const;
};

/// Index of an end: 0 is the smaller one of the key.
using End = std::uint8_t;

struct Flow {
  FlowKey key;
  TimePoint last_seen;
  Placement placement;       ///< source_inside speaks of end 0
  std::uint32_t number = 0;  ///< tells this flow from others, also from earlier ones in the same slot
  bool used = false;
  bool answered = false;  ///< both ends were seen
  bool closed = false;    ///< a RST, or a FIN from both ends
  std::array<bool, 2> finished{};
  End first_sender = 0;
  std::array<std::uint8_t, 2> dscp{};  ///< of the data that an end sends, as last seen; for the accounts only
  std::array<HalfFlow, 2> halves;      ///< [e] carries the data that end e sends
};

class FlowTable {
 public:
  FlowTable(std::size_t max_flows, std::size_t max_segments);

  struct Found {
    Flow* flow = nullptr;  ///< nullptr: the table is full and nothing could give way
    End sender = 0;
    bool created = false;
  };
  /// `retire(Flow&)` is called before a flow is forgotten.
  template <typename Retire>
  [[nodiscard]] Found find_or_create(const PacketRecord& record, Retire&& retire);

  /// Looks at a tenth of the slab each call, so that ten calls see all of it.
  template <typename Retire>
  void expire(TimePoint now, Retire&& retire);

  [[nodiscard]] std::size_t size() const { return index_.size(); }
  [[nodiscard]] std::uint64_t evicted() const { return evicted_; }
  [[nodiscard]] SegmentBudget& budget() { return budget_; }

 private:
  static constexpr std::size_t kChunk = 256;
  static constexpr std::size_t kVictimsLookedAt = 32;

  [[nodiscard]] Flow& at(std::uint32_t slot) { return chunks_[slot / kChunk][slot % kChunk]; }
  [[nodiscard]] bool is_stale(const Flow& flow, TimePoint now) const;
  [[nodiscard]] bool may_give_way(const Flow& flow, TimePoint now) const;
  [[nodiscard]] bool take_slot(std::uint32_t& slot);
  template <typename Retire>
  void forget(std::uint32_t slot, Retire&& retire) {
    Flow& flow = at(slot);
    retire(flow);
    index_.erase(flow.key);
    flow = Flow();
    free_.push_back(slot);
  }
  template <typename Retire>
  void make_room(TimePoint now, Retire&& retire);

  std::size_t max_flows_;
  SegmentBudget budget_;
  boost::unordered_flat_map<FlowKey, std::uint32_t, FlowKeyHash> index_;
  std::vector<std::unique_ptr<Flow[]>> chunks_;
  std::vector<std::uint32_t> free_;
  std::uint32_t slots_ = 0;  ///< ever used
  std::uint32_t hand_ = 0;   ///< where expiry goes on
  std::uint32_t victim_hand_ = 0;
  std::uint32_t next_number_ = 1;
  std::uint64_t evicted_ = 0;
};

/// The key of a packet's connection and which end sent it.
[[nodiscard]] FlowKey key_of(const PacketRecord& record, End& sender);

template <typename Retire>
FlowTable::Found FlowTable::find_or_create(const PacketRecord& record, Retire&& retire) {
  Found found;
  const FlowKey key = key_of(record, found.sender);
  if (const auto known = index_.find(key); known != index_.end()) {
    found.flow = &at(known->second);
    return found;
  }
  if (index_.size() >= max_flows_) make_room(record.time, retire);
  std::uint32_t slot = 0;
  if (!take_slot(slot)) return found;
  index_.emplace(key, slot);
  Flow& flow = at(slot);
  flow.key = key;
  flow.used = true;
  flow.number = next_number_++;
  flow.first_sender = found.sender;
  found.flow = &flow;
  found.created = true;
  return found;
}

template <typename Retire>
void FlowTable::make_room(TimePoint now, Retire&& retire) {
  for (std::size_t i = 0; i < kVictimsLookedAt && slots_ > 0; ++i) {
    victim_hand_ = (victim_hand_ + 1) % slots_;
    if (at(victim_hand_).used && may_give_way(at(victim_hand_), now)) {
      ++evicted_;
      forget(victim_hand_, retire);
      return;
    }
  }
}

template <typename Retire>
void FlowTable::expire(TimePoint now, Retire&& retire) {
  const std::uint32_t steps = slots_ / 10 + 1;
  for (std::uint32_t i = 0; i < steps && slots_ > 0; ++i) {
    hand_ = (hand_ + 1) % slots_;
    Flow& flow = at(hand_);
    if (!flow.used) continue;
    if (is_stale(flow, now)) {
      forget(hand_, retire);
    } else if (now - flow.last_seen > std::chrono::seconds(2)) {
      for (HalfFlow& half : flow.halves) half.rest();
    }
  }
}

}  // namespace weir
