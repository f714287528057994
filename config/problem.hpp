/// What is wrong with a policy file: every fault at once, each with its place and its mend.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

struct Problem {
  std::size_t line = 0;    ///< 1-based; 0 when the fault has no place in the file
  std::size_t column = 0;  ///< 1-based
  std::string message{};   ///< what is wrong
  std::string mend{};      ///< what to write instead
  std::size_t file = 0;    ///< of those that the policy was read from; the operator's own is 0
  bool operator==(const Problem&) const = default;
};

using Problems = std::vector<Problem>;

/// What a policy was read from.
struct PolicyFile {
  std::filesystem::path path;
  std::string text;
  bool operator==(const PolicyFile&) const = default;
};

/// "policy.yaml:12:9: unknown key 'guarante'" + the source line + a caret + "  mend: did you mean
/// 'guarantee'?", for each problem in order of place. A problem's file is an index into `files`.
[[nodiscard]] std::string render(const Problems& problems, std::span<const PolicyFile> files);
/// The same of a single file: `text` is its content, `file` the name to show.
[[nodiscard]] std::string render(const Problems& problems, std::string_view file, std::string_view text);

}  // namespace weir
