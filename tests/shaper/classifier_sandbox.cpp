#include "classifier_sandbox.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

namespace weir::shaper::test {

Sandbox::Sandbox() {
  refusal_ = enter();
}

std::string Sandbox::enter() {
  if (::geteuid() != 0) return "needs root";
  const auto failed = [](const std::string& attempt) { return attempt + ": " + std::strerror(errno); };
  if (::unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return failed("make a network namespace");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return failed("make the mounts private");
  auto name = (std::filesystem::temp_directory_path() / "weir-classifier-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) return failed("make a directory");
  mount_point_ = name;
  if (::mount("bpf", name.c_str(), "bpf", 0, nullptr) != 0) return failed("mount a BPF file system");
  return {};
}

Sandbox::~Sandbox() {
  if (mount_point_.empty()) return;
  ::umount2(mount_point_.c_str(), MNT_DETACH);
  ::rmdir(mount_point_.c_str());
}

std::string output_of(const std::string& command) {
  auto* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::system_error(errno, std::generic_category(), "run " + command);
  std::string text;
  std::array<char, 4096> part{};
  while (const auto count = std::fread(part.data(), 1, part.size(), pipe)) text.append(part.data(), count);
  if (::pclose(pipe) != 0) throw std::runtime_error(command + ": " + text);
  return text;
}

RawSender::RawSender(const std::string& interface) : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)) {
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
  if (fd_ < 0 || ::bind(fd_, static_cast<sockaddr*>(static_cast<void*>(&to)), sizeof(to)) != 0)
    throw std::system_error(errno, std::generic_category(), "open a packet socket on " + interface);
}

RawSender::~RawSender() {
  if (fd_ >= 0) ::close(fd_);
}

void RawSender::send(const Octets& frame) const {
  if (::send(fd_, frame.data(), frame.size(), 0) != static_cast<ssize_t>(frame.size()))
    throw std::system_error(errno, std::generic_category(), "send a frame");
}

}  // namespace weir::shaper::test
