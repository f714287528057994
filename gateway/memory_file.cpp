#include "gateway/memory_file.hpp"

#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/file_descriptor.hpp"
#include "gateway/replace_file.hpp"

namespace weir::gateway {
namespace {

/// A file's whole text; or why it cannot be had. Never waits, as for a FIFO's writer it would.
std::variant<std::string, UnusableMemory> read_whole(const std::filesystem::path& path) {
  const auto failed = [] { return UnusableMemory{std::strerror(errno)}; };
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return failed();
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return failed();
  if (!S_ISREG(about.st_mode)) return UnusableMemory{"it is not a file"};
  std::string text(std::min(static_cast<std::size_t>(about.st_size), kLargestMemoryFile + 1), '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed();
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return text;
}

}  // namespace

void MemoryFile::store(const KeptMemories& kept) const {
  replace_file(folder_, path().filename().string(), to_text(kept));
}

RememberedSites MemoryFile::load(std::string_view interface, WallTime now) const {
  std::error_code unknown;
  if (!std::filesystem::exists(path(), unknown) && !unknown) return {};
  const auto read = read_whole(path());
  const auto parsed = std::holds_alternative<std::string>(read)
                          ? parse_memories(std::get<std::string>(read), interface, now)
                          : std::get<UnusableMemory>(read);
  if (const auto* sites = std::get_if<SiteMemories>(&parsed)) return {.sites = *sites, .ignored = {}};
  return {.sites = {},
          .ignored = fmt::format("{}: {}", path().string(), std::get<UnusableMemory>(parsed).why)};
}

MemoryWriter::MemoryWriter(MemoryFile file, Report report)
    : file_(std::move(file)), report_(std::move(report)), thread_([this] { run(); }) {}

MemoryWriter::~MemoryWriter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void MemoryWriter::store(KeptMemories kept) {
  {
    const std::lock_guard lock(mutex_);
    waiting_ = std::move(kept);
  }
  changed_.notify_one();
}

void MemoryWriter::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || waiting_; });
    if (!waiting_) return;
    const KeptMemories kept = *std::exchange(waiting_, std::nullopt);
    lock.unlock();
    std::optional<std::string> failure;
    try {
      file_.store(kept);
    } catch (const std::exception& caught) {
      failure = caught.what();
    }
    report_(std::move(failure));
    lock.lock();
  }
}

}  // namespace weir::gateway
