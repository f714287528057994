/// Nodes of the file -> typed values, each fault reported with its place and mend. Internal to config/.
///
/// Every read function returns nullopt (or leaves an element out) after it has reported why; callers go on,
/// so that all problems come out at once. Nothing here compares one value with another: that is
/// config/policy_checks.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/policy.hpp"
#include "config/policy_keys.hpp"
#include "config/problem.hpp"
#include "config/source_files.hpp"
#include "config/yaml_tree.hpp"

namespace weir {

/// Below this HTB's arithmetic gets coarse; also what a class without a guarantee has.
inline constexpr Rate kLeastRate = Rate::kbps(8);
/// No port is faster; sums of rates up to here cannot overflow.
inline constexpr Rate kMostRate = Rate::mbps(10'000'000);

/// "'text'", shortened and without control characters: fit for a message.
[[nodiscard]] std::string in_quotes(std::string_view text);

/// A value and where it stands.
template <typename T>
struct Placed {
  T value;
  Place at;
};

/// One key of a mapping; `value` is null when the key is not there.
struct Field {
  const PolicyKey* key = nullptr;
  const YamlNode* value = nullptr;
  explicit operator bool() const { return value != nullptr; }
  [[nodiscard]] Place at() const { return value->at; }
};

/// The known keys of one mapping.
class Fields {
 public:
  Fields(const KeyTable& table, Place at) : table_(&table), at_(at) {}
  [[nodiscard]] Field operator[](std::string_view name) const;
  [[nodiscard]] Place at() const { return at_; }
  [[nodiscard]] const KeyTable& table() const { return *table_; }

 private:
  friend class ValueReader;
  static constexpr std::size_t kMostKeys = 24;
  const KeyTable* table_;
  Place at_;
  std::array<const YamlNode*, kMostKeys> values_{};
};

class ValueReader {
 public:
  ValueReader(SourceFiles& files, Problems& problems) : files_(&files), problems_(&problems) {}

  void report(Place at, std::string message, std::string mend);
  void report_missing(const Fields& fields, std::string_view key);

  /// The fields of a mapping; unknown and repeated keys are reported. nullopt when it is no mapping.
  [[nodiscard]] std::optional<Fields> fields(const YamlNode& node, const KeyTable& table);
  /// A mapping whose keys are names of the operator's own, each once.
  struct NamedNode {
    std::string name;
    Place at;
    const YamlNode* node;
    const PolicyKey* key;  ///< the one whose mapping it is
  };
  /// Of several files' mappings under one key, as if they were one. `what` is called so.
  [[nodiscard]] std::vector<NamedNode> named_nodes(std::span<const Field> fields, std::string_view what);
  /// The values of a field that holds one value or a list.
  [[nodiscard]] std::vector<const YamlNode*> items(const Field& field);
  /// The same where each has to be plain text; what is not is reported and left out.
  [[nodiscard]] std::vector<const YamlNode*> scalars(const Field& field);

  [[nodiscard]] std::optional<std::string> name(const Field& field);
  [[nodiscard]] std::optional<std::string> text(const Field& field);
  [[nodiscard]] std::optional<std::string> interface(const Field& field);
  [[nodiscard]] std::optional<Rate> rate(const Field& field);
  [[nodiscard]] std::optional<RateOrShare> rate_or_share(const Field& field);
  [[nodiscard]] std::optional<Duration> duration(const Field& field, Duration least, Duration most);
  [[nodiscard]] std::optional<bool> flag(const Field& field);
  /// Within the bounds of its key.
  [[nodiscard]] std::optional<std::int64_t> integer(const Field& field);
  [[nodiscard]] std::optional<LinkLayer::Kind> link_kind(const Field& field);
  [[nodiscard]] std::optional<GroPolicy> gro(const Field& field);
  [[nodiscard]] std::optional<LeafKind> leaf(const Field& field);
  [[nodiscard]] std::optional<std::filesystem::path> socket_path(const Field& field);
  [[nodiscard]] std::optional<TcpEndpoint> loopback_endpoint(const Field& field);

  [[nodiscard]] std::optional<std::uint8_t> dscp(const Field& field);
  [[nodiscard]] std::vector<std::uint8_t> dscps(const Field& field);
  [[nodiscard]] std::vector<std::uint8_t> protocols(const Field& field);
  [[nodiscard]] std::vector<PortRange> ports(const Field& field);
  [[nodiscard]] std::vector<VlanRange> vlans(const Field& field);
  [[nodiscard]] std::vector<std::uint32_t> fwmarks(const Field& field);

 private:
  [[nodiscard]] const YamlNode* scalar(const Field& field, const YamlNode& node);
  [[nodiscard]] std::optional<std::uint8_t> dscp_of(const YamlNode& node);
  void check_name(const std::string& name, Place at);
  template <typename T, std::size_t N>
  [[nodiscard]] std::optional<T> choice(const Field& field,
                                        const std::array<std::pair<std::string_view, T>, N>& words);
  void report_unknown_key(const YamlNode& key, const KeyTable& table);
  void report_bad_rate(const Field& field, const YamlNode& node);
  [[nodiscard]] bool rate_is_in_range(const YamlNode& node, Rate rate);

  SourceFiles* files_;
  Problems* problems_;
};

}  // namespace weir
