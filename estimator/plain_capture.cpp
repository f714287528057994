#include "estimator/plain_capture.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace weir {
namespace {

constexpr std::size_t kBlock = std::size_t{512} * 1024;
/// Read at a time: what is known of the connections needs the caches more.
constexpr std::size_t kReadAtOnce = std::size_t{64} * 1024;
/// The longest record that is believed, as libpcap has it (MAXIMUM_SNAPLEN).
constexpr std::uint32_t kLongestRecord = 262'144;
constexpr std::size_t kFileHeader = 24;
constexpr std::size_t kRecordHeader = 16;
constexpr std::uint32_t kMicroseconds = 0xa1b2c3d4;
constexpr std::uint32_t kNanoseconds = 0xa1b23c4d;
/// The upper bits of the link type tell about frame check sequences.
constexpr std::uint32_t kLinkTypeBits = 0x03ffffff;
constexpr std::int64_t kNanosecondsASecond = 1'000'000'000;

template <bool kSwapped>
[[nodiscard]] std::uint32_t word(const std::byte* at) {
  std::uint32_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return kSwapped ? __builtin_bswap32(value) : value;
}

}  // namespace

std::optional<PlainCapture> PlainCapture::open(const std::filesystem::path& path) {
  PlainCapture file;
  file.descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.descriptor_ < 0) return std::nullopt;
  file.block_ = std::make_unique_for_overwrite<std::byte[]>(kBlock);
  static_cast<void>(file.refill());
  if (file.end_ < kFileHeader) return std::nullopt;
  const std::byte* header = file.block_.get();
  file.begin_ = kFileHeader;
  const auto is_magic = [](std::uint32_t word) { return word == kMicroseconds || word == kNanoseconds; };
  file.swapped_ = !is_magic(word<false>(header));
  const std::uint32_t magic = file.swapped_ ? word<true>(header) : word<false>(header);
  if (!is_magic(magic)) return std::nullopt;
  file.fraction_ns_ = magic == kMicroseconds ? 1000 : 1;
  const std::uint32_t link = file.swapped_ ? word<true>(header + 20) : word<false>(header + 20);
  file.link_type_ = static_cast<int>(link & kLinkTypeBits);
  return file;
}

PlainCapture::PlainCapture(PlainCapture&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      block_(std::move(other.block_)),
      begin_(other.begin_),
      end_(other.end_),
      swapped_(other.swapped_),
      ended_early_(other.ended_early_),
      fraction_ns_(other.fraction_ns_),
      link_type_(other.link_type_) {}

PlainCapture::~PlainCapture() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool PlainCapture::refill() {
  static_assert(kBlock >= kRecordHeader + kLongestRecord);
  std::memmove(block_.get(), block_.get() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  const std::size_t before = end_;
  const std::size_t enough = std::min(end_ + kReadAtOnce, kBlock);
  while (end_ < enough) {
    const ssize_t got = ::read(descriptor_, block_.get() + end_, enough - end_);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) ended_early_ = true;
    if (got <= 0) break;
    end_ += static_cast<std::size_t>(got);
  }
  return end_ > before;
}

template <bool kSwapped>
std::size_t PlainCapture::take(std::size_t most) {
  std::size_t taken = 0;
  const std::int64_t fraction_ns = fraction_ns_;
  const int link_type = link_type_;
  const std::byte* at = block_.get() + begin_;
  const std::byte* const end = block_.get() + end_;
  while (taken < most && static_cast<std::size_t>(end - at) >= kRecordHeader) {
    const std::uint32_t kept = word<kSwapped>(at + 8);
    if (kept > static_cast<std::size_t>(end - at) - kRecordHeader || kept > kLongestRecord) break;
    const std::int64_t whole = word<kSwapped>(at);
    const std::int64_t fraction = word<kSwapped>(at + 4);
    frames_[taken++] = {.time = TimePoint(Duration(whole * kNanosecondsASecond + fraction * fraction_ns)),
                        .wire_length = word<kSwapped>(at + 12),
                        .bytes = std::span(at + kRecordHeader, kept),
                        .link_type = link_type};
    at += kRecordHeader + kept;
  }
  begin_ = static_cast<std::size_t>(at - block_.get());
  return taken;
}

std::uint64_t PlainCapture::read(const FramesHandler& handler, std::uint64_t most) {
  std::uint64_t frames = 0;
  while (frames < most) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(most - frames, kMostAtOnce));
    const std::size_t taken = swapped_ ? take<true>(wanted) : take<false>(wanted);
    if (taken > 0) {
      frames += taken;
      handler(std::span(frames_).first(taken));
    } else if (!refill()) {
      ended_early_ = ended_early_ || end_ != begin_;
      break;
    }
  }
  return frames;
}

}  // namespace weir
