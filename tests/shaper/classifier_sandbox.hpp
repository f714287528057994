/// A network and mount namespace for one test, with a BPF file system of its own: nothing of it outlives the
/// process.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "classifier_frames.hpp"

namespace weir::shaper::test {

/// Moves the calling process into new namespaces. `refusal` says why that was not possible (no root, no BPF).
class Sandbox {
 public:
  Sandbox();
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  [[nodiscard]] const std::string& refusal() const { return refusal_; }
  [[nodiscard]] std::filesystem::path bpf_dir() const { return mount_point_ / "weir"; }
  [[nodiscard]] const std::filesystem::path& mount_point() const { return mount_point_; }

 private:
  std::string enter();
  std::string refusal_;
  std::filesystem::path mount_point_;
};

/// What a command printed; throws std::runtime_error with it when the command failed.
std::string output_of(const std::string& command);

/// Sends one frame out of an interface, through its qdiscs, like anybody's packet.
class RawSender {
 public:
  explicit RawSender(const std::string& interface);
  ~RawSender();
  RawSender(const RawSender&) = delete;
  RawSender& operator=(const RawSender&) = delete;
  void send(const Octets& frame) const;

 private:
  int fd_ = -1;
};

}  // namespace weir::shaper::test
