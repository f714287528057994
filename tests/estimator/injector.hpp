// A veth pair in a network namespace of the test's own (it ends with the thread that made it), and frames
// into it.
#pragma once

#include <cstdlib>
#include <functional>
#include <thread>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "packet_builder.hpp"

namespace weir::test {

inline TimePoint monotonic_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return TimePoint(std::chrono::seconds(t.tv_sec) + Duration(t.tv_nsec));
}

/// Sends raw frames out of an interface.
class Injector {
 public:
  explicit Injector(const char* interface) : fd_(socket(AF_PACKET, SOCK_RAW, 0)) {
    to_.sll_family = AF_PACKET;
    to_.sll_ifindex = static_cast<int>(if_nametoindex(interface));
  }
  ~Injector() { close(fd_); }
  Injector(const Injector&) = delete;
  Injector& operator=(const Injector&) = delete;
  void send(const Bytes8& frame) {
    ASSERT_EQ(sendto(fd_, frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&to_), sizeof to_),
              static_cast<ssize_t>(frame.size()));
  }

 private:
  int fd_;
  sockaddr_ll to_{};
};

/// Runs `body` in a namespace with v0 and v1 joined and up.
inline void in_namespace(const std::function<void()>& body) {
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "the kernel gives no network namespace";
    if (std::system("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up") != 0) {
      GTEST_SKIP() << "no veth here";
    }
    body();
  }).join();
}

}  // namespace weir::test
