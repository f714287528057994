#include "gateway/policy_library.hpp"

#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "gateway/file_descriptor.hpp"

namespace weir::gateway {
namespace {

[[noreturn]] void fail(std::string_view attempt, const std::filesystem::path& path) {
  throw std::system_error(errno, std::generic_category(), std::string(attempt) + " " + path.string());
}

void write_all(int fd, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", path);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

PolicyLibrary::PolicyLibrary(std::filesystem::path folder) : folder_(std::move(folder)) {}

void PolicyLibrary::store(const std::string& text) const {
  std::filesystem::create_directories(folder_);
  const std::filesystem::path fresh = folder_ / "last-good.yaml.new";
  {
    const FileDescriptor file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640));
    if (!file) fail("create", fresh);
    write_all(file.get(), text, fresh);
    if (::fsync(file.get()) != 0) fail("fsync", fresh);
  }
  if (::rename(fresh.c_str(), last_good().c_str()) != 0) fail("rename to last-good.yaml", fresh);
  const FileDescriptor folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::fsync(folder.get()) != 0) fail("fsync", folder_);
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
