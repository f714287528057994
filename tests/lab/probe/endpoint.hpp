/// What every role of lab_probe stands on: sockets, a periodic timer, and the loop that also obeys standard
/// input.
///
/// All times are CLOCK_MONOTONIC, the clock of Python's time.monotonic(): a lab may ask for what happened
/// between two of its own instants. One thread. Set-up errors are std::system_error naming the attempt.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <netinet/in.h>

#include <boost/json.hpp>

namespace weir::lab {

using Nanoseconds = std::chrono::nanoseconds;

[[nodiscard]] Nanoseconds monotonic_now();

/// A stretch of time that a lab asks about; both ends included.
struct Interval {
  Nanoseconds from = Nanoseconds::min();
  Nanoseconds to = Nanoseconds::max();
  [[nodiscard]] bool contains(Nanoseconds t) const { return from <= t && t <= to; }
};

/// Move-only owner of a descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// An IPv4 or IPv6 address with a port.
struct Endpoint {
  sockaddr_storage address{};
  socklen_t length = 0;
  [[nodiscard]] static Endpoint parse(const std::string& address, std::uint16_t port);
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
  [[nodiscard]] int family() const { return address.ss_family; }
};

struct Datagram {
  std::size_t length = 0;
  Nanoseconds arrived{};  ///< when the kernel received it, not when we came to fetch it
  Endpoint sender;
};

/// Marks what leaves by `fd`, IPv4 or IPv6.
void set_dscp(int fd, int family, unsigned dscp);

class UdpSocket {
 public:
  UdpSocket(const Endpoint& local, unsigned dscp);
  [[nodiscard]] int descriptor() const { return fd_.get(); }
  /// False: the kernel would not take it (no route, full queue).
  bool send(const Endpoint& to, std::span<const std::byte> payload);
  /// The next datagram that has arrived; nullopt: none. Longer ones are cut to `buffer`.
  [[nodiscard]] std::optional<Datagram> receive(std::span<std::byte> buffer);

 private:
  Descriptor fd_;
};

/// Answers one command line; throws to refuse it.
using CommandHandler = std::function<boost::json::object(const Interval&)>;

/// One thing to watch: called whenever `fd` is readable (or, for a stream, closed).
struct Watch {
  int fd;
  std::function<void()> on_readable;
};

/// Calls `on_tick` every `period` (never, when zero) and each watch as needed, and answers `read [FROM TO]`
/// lines (seconds) on standard input with `on_read`, until the input ends. Prints {"ready":true} first and
/// the whole account last.
void run_until_input_ends(Nanoseconds period, const std::function<void()>& on_tick,
                          const std::function<std::vector<Watch>()>& watches, const CommandHandler& on_read);

/// {"p50":...,"p99":...} in milliseconds over `samples`; empty when there are none.
[[nodiscard]] boost::json::object distribution_ms(std::vector<Nanoseconds> samples);
[[nodiscard]] double to_ms(Nanoseconds t);

/// A wire number at a place in a payload; all roles run on one machine, so the host's byte order serves.
template <typename Number>
void put(std::span<std::byte> payload, std::size_t at, Number value) {
  const auto* raw = reinterpret_cast<const std::byte*>(&value);
  std::copy(raw, raw + sizeof(value), payload.begin() + static_cast<std::ptrdiff_t>(at));
}
template <typename Number>
[[nodiscard]] Number get(std::span<const std::byte> payload, std::size_t at) {
  Number value{};
  std::copy_n(payload.begin() + static_cast<std::ptrdiff_t>(at), sizeof(value),
              reinterpret_cast<std::byte*>(&value));
  return value;
}

}  // namespace weir::lab
