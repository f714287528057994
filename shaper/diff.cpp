#include "shaper/diff.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "shaper/invariants.hpp"

namespace weir::shaper {
namespace {

constexpr Rate kParting = Rate::bps(8);  // HTB's least: 1 byte/s

// Inner classes have neither quantum nor priority: HTB keeps whatever they had as leaves.
bool same(const HtbClass& a, const HtbClass& b, bool inner) {
  HtbClass x = a;
  HtbClass y = b;
  if (inner) x.quantum = y.quantum = x.priority = y.priority = 0;
  return x == y;
}

class Differ {
 public:
  Differ(Observed observed, const Tree& desired) : desired_(desired), wanted_(as_read_back(desired)) {
    if (observed.can_become(desired.root)) {
      seen_ = std::move(observed);
    } else {
      before_.root = std::move(observed.root);
    }
  }

  ChangePlan run() {
    root();
    clear_the_way();
    lower();
    raise_and_create();
    leaves();
    retire();
    std::erase_if(plan_.stages, [](const Stage& stage) { return stage.empty(); });
    return std::move(plan_);
  }

 private:
  void root() {
    if (seen_.root) {
      if (*seen_.root->htb != desired_.root) {
        add_stage_of(SetRoot{.how = SetRoot::How::modify, .root = desired_.root});
      }
      return;
    }
    SetRoot make{.how = SetRoot::How::add, .root = desired_.root};
    if (before_.root && before_.root->handle == kRoot) {
      add_stage_of(
          RemoveRoot{});  // a replacement with the handle of what is there would be taken for a change of it
    } else if (before_.root && before_.root->handle != 0) {
      make.how = SetRoot::How::replace;
      make.instead_of = before_.root->kind + " " + tc_name(before_.root->handle);
    }
    add_stage_of(std::move(make));
  }

  // HTB can neither move a class to another parent nor put a queue under a class that has children: what
  // stands in a wrong place goes first, with all below it. Only a damaged state file or a stranger's hand
  // leads here.
  void clear_the_way() {
    std::set<Handle> doomed;
    for (const auto& [handle, cls] : seen_.classes) {
      const auto want = wanted_.classes.find(handle);
      if (want == wanted_.classes.end()) continue;
      if (want->second.parent != cls.parent || (cls.inner && !want->second.inner)) doomed.insert(handle);
    }
    if (doomed.empty()) return;
    for (bool grew = true; grew;) {
      grew = false;
      for (const auto& [handle, cls] : seen_.classes) {
        if (doomed.contains(cls.parent) && doomed.insert(handle).second) grew = true;
      }
    }
    remove_deepest_first(doomed, plan_.stages);
    for (const Handle handle : doomed) {
      seen_.classes.erase(handle);
      seen_.leaves.erase(handle);
    }
  }

  // A stage a level: the kernel goes on after a message that it refused, and a parent must not be lowered
  // under a child that was not.
  void lower() {
    std::map<int, Stage, std::greater<>> by_depth;
    count_leaves_below();
    for (const auto& [handle, cls] : seen_.classes) {
      const auto want = wanted_.classes.find(handle);
      HtbClass htb = want == wanted_.classes.end() ? parting(handle) : want->second.htb;
      if (htb.rate < cls.htb.rate) by_depth[depth_of(handle)].emplace_back(change(cls, htb));
    }
    for (auto& [depth, stage] : by_depth) plan_.stages.push_back(std::move(stage));
  }

  void count_leaves_below() {
    for (const auto& [handle, cls] : seen_.classes) {
      if (cls.inner) continue;
      int levels = 0;
      for (auto up = seen_.classes.find(cls.parent); up != seen_.classes.end() && levels < kMostLevels;
           up = seen_.classes.find(up->second.parent), ++levels) {
        ++leaves_below_[up->first];
      }
    }
  }

  // A class on its way out keeps its ceiling (it sends what it still holds by borrowing) but claims nothing;
  // one that holds others what these claim.
  [[nodiscard]] HtbClass parting(Handle handle) const {
    HtbClass htb = seen_.classes.at(handle).htb;
    const auto below = leaves_below_.find(handle);
    htb.rate =
        std::min(htb.rate, Rate::bps(kParting.bps() * (below == leaves_below_.end() ? 1 : below->second)));
    return htb;
  }

  void raise_and_create() {
    std::map<int, Stage> by_depth;
    std::map<Handle, int> depth;
    for (const auto& spec : desired_.classes) {  // parents stand first
      const auto above = depth.find(spec.parent);
      const int level = above == depth.end() ? 0 : above->second + 1;
      depth[spec.handle] = level;
      const auto have = seen_.classes.find(spec.handle);
      if (have == seen_.classes.end()) {
        by_depth[level].emplace_back(SetClass{.create = true,
                                              .handle = spec.handle,
                                              .parent = spec.parent,
                                              .htb = spec.htb,
                                              .title = spec.title()});
      } else if (spec.htb.rate >= have->second.htb.rate &&
                 !same(spec.htb, have->second.htb, wanted_.classes.at(spec.handle).inner)) {
        by_depth[level].emplace_back(change(have->second, spec.htb));
      }
    }
    for (auto& [level, stage] : by_depth) plan_.stages.push_back(std::move(stage));
  }

  void leaves() {
    Stage removals;
    Stage stage;
    for (const auto& spec : desired_.classes) {
      if (!spec.leaf) continue;
      const auto have = seen_.leaves.find(spec.handle);
      if (have == seen_.leaves.end()) {
        stage.emplace_back(SetLeaf{.create = true, .leaf = *spec.leaf, .title = spec.title()});
      } else if (have->second.kind != kind_of(spec.leaf->parameters) || !have->second.parameters ||
                 have->second.handle != spec.leaf->handle ||
                 have_other_flows(*have->second.parameters, spec.leaf->parameters)) {
        // The kernel changes a queue's kind only by a new handle, and its number of flows not at all: handles
        // are fixed, so the old one goes first.
        removals.emplace_back(RemoveLeaf{.handle = have->second.handle, .parent = spec.handle});
        stage.emplace_back(SetLeaf{.create = true, .leaf = *spec.leaf, .title = spec.title()});
      } else if (*have->second.parameters != as_read_back(spec.leaf->parameters)) {
        stage.emplace_back(SetLeaf{.create = false, .leaf = *spec.leaf, .title = spec.title()});
      }
    }
    plan_.stages.push_back(std::move(removals));
    plan_.stages.push_back(std::move(stage));
  }

  static bool have_other_flows(const LeafParameters& have, const LeafParameters& want) {
    const auto* const made = std::get_if<FqCodel>(&have);
    return made != nullptr && made->flows != std::get<FqCodel>(want).flows;
  }

  void retire() {
    std::set<Handle> gone;
    for (const auto& [handle, cls] : seen_.classes) {
      if (wanted_.classes.contains(handle)) continue;
      gone.insert(handle);
      if (!cls.inner) plan_.retired.push_back(handle);
    }
    if (gone.empty()) return;
    remove_deepest_first(gone, plan_.removal);
  }

  void remove_deepest_first(const std::set<Handle>& handles, std::vector<Stage>& stages) const {
    std::map<int, Stage, std::greater<>> by_depth;
    for (const Handle handle : handles) {
      by_depth[depth_of(handle)].emplace_back(
          RemoveClass{.handle = handle, .parent = seen_.classes.at(handle).parent});
    }
    for (auto& [depth, stage] : by_depth) stages.push_back(std::move(stage));
  }

  // A dump is a stranger's bytes: a ring of parents must not hang us (HTB itself has at most 8 levels).
  [[nodiscard]] int depth_of(Handle handle) const {
    int depth = 0;
    for (auto it = seen_.classes.find(handle); it != seen_.classes.end() && depth < 16;
         it = seen_.classes.find(it->second.parent)) {
      ++depth;
    }
    return depth;
  }

  [[nodiscard]] SetClass change(const ObservedClass& have, const HtbClass& to) {
    return {.create = false,
            .handle = have.handle,
            .parent = have.parent,
            .htb = to,
            .title = title_of(have.handle),
            .was = have.htb};
  }

  [[nodiscard]] std::string title_of(Handle handle) {
    if (titles_.empty()) {
      for (const auto& spec : desired_.classes) titles_.emplace(spec.handle, spec.title());
    }
    const auto it = titles_.find(handle);
    return it == titles_.end() ? "retired" : it->second;
  }

  void add_stage_of(Change change) { plan_.stages.emplace_back().push_back(std::move(change)); }

  const Tree& desired_;
  Observed wanted_;
  Observed seen_;    // empty unless the tree there is one we can go on from
  Observed before_;  // otherwise what stands there instead
  std::map<Handle, std::uint64_t> leaves_below_;
  std::map<Handle, std::string> titles_;
  ChangePlan plan_;
};

}  // namespace

std::size_t ChangePlan::count() const {
  std::size_t n = 0;
  for (const auto& stage : stages) n += stage.size();
  for (const auto& stage : removal) n += stage.size();
  return n;
}

ChangePlan diff(Observed observed, const Tree& desired) {
  return Differ(std::move(observed), desired).run();
}

std::vector<Handle> touched_by(const ChangePlan& changes) {
  std::set<Handle> handles;
  const auto note = [&](const auto& change) {
    using Kind = std::decay_t<decltype(change)>;
    if constexpr (std::is_same_v<Kind, SetClass> || std::is_same_v<Kind, RemoveClass>) {
      handles.insert({change.handle, change.parent});
    } else if constexpr (std::is_same_v<Kind, SetLeaf>) {
      handles.insert(change.leaf.parent);
    } else if constexpr (std::is_same_v<Kind, RemoveLeaf>) {
      handles.insert(change.parent);
    }
  };
  for (const auto* stages : {&changes.stages, &changes.removal})
    for (const Stage& stage : *stages)
      for (const Change& change : stage) std::visit(note, change);
  return {handles.begin(), handles.end()};
}

Tree part_of(const Tree& tree, std::span<const Handle> handles) {
  Tree part{.root = tree.root};
  std::copy_if(
      tree.classes.begin(), tree.classes.end(), std::back_inserter(part.classes),
      [&](const ClassSpec& spec) { return std::binary_search(handles.begin(), handles.end(), spec.handle); });
  return part;
}

Stage rate_changes(const Tree& before, std::span<const ReplannedClass> changed) {
  Stage batch;
  const auto change = [&](const ReplannedClass& one) {
    const ClassSpec& spec = before.classes[one.index];
    batch.emplace_back(SetClass{.handle = spec.handle,
                                .parent = spec.parent,
                                .htb = one.htb,
                                .title = spec.title(),
                                .was = spec.htb});
  };
  // Parents stand before their children: backwards is children first.
  for (auto one = changed.rbegin(); one != changed.rend(); ++one) {
    if (one->htb.rate < before.classes[one->index].htb.rate) change(*one);
  }
  for (const ReplannedClass& one : changed) {
    const ClassSpec& spec = before.classes[one.index];
    if (one.htb.rate >= spec.htb.rate && !same(one.htb, spec.htb, !spec.leaf)) change(one);
  }
  for (const ReplannedClass& one : changed) {
    const ClassSpec& spec = before.classes[one.index];
    if (!spec.leaf || !one.leaf || *one.leaf == spec.leaf->parameters) continue;
    LeafSpec leaf = *spec.leaf;
    leaf.parameters = *one.leaf;
    batch.emplace_back(SetLeaf{.leaf = leaf, .title = spec.title()});
  }
  return batch;
}

}  // namespace weir::shaper
