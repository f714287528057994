#include "config/load.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>
#include <tuple>
#include <utility>

#include "config/policy_draft.hpp"
#include "config/yaml_tree.hpp"

namespace weir {
namespace {

/// Each problem once, in the order of the file. A node that is used twice through an alias is complained of
/// twice.
void put_in_order(Problems& problems) {
  const auto order = [](const Problem& p) { return std::tie(p.line, p.column, p.message, p.mend); };
  std::sort(problems.begin(), problems.end(),
            [&](const Problem& a, const Problem& b) { return order(a) < order(b); });
  problems.erase(std::unique(problems.begin(), problems.end()), problems.end());
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

Problem cannot_read(const std::filesystem::path& path, int error) {
  return {.message = "cannot read " + path.string() + ": " + std::generic_category().message(error),
          .mend = error == ENOENT ? "check the path" : "check that it is a file which this user may read"};
}

/// The whole file, or the errno. One byte more than a policy may have is read at most: enough to be refused
/// later.
std::variant<std::string, int> read_file(const std::filesystem::path& path) {
  const File file(std::fopen(path.c_str(), "rbe"));
  if (!file) return errno;
  std::string text;
  while (text.size() <= kMostPolicyBytes) {
    constexpr std::size_t kChunk = 64U << 10U;
    const std::size_t before = text.size();
    text.resize(before + std::min(kChunk, kMostPolicyBytes + 1 - before));
    const std::size_t got = std::fread(text.data() + before, 1, text.size() - before, file.get());
    const bool ended = before + got < text.size();
    text.resize(before + got);
    if (ended) return std::ferror(file.get()) != 0 ? std::variant<std::string, int>(errno) : std::move(text);
  }
  return text;
}

}  // namespace

std::variant<Policy, Problems> parse_policy(std::string_view text) {
  auto tree = read_yaml(text);
  if (auto* unreadable = std::get_if<Problem>(&tree)) return Problems{std::move(*unreadable)};
  Problems problems;
  PolicyDraft draft = read_draft(std::get<YamlTree>(tree), problems);
  check_draft(draft, problems);
  if (problems.empty()) return finish(std::move(draft));
  put_in_order(problems);
  return problems;
}

std::variant<LoadedPolicy, LoadFailure> load_policy(const std::filesystem::path& path) {
  const auto failure = [&path](Problems problems, std::string_view text) {
    std::string rendered = render(problems, path.string(), text);
    return LoadFailure{.problems = std::move(problems), .rendered = std::move(rendered)};
  };
  auto content = read_file(path);
  if (const int* error = std::get_if<int>(&content)) return failure({cannot_read(path, *error)}, {});
  std::string& text = std::get<std::string>(content);
  auto parsed = parse_policy(text);
  if (auto* problems = std::get_if<Problems>(&parsed)) return failure(std::move(*problems), text);
  return LoadedPolicy{.policy = std::move(std::get<Policy>(parsed)), .text = std::move(text)};
}

}  // namespace weir
