/// Every policy that was put in force: its files, when, by whom, and what became of it.
///
/// On disk: `folder`/revisions.json with what is known of each, `folder`/revisions/N.json with its files;
/// each replaced whole, a revision's files before its entry. What is read back is untrusted: a damaged list
/// is set aside and a new one begun, a damaged revision cannot be gone back to. Bounded: the oldest are
/// dropped. One process per folder; calls wait for the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/problem.hpp"
#include "gateway/clock.hpp"

namespace weir::gateway {

/// `waiting`: in force until it is confirmed or its time is up.
enum class RevisionState : std::uint8_t { waiting, good, rolled_back };
[[nodiscard]] std::string_view to_string(RevisionState state);

struct Revision {
  std::uint64_t number = 0;  ///< from 1, each one higher than all before
  WallTime at;
  std::string by;       ///< "root (logged in as alice)", "reload", "start"
  std::string comment;  ///< by whoever changed it; may be empty
  RevisionState state = RevisionState::good;
  std::string note;  ///< why it was rolled back; otherwise empty
  std::uint64_t bytes = 0;
  std::string digest;  ///< of its files: different ones are of different files
};

class RevisionLog {
 public:
  static constexpr std::size_t kMost = 100;
  static constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20U;

  /// Reads what is kept there; nothing is made before the first revision.
  explicit RevisionLog(std::filesystem::path folder);

  /// Oldest first.
  [[nodiscard]] const std::vector<Revision>& all() const { return revisions_; }
  [[nodiscard]] const Revision* find(std::uint64_t number) const;
  /// The number given. `in_force` (0: none) is not dropped to make room. Throws std::system_error: nothing
  /// was added.
  std::uint64_t add(const std::vector<PolicyFile>& files, std::string by, std::string comment,
                    RevisionState state, WallTime at, std::uint64_t in_force = 0);
  /// Throws std::system_error: nothing changed.
  void settle(std::uint64_t number, RevisionState state, std::string note);
  /// Or why they cannot be had.
  [[nodiscard]] std::variant<std::vector<PolicyFile>, std::string> files(std::uint64_t number) const;
  /// The newest good revision with exactly these files, else the newest of any state; nullptr: none.
  [[nodiscard]] const Revision* with_files(const std::vector<PolicyFile>& files) const;
  /// Why what was there before is not known any more.
  [[nodiscard]] const std::optional<std::string>& trouble() const { return trouble_; }

 private:
  [[nodiscard]] std::filesystem::path list_file() const { return folder_ / "revisions.json"; }
  [[nodiscard]] std::filesystem::path file_of(std::uint64_t number) const;
  void read();
  void write() const;
  /// Takes what is more than may be kept out of the list; returns the numbers.
  std::vector<std::uint64_t> drop_oldest(std::uint64_t in_force);

  std::filesystem::path folder_;
  std::vector<Revision> revisions_;
  std::optional<std::string> trouble_;
};

}  // namespace weir::gateway
