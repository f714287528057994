/// Who is at the other end of a Unix socket, as the kernel says (unix(7), SO_PEERCRED).
#pragma once

#include <optional>
#include <string>

#include <sys/types.h>

namespace weir::gateway {

struct Peer {
  uid_t uid = 0;
  pid_t pid = 0;
  bool may_change = false;  ///< root, this process's own user, or a member of the group `weir`
  std::string name;         ///< "root", "root (logged in as alice)"
};

/// nullopt: no Unix socket, or the kernel does not say.
[[nodiscard]] std::optional<Peer> peer_of(int socket);

}  // namespace weir::gateway
