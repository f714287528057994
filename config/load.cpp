#include "config/load.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <span>
#include <system_error>
#include <tuple>
#include <utility>

#include <fnmatch.h>
#include <glob.h>

#include "config/policy_draft.hpp"
#include "config/source_files.hpp"

namespace weir {
namespace {

/// Each problem once, in the order of the file. A node that is used twice through an alias is complained of
/// twice.
void put_in_order(Problems& problems) {
  const auto order = [](const Problem& p) { return std::tie(p.file, p.line, p.column, p.message, p.mend); };
  std::sort(problems.begin(), problems.end(),
            [&](const Problem& a, const Problem& b) { return order(a) < order(b); });
  problems.erase(std::unique(problems.begin(), problems.end()), problems.end());
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

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

class DiskFiles final : public PolicyFiles {
 public:
  /// Files alone: whoever opens a pipe waits for its other end.
  std::variant<std::string, int> read(const std::filesystem::path& path) override {
    std::error_code error;
    const auto about = std::filesystem::status(path, error);
    if (error) return error.value();
    if (std::filesystem::is_directory(about)) return EISDIR;
    return std::filesystem::is_regular_file(about) ? read_file(path) : std::variant<std::string, int>(EINVAL);
  }

  std::variant<std::vector<std::filesystem::path>, int> matching(const std::string& pattern) override {
    // glob(3) tells of a folder that it cannot read by a call alone, which knows of no object.
    static thread_local int unread = 0;
    unread = 0;
    const auto note = [](const char*, int error) {
      if (error != ENOENT && error != ENOTDIR) unread = error;
      return 0;
    };
    glob_t found{};
    const int result = ::glob(pattern.c_str(), 0, note, &found);
    std::vector<std::filesystem::path> paths;
    if (result == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
    ::globfree(&found);
    if (unread != 0) return unread;
    if (result != 0 && result != GLOB_NOMATCH) return ENOMEM;
    return paths;
  }
};

class KeptFiles final : public PolicyFiles {
 public:
  explicit KeptFiles(std::vector<PolicyFile> files) : files_(std::move(files)) {}

  std::variant<std::string, int> read(const std::filesystem::path& path) override {
    for (const PolicyFile& file : files_) {
      if (file.path == path) return file.text;
    }
    return ENOENT;
  }

  std::variant<std::vector<std::filesystem::path>, int> matching(const std::string& pattern) override {
    std::vector<std::filesystem::path> paths;
    for (const PolicyFile& file : files_) {
      if (::fnmatch(pattern.c_str(), file.path.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0)
        paths.push_back(file.path);
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }

 private:
  std::vector<PolicyFile> files_;
};

std::variant<Policy, Problems> parse(SourceFiles& files) {
  Problems problems;
  PolicyDraft draft = read_draft(files, problems);
  check_draft(draft, files, problems);
  if (problems.empty()) return finish(std::move(draft));
  put_in_order(problems);
  return problems;
}

std::variant<LoadedPolicy, LoadFailure> load(PolicyFiles& from, PolicyFile first) {
  SourceFiles files(from, std::move(first));
  auto parsed = parse(files);
  if (auto* problems = std::get_if<Problems>(&parsed)) {
    std::string rendered = render(*problems, files.all());
    return LoadFailure{.problems = std::move(*problems), .rendered = std::move(rendered)};
  }
  return LoadedPolicy{.policy = std::move(std::get<Policy>(parsed)), .files = files.all()};
}

}  // namespace

std::variant<Policy, Problems> parse_policy(std::string_view text) {
  KeptFiles nothing_else({});
  SourceFiles files(nothing_else, {.path = {}, .text = std::string(text)});
  return parse(files);
}

std::variant<LoadedPolicy, LoadFailure> load_policy(const std::filesystem::path& path) {
  DiskFiles disk;
  auto content = read_file(path);  // the operator's own may be a pipe
  if (const int* error = std::get_if<int>(&content)) {
    const PolicyFile unread{.path = path, .text = {}};
    Problems problems{cannot_read(path, *error)};
    std::string rendered = render(problems, std::span(&unread, 1));
    return LoadFailure{.problems = std::move(problems), .rendered = std::move(rendered)};
  }
  return load(disk, {.path = path, .text = std::get<std::string>(std::move(content))});
}

std::variant<LoadedPolicy, LoadFailure> load_kept(std::vector<PolicyFile> files) {
  PolicyFile first = files.front();
  KeptFiles kept(std::move(files));
  return load(kept, std::move(first));
}

}  // namespace weir
