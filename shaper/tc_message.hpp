/// Traffic-control messages taken apart and put together. Pure; decoding takes any bytes.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include <libmnl/libmnl.h>

#include "shaper/kernel.hpp"

namespace weir::shaper {

struct TcAddress {
  int index = 0;  ///< interface
  Handle handle = 0;
  Handle parent = 0;
};

/// Header and tcmsg of a message at the start of `room`, ready for attributes. The room is cleared first.
nlmsghdr* start_tc_message(std::span<std::byte> room, std::uint16_t type, int flags, std::uint32_t sequence,
                           const TcAddress& address);

/// The whole messages in `bytes`; a truncated tail is left out.
[[nodiscard]] std::vector<const nlmsghdr*> messages_in(std::span<const std::byte> bytes);

struct KernelAnswer {
  int error = 0;          ///< errno; 0 is an acknowledgement
  std::string text = {};  ///< the kernel's own words; may be empty
};
/// What an NLMSG_ERROR says; EBADMSG when it makes no sense.
[[nodiscard]] KernelAnswer answer_to(const nlmsghdr* message);

struct DecodedQdisc {
  int interface_index = 0;
  Handle handle = 0;
  Handle parent = 0;
  std::string kind = {};
  std::optional<HtbRoot> root = {};         ///< of an htb
  std::optional<LeafParameters> leaf = {};  ///< of an fq_codel or bfifo
  LeafStats stats = {};
};
[[nodiscard]] std::optional<DecodedQdisc> decode_qdisc(const nlmsghdr* message);

struct DecodedTcClass {
  int interface_index = 0;
  Handle handle = 0;
  ClassStats stats = {};
};
/// A class of our root only.
[[nodiscard]] std::optional<DecodedTcClass> decode_class(const nlmsghdr* message);

}  // namespace weir::shaper
