// CAKE's autorate-ingress on packet trains whose throughput is known.
#include "proving/laws/cake_ingress.hpp"

#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "proving/laws/law_driver.hpp"

namespace weir::proving::test {
namespace {

using namespace std::chrono_literals;

constexpr Bytes kPacket(1500);

/// Ten packets back to back on a link of that rate, then the gap of two that are missing.
class Trains {
 public:
  explicit Trains(Law& law) : law_(law) {}

  Rate arrive(Rate link, int trains) {
    Rate rate;
    for (int i = 0; i < trains; ++i) {
      std::vector<Arrival> packets;
      for (int k = 0; k < 10; ++k) packets.push_back({.at = at_ += link.time_for(kPacket), .bytes = kPacket});
      at_ += 2 * link.time_for(kPacket);
      LawInput input;
      input.now = at_;
      input.arrivals = packets;
      rate = law_.step(input).value();
    }
    return rate;
  }

 private:
  Law& law_;
  TimePoint at_;
};

TEST(CakeIngress, ShapesToFifteenSixteenthsOfThePeak) {
  const auto law = make_law("cake-ingress", site(), TimePoint());
  Trains trains(*law);
  // 10 of 12 packet times are used: the windows, gap to gap, hold 10/12 of the link's rate.
  EXPECT_NEAR(trains.arrive(Rate::mbps(60), 5000).mbps(), 15.0 / 16 * 60 * 10 / 12, 0.1);
}

TEST(CakeIngress, FollowsUpInAFewWindowsAndDownInHundreds) {
  const auto law = make_law("cake-ingress", site(), TimePoint());
  Trains trains(*law);
  const double low = trains.arrive(Rate::mbps(30), 5000).mbps();
  const double high = 2 * low;
  trains.arrive(Rate::mbps(60), 40);  // so long no gap is longer than the average of the slower ones
  EXPECT_GT(trains.arrive(Rate::mbps(60), 16).mbps(), low + 0.95 * (high - low));
  trains.arrive(Rate::mbps(60), 200);
  EXPECT_GT(trains.arrive(Rate::mbps(30), 100).mbps(), low + 0.6 * (high - low));  // (255/256)^100 = 0.68
  EXPECT_LT(trains.arrive(Rate::mbps(30), 1000).mbps(), low + 0.05 * (high - low));
}

TEST(CakeIngress, TheFirstPacketEndsAnEmptyWindow) {
  const auto law = make_law("cake-ingress", site(), TimePoint());
  const Arrival packet{.at = TimePoint(1s), .bytes = kPacket};
  LawInput input;
  input.arrivals = {&packet, 1};
  EXPECT_NEAR(law->step(input)->mbps(), 15.0 / 16 * 255 / 256 * 100, 0.01);
}

/// Packets spaced at the law's own rate, each gap longer or shorter by up to that share.
Rate fed_its_own_rate(double jitter) {
  const auto law = make_law("cake-ingress", site(), TimePoint());
  EXPECT_TRUE(law->behind_the_bottleneck());
  std::mt19937 random(1);
  std::uniform_real_distribution<double> share(1 - jitter, 1 + jitter);
  TimePoint at;
  Rate rate = site().start;
  for (int i = 0; i < 100'000; ++i) {
    at += from_seconds(share(random) * seconds(rate.time_for(kPacket)));
    const Arrival packet{.at = at, .bytes = kPacket};
    LawInput input;
    input.now = at;
    input.arrivals = {&packet, 1};
    rate = law->step(input).value();
  }
  return rate;
}

TEST(CakeIngress, InFrontOfTheBottleneckItIsLedByItsOwnSpacing) {
  EXPECT_EQ(fed_its_own_rate(0.05), site().floor);  // ours; CAKE has none
  EXPECT_EQ(fed_its_own_rate(1.0), site().ceiling);
  EXPECT_GT(fed_its_own_rate(0.0), Rate::mbps(93));  // no gap is longer than the average: no window ever ends
}

TEST(CakeIngress, HardlyMovesForItsFirstPackets) {
  const auto law = make_law("cake-ingress", site(), TimePoint());
  Trains trains(*law);
  // The average starts at 250 ms and loses 1/256 a packet: 1500 of them to the 0.6 ms between two trains.
  const Rate first = trains.arrive(Rate::mbps(60), 1);
  EXPECT_EQ(trains.arrive(Rate::mbps(60), 139), first);
  EXPECT_LT(trains.arrive(Rate::mbps(60), 60), first);
}

}  // namespace
}  // namespace weir::proving::test
