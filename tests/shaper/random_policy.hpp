/// Random policies with classes within classes, and rates for them, for the shaper's tests.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "config/policy.hpp"

#include "sample_policy.hpp"

namespace weir::shaper::testing {

struct PolicyAndRates {
  Policy policy;
  std::vector<Rate> shaped;  ///< of each site
};

class RandomPolicies {
 public:
  /// `leaves_change`: a class of one name may have another kind of leaf in the next policy.
  explicit RandomPolicies(std::uint32_t seed, bool leaves_change = true)
      : random_(seed), leaves_change_(leaves_change) {}

  /// In [low, high].
  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  /// At most so many sites and classes of each.
  PolicyAndRates next(int sites = 6, int classes = 7) {
    PolicyAndRates made{.policy = sample_policy(), .shaped = {}};
    made.policy.wan.rate = Rate::mbps(static_cast<std::uint64_t>(pick(100, 1000)));
    made.policy.sites.clear();
    made.policy.class_sets.clear();
    for (int s = 0; s < sites; ++s) {
      if (pick(0, 3) == 0) continue;
      made.policy.class_sets.push_back(class_set(classes));
      made.policy.sites.push_back(make_site(
          "s" + std::to_string(s), Rate::mbps(static_cast<std::uint64_t>(pick(1, 15))), Rate::mbps(600)));
      made.policy.sites.back().class_set = made.policy.class_sets.size() - 1;
      made.shaped.push_back(Rate::kbps(static_cast<std::uint64_t>(pick(1, 600'000))));
    }
    return made;
  }

 private:
  ClassSet class_set(int classes) {
    ClassSet set;
    for (int c = 0; c < classes; ++c) {
      if (c != 0 && pick(0, 2) == 0) continue;
      set.classes.push_back(
          make_class("c" + std::to_string(c), pick(0, 40) / 100.0, static_cast<std::uint8_t>(pick(0, 7))));
      ClassPolicy& one = set.classes.back();
      const bool fifo = leaves_change_ ? pick(0, 5) == 0 : c % 4 == 0;
      one.leaf.kind = fifo ? LeafKind::fifo : LeafKind::automatic;
      // In one of those before it, which then holds no packets any more.
      if (c == 0 || pick(0, 2) != 0) continue;
      const auto around = static_cast<std::size_t>(pick(0, static_cast<int>(set.classes.size()) - 2));
      std::size_t levels = 1;
      for (auto up = set.classes[around].parent; up; up = set.classes[*up].parent) ++levels;
      if (levels >= 5) continue;
      one.parent = around;
      set.classes[around].inner = true;
    }
    return set;
  }

  std::mt19937 random_;
  bool leaves_change_;
};

}  // namespace weir::shaper::testing
