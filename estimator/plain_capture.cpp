#include "estimator/plain_capture.hpp"

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace weir {
namespace {

constexpr std::size_t kBlock = 512 * 1024;
/// The longest record that is believed, as libpcap has it (MAXIMUM_SNAPLEN).
constexpr std::uint32_t kLongestRecord = 262'144;
constexpr std::size_t kFileHeader = 24;
constexpr std::size_t kRecordHeader = 16;
constexpr std::uint32_t kMicroseconds = 0xa1b2c3d4;
constexpr std::uint32_t kNanoseconds = 0xa1b23c4d;
/// The upper bits of the link type tell about frame check sequences.
constexpr std::uint32_t kLinkTypeBits = 0x03ffffff;

}  // namespace

std::optional<PlainCapture> PlainCapture::open(const std::filesystem::path& path) {
  PlainCapture file;
  file.descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.descriptor_ < 0) return std::nullopt;
  file.block_ = std::make_unique_for_overwrite<std::byte[]>(kBlock);
  const std::byte* header = file.next(kFileHeader);
  if (header == nullptr) return std::nullopt;
  std::uint32_t magic = file.word(header);
  if (magic != kMicroseconds && magic != kNanoseconds) {
    file.swapped_ = true;
    magic = file.word(header);
  }
  if (magic != kMicroseconds && magic != kNanoseconds) return std::nullopt;
  file.fraction_ns_ = magic == kMicroseconds ? 1000 : 1;
  file.link_type_ = static_cast<int>(file.word(header + 20) & kLinkTypeBits);
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

std::uint32_t PlainCapture::word(const std::byte* at) const {
  std::uint32_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return swapped_ ? __builtin_bswap32(value) : value;
}

bool PlainCapture::refill(std::size_t count) {
  std::memmove(block_.get(), block_.get() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  while (end_ < kBlock) {
    const ssize_t got = ::read(descriptor_, block_.get() + end_, kBlock - end_);
    if (got < 0 && errno == EINTR) continue;
    failed_ = got < 0;
    if (got <= 0) break;
    end_ += static_cast<std::size_t>(got);
  }
  return end_ >= count;
}

std::uint64_t PlainCapture::read(const FrameHandler& handler, std::uint64_t most) {
  static_assert(kBlock >= kRecordHeader + kLongestRecord);
  std::uint64_t frames = 0;
  for (; frames < most; ++frames) {
    const std::byte* header = next(kRecordHeader);
    if (header == nullptr) {
      ended_early_ = failed_ || end_ != begin_;
      break;
    }
    const Duration time = std::chrono::seconds(word(header)) +
                          Duration(static_cast<std::int64_t>(word(header + 4)) * fraction_ns_);
    const std::uint32_t kept = word(header + 8);
    const std::uint32_t length = word(header + 12);
    const std::byte* bytes = kept <= kLongestRecord ? next(kept) : nullptr;
    if (bytes == nullptr) {
      ended_early_ = true;
      break;
    }
    handler(Frame{.time = TimePoint(time),
                  .wire_length = length,
                  .bytes = std::span(bytes, kept),
                  .link_type = link_type_});
  }
  return frames;
}

}  // namespace weir
