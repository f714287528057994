#include "gateway/service_notifier.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace weir::gateway {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): read before any thread begins
  return value == nullptr ? std::string() : std::string(value);
}

std::optional<std::int64_t> number(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

/// A status is one line: what follows a line feed would be read as another variable.
std::string one_line(std::string_view text) {
  std::string line(text);
  std::ranges::replace(line, '\n', ' ');
  return line;
}

}  // namespace

ServiceNotifier::ServiceNotifier(std::string socket) : socket_(std::move(socket)) {
  if (!socket_.empty())
    descriptor_ = FileDescriptor(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

ServiceNotifier ServiceNotifier::from_environment() {
  return ServiceNotifier(environment("NOTIFY_SOCKET"));
}

void ServiceNotifier::ready(std::string_view status) const {
  send("READY=1\nSTATUS=" + one_line(status));
}

void ServiceNotifier::reloading(TimePoint now) const {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count();
  send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", micros));
}

void ServiceNotifier::stopping() const {
  send("STOPPING=1");
}
void ServiceNotifier::watchdog() const {
  send("WATCHDOG=1");
}
void ServiceNotifier::status(std::string_view text) const {
  send("STATUS=" + one_line(text));
}

void ServiceNotifier::send(std::string_view message) const {
  sockaddr_un address{};
  if (!descriptor_ || socket_.size() >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  if (socket_.front() == '@') address.sun_path[0] = '\0';  // the abstract namespace
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  const void* raw = &address;
  ::sendto(descriptor_.get(), message.data(), message.size(), MSG_NOSIGNAL, static_cast<const sockaddr*>(raw),
           length);
}

std::optional<std::chrono::microseconds> watchdog_interval() {
  const auto micros = number(environment("WATCHDOG_USEC"));
  if (!micros || *micros <= 0) return std::nullopt;
  const std::string for_process = environment("WATCHDOG_PID");
  if (!for_process.empty() && number(for_process) != ::getpid()) return std::nullopt;
  return std::chrono::microseconds(*micros);
}

}  // namespace weir::gateway
