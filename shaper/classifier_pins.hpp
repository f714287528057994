/// The classifier's names in the BPF file system: BPF_DIR/<interface>/{program, arrivals, about}.
///
/// A process with CAP_BPF but not CAP_SYS_ADMIN may open programs and maps by such a name only; so this is
/// what lets a restarted daemon find its own. `about` says whose the others are and what they hold. Errors:
/// std::system_error naming the attempt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "shaper/classifier_kernel.hpp"
#include "shaper/classifier_program.hpp"

namespace weir::shaper {

/// The one entry of the `about` map. `magic` changes with this layout: another version's pins are as good as
/// none.
struct ClassifierAbout {
  static constexpr std::uint64_t kMagic = 0x7765'6972'636c'7301;
  std::uint64_t magic = kMagic;
  std::uint64_t content = 0;           ///< content_hash of the tables and the program
  std::uint64_t namespace_cookie = 0;  ///< interface names repeat between network namespaces; this does not
  std::uint32_t port_index = 0;        ///< an interface made anew under the same name has another
  std::uint32_t program_id = 0;        ///< pins replaced half-way do not agree with it
  std::uint32_t made_clsact = 0;       ///< ours to delete
  std::uint32_t reserved = 0;
};

/// A program with its note about itself: what is pinned, or about to be.
struct PinnedClassifier {
  Descriptor program;
  Descriptor arrivals;
  Descriptor about_map;
  ClassifierAbout about;

  /// Writes `about` into its map.
  void write_about() const;
};

class ClassifierPins {
 public:
  ClassifierPins(const std::filesystem::path& bpf_dir, const std::string& interface);

  [[nodiscard]] std::filesystem::path program_path() const { return directory_ / "program"; }

  /// What is pinned for this interface of this network namespace; nullopt when nothing is, or nothing that
  /// fits.
  [[nodiscard]] std::optional<PinnedClassifier> find() const;
  /// A new `about` map beside a newly loaded program; nothing is pinned yet.
  [[nodiscard]] static PinnedClassifier describe(ClassifierProgram program, const ClassifierAbout& about);
  /// Gives it the names, taking them from whatever had them. Each name changes hands atomically.
  void pin(const PinnedClassifier& objects) const;
  /// Removes the names, and the directories if that leaves them empty. The number of names that there were.
  std::size_t unpin() const;

 private:
  void require_bpf_file_system() const;
  std::filesystem::path bpf_dir_;
  std::filesystem::path directory_;
};

}  // namespace weir::shaper
