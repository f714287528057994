/// All that one policy is read from: its file, what that includes, and lists of subnets. Internal to config/.
///
/// Untrusted input: number, size, values and nesting are bounded, for all files of a policy together.
#pragma once

#include <cstddef>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "config/load.hpp"
#include "config/yaml_tree.hpp"

namespace weir {

/// Lists of subnets count as well.
inline constexpr std::size_t kMostPolicyFiles = 4096;

[[nodiscard]] Problem cannot_read(const std::filesystem::path& path, int error);

class SourceFiles {
 public:
  /// `first` is the operator's own file: number 0.
  SourceFiles(PolicyFiles& from, PolicyFile first) : from_(from), bytes_(first.text.size()) {
    numbers_.emplace(first.path.string(), 0);
    files_.push_back(std::move(first));
    trees_.emplace_back();
  }

  /// What file `by` calls `path`: relative to its folder.
  [[nodiscard]] std::filesystem::path resolved(const std::filesystem::path& path, std::size_t by) const {
    return (files_[by].path.parent_path() / path).lexically_normal();
  }
  /// The number of the file at a resolved path, read now if it was not before; or why it cannot be had: a
  /// message and mend without a place.
  [[nodiscard]] std::variant<std::size_t, Problem> open(const std::filesystem::path& path);
  /// The files that match a resolved pattern of glob(7), sorted; or an errno.
  [[nodiscard]] std::variant<std::vector<std::filesystem::path>, int> matching(
      const std::filesystem::path& pattern) {
    return from_.matching(pattern.string());
  }

  /// The file's YAML document; its places name the file.
  [[nodiscard]] std::variant<const YamlNode*, Problem> document(std::size_t file);
  /// A child of a node that document() led to.
  [[nodiscard]] const YamlNode& child(const YamlNode& parent, std::size_t i) const {
    return trees_[parent.at.file]->child(parent, i);
  }

  [[nodiscard]] const std::string& text(std::size_t file) const { return files_[file].text; }
  /// "on line 3, column 7", and of which file where there are several.
  [[nodiscard]] std::string on_line(Place at) const;
  [[nodiscard]] std::vector<PolicyFile> all() const { return {files_.begin(), files_.end()}; }

 private:
  PolicyFiles& from_;
  std::deque<PolicyFile> files_;  // texts and trees stay where they are: others refer to them
  std::deque<std::optional<YamlTree>> trees_;
  std::unordered_map<std::string, std::size_t> numbers_;  // by path
  std::size_t bytes_;
  std::size_t visits_ = 0;  // of values
};

}  // namespace weir
