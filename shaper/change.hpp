/// One change to a port's queue tree: a value that diff makes, describe writes out, and a Kernel carries out.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "shaper/tree.hpp"

namespace weir::shaper {

struct SetRoot {
  enum class How : std::uint8_t { add, replace, modify };
  How how = How::add;
  HtbRoot root = {};
  std::string instead_of = {};  ///< what `replace` throws out, for people
};
struct RemoveRoot {};
struct SetClass {
  bool create = false;
  Handle handle = 0;
  Handle parent = 0;
  HtbClass htb = {};
  std::string title = {};
  std::optional<HtbClass> was = {};  ///< before a change
};
struct RemoveClass {
  Handle handle = 0;
  Handle parent = 0;
};
struct SetLeaf {
  bool create = false;
  LeafSpec leaf = {};
  std::string title = {};
};
struct RemoveLeaf {
  Handle handle = 0;
  Handle parent = 0;
};

using Change = std::variant<SetRoot, RemoveRoot, SetClass, RemoveClass, SetLeaf, RemoveLeaf>;

/// For people: "lower class 7e17:10 (dc-coast) to 45mbit, at most 45mbit".
[[nodiscard]] std::string describe(const Change& change);
/// The tc command with the same effect on `interface`.
[[nodiscard]] std::string tc_command(const Change& change, const std::string& interface);

}  // namespace weir::shaper
