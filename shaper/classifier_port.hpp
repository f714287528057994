/// A port's clsact qdisc and the filters on it, over netlink. No state of its own: every call asks the
/// kernel.
///
/// Reading needs no privilege, writing CAP_NET_ADMIN. Errors: std::system_error naming the attempt. A port
/// that vanishes between two calls is an error of the second.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shaper/classifier_kernel.hpp"

namespace weir::shaper {

/// Where our filter stands. Early, since a foreign filter before us that ends the chain would hide ours; not
/// first, since 1 is what everybody else takes without asking.
inline constexpr std::uint16_t kFilterPriority = 7;
inline constexpr std::uint32_t kFilterHandle = 0x7e17;

/// One line of a filter dump. Handle 0: the list of one priority itself, which every priority in use has.
struct SeenFilter {
  std::uint16_t priority = 0;
  std::uint32_t handle = 0;
  std::string kind;              ///< "bpf", "flower", ...
  std::uint32_t program_id = 0;  ///< of a bpf filter
  std::string program_name;
};

class ClassifierPort {
 public:
  /// The Ethernet interface of this name in the current network namespace.
  explicit ClassifierPort(std::string interface);
  /// As above, nullopt when there is no interface of this name.
  [[nodiscard]] static std::optional<ClassifierPort> find(const std::string& interface);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] unsigned index() const { return index_; }

  /// The kind of qdisc at the clsact hook: "clsact", "ingress" (a filter "at egress" of that one lands at
  /// ingress), or empty for none.
  [[nodiscard]] std::string hook_qdisc() const;
  /// False: somebody was faster, it is theirs.
  [[nodiscard]] bool create_clsact() const;
  void delete_clsact() const;

  [[nodiscard]] std::vector<SeenFilter> egress_filters() const;
  [[nodiscard]] std::vector<SeenFilter> ingress_filters() const;
  /// The filter at our handle and priority, if it runs a program of ours.
  [[nodiscard]] std::optional<SeenFilter> our_filter() const;
  /// Throws when what stands at our handle or priority is somebody else's and in the way.
  void refuse_foreign_filter_in_our_place() const;
  /// Puts the program at our handle and priority; one there before is replaced between two packets.
  void attach(const Descriptor& program) const;
  void detach() const;

 private:
  ClassifierPort(std::string interface, unsigned index) : name_(std::move(interface)), index_(index) {}
  [[nodiscard]] std::vector<SeenFilter> filters_at(std::uint32_t parent) const;

  std::string name_;
  unsigned index_ = 0;
};

/// The number of the current network namespace: unique since boot (SO_NETNS_COOKIE).
[[nodiscard]] std::uint64_t network_namespace_cookie();

}  // namespace weir::shaper
