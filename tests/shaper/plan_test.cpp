#include "shaper/plan.hpp"

#include <random>
#include <set>
#include <utility>

#include <gtest/gtest.h>

#include "shaper/class_allocation.hpp"
#include "shaper/invariants.hpp"
#include "shaper/leaf_parameters.hpp"
#include "shaper/memory.hpp"

#include "sample_policy.hpp"

namespace weir::shaper {
namespace {

using namespace std::chrono_literals;
using testing::make_class;
using testing::make_site;
using testing::sample_policy;
using testing::two_sites;

constexpr KernelFacts kModern{.has_fq_codel = true, .mtu = 1500};
constexpr KernelFacts kBare{.has_fq_codel = false, .mtu = 1500};

Tree plan_for(const Policy& policy, std::vector<Rate> shaped, const KernelFacts& facts = kModern) {
  return plan(policy, shaped, facts, allocate_handles(policy, {}));
}

const ClassSpec& named(const Tree& tree, const std::string& title) {
  for (const auto& spec : tree.classes) {
    if (spec.title() == title) return spec;
  }
  throw std::out_of_range(title);
}

TEST(Plan, GivesASiteItsShapedRateAndItsClassesTheirShares) {
  const auto tree = plan_for(sample_policy(), {Rate::mbps(100)});
  EXPECT_EQ(named(tree, "dc-coast").htb.rate, Rate::mbps(100));
  EXPECT_EQ(named(tree, "dc-coast").htb.ceil, Rate::mbps(100));
  EXPECT_EQ(named(tree, "dc-coast/interactive").htb.rate, Rate::mbps(25));
  EXPECT_EQ(named(tree, "dc-coast/interactive").htb.ceil, Rate::mbps(100));
  EXPECT_EQ(named(tree, "dc-coast/replication").htb.ceil, Rate::mbps(90));
  EXPECT_EQ(named(tree, "dc-coast/replication").htb.priority, 3U);
}

/// interactive holds two classes: web with 60 % of it, and mail.
Policy nested_policy() {
  Policy policy = sample_policy();
  auto& classes = policy.class_sets[0].classes;
  classes[1].inner = true;
  ClassPolicy web = make_class("web", 0.6, 1);
  web.match = std::exchange(classes[1].match, {});
  web.ceiling = Share{0.5};
  web.parent = 1;
  ClassPolicy mail = make_class("mail", 0.1, 4);
  mail.match = {testing::dscp({10})};
  mail.parent = 1;
  classes.insert(classes.begin() + 2, {web, mail});
  return policy;
}

TEST(Plan, ClassesShareWhatTheClassAroundThemHas) {
  const auto tree = plan_for(nested_policy(), {Rate::mbps(100)});
  const auto& interactive = named(tree, "dc-coast/interactive");
  const auto& web = named(tree, "dc-coast/web");
  EXPECT_EQ(interactive.htb.rate, Rate::mbps(25));
  EXPECT_FALSE(interactive.leaf);
  EXPECT_EQ(web.parent, interactive.handle);
  EXPECT_EQ(web.htb.rate, Rate::mbps(15));
  EXPECT_EQ(web.htb.ceil, Rate::mbps(50));
  EXPECT_EQ(named(tree, "dc-coast/mail").htb.rate, Rate::kbps(2'500));
  EXPECT_EQ(named(tree, "dc-coast/mail").htb.priority, 4U);
  EXPECT_EQ(named(tree, "dc-coast/rest").parent, named(tree, "dc-coast").handle);
  EXPECT_EQ(violated_invariant(as_read_back(tree)), std::nullopt);
}

TEST(Plan, EachSubnetIsAClassAndMayHoldOthers) {
  Policy policy = sample_policy();
  policy.sites[0].subnets = {*Prefix::parse("10.20.0.0/24"), *Prefix::parse("10.20.1.0/24")};
  EachSubnet& each = policy.sites[0].each_subnet.emplace();
  each.shape.guarantee = Rate::mbps(10);
  each.shape.ceiling = Rate::mbps(20);
  const auto flat = plan_for(policy, {Rate::mbps(100)});
  EXPECT_EQ(named(flat, "dc-coast/10.20.1.0/24").htb.rate, Rate::mbps(10));
  EXPECT_EQ(named(flat, "dc-coast/10.20.1.0/24").htb.ceil, Rate::mbps(20));
  EXPECT_TRUE(named(flat, "dc-coast/10.20.1.0/24").leaf);
  EXPECT_EQ(flat.classes.size(), 3U + 1U + 2U);

  each.class_set = 0;
  each.shape.inner = true;
  const auto deep = plan_for(policy, {Rate::mbps(100)});
  EXPECT_EQ(deep.classes.size(), 3U + 1U + 2U * 5U);
  EXPECT_EQ(named(deep, "dc-coast/10.20.1.0/24/interactive").htb.rate, Rate::kbps(2'500));
  EXPECT_EQ(named(deep, "dc-coast/10.20.1.0/24/interactive").htb.ceil, Rate::mbps(20));
  EXPECT_EQ(named(deep, "dc-coast/10.20.1.0/24/interactive").parent,
            named(deep, "dc-coast/10.20.1.0/24").handle);
  EXPECT_EQ(violated_invariant(as_read_back(deep)), std::nullopt);
}

TEST(Plan, InABrownOutTheOrderOfThePolicyDecides) {
  Policy policy = sample_policy();
  auto& classes = policy.class_sets[0].classes;
  for (auto& one : classes) one.guarantee = Rate::mbps(10);
  const auto by_priority = plan_for(policy, {Rate::mbps(15)});
  EXPECT_EQ(named(by_priority, "dc-coast/voice").htb.rate, Rate::mbps(10));
  EXPECT_LT(named(by_priority, "dc-coast/replication").htb.rate, Rate::mbps(1));
  classes[2].brownout = 0;
  const auto by_order = plan_for(policy, {Rate::mbps(15)});
  EXPECT_EQ(named(by_order, "dc-coast/replication").htb.rate, Rate::mbps(10));
  EXPECT_LT(named(by_order, "dc-coast/voice").htb.rate, Rate::mbps(5));
}

TEST(Plan, ALeafIsWhatThePolicyAsksFor) {
  Policy policy = sample_policy();
  auto& classes = policy.class_sets[0].classes;
  classes[0].leaf = {.kind = LeafKind::fq_codel,
                     .packets = 77,
                     .target = 1ms,
                     .interval = 20ms,
                     .flows = 8,
                     .quantum = 300,
                     .ecn = false};
  classes[1].leaf = {.kind = LeafKind::fifo, .depth = 400ms};
  const auto tree = plan_for(policy, {Rate::mbps(100)});
  const auto voice = std::get<FqCodel>(named(tree, "dc-coast/voice").leaf->parameters);
  EXPECT_EQ(voice.limit, 77U);
  EXPECT_EQ(voice.target_us, 1'000U);
  EXPECT_EQ(voice.interval_us, 20'000U);
  EXPECT_EQ(voice.flows, 8U);
  EXPECT_EQ(voice.quantum, 300U);
  EXPECT_FALSE(voice.ecn);
  EXPECT_TRUE(named(tree, "dc-coast/voice").leaf->flows_matter);
  EXPECT_FALSE(named(tree, "dc-coast/rest").leaf->flows_matter);
  // 400 ms at the octave of 100 Mbit/s, 2^27 bit/s.
  EXPECT_EQ(std::get<ByteFifo>(named(tree, "dc-coast/interactive").leaf->parameters).limit, Bytes(6'710'886));
}

TEST(Plan, PutsTheBuiltInClassesBesideTheSites) {
  const auto tree = plan_for(sample_policy(), {Rate::mbps(100)});
  EXPECT_EQ(tree.classes.at(0).handle, kPortClass);
  EXPECT_EQ(tree.classes.at(0).htb.rate, Rate::mbps(622));
  const auto& control = named(tree, "control");
  EXPECT_EQ(control.handle, kControlClass);
  EXPECT_EQ(control.parent, kPortClass);
  EXPECT_EQ(control.htb.rate, Rate::kbps(12'440));
  EXPECT_EQ(control.htb.ceil, Rate::mbps(622));
  EXPECT_EQ(control.htb.priority, 0U);
  const auto& elsewhere = named(tree, "elsewhere");
  EXPECT_EQ(elsewhere.handle, kElsewhereClass);
  EXPECT_EQ(elsewhere.htb.rate, Rate::kbps(6'220));
  EXPECT_GT(elsewhere.htb.priority, control.htb.priority);
}

TEST(Plan, HonoursTheCeilingOfEveryPriority) {
  const auto tree = plan_for(sample_policy(), {Rate::mbps(100)});
  EXPECT_EQ(named(tree, "dc-coast/voice").htb.rate, Rate::mbps(5));
  EXPECT_EQ(named(tree, "dc-coast/voice").htb.ceil, Rate::mbps(15));

  auto unbounded = sample_policy();
  unbounded.class_sets[0].classes[0].ceiling = Share{1.0};
  EXPECT_EQ(named(plan_for(unbounded, {Rate::mbps(100)}), "dc-coast/voice").htb.ceil, Rate::mbps(100));
}

TEST(Plan, GivesAClassWithoutAGuaranteeTheLeastThatHtbTakes) {
  auto policy = sample_policy();
  policy.class_sets[0].classes[2].guarantee.reset();
  EXPECT_EQ(named(plan_for(policy, {Rate::mbps(100)}), "dc-coast/replication").htb.rate, Rate::kbps(8));
}

TEST(Plan, NeverLetsACeilingFallBelowTheGuarantee) {
  auto policy = sample_policy();
  policy.class_sets[0].classes[1].ceiling = Rate::mbps(1);
  const auto tree = plan_for(policy, {Rate::mbps(100)});
  EXPECT_EQ(named(tree, "dc-coast/interactive").htb.ceil, named(tree, "dc-coast/interactive").htb.rate);
}

TEST(Plan, ScalesTheSitesWhenTogetherTheyWantMoreThanThePort) {
  const auto tree = plan_for(two_sites(), {Rate::mbps(600), Rate::mbps(400)});
  const auto& coast = named(tree, "dc-coast").htb;
  const auto& hill = named(tree, "dc-hill").htb;
  EXPECT_EQ(coast.ceil, Rate::mbps(600));
  EXPECT_EQ(hill.ceil, Rate::mbps(400));
  const double available = 622 - 12.44 - 6.22;
  EXPECT_NEAR(coast.rate.mbps(), available * 0.6, 0.02);
  EXPECT_NEAR(hill.rate.mbps(), available * 0.4, 0.02);
  // The guarantees follow the site's rate, the ceilings its shaped rate.
  EXPECT_NEAR(named(tree, "dc-coast/interactive").htb.rate.mbps(), available * 0.6 * 0.25, 0.02);
  EXPECT_EQ(named(tree, "dc-coast/interactive").htb.ceil, Rate::mbps(600));
}

TEST(Plan, HoldsAFloorAndLetsTheOthersGive) {
  const std::vector<Rate> shaped{Rate::mbps(90), Rate::mbps(900)};
  const std::vector<Rate> floors{Rate::mbps(80), Rate::mbps(10)};
  const auto rates = site_guarantees(shaped, floors, Rate::mbps(500));
  EXPECT_EQ(rates[0], Rate::mbps(80));
  EXPECT_EQ(rates[1], Rate::mbps(420));
}

TEST(Plan, LetsFloorsThatDoNotFitBesideTheReserveGiveAlike) {
  const std::vector<Rate> shaped{Rate::mbps(300), Rate::mbps(300)};
  const std::vector<Rate> floors{Rate::mbps(100), Rate::mbps(300)};
  const auto rates = site_guarantees(shaped, floors, Rate::mbps(200));
  EXPECT_EQ(rates[0], Rate::mbps(50));
  EXPECT_EQ(rates[1], Rate::mbps(150));
}

TEST(Plan, GrantsInTheOrderOfPriorityWhenNotAllFits) {
  const std::vector<Wish> wishes{{.wanted = Rate::mbps(6), .priority = 3},
                                 {.wanted = Rate::mbps(6), .priority = 0},
                                 {.wanted = Rate::mbps(6), .priority = 3}};
  const auto granted = grant(wishes, Rate::mbps(10));
  EXPECT_EQ(granted[1], Rate::mbps(6));
  EXPECT_EQ(granted[0], Rate::mbps(4) - Rate::kbps(8));
  EXPECT_EQ(granted[2], Rate::kbps(8));
}

TEST(Plan, IsAFixedPointOfTheKernelsRounding) {
  const auto policy = two_sites();
  const auto tree = plan_for(policy, {Rate::bps(123'456'789), Rate::bps(98'765'431)});
  const auto again = plan_for(policy, {named(tree, "dc-coast").htb.ceil, named(tree, "dc-hill").htb.ceil});
  EXPECT_EQ(tree, again);
}

TEST(Plan, BoundsBurstsToOneMillisecondOrTwoFrames) {
  const auto tree = plan_for(sample_policy(), {Rate::mbps(100)});
  const std::uint64_t frame = 1500 + 14 + 24;
  for (const auto& spec : tree.classes) {
    for (const auto& [ticks, rate] :
         {std::pair{spec.htb.burst, spec.htb.rate}, {spec.htb.cburst, spec.htb.ceil}}) {
      const double bytes =
          static_cast<double>(ticks.count) * 64e-9 * static_cast<double>(rate.bytes_per_second());
      EXPECT_LE(bytes, static_cast<double>(std::max(2 * frame, rate.in(1ms).count()) + 1)) << spec.title();
      EXPECT_GE(bytes, static_cast<double>(frame)) << spec.title();
    }
  }
}

TEST(Plan, KeepsQuantaSmallAndInProportion) {
  const auto tree = plan_for(sample_policy(), {Rate::mbps(100)});
  EXPECT_EQ(named(tree, "dc-coast/voice").htb.quantum, 1538U);
  EXPECT_EQ(named(tree, "dc-coast/interactive").htb.quantum, 3U * 1538U);
  EXPECT_EQ(named(tree, "dc-coast/rest").htb.quantum, 2U * 1538U);
  EXPECT_EQ(named(plan_for(sample_policy(), {Rate::mbps(7)}), "dc-coast/rest").htb.quantum, 2U * 1538U);
}

TEST(Plan, ChargesTheLinkLayer) {
  auto policy = sample_policy();
  policy.wan.link_layer = {.kind = LinkLayer::Kind::atm, .overhead = 10, .mpu = 64};
  const auto tree = plan_for(policy, {Rate::mbps(100)});
  EXPECT_EQ(tree.classes[0].htb.link_layer, LinkLayer::Kind::atm);
  EXPECT_EQ(tree.classes[0].htb.overhead, 10);
  EXPECT_EQ(tree.classes[0].htb.mpu, 64);
  EXPECT_EQ(tree.root.size_overhead, 0);

  policy.wan.link_layer = {.kind = LinkLayer::Kind::ppp, .overhead = -10};
  const auto ppp = plan_for(policy, {Rate::mbps(100)});
  EXPECT_EQ(ppp.classes[0].htb.link_layer, LinkLayer::Kind::ethernet);
  EXPECT_EQ(ppp.classes[0].htb.overhead, 0);
  EXPECT_EQ(ppp.root.size_overhead, -10);
}

TEST(Plan, FallsBackToByteFifosAndSaysSo) {
  EXPECT_FALSE(plan_for(sample_policy(), {Rate::mbps(100)}).degraded);
  const auto tree = plan_for(sample_policy(), {Rate::mbps(100)}, kBare);
  EXPECT_TRUE(tree.degraded);
  EXPECT_STREQ(kind_of(named(tree, "dc-coast/rest").leaf->parameters), "bfifo");
}

TEST(Plan, NamesTheClassThatAsksForAQueueTheKernelDoesNotHave) {
  auto policy = sample_policy();
  EXPECT_EQ(unsupported_leaf(policy, kBare), std::nullopt);
  policy.class_sets[0].classes[1].leaf.kind = LeafKind::fq_codel;
  EXPECT_EQ(unsupported_leaf(policy, kBare), "dc-coast/interactive");
  EXPECT_EQ(unsupported_leaf(policy, kModern), std::nullopt);
}

TEST(Plan, AFifoIsNoLargerThanTheKernelCanWriteDown) {
  auto policy = sample_policy();
  policy.wan.rate = policy.sites[0].rate.ceiling = Rate::mbps(40'000);
  LeafPolicy& leaf = policy.class_sets[0].classes[1].leaf;
  leaf = {.kind = LeafKind::fifo, .depth = 10s};
  const auto limit = [&] {
    const auto tree = plan_for(policy, {Rate::mbps(40'000)});
    return std::get<ByteFifo>(named(tree, "dc-coast/interactive").leaf->parameters).limit;
  };
  EXPECT_EQ(limit(), Bytes(UINT32_MAX));
  leaf = {.kind = LeafKind::fifo, .packets = 1'000'000};
  EXPECT_LE(limit(), Bytes(UINT32_MAX));
}

TEST(Plan, AFifoAskedForByNameIsNotDegraded) {
  auto policy = sample_policy();
  policy.class_sets[0].classes[0].leaf.kind = LeafKind::fifo;
  const auto tree = plan_for(policy, {Rate::mbps(100)});
  EXPECT_FALSE(tree.degraded);
  EXPECT_STREQ(kind_of(named(tree, "dc-coast/voice").leaf->parameters), "bfifo");
  EXPECT_STREQ(kind_of(named(tree, "dc-coast/rest").leaf->parameters), "fq_codel");
}

TEST(Leaf, TargetsAtLeastOneAndAHalfFramesAtTheClassRate) {
  const LeafSize slow{.guarantee = Rate::kbps(500), .ceil = Rate::mbps(1), .frame = Bytes(1514)};
  EXPECT_GE(fq_codel_for(slow).target_us, 1514 * 8 * 1.5 / 0.6);  // an octave may be 1.41 times the rate
  EXPECT_GE(fq_codel_for(slow).interval_us, 10 * fq_codel_for(slow).target_us);
  const LeafSize fast{.guarantee = Rate::mbps(50), .ceil = Rate::mbps(600), .frame = Bytes(1514)};
  EXPECT_EQ(fq_codel_for(fast).target_us, 5000U);
  EXPECT_EQ(fq_codel_for(fast).interval_us, 100'000U);
}

TEST(Leaf, IsAsDeepAsItsRateNeeds) {
  const auto depth_ms = [](Rate ceil) {
    const LeafSize size{.guarantee = Rate::kbps(8), .ceil = ceil, .frame = Bytes(1514)};
    return milliseconds(ceil.time_for(byte_fifo_for(size).limit));
  };
  for (const auto rate :
       {Rate::mbps(9), Rate::mbps(12), Rate::mbps(45), Rate::mbps(270), Rate::mbps(9'999)}) {
    EXPECT_GE(depth_ms(rate), 70) << rate.mbps();
    EXPECT_LE(depth_ms(rate), 142) << rate.mbps();
  }
  const LeafSize tiny{.guarantee = Rate::kbps(8), .ceil = Rate::kbps(64), .frame = Bytes(1514)};
  EXPECT_GE(byte_fifo_for(tiny).limit, Bytes(64U << 10U));
  EXPECT_LT(fq_codel_for(tiny).limit, 10240U);
}

TEST(Leaf, SpendsLessMemoryPerLeafWhenThereAreManyLeaves) {
  LeafSize size{
      .guarantee = Rate::mbps(1), .ceil = Rate::mbps(10), .frame = Bytes(1514), .leaves_on_port = 100};
  EXPECT_EQ(fq_codel_for(size).flows, 1024U);
  size.leaves_on_port = 10'000;
  EXPECT_LE(fq_codel_for(size).flows, 128U);
  EXPECT_GE(fq_codel_for(size).flows, 32U);
}

TEST(Ticks, RoundTripThroughTcsArithmetic) {
  for (const auto rate : {Rate::bps(8), Rate::kbps(8), Rate::kbps(64), Rate::mbps(1), Rate::mbps(45),
                          Rate::bps(41'234'568), Rate::mbps(622), Rate::mbps(100'000)}) {
    for (const auto burst : {Bytes(1514), Bytes(3076), Bytes(77'750), rate.in(1ms)}) {
      const auto ticks = ticks_for(burst, rate);
      if (ticks.count == UINT32_MAX) continue;  // longer than HTB can store
      EXPECT_EQ(ticks_for(burst_for(ticks, rate), rate), ticks) << rate.bps() << " " << burst.count();
    }
  }
}

// Whatever the policy and the rates: the tree keeps the invariants, and planning is deterministic.
TEST(Plan, GivesTheBuiltInClassesWhatTheFloorsLeave) {
  Policy policy = two_sites();
  policy.wan.rate = Rate::mbps(100);
  policy.elsewhere.guarantee = Rate::mbps(60);
  policy.sites[0].rate.floor = Rate::mbps(20);
  policy.sites[1].rate.floor = Rate::mbps(10);
  const auto tree = plan_for(policy, std::vector{Rate::mbps(20), Rate::mbps(10)}, kModern);
  const auto elsewhere = std::find_if(tree.classes.begin(), tree.classes.end(),
                                      [](const ClassSpec& c) { return c.handle == kElsewhereClass; });
  ASSERT_NE(elsewhere, tree.classes.end());
  EXPECT_EQ(elsewhere->htb.rate, Rate::mbps(60));
}

TEST(Plan, KeepsTheInvariantsForRandomPolicies) {
  std::mt19937 random(20260);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 500; ++round) {
    Policy policy;
    policy.wan = {.interface = "wan0",
                  .rate = Rate::kbps(static_cast<std::uint64_t>(pick(1'000, 2'000'000))),
                  .link_layer = {}};
    policy.control.guarantee = Share{pick(0, 100) / 100.0};
    policy.elsewhere.guarantee = Share{pick(0, 100) / 100.0};
    for (int set = 0; set < 3; ++set) {
      ClassSet classes;
      for (int c = 0; c < pick(1, 9); ++c) {
        classes.classes.push_back(
            make_class("c" + std::to_string(c), 0.0, static_cast<std::uint8_t>(pick(0, 7))));
        auto& cls = classes.classes.back();
        if (pick(0, 2) == 0) cls.guarantee.reset();
        if (pick(0, 2) == 1) cls.guarantee = Rate::kbps(static_cast<std::uint64_t>(pick(1, 1'000'000)));
        if (pick(0, 2) == 2) cls.guarantee = Share{pick(0, 100) / 100.0};
        if (pick(0, 1) == 1) cls.ceiling = Share{pick(1, 100) / 100.0};
      }
      policy.class_sets.push_back(classes);
    }
    std::vector<Rate> shaped;
    const int sites = pick(0, 12);
    for (int s = 0; s < sites; ++s) {
      const Rate floor =
          policy.wan.rate * (pick(0, 100) / 100.0 / sites);  // a policy's floors fit into its port
      policy.sites.push_back(make_site("s" + std::to_string(s), floor, Rate::mbps(600)));
      policy.sites.back().class_set = static_cast<std::size_t>(pick(0, 2));
      shaped.push_back(Rate::bps(static_cast<std::uint64_t>(pick(0, 700'000'000))));
    }
    const auto tree = plan_for(policy, shaped, pick(0, 1) == 0 ? kModern : kBare);
    EXPECT_EQ(violated_invariant(as_read_back(tree)), std::nullopt) << "round " << round;
  }
}

TEST(Allocation, IsReadableAndTheSameEveryTime) {
  const auto ids = allocate_handles(two_sites(), {});
  EXPECT_EQ(tc_name(ids.site[0]), "7e17:10");
  EXPECT_EQ(tc_name(ids.classes[0][0]), "7e17:11");
  EXPECT_EQ(tc_name(ids.classes[0][3]), "7e17:14");
  EXPECT_EQ(tc_name(ids.site[1]), "7e17:20");
  EXPECT_EQ(ids, allocate_handles(two_sites(), {}));
}

TEST(Allocation, LeavesAClassItsHandleWhenOthersComeAndGo) {
  auto policy = two_sites();
  const auto before = allocate_handles(policy, {});
  const auto known = names_of(policy, before);
  std::swap(policy.sites[0], policy.sites[1]);
  policy.sites.insert(policy.sites.begin(),
                      make_site("dc-new", Rate::mbps(1), Rate::mbps(2), "10.40.0.0/16"));
  policy.class_sets[0].classes.insert(policy.class_sets[0].classes.begin(), make_class("new", 0.01, 4));
  const auto after = allocate_handles(policy, known);
  EXPECT_EQ(after.site[1], before.site[1]);
  EXPECT_EQ(after.site[2], before.site[0]);
  EXPECT_EQ(after.classes[2][1], before.classes[0][0]);
  EXPECT_NE(after.site[0], before.site[0]);
  EXPECT_NE(after.site[0], before.site[1]);
}

TEST(Allocation, DoesNotGiveAFormerClassesHandleToAnother) {
  auto policy = two_sites();
  const auto known = names_of(policy, allocate_handles(policy, {}));
  policy.sites[0].name = "dc-other";
  const auto after = allocate_handles(policy, known);
  for (const auto& [name, handle] : known) {
    if (name.first == "dc-coast") {
      EXPECT_NE(after.site[0], handle);
    }
  }
}

TEST(Allocation, DistrustsWhatAFileSays) {
  const auto policy = sample_policy();
  const KnownHandles damaged{{{"dc-coast", ""}, kPortClass},
                             {{"dc-coast", "voice"}, make_handle(kMajor, 0x50)},
                             {{"dc-coast", "rest"}, make_handle(kMajor, 0x50)},
                             {{"dc-coast", "interactive"}, make_handle(1, 0x60)}};
  const auto ids = allocate_handles(policy, damaged);
  std::set<Handle> all(ids.classes[0].begin(), ids.classes[0].end());
  all.insert(ids.site[0]);
  EXPECT_EQ(all.size(), 5U);
  for (const Handle handle : all) EXPECT_EQ(handle >> 16U, kMajor);
  EXPECT_FALSE(all.contains(kPortClass));
}

TEST(Allocation, HoldsTenThousandSitesAndRefusesMoreThanThePortCan) {
  Policy policy = sample_policy();
  policy.sites.assign(10'000, policy.sites[0]);
  const auto ids = allocate_handles(policy, {});
  std::set<Handle> all(ids.site.begin(), ids.site.end());
  for (const auto& leaves : ids.classes) all.insert(leaves.begin(), leaves.end());
  EXPECT_EQ(all.size(), 50'000U);
  policy.sites.assign(14'000, policy.sites[0]);
  EXPECT_THROW(allocate_handles(policy, {}), std::length_error);
}

TEST(KernelMemory, FollowsTheClassesAndTheFlowsOfTheirQueues) {
  const Tree fq = plan_for(sample_policy(), {Rate::mbps(100)});
  const Tree fifo = plan_for(sample_policy(), {Rate::mbps(100)}, kBare);
  // The port, two built-in classes, the site and four within; six of them with a queue.
  EXPECT_EQ(kernel_memory(fifo).count(), 1024U + 8U * 2560U + 6U * 1024U);
  EXPECT_EQ(kernel_memory(fq).count(), kernel_memory(fifo).count() + 6U * (65'536U + 4'096U));
}

}  // namespace
}  // namespace weir::shaper
