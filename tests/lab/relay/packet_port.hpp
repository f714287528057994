/// A network interface as whole Ethernet frames: an AF_PACKET socket of its own.
///
/// Owns the socket. The constructor throws std::system_error naming the attempt. Not
/// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "delay_line.hpp"

namespace weir::lab {

class PacketPort {
 public:
  explicit PacketPort(const std::string& interface);
  ~PacketPort();
  PacketPort(const PacketPort&) = delete;
  PacketPort& operator=(const PacketPort&) = delete;

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
  struct Batch;  // what recvmmsg and sendmmsg want, laid out once

  int descriptor_ = -1;
  std::unique_ptr<Batch> batch_;
  std::uint64_t oversized_ = 0;
};

/// CLOCK_MONOTONIC now.
[[nodiscard]] Nanoseconds monotonic_now();

}  // namespace weir::lab
