#include "gateway/policy_library.hpp"

#include <cstddef>
#include <utility>

#include <boost/json.hpp>

#include "gateway/read_whole.hpp"
#include "gateway/replace_file.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

/// A control character takes six bytes of JSON; paths come on top.
constexpr std::size_t kLargestKept = 64U << 20U;

std::optional<std::vector<PolicyFile>> files_of(const json::value& kept) {
  const json::object* top = kept.if_object();
  const json::value* list = top != nullptr ? top->if_contains("files") : nullptr;
  if (list == nullptr || !list->is_array() || list->get_array().empty()) return std::nullopt;
  std::vector<PolicyFile> files;
  for (const json::value& one : list->get_array()) {
    const json::object* file = one.if_object();
    const json::value* path = file != nullptr ? file->if_contains("path") : nullptr;
    const json::value* text = file != nullptr ? file->if_contains("text") : nullptr;
    if (path == nullptr || text == nullptr || !path->is_string() || !text->is_string()) return std::nullopt;
    files.push_back({.path = std::string(path->get_string()), .text = std::string(text->get_string())});
  }
  return files;
}

LoadFailure unusable(const std::filesystem::path& file, const std::string& why) {
  Problems problems{
      {.message = "the last good policy cannot be used: " + why, .mend = "mend the policy file"}};
  std::string rendered = render(problems, file.string(), "");
  return {.problems = std::move(problems), .rendered = std::move(rendered)};
}

}  // namespace

PolicyLibrary::PolicyLibrary(std::filesystem::path folder) : folder_(std::move(folder)) {}

void PolicyLibrary::store(const std::vector<PolicyFile>& files) const {
  json::array all;
  for (const PolicyFile& file : files) all.push_back({{"path", file.path.string()}, {"text", file.text}});
  replace_file(folder_, last_good().filename().string(), json::serialize(json::object{{"files", all}}));
}

std::variant<LoadedPolicy, LoadFailure> PolicyLibrary::load() const {
  const auto read = read_whole(last_good(), kLargestKept);
  if (const auto* unreadable = std::get_if<Unreadable>(&read)) return unusable(last_good(), unreadable->why);
  const std::string& text = std::get<std::string>(read);
  if (text.size() > kLargestKept) return unusable(last_good(), "it is larger than any policy");
  json::error_code malformed;
  const json::value kept = json::parse(text, malformed);
  if (malformed) return unusable(last_good(), "it is not what this program writes");
  const auto files = files_of(kept);
  if (!files) return unusable(last_good(), "it is not what this program writes");
  return load_kept(*files);
}

std::variant<BootPolicy, LoadFailure> load_boot_policy(const std::filesystem::path& file,
                                                       const PolicyLibrary& library) {
  auto from_file = load_policy(file);
  if (auto* loaded = std::get_if<LoadedPolicy>(&from_file)) {
    return BootPolicy{.loaded = std::move(*loaded), .file_problems = std::nullopt};
  }
  LoadFailure failure = std::get<LoadFailure>(std::move(from_file));
  auto from_library = library.load();
  if (auto* loaded = std::get_if<LoadedPolicy>(&from_library)) {
    return BootPolicy{.loaded = std::move(*loaded), .file_problems = std::move(failure.rendered)};
  }
  failure.rendered +=
      "and there is no usable last good policy: " + std::get<LoadFailure>(from_library).rendered;
  return failure;
}

}  // namespace weir::gateway
