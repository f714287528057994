/// A network interface as whole Ethernet frames: an AF_PACKET socket of its own.
///
/// Move-only owner of the socket. The constructor throws std::system_error naming the attempt. Not
/// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "delay_line.hpp"

namespace weir::lab {

class PacketPort {
 public:
  explicit PacketPort(const std::string& interface);
  ~PacketPort();
  PacketPort(PacketPort&& other) noexcept;
  PacketPort& operator=(PacketPort&&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }

  /// Moves what has arrived into `line`'s free slots, each with the kernel's own arrival time, until one of
  /// the two is used up. Returns the number of frames. Never blocks.
  std::size_t receive_into(DelayLine& line);

  /// Hands the `count` oldest frames of `line` to the interface and releases them. Returns how many it took;
  /// the others are lost (its queue was full).
  std::size_t send_from(DelayLine& line, std::size_t count);

  /// Frames that the socket dropped since the last call, because nobody came to fetch them in time.
  [[nodiscard]] std::uint64_t take_socket_drops();
  /// Frames too long for a slot.
  [[nodiscard]] std::uint64_t oversized() const { return oversized_; }

 private:
  int descriptor_ = -1;
  std::uint64_t oversized_ = 0;
};

/// CLOCK_MONOTONIC now.
[[nodiscard]] Nanoseconds monotonic_now();

}  // namespace weir::lab
