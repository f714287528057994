#include "gateway/peer.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <vector>

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/read_whole.hpp"

namespace weir::gateway {
namespace {

constexpr const char* kGroup = "weir";
constexpr std::size_t kNameBuffer = 16384;

std::string name_of(uid_t uid) {
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

bool is_in_group(int socket, gid_t own) {
  std::vector<char> buffer(kNameBuffer);
  group entry{};
  group* found = nullptr;
  if (::getgrnam_r(kGroup, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return false;
  if (own == found->gr_gid) return true;
  std::array<gid_t, 1024> groups{};
  socklen_t length = sizeof groups;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length) != 0) return false;
  const auto given = std::span(groups).first(length / sizeof(gid_t));
  return std::ranges::find(given, found->gr_gid) != given.end();
}

}  // namespace

std::optional<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0 || credentials.pid == 0)
    return std::nullopt;
  Peer peer{
      .uid = credentials.uid, .pid = credentials.pid, .may_change = false, .name = name_of(credentials.uid)};
  peer.may_change = peer.uid == 0 || peer.uid == ::geteuid() || is_in_group(socket, credentials.gid);
  if (const auto login = login_of(peer.pid); login && *login != peer.uid)
    peer.name += fmt::format(" (logged in as {})", name_of(*login));
  return peer;
}

}  // namespace weir::gateway
