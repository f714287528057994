/// What must hold of a queue tree at every instant, also half-way through a change. Pure.
#pragma once

#include <optional>
#include <string>

#include "shaper/tree.hpp"

namespace weir::shaper {

inline constexpr int kMostLevels = 8;  ///< linux/pkt_sched.h TC_HTB_MAXDEPTH

/// The first invariant that `tree` breaks, as a sentence; nullopt when it holds them all:
/// the children's guarantees never exceed the parent's, nobody's ceiling lies below its guarantee, at most 8
/// levels (HTB's limit), at most 65 500 classes, no class without its parent.
[[nodiscard]] std::optional<std::string> violated_invariant(const Observed& tree);

}  // namespace weir::shaper
