#include "shaper/reconciler.hpp"

#include <gtest/gtest.h>

#include "fake_kernel.hpp"
#include "sample_policy.hpp"

namespace weir::shaper {
namespace {

using testing::FakePort;
using testing::make_class;
using testing::make_site;
using testing::sample_policy;
using testing::two_sites;

const std::vector<Rate> kRates{Rate::mbps(100), Rate::mbps(50)};

TEST(Reconciler, AppliesOnceAndThenWritesNothing) {
  FakePort port;
  const auto first = port->apply(two_sites(), kRates);
  ASSERT_TRUE(first.ok()) << first.fault->attempt;
  EXPECT_FALSE(first.adopted);
  EXPECT_FALSE(first.degraded);
  EXPECT_EQ(first.messages, port.kernel.messages + 1);  // and the classifier's write
  const auto before = port.kernel.messages;
  const auto again = port->apply(two_sites(), kRates);
  EXPECT_TRUE(again.ok());
  EXPECT_TRUE(again.adopted);
  EXPECT_EQ(again.messages, 0U);
  EXPECT_TRUE(again.changes.empty());
  EXPECT_EQ(port.kernel.messages, before);
  EXPECT_EQ(port.store.writes, 1U);
}

TEST(Reconciler, ARestartAdoptsTheRatesAndWritesNothing) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), std::vector{Rate::bps(77'777'777), Rate::mbps(50)}).ok());
  const auto before = port.kernel.messages;
  port.start();
  const auto rates = port->adopted_rates(two_sites());
  ASSERT_TRUE(rates);
  EXPECT_EQ((*rates)[0], Rate::bps(77'777'776));
  const auto report = port->apply(two_sites(), std::vector{*(*rates)[0], *(*rates)[1]});
  EXPECT_TRUE(report.ok());
  EXPECT_TRUE(report.adopted);
  EXPECT_EQ(report.messages, 0U);
  EXPECT_EQ(port.kernel.messages, before);
}

TEST(Reconciler, ARestartWithoutItsStateFileFindsTheSameTree) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  port.store.state.reset();
  port.start();
  EXPECT_EQ(port->apply(two_sites(), kRates).messages, 0U);
}

TEST(Reconciler, AdoptsNothingWhereNothingStands) {
  FakePort port;
  EXPECT_EQ(port->adopted_rates(two_sites()), std::nullopt);
  ASSERT_TRUE(port->apply(sample_policy(), std::vector{Rate::mbps(100)}).ok());
  const auto rates = port->adopted_rates(two_sites());
  ASSERT_TRUE(rates);
  EXPECT_EQ((*rates)[0], Rate::mbps(100));
  EXPECT_EQ((*rates)[1], std::nullopt);
}

TEST(Reconciler, RefusesAStrangersRootUnlessToldToReplaceIt) {
  FakePort port;
  port.kernel.tree.root = ObservedRoot{.kind = "tbf", .handle = make_handle(0x8001, 0), .htb = std::nullopt};
  const auto refused = port->apply(two_sites(), kRates);
  ASSERT_TRUE(refused.fault);
  EXPECT_EQ(refused.fault->error, EBUSY);
  EXPECT_NE(refused.fault->attempt.find("tbf 8001:"), std::string::npos);
  EXPECT_EQ(port.kernel.messages, 0U);

  port.replace_foreign = true;
  port.start();
  EXPECT_TRUE(port->apply(two_sites(), kRates).ok());
  EXPECT_EQ(port.store.state->replaced, "tbf 8001:");
}

TEST(Reconciler, TakesThePlaceOfWhatTheKernelPutThereItself) {
  FakePort port;
  port.kernel.tree.root = ObservedRoot{.kind = "fq_codel", .handle = 0, .htb = std::nullopt};
  EXPECT_TRUE(port->apply(two_sites(), kRates).ok());
}

TEST(Reconciler, SaysWhichModuleANamedLeafNeeds) {
  FakePort port;
  port.kernel.fq_codel = false;
  auto policy = two_sites();
  EXPECT_TRUE(port->apply(policy, kRates).degraded);
  policy.class_sets[0].classes[1].leaf.kind = LeafKind::fq_codel;
  const auto report = port->apply(policy, kRates);
  ASSERT_TRUE(report.fault);
  EXPECT_EQ(report.fault->error, ENOENT);
  EXPECT_NE(report.fault->hint.find("sch_fq_codel"), std::string::npos);
}

TEST(Reconciler, NamesAPortThatIsNotThere) {
  FakePort port;
  port.kernel.index = 0;
  const auto report = port->apply(two_sites(), kRates);
  ASSERT_TRUE(report.fault);
  EXPECT_EQ(report.fault->error, ENODEV);
  EXPECT_FALSE(port->in_place());
}

TEST(Reconciler, ChangesRatesInOneBatch) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  int batches = 0;
  port.kernel.on_write = [&] { ++batches; };
  const auto report = port->set_rates(std::vector{Rate::mbps(90), Rate::mbps(55)});
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(batches, 1);
  EXPECT_EQ(port.kernel.first_violation, std::nullopt);
  EXPECT_EQ((*port->adopted_rates(two_sites()))[0], Rate::mbps(90));
  EXPECT_EQ(port->set_rates(std::vector{Rate::mbps(90), Rate::mbps(55)}).messages, 0U);
  EXPECT_TRUE(port->in_place());
}

TEST(Reconciler, SetsNoRatesWithoutAPolicy) {
  FakePort port;
  EXPECT_TRUE(port->set_rates(kRates).fault);
}

TEST(Reconciler, RepairsARefusedRateChangeInTheSameTick) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  port.kernel.fail_at = port.kernel.messages + 2;
  const std::vector<Rate> wanted{Rate::mbps(90), Rate::mbps(55)};
  const auto report = port->set_rates(wanted);
  EXPECT_TRUE(report.ok());
  EXPECT_EQ((*port->adopted_rates(two_sites()))[0], wanted[0]);
  EXPECT_TRUE(port->in_place());
}

TEST(Reconciler, SwitchesTheClassifierBeforeItRemovesClasses) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  const Handle gone = port.classifier.holds->second.site[0];
  auto fewer = two_sites();
  fewer.sites.erase(fewer.sites.begin());
  bool stood_at_the_switch = false;
  port.classifier.on_switch = [&] { stood_at_the_switch = port.kernel.tree.classes.contains(gone); };
  ASSERT_TRUE(port->apply(fewer, std::vector{Rate::mbps(50)}).ok());
  EXPECT_TRUE(stood_at_the_switch);
  EXPECT_FALSE(port.kernel.tree.classes.contains(gone));
  EXPECT_EQ(port.kernel.first_violation, std::nullopt);
}

TEST(Reconciler, WaitsForTheQueuesOfRemovedClasses) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  const Handle leaf = port.classifier.holds->second.classes[0][3];
  port.kernel.queued[leaf] = 3;
  port.kernel.on_pause = [&] {
    EXPECT_TRUE(port.kernel.tree.classes.contains(leaf));
    if (port.kernel.queued[leaf] > 0) --port.kernel.queued[leaf];
  };
  auto fewer = two_sites();
  fewer.sites.erase(fewer.sites.begin());
  ASSERT_TRUE(port->apply(fewer, std::vector{Rate::mbps(50)}).ok());
  EXPECT_EQ(port.kernel.pauses, 3);
}

TEST(Reconciler, DoesNotWaitForeverForAQueueThatNeverEmpties) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  port.kernel.queued[port.classifier.holds->second.classes[0][3]] = 3;
  auto fewer = two_sites();
  fewer.sites.erase(fewer.sites.begin());
  ASSERT_TRUE(port->apply(fewer, std::vector{Rate::mbps(50)}).ok());
  EXPECT_EQ(port.kernel.pauses, 250);
}

TEST(Reconciler, TouchesOnlyWhatAReloadChanged) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  const auto before = port.kernel.tree.classes;
  auto policy = two_sites();
  policy.sites.insert(policy.sites.begin(),
                      make_site("dc-new", Rate::mbps(1), Rate::mbps(10), "10.40.0.0/16"));
  const auto report = port->apply(policy, std::vector{Rate::mbps(5), kRates[0], kRates[1]});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report.messages, 5U + 4U + 1U);  // the site with four classes, their queues, the classifier
  for (const auto& [handle, cls] : before) EXPECT_EQ(port.kernel.tree.classes.at(handle), cls);
}

// Reading all of a large tree would be nearly all of a reload's time.
TEST(Reconciler, AsksOnlyForWhatAReloadTouched) {
  FakePort port;
  port.start_as_of_a_large_tree();
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  port.kernel.looks = 0;
  auto policy = two_sites();
  policy.class_sets[0].classes[0].ceiling = Share{0.5};
  ASSERT_TRUE(port->apply(policy, kRates).ok());
  EXPECT_EQ(port.kernel.looks, 0U);
  EXPECT_EQ(port.kernel.single_questions, 2U + 2U) << "one class of each site, and the site's own around it";
  EXPECT_TRUE(port->in_place());
}

// Questions about single classes are heard by every listener of the tc group.
TEST(Reconciler, AsksForNoSingleClassOfASmallTree) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  port.kernel.looks = 0;
  auto policy = two_sites();
  policy.class_sets[0].classes[0].ceiling = Share{0.5};
  ASSERT_TRUE(port->apply(policy, kRates).ok());
  EXPECT_EQ(port.kernel.looks, 1U) << "afterwards: before, it is known";
  EXPECT_EQ(port.kernel.single_questions, 0U);
}

TEST(Reconciler, LooksAgainWhereTheTreeIsNotAsItLeftIt) {
  auto other = two_sites();
  other.class_sets[0].classes[0].ceiling = Share{0.5};
  FakePort port;
  port.start_as_of_a_large_tree();
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  const Handle changed = port.classifier.holds->second.classes[0][0];

  port.kernel.tree.classes.erase(changed);  // nobody has told us yet
  port.kernel.tree.leaves.erase(changed);
  port.kernel.looks = 0;
  ASSERT_TRUE(port->apply(other, kRates).ok());
  EXPECT_EQ(port.kernel.looks, 2U) << "before it tried again, and after";
  EXPECT_TRUE(port->in_place());

  port.classifier.on_switch = [&] { port.kernel.tree.classes.at(changed).htb.ceil = Rate::mbps(1'000); };
  auto third = two_sites();
  third.class_sets[0].classes[0].ceiling = Share{0.3};
  ASSERT_TRUE(port->apply(third, kRates).ok()) << "changed while we worked";
  EXPECT_TRUE(port->in_place());
}

TEST(Reconciler, LooksAgainAfterItHasSeenAnotherTree) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  const auto wanted = port.kernel.tree;
  port.kernel.tree.classes.begin()->second.htb.ceil = Rate::mbps(1'000);
  ASSERT_FALSE(port->in_place());
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  EXPECT_EQ(port.kernel.tree, wanted);

  port.kernel.tree.classes.begin()->second.htb.ceil = Rate::mbps(1'000);
  port.kernel.failing_dumps = 1;
  EXPECT_THROW(static_cast<void>(port->in_place()), std::system_error);
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  EXPECT_EQ(port.kernel.tree, wanted) << "what could not be asked for is not known";
}

// Another number of flows means another queue: one that stands keeps its own, whatever is planned for new
// ones.
TEST(Reconciler, KeepsTheFlowsThatQueuesWereMadeWith) {
  FakePort port;
  port.start_as_of_a_large_tree();
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  for (auto& [handle, leaf] : port.kernel.tree.leaves) {
    std::get<FqCodel>(*leaf.parameters).flows = 128;
    port.kernel.queued[handle] = 1;
  }
  const auto flows_stay = [&] {
    EXPECT_EQ(port.kernel.lost, 0U);
    EXPECT_TRUE(port->in_place());
    for (const auto& [handle, leaf] : port.kernel.tree.leaves)
      EXPECT_EQ(std::get<FqCodel>(*leaf.parameters).flows, 128U);
  };
  port.start();
  EXPECT_EQ(port->apply(two_sites(), kRates).messages, 0U);
  flows_stay();
  ASSERT_TRUE(port->set_rates(std::vector{Rate::mbps(10), Rate::mbps(300)}).ok());
  flows_stay();
  auto policy = two_sites();
  policy.class_sets[0].classes[0].ceiling = Share{0.5};
  ASSERT_TRUE(port->apply(policy, kRates).ok());
  flows_stay();
}

TEST(Reconciler, AReloadThatTouchesNoQueueStillAsksForTheRoot) {
  FakePort port;
  port.start_as_of_a_large_tree();
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  const auto wanted = port.kernel.tree;
  port.kernel.tree = {};
  auto policy = two_sites();
  policy.sites[0].subnets.push_back(*Prefix::parse("10.99.0.0/16"));
  ASSERT_TRUE(port->apply(policy, kRates).ok());
  EXPECT_EQ(port.kernel.tree, wanted);
}

TEST(Reconciler, NoticesThatTheTreeWasTampered) {
  FakePort port;
  EXPECT_FALSE(port->in_place());
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  EXPECT_TRUE(port->in_place());
  port.kernel.tree = {};
  EXPECT_FALSE(port->in_place());
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  EXPECT_TRUE(port->in_place());
  port.kernel.index = 8;
  EXPECT_FALSE(port->in_place()) << "an interface of the same name made anew";
}

TEST(Reconciler, DoesNotBelieveAnAcknowledgement) {
  FakePort port;
  bool moved = false;
  port.classifier.on_switch = [&] {  // a stranger meddles while we work
    port.kernel.tree.classes.begin()->second.htb.ceil = Rate::mbps(1'000);
    moved = true;
  };
  const auto report = port->apply(two_sites(), kRates);
  EXPECT_TRUE(moved);
  ASSERT_TRUE(report.fault);
  EXPECT_EQ(report.fault->error, EPROTO);
}

TEST(Reconciler, LosesNoPolicyOverAClassifierThatFails) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  const auto ids = port.classifier.holds->second;
  port.classifier.fails = true;
  auto other = two_sites();
  other.sites[0].name = "dc-other";
  const auto report = port->apply(other, kRates);
  ASSERT_TRUE(report.fault);
  EXPECT_EQ(report.fault->error, EPERM);
  for (const Handle handle : ids.classes[0]) EXPECT_TRUE(port.kernel.tree.classes.contains(handle));

  port.classifier.fails = false;  // the old policy goes on: its next rate change clears what was begun
  EXPECT_TRUE(port->set_rates(kRates).ok());
  EXPECT_TRUE(port->in_place());
  EXPECT_EQ(port.classifier.holds->second, ids);
}

TEST(Reconciler, ServesOnWhenItCannotWriteItsStateDown) {
  FakePort port;
  port.store.fails = true;
  const auto report = port->apply(two_sites(), kRates);
  EXPECT_TRUE(report.ok());
  EXPECT_NE(report.changes.front().find("could not remember"), std::string::npos);
}

TEST(Reconciler, ClearsOnlyItsOwn) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  EXPECT_TRUE(port->clear().ok());
  EXPECT_TRUE(port.kernel.tree.classes.empty());
  EXPECT_EQ(port.classifier.holds, std::nullopt);
  EXPECT_EQ(port.store.state, std::nullopt);
  EXPECT_EQ(port->clear().messages, 0U);

  port.kernel.tree.root = ObservedRoot{.kind = "tbf", .handle = make_handle(1, 0), .htb = std::nullopt};
  EXPECT_TRUE(port->clear().ok());
  EXPECT_EQ(port.kernel.tree.root->kind, "tbf");
}

TEST(Reconciler, ClearsTheNamesOfAClassifierWhosePortIsGone) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  port.kernel.index = 0;
  EXPECT_TRUE(port->clear().ok());
  EXPECT_EQ(port.classifier.holds, std::nullopt);
  EXPECT_EQ(port.store.state, std::nullopt);
}

TEST(Reconciler, PlansWithoutWriting) {
  FakePort port;
  const auto lines = port->plan(two_sites(), kRates, false);
  EXPECT_EQ(port.kernel.messages, 0U);
  EXPECT_GT(lines.size(), 20U);
  EXPECT_NE(std::find(lines.begin(), lines.end(), "classify"), lines.end());
  EXPECT_NE(std::find(lines.begin(), lines.end(),
                      "create class 7e17:10 (dc-coast): guarantee 100mbit, ceiling 100mbit"),
            lines.end());
}

// Wherever an apply breaks off: it says which change, nothing ever breaks an invariant, and the next one
// converges.
TEST(Reconciler, ConvergesAfterAFaultAtAnyMessage) {
  auto other = two_sites();
  other.sites[1].name = "dc-other";
  other.class_sets[0].classes.insert(other.class_sets[0].classes.begin(), make_class("new", 0.1, 5));
  other.class_sets[0].classes.pop_back();
  other.class_sets[0].classes.back().is_default = true;

  std::size_t faults = 0;
  for (std::size_t k = 0;; ++k) {
    FakePort port;
    ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
    port.start();  // it has to look at the tree, and so fails; one that knows it looks and tries again
    port.kernel.fail_at = port.kernel.messages + k;
    const auto report = port->apply(other, std::vector{Rate::mbps(40), Rate::mbps(70)});
    if (report.ok()) break;
    ++faults;
    EXPECT_EQ(report.fault->error, EINVAL);
    EXPECT_FALSE(report.fault->attempt.empty());
    if (k % 2 == 0) port.start();
    const auto next = port->apply(other, std::vector{Rate::mbps(40), Rate::mbps(70)});
    EXPECT_TRUE(next.ok()) << "after a fault at message " << k << ": " << next.fault->attempt;
    EXPECT_EQ(port->apply(other, std::vector{Rate::mbps(40), Rate::mbps(70)}).messages, 0U);
  }
  EXPECT_GT(faults, 15U);
}

TEST(Reconciler, LeavesNothingHalfMadeOfAFirstStartThatFailed) {
  std::size_t faults = 0;
  for (std::size_t k = 0;; ++k) {
    FakePort port;
    port.kernel.fail_at = k;
    if (port->apply(two_sites(), kRates).ok()) break;
    ++faults;
    EXPECT_FALSE(port.kernel.tree.is_ours()) << "after a fault at message " << k;
    EXPECT_TRUE(port->apply(two_sites(), kRates).ok());
    EXPECT_EQ(port->apply(two_sites(), kRates).messages, 0U);
  }
  EXPECT_EQ(faults, 1U + 1U + 4U + 8U + 10U);

  FakePort port;
  port.classifier.fails = true;
  EXPECT_TRUE(port->apply(two_sites(), kRates).fault);
  EXPECT_FALSE(port.kernel.tree.is_ours());
}

TEST(Reconciler, ADumpThatFailsCostsNoTree) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  const auto before = port.kernel.tree;
  port.start();
  port.kernel.failing_dumps = 1;
  const auto report = port->apply(two_sites(), std::vector{Rate::mbps(90), Rate::mbps(40)});
  ASSERT_TRUE(report.fault);
  EXPECT_EQ(report.fault->error, ENOBUFS);
  EXPECT_EQ(port.kernel.tree, before);
  EXPECT_TRUE(port.store.state);
  EXPECT_TRUE(port->apply(two_sites(), kRates).ok());
}

TEST(Reconciler, CountsInTheOneUnit) {
  FakePort port;
  ASSERT_TRUE(port->apply(two_sites(), kRates).ok());
  const auto ids = port.classifier.holds->second;
  port.kernel.bytes[ids.site[0]] = 151'400;
  port.kernel.packets[ids.site[0]] = 100;
  port.kernel.queued[ids.classes[0][1]] = 2;
  port.kernel.queued[ids.classes[0][2]] = 1;
  const auto sites = port->site_counters();
  ASSERT_EQ(sites.size(), 2U);
  EXPECT_EQ(sites[0].sent, Bytes(151'400 + 100 * 24));
  EXPECT_EQ(sites[0].packets, 100U);
  EXPECT_EQ(sites[0].backlog, Bytes(3 * 1514));
  EXPECT_EQ(sites[1].backlog, Bytes(0));

  const auto classes = port->class_counters();
  ASSERT_EQ(classes.size(), 3U + 2U * 5U);
  EXPECT_EQ(classes[0].name, "port");
  EXPECT_EQ(classes[3].site, "dc-coast");
  EXPECT_EQ(classes[3].name, "");
  EXPECT_EQ(classes[3].sent, Bytes(153'800));
  EXPECT_EQ(classes[4].name, "voice");
  EXPECT_EQ(classes[4].leaf, "fq_codel");
  EXPECT_EQ(classes[4].drops, 3U);
  EXPECT_EQ(classes[5].backlog_packets, 2U);
}

TEST(Reconciler, CountsTheQueuesOfClassesWithALatencyGoal) {
  FakePort port;
  Policy policy = two_sites();
  ASSERT_TRUE(port->apply(policy, kRates).ok());
  const auto ids = port.classifier.holds->second;
  port.kernel.bytes[ids.classes[0][1]] = 3'028;
  port.kernel.packets[ids.classes[0][1]] = 2;
  port.kernel.queued[ids.classes[0][1]] = 2;
  port.kernel.queued[ids.classes[0][2]] = 1;
  EXPECT_TRUE(port->site_counters()[0].goals.empty());
  policy.class_sets[0].classes[1].latency = std::chrono::milliseconds(20);
  policy.class_sets[0].classes[3].latency = std::chrono::milliseconds(50);
  const auto tree = port.kernel.tree;
  ASSERT_TRUE(port->apply(policy, kRates).ok());
  EXPECT_EQ(port.kernel.tree, tree) << "the kernel knows of no goal";
  const auto sites = port->site_counters();
  ASSERT_EQ(sites[0].goals.size(), 2U);
  EXPECT_EQ(sites[0].goals[0].sent, Bytes(3'028 + 2 * 24));
  EXPECT_EQ(sites[0].goals[0].backlog, Bytes(2 * 1514));
  EXPECT_EQ(sites[0].goals[1].backlog, Bytes(0));
  EXPECT_EQ(sites[1].goals.size(), 2U);
}

TEST(Reconciler, CountsWhatWaitsInClassesWithinClasses) {
  FakePort port;
  Policy policy = two_sites();
  auto& classes = policy.class_sets[0].classes;
  classes[1].inner = true;
  classes[1].match.clear();
  classes[2].parent = 1;
  ASSERT_TRUE(port->apply(policy, kRates).ok());
  const auto ids = port.classifier.holds->second;
  port.kernel.queued[ids.classes[0][0]] = 2;
  port.kernel.queued[ids.classes[0][2]] = 3;
  port.kernel.queued[ids.classes[1][2]] = 1;
  const auto sites = port->site_counters();
  EXPECT_EQ(sites[0].backlog, Bytes(5 * 1514));
  EXPECT_EQ(sites[1].backlog, Bytes(1514));
}

TEST(Reconciler, DoesNotAddAnOverheadTwiceThatTheKernelCounted) {
  FakePort port;
  auto policy = two_sites();
  policy.wan.link_layer = {.kind = LinkLayer::Kind::ppp, .overhead = -10};
  ASSERT_TRUE(port->apply(policy, kRates).ok());
  const Handle site = port.classifier.holds->second.site[0];
  port.kernel.bytes[site] = 150'400;
  port.kernel.packets[site] = 100;
  EXPECT_EQ(port->site_counters()[0].sent, Bytes(150'400));
}

TEST(Reconciler, AsksForSingleClassesInLargeTrees) {
  FakePort port;
  Policy policy = two_sites();
  policy.wan.rate = Rate::mbps(100'000);
  policy.sites.clear();
  std::vector<Rate> rates;
  for (int s = 0; s < 300; ++s) {
    policy.sites.push_back(make_site("s" + std::to_string(s), Rate::mbps(1), Rate::mbps(100)));
    rates.push_back(Rate::mbps(10));
  }
  ASSERT_TRUE(port->apply(policy, rates).ok());
  port.kernel.full_dumps = 0;
  for (int tick = 0; tick < 50; ++tick) EXPECT_EQ(port->site_counters().size(), 300U);
  EXPECT_EQ(port.kernel.full_dumps, 5U);
  EXPECT_EQ(port.kernel.single_questions, 45U * 300U);
}

}  // namespace
}  // namespace weir::shaper
