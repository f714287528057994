#include "gateway/peer.hpp"

#include <charconv>
#include <vector>

#include <fmt/format.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/read_whole.hpp"

namespace weir::gateway {
namespace {

constexpr std::size_t kNameBuffer = 16384;

std::string name_of_user(uid_t uid) {
  std::vector<char> buffer(kNameBuffer);
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return fmt::format("uid {}", uid);
  return found->pw_name;
}

/// Whoever logged in, however many times the process has changed its user since (Documentation/ABI,
/// audit's loginuid).
std::optional<uid_t> login_of(pid_t pid) {
  constexpr std::size_t kMost = 32;
  constexpr auto kNobody = static_cast<uid_t>(-1);
  const auto read = read_whole(fmt::format("/proc/{}/loginuid", pid), kMost);
  const auto* text = std::get_if<std::string>(&read);
  uid_t uid = kNobody;
  if (text == nullptr || std::from_chars(text->data(), text->data() + text->size(), uid).ec != std::errc() ||
      uid == kNobody)
    return std::nullopt;
  return uid;
}

}  // namespace

std::optional<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0 || credentials.pid == 0)
    return std::nullopt;
  return Peer{.uid = credentials.uid,
              .pid = credentials.pid,
              .may_change = credentials.uid == 0 || credentials.uid == ::geteuid()};
}

std::string name_of(const Peer& peer) {
  const auto login = login_of(peer.pid);
  std::string name = name_of_user(peer.uid);
  return login && *login != peer.uid ? fmt::format("{} (logged in as {})", name, name_of_user(*login)) : name;
}

}  // namespace weir::gateway
