/// Policy + shaped rates + what this kernel can do -> the queue tree to hold. Pure.
///
///     port                      rate = ceil = port rate
///     +- control, elsewhere     rate = their guarantee: "reserved"
///     +- site                   ceil = shaped;  rate = shaped x min(1, (port - reserved) / sum of shaped),
///        |                      not below its floor
///        +- class               rate = guarantee of its parent's *rate*;  ceil = min(own ceiling, parent's
///        ceil)
///           +- classes, or a leaf queue
///
/// HTB lets a child send at its own `rate` even when its parent is over its own, so what counts is that the
/// children's rates never add up to more than the parent's. docs/SHAPER.md has the arithmetic with its
/// reasons.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/policy.hpp"
#include "shaper/tree.hpp"

namespace weir::shaper {

/// What plan must know of the port and its kernel.
struct KernelFacts {
  bool has_fq_codel = false;
  std::uint32_t mtu = 1500;  ///< of the interface, without the Ethernet header
};

/// The least guarantee HTB is given: a class may be silent, but it needs a rate.
inline constexpr Rate kLeastGuarantee = Rate::kbps(8);

/// `shaped` holds one rate per site. Rates are rounded to whole bytes per second first, so that planning with
/// the rates read back from the kernel gives the same tree.
[[nodiscard]] Tree plan(const Policy& policy, std::span<const Rate> shaped, const KernelFacts& facts,
                        const ClassIds& ids);

/// What plan() makes of these rates in place of those that `tree` was planned for: the classes that differ,
/// in their order. A site whose own rate and ceiling stay is not looked into, so the effort is that of what
/// changes. `tree` is of the same policy and facts; throws std::invalid_argument where it has not its
/// classes.
[[nodiscard]] std::vector<ReplannedClass> replan(const Tree& tree, const Policy& policy,
                                                 std::span<const Rate> shaped, const KernelFacts& facts);
void take_over(const std::vector<ReplannedClass>& changed, Tree& tree);

/// Gives the fq_codel leaves of `tree` that stand already and stay the number of flows they were made with,
/// which is fixed; but for those whose policy asks for a number. replan() keeps to them as well.
void keep_flows(const Observed& standing, Tree& tree);

/// The guarantees of the sites, given their shaped rates and what the port has for them.
[[nodiscard]] std::vector<Rate> site_guarantees(std::span<const Rate> shaped, std::span<const Rate> floors,
                                                Rate available);

/// One class's wish for a guarantee.
struct Wish {
  Rate wanted;
  std::uint8_t priority = 0;
  std::uint32_t brownout = kNoBrownoutOrder;
};
/// Shares `available` among `wishes`: everybody gets the least, then who comes first in the order of a
/// brown-out, has the lower priority number and stands first gets all it wants. The sum never exceeds
/// `available`.
[[nodiscard]] std::vector<Rate> grant(std::span<const Wish> wishes, Rate available);

/// "dc-coast/voice" when it asks by name for a leaf that this kernel does not have.
[[nodiscard]] std::optional<std::string> unsupported_leaf(const Policy& policy, const KernelFacts& facts);

}  // namespace weir::shaper
