#include "gateway/read_whole.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/file_descriptor.hpp"

namespace weir::gateway {

std::variant<std::string, Unreadable> read_whole(const std::filesystem::path& path, std::size_t most) {
  const auto failed = [] { return Unreadable{std::strerror(errno)}; };
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return failed();
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return failed();
  if (!S_ISREG(about.st_mode)) return Unreadable{"it is not a file"};
  // What the file system says of the size is a hint: files under /proc have none.
  constexpr std::size_t kLeast = 4096;
  std::string text;
  std::size_t have = 0;
  while (have <= most) {
    const std::size_t room = std::max({static_cast<std::size_t>(about.st_size) + 1, 2 * have, kLeast});
    text.resize(std::min(room, most + 1));
    const ssize_t got = ::read(file.get(), text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed();
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return text;
}

}  // namespace weir::gateway
