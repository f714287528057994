// A tap made of a pipe.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "gateway/capture_worker.hpp"
#include "gateway/clock.hpp"
#include "gateway/file_descriptor.hpp"

namespace weir::gateway::test {

/// A tap made of a pipe: each byte written to it is one 60-byte frame.
struct Pipe {
  FileDescriptor in;
  FileDescriptor out;
  std::atomic<std::uint64_t> dropped = 0;
  std::atomic<bool> broken = false;
  std::atomic<bool> absent = false;
  std::atomic<int> opened = 0;

  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) throw std::runtime_error("pipe");
    out = FileDescriptor(ends[0]);
    in = FileDescriptor(ends[1]);
  }
  void write_frames(std::size_t count) const {
    const std::string bytes(count, 'f');
    ASSERT_EQ(::write(in.get(), bytes.data(), count), static_cast<ssize_t>(count));
  }
};

class PipeSource final : public FrameSource {
 public:
  explicit PipeSource(Pipe& pipe) : pipe_(pipe) {}
  int descriptor() const override { return pipe_.out.get(); }
  std::size_t dispatch(std::size_t most, const FrameHandler& handler) override {
    if (pipe_.broken) throw std::runtime_error("wan0: the interface disappeared");
    std::array<char, 4096> buffer{};
    pollfd readable{.fd = pipe_.out.get(), .events = POLLIN, .revents = 0};
    if (::poll(&readable, 1, 0) != 1) return 0;
    const ssize_t got = ::read(pipe_.out.get(), buffer.data(), std::min(most, buffer.size()));
    const std::array<std::byte, 60> bytes{};
    for (ssize_t i = 0; i < got; ++i) handler({.time = monotonic_now(), .wire_length = 60, .bytes = bytes});
    received_ += static_cast<std::uint64_t>(got);
    return static_cast<std::size_t>(got);
  }
  CaptureCounters counters() override { return {.received = received_, .dropped = pipe_.dropped}; }
  bool follow(const FlowSample&) override { return false; }

 private:
  Pipe& pipe_;
  std::uint64_t received_ = 0;
};

}  // namespace weir::gateway::test
