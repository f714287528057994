#include "shaper/invariants.hpp"

#include <map>

namespace weir::shaper {
namespace {

constexpr std::size_t kMostClasses = 65'500;

int levels_above(const Observed& tree, const ObservedClass& cls) {
  int levels = 1;
  for (auto up = tree.classes.find(cls.parent); up != tree.classes.end() && levels <= kMostLevels;
       up = tree.classes.find(up->second.parent)) {
    ++levels;
  }
  return levels;
}

}  // namespace

std::optional<std::string> violated_invariant(const Observed& tree) {
  if (tree.classes.size() > kMostClasses) return "more than 65 500 classes on one port";
  std::map<Handle, Rate> promised;
  for (const auto& [handle, cls] : tree.classes) {
    promised[cls.parent] = promised[cls.parent] + cls.htb.rate;
    const std::string name = "class " + tc_name(handle);
    if (cls.htb.ceil < cls.htb.rate) return name + " has a ceiling below its guarantee";
    if (cls.parent != kRoot && !tree.classes.contains(cls.parent)) return name + " has no parent";
    if (levels_above(tree, cls) > kMostLevels) return name + " is deeper than 8 levels";
  }
  for (const auto& [parent, sum] : promised) {
    const auto it = tree.classes.find(parent);
    if (it != tree.classes.end() && sum > it->second.htb.rate) {
      return "the children of class " + tc_name(parent) + " are promised " + std::to_string(sum.bps()) +
             " bit/s of " + std::to_string(it->second.htb.rate.bps());
    }
  }
  return std::nullopt;
}

}  // namespace weir::shaper
