#include "gateway/replace_file.hpp"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
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

void take_owner_and_mode(int fd, const std::filesystem::path& from) {
  struct stat about {};
  if (::lstat(from.c_str(), &about) != 0) {
    if (errno == ENOENT) return;
    fail("look at", from);
  }
  constexpr mode_t kPermissions = 0777;
  if (::fchown(fd, about.st_uid, about.st_gid) != 0) fail("keep the owner of", from);
  if (::fchmod(fd, about.st_mode & kPermissions) != 0) fail("keep the mode of", from);
}

}  // namespace

void replace_file(const std::filesystem::path& folder, const std::string& name, std::string_view text,
                  Owner owner) {
  std::filesystem::create_directories(folder);
  const std::filesystem::path fresh = folder / (name + ".new");
  // Left by a crash, or laid here as a trap: whatever it is, it is not written through.
  if (::unlink(fresh.c_str()) != 0 && errno != ENOENT) fail("remove", fresh);
  {
    const FileDescriptor file(
        ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640));
    if (!file) fail("create", fresh);
    if (owner == Owner::as_was) take_owner_and_mode(file.get(), folder / name);
    write_all(file.get(), text, fresh);
    if (::fsync(file.get()) != 0) fail("fsync", fresh);
  }
  if (::rename(fresh.c_str(), (folder / name).c_str()) != 0) fail("rename to " + name, fresh);
  const FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened || ::fsync(opened.get()) != 0) fail("fsync", folder);
}

}  // namespace weir::gateway
