/// HTB on the wire: values <-> the options of sch_htb (linux/pkt_sched.h). Pure; decoding takes any bytes.
#pragma once

#include <optional>

#include "shaper/netlink_attributes.hpp"
#include "shaper/tree.hpp"

namespace weir::shaper::htb {

inline constexpr char kKind[] = "htb";

/// Appends TCA_STAB (when there is one) and TCA_OPTIONS of the root.
void encode(nlmsghdr* message, const HtbRoot& root);
/// Appends TCA_STAB only: HTB refuses options in a change of its root.
void encode_size_table(nlmsghdr* message, const HtbRoot& root);
/// Appends TCA_OPTIONS of a class.
void encode(nlmsghdr* message, const HtbClass& cls);

[[nodiscard]] std::optional<HtbRoot> decode_root(const nlattr* options, const nlattr* size_table);
struct DecodedClass {
  HtbClass htb;
  bool inner = false;
};
[[nodiscard]] std::optional<DecodedClass> decode_class(const nlattr* options);

}  // namespace weir::shaper::htb
