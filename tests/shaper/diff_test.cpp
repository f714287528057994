#include "shaper/diff.hpp"

#include <random>

#include <gtest/gtest.h>

#include "shaper/class_allocation.hpp"
#include "shaper/plan.hpp"

#include "fake_kernel.hpp"
#include "random_policy.hpp"
#include "sample_policy.hpp"

namespace weir::shaper {
namespace {

using testing::FakeKernel;
using testing::make_class;
using testing::make_site;
using testing::RandomPolicies;
using testing::sample_policy;
using testing::two_sites;

constexpr KernelFacts kModern{.has_fq_codel = true, .mtu = 1500};

Tree tree_of(const Policy& policy, std::vector<Rate> shaped, const KnownHandles& known = {},
             const KernelFacts& facts = kModern) {
  return plan(policy, shaped, facts, allocate_handles(policy, known));
}

void carry_out(FakeKernel& kernel, const std::vector<Stage>& stages) {
  for (const auto& stage : stages) {
    const auto result = kernel.write(7, stage);
    ASSERT_FALSE(result.refusal) << describe(stage[result.refusal->index]);
  }
}

void converge(FakeKernel& kernel, const Tree& tree) {
  const auto changes = diff(kernel.tree, tree);
  carry_out(kernel, changes.stages);
  carry_out(kernel, changes.removal);
}

template <class T>
std::vector<T> all(const std::vector<Stage>& stages) {
  std::vector<T> found;
  for (const auto& stage : stages) {
    for (const auto& change : stage) {
      if (const auto* c = std::get_if<T>(&change)) found.push_back(*c);
    }
  }
  return found;
}

TEST(Diff, OfAKernelThatIsAlreadySoIsNothing) {
  FakeKernel kernel;
  const auto tree = tree_of(two_sites(), {Rate::mbps(100), Rate::mbps(50)});
  converge(kernel, tree);
  EXPECT_EQ(kernel.tree, as_read_back(tree));
  EXPECT_TRUE(diff(kernel.tree, tree).empty());
}

TEST(Diff, CreatesParentsInAStageBeforeTheirChildren) {
  const auto changes = diff({}, tree_of(two_sites(), {Rate::mbps(100), Rate::mbps(50)}));
  std::set<Handle> standing{kRoot};
  ASSERT_TRUE(std::holds_alternative<SetRoot>(changes.stages.at(0).at(0)));
  for (const auto& stage : changes.stages) {
    std::set<Handle> in_this_stage;
    for (const auto& change : stage) {
      if (const auto* c = std::get_if<SetClass>(&change)) {
        EXPECT_TRUE(standing.contains(c->parent)) << describe(change);
        in_this_stage.insert(c->handle);
      } else if (const auto* leaf = std::get_if<SetLeaf>(&change)) {
        EXPECT_TRUE(standing.contains(leaf->leaf.parent)) << describe(change);
      }
    }
    standing.merge(in_this_stage);
  }
}

TEST(Diff, ARateChangeLowersChildrenBeforeTheirParentIsTouched) {
  FakeKernel kernel;
  converge(kernel, tree_of(two_sites(), {Rate::mbps(100), Rate::mbps(50)}));
  const auto changes = diff(kernel.tree, tree_of(two_sites(), {Rate::mbps(97), Rate::mbps(50)}));
  ASSERT_EQ(changes.stages.size(), 2U);
  EXPECT_EQ(changes.stages[0].size(), 4U);  // no leaf changes within an octave
  EXPECT_EQ(changes.stages[1].size(), 1U);
}

TEST(Diff, LowersChildrenFirstAndRaisesParentsFirst) {
  FakeKernel kernel;
  converge(kernel, tree_of(sample_policy(), {Rate::mbps(100)}));
  const Handle site = allocate_handles(sample_policy(), {}).site[0];
  const auto lowered = all<SetClass>(diff(kernel.tree, tree_of(sample_policy(), {Rate::mbps(96)})).stages);
  EXPECT_EQ(lowered.back().handle, site);
  const auto raised = all<SetClass>(diff(kernel.tree, tree_of(sample_policy(), {Rate::mbps(104)})).stages);
  EXPECT_EQ(raised.front().handle, site);
}

TEST(Diff, RetiresWhatNobodyWantsOnlyAfterTheSwitch) {
  FakeKernel kernel;
  auto policy = two_sites();
  const auto before = tree_of(policy, {Rate::mbps(100), Rate::mbps(50)});
  converge(kernel, before);
  const auto known = names_of(policy, before.ids);
  policy.sites.erase(policy.sites.begin());
  const auto changes = diff(kernel.tree, tree_of(policy, {Rate::mbps(50)}, known));
  EXPECT_TRUE(all<RemoveClass>(changes.stages).empty());
  EXPECT_EQ(changes.retired.size(), 4U);
  const auto removed = all<RemoveClass>(changes.removal);
  ASSERT_EQ(removed.size(), 5U);
  EXPECT_EQ(removed.back().handle, before.ids.site[0]);
  // Until then they keep their ceiling, to send what they hold, and claim nothing.
  for (const auto& change : all<SetClass>(changes.stages)) {
    if (change.handle != before.ids.classes[0][3]) continue;
    EXPECT_EQ(change.htb.rate, Rate::bps(8));
    EXPECT_EQ(change.htb.ceil, Rate::mbps(100));
  }
}

TEST(Diff, DoesNotCompareWhatAnInnerClassDoesNotHave) {
  FakeKernel kernel;
  const auto tree = tree_of(sample_policy(), {Rate::mbps(100)});
  converge(kernel, tree);
  kernel.tree.classes.at(tree.ids.site[0]).htb.quantum = 4711;
  kernel.tree.classes.at(tree.ids.site[0]).htb.priority = 5;
  EXPECT_TRUE(diff(kernel.tree, tree).empty());
  kernel.tree.classes.at(tree.ids.classes[0][0]).htb.quantum = 4711;
  EXPECT_EQ(diff(kernel.tree, tree).count(), 1U);
}

TEST(Diff, LeavesTheNumberOfFlowsOfAStandingQueueAlone) {
  FakeKernel kernel;
  auto tree = tree_of(sample_policy(), {Rate::mbps(100)});
  converge(kernel, tree);
  std::get<FqCodel>(*kernel.tree.leaves.at(tree.ids.classes[0][0]).parameters).flows = 32;
  EXPECT_EQ(diff(kernel.tree, tree).count(), 2U);
  keep_flows(kernel.tree, tree);
  EXPECT_TRUE(diff(kernel.tree, tree).empty());
}

TEST(Diff, TakesOverNoFlowsOfAStrangersQueue) {
  FakeKernel kernel;
  auto tree = tree_of(sample_policy(), {Rate::mbps(100)});
  const auto planned = tree;
  converge(kernel, tree);
  ObservedLeaf& leaf = kernel.tree.leaves.at(tree.ids.classes[0][0]);
  leaf.handle = make_handle(0x99, 0);
  std::get<FqCodel>(*leaf.parameters).flows = 1;
  keep_flows(kernel.tree, tree);
  EXPECT_EQ(tree, planned);
}

TEST(Diff, ReplacesALeafWhoseNumberOfFlowsWasAskedFor) {
  FakeKernel kernel;
  auto policy = sample_policy();
  policy.class_sets[0].classes[0].leaf.flows = 64;
  converge(kernel, tree_of(policy, {Rate::mbps(100)}));
  policy.class_sets[0].classes[0].leaf.flows = 128;
  const auto tree = tree_of(policy, {Rate::mbps(100)});
  EXPECT_EQ(diff(kernel.tree, tree).count(), 2U);
  converge(kernel, tree);
  EXPECT_TRUE(diff(kernel.tree, tree).empty());
  EXPECT_EQ(std::get<FqCodel>(*kernel.tree.leaves.at(tree.ids.classes[0][0]).parameters).flows, 128U);
}

TEST(Diff, ReplacesALeafOfAnotherKind) {
  FakeKernel kernel;
  auto policy = sample_policy();
  converge(kernel, tree_of(policy, {Rate::mbps(100)}));
  policy.class_sets[0].classes[1].leaf.kind = LeafKind::fifo;
  const auto tree = tree_of(policy, {Rate::mbps(100)});
  converge(kernel, tree);
  EXPECT_TRUE(diff(kernel.tree, tree).empty());
  EXPECT_EQ(kernel.tree.leaves.at(tree.ids.classes[0][1]).kind, "bfifo");
}

TEST(Diff, MendsAClassThatStandsInAWrongPlace) {
  FakeKernel kernel;
  const auto tree = tree_of(two_sites(), {Rate::mbps(100), Rate::mbps(50)});
  converge(kernel, tree);
  // The second site's class became a child of the first's, with all below it.
  kernel.tree.classes.at(tree.ids.site[1]).parent = tree.ids.site[0];
  kernel.tree.classes.at(tree.ids.site[0]).htb.rate = Rate::mbps(200);
  converge(kernel, tree);
  EXPECT_EQ(kernel.tree, as_read_back(tree));
}

TEST(Diff, MendsAnInnerClassThatShouldBeALeaf) {
  FakeKernel kernel;
  const auto tree = tree_of(sample_policy(), {Rate::mbps(100)});
  converge(kernel, tree);
  SetClass stray{.create = true, .handle = make_handle(kMajor, 0x99), .parent = tree.ids.classes[0][1]};
  stray.htb = {.rate = Rate::kbps(8), .ceil = Rate::kbps(8)};
  kernel.write(7, std::vector<Change>{stray});
  converge(kernel, tree);
  EXPECT_EQ(kernel.tree, as_read_back(tree));
}

TEST(Diff, ChangesTheSizeTableInPlace) {
  FakeKernel kernel;
  auto policy = sample_policy();
  policy.wan.link_layer = {};
  converge(kernel, tree_of(policy, {Rate::mbps(100)}));
  policy.wan.link_layer.overhead = -4;
  const auto tree = tree_of(policy, {Rate::mbps(100)});
  const auto changes = diff(kernel.tree, tree);
  EXPECT_EQ(changes.count(), 1U);
  converge(kernel, tree);
  EXPECT_TRUE(diff(kernel.tree, tree).empty());
}

TEST(Diff, SurvivesADumpWithARingOfParents) {
  Observed ring;
  ring.root = ObservedRoot{.kind = "htb", .handle = kRoot, .htb = HtbRoot{}};
  const Handle a = make_handle(kMajor, 0x70);
  const Handle b = make_handle(kMajor, 0x71);
  ring.classes.emplace(a, ObservedClass{.handle = a, .parent = b, .inner = true});
  ring.classes.emplace(b, ObservedClass{.handle = b, .parent = a, .inner = true});
  EXPECT_FALSE(diff(ring, tree_of(sample_policy(), {Rate::mbps(100)})).empty());
}

// From any tree to any other: no instant breaks an invariant, and the end is what was wanted.
TEST(Diff, KeepsTheInvariantsAtEveryInstant) {
  RandomPolicies random(4711);
  FakeKernel kernel;
  KnownHandles known;
  for (int round = 0; round < 400; ++round) {
    const auto [policy, shaped] = random.next();
    const auto tree = tree_of(policy, shaped, known);
    for (const Stage& stage : diff(kernel.tree, tree).stages)
      for (const Change& change : stage)
        ASSERT_FALSE(std::holds_alternative<RemoveClass>(change))
            << "a class is taken away before it is empty";
    converge(kernel, tree);
    ASSERT_EQ(kernel.first_violation, std::nullopt) << "round " << round;
    ASSERT_TRUE(diff(kernel.tree, tree).empty()) << "round " << round;
    known = names_of(policy, tree.ids);
  }
}

// The quick way from rates to rates does what the thorough one does, in an order as safe.
TEST(RateChanges, AgreeWithTheDiffOfTheKernel) {
  std::mt19937 random(31);
  const auto rate = [&] {
    return Rate::kbps(std::uniform_int_distribution<std::uint64_t>(1'000, 600'000)(random));
  };
  FakeKernel kernel;
  auto before = tree_of(two_sites(), {Rate::mbps(100), Rate::mbps(50)});
  converge(kernel, before);
  for (int round = 0; round < 300; ++round) {
    const std::vector<Rate> shaped{rate(), round % 3 == 0 ? Rate::mbps(50) : rate()};
    const auto after = tree_of(two_sites(), shaped);
    const auto changed = replan(before, two_sites(), shaped, kModern);
    const auto batch = rate_changes(before, changed);
    EXPECT_EQ(batch.size(), diff(kernel.tree, after).count());
    carry_out(kernel, {batch});
    ASSERT_EQ(kernel.first_violation, std::nullopt) << "round " << round;
    ASSERT_TRUE(diff(kernel.tree, after).empty()) << "round " << round;
    take_over(changed, before);
    ASSERT_EQ(before, after) << "round " << round;
  }
}

// Of whatever policy, and whichever of its rates change: another plan, made of the one before.
TEST(RateChanges, AreWhatAnotherPlanDiffersIn) {
  RandomPolicies random(91);
  std::size_t skipped = 0;
  for (int round = 0; round < 300; ++round) {
    auto [policy, shaped] = random.next();
    auto tree = tree_of(policy, shaped);
    for (int step = 0; step < 5; ++step) {
      for (Rate& one : shaped)
        if (random.pick(0, 2) == 0) one = Rate::kbps(static_cast<std::uint64_t>(random.pick(1, 600'000)));
      const auto changed = replan(tree, policy, shaped, kModern);
      take_over(changed, tree);
      ASSERT_EQ(tree, tree_of(policy, shaped)) << "round " << round;
      if (changed.size() + 3 < tree.classes.size()) ++skipped;
    }
    EXPECT_TRUE(replan(tree, policy, shaped, kModern).empty());
  }
  EXPECT_GT(skipped, 100U) << "most often some sites stay as they are";
}

TEST(RateChanges, RefuseATreeOfAnotherPolicy) {
  EXPECT_THROW(static_cast<void>(replan(tree_of(sample_policy(), {Rate::mbps(100)}), two_sites(),
                                        std::vector{Rate::mbps(100), Rate::mbps(50)}, kModern)),
               std::exception);
}

TEST(Invariants, AreSeenWhenBroken) {
  const auto tree = as_read_back(tree_of(sample_policy(), {Rate::mbps(100)}));
  const Handle site = make_handle(kMajor, 0x10);
  ASSERT_EQ(violated_invariant(tree), std::nullopt);

  auto broken = tree;
  broken.classes.at(site).htb.rate = Rate::mbps(50);
  EXPECT_NE(violated_invariant(broken), std::nullopt) << "children promised more than the parent has";
  broken = tree;
  broken.classes.at(site).htb.ceil = Rate::mbps(99);
  EXPECT_NE(violated_invariant(broken), std::nullopt) << "ceiling below the guarantee";
  broken = tree;
  broken.classes.at(site).parent = make_handle(kMajor, 0x777);
  EXPECT_NE(violated_invariant(broken), std::nullopt) << "no parent";
  broken = tree;
  Handle above = make_handle(kMajor, 0x14);
  for (std::uint16_t minor = 0x100; minor < 0x106; ++minor) {
    const Handle handle = make_handle(kMajor, minor);
    broken.classes.emplace(handle, ObservedClass{.handle = handle, .parent = above});
    broken.classes.at(handle).htb = {.rate = Rate::bps(8), .ceil = Rate::bps(8)};
    above = handle;
  }
  EXPECT_NE(violated_invariant(broken), std::nullopt) << "nine levels";
}

}  // namespace
}  // namespace weir::shaper
