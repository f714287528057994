/// Changes as netlink messages. Pure.
#pragma once

#include <span>

#include <libmnl/libmnl.h>

#include "shaper/change.hpp"

namespace weir::shaper {

/// The message for `change` at the start of `room` (1 KB is enough), without NLM_F_ACK.
nlmsghdr* encode(std::span<std::byte> room, int interface_index, std::uint32_t sequence,
                 const Change& change);
/// A queue that cannot be made: ENOENT from a kernel without fq_codel, EINVAL from one that has it. Asks for
/// an answer.
nlmsghdr* encode_fq_codel_question(std::span<std::byte> room, int interface_index, std::uint32_t sequence);

}  // namespace weir::shaper
