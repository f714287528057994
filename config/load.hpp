/// Policy file -> Policy, or every problem in it.
///
/// Untrusted input: any bytes give a Policy or Problems, never an exception, a crash or unbounded work.
/// No side effects; nothing else of the product reads YAML.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/policy.hpp"
#include "config/problem.hpp"

namespace weir {

/// Whence a policy's files are read: the disk, or a copy of them all that was kept.
class PolicyFiles {
 public:
  virtual ~PolicyFiles() = default;
  /// The whole file, or the errno; of one that is too large for a policy its beginning, still too large.
  [[nodiscard]] virtual std::variant<std::string, int> read(const std::filesystem::path& path) = 0;
  /// Those that match a pattern of glob(7), sorted; or the errno of a folder that cannot be looked into.
  [[nodiscard]] virtual std::variant<std::vector<std::filesystem::path>, int> matching(
      const std::string& pattern) = 0;
};

/// What a policy means, beside all that it was read from: the operator's file first. load_kept() reads it
/// again.
struct LoadedPolicy {
  Policy policy;
  std::vector<PolicyFile> files;
};

/// Why no policy came of a file. `rendered` is ready to print.
struct LoadFailure {
  Problems problems;
  std::string rendered;
};

/// A text that includes no other file.
[[nodiscard]] std::variant<Policy, Problems> parse_policy(std::string_view text);

/// Reads `path` and what it includes, and parses it. A file that cannot be read is one Problem naming the
/// path and errno.
[[nodiscard]] std::variant<LoadedPolicy, LoadFailure> load_policy(const std::filesystem::path& path);
/// The same of a copy of all files, whatever the disk holds now. There is at least one.
[[nodiscard]] std::variant<LoadedPolicy, LoadFailure> load_kept(std::vector<PolicyFile> files);

/// "ef" -> 46, "af41" -> 34, "cs1" -> 8, "default" -> 0, "12" -> 12; nullopt otherwise.
[[nodiscard]] std::optional<std::uint8_t> parse_dscp(std::string_view text);
/// 46 -> "ef", 0 -> "default"; nullopt: the code point has no name.
[[nodiscard]] std::optional<std::string_view> name_of_dscp(std::uint8_t dscp);
/// "622mbit" -> 622'000'000 (decimal multiples, bit/kbit/mbit/gbit, decimals allowed: "1.5gbit"); nullopt
/// otherwise.
[[nodiscard]] std::optional<Rate> parse_rate(std::string_view text);
/// The shortest exact spelling that parse_rate reads back: 45'000'000 -> "45mbit".
[[nodiscard]] std::string to_string(Rate rate);

}  // namespace weir
