#include "gateway/revision_log.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <span>
#include <utility>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/kept_files.hpp"
#include "gateway/read_whole.hpp"
#include "gateway/replace_file.hpp"
#include "shaper/classifier_tables.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t kLargestList = std::size_t{4} << 20U;
constexpr std::array<std::pair<RevisionState, std::string_view>, 3> kStates{
    {{RevisionState::waiting, "waiting"},
     {RevisionState::good, "good"},
     {RevisionState::rolled_back, "rolled_back"}}};

json::object entry_of(const Revision& r) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(r.at.time_since_epoch()).count();
  return {{"number", r.number},
          {"unix_ms", ms},
          {"by", r.by},
          {"comment", r.comment},
          {"state", json::string(to_string(r.state))},
          {"note", r.note},
          {"bytes", r.bytes},
          {"digest", r.digest}};
}

/// The entry's members one by one; any that is missing or of another type makes it none.
class EntryReader {
 public:
  explicit EntryReader(const json::value& entry) : entry_(entry.if_object()) {}

  std::optional<Revision> read() {
    Revision r;
    r.number = number("number");
    r.at = WallTime(std::chrono::milliseconds(number("unix_ms")));
    r.by = text("by");
    r.comment = text("comment");
    r.note = text("note");
    r.bytes = number("bytes");
    r.digest = text("digest");
    const std::string state = text("state");
    const auto known = std::ranges::find(kStates, state, &std::pair<RevisionState, std::string_view>::second);
    if (!whole_ || known == kStates.end() || r.number == 0) return std::nullopt;
    r.state = known->first;
    return r;
  }

 private:
  const json::value* member(std::string_view key) {
    const json::value* found = entry_ == nullptr ? nullptr : entry_->if_contains(key);
    whole_ = whole_ && found != nullptr;
    return found;
  }
  std::uint64_t number(std::string_view key) {
    constexpr std::uint64_t kMost = std::uint64_t{1} << 42U;  // milliseconds far beyond any clock
    const json::value* found = member(key);
    if (found == nullptr) return 0;
    boost::system::error_code wrong;
    const auto value = found->to_number<std::uint64_t>(wrong);
    whole_ = whole_ && !wrong && value <= kMost;
    return whole_ ? value : 0;
  }
  std::string text(std::string_view key) {
    const json::value* found = member(key);
    const json::string* value = found == nullptr ? nullptr : found->if_string();
    whole_ = whole_ && value != nullptr;
    return whole_ ? std::string(*value) : std::string();
  }

  const json::object* entry_;
  bool whole_ = true;
};

/// In rising order of numbers; nullopt: not what this program writes.
std::optional<std::vector<Revision>> list_from(std::string_view text) {
  json::error_code malformed;
  const json::value document = json::parse(text, malformed);
  const json::object* top = malformed ? nullptr : document.if_object();
  const json::value* list = top == nullptr ? nullptr : top->if_contains("revisions");
  if (list == nullptr || !list->is_array()) return std::nullopt;
  std::vector<Revision> revisions;
  for (const json::value& entry : list->get_array()) {
    auto revision = EntryReader(entry).read();
    if (!revision || (!revisions.empty() && revision->number <= revisions.back().number)) return std::nullopt;
    revisions.push_back(std::move(*revision));
  }
  return revisions;
}

std::string digest_of(std::string_view text) {
  return fmt::format("{:016x}", shaper::content_hash(std::as_bytes(std::span(text)), 0));
}

}  // namespace

std::string_view to_string(RevisionState state) {
  return kStates.at(static_cast<std::size_t>(state)).second;
}

RevisionLog::RevisionLog(std::filesystem::path folder) : folder_(std::move(folder)) {
  read();
}

std::filesystem::path RevisionLog::file_of(std::uint64_t number) const {
  return folder_ / "revisions" / fmt::format("{}.json", number);
}

void RevisionLog::read() {
  std::error_code unknown;
  if (!std::filesystem::exists(list_file(), unknown) && !unknown) return;
  const auto found = read_whole(list_file(), kLargestList);
  const auto* text = std::get_if<std::string>(&found);
  if (auto list = text == nullptr ? std::nullopt : list_from(*text)) {
    revisions_ = std::move(*list);
    return;
  }
  const std::string why =
      text == nullptr ? std::get<Unreadable>(found).why : "it is not what this program writes";
  const auto aside = list_file().string() + ".damaged";
  std::filesystem::rename(list_file(), aside, unknown);
  trouble_ = fmt::format("{}: {}; {}", list_file().string(), why,
                         unknown ? "it could not be set aside" : "it is " + aside + " now");
}

void RevisionLog::write() const {
  json::array all;
  for (const Revision& r : revisions_) all.push_back(entry_of(r));
  replace_file(folder_, list_file().filename().string(), json::serialize(json::object{{"revisions", all}}));
}

const Revision* RevisionLog::find(std::uint64_t number) const {
  const auto found = std::ranges::lower_bound(revisions_, number, {}, &Revision::number);
  return found != revisions_.end() && found->number == number ? &*found : nullptr;
}

std::uint64_t RevisionLog::add(const std::vector<PolicyFile>& files, std::string by, std::string comment,
                               RevisionState state, WallTime at, std::uint64_t in_force) {
  Revision next{.number = revisions_.empty() ? 1 : revisions_.back().number + 1,
                .at = at,
                .by = std::move(by),
                .comment = std::move(comment),
                .state = state,
                .note = {},
                .digest = {}};
  const std::string text = to_kept_text(files);
  next.bytes = text.size();
  next.digest = digest_of(text);
  const auto path = file_of(next.number);
  replace_file(path.parent_path(), path.filename().string(), text);
  std::vector<Revision> before = revisions_;
  revisions_.push_back(std::move(next));
  const auto gone = drop_oldest(in_force);
  try {
    write();
  } catch (...) {
    revisions_ = std::move(before);
    throw;
  }
  for (const std::uint64_t number : gone) {
    std::error_code ignored;
    std::filesystem::remove(file_of(number), ignored);
  }
  return revisions_.back().number;
}

// What was rolled back goes first. The newest stays whatever it weighs, and so does what is in force.
std::vector<std::uint64_t> RevisionLog::drop_oldest(std::uint64_t in_force) {
  std::uint64_t bytes = 0;
  for (const Revision& r : revisions_) bytes += r.bytes;
  std::vector<std::uint64_t> gone;
  for (const bool any : {false, true}) {
    for (auto r = revisions_.begin(); r + 1 < revisions_.end();) {
      if (revisions_.size() <= kMost && bytes <= kMostBytes) return gone;
      if (r->number == in_force || (!any && r->state != RevisionState::rolled_back)) {
        ++r;
        continue;
      }
      gone.push_back(r->number);
      bytes -= r->bytes;
      r = revisions_.erase(r);
    }
  }
  return gone;
}

void RevisionLog::settle(std::uint64_t number, RevisionState state, std::string note) {
  const auto found = std::ranges::find(revisions_, number, &Revision::number);
  if (found == revisions_.end()) return;
  Revision before = *found;
  found->state = state;
  found->note = std::move(note);
  try {
    write();
  } catch (...) {
    *found = std::move(before);
    throw;
  }
}

std::variant<std::vector<PolicyFile>, std::string> RevisionLog::files(std::uint64_t number) const {
  if (find(number) == nullptr) return fmt::format("there is no revision {}", number);
  const auto read = read_whole(file_of(number), kLargestKept);
  if (const auto* unreadable = std::get_if<Unreadable>(&read))
    return fmt::format("revision {} cannot be read: {}", number, unreadable->why);
  auto files = from_kept_text(std::get<std::string>(read));
  if (!files) return fmt::format("{} is not what this program writes", file_of(number).string());
  return *std::move(files);
}

const Revision* RevisionLog::with_files(const std::vector<PolicyFile>& files) const {
  const std::string digest = digest_of(to_kept_text(files));
  const Revision* found = nullptr;
  for (const Revision& r : revisions_) {
    if (r.digest != digest) continue;
    const auto kept = this->files(r.number);
    const auto* same = std::get_if<std::vector<PolicyFile>>(&kept);
    if (same == nullptr || *same != files) continue;
    const bool better =
        found == nullptr || r.state == RevisionState::good || found->state != RevisionState::good;
    if (better) found = &r;
  }
  return found;
}

}  // namespace weir::gateway
