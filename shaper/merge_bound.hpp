/// What the kernel may merge of the frames on their way to a port's queues.
///
/// A network card's driver hands up to 64 KB to the queue as one packet (GRO), which is then sent in one
/// piece: 11.6 ms at 45 Mbit/s in the provider's first queue, more than a policer's bucket may hold. The
/// bridge's other leg, where they are merged, is told to stop after 1 ms at the slowest site's floor (`ip
/// link set ... gro_max_size`, net/core/gro.c skb_gro_receive). What a card merges by itself (LRO, rx-gro-hw)
/// is not reached.
///
/// Set at an apply and not at a change of rates, and again where the leg merges more than that meanwhile.
/// What was there before stands in the port's state file and is given back when the policy no longer asks for
/// it, or the port is cleared; a smaller limit that somebody else has set by then stays. Never a fault, never
/// throws: a port that merges more still shapes. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shaper/kernel.hpp"
#include "shaper/port_shaper.hpp"
#include "shaper/state_file.hpp"

namespace weir::shaper {

/// Bytes that take 1 ms at the slowest site's floor, at least a frame; nullopt: the policy names no other
/// leg, or leaves merging as it is. Pure.
[[nodiscard]] std::optional<std::uint32_t> longest_merge(const Policy& policy);

class MergeBound {
 public:
  /// Both must outlive it.
  MergeBound(Kernel& kernel, StateStore& store) : kernel_(kernel), store_(store) {}

  /// `state`: what the port's file holds; it is written where it changes.
  void keep(const Policy& policy, PortState& state, ApplyReport& report);
  void give_back(PortState& state, ApplyReport& report);
  /// keep() would do something. Cheap: one question to the kernel.
  [[nodiscard]] bool is_due(const Policy& policy, const std::optional<BoundedMerging>& standing);
  /// What keep() would do, for people, or as commands.
  [[nodiscard]] std::vector<std::string> plan(const Policy& policy, const PortState& state, bool as_commands);

 private:
  /// A limit to be set on an interface.
  struct Step {
    std::string interface;
    int index = 0;
    MergeLimit to;
    std::optional<BoundedMerging> remembered;  ///< from then on
    bool bounds = false;                       ///< else it gives back
  };
  [[nodiscard]] std::vector<Step> steps(const std::optional<BoundedMerging>& standing, const Policy* policy);
  void take(const Step& step, PortState& state, ApplyReport& report);
  [[nodiscard]] static std::string describe(const Step& step);

  Kernel& kernel_;
  StateStore& store_;
};

}  // namespace weir::shaper
