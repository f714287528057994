/// A network interface as whole Ethernet frames: an AF_PACKET socket of its own.
///
/// Owns the socket. The constructor throws std::system_error naming the attempt. Not
/// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "frame_pool.hpp"

namespace weir::lab {

class PacketPort {
 public:
  explicit PacketPort(const std::string& interface);
  ~PacketPort();
  PacketPort(const PacketPort&) = delete;
  PacketPort& operator=(const PacketPort&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }

  /// Appends what has arrived to `ids`, oldest first, each in a place of `pool` with the kernel's own arrival
  /// time; no more than `most`, nor than the pool has room for. Never blocks.
  void receive(FramePool& pool, std::vector<FrameId>& ids, std::size_t most);

  /// Hands frames to the interface, in order. Returns how many it took; the others are lost (its queue was
  /// full). The places stay the caller's.
  std::size_t send(FramePool& pool, std::span<const FrameId> ids);

  /// Frames that the socket dropped since the last call, because nobody came to fetch them in time.
  [[nodiscard]] std::uint64_t take_socket_drops();
  /// Frames too long for a place.
  [[nodiscard]] std::uint64_t oversized() const { return oversized_; }

 private:
  struct Batch;  // what recvmmsg and sendmmsg want, laid out once

  int descriptor_ = -1;
  std::unique_ptr<Batch> batch_;
  Duration newest_{};  ///< arrival
  std::uint64_t oversized_ = 0;
};

/// CLOCK_MONOTONIC now.
[[nodiscard]] Duration monotonic_now();

}  // namespace weir::lab
