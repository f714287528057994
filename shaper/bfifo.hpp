/// The byte FIFO on the wire: value <-> the options of sch_fifo (linux/pkt_sched.h). Pure; decoding takes any
/// bytes.
#pragma once

#include <optional>

#include "shaper/netlink_attributes.hpp"
#include "shaper/tree.hpp"

namespace weir::shaper::bfifo {

inline constexpr char kKind[] = "bfifo";

/// Appends TCA_OPTIONS: the bare structure, no nest.
void encode(nlmsghdr* message, const ByteFifo& leaf);
[[nodiscard]] std::optional<ByteFifo> decode(const nlattr* options);

}  // namespace weir::shaper::bfifo
