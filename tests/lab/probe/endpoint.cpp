#include "endpoint.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace weir::lab {
namespace {

namespace json = boost::json;

[[noreturn]] void fail(const std::string& attempt) {
  throw std::system_error(errno, std::generic_category(), attempt);
}

[[nodiscard]] Nanoseconds clock_now(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return std::chrono::seconds(t.tv_sec) + Nanoseconds(t.tv_nsec);
}

[[nodiscard]] Descriptor periodic_timer(Nanoseconds period) {
  Descriptor timer(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer) fail("create a timer");
  const auto s = std::chrono::duration_cast<std::chrono::seconds>(period);
  const timespec every{.tv_sec = s.count(), .tv_nsec = (period - s).count()};
  const itimerspec schedule{.it_interval = every, .it_value = every};
  if (timerfd_settime(timer.get(), 0, &schedule, nullptr) != 0) fail("start a timer");
  return timer;
}

[[nodiscard]] Interval parse_read(const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  if (verb != "read") throw std::invalid_argument("unknown command " + verb);
  Interval interval;
  double from = 0.0;
  double to = 0.0;
  if (words >> from >> to) {
    const auto at = [](double s) {
      return std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(s));
    };
    interval = {at(from), at(to)};
  }
  return interval;
}

/// False: the input has ended.
[[nodiscard]] bool answer_commands(std::string& pending, const CommandHandler& on_read) {
  std::array<char, 4096> buffer;
  const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
  if (n <= 0) return false;
  pending.append(buffer.data(), static_cast<std::size_t>(n));
  for (std::size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
    try {
      std::cout << on_read(parse_read(pending.substr(0, end))) << std::endl;
    } catch (const std::exception& e) {
      std::cout << json::object{{"error", e.what()}} << std::endl;
    }
  }
  return true;
}

}  // namespace

Nanoseconds monotonic_now() {
  return clock_now(CLOCK_MONOTONIC);
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}
Descriptor::Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Endpoint Endpoint::parse(const std::string& address, std::uint16_t port) {
  Endpoint e;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&e.address, &v4, sizeof(v4));
    e.length = sizeof(v4);
  } else if (inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&e.address, &v6, sizeof(v6));
    e.length = sizeof(v6);
  } else {
    throw std::invalid_argument("not an address: " + address);
  }
  return e;
}

void set_dscp(int fd, int family, unsigned dscp) {
  const int tos = static_cast<int>(dscp << 2U);
  const bool v4 = family == AF_INET;
  if (setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &tos, sizeof(tos)) != 0)
    fail("mark packets with DSCP " + std::to_string(dscp));
}

UdpSocket::UdpSocket(const Endpoint& local, unsigned dscp)
    : fd_(socket(local.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  if (!fd_) fail("open a UDP socket");
  const int on = 1;
  const int buffer = 16 << 20;
  if (setsockopt(fd_.get(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) != 0) fail("ask for arrival times");
  if (setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) != 0)
    fail("enlarge the buffer");
  set_dscp(fd_.get(), local.family(), dscp);
  if (bind(fd_.get(), local.get(), local.length) != 0) fail("bind a UDP socket");
}

bool UdpSocket::send(const Endpoint& to, std::span<const std::byte> payload) {
  return sendto(fd_.get(), payload.data(), payload.size(), 0, to.get(), to.length) >= 0;
}

std::optional<Datagram> UdpSocket::receive(std::span<std::byte> buffer) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(timespec))> ancillary;
  Datagram d;
  iovec area{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr header{};
  header.msg_name = &d.sender.address;
  header.msg_namelen = sizeof(d.sender.address);
  header.msg_iov = &area;
  header.msg_iovlen = 1;
  header.msg_control = ancillary.data();
  header.msg_controllen = ancillary.size();
  const ssize_t n = recvmsg(fd_.get(), &header, 0);
  if (n < 0) return std::nullopt;
  d.length = static_cast<std::size_t>(n);
  d.sender.length = header.msg_namelen;
  d.arrived = monotonic_now();
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec stamp{};
    std::memcpy(&stamp, CMSG_DATA(c), sizeof(stamp));
    // The stamp is on CLOCK_REALTIME: only the datagram's age is taken from it.
    d.arrived -=
        clock_now(CLOCK_REALTIME) - (std::chrono::seconds(stamp.tv_sec) + Nanoseconds(stamp.tv_nsec));
  }
  return d;
}

void run_until_input_ends(Nanoseconds period, const std::function<void()>& on_tick,
                          const std::function<std::vector<Watch>()>& watches, const CommandHandler& on_read) {
  std::string pending;
  Descriptor timer;
  if (period > Nanoseconds::zero()) timer = periodic_timer(period);
  std::cout << json::object{{"ready", true}} << std::endl;
  while (true) {
    const std::vector<Watch> now_watched = watches();
    std::vector<pollfd> fds{{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                            {.fd = timer.get(), .events = POLLIN, .revents = 0}};
    for (const Watch& w : now_watched) fds.push_back({.fd = w.fd, .events = POLLIN, .revents = 0});
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    for (std::size_t i = 0; i < now_watched.size(); ++i)
      if (fds[i + 2].revents != 0) now_watched[i].on_readable();
    std::uint64_t expirations = 0;
    if (fds[1].revents != 0 && ::read(timer.get(), &expirations, sizeof(expirations)) > 0) on_tick();
    if (fds[0].revents != 0 && !answer_commands(pending, on_read)) break;
  }
  std::cout << on_read(Interval{}) << std::endl;
}

double to_ms(Nanoseconds t) {
  return std::chrono::duration<double, std::milli>(t).count();
}

json::object distribution_ms(std::vector<Nanoseconds> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double share) {
    return to_ms(samples[static_cast<std::size_t>(share * static_cast<double>(samples.size() - 1) + 0.5)]);
  };
  return {{"min", at(0.0)}, {"p50", at(0.5)}, {"p95", at(0.95)}, {"p99", at(0.99)}, {"max", at(1.0)}};
}

}  // namespace weir::lab
