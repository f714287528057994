/// Who is at the other end of a Unix socket, as the kernel says (unix(7), SO_PEERCRED).
#pragma once

#include <optional>
#include <string>

#include <sys/types.h>

namespace weir::gateway {

struct Peer {
  uid_t uid = 0;
  pid_t pid = 0;
  bool may_change = false;  ///< root, or this process's own user
};

/// nullopt: no Unix socket, or the kernel does not say.
[[nodiscard]] std::optional<Peer> peer_of(int socket);
/// "root", "root (logged in as alice)". Asks the system's user database, which may take its time.
[[nodiscard]] std::string name_of(const Peer& peer);

}  // namespace weir::gateway
