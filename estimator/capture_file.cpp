#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <vector>

#include <lzma.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <zlib.h>

#include "estimator/capture.hpp"
#include "estimator/plain_capture.hpp"

namespace weir {
namespace {

constexpr std::size_t kBlock = std::size_t{64} * 1024;
constexpr std::int64_t kMostSeconds = 9'000'000'000;

/// libpcap reads plain files itself. Compressed ones reach it through a stream of our own (fopencookie(3)),
/// block by block: no temporary file, no second process.
///
/// A damaged end is not an error here: what was read before it stands, and `damaged` remembers it.
class Inflater {
 public:
  virtual ~Inflater() = default;
  /// Up to `size` bytes; 0 at the end or at a damage; never throws.
  virtual std::size_t read(char* to, std::size_t size) = 0;
  [[nodiscard]] bool damaged() const { return damaged_; }

 protected:
  bool damaged_ = false;
};

class GzipInflater final : public Inflater {
 public:
  explicit GzipInflater(const std::filesystem::path& path) : file_(gzopen(path.c_str(), "rb")) {
    if (!file_) throw std::system_error(errno, std::generic_category(), "cannot open " + path.string());
    gzbuffer(file_.get(), kBlock);
  }
  std::size_t read(char* to, std::size_t size) override {
    const int got = gzread(file_.get(), to, static_cast<unsigned>(size));
    int status = Z_OK;
    gzerror(file_.get(), &status);
    if (got < 0 || (status != Z_OK && status != Z_STREAM_END)) damaged_ = true;
    return got > 0 ? static_cast<std::size_t>(got) : 0;
  }

 private:
  struct Closer {
    void operator()(gzFile file) const { gzclose_r(file); }
  };
  std::unique_ptr<std::remove_pointer_t<gzFile>, Closer> file_;
};

class XzInflater final : public Inflater {
 public:
  explicit XzInflater(const std::filesystem::path& path) : file_(path, std::ios::binary) {
    if (!file_) throw std::system_error(errno, std::generic_category(), "cannot open " + path.string());
    constexpr std::uint64_t kMostMemory = 256U << 20U;  // an .xz header may ask for gigabytes
    if (lzma_stream_decoder(&stream_, kMostMemory, LZMA_CONCATENATED) != LZMA_OK) {
      throw std::runtime_error("cannot start the xz decoder for " + path.string());
    }
  }
  ~XzInflater() override { lzma_end(&stream_); }
  XzInflater(const XzInflater&) = delete;
  XzInflater& operator=(const XzInflater&) = delete;

  std::size_t read(char* to, std::size_t size) override {
    stream_.next_out = reinterpret_cast<std::uint8_t*>(to);
    stream_.avail_out = size;
    while (stream_.avail_out > 0 && !ended_) {
      if (stream_.avail_in == 0 && !file_.eof()) refill();
      const lzma_ret status = lzma_code(&stream_, file_.eof() ? LZMA_FINISH : LZMA_RUN);
      if (status == LZMA_OK) continue;
      ended_ = true;
      if (status != LZMA_STREAM_END) damaged_ = true;
    }
    return size - stream_.avail_out;
  }

 private:
  void refill() {
    file_.read(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
    stream_.next_in = reinterpret_cast<const std::uint8_t*>(buffer_.data());
    stream_.avail_in = static_cast<std::size_t>(file_.gcount());
  }
  std::ifstream file_;
  lzma_stream stream_ = LZMA_STREAM_INIT;
  std::array<char, kBlock> buffer_{};
  bool ended_ = false;
};

[[nodiscard]] std::unique_ptr<Inflater> inflater_for(const std::filesystem::path& path) {
  std::array<unsigned char, 6> magic{};
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::system_error(errno, std::generic_category(), "cannot open " + path.string());
  file.read(reinterpret_cast<char*>(magic.data()), magic.size());
  constexpr std::array<unsigned char, 6> kXz = {0xfd, '7', 'z', 'X', 'Z', 0};
  if (magic == kXz) return std::make_unique<XzInflater>(path);
  if (magic[0] == 0x1f && magic[1] == 0x8b) return std::make_unique<GzipInflater>(path);
  return nullptr;
}

struct FileCloser {
  void operator()(FILE* file) const { static_cast<void>(fclose(file)); }
};
using File = std::unique_ptr<FILE, FileCloser>;

[[nodiscard]] File open_stream(const std::filesystem::path& path, Inflater* inflater) {
  FILE* stream = nullptr;
  if (inflater == nullptr) {
    stream = fopen(path.c_str(), "rbe");
  } else {
    const cookie_io_functions_t functions{
        .read = [](void* cookie, char* to, std::size_t size) -> ssize_t {
          return static_cast<ssize_t>(static_cast<Inflater*>(cookie)->read(to, size));
        },
        .write = nullptr,
        .seek = nullptr,
        .close = nullptr};
    stream = fopencookie(inflater, "rb", functions);
  }
  if (stream == nullptr)
    throw std::system_error(errno, std::generic_category(), "cannot read " + path.string());
  return File(stream);
}

}  // namespace

std::uint64_t read_capture_file(const std::filesystem::path& path, const FramesHandler& handler,
                                bool* truncated, std::uint64_t most) {
  if (auto plain = PlainCapture::open(path)) {
    const std::uint64_t frames = plain->read(handler, most);
    if (truncated != nullptr) *truncated = plain->ended_early();
    return frames;
  }
  const std::unique_ptr<Inflater> inflater = inflater_for(path);
  File stream = open_stream(path, inflater.get());

  char error[PCAP_ERRBUF_SIZE] = {};
  pcap_t* opened = pcap_fopen_offline_with_tstamp_precision(stream.get(), PCAP_TSTAMP_PRECISION_NANO, error);
  if (opened == nullptr) throw std::runtime_error("cannot read " + path.string() + " as a capture: " + error);
  static_cast<void>(stream.release());  // pcap_close closes it
  const std::unique_ptr<pcap_t, decltype(&pcap_close)> handle(opened, &pcap_close);

  std::uint64_t frames = 0;
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  int status = 0;
  while (frames < most && (status = pcap_next_ex(handle.get(), &header, &bytes)) == 1) {
    // A stamp of 64 bits may claim any second; those of nanoseconds end in 2262.
    const auto second = std::clamp<std::int64_t>(header->ts.tv_sec, -kMostSeconds, kMostSeconds);
    const Duration time = std::chrono::seconds(second) + Duration(header->ts.tv_usec);
    const Frame frame{.time = TimePoint(time),
                      .wire_length = header->len,
                      .bytes = std::as_bytes(std::span(bytes, header->caplen)),
                      .link_type = pcap_datalink(handle.get())};
    handler(std::span(&frame, 1));
    ++frames;
  }
  if (truncated != nullptr) *truncated = status == PCAP_ERROR || (inflater && inflater->damaged());
  return frames;
}

}  // namespace weir
