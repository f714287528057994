/// The HTB handles that a policy's classes have on one port; the one thing plan and classifier must agree on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace weir::shaper {

/// major:minor as the kernel's 32-bit number (linux/pkt_sched.h TC_H_MAKE).
using Handle = std::uint32_t;

inline constexpr std::uint16_t kMajor = 0x7e17;  ///< our root qdisc, 7e17:
[[nodiscard]] constexpr Handle make_handle(std::uint16_t major, std::uint16_t minor) {
  return static_cast<Handle>(major) << 16U | minor;
}
inline constexpr Handle kRoot = make_handle(kMajor, 0);
inline constexpr Handle kPortClass = make_handle(kMajor, 1);
inline constexpr Handle kControlClass = make_handle(kMajor, 2);
inline constexpr Handle kElsewhereClass = make_handle(kMajor, 3);

/// Handles of the policy's own classes, in the policy's order.
struct ClassIds {
  std::vector<Handle> site;                  ///< [site]: the site's inner class
  std::vector<std::vector<Handle>> classes;  ///< [site][class], in the order of config/site_classes.hpp
  bool operator==(const ClassIds&) const = default;
};

}  // namespace weir::shaper
