/// Notices from the kernel that a link or a piece of traffic control changed, whoever did it.
///
/// Owns a libnl-3 socket joined to the link and traffic-control groups of the network namespace it was made
/// in. The owner polls descriptor() for readability and calls drain(). A notice says where to look, not what
/// is true: several may be on their way, and some may have been lost (`overrun`). Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "shaper/class_ids.hpp"

namespace weir::shaper {

struct KernelEvent {
  enum class Kind : std::uint8_t {
    link_changed,  ///< state, MTU, master...; also a new link
    link_removed,
    link_renamed,   ///< `former_name` -> `interface`
    qdisc_changed,  ///< made, changed or replaced; also the kernel's answer to anybody's question about one
    qdisc_removed,
    class_changed,  ///< also the kernel's answer to anybody's question about a single class
    class_removed,
    filter_changed,
    filter_removed,
    overrun  ///< notices were lost: look at everything
  };
  Kind kind = Kind::overrun;
  int interface_index = 0;
  std::string interface = {};  ///< its name as far as known; empty for one that is gone or was never seen
  std::string former_name = {};
  bool running = false;  ///< of a link: administratively up and with carrier
  Handle handle = 0;     ///< of a qdisc, class or filter
  Handle parent = 0;
  /// Netlink address of the socket whose request caused it; 0: the kernel itself. PortShaper::netlink_port()
  /// tells our own tree changes; other sockets of this process, such as the classifier's, have addresses of
  /// their own.
  std::uint32_t origin = 0;
};

class KernelEvents {
 public:
  /// Throws std::system_error.
  KernelEvents();
  ~KernelEvents();
  KernelEvents(KernelEvents&&) noexcept;
  KernelEvents& operator=(KernelEvents&&) noexcept;

  [[nodiscard]] int descriptor() const;
  /// Hands over all that is waiting, without blocking; returns how many. The handler must not call drain().
  std::size_t drain(const std::function<void(const KernelEvent&)>& handler);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::shaper
