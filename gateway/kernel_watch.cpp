#include "gateway/kernel_watch.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "gateway/port.hpp"

namespace weir::gateway {
namespace {

using Kind = shaper::KernelEvent::Kind;

// Long enough for a whole `tc qdisc del` or a link's coming and going, short against the second we promise.
constexpr auto kSettle = std::chrono::milliseconds(50);

int duplicate_of(int descriptor) {
  const int copy = ::dup(descriptor);
  if (copy < 0) throw std::system_error(errno, std::generic_category(), "duplicate the kernel event socket");
  return copy;
}

}  // namespace

bool concerns_us(const shaper::KernelEvent& event, const std::string& interface, std::uint32_t own_port) {
  if (event.kind == Kind::overrun) return true;
  // Also the kernel's answers to our own questions about classes, ten times a second: it tells them
  // everybody.
  if (event.origin != 0 && event.origin == own_port) return false;
  // A port that was removed may have lost its name already; a renamed one has two.
  return event.interface.empty() || event.interface == interface || event.former_name == interface;
}

std::string describe(const shaper::KernelEvent& event) {
  switch (event.kind) {
    case Kind::link_changed:
      return event.running ? "the link is up" : "the link is down or changed";
    case Kind::link_removed:
      return "the interface was removed";
    case Kind::link_renamed:
      return fmt::format("the interface {} is now {}", event.former_name, event.interface);
    case Kind::qdisc_changed:
      return fmt::format("qdisc {} was changed", handle_text(event.handle));
    case Kind::qdisc_removed:
      return fmt::format("qdisc {} was removed", handle_text(event.handle));
    case Kind::class_changed:
      return fmt::format("class {} was changed", handle_text(event.handle));
    case Kind::class_removed:
      return fmt::format("class {} was removed", handle_text(event.handle));
    case Kind::filter_changed:
      return "a filter was changed";
    case Kind::filter_removed:
      return "a filter was removed";
    case Kind::overrun:
      return "kernel notices were lost";
  }
  return "something changed";
}

KernelWatch::KernelWatch(boost::asio::io_context& loop, std::string interface, std::uint32_t own_port,
                         Handler handler)
    : descriptor_(loop, duplicate_of(events_.descriptor())),
      settle_(loop),
      interface_(std::move(interface)),
      own_port_(own_port),
      handler_(std::move(handler)) {
  await_notice();
}

void KernelWatch::await_notice() {
  descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                         [this](const boost::system::error_code& error) {
                           if (error) return;
                           drain();
                           await_notice();
                         });
}

void KernelWatch::drain() {
  const bool quiet = what_.empty();
  events_.drain([this](const shaper::KernelEvent& event) {
    if (what_.empty() && concerns_us(event, interface_, own_port_)) what_ = describe(event);
  });
  if (!quiet || what_.empty()) return;
  settle_.expires_after(kSettle);
  settle_.async_wait([this](const boost::system::error_code& error) {
    if (!error) handler_(std::exchange(what_, {}));
  });
}

}  // namespace weir::gateway
