/// YAML text -> a tree of nodes with their places. Internal to config/; the one place that knows yaml-cpp.
///
/// Untrusted input: size, nesting and the number of nodes (aliases counted as often as they are used) are
/// bounded, and yaml-cpp's exceptions end here.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/problem.hpp"

namespace weir {

/// Ample for some 300 000 subnets. yaml-cpp holds up to 300 bytes for one of the file's (measured): with this
/// and kMostYamlNodes no file makes it hold more than half a gigabyte.
inline constexpr std::size_t kMostPolicyBytes = 8U << 20U;
/// A policy needs nine levels.
inline constexpr std::size_t kMostYamlDepth = 32;
/// Nodes of the tree, those behind an alias counted at each use: what a reader can be made to visit.
inline constexpr std::size_t kMostYamlNodes = 1'000'000;

/// Where something stands, line and column 1-based; columns in bytes, as editors' "line:column" for ASCII
/// text.
struct Place {
  std::size_t file = 0;  ///< SourceFiles' number of it
  std::size_t line = 0;
  std::size_t column = 0;
  auto operator<=>(const Place&) const = default;
};

struct YamlNode {
  enum class Kind : std::uint8_t { null, scalar, sequence, map };
  Kind kind = Kind::null;
  Place at;
  std::string text;                     ///< of a scalar
  std::vector<std::uint32_t> children;  ///< of a sequence: its items; of a map: key, value, key, value, ...
};

/// The nodes of one document. An alias is a child that has several parents; there are no cycles.
class YamlTree {
 public:
  YamlTree(std::vector<YamlNode> nodes, std::uint32_t root, std::size_t visits)
      : nodes_(std::move(nodes)), root_(root), visits_(visits) {}
  [[nodiscard]] const YamlNode& root() const { return nodes_[root_]; }
  /// How many values a walk meets, those behind an alias at each use.
  [[nodiscard]] std::size_t visits() const { return visits_; }
  [[nodiscard]] const YamlNode& child(const YamlNode& parent, std::size_t i) const {
    return nodes_[parent.children[i]];
  }

 private:
  std::vector<YamlNode> nodes_;
  std::uint32_t root_;
  std::size_t visits_;
};

/// The single document in `text`, or the one problem that keeps it from being read. `file` goes into all
/// places.
[[nodiscard]] std::variant<YamlTree, Problem> read_yaml(std::string_view text, std::size_t file = 0);

}  // namespace weir
