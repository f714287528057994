#include "config/source_files.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

#include "config/utf8.hpp"

namespace weir {

Problem cannot_read(const std::filesystem::path& path, int error) {
  return {.message = "cannot read " + path.string() + ": " + std::generic_category().message(error),
          .mend = error == ENOENT ? "check the path" : "check that it is a file which this user may read"};
}

std::variant<std::size_t, Problem> SourceFiles::open(const std::filesystem::path& at) {
  if (const auto known = numbers_.find(at.string()); known != numbers_.end()) return known->second;
  if (files_.size() >= kMostPolicyFiles) {
    return Problem{.message = "a policy of more than " + std::to_string(kMostPolicyFiles) + " files",
                   .mend = "join some of them"};
  }
  // Kept copies are JSON, which has no other text.
  if (!is_utf8(at.native())) {
    return Problem{.message = "the name of a policy file must be UTF-8", .mend = "rename the file"};
  }
  auto content = from_.read(at);
  if (const int* error = std::get_if<int>(&content)) return cannot_read(at, *error);
  std::string& text = std::get<std::string>(content);
  if (bytes_ + text.size() > kMostPolicyBytes) {
    return Problem{.message = "with " + at.string() + " the policy's files are larger than " +
                              std::to_string(kMostPolicyBytes >> 20U) + " MiB together",
                   .mend = "join neighbouring subnets into larger ones"};
  }
  bytes_ += text.size();
  numbers_.emplace(at.string(), files_.size());
  files_.push_back({.path = at, .text = std::move(text)});
  trees_.emplace_back();
  return files_.size() - 1;
}

std::variant<const YamlNode*, Problem> SourceFiles::document(std::size_t file) {
  if (!trees_[file]) {
    auto tree = read_yaml(files_[file].text, file);
    if (auto* unreadable = std::get_if<Problem>(&tree)) return std::move(*unreadable);
    visits_ += std::get<YamlTree>(tree).visits();
    if (visits_ > kMostYamlNodes) {
      return Problem{.message = "more than " + std::to_string(kMostYamlNodes) +
                                " values in all files together, aliases counted at each use",
                     .mend = "write fewer, larger subnets",
                     .file = file};
    }
    trees_[file] = std::move(std::get<YamlTree>(tree));
  }
  return &trees_[file]->root();
}

std::string SourceFiles::on_line(Place at) const {
  std::string said = "on line " + std::to_string(at.line) + ", column " + std::to_string(at.column);
  if (files_.size() > 1) said += " of " + files_[at.file].path.filename().string();
  return said;
}

}  // namespace weir
