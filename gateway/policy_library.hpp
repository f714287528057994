/// Where a boot finds its policy: the operator's file, or the last one that worked.
///
/// store() replaces atomically (write beside, fsync, rename, fsync the folder): a crash leaves the old or the
/// new copy, never a half. What is kept is untrusted when it is read again. One process per folder.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/load.hpp"
#include "gateway/revision_log.hpp"

namespace weir::gateway {

class PolicyLibrary {
 public:
  explicit PolicyLibrary(std::filesystem::path folder);

  /// Keeps `files` as the last good policy. Throws std::system_error naming the attempt.
  void store(const std::vector<PolicyFile>& files) const;
  /// What store() kept, or why it cannot be used.
  [[nodiscard]] std::variant<LoadedPolicy, LoadFailure> load() const;
  [[nodiscard]] std::filesystem::path last_good() const { return folder_ / "last-good.json"; }

 private:
  std::filesystem::path folder_;
};

/// What a boot works with.
struct BootPolicy {
  LoadedPolicy loaded;
  /// Set when the last good copy serves instead of the file: what is wrong with it, ready to print, or that
  /// it holds a policy that was rolled back.
  std::optional<std::string> why_not_the_file;
};

/// The failure is the file's own; that there is no usable copy either is added to its text.
[[nodiscard]] std::variant<BootPolicy, LoadFailure> load_boot_policy(const std::filesystem::path& file,
                                                                     const PolicyLibrary& library,
                                                                     const RevisionLog& revisions);

}  // namespace weir::gateway
