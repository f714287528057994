#include "gateway/policy_library.hpp"

#include <utility>

#include "gateway/replace_file.hpp"

namespace weir::gateway {

PolicyLibrary::PolicyLibrary(std::filesystem::path folder) : folder_(std::move(folder)) {}

void PolicyLibrary::store(const std::string& text) const {
  replace_file(folder_, last_good().filename().string(), text);
}

std::variant<BootPolicy, LoadFailure> load_boot_policy(const std::filesystem::path& file,
                                                       const PolicyLibrary& library) {
  auto from_file = load_policy(file);
  if (auto* loaded = std::get_if<LoadedPolicy>(&from_file)) {
    return BootPolicy{.loaded = std::move(*loaded), .file_problems = std::nullopt};
  }
  LoadFailure failure = std::get<LoadFailure>(std::move(from_file));
  auto from_library = load_policy(library.last_good());
  if (auto* loaded = std::get_if<LoadedPolicy>(&from_library)) {
    return BootPolicy{.loaded = std::move(*loaded), .file_problems = std::move(failure.rendered)};
  }
  failure.rendered +=
      "and there is no usable last good policy: " + std::get<LoadFailure>(from_library).rendered;
  return failure;
}

}  // namespace weir::gateway
