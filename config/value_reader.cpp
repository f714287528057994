#include "config/value_reader.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "config/load.hpp"
#include "config/spelling.hpp"
#include "config/suggest.hpp"

namespace weir {
namespace {

constexpr std::size_t kLongestName = 63;
/// linux/if.h IFNAMSIZ less its terminator.
constexpr std::size_t kLongestInterface = 15;
/// sun_path of sockaddr_un (unix(7)) less its terminator.
constexpr std::size_t kLongestSocketPath = 107;

constexpr bool is_letter_or_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
constexpr bool is_name_character(char c) {
  return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kLongestName && is_letter_or_digit(text.front()) &&
         std::all_of(text.begin(), text.end(), is_name_character);
}

/// The nearest text that is a name: "dc coast/2" -> "dc-coast-2".
std::string as_name(std::string_view text) {
  std::string name;
  for (const char c : text.substr(0, kLongestName)) {
    if (is_name_character(c)) {
      name.push_back(c);
    } else if (!name.empty() && name.back() != '-') {
      name.push_back('-');
    }
  }
  while (!name.empty() && !is_letter_or_digit(name.back())) name.pop_back();
  while (!name.empty() && !is_letter_or_digit(name.front())) name.erase(0, 1);
  return name.empty() ? "site-1" : name;
}

std::string joined_names(const KeyTable& table) {
  std::string names;
  for (const PolicyKey& key : table.keys) names.append(names.empty() ? "" : ", ").append(key.name);
  return names;
}

std::string example_of(const PolicyKey& key) {
  return "write " + std::string(key.name) + ": " + std::string(key.example);
}

std::string joined(std::span<const NamedNumber> names) {
  std::string all;
  for (const auto& [name, number] : names) all.append(all.empty() ? "" : ", ").append(name);
  return all;
}

std::string mend_of_number(std::span<const NamedNumber> names, std::string_view text,
                           std::string_view numbers) {
  NearestName nearest(text);
  for (const auto& [name, number] : names) nearest.offer(name);
  if (nearest.best()) return "did you mean " + std::string(*nearest.best()) + "?";
  return "write " + std::string(numbers) + " or one of " + joined(names);
}

bool is_loopback(const IpAddress& address) {
  static const auto kV4 = Prefix::parse("127.0.0.0/8");
  static const auto kV6 = Prefix::parse("::1");
  return kV4->contains(address) || kV6->contains(address);
}

/// "127.0.0.1:8440" or "[::1]:8440".
std::optional<TcpEndpoint> parse_endpoint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  const auto port = parse_integer(text.substr(colon + 1), 1, 65535);
  if (!address || !port || bracketed != (address->family == Family::v6)) return std::nullopt;
  return TcpEndpoint{.address = *address, .port = static_cast<std::uint16_t>(*port)};
}

}  // namespace

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kMost = 48;
  std::string shown = "'";
  for (const char c : text.substr(0, kMost)) {
    // Only ASCII: what else a value holds is shown by the excerpt of the line.
    shown.push_back(c >= 0x20 && c < 0x7F ? c : '?');
  }
  return shown + (text.size() > kMost ? "...'" : "'");
}

Field Fields::operator[](std::string_view name) const {
  for (std::size_t i = 0; i < table_->keys.size(); ++i) {
    if (table_->keys[i].name == name) return {.key = &table_->keys[i], .value = values_[i]};
  }
  return {};
}

void ValueReader::report(Place at, std::string message, std::string mend) {
  problems_->push_back({.line = at.line,
                        .column = at.column,
                        .message = std::move(message),
                        .mend = std::move(mend),
                        .file = at.file});
}

void ValueReader::report_missing(const Fields& fields, std::string_view key) {
  const Field field = fields[key];
  report(fields.at(), std::string(fields.table().what) + " lacks '" + std::string(key) + "'",
         "add " + std::string(key) + ": " + std::string(field.key->example));
}

void ValueReader::report_unknown_key(const YamlNode& key, const KeyTable& table) {
  NearestName nearest(key.text);
  for (const PolicyKey& known : table.keys) nearest.offer(known.name);
  std::string mend;
  if (nearest.best()) {
    mend = "did you mean '" + std::string(*nearest.best()) + "'?";
  } else {
    for (const KeyTable* other : key_tables()) {
      const bool there = std::any_of(other->keys.begin(), other->keys.end(),
                                     [&](const PolicyKey& known) { return known.name == key.text; });
      if (there && mend.empty()) {
        mend = "it belongs " +
               (other->where.empty() ? "at the top level" : "into " + std::string(other->what)) + "; ";
      }
    }
    mend += "keys here: " + joined_names(table);
  }
  report(key.at, "unknown key " + in_quotes(key.text) + " in " + std::string(table.what), std::move(mend));
}

std::optional<Fields> ValueReader::fields(const YamlNode& node, const KeyTable& table) {
  if (node.kind != YamlNode::Kind::map) {
    const bool empty = node.kind == YamlNode::Kind::null;
    report(node.at, std::string(table.what) + (empty ? " is empty" : " must be a mapping of keys to values"),
           "keys here: " + joined_names(table));
    return std::nullopt;
  }
  Fields found(table, node.at);
  std::array<const YamlNode*, Fields::kMostKeys> seen{};
  for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
    const YamlNode& key = files_->child(node, i);
    const auto known = std::find_if(table.keys.begin(), table.keys.end(), [&](const PolicyKey& candidate) {
      return key.kind == YamlNode::Kind::scalar && candidate.name == key.text;
    });
    if (known == table.keys.end()) {
      report_unknown_key(key, table);
      continue;
    }
    const auto index = static_cast<std::size_t>(known - table.keys.begin());
    if (seen[index] != nullptr) {
      report(key.at, "'" + key.text + "' stands twice, first " + files_->on_line(seen[index]->at),
             "remove one of them");
      continue;
    }
    seen[index] = &key;
    const YamlNode& value = files_->child(node, i + 1);
    if (value.kind == YamlNode::Kind::null) {
      report(value.at, "'" + key.text + "' has no value", example_of(*known));
    }
    found.values_[index] = &value;
  }
  return found;
}

std::vector<ValueReader::NamedNode> ValueReader::named_nodes(std::span<const Field> fields,
                                                             std::string_view what) {
  std::vector<NamedNode> named;
  std::unordered_map<std::string_view, Place> first;
  for (const Field& field : fields) {
    if (field.value->kind == YamlNode::Kind::null) continue;
    if (field.value->kind != YamlNode::Kind::map) {
      report(field.at(), "'" + std::string(field.key->name) + "' must be a mapping of names",
             example_of(*field.key));
      continue;
    }
    for (std::size_t i = 0; i + 1 < field.value->children.size(); i += 2) {
      const YamlNode& key = files_->child(*field.value, i);
      if (key.kind != YamlNode::Kind::scalar) {
        report(key.at, "a name must be plain text", example_of(*field.key));
        continue;
      }
      check_name(key.text, key.at);
      const auto [other, fresh] = first.emplace(key.text, key.at);
      if (!fresh) {
        report(key.at,
               std::string(what) + " " + in_quotes(key.text) + " stands twice, first " +
                   files_->on_line(other->second),
               "rename or remove one of them");
      }
      named.push_back(
          {.name = key.text, .at = key.at, .node = &files_->child(*field.value, i + 1), .key = field.key});
    }
  }
  return named;
}

std::vector<const YamlNode*> ValueReader::items(const Field& field) {
  std::vector<const YamlNode*> nodes;
  if (!field || field.value->kind == YamlNode::Kind::null) return nodes;
  if (field.value->kind != YamlNode::Kind::sequence) return {field.value};
  if (field.value->children.empty()) {
    report(field.at(), "'" + std::string(field.key->name) + "' is an empty list", example_of(*field.key));
  }
  nodes.reserve(field.value->children.size());
  for (std::size_t i = 0; i < field.value->children.size(); ++i)
    nodes.push_back(&files_->child(*field.value, i));
  return nodes;
}

std::vector<const YamlNode*> ValueReader::scalars(const Field& field) {
  std::vector<const YamlNode*> nodes = items(field);
  std::erase_if(nodes, [&](const YamlNode* node) { return scalar(field, *node) == nullptr; });
  return nodes;
}

const YamlNode* ValueReader::scalar(const Field& field, const YamlNode& node) {
  if (node.kind == YamlNode::Kind::scalar) return &node;
  // A key without any value has been reported where the key was read.
  if (node.kind == YamlNode::Kind::null && &node == field.value) return nullptr;
  const bool looks_like_ipv6 = node.kind == YamlNode::Kind::map && !node.children.empty() &&
                               files_->child(node, 0).text.find(':') != std::string::npos;
  report(node.at,
         "'" + std::string(field.key->name) + "' takes " +
             (&node == field.value ? "a single value here" : "plain values in its list"),
         looks_like_ipv6 ? "put an IPv6 address that ends in ':' into quotes" : example_of(*field.key));
  return nullptr;
}

void ValueReader::check_name(const std::string& name, Place at) {
  if (is_name(name)) return;
  const std::string why = name.size() > kLongestName ? "is longer than 63 characters"
                          : name.empty()             ? "is empty"
                                                     : "holds more than letters, digits, '-', '_' and '.'";
  report(at, "the name " + in_quotes(name) + " " + why, "write " + as_name(name));
}

std::optional<std::string> ValueReader::name(const Field& field) {
  auto given = text(field);
  if (given) check_name(*given, field.at());
  return given;
}

std::optional<std::string> ValueReader::text(const Field& field) {
  if (!field) return std::nullopt;
  const YamlNode* node = scalar(field, *field.value);
  return node != nullptr ? std::optional(node->text) : std::nullopt;
}

std::optional<std::string> ValueReader::interface(const Field& field) {
  auto given = text(field);
  if (!given) return given;
  // net/core/dev.c, dev_valid_name().
  const bool plain = std::all_of(given->begin(), given->end(),
                                 [](char c) { return c > 0x20 && c < 0x7F && c != '/' && c != ':'; });
  if (given->empty() || given->size() > kLongestInterface || !plain || *given == "." || *given == "..") {
    report(field.at(), in_quotes(*given) + " cannot be the name of an interface",
           "write a name as 'ip link' shows it: 1 to 15 characters, no blanks, '/' or ':'");
    return std::nullopt;
  }
  return given;
}

bool ValueReader::rate_is_in_range(const YamlNode& node, Rate rate) {
  if (rate >= kLeastRate && rate <= kMostRate) return true;
  const bool low = rate < kLeastRate;
  const Rate bound = low ? kLeastRate : kMostRate;
  report(node.at, in_quotes(node.text) + (low ? " is too low a rate" : " is too high a rate"),
         "write at " + std::string(low ? "least " : "most ") + to_string(bound));
  return false;
}

void ValueReader::report_bad_rate(const Field& field, const YamlNode& node) {
  std::string mend;
  if (const auto guess = probable_rate(node.text)) {
    mend = "did you mean " + *guess + "?";
  } else if (const auto without_unit = parse_rate(node.text + "mbit"); without_unit && !node.text.empty()) {
    mend = "add the unit: " + node.text + "mbit, " + node.text + "kbit, ...";
  } else {
    mend = example_of(*field.key) + " (units: bit, kbit, mbit, gbit)";
  }
  report(node.at, in_quotes(node.text) + " is not a rate", std::move(mend));
}

std::optional<Rate> ValueReader::rate(const Field& field) {
  const YamlNode* node = field ? scalar(field, *field.value) : nullptr;
  if (node == nullptr) return std::nullopt;
  if (parse_percent(node->text)) {
    report(node->at,
           in_quotes(node->text) + " is a share, but '" + std::string(field.key->name) + "' is a fixed rate",
           example_of(*field.key));
    return std::nullopt;
  }
  const auto rate = parse_rate(node->text);
  if (!rate) {
    report_bad_rate(field, *node);
    return std::nullopt;
  }
  return rate_is_in_range(*node, *rate) ? rate : std::nullopt;
}

std::optional<RateOrShare> ValueReader::rate_or_share(const Field& field) {
  const YamlNode* node = field ? scalar(field, *field.value) : nullptr;
  if (node == nullptr) return std::nullopt;
  if (const auto fraction = parse_percent(node->text)) {
    if (*fraction > 0.0 && *fraction <= 1.0) return Share{*fraction};
    report(node->at, in_quotes(node->text) + " is not a share of something",
           *fraction > 0.0 ? "write at most 100%"
                           : "write more than 0%, or leave '" + std::string(field.key->name) + "' out");
    return std::nullopt;
  }
  const auto fixed = parse_rate(node->text);
  if (!fixed) {
    if (parse_percent(node->text + "%")) {
      report(node->at, in_quotes(node->text) + " has no unit",
             "write " + node->text + "% or a rate like " + node->text + "mbit");
    } else {
      report_bad_rate(field, *node);
    }
    return std::nullopt;
  }
  return rate_is_in_range(*node, *fixed) ? std::optional<RateOrShare>(*fixed) : std::nullopt;
}

std::optional<Duration> ValueReader::duration(const Field& field, Duration least, Duration most) {
  const auto given = text(field);
  if (!given) return std::nullopt;
  const std::string key = "'" + std::string(field.key->name) + "'";
  const std::string range = duration_to_string(least) + " to " + duration_to_string(most);
  const auto time = parse_duration(*given);
  if (time && *time >= least && *time <= most) return time;
  if (time) {
    report(field.at(), key + " cannot be " + in_quotes(*given),
           "write a time from " + range + (*time < least ? ", or leave " + key + " out" : std::string()));
    return std::nullopt;
  }
  std::string mend = example_of(*field.key) + " (units: us, ms, s; from " + range + ")";
  if (const auto guess = probable_duration(*given)) {
    mend = "did you mean " + *guess + "?";
  } else if (parse_duration(*given + "ms")) {
    mend = "add the unit: " + *given + "ms, " + *given + "us, ...";
  }
  report(field.at(), in_quotes(*given) + " is not a time", std::move(mend));
  return std::nullopt;
}

std::optional<bool> ValueReader::flag(const Field& field) {
  const auto given = text(field);
  if (!given) return std::nullopt;
  const std::string word = lower_case(given->substr(0, 8));
  if (given->size() <= 5 && (word == "true" || word == "false")) return word == "true";
  const bool yes = word == "yes" || word == "on" || word == "y" || word == "1";
  const bool no = word == "no" || word == "off" || word == "n" || word == "0";
  report(field.at(), in_quotes(*given) + " is neither true nor false",
         yes  ? "write true"
         : no ? "write false"
              : "write true or false");
  return std::nullopt;
}

std::optional<std::int64_t> ValueReader::integer(const Field& field) {
  const auto given = text(field);
  if (!given) return std::nullopt;
  const auto [least, most] = std::pair(field.key->least, field.key->most);
  const auto number = parse_integer(*given, least, most);
  if (!number) {
    report(field.at(), "'" + std::string(field.key->name) + "' cannot be " + in_quotes(*given),
           "write a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return number;
}

std::optional<LinkLayer::Kind> ValueReader::link_kind(const Field& field) {
  using Kind = LinkLayer::Kind;
  return choice<Kind, 3>(field, {{{"ethernet", Kind::ethernet}, {"atm", Kind::atm}, {"ppp", Kind::ppp}}});
}

std::optional<GroPolicy> ValueReader::gro(const Field& field) {
  return choice<GroPolicy, 2>(field, {{{"bounded", GroPolicy::bounded}, {"as_is", GroPolicy::as_is}}});
}

std::optional<LeafKind> ValueReader::leaf(const Field& field) {
  return choice<LeafKind, 3>(
      field, {{{"auto", LeafKind::automatic}, {"fq_codel", LeafKind::fq_codel}, {"fifo", LeafKind::fifo}}});
}

template <typename T, std::size_t N>
std::optional<T> ValueReader::choice(const Field& field,
                                     const std::array<std::pair<std::string_view, T>, N>& words) {
  const auto given = text(field);
  if (!given) return std::nullopt;
  NearestName nearest(*given);
  std::string all;
  for (const auto& [word, value] : words) {
    if (*given == word) return value;
    nearest.offer(word);
    all.append(all.empty() ? "" : ", ").append(word);
  }
  report(field.at(), "'" + std::string(field.key->name) + "' cannot be " + in_quotes(*given),
         nearest.best() ? "did you mean " + std::string(*nearest.best()) + "?" : "write one of " + all);
  return std::nullopt;
}

std::optional<std::filesystem::path> ValueReader::socket_path(const Field& field) {
  const auto given = text(field);
  if (!given) return std::nullopt;
  const bool printable = std::all_of(given->begin(), given->end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F;
  });
  std::string why;
  if (!given->starts_with('/')) {
    why = "is not an absolute path";
  } else if (given->size() > kLongestSocketPath) {
    why = "is longer than the 107 bytes that a Unix socket's path may have";
  } else if (!printable || given->ends_with('/')) {
    why = "does not name a socket";
  }
  if (why.empty()) return std::filesystem::path(*given);
  report(field.at(), in_quotes(*given) + " " + why, example_of(*field.key));
  return std::nullopt;
}

std::optional<TcpEndpoint> ValueReader::loopback_endpoint(const Field& field) {
  const auto given = text(field);
  if (!given) return std::nullopt;
  const auto endpoint = parse_endpoint(*given);
  if (!endpoint) {
    report(field.at(), in_quotes(*given) + " is not an address with a port",
           example_of(*field.key) + " or \"[::1]:8440\"");
    return std::nullopt;
  }
  if (!is_loopback(endpoint->address)) {
    report(field.at(), in_quotes(*given) + " is not a loopback address: the API has no passwords",
           "write " + std::string(endpoint->address.family == Family::v4 ? "127.0.0.1:" : "\"[::1]:") +
               std::to_string(endpoint->port) + (endpoint->address.family == Family::v4 ? "" : "\"") +
               " and put a proxy before it");
    return std::nullopt;
  }
  return endpoint;
}

std::optional<std::uint8_t> ValueReader::dscp_of(const YamlNode& node) {
  const auto code_point = parse_dscp(node.text);
  if (!code_point) {
    report(node.at, in_quotes(node.text) + " is not a DSCP",
           mend_of_number(dscp_names(), node.text, "0 to 63"));
  }
  return code_point;
}

std::optional<std::uint8_t> ValueReader::dscp(const Field& field) {
  const YamlNode* node = field ? scalar(field, *field.value) : nullptr;
  return node != nullptr ? dscp_of(*node) : std::nullopt;
}

std::vector<std::uint8_t> ValueReader::dscps(const Field& field) {
  std::vector<std::uint8_t> found;
  for (const YamlNode* node : scalars(field)) {
    if (const auto code_point = dscp_of(*node)) found.push_back(*code_point);
  }
  return found;
}

std::vector<std::uint8_t> ValueReader::protocols(const Field& field) {
  std::vector<std::uint8_t> found;
  for (const YamlNode* node : scalars(field)) {
    const auto number = parse_protocol(node->text);
    if (number) {
      found.push_back(*number);
    } else {
      report(node->at, in_quotes(node->text) + " is not an IP protocol",
             mend_of_number(protocol_names(), node->text, "0 to 255"));
    }
  }
  return found;
}

std::vector<PortRange> ValueReader::ports(const Field& field) {
  std::vector<PortRange> found;
  for (const YamlNode* node : scalars(field)) {
    if (const auto range = parse_port_range(node->text)) {
      found.push_back(*range);
      continue;
    }
    const std::size_t dash = node->text.find('-');
    std::string mend = "write a port from 1 to 65535, or a range like 5000-5010";
    if (dash != std::string::npos) {
      const std::string reversed = node->text.substr(dash + 1) + "-" + node->text.substr(0, dash);
      if (parse_port_range(reversed)) mend = "did you mean " + reversed + "?";
    }
    report(node->at, in_quotes(node->text) + " is not a port or a range of ports", std::move(mend));
  }
  return found;
}

std::vector<VlanRange> ValueReader::vlans(const Field& field) {
  std::vector<VlanRange> found;
  for (const YamlNode* node : scalars(field)) {
    if (const auto range = parse_vlan_range(node->text)) {
      found.push_back(*range);
    } else {
      report(node->at, in_quotes(node->text) + " is not a VLAN id or a range of them",
             "write an id from 1 to 4094, a range like 200-210, or untagged");
    }
  }
  return found;
}

std::vector<std::uint32_t> ValueReader::fwmarks(const Field& field) {
  std::vector<std::uint32_t> found;
  for (const YamlNode* node : scalars(field)) {
    if (const auto mark = parse_fwmark(node->text)) {
      found.push_back(*mark);
    } else {
      report(node->at, in_quotes(node->text) + " is not a firewall mark",
             "write a number from 1 to 4294967295, or one like 0x10");
    }
  }
  return found;
}

}  // namespace weir
