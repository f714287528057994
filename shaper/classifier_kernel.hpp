/// What every part of the classifier that talks to the kernel shares: an owned descriptor, libbpf's words,
/// one way to fail.
#pragma once

#include <string>
#include <utility>

#include <bpf/libbpf.h>
#include <unistd.h>

namespace weir::shaper {

/// A file descriptor of a BPF program, a map or a socket, closed by its owner. -1: owns nothing.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  [[nodiscard]] int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  void reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  int fd_ = -1;
};

/// While one lives, libbpf's warnings (process-wide hook, stderr by default) are kept for the exception
/// instead.
class LibbpfLog {
 public:
  LibbpfLog();
  ~LibbpfLog();
  LibbpfLog(const LibbpfLog&) = delete;
  LibbpfLog& operator=(const LibbpfLog&) = delete;

  /// `attempt` and the last lines that libbpf or the verifier said about it.
  [[nodiscard]] static std::string with_tail(const std::string& attempt);

 private:
  libbpf_print_fn_t previous_;
};

/// Throws std::system_error(error, attempt).
[[noreturn]] void fail_classifier(int error, const std::string& attempt);

}  // namespace weir::shaper
