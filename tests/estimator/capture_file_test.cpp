#include <filesystem>
#include <fstream>
#include <system_error>

#include <gtest/gtest.h>
#include <lzma.h>
#include <unistd.h>
#include <zlib.h>

#include "estimator/capture.hpp"
#include "estimator/observe_file.hpp"

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
namespace fs = std::filesystem;

class CaptureFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("weir-capture-" + std::to_string(getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& content) {
    const fs::path path = folder_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  fs::path folder_;
};

void put(std::string& out, std::uint32_t value, int bytes, bool big) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * (big ? bytes - 1 - i : i));
}

constexpr std::uint32_t kFrames = 500;

std::string bytes_of(const TcpSpec& s) {
  const Bytes8 frame = ethernet_frame(s);
  return {reinterpret_cast<const char*>(frame.data()), frame.size()};
}

TcpSpec nth(std::uint32_t i) {
  return {.seq = i * 1000, .payload = 1000, .ip_id = static_cast<std::uint16_t>(i + 1)};
}

/// pcap-savefile(5): frame i at 1000 s + i ms + 7 us (and 89 ns where the format can say so).
std::string pcap(bool nanoseconds, bool big) {
  std::string out;
  put(out, nanoseconds ? 0xa1b23c4dU : 0xa1b2c3d4U, 4, big);
  put(out, 2, 2, big);
  put(out, 4, 2, big);
  put(out, 0, 4, big);
  put(out, 0, 4, big);
  put(out, 128, 4, big);
  put(out, 1, 4, big);
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    const std::string frame = bytes_of(nth(i));
    put(out, 1000, 4, big);
    put(out, nanoseconds ? i * 1'000'000 + 7'089 : i * 1000 + 7, 4, big);
    put(out, static_cast<std::uint32_t>(frame.size()), 4, big);
    put(out, 14 + ip_length(nth(i)), 4, big);
    out += frame;
  }
  return out;
}

/// The pcapng draft: section header, interface with nanosecond resolution, enhanced packets.
std::string pcapng() {
  std::string out;
  const auto block = [&](std::uint32_t type, std::string body) {
    while (body.size() % 4 != 0) body += '\0';
    put(out, type, 4, false);
    put(out, static_cast<std::uint32_t>(body.size()) + 12, 4, false);
    out += body;
    put(out, static_cast<std::uint32_t>(body.size()) + 12, 4, false);
  };
  std::string body;
  put(body, 0x1a2b3c4d, 4, false);
  put(body, 1, 2, false);
  put(body, 0, 2, false);
  put(body, 0xffffffffU, 4, false);
  put(body, 0xffffffffU, 4, false);
  block(0x0a0d0d0a, body);
  body.clear();
  put(body, 1, 2, false);
  put(body, 0, 2, false);
  put(body, 128, 4, false);
  put(body, 9, 2, false);  // if_tsresol: 10^-9
  put(body, 1, 2, false);
  put(body, 9, 4, false);
  put(body, 0, 4, false);
  block(1, body);
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    const std::string frame = bytes_of(nth(i));
    const std::uint64_t stamp = 1'000'000'000'000ULL + i * 1'000'000ULL + 7'089ULL;
    body.clear();
    put(body, 0, 4, false);
    put(body, static_cast<std::uint32_t>(stamp >> 32U), 4, false);
    put(body, static_cast<std::uint32_t>(stamp), 4, false);
    put(body, static_cast<std::uint32_t>(frame.size()), 4, false);
    put(body, 14 + ip_length(nth(i)), 4, false);
    block(6, body + frame);
  }
  return out;
}

std::string xz(const std::string& plain) {
  std::string out(lzma_stream_buffer_bound(plain.size()), '\0');
  std::size_t size = 0;
  EXPECT_EQ(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, nullptr,
                                    reinterpret_cast<const std::uint8_t*>(plain.data()), plain.size(),
                                    reinterpret_cast<std::uint8_t*>(out.data()), &size, out.size()),
            LZMA_OK);
  out.resize(size);
  return out;
}

struct Read {
  std::uint64_t frames = 0;
  bool truncated = false;
};

Read read(const fs::path& path, std::int64_t fraction_ns) {
  Read result;
  std::uint32_t i = 0;
  result.frames = read_capture_file(
      path,
      [&](std::span<const Frame> frames) {
        for (const Frame& frame : frames) {
          EXPECT_EQ(frame.time.time_since_epoch().count(), 1'000'000'000'000 + i * 1'000'000LL + fraction_ns);
          EXPECT_EQ(frame.wire_length, 14 + ip_length(nth(i)));
          EXPECT_EQ(frame.link_type, 1);
          PacketRecord record;
          EXPECT_EQ(parse_frame(frame, record), ParseOutcome::tcp);
          EXPECT_EQ(record.sequence, i * 1000);
          ++i;
        }
      },
      &result.truncated);
  EXPECT_EQ(result.frames, i);
  return result;
}

TEST_F(CaptureFile, EveryFormatGivesTheSameFrames) {
  for (bool nanoseconds : {false, true}) {
    for (bool big : {false, true}) {
      const Read r = read(write("plain.pcap", pcap(nanoseconds, big)), nanoseconds ? 7'089 : 7'000);
      EXPECT_EQ(r.frames, kFrames);
      EXPECT_FALSE(r.truncated);
    }
  }
  EXPECT_EQ(read(write("x.pcapng", pcapng()), 7'089).frames, kFrames);
}

TEST_F(CaptureFile, CompressedOnesAreReadAsTheyStand) {
  const Read from_xz = read(write("a.pcap.xz", xz(pcap(false, false))), 7'000);
  EXPECT_EQ(from_xz.frames, kFrames);
  EXPECT_FALSE(from_xz.truncated);
  EXPECT_EQ(read(write("b.pcapng.xz", xz(pcapng())), 7'089).frames, kFrames);

  const std::string plain = pcap(true, false);
  const fs::path path = folder_ / "c.pcap.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_EQ(gzwrite(file, plain.data(), static_cast<unsigned>(plain.size())), static_cast<int>(plain.size()));
  gzclose(file);
  const Read from_gz = read(path, 7'089);
  EXPECT_EQ(from_gz.frames, kFrames);
  EXPECT_FALSE(from_gz.truncated);
}

TEST_F(CaptureFile, ATruncatedOneEndsWithWhatItHad) {
  std::string plain = pcap(false, false);
  const std::string packed = xz(plain);
  plain.resize(plain.size() - 10);
  const Read cut = read(write("cut.pcap", plain), 7'000);
  EXPECT_EQ(cut.frames, kFrames - 1);
  EXPECT_TRUE(cut.truncated);

  const Read cut_xz = read(write("cut.pcap.xz", packed.substr(0, packed.size() * 2 / 3)), 7'000);
  EXPECT_TRUE(cut_xz.truncated);
  EXPECT_LT(cut_xz.frames, kFrames);
  const Observation o = observe_file(folder_ / "cut.pcap", one_site());
  EXPECT_TRUE(o.truncated);
  EXPECT_EQ(o.packets, kFrames - 1);
}

TEST_F(CaptureFile, WhatIsNoCaptureIsSaidSo) {
  EXPECT_THROW(read(folder_ / "absent.pcap", 0), std::system_error);
  EXPECT_THROW(read(write("text.pcap", "not a capture, surely"), 0), std::runtime_error);
  EXPECT_THROW(read(write("bad.pcap.xz", xz("neither").substr(0, 9)), 0), std::runtime_error);
  EXPECT_THROW(read(write("empty.pcap", ""), 0), std::runtime_error);
}

TEST_F(CaptureFile, OnlyTheBeginningIsReadWhenAsked) {
  const fs::path path = write("a.pcap", pcap(false, false));
  EXPECT_EQ(read_capture_file(
                path, [](std::span<const Frame>) {}, nullptr, 10),
            10U);
}

}  // namespace
}  // namespace weir
