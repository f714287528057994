/// fq_codel on the wire: values <-> the options of sch_fq_codel (linux/pkt_sched.h). Pure; decoding takes any
/// bytes.
#pragma once

#include <cstdint>
#include <optional>

#include "shaper/netlink_attributes.hpp"
#include "shaper/tree.hpp"

namespace weir::shaper::fq_codel {

inline constexpr char kKind[] = "fq_codel";

/// Appends TCA_OPTIONS. `create`: with the number of flows, which a change must not carry.
void encode(nlmsghdr* message, const FqCodel& leaf, bool create);
/// Appends TCA_OPTIONS that every kernel with fq_codel refuses (no flows): it asks without making anything.
void encode_impossible(nlmsghdr* message);

[[nodiscard]] std::optional<FqCodel> decode(const nlattr* options);
/// CE marks from the queue's own statistics; 0 when they are not those of an fq_codel.
[[nodiscard]] std::uint64_t decode_ecn_marks(const nlattr* app_statistics);

}  // namespace weir::shaper::fq_codel
