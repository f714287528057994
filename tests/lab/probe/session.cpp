// A BGP-like session over TCP: KEEPALIVE messages (RFC 4271, 4.4) every third of the hold time, and death
// after the hold time without one.
#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

#include "roles.hpp"

namespace weir::lab {
namespace {

namespace json = boost::json;

constexpr std::size_t kKeepaliveLength = 19;

[[nodiscard]] std::array<std::byte, kKeepaliveLength> keepalive() {
  std::array<std::byte, kKeepaliveLength> message;
  std::fill_n(message.begin(), 16, std::byte{0xff});  // marker
  message[16] = std::byte{0};
  message[17] = std::byte{kKeepaliveLength};
  message[18] = std::byte{4};  // KEEPALIVE
  return message;
}

[[noreturn]] void fail(const std::string& attempt) {
  throw std::system_error(errno, std::generic_category(), attempt);
}

[[nodiscard]] Descriptor tcp_socket(const SessionPlan& plan) {
  Descriptor fd(socket(plan.local.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) fail("open a TCP socket");
  const int on = 1;
  if (setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
    fail("reuse the session's address");
  set_dscp(fd.get(), plan.local.family(), plan.dscp);
  if (bind(fd.get(), plan.local.get(), plan.local.length) != 0) fail("bind the session's socket");
  return fd;
}

class Session {
 public:
  explicit Session(const SessionPlan& plan) : plan_(plan) {
    Descriptor fd = tcp_socket(plan);
    if (plan.remote) {
      if (connect(fd.get(), plan.remote->get(), plan.remote->length) != 0) fail("connect the session");
      begin(std::move(fd));
    } else {
      if (listen(fd.get(), 1) != 0) fail("listen for the session");
      listener_ = std::move(fd);
    }
  }

  [[nodiscard]] std::vector<Watch> watches() {
    if (alive_) return {{connection_.get(), [this] { take_messages(); }}};
    if (listener_ && !connection_) return {{listener_.get(), [this] { accept_the_other_end(); }}};
    return {};
  }

  void tick() {
    if (!alive_) return;
    const Nanoseconds now = monotonic_now();
    if (now - last_heard_ > plan_.hold) return die("hold timer expired");
    if (now - last_sent_ < plan_.hold / 3) return;
    const auto message = keepalive();
    if (send(connection_.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
      return die("cannot send");
    last_sent_ = now;
  }

  [[nodiscard]] json::object summary() const {
    return {{"alive", alive_},
            {"death", death_},
            {"keepalives", bytes_heard_ / kKeepaliveLength},
            {"longest_silence_ms", to_ms(std::max(longest_silence_, alive_ ? monotonic_now() - last_heard_
                                                                           : Nanoseconds::zero()))}};
  }

 private:
  void begin(Descriptor fd) {
    connection_ = std::move(fd);
    alive_ = true;
    last_heard_ = monotonic_now();
  }

  void accept_the_other_end() {
    Descriptor fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (fd) begin(std::move(fd));
  }

  void take_messages() {
    std::array<std::byte, 4096> buffer;
    const ssize_t n = recv(connection_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n == 0) return die("closed by the other end");
    if (n < 0) {
      if (errno != EAGAIN) die(std::generic_category().message(errno));
      return;
    }
    const Nanoseconds now = monotonic_now();
    longest_silence_ = std::max(longest_silence_, now - last_heard_);
    last_heard_ = now;
    bytes_heard_ += static_cast<std::uint64_t>(n);
  }

  void die(const std::string& cause) {
    alive_ = false;
    death_ = cause;
    shutdown(connection_.get(), SHUT_RDWR);
  }

  SessionPlan plan_;
  Descriptor listener_;
  Descriptor connection_;
  bool alive_ = false;
  std::string death_;
  Nanoseconds last_heard_{};
  Nanoseconds last_sent_{};
  Nanoseconds longest_silence_{};
  std::uint64_t bytes_heard_ = 0;
};

}  // namespace

void hold_session(const SessionPlan& plan) {
  Session session(plan);
  run_until_input_ends(
      std::chrono::milliseconds(100), [&] { session.tick(); }, [&] { return session.watches(); },
      [&](const Interval&) { return session.summary(); });
}

}  // namespace weir::lab
