#include "shaper/state_file.hpp"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>

namespace weir::shaper {
namespace {

namespace json = boost::json;

constexpr int kVersion = 1;
constexpr std::uintmax_t kLargestFile = 64U << 20U;  // 65 500 classes with long names are a tenth of it

[[noreturn]] void fail(const std::string& attempt) {
  throw std::system_error(errno, std::generic_category(), attempt);
}

const std::string* text_in(const json::object& object, const char* key, std::string& storage) {
  const auto* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return nullptr;
  storage = json::value_to<std::string>(*value);
  return &storage;
}

json::array limit_json(const MergeLimit& limit) {
  return {limit.bytes, limit.ipv4_bytes};
}

std::optional<MergeLimit> limit_in(const json::object& object, const char* key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr || !value->is_array() || value->get_array().size() != 2) return std::nullopt;
  boost::system::error_code bad_first;
  boost::system::error_code bad_second;
  const auto& numbers = value->get_array();
  const MergeLimit limit{.bytes = numbers[0].to_number<std::uint32_t>(bad_first),
                         .ipv4_bytes = numbers[1].to_number<std::uint32_t>(bad_second)};
  return bad_first || bad_second ? std::nullopt : std::optional(limit);
}

}  // namespace

std::string to_json(const PortState& state, const std::string& creator) {
  json::array classes;
  for (const auto& [name, handle] : state.handles) {
    classes.push_back({{"site", name.first}, {"class", name.second}, {"handle", handle}});
  }
  json::object file{{"version", kVersion}, {"creator", creator}, {"classes", std::move(classes)}};
  if (!state.replaced.empty()) file["replaced"] = state.replaced;
  if (const auto& merging = state.merging) {
    file["merging"] = {{"interface", merging->interface},
                       {"before", limit_json(merging->before)},
                       {"now", limit_json(merging->now)}};
  }
  return json::serialize(file) + "\n";
}

std::optional<PortState> parse_port_state(const std::string& text) {
  boost::system::error_code error;
  const auto value = json::parse(text, error);
  if (error || !value.is_object()) return std::nullopt;
  const auto& file = value.get_object();
  const auto* version = file.if_contains("version");
  const auto* classes = file.if_contains("classes");
  if (version == nullptr || *version != json::value(kVersion)) return std::nullopt;
  if (classes == nullptr || !classes->is_array()) return std::nullopt;

  PortState state;
  for (const auto& entry : classes->get_array()) {
    if (!entry.is_object()) return std::nullopt;
    std::string site;
    std::string name;
    const auto& object = entry.get_object();
    const auto* handle = object.if_contains("handle");
    if (text_in(object, "site", site) == nullptr || text_in(object, "class", name) == nullptr)
      return std::nullopt;
    if (handle == nullptr) return std::nullopt;
    boost::system::error_code bad_number;
    const auto number = handle->to_number<Handle>(bad_number);
    if (bad_number) return std::nullopt;
    state.handles.emplace(std::pair{std::move(site), std::move(name)}, number);
  }
  text_in(file, "replaced", state.replaced);
  if (const auto* merging = file.if_contains("merging"); merging != nullptr && merging->is_object()) {
    const auto& object = merging->get_object();
    BoundedMerging read;
    const auto before = limit_in(object, "before");
    const auto now = limit_in(object, "now");
    if (text_in(object, "interface", read.interface) == nullptr || !before || !now) return std::nullopt;
    read.before = *before;
    read.now = *now;
    state.merging = std::move(read);
  }
  return state;
}

std::optional<PortState> StateFile::load() {
  std::error_code error;
  if (std::filesystem::file_size(path_, error) > kLargestFile || error) return std::nullopt;
  std::ifstream in(path_, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return in ? parse_port_state(text.str()) : std::nullopt;
}

void StateFile::save(const PortState& state) {
  const auto draft = path_.string() + ".new";
  {
    std::ofstream out(draft, std::ios::binary | std::ios::trunc);
    out << to_json(state, "weir, pid " + std::to_string(getpid()));
    out.flush();
    if (!out) fail("write " + draft);
  }
  std::error_code error;
  std::filesystem::rename(draft, path_, error);
  if (error) throw std::system_error(error, "rename " + draft);
}

void StateFile::remove() {
  std::error_code error;
  std::filesystem::remove(path_, error);
  if (error) throw std::system_error(error, "remove " + path_.string());
}

PortLock::PortLock(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) throw std::system_error(error, "make " + path.parent_path().string());
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) fail("open the lock " + path.string());
  if (flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  const int error_number = errno;
  close(fd_);
  throw std::system_error(
      error_number, std::generic_category(),
      error_number == EWOULDBLOCK ? "another Weir holds " + path.string() : "lock " + path.string());
}

PortLock::~PortLock() {
  close(fd_);
}

std::vector<std::string> unattended_ports(const std::filesystem::path& state_dir) {
  std::vector<std::string> ports;
  std::error_code error;
  for (std::filesystem::directory_iterator at(state_dir, error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().extension() != ".json") continue;
    try {
      const PortLock free(std::filesystem::path(at->path()).replace_extension(".lock"));
      ports.push_back(at->path().stem().string());
    } catch (const std::system_error&) {
      // Somebody holds it, or it cannot be told.
    }
  }
  std::ranges::sort(ports);
  return ports;
}

}  // namespace weir::shaper
