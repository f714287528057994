#include "gateway/policy_library.hpp"

#include <cstddef>
#include <utility>

#include <fmt/format.h>

#include "gateway/kept_files.hpp"
#include "gateway/read_whole.hpp"
#include "gateway/replace_file.hpp"

namespace weir::gateway {
namespace {

LoadFailure unusable(const std::filesystem::path& file, const std::string& why) {
  Problems problems{
      {.message = "the last good policy cannot be used: " + why, .mend = "mend the policy file"}};
  std::string rendered = render(problems, file.string(), "");
  return {.problems = std::move(problems), .rendered = std::move(rendered)};
}

}  // namespace

PolicyLibrary::PolicyLibrary(std::filesystem::path folder) : folder_(std::move(folder)) {}

void PolicyLibrary::store(const std::vector<PolicyFile>& files) const {
  replace_file(folder_, last_good().filename().string(), to_kept_text(files));
}

std::variant<LoadedPolicy, LoadFailure> PolicyLibrary::load() const {
  const auto read = read_whole(last_good(), kLargestKept);
  if (const auto* unreadable = std::get_if<Unreadable>(&read)) return unusable(last_good(), unreadable->why);
  const std::string& text = std::get<std::string>(read);
  if (text.size() > kLargestKept) return unusable(last_good(), "it is larger than any policy");
  const auto files = from_kept_text(text);
  if (!files) return unusable(last_good(), "it is not what this program writes");
  return load_kept(*files);
}

std::variant<BootPolicy, LoadFailure> load_boot_policy(const std::filesystem::path& file,
                                                       const PolicyLibrary& library,
                                                       const RevisionLog& revisions) {
  auto from_file = load_policy(file);
  std::string why_not;
  if (auto* loaded = std::get_if<LoadedPolicy>(&from_file)) {
    const Revision* const before = revisions.with_files(loaded->files);
    if (before == nullptr || before->state == RevisionState::good)
      return BootPolicy{.loaded = std::move(*loaded), .why_not_the_file = std::nullopt};
    why_not = fmt::format(
        "{} holds revision {}, which {}", file.string(), before->number,
        before->state == RevisionState::waiting ? "was never confirmed" : "was rolled back: " + before->note);
  } else {
    why_not = std::get<LoadFailure>(from_file).rendered;
  }
  auto from_library = library.load();
  if (auto* loaded = std::get_if<LoadedPolicy>(&from_library))
    return BootPolicy{.loaded = std::move(*loaded), .why_not_the_file = std::move(why_not)};
  // A policy that was rolled back is better than none.
  if (auto* loaded = std::get_if<LoadedPolicy>(&from_file))
    return BootPolicy{.loaded = std::move(*loaded), .why_not_the_file = std::nullopt};
  LoadFailure failure = std::get<LoadFailure>(std::move(from_file));
  failure.rendered +=
      "and there is no usable last good policy: " + std::get<LoadFailure>(from_library).rendered;
  return failure;
}

}  // namespace weir::gateway
