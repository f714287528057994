/// Plain pcap files, read in large blocks. Private to the capture library.
///
/// libpcap reads every kind of capture file, and copies each frame out of stdio with two calls: at the speed
/// of the estimator that is a third of the time. The plain classic format (IETF draft-ietf-opsawg-pcap) is
/// simple enough to be read where it lies; everything else stays with libpcap.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "estimator/capture.hpp"

namespace weir {

class PlainCapture {
 public:
  /// nullopt: another kind of file, or one that cannot be opened (libpcap will say why).
  [[nodiscard]] static std::optional<PlainCapture> open(const std::filesystem::path& path);
  ~PlainCapture();
  PlainCapture(PlainCapture&& other) noexcept;
  PlainCapture& operator=(PlainCapture&&) = delete;

  /// Hands over at most `most` frames; returns how many.
  std::uint64_t read(const FramesHandler& handler, std::uint64_t most);
  /// The file ended in the middle of a record, could not be read on, or made no sense any more.
  [[nodiscard]] bool ended_early() const { return ended_early_; }

 private:
  /// Enough to be worth a call, few enough to stay in the first-level cache.
  static constexpr std::size_t kMostAtOnce = 64;

  PlainCapture() = default;
  /// The whole records that lie in the block, at most `most` of them.
  template <bool kSwapped>
  [[nodiscard]] std::size_t take(std::size_t most);
  /// Reads on, behind what is left. False: there was nothing more.
  [[nodiscard]] bool refill();

  int descriptor_ = -1;
  std::unique_ptr<std::byte[]> block_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::array<Frame, kMostAtOnce> frames_;  ///< taken last
  bool swapped_ = false;
  bool ended_early_ = false;
  std::int64_t fraction_ns_ = 1;  ///< of one unit of a stamp's fraction
  int link_type_ = 1;
};

}  // namespace weir
