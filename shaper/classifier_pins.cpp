#include "shaper/classifier_pins.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "shaper/classifier_port.hpp"

namespace weir::shaper {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProgram = "program";
constexpr const char* kArrivals = "arrivals";
constexpr const char* kAbout = "about";
constexpr std::array kNames{kProgram, kArrivals, kAbout};

/// bpffs takes no dot in a name (kernel/bpf/inode.c, bpf_lookup), a VLAN port has one. An interface name
/// holds no colon.
std::string directory_name(std::string interface) {
  std::ranges::replace(interface, '.', ':');
  return interface;
}

Descriptor open_pin(const fs::path& path) {
  Descriptor fd(bpf_obj_get(path.c_str()));
  if (!fd && errno != ENOENT) fail_classifier(errno, "open " + path.string());
  return fd;
}

/// The map's one entry; nullopt when it is not a map of that shape.
std::optional<ClassifierAbout> read_about(const Descriptor& map) {
  bpf_map_info info{};
  std::uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(map.get(), &info, &length) != 0 || info.value_size != sizeof(ClassifierAbout))
    return std::nullopt;
  ClassifierAbout about;
  const std::uint32_t key = 0;
  if (bpf_map_lookup_elem(map.get(), &key, &about) != 0)
    fail_classifier(errno, "read what the pinned classifier holds");
  if (about.magic != ClassifierAbout::kMagic) return std::nullopt;
  return about;
}

/// Pins beside the name and moves over it: the name is never missing, nor in two minds.
void pin_over(const Descriptor& object, const fs::path& path) {
  auto beside = path;
  beside += "-next";
  ::unlink(beside.c_str());  // left by a run that died right here
  if (bpf_obj_pin(object.get(), beside.c_str()) != 0) fail_classifier(errno, "pin " + beside.string());
  if (::rename(beside.c_str(), path.c_str()) != 0) fail_classifier(errno, "pin " + path.string());
}

void make_directory(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail_classifier(error.value(), "create " + path.string());
}

}  // namespace

void PinnedClassifier::write_about() const {
  const std::uint32_t key = 0;
  if (bpf_map_update_elem(about_map.get(), &key, &about, BPF_ANY) != 0)
    fail_classifier(errno, "note what the classifier holds");
}

ClassifierPins::ClassifierPins(const fs::path& bpf_dir, const std::string& interface)
    : bpf_dir_(bpf_dir), directory_(bpf_dir / directory_name(interface)) {}

std::optional<PinnedClassifier> ClassifierPins::find() const {
  struct stat status {};
  if (::stat(directory_.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    fail_classifier(errno, "look into " + directory_.string());
  }
  PinnedClassifier found{.program = open_pin(directory_ / kProgram),
                         .arrivals = open_pin(directory_ / kArrivals),
                         .about_map = open_pin(directory_ / kAbout),
                         .about = {}};
  if (!found.program || !found.arrivals || !found.about_map) return std::nullopt;
  const auto about = read_about(found.about_map);
  // Another namespace's port of the same name loses its names to us when we pin, and nothing else: its filter
  // holds its program, and its own next start finds ours here, passes over them and loads again.
  if (!about || about->namespace_cookie != network_namespace_cookie() ||
      about->program_id != program_id(found.program))
    return std::nullopt;
  found.about = *about;
  return found;
}

PinnedClassifier ClassifierPins::describe(ClassifierProgram program, const ClassifierAbout& about) {
  PinnedClassifier objects{
      .program = std::move(program.program),
      .arrivals = std::move(program.arrivals),
      .about_map = Descriptor(bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_about", sizeof(std::uint32_t),
                                             sizeof(ClassifierAbout), 1, nullptr)),
      .about = about};
  if (!objects.about_map) fail_classifier(errno, "create the note of what the classifier holds");
  objects.about.program_id = program_id(objects.program);
  objects.write_about();
  return objects;
}

void ClassifierPins::require_bpf_file_system() const {
  auto existing = fs::absolute(bpf_dir_).lexically_normal();
  while (!fs::exists(existing) && existing.has_relative_path()) existing = existing.parent_path();
  struct statfs status {};
  if (::statfs(existing.c_str(), &status) != 0) fail_classifier(errno, "look at " + existing.string());
  if (static_cast<std::uint64_t>(status.f_type) != BPF_FS_MAGIC)
    fail_classifier(ENOTSUP, "keep the classifier under " + bpf_dir_.string() +
                                 ": no BPF file system there; mount one with `mount -t bpf bpf /sys/fs/bpf`");
}

void ClassifierPins::pin(const PinnedClassifier& objects) const {
  require_bpf_file_system();
  make_directory(directory_);
  pin_over(objects.program, directory_ / kProgram);
  pin_over(objects.arrivals, directory_ / kArrivals);
  pin_over(objects.about_map, directory_ / kAbout);
}

std::size_t ClassifierPins::unpin() const {
  std::size_t removed = 0;
  for (const auto* name : kNames) {
    const auto path = directory_ / name;
    if (::unlink(path.c_str()) == 0) {
      ++removed;
    } else if (errno != ENOENT && errno != ENOTDIR) {
      fail_classifier(errno, "remove " + path.string());
    }
  }
  // Not empty: another port's, or not ours. Either way they stay.
  ::rmdir(directory_.c_str());
  ::rmdir(bpf_dir_.c_str());
  return removed;
}

}  // namespace weir::shaper
