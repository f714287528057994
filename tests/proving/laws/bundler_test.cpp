// Bundler's rate law on paths whose answer its equation gives.
#include "proving/laws/bundler.hpp"

#include <algorithm>

#include <gtest/gtest.h>

#include "proving/laws/law_driver.hpp"

namespace weir::proving::test {
namespace {

using namespace std::chrono_literals;

constexpr Duration kBase = 30ms;

/// A policer: it lets through what the capacity is, at once.
void police(LawDriver& driver, Rate capacity, Duration d) {
  driver.path.capacity = capacity;
  driver.path.rtt = kBase;
  for (Duration gone{}; gone < d; gone += 10ms) {
    driver.path.received = std::min(capacity, driver.rate());
    driver.run(10ms);
  }
}

double lost(const LawDriver& driver, Rate capacity) {
  return 1 - capacity / driver.rate();
}

TEST(Bundler, SendsAtTheStartRateForASecond) {
  LawDriver driver("bundler", site());
  driver.path.rtt = kBase;
  driver.run(990ms);
  EXPECT_EQ(driver.rate(), Rate::mbps(100));
}

TEST(Bundler, LosesAnEighthAtAPolicerForGood) {
  LawSettings settings = site();
  settings.start = Rate::mbps(45);
  LawDriver driver("bundler", settings);
  police(driver, Rate::mbps(45), 20s);
  EXPECT_NEAR(driver.mbps(), 45 * 0.925 / 0.8, 0.2);  // r = 0.2 r + 0.925 u
  EXPECT_NEAR(lost(driver, Rate::mbps(45)), 0.135, 0.003);
}

TEST(Bundler, LosesTheSameWithTheCapacityEstimated) {
  LawSettings settings = site();
  settings.ceiling = Rate::mbps(622);
  LawDriver driver("bundler-estimated", settings);
  police(driver, Rate::mbps(100), 20s);
  EXPECT_NEAR(lost(driver, Rate::mbps(100)), 0.135, 0.003);
  police(driver, Rate::mbps(60), 20s);
  EXPECT_NEAR(lost(driver, Rate::mbps(60)), 0.135, 0.01);
}

TEST(Bundler, CollapsesOnARouteThatIsSixtyMillisecondsLonger) {
  LawDriver driver("bundler", site());
  police(driver, Rate::mbps(100), 10s);
  driver.path.received = std::nullopt;
  driver.path.rtt = kBase + 60ms;
  driver.run(10s);
  EXPECT_EQ(driver.rate(), Rate::mbps(5));  // 0.05 u
  driver.run(600s);
  EXPECT_EQ(driver.rate(), Rate::mbps(5));  // and stays: the base is the least RTT ever
}

TEST(Bundler, TheEstimateOfTheCapacityNeverFalls) {
  LawDriver driver("bundler-estimated", site());
  police(driver, Rate::mbps(80), 20s);
  police(driver, Rate::mbps(20), 20s);
  driver.path.received = std::nullopt;
  driver.path.rtt = kBase + 60ms;
  driver.run(20s);
  EXPECT_NEAR(driver.mbps(), 0.05 * 80, 0.2);  // 5 % of what was once received
}

TEST(Bundler, HoldsTheRateWhenNothingArrives) {
  LawDriver driver("bundler", site());
  police(driver, Rate::mbps(45), 10s);
  const Rate before = driver.rate();
  driver.path.received = Rate();
  driver.run(20ms);
  const Rate then = driver.rate();
  driver.run(1s);
  EXPECT_GT(before, Rate::mbps(45));
  EXPECT_LE(driver.rate(), then);
  const Rate held = driver.rate();
  driver.run(60s);
  EXPECT_EQ(driver.rate(), held);
}

/// Half a round trip to a queue without end, half a round trip back.
class BufferedPath {
 public:
  explicit BufferedPath(Rate capacity) : capacity_(capacity) {}

  /// 10 ms of sending at that rate; what is known of it here.
  void send(Rate rate, Path& path) {
    on_the_way_.push_back(rate);
    const Rate in = *(on_the_way_.end() - 1 - std::min<std::ptrdiff_t>(kSteps, std::ssize(on_the_way_) - 1));
    const Bytes waiting = queue_ + in.in(10ms);
    const Bytes out = std::min(waiting, capacity_.in(10ms));
    queue_ = waiting - out;
    back_.push_back({Rate::of(out, 10ms), capacity_.time_for(queue_)});
    const auto& known = *(back_.end() - 1 - std::min<std::ptrdiff_t>(kSteps, std::ssize(back_) - 1));
    path.capacity = capacity_;
    path.received = known.first;
    path.rtt = 2 * kSteps * 10ms + known.second;
  }
  [[nodiscard]] Duration queue() const { return capacity_.time_for(queue_); }

 private:
  static constexpr int kSteps = 2;  // of 10 ms: a round trip of 40 ms
  Rate capacity_;
  Bytes queue_;
  std::vector<Rate> on_the_way_;
  std::vector<std::pair<Rate, Duration>> back_;
};

TEST(Bundler, KeepsAQuarterOfTheRoundTripQueuedAtABuffer) {
  LawSettings settings = site();
  settings.start = Rate::mbps(40);
  LawDriver driver("bundler", settings);
  BufferedPath buffer(Rate::mbps(50));
  double queue = 0, sent = 0;
  const int steps = 3000;
  for (int i = 0; i < steps; ++i) {
    buffer.send(driver.rate(), driver.path);
    driver.run(10ms);
    if (i < steps / 2) continue;
    queue += milliseconds(buffer.queue()) / (steps / 2);
    sent += driver.path.received->mbps() / (steps / 2);
  }
  EXPECT_NEAR(queue, 10.0, 2.0);  // RTT = 1.25 x 40 ms
  EXPECT_NEAR(sent, 50.0, 1.0);
}

TEST(Bundler, AReportMovesTheEstimateByTwoPercent) {
  LawSettings settings = site();
  settings.start = Rate::mbps(40);
  LawDriver driver("bundler-estimated", settings);
  driver.path.rtt = kBase;
  driver.run(1s);
  // 95 reports in the first second: u = 40 (1 - 0.98^95) = 34.1; no queue and no cross traffic: r = S + 0.125
  // u.
  EXPECT_NEAR(driver.mbps(), 40 + 0.125 * 34.1, 0.1);
}

TEST(Bundler, ComparesWhatArrivedWithTheSendingOfTheSamePackets) {
  LawDriver driver("bundler", site());
  BufferedPath wide(Rate::mbps(50));
  for (int i = 0; i < 1000; ++i) {
    // The senders' own pace, 10 and 20 Mbit/s in turn, far below the capacity: never anything lost or queued.
    const Rate offered = Rate::mbps(i / 20 % 2 == 0 ? 10 : 20);
    driver.path.load = offered / driver.rate();
    wide.send(offered, driver.path);
    driver.run(10ms);
    if (i < 200) continue;
    ASSERT_GT(driver.mbps(), 10 + 0.125 * 50 - 0.5) << "step " << i;
    ASSERT_LT(driver.mbps(), 20 + 0.125 * 50 + 0.5) << "step " << i;
  }
}

}  // namespace
}  // namespace weir::proving::test
