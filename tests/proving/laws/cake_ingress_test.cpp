// CAKE's autorate-ingress on packet trains whose throughput is known.
#include "proving/laws/cake_ingress.hpp"

#include <cmath>
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

TEST(CakeIngress, FedItsOwnSpacingItRatchetsDown) {
  const auto law = make_law("cake-ingress", site(), TimePoint());
  EXPECT_TRUE(law->behind_the_bottleneck());
  TimePoint at;
  Rate rate = Rate::mbps(100);
  for (int i = 0; i < 200'000; ++i) {
    const Arrival packet{.at = at += rate.time_for(kPacket), .bytes = kPacket};
    LawInput input;
    input.now = at;
    input.arrivals = {&packet, 1};
    rate = law->step(input).value();
  }
  EXPECT_EQ(rate, Rate::mbps(10));  // our floor; CAKE has none
}

}  // namespace
}  // namespace weir::proving::test
