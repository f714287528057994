/// The service manager's notification protocol (sd_notify(3)): datagrams of VAR=value lines to
/// $NOTIFY_SOCKET.
///
/// Spoken directly, as that manual page recommends for programs that need nothing else of libsystemd: forty
/// lines instead of a library that brings three compressors and a crypto library into a process with network
/// privileges. Without a service manager every call does nothing. Never throws: a deaf manager must not stop
/// the daemon.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "config/units.hpp"
#include "gateway/file_descriptor.hpp"

namespace weir::gateway {

class ServiceNotifier {
 public:
  /// Sends to `socket` ("/run/..." or "@abstract"); empty: to nobody.
  explicit ServiceNotifier(std::string socket);
  [[nodiscard]] static ServiceNotifier from_environment();

  void ready(std::string_view status) const;
  void reloading(TimePoint now) const;
  void stopping() const;
  void watchdog() const;
  void status(std::string_view text) const;

 private:
  void send(std::string_view message) const;

  std::string socket_;
  FileDescriptor descriptor_;
};

/// How often the service manager wants to hear from us: $WATCHDOG_USEC, when it is meant for this process.
[[nodiscard]] std::optional<std::chrono::microseconds> watchdog_interval();

}  // namespace weir::gateway
