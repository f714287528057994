#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <system_error>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "config/load.hpp"
#include "gateway/cli.hpp"
#include "gateway/cli_answer.hpp"
#include "gateway/json_text.hpp"
#include "gateway/json_view.hpp"
#include "gateway/read_whole.hpp"
#include "gateway/replace_file.hpp"
#include "gateway/text_table.hpp"

extern char** environ;  // NOLINT(readability-redundant-declaration): not every header declares it

namespace weir::gateway {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;

constexpr std::size_t kChangesShown = 20;
constexpr std::size_t kLargestFile = std::size_t{64} << 20U;

std::variant<json::value, HttpFailure> asked(const fs::path& socket, const std::string& target) {
  return document_of(body_of(socket, target));
}

int tell(const json::value& outcome) {
  const json::array& made = list(at(outcome, {"changes"}));
  for (std::size_t i = 0; i < std::min(made.size(), kChangesShown); ++i) fmt::print("  {}\n", text(made[i]));
  if (made.size() > kChangesShown) fmt::print("  ... and {} more\n", made.size() - kChangesShown);
  fmt::print("{}\n", text(at(outcome, {"text"})));
  return kExitOk;
}

int send_change(const fs::path& socket, std::string_view target, const json::object& body) {
  const auto outcome = document_of(answer_to_change(socket, target, to_text(body)));
  if (const auto* failure = std::get_if<HttpFailure>(&outcome)) return complain(*failure);
  return tell(std::get<json::value>(outcome));
}

/// What the daemon reads its policy from, or what went wrong.
std::variant<fs::path, HttpFailure> policy_file_of(const fs::path& socket) {
  auto status = asked(socket, "/v1/status");
  if (auto* failure = std::get_if<HttpFailure>(&status)) return std::move(*failure);
  const json::value& file = at(std::get<json::value>(status), {"policy", "file"});
  if (!file.is_string()) return HttpFailure{.text = "the daemon does not say where its policy file is"};
  return fs::path(std::string(file.get_string()));
}

/// Puts `text` in the place of `file`, whose owner and mode stay. Throws std::system_error.
void install(const fs::path& file, std::string_view text) {
  if (fs::is_symlink(file)) {
    throw std::system_error(ELOOP, std::generic_category(),
                            file.string() + " is a link: change the file that it leads to, and `weir apply`");
  }
  replace_file(file.parent_path(), file.filename().string(), text, Owner::as_was);
}

std::string whole_text(const fs::path& file) {
  auto read = read_whole(file, kLargestFile);
  if (const auto* unreadable = std::get_if<Unreadable>(&read))
    throw std::system_error(EIO, std::generic_category(), file.string() + ": " + unreadable->why);
  return std::get<std::string>(std::move(read));
}

/// Another file's text in the place of the daemon's own while the daemon is asked to take it; put back unless
/// it does. Signals that end a process wait meanwhile.
class Installed {
 public:
  Installed(const fs::path& from, fs::path to) : to_(std::move(to)) {
    std::error_code none;
    if (fs::exists(to_, none)) before_ = whole_text(to_);
    const std::string text = whole_text(from);
    sigset_t ending;
    sigemptyset(&ending);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ending, signal);
    ::pthread_sigmask(SIG_BLOCK, &ending, &mask_before_);
    try {
      install(to_, text);
    } catch (...) {
      ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
      throw;
    }
  }
  ~Installed() {
    if (!kept_) put_back();
    ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
  }
  Installed(const Installed&) = delete;
  Installed& operator=(const Installed&) = delete;
  void keep() { kept_ = true; }

 private:
  void put_back() const {
    try {
      if (before_)
        install(to_, *before_);
      else
        fs::remove(to_);
    } catch (const std::exception& failure) {
      fmt::print(stderr, "weir: {} could not be put back: {}\n", to_.string(), failure.what());
    }
  }

  fs::path to_;
  std::optional<std::string> before_;  ///< nullopt: there was no such file
  sigset_t mask_before_{};
  bool kept_ = false;
};

json::object apply_body(const ApplyOptions& options) {
  json::object body;
  if (options.confirm_within) body["confirm_s"] = seconds(*options.confirm_within);
  if (!options.comment.empty()) body["comment"] = options.comment;
  return body;
}

// -- differences --

struct Side {
  std::string name;
  std::map<std::string, std::string> files;  ///< by path
};

std::variant<Side, HttpFailure> side_of_revision(const fs::path& socket, std::uint64_t number) {
  const auto revision = asked(socket, fmt::format("/v1/policy/revisions/{}", number));
  if (const auto* failure = std::get_if<HttpFailure>(&revision)) return *failure;
  Side side{.name = fmt::format("revision {}", number), .files = {}};
  for (const json::value& file : list(at(std::get<json::value>(revision), {"files"}))) {
    const json::value& path = at(file, {"path"});
    const json::value& content = at(file, {"text"});
    if (path.is_string() && content.is_string())
      side.files[std::string(path.get_string())] = std::string(content.get_string());
  }
  return side;
}

Side side_of_disk(const fs::path& policy_file) {
  Side side{.name = "on disk", .files = {}};
  auto read = load_policy(policy_file);
  if (auto* loaded = std::get_if<LoadedPolicy>(&read)) {
    for (PolicyFile& file : loaded->files) side.files[file.path.string()] = std::move(file.text);
  } else {
    side.files[policy_file.string()] = whole_text(policy_file);
  }
  return side;
}

/// A text that another program can read as a file while this lives.
class MemoryFileOf {
 public:
  explicit MemoryFileOf(const std::string& text) : file_(std::tmpfile()) {
    if (file_ == nullptr || std::fwrite(text.data(), 1, text.size(), file_) != text.size() ||
        std::fflush(file_) != 0)
      throw std::system_error(errno, std::generic_category(), "keep a text to compare");
  }
  ~MemoryFileOf() {
    if (file_ != nullptr) std::fclose(file_);
  }
  MemoryFileOf(const MemoryFileOf&) = delete;
  MemoryFileOf& operator=(const MemoryFileOf&) = delete;
  /// For a child that inherits the descriptor.
  [[nodiscard]] std::string path() const {
    return fmt::format("/proc/{}/fd/{}", ::getpid(), ::fileno(file_));
  }

 private:
  std::FILE* file_;
};

/// diff(1) prints it; true: they differ.
bool print_difference(const std::string& path, const std::string& left, const std::string& right,
                      const std::string& left_text, const std::string& right_text) {
  if (left_text == right_text) return false;
  const MemoryFileOf a(left_text);
  const MemoryFileOf b(right_text);
  std::vector<std::string> words{"diff",    "-u",
                                 "--label", fmt::format("{} ({})", path, left),
                                 "--label", fmt::format("{} ({})", path, right),
                                 a.path(),  b.path()};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::fflush(stdout);
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, "diff", nullptr, nullptr, arguments.data(), environ);
  int status = 0;
  if (error != 0 || ::waitpid(child, &status, 0) < 0)
    throw std::system_error(error != 0 ? error : errno, std::generic_category(), "run diff");
  return true;
}

int print_differences(const Side& left, const Side& right) {
  std::map<std::string, std::array<std::string, 2>> pairs;
  for (const auto& [path, content] : left.files) pairs[path][0] = content;
  for (const auto& [path, content] : right.files) pairs[path][1] = content;
  bool differ = false;
  for (const auto& [path, texts] : pairs)
    differ = print_difference(path, left.name, right.name, texts[0], texts[1]) || differ;
  return differ ? kExitPolicy : kExitOk;
}

}  // namespace

int apply_by_daemon(const ApplyOptions& options) {
  const auto own = policy_file_of(options.socket);
  if (const auto* failure = std::get_if<HttpFailure>(&own)) return complain(*failure);
  const fs::path& file = std::get<fs::path>(own);
  const fs::path& candidate = options.file.empty() ? file : options.file;
  // Here, where its problems can be shown as they should.
  auto read = load_policy(candidate);
  if (const auto* bad = std::get_if<LoadFailure>(&read)) {
    fmt::print(stderr, "{}", bad->rendered);
    return kExitPolicy;
  }
  std::error_code none;
  if (fs::equivalent(candidate, file, none))
    return send_change(options.socket, "/v1/policy/apply", apply_body(options));
  Installed installed(candidate, file);
  // Files that it includes are looked for beside it: there may be others in the new place.
  const auto there = load_policy(file);
  const auto* moved = std::get_if<LoadedPolicy>(&there);
  if (moved == nullptr || moved->policy != std::get<LoadedPolicy>(read).policy) {
    return complain(
        {.refused = true,
         .text = fmt::format("{} means something else in the place of {}: it includes files that are looked "
                             "for beside it",
                             candidate.string(), file.string())});
  }
  const int code = send_change(options.socket, "/v1/policy/apply", apply_body(options));
  if (code != kExitOk) return code;
  installed.keep();
  fmt::print("{} now holds what {} holds\n", file.string(), candidate.string());
  return kExitOk;
}

int confirm_change(const ChangeOptions& options) {
  return send_change(options.socket, "/v1/policy/confirm", {});
}

int roll_back(const ChangeOptions& options) {
  json::object body;
  if (options.revision != 0) body["to"] = options.revision;
  const int code = send_change(options.socket, "/v1/policy/rollback", body);
  if (code == kExitOk)
    fmt::print("No file was changed: `weir diff` shows how the policy file differs from what is in force.\n");
  return code;
}

int show_revisions(const ChangeOptions& options) {
  if (options.revision != 0) {
    const auto side = side_of_revision(options.socket, options.revision);
    if (const auto* failure = std::get_if<HttpFailure>(&side)) return complain(*failure);
    const auto& files = std::get<Side>(side).files;
    for (const auto& [path, content] : files) {
      if (!options.file.empty() && path != options.file) continue;
      fmt::print("{}{}", files.size() == 1 || !options.file.empty() ? "" : "# " + path + "\n", content);
    }
    return kExitOk;
  }
  const auto answer = asked(options.socket, "/v1/policy/revisions");
  if (const auto* failure = std::get_if<HttpFailure>(&answer)) return complain(*failure);
  const json::value& document = std::get<json::value>(answer);
  if (options.json) {
    fmt::print("{}\n", to_text(document));
    return kExitOk;
  }
  const auto in_force = number(at(document, {"in_force"}));
  TextTable table("", {"", "REVISION", "TIME (UTC)", "STATE", "BY", "COMMENT"});
  for (const json::value& r : list(at(document, {"revisions"}))) {
    const auto own = number(at(r, {"number"}));
    const std::string note = text(at(r, {"note"}));
    const std::string comment = text(at(r, {"comment"}));
    table.row({{own == in_force ? "*" : ""},
               {shown(at(r, {"number"}), [](double v) { return fmt::format("{:.0f}", v); })},
               {text(at(r, {"time"})).substr(0, std::strlen("2025-03-01T12:00:00"))},
               {text(at(r, {"state"}))},
               {text(at(r, {"by"}))},
               {note.empty() || note == "-" ? comment : comment + (comment.empty() ? "" : "; ") + note}});
  }
  fmt::print("{}", table.print(wants_colour()));
  return kExitOk;
}

int show_difference(const DiffOptions& options) {
  const auto status = asked(options.socket, "/v1/status");
  if (const auto* failure = std::get_if<HttpFailure>(&status)) return complain(*failure);
  const json::value& document = std::get<json::value>(status);
  const auto in_force = number(at(document, {"policy", "revision"})).value_or(0);
  const auto left = options.from != 0 ? options.from : static_cast<std::uint64_t>(in_force);
  const auto from = side_of_revision(options.socket, left);
  if (const auto* failure = std::get_if<HttpFailure>(&from)) return complain(*failure);
  if (options.from == 0) {
    return print_differences(std::get<Side>(from), side_of_disk(text(at(document, {"policy", "file"}))));
  }
  const auto to =
      side_of_revision(options.socket, options.to != 0 ? options.to : static_cast<std::uint64_t>(in_force));
  if (const auto* failure = std::get_if<HttpFailure>(&to)) return complain(*failure);
  return print_differences(std::get<Side>(from), std::get<Side>(to));
}

}  // namespace weir::gateway
