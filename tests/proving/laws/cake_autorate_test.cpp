// cake-autorate's published behaviour, in numbers: what it hears of, by how much it moves, how often.
#include "proving/laws/cake_autorate.hpp"

#include <cmath>

#include <gtest/gtest.h>

#include "proving/laws/law_driver.hpp"

namespace weir::proving::test {
namespace {

using namespace std::chrono_literals;

/// Its baselines at 15 ms one way, the rate at the base rate.
LawDriver settled(std::string_view name, LawSettings settings = site()) {
  LawDriver driver(name, settings);
  driver.path.ping = 30ms;
  driver.path.load = 0.5;
  driver.run(10s);
  EXPECT_EQ(driver.rate(), settings.contract);
  return driver;
}

TEST(CakeAutorate, StartsAtTheBaseRate) {
  LawDriver driver("cake-autorate", site());
  driver.run(10ms);
  EXPECT_EQ(driver.rate(), Rate::mbps(45));
}

TEST(CakeAutorate, IsBlindToLossWithoutDelay) {
  LawSettings settings = site();
  settings.ceiling = Rate::mbps(622);
  LawDriver driver = settled("cake-autorate", settings);
  const double began = driver.now();
  driver.path.load = 1.0;
  driver.path.capacity = driver.path.received.emplace(Rate::mbps(45));  // a policer
  driver.path.lost = 0.5;
  driver.run(20s);
  EXPECT_EQ(driver.rate(), Rate::mbps(622));
  // 4 % every 0.2 s: 67 steps from 45 to 622.
  EXPECT_NEAR(driver.changes().back().at - began, std::log(622.0 / 45) / std::log(1.04) * 0.2, 1.0);
}

TEST(CakeAutorate, CutsByAQuarterOnceTheAverageIsFarOut) {
  LawDriver driver = settled("cake-autorate");
  const std::size_t before = driver.changes().size();
  driver.path.ping = 150ms;  // one way 60 ms later
  driver.run(1s);
  const auto& all = driver.changes();
  ASSERT_GE(all.size(), before + 2);
  // Three late of six: on average 30 ms, so the least cut. Then six of six: 60 ms, so the most.
  EXPECT_NEAR(all[before].rate / Rate::mbps(45), 0.99, 0.002);
  EXPECT_NEAR(all[before + 1].rate / all[before].rate, 0.75, 0.005);
  EXPECT_GT(all[before + 1].at - all[before].at, 0.3);
  EXPECT_LE(all[before + 1].at - all[before].at, 0.36);
  EXPECT_NE(driver.law().reason().find("late replies"), std::string_view::npos);
}

TEST(CakeAutorate, TwoLateRepliesAreNoQueue) {
  LawDriver driver = settled("cake-autorate");
  driver.path.ping = 1s;
  driver.run(100ms);
  driver.path.ping = 30ms;
  driver.run(5s);
  EXPECT_EQ(driver.rate(), Rate::mbps(45));
}

TEST(CakeAutorate, AsShippedFiftyMillisecondsOfQueueAreNoneTunedTheyAre) {
  for (const auto& [name, cuts] : {std::pair{"cake-autorate", false}, {"cake-autorate-tuned", true}}) {
    LawDriver driver = settled(name);
    driver.path.ping = 80ms;  // one way 25 ms later
    driver.run(2s);
    EXPECT_EQ(driver.rate() < Rate::mbps(45), cuts) << name;
  }
}

TEST(CakeAutorate, RaisesLessTheMoreDelayThereIs) {
  LawDriver driver = settled("cake-autorate");
  driver.path.ping = 70ms;  // 20 ms one way: halfway between 10 and 30
  driver.run(500ms);
  driver.path.load = 1.0;
  driver.run(300ms);
  const Rate before = driver.rate();
  driver.run(200ms);
  EXPECT_NEAR(driver.rate() / before, 1.02, 0.001);
}

TEST(CakeAutorate, DecaysToTheBaseRateWhenIdleOnePercentASecond) {
  LawDriver driver = settled("cake-autorate");
  driver.path.load = 1.0;
  driver.run(20s);
  ASSERT_EQ(driver.rate(), Rate::mbps(100));
  driver.path.load = 0.0;
  driver.run(10s);
  EXPECT_NEAR(driver.mbps(), 100 * std::pow(0.99, 9), 1.2);
  driver.run(120s);
  EXPECT_EQ(driver.rate(), Rate::mbps(45));
}

TEST(CakeAutorate, RecoversToTheBaseRateAtTheSamePace) {
  LawDriver driver = settled("cake-autorate");
  driver.path.ping = 300ms;
  driver.run(10s);
  ASSERT_EQ(driver.rate(), Rate::mbps(10));
  driver.path.ping = 30ms;
  driver.run(60s);
  EXPECT_LT(driver.rate(), Rate::mbps(20));
  driver.run(120s);
  EXPECT_EQ(driver.rate(), Rate::mbps(45));
}

TEST(CakeAutorate, WithoutRepliesItDoesNothing) {
  LawDriver driver = settled("cake-autorate");
  driver.path.ping = std::nullopt;
  driver.path.load = 1.0;
  driver.run(60s);
  EXPECT_EQ(driver.rate(), Rate::mbps(45));
}

TEST(CakeAutorate, TakesALongerRouteForCongestionForMinutes) {
  LawDriver driver = settled("cake-autorate");
  driver.path.ping = 150ms;
  driver.run(190s);
  EXPECT_EQ(driver.rate(), Rate::mbps(10));
  // Each baseline goes up 0.1 % of the way every 0.3 s: 60 ms become the 31 that are late at this rate in 196
  // s.
  driver.run(20s);
  EXPECT_GT(driver.rate(), Rate::mbps(10));
}

TEST(CakeAutorate, TakesAPathOfMoreThan260MillisecondsForCongestionFromTheStart) {
  LawDriver driver("cake-autorate", site());
  driver.path.ping = 270ms;
  driver.run(20s);
  EXPECT_EQ(driver.rate(), Rate::mbps(10));
}

TEST(CakeAutorate, LoadIsHighAboveThreeQuarters) {
  for (const auto& [load, raises] : {std::pair{0.75, false}, {0.80, true}}) {
    LawDriver driver = settled("cake-autorate");
    driver.path.load = load;
    driver.run(2s);
    EXPECT_EQ(driver.rate() > Rate::mbps(45), raises) << load;
  }
}

TEST(CakeAutorate, DoesNotRaiseFor300MillisecondsAfterACut) {
  LawDriver driver = settled("cake-autorate");
  const std::size_t before = driver.changes().size();
  driver.path.ping = 150ms;
  driver.run(150ms);
  driver.path.ping = 30ms;
  driver.path.load = 1.0;
  driver.run(1s);
  const auto& all = driver.changes();
  ASSERT_GE(all.size(), before + 2);
  EXPECT_LT(all[before].rate, Rate::mbps(45));
  EXPECT_GT(all[before + 1].rate, all[before].rate);
  EXPECT_GT(all[before + 1].at - all[before].at, 0.3);
}

TEST(CakeAutorate, TheBaselineDoesNotRiseByLessThanAMicrosecond) {
  LawDriver driver = settled("cake-autorate-tuned");
  driver.path.ping = 31'800us;  // 0.9 ms one way: 0.1 % of that is rounded down to nothing
  driver.run(600s);
  driver.path.ping = 36'600us;  // 3.3 ms over the old baseline
  driver.run(1s);
  EXPECT_LT(driver.rate(), Rate::mbps(45));
}

}  // namespace
}  // namespace weir::proving::test
