/// What is wrong with a policy file: every fault at once, each with its place and its mend.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

struct Problem {
  std::size_t line = 0;    ///< 1-based; 0 when the fault has no place in the file
  std::size_t column = 0;  ///< 1-based
  std::string message{};   ///< what is wrong
  std::string mend{};      ///< what to write instead
  bool operator==(const Problem&) const = default;
};

using Problems = std::vector<Problem>;

/// "policy.yaml:12:9: unknown key 'guarante'" + the source line + a caret + "  mend: did you mean
/// 'guarantee'?", for each problem in order of place. `text` is the file's content, `file` the name to show.
[[nodiscard]] std::string render(const Problems& problems, std::string_view file, std::string_view text);

}  // namespace weir
