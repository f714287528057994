/// The file in which what is known of the sites outlives the daemon, and the thread that writes it: the disk
/// may be slow, and a control tick never waits for it.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "gateway/site_memories.hpp"

namespace weir::gateway {

/// What a daemon that starts finds.
struct RememberedSites {
  SiteMemories sites;
  std::optional<std::string> ignored;  ///< a file is there and is no use: its name, and why
};

class MemoryFile {
 public:
  explicit MemoryFile(std::filesystem::path folder) : folder_(std::move(folder)) {}

  [[nodiscard]] std::filesystem::path path() const { return folder_ / "sites.json"; }
  /// Waits for the disk (replace_file). Throws std::system_error naming the attempt.
  void store(const KeptMemories& kept) const;
  /// No file: nothing is remembered, and nothing is wrong. Never throws for what the file is or holds.
  [[nodiscard]] RememberedSites load(std::string_view interface, WallTime now) const;

 private:
  std::filesystem::path folder_;
};

/// Stores what it is given on a thread of its own; what has not been begun gives way to what comes after it.
class MemoryWriter {
 public:
  /// After each attempt, on the writer's thread: what went wrong; nullopt: it is on the disk.
  using Report = std::function<void(std::optional<std::string>)>;

  /// May wait for the disk, and throw.
  using Store = std::function<void(const KeptMemories& kept)>;

  MemoryWriter(Store store, Report report);
  /// Stores what waits, and ends.
  ~MemoryWriter();
  MemoryWriter(const MemoryWriter&) = delete;
  MemoryWriter& operator=(const MemoryWriter&) = delete;

  /// Returns at once.
  void store(KeptMemories kept);

 private:
  void run();

  Store store_;
  Report report_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<KeptMemories> waiting_;
  bool ending_ = false;
  std::thread thread_;  ///< the last: it uses all of the above
};

}  // namespace weir::gateway
