// StormGuard's published behaviour, in numbers: how slowly it cuts, where it stops, when it raises.
#include "proving/laws/stormguard.hpp"

#include <gtest/gtest.h>

#include "proving/laws/law_driver.hpp"

namespace weir::proving::test {
namespace {

using namespace std::chrono_literals;

/// Ten quiet seconds first: a baseline of 30 ms.
LawDriver at_baseline(std::string_view name, LawSettings settings = site()) {
  LawDriver driver(name, settings);
  driver.path.rtt = 30ms;
  driver.path.load = 0.5;
  driver.run(10s);
  EXPECT_TRUE(driver.changes().size() <= 1);
  return driver;
}

TEST(Stormguard, NeedsAtLeast37SecondsToHalveAtItsFastest) {
  LawDriver driver = at_baseline("stormguard-tuned");
  driver.path.rtt = 400ms;
  driver.run(60s);
  const auto& all = driver.changes();
  ASSERT_GE(all.size(), 6U);
  const std::vector<std::uint64_t> expected{88, 77, 68, 60, 53, 47};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(all[i].rate, Rate::mbps(expected[i]));
  EXPECT_LE(all[0].at, 11.1);  // the first one comes at once
  EXPECT_GE(all[5].at - all[0].at, 37.0);
  EXPECT_NEAR(all[5].at - all[0].at, 40.0, 0.2);  // five rests of 7.5 s, in whole ticks
}

TEST(Stormguard, AsShippedItStopsAboveHalfOfTheMaximum) {
  LawDriver driver = at_baseline("stormguard");
  driver.path.rtt = 400ms;
  driver.run(60s);
  EXPECT_EQ(driver.rate(), Rate::mbps(53));  // 0.88 x 53 would cross 50: refused, not clamped
}

TEST(Stormguard, TheOrdinaryCutIsFivePercentEveryFourSeconds) {
  LawDriver driver = at_baseline("stormguard");
  driver.path.lost = 0.06;
  driver.run(300s);
  EXPECT_EQ(driver.rate(), Rate::mbps(51));
  const auto& all = driver.changes();
  ASSERT_GE(all.size(), 2U);
  EXPECT_EQ(all[0].rate, Rate::mbps(95));
  EXPECT_EQ(all[1].rate, Rate::mbps(90));
  EXPECT_NEAR(all[1].at - all[0].at, 4.0, 0.1);
}

TEST(Stormguard, IsBlindToLossBelowFivePercent) {
  LawDriver driver = at_baseline("stormguard");
  driver.path.lost = 0.045;
  driver.run(300s);
  EXPECT_EQ(driver.rate(), Rate::mbps(100));
}

TEST(Stormguard, OneBadSecondCutsForFifteen) {
  LawDriver driver = at_baseline("stormguard");
  driver.run(20s);
  const double began = driver.now();
  driver.path.lost = 0.9;  // 0.9 / 15 = 6 % on average
  driver.run(1s);
  driver.path.lost = 0;
  driver.run(60s);
  EXPECT_EQ(driver.changes().size(), 4U);
  EXPECT_LE(driver.changes().back().at - began, 15.2);
}

TEST(Stormguard, RaisesAFullStepEveryTenTicksUnderLoad) {
  LawSettings settings = site();
  settings.start = Rate::mbps(50);
  settings.ceiling = Rate::mbps(95);
  LawDriver driver = at_baseline("stormguard", settings);
  driver.path.load = 0.9;
  driver.run(100s);
  const auto& all = driver.changes();
  const std::vector<std::uint64_t> expected{57, 66, 76, 87};
  ASSERT_EQ(all.size(), expected.size());  // 1.15 x 87 would cross 95: refused
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(all[i].rate, Rate::mbps(expected[i]));
  EXPECT_NEAR(all[2].at - all[1].at, 10.0, 0.1);
}

TEST(Stormguard, DoesNotRaiseWithoutLoadNorWithHalfOfTheDelayAllowed) {
  LawSettings settings = site();
  settings.start = Rate::mbps(50);
  LawDriver driver = at_baseline("stormguard", settings);
  driver.path.load = 0.79;
  driver.run(60s);
  EXPECT_EQ(driver.rate(), Rate::mbps(50));
  driver.path.load = 0.9;
  driver.path.rtt = 32ms;  // 1.067 of the baseline: neither good nor bad
  driver.run(5s);
  EXPECT_EQ(driver.rate(), Rate::mbps(50));
}

TEST(Stormguard, TakesALongerRouteForCongestion) {
  LawDriver driver = at_baseline("stormguard");
  driver.path.rtt = 90ms;
  driver.run(40s);
  EXPECT_LT(driver.rate(), Rate::mbps(60));
  EXPECT_NE(driver.law().reason().find("RTT 90.0 ms"), std::string_view::npos);
}

TEST(Stormguard, OnALongPathMillisecondsDecide) {
  for (const auto& [rtt, expected] :
       {std::pair{535ms, 100U}, {545ms, 95U}, {585ms, 88U}}) {  // ratios below 1.2
    LawDriver driver("stormguard", site());
    driver.path.rtt = 500ms;
    driver.path.load = 0.5;
    driver.run(10s);
    driver.path.rtt = rtt;
    driver.run(2s);
    EXPECT_EQ(driver.rate(), Rate::mbps(expected)) << rtt.count() << " ms";
  }
}

TEST(Stormguard, CutsFastFromTenPercentOfLoss) {
  LawDriver driver = at_baseline("stormguard");
  driver.path.lost = 0.12;
  driver.run(40s);
  EXPECT_EQ(driver.law().reason().find("cut fast"), 0U) << driver.law().reason();
}

TEST(Stormguard, TheBaselineFallsTenPercentOfTheWayASecond) {
  LawDriver driver = at_baseline("stormguard");
  driver.path.rtt = 15ms;
  driver.run(30s);  // 15 + 15 x 0.9^30 = 15.6 ms
  ASSERT_EQ(driver.rate(), Rate::mbps(100));
  driver.path.rtt = 18ms;
  driver.run(2s);
  EXPECT_EQ(driver.rate(), Rate::mbps(95));
}

TEST(Stormguard, AnRttIsBelievedForFifteenSeconds) {
  LawDriver driver = at_baseline("stormguard");
  driver.path.rtt = 400ms;
  driver.run(1s);
  driver.path.received = Rate();  // nothing comes back any more
  driver.run(60s);
  EXPECT_EQ(driver.changes().size(), 2U);  // 8 s apart; the third would be 16 s after the sample
}

TEST(Stormguard, IgnoresRttsOfNextToNoTraffic) {
  LawDriver driver = at_baseline("stormguard");
  driver.path.rtt = 400ms;
  driver.path.load = 0.0004;
  driver.run(20s);
  EXPECT_EQ(driver.rate(), Rate::mbps(100));
  driver.path.load = 0.0006;
  driver.run(2s);
  EXPECT_EQ(driver.rate(), Rate::mbps(88));
}

TEST(Stormguard, TheRttOfASecondIsItsP90) {
  for (const auto& [slow, expected] : {std::pair{80ms, 100U}, {150ms, 88U}}) {
    LawDriver driver = at_baseline("stormguard");
    driver.path.rtt = 400ms;
    driver.run(slow);
    driver.path.rtt = 30ms;
    driver.run(1s - slow);
    EXPECT_EQ(driver.rate(), Rate::mbps(expected)) << slow.count() << " ms of the second";
  }
}

}  // namespace
}  // namespace weir::proving::test
