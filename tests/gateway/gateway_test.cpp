#include <filesystem>

#include <gtest/gtest.h>
#include <unistd.h>

#include "gateway_fixture.hpp"

namespace weir::gateway::test {
namespace {

TEST_F(GatewayTest, AFirstStartProgramsTheTreeAndKeepsThePolicy) {
  start();
  EXPECT_EQ(port.applies, 1U);
  EXPECT_EQ(port.tree, (std::vector{Rate::mbps(100)}));
  EXPECT_EQ(std::filesystem::exists(library.last_good()), true);
  EXPECT_EQ(count(EventKind::applied), 1U);
}

TEST_F(GatewayTest, ARestartAdoptsTheTreeAndWritesNothing) {
  port.tree = {Rate::mbps(61)};
  start();
  EXPECT_EQ(laws[0].start.rate, Rate::mbps(61));
  EXPECT_EQ(gateway->status(at(0)).shaper.messages, 0U);
  tick(0.1);
  tick(0.2);
  EXPECT_TRUE(port.batches.empty());
  EXPECT_EQ(count(EventKind::adopted), 1U);
}

SiteMemory knows(std::uint64_t mbps, Duration age) {
  SiteMemory m;
  m.capacity = {.rate = Rate::mbps(mbps), .error_ppm = 10'000, .age = age};
  return m;
}

TEST_F(GatewayTest, ATreeThatIsGoneIsBuiltAtAShareOfWhatWasKnown) {
  const SiteMemory known = knows(80, std::chrono::minutes(9));
  start_knowing({.sites = {{"coast", known}}, .ignored = {}});
  EXPECT_EQ(port.tree, (std::vector{Rate::mbps(76)}));
  EXPECT_EQ(laws[0].start, ControlStart(Rate::mbps(76), StartedFrom::memory, known));
  EXPECT_NE(events.after(0, 1).at(0)->text.find("1 site(s), 1 of them known from before"), std::string::npos);
}

TEST_F(GatewayTest, ARestartAdoptsTheTreeWhateverWasKnownAndGoesOnKnowingIt) {
  port.tree = {Rate::mbps(61)};
  const SiteMemory known = knows(80, std::chrono::minutes(9));
  start_knowing({.sites = {{"coast", known}}, .ignored = {}});
  EXPECT_EQ(gateway->status(at(0)).shaper.messages, 0U);
  EXPECT_EQ(laws[0].start, ControlStart(Rate::mbps(61), StartedFrom::kernel, known));
}

TEST_F(GatewayTest, WhatWasKnownHoldsWithinThePresentLimits) {
  start_knowing({.sites = {{"coast", knows(20, std::chrono::minutes(9))}}, .ignored = {}});
  EXPECT_EQ(port.tree, (std::vector{Rate::mbps(45)}));
}

TEST_F(GatewayTest, WhatIsKnownIsKeptOnlyWhenItIsNews) {
  using namespace std::chrono_literals;
  start_knowing({.sites = {{"coast", knows(80, 10s)}}, .ignored = {}});
  laws[0].memory = knows(80, 70s);
  EXPECT_FALSE(gateway->memories_to_keep(at(60))) << "a minute older is no news";
  laws[0].memory = knows(90, 1s);
  const auto kept = gateway->memories_to_keep(at(120));
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->interface, "wan0");
  EXPECT_EQ(kept->saved, at(120).wall);
  EXPECT_EQ(kept->sites, (SiteMemories{{"coast", knows(90, 1s)}}));
  laws[0].memory = knows(90, 61s);
  EXPECT_FALSE(gateway->memories_to_keep(at(180)));
  laws[0].memory = SiteMemory();
  EXPECT_FALSE(gateway->memories_to_keep(at(180 + 86'400))) << "a capacity that is forgotten meanwhile";
}

TEST_F(GatewayTest, WhatIsKnownOfASiteThatIsGoneIsDropped) {
  using namespace std::chrono_literals;
  start_knowing({.sites = {{"coast", knows(80, 10s)}, {"moon", knows(7, 10s)}}, .ignored = {}});
  laws[0].memory = knows(80, 70s);
  const auto kept = gateway->memories_to_keep(at(60));
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->sites, (SiteMemories{{"coast", knows(80, 70s)}}));
  write(policy_text(45, another_site("moon", "10.30.0.0/16")));
  ASSERT_TRUE(gateway->reload(at(61)));
  EXPECT_EQ(laws[1].start, ControlStart(Rate::mbps(20))) << "a site that comes back is a new one";
}

TEST_F(GatewayTest, WhatCannotBeKeptIsToldOnceAndTriedAgain) {
  using namespace std::chrono_literals;
  start();
  laws[0].memory = knows(80, 1s);
  ASSERT_TRUE(gateway->memories_to_keep(at(60)));
  gateway->on_memories_kept("create /x/sites.json.new: Read-only file system", at(60));
  EXPECT_TRUE(degraded("memory_not_saved", 60));
  laws[0].memory = knows(80, 61s);
  EXPECT_TRUE(gateway->memories_to_keep(at(120))) << "nothing new, but nothing of it is on the disk";
  gateway->on_memories_kept("create /x/sites.json.new: Read-only file system", at(120));
  EXPECT_EQ(count(EventKind::memory_not_saved), 1U);
  laws[0].memory = knows(80, 121s);
  EXPECT_TRUE(gateway->memories_to_keep(at(180)));
  gateway->on_memories_kept(std::nullopt, at(180));
  EXPECT_FALSE(degraded("memory_not_saved", 180));
  laws[0].memory = knows(80, 181s);
  EXPECT_FALSE(gateway->memories_to_keep(at(240)));
}

TEST_F(GatewayTest, AFileThatIsNoUseIsToldAndTheConfiguredStartServes) {
  start_knowing({.sites = {}, .ignored = "/x/sites.json: it is not JSON"});
  EXPECT_EQ(port.tree, (std::vector{Rate::mbps(100)}));
  ASSERT_EQ(count(EventKind::memory_ignored), 1U);
  EXPECT_FALSE(degraded("memory_not_saved", 0));
}

TEST_F(GatewayTest, ABadFileAtBootFallsBackLoudly) {
  start();
  write("wan: {interface: ");
  boot(10);
  ASSERT_TRUE(gateway->start(at(10)).ok());
  EXPECT_TRUE(degraded("last_good_policy", 10));
  EXPECT_TRUE(gateway->status(at(10)).policy.last_good);
  ASSERT_TRUE(gateway->status(at(10)).policy.reload_error);
  EXPECT_NE(gateway->status(at(10)).policy.reload_error->find("policy.yaml"), std::string::npos);
  EXPECT_EQ(count(EventKind::last_good_used), 1U);
  EXPECT_EQ(gateway->policy().sites.at(0).name, "coast");

  write(policy_text());
  EXPECT_TRUE(gateway->reload(at(11)));
  EXPECT_FALSE(degraded("last_good_policy", 11));
}

TEST_F(GatewayTest, ABadFileWithoutALastGoodOneNamesBoth) {
  write("nonsense: true");
  const auto loaded = load_boot_policy(file, library, RevisionLog(folder.path() / "library"));
  ASSERT_TRUE(std::holds_alternative<LoadFailure>(loaded));
  EXPECT_NE(std::get<LoadFailure>(loaded).rendered.find("last-good.json"), std::string::npos);
}

TEST_F(GatewayTest, ABadReloadChangesNothingAndSaysWhy) {
  start();
  write(policy_text() + "surprise: 1\n");
  EXPECT_FALSE(gateway->reload(at(1)));
  EXPECT_EQ(port.applies, 1U);
  EXPECT_TRUE(degraded("reload_failed", 1));
  EXPECT_NE(gateway->status(at(1)).policy.reload_error->find("surprise"), std::string::npos);
  EXPECT_EQ(count(EventKind::reload_failed), 1U);
  write(policy_text());
  EXPECT_TRUE(gateway->reload(at(2)));
  EXPECT_FALSE(degraded("reload_failed", 2));
}

TEST_F(GatewayTest, AGoodReloadKeepsWhatSitesLearntAndIsKept) {
  start();
  laws[0].decision.rate = Rate::mbps(300);
  tick(0.1);
  write(policy_text(45, another_site("hills", "10.30.0.0/16")));
  const auto generation = gateway->estimator_generation();
  ASSERT_TRUE(gateway->reload(at(1)));
  EXPECT_EQ(port.tree, (std::vector{Rate::mbps(300), Rate::mbps(20)}));
  EXPECT_GT(gateway->estimator_generation(), generation) << "other sites: another estimator";
  const auto kept = library.load();
  ASSERT_TRUE(std::holds_alternative<LoadedPolicy>(kept));
  EXPECT_EQ(std::get<LoadedPolicy>(kept).files,
            (std::vector<PolicyFile>{
                {.path = file, .text = policy_text(45, another_site("hills", "10.30.0.0/16"))}}));
}

TEST_F(GatewayTest, OtherLimitsAloneKeepTheEstimator) {
  start();
  write(policy_text(120));
  const auto generation = gateway->estimator_generation();
  ASSERT_TRUE(gateway->reload(at(1)));
  EXPECT_EQ(gateway->estimator_generation(), generation);
  EXPECT_EQ(port.tree, (std::vector{Rate::mbps(120)})) << "raised to the new floor at once";
}

TEST_F(GatewayTest, AReloadThatTheKernelRefusesRestoresTheOldPolicy) {
  start();
  port.refuse_policy_with_site = "hills";
  write(policy_text(45, another_site("hills", "10.30.0.0/16")));
  EXPECT_FALSE(gateway->reload(at(1)));
  EXPECT_EQ(gateway->policy().sites.size(), 1U);
  EXPECT_EQ(port.policy->sites.size(), 1U);
  EXPECT_EQ(port.applies, 3U) << "start, the refused one, the old one again";
  EXPECT_NE(gateway->status(at(1)).policy.reload_error->find("create class"), std::string::npos);
  EXPECT_FALSE(degraded("tree_missing", 1));
}

TEST_F(GatewayTest, WhatTakesARestartIsRefusedByName) {
  start();
  auto text = policy_text();
  text.replace(text.find("wan0"), 4, "wan9");
  write(text + "api: {socket: /run/weir/other.sock, listen: \"127.0.0.1:8440\"}\n");
  EXPECT_FALSE(gateway->reload(at(1)));
  const std::string why = *gateway->status(at(1)).policy.reload_error;
  for (const char* part : {"wan.interface changed from wan0 to wan9", "api.socket",
                           "api.listen changed from none to 127.0.0.1:8440"}) {
    EXPECT_NE(why.find(part), std::string::npos) << why;
  }
}

TEST_F(GatewayTest, ATreeThatSomebodyDeletedIsPutBackAtOnce) {
  start();
  laws[0].decision.rate = Rate::mbps(50);
  tick(0.1);
  port.tree.reset();
  gateway->on_kernel_change("somebody deleted the root qdisc", at(0.2));
  EXPECT_EQ(port.tree, (std::vector{Rate::mbps(50)})) << "with the rate in force, not the configured start";
  EXPECT_EQ(count(EventKind::foreign_change), 1U);
  EXPECT_EQ(count(EventKind::repaired), 1U);
  EXPECT_FALSE(degraded("tree_missing", 0.2));
}

TEST_F(GatewayTest, AChangeThatLeavesTheTreeStandingIsNoAlarm) {
  start();
  gateway->on_kernel_change("an address came", at(0.2));
  EXPECT_EQ(port.applies, 1U);
  EXPECT_EQ(count(EventKind::foreign_change), 0U);
}

TEST_F(GatewayTest, AFailedRepairIsTriedEverySecondAndToldOnce) {
  start();
  port.tree.reset();
  port.refuse_apply = {.attempt = "create qdisc 7e17: on wan0", .error = ENODEV, .hint = {}};
  gateway->on_kernel_change("the interface went away", at(1));
  for (int s = 2; s < 6; ++s) gateway->every_second(at(s));
  EXPECT_EQ(port.applies, 6U);
  EXPECT_TRUE(degraded("tree_missing", 6));
  EXPECT_EQ(count(EventKind::foreign_change), 1U);
  EXPECT_EQ(count(EventKind::repair_failed), 1U);
  port.refuse_apply.reset();
  gateway->every_second(at(7));
  EXPECT_TRUE(port.tree.has_value());
  EXPECT_FALSE(degraded("tree_missing", 7));
}

TEST_F(GatewayTest, ATreeThatARateChangeMendedIsNoLongerMissing) {
  start();
  port.tree.reset();
  port.refuse_apply = {.attempt = "create clsact on wan0", .error = EEXIST, .hint = {}};
  gateway->every_second(at(1));
  ASSERT_FALSE(gateway->status(at(1)).shaper.in_place);
  port.refuse_apply.reset();
  port.tree = std::vector{Rate::mbps(100)};  // written by a tick in between
  gateway->every_second(at(2));
  EXPECT_TRUE(gateway->status(at(2)).shaper.in_place);
  EXPECT_FALSE(gateway->status(at(2)).shaper.fault);
}

TEST_F(GatewayTest, ALostTreeIsFoundEvenWithoutAnEvent) {
  start();
  port.tree.reset();
  for (int s = 1; s <= 6; ++s) gateway->every_second(at(s));
  EXPECT_TRUE(port.tree.has_value());
}

TEST_F(GatewayTest, ADeadCaptureHoldsAndSaysSo) {
  start();
  EXPECT_TRUE(degraded("capture_down", 0)) << "not opened yet";
  gateway->on_capture({.up = true, .text = {}}, at(0.1));
  tick(0.2);
  EXPECT_FALSE(degraded("capture_down", 0.2));
  gateway->on_capture({.up = false, .text = "wan0: the interface disappeared"}, at(1));
  EXPECT_TRUE(degraded("capture_down", 1));
  EXPECT_EQ(gateway->status(at(1)).capture.why_down, "wan0: the interface disappeared");
  gateway->every_second(at(2));
  EXPECT_TRUE(port.batches.empty());
}

TEST_F(GatewayTest, MeasurementsThatStopAreADegradation) {
  start();
  gateway->on_capture({.up = true, .text = {}}, at(0.1));
  tick(0.2);
  EXPECT_FALSE(degraded("capture_stalled", 1.0));
  EXPECT_TRUE(degraded("capture_stalled", 3.0));
}

TEST_F(GatewayTest, CaptureDropsAreCountedAndToldOnce) {
  start();
  CaptureTick t;
  t.generation = gateway->estimator_generation();
  for (int i = 1; i <= 5; ++i) {
    t.result = quiet_tick(1, at(0.1 * i));
    t.counters = {.received = 1000U * static_cast<unsigned>(i), .dropped = 10U * static_cast<unsigned>(i)};
    gateway->on_tick(t, at(0.1 * i));
  }
  EXPECT_EQ(count(EventKind::capture_lost), 1U);
  EXPECT_TRUE(degraded("capture_lossy", 1));
  EXPECT_FALSE(degraded("capture_lossy", 30));
  EXPECT_EQ(gateway->status(at(1)).capture.counters.dropped, 50U);
}

TEST_F(GatewayTest, EachStepOfSamplingIsTold) {
  start();
  CaptureTick t;
  t.generation = gateway->estimator_generation();
  t.result = quiet_tick(1, at(0.1));
  for (const std::uint32_t one_in : {1U, 2U, 4U, 4U, 2U, 1U}) {
    t.totals.one_in = one_in;
    gateway->on_tick(t, at(0.1));
    EXPECT_EQ(degraded("capture_sampled", 0.1), one_in > 1);
  }
  EXPECT_EQ(count(EventKind::capture_sampled), 4U);
}

TEST_F(GatewayTest, ATickOfAnOldEstimatorIsIgnored) {
  start();
  tick(0.1, 77);
  EXPECT_EQ(gateway->status(at(0.2)).capture.ticks, 0U);
}

TEST_F(GatewayTest, FifoLeavesAreADegradation) {
  port.fifo_leaves = true;
  start();
  EXPECT_TRUE(degraded("fifo_leaves", 0));
}

TEST_F(GatewayTest, AnUnwritableLibraryIsADegradationOnly) {
  std::ofstream(folder.path() / "library") << "a file where the folder should be";
  start();
  EXPECT_TRUE(degraded("last_good_not_saved", 0));
  EXPECT_TRUE(port.tree.has_value());
}

TEST_F(GatewayTest, ClassesShowTheirRateOverTheLastSecond) {
  port.classes = {{.site = "coast", .name = "rest", .handle = 0x7e170011, .sent = Bytes(0)}};
  start();
  port.classes[0].sent = Bytes(1'250'000);
  gateway->every_second(at(1));
  ASSERT_EQ(gateway->classes().size(), 1U);
  EXPECT_EQ(gateway->classes()[0].sent, Rate::mbps(10));
}

TEST_F(GatewayTest, AFaultAtTheStartIsHandedBack) {
  write(policy_text());
  boot();
  port.refuse_apply = {.attempt = "replace the root qdisc of wan0", .error = EEXIST, .hint = "use --replace"};
  const auto report = gateway->start(at(0));
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(describe(*report.fault), "replace the root qdisc of wan0: File exists (use --replace)");
  EXPECT_FALSE(std::filesystem::exists(library.last_good())) << "what never worked is not the last good one";
}

}  // namespace
}  // namespace weir::gateway::test
