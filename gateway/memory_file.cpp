#include "gateway/memory_file.hpp"

#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "gateway/read_whole.hpp"
#include "gateway/replace_file.hpp"

namespace weir::gateway {

void MemoryFile::store(const KeptMemories& kept) const {
  replace_file(folder_, path().filename().string(), to_text(kept));
}

RememberedSites MemoryFile::load(std::string_view interface, WallTime now) const {
  std::error_code unknown;
  if (!std::filesystem::exists(path(), unknown) && !unknown) return {};
  const auto read = read_whole(path(), kLargestMemoryFile);
  const auto parsed = std::holds_alternative<std::string>(read)
                          ? parse_memories(std::get<std::string>(read), interface, now)
                          : UnusableMemory{std::get<Unreadable>(read).why};
  if (const auto* sites = std::get_if<SiteMemories>(&parsed)) return {.sites = *sites, .ignored = {}};
  return {.sites = {},
          .ignored = fmt::format("{}: {}", path().string(), std::get<UnusableMemory>(parsed).why)};
}

MemoryWriter::MemoryWriter(Store store, Report report)
    : store_(std::move(store)), report_(std::move(report)), thread_([this] { run(); }) {}

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
      store_(kept);
    } catch (const std::exception& caught) {
      failure = caught.what();
    }
    report_(std::move(failure));
    lock.lock();
  }
}

}  // namespace weir::gateway
