/// Tells the loop when somebody else changed our port: its link, its queues or its filters.
///
/// Runs on the given io_context's one thread. Changes come in bursts (a deleted tree is a notice per class),
/// so they are told together a moment later; the first of a burst gives the words.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "shaper/kernel_events.hpp"

namespace weir::gateway {

/// Whether `event` may mean that `interface`'s tree is no longer as we left it; `own_port`: our netlink
/// address.
[[nodiscard]] bool concerns_us(const shaper::KernelEvent& event, const std::string& interface,
                               std::uint32_t own_port);
/// "qdisc 7e17: was removed".
[[nodiscard]] std::string describe(const shaper::KernelEvent& event);

class KernelWatch {
 public:
  using Handler = std::function<void(const std::string& what)>;
  /// Throws std::system_error when the kernel will not tell.
  KernelWatch(boost::asio::io_context& loop, std::string interface, std::uint32_t own_port, Handler handler);

 private:
  void await_notice();
  void drain();

  shaper::KernelEvents events_;
  boost::asio::posix::stream_descriptor descriptor_;  ///< a duplicate: asio closes what it is given
  boost::asio::steady_timer settle_;
  std::string interface_;
  std::uint32_t own_port_;
  Handler handler_;
  std::string what_;  ///< of the burst that is being waited for; empty: none
};

}  // namespace weir::gateway
