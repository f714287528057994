/// What Weir remembers of a port between runs: /run/weir/<port>.json, and the lock beside it.
///
/// The file is a convenience: lost, the handles are derived again from the policy, and what was bounded of
/// another interface stays so. Damaged, it counts as lost.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "shaper/class_allocation.hpp"
#include "shaper/kernel.hpp"

namespace weir::shaper {

/// What an interface merges was bounded (merge_bound.hpp).
struct BoundedMerging {
  std::string interface;
  MergeLimit before;
  MergeLimit now;
  bool operator==(const BoundedMerging&) const = default;
};

struct PortState {
  KnownHandles handles;
  std::string replaced = {};  ///< somebody else's root that was thrown out for ours; empty: none
  std::optional<BoundedMerging> merging = {};
  bool operator==(const PortState&) const = default;
};

/// Pure: text <-> state. Any text gives a state or nullopt.
[[nodiscard]] std::string to_json(const PortState& state, const std::string& creator);
[[nodiscard]] std::optional<PortState> parse_port_state(const std::string& text);

class StateStore {
 public:
  virtual ~StateStore() = default;
  [[nodiscard]] virtual std::optional<PortState> load() = 0;
  /// Throws std::system_error naming the file.
  virtual void save(const PortState& state) = 0;
  virtual void remove() = 0;
};

class StateFile final : public StateStore {
 public:
  explicit StateFile(std::filesystem::path path) : path_(std::move(path)) {}
  [[nodiscard]] std::optional<PortState> load() override;
  /// Writes beside the file and renames, so that a crash leaves the old or the new one.
  void save(const PortState& state) override;
  void remove() override;

 private:
  std::filesystem::path path_;
};

/// Held while it lives; the kernel lets go of it when the process dies, however it dies.
class PortLock {
 public:
  /// Makes the directory and the file if need be. Throws std::system_error, EWOULDBLOCK when another process
  /// holds it.
  explicit PortLock(const std::filesystem::path& path);
  ~PortLock();
  PortLock(const PortLock&) = delete;
  PortLock& operator=(const PortLock&) = delete;

 private:
  int fd_ = -1;
};

/// Ports under `state_dir` that have a state file and are held by nobody: their queues stand as somebody left
/// them. In the order of their names; a folder that cannot be read has none.
[[nodiscard]] std::vector<std::string> unattended_ports(const std::filesystem::path& state_dir);

}  // namespace weir::shaper
