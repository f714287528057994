/// The D-SACKs that ns-3's receivers do not send (RFC 2883): what arrived twice is told in the first block of
/// the ACK that answers it, as Linux's receivers do.
///
/// Only the tap is shown them: ns-3's senders would not know what to do with one. Runs inside ns-3's one
/// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <tuple>

#include "estimator/sequence.hpp"

namespace weir::proving {

class DsackReceivers {
 public:
  /// A packet arrives at its host; both take it from its IP header on.
  void arrives(std::span<const std::uint8_t> packet);
  /// A packet leaves its host: the bytes that it is to tell as received twice.
  [[nodiscard]] std::optional<SequenceRange> tells(std::span<const std::uint8_t> packet);

 private:
  using Direction = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;  ///< addresses and both ports
  struct Receiver {
    SequenceRangeSet received{4096};
    std::optional<SequenceRange> twice;
  };
  std::map<Direction, Receiver> receivers_;
};

/// The most that a block adds to a packet without payload.
inline constexpr std::size_t kDsackBytes = 12;

/// Writes the block in front of the packet's own SACK blocks. `packet` has `length` bytes, all of an ACK
/// without payload, and room for kDsackBytes more. Returns the new length. (Checksums stay as they were.)
[[nodiscard]] std::size_t write_dsack(std::span<std::uint8_t> packet, std::size_t length,
                                      SequenceRange twice);

}  // namespace weir::proving
