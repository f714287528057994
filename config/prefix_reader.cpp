#include "config/prefix_reader.hpp"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

#include "config/suggest.hpp"
#include "config/utf8.hpp"

namespace weir {
namespace {

constexpr char kFileMark = '@';
constexpr std::string_view kBlanks = " \t\r";

/// "10.0.0.0/255.0.0.0" -> "10.0.0.0/8".
std::optional<std::string> with_length_for_mask(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto mask = IpAddress::parse(text.substr(slash + 1));
  if (!mask || mask->family != Family::v4) return std::nullopt;
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < 4; ++i) bits = bits << 8U | mask->bytes[i];
  const int length = std::countl_one(bits);
  if (std::popcount(bits) != length) return std::nullopt;
  std::string guess = std::string(text.substr(0, slash + 1)) + std::to_string(length);
  return Prefix::parse(guess) ? std::optional(guess) : std::nullopt;
}

bool begins_with_letter(std::string_view text) {
  return !text.empty() &&
         ((text.front() >= 'a' && text.front() <= 'z') || (text.front() >= 'A' && text.front() <= 'Z'));
}

}  // namespace

void PrefixReader::set_groups(std::vector<ValueReader::NamedNode> groups) {
  for (ValueReader::NamedNode& group : groups) {
    // What begins with a letter and has no ':' is no address.
    if (!begins_with_letter(group.name)) {
      read_.report(group.at, "the name of a group begins with a letter", "write group-" + group.name);
    }
    groups_.try_emplace(std::move(group.name),
                        Group{.field = {.key = group.key, .value = group.node}, .prefixes = {}});
  }
}

void PrefixReader::read_all_groups() {
  for (auto& [name, group] : groups_) {
    if (group.state == Group::State::unread) read_group(group);
  }
}

void PrefixReader::read_group(Group& group) {
  group.state = Group::State::being_read;
  ++depth_;
  add_items(group.field, group.prefixes);
  --depth_;
  group.state = Group::State::read;
}

std::vector<Placed<Prefix>> PrefixReader::prefixes(const Field& field) {
  Prefixes found;
  add_items(field, found);
  return found;
}

void PrefixReader::add_items(const Field& field, Prefixes& to) {
  for (const YamlNode* item : read_.scalars(field)) add_item(*item, to);
}

void PrefixReader::add_item(const YamlNode& item, Prefixes& to) {
  if (item.text.starts_with(kFileMark)) return add_file(item, to);
  if (const auto group = groups_.find(item.text); group != groups_.end())
    return add_group(item, group->second, to);
  (void)add_prefix(item.text, item.at, to);
}

void PrefixReader::add_group(const YamlNode& item, Group& group, Prefixes& to) {
  if (group.state == Group::State::being_read) {
    return read_.report(item.at, "group " + in_quotes(item.text) + " contains itself",
                        "take one of the two out of the other");
  }
  if (group.state == Group::State::unread) {
    if (depth_ >= kMostGroupDepth) {
      return read_.report(item.at,
                          "groups contain one another more than " + std::to_string(kMostGroupDepth) + " deep",
                          "write the subnets of " + in_quotes(item.text) + " here");
    }
    read_group(group);
  }
  add_all(group.prefixes, item.at, to);
}

void PrefixReader::add_file(const YamlNode& item, Prefixes& to) {
  const std::string path = item.text.substr(1);
  if (path.empty()) {
    return read_.report(item.at, "'@' names no file",
                        "write \"@subnets.txt\", a path from this file's folder");
  }
  const auto opened = files_.open(files_.resolved(path, item.at.file));
  if (const auto* problem = std::get_if<Problem>(&opened)) {
    return read_.report(item.at, problem->message, problem->mend);
  }
  const std::size_t file = std::get<std::size_t>(opened);
  auto known = lists_.find(file);
  if (known == lists_.end()) known = lists_.emplace(file, read_list(file)).first;
  add_all(known->second, item.at, to);
}

void PrefixReader::add_all(const Prefixes& from, Place at, Prefixes& to) {
  if (count_ + from.size() > kMostPrefixes) {
    if (count_ <= kMostPrefixes) {
      read_.report(
          at, "more than " + std::to_string(kMostPrefixes) + " subnets, those of groups counted at each use",
          "write fewer, larger subnets");
    }
    count_ = kMostPrefixes + 1;
    return;
  }
  count_ += from.size();
  to.insert(to.end(), from.begin(), from.end());
}

/// One block a line; '#' begins a comment.
PrefixReader::Prefixes PrefixReader::read_list(std::size_t file) {
  // A file of something else has a fault in each line: the first ones say so.
  constexpr std::size_t kMostFaults = 20;
  Prefixes found;
  std::size_t faults = 0;
  std::string_view rest = files_.text(file);
  for (Place at{.file = file, .line = 1, .column = 1}; !rest.empty() && faults < kMostFaults; ++at.line) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!is_utf8(line)) {
      read_.report(at, "this is not UTF-8 text", "save the file in UTF-8");
      break;
    }
    line = line.substr(0, line.find('#'));
    const std::size_t begin = std::min(line.find_first_not_of(kBlanks), line.size());
    line.remove_prefix(begin);
    line = line.substr(0, line.find_last_not_of(kBlanks) + 1);
    at.column = begin + 1;
    if (!line.empty() && !add_prefix(line, at, found)) ++faults;
  }
  if (found.empty() && faults == 0) {
    read_.report({.file = file, .line = 1, .column = 1}, "this list of subnets is empty",
                 "write one block a line, such as 10.20.0.0/16");
  }
  return found;
}

bool PrefixReader::add_prefix(std::string_view text, Place at, Prefixes& to) {
  auto fault = Prefix::Fault::none;
  Prefix mended;
  const auto parsed = Prefix::parse(text, &fault, &mended);
  if (parsed) {
    to.push_back({.value = *parsed, .at = at});
    return true;
  }
  report_no_prefix(text, at, fault, mended);
  return false;
}

void PrefixReader::report_no_prefix(std::string_view text, Place at, Prefix::Fault fault,
                                    const Prefix& mended) {
  switch (fault) {
    case Prefix::Fault::none:
      return;
    case Prefix::Fault::not_an_address: {
      NearestName nearest(text);
      if (guesses_.spend(groups_.size())) {
        for (const auto& [name, group] : groups_) nearest.offer(name);
      }
      read_.report(at,
                   in_quotes(text) + (groups_.empty() ? " is not an IP address or prefix"
                                                      : " is neither an IP address or prefix nor a group"),
                   nearest.best() ? "did you mean " + std::string(*nearest.best()) + "?"
                                  : "write one like 10.20.0.0/16 or 2001:db8:20::/48");
      return;
    }
    case Prefix::Fault::length_out_of_range:
      if (const auto guess = with_length_for_mask(text)) {
        read_.report(at, in_quotes(text) + " has a netmask in place of a length",
                     "did you mean " + *guess + "?");
      } else {
        read_.report(at, in_quotes(text) + " has no valid length",
                     text.find(':') == std::string_view::npos ? "write a length from /0 to /32"
                                                              : "write a length from /0 to /128");
      }
      return;
    case Prefix::Fault::host_bits_set:
      read_.report(at, in_quotes(text) + " has bits set behind its length",
                   "did you mean " + mended.to_string() + "?");
      return;
  }
}

}  // namespace weir
