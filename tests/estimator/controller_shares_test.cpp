// Boxes that share a path with others and hear nothing of one another: a fluid model of a queue that all of
// them feed, a tick at a time.
#include <algorithm>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "controller_ticks.hpp"

namespace weir::test {
namespace {

constexpr double kCapacity = 45;  // Mbit/s
constexpr double kTick = 0.1;     // s

struct Box {
  explicit Box(double start_mbps)
      : controller({.floor = Rate::mbps(5), .ceiling = Rate::mbps(500), .adapt = true},
                   Rate::bps(static_cast<std::uint64_t>(start_mbps * 1e6)), at(0)) {}
  [[nodiscard]] double sends() const { return std::min(controller.decision().rate.mbps(), demand_mbps); }

  SiteController controller;
  double demand_mbps = 1e4;
  double received = 0;  ///< Mbit since it was last set to zero
  double largest_step = 1;
};

/// One buffer of kCapacity, deep enough to drop nothing.
class SharedLink {
 public:
  explicit SharedLink(std::initializer_list<double> starts) {
    for (const double mbps : starts) boxes.emplace_back(mbps);
  }

  void run_for(double seconds) {
    for (const double until = now_ + seconds; now_ < until - kTick / 2;) step();
  }
  void count_anew() {
    for (Box& box : boxes) box.received = 0, box.largest_step = 1;
  }
  /// Jain's index of what they have received since.
  [[nodiscard]] double fairness() const {
    double sum = 0;
    double squares = 0;
    for (const Box& box : boxes) sum += box.received, squares += box.received * box.received;
    return sum * sum / (static_cast<double>(boxes.size()) * squares);
  }

  std::vector<Box> boxes;
  double longest_queue_ms = 0;

 private:
  void step() {
    now_ += kTick;
    const double arrives = std::accumulate(boxes.begin(), boxes.end(), 0.0,
                                           [](double sum, const Box& box) { return sum + box.sends(); });
    const double before = queue_s_;
    queue_s_ = std::max(0.0, queue_s_ + (arrives / kCapacity - 1) * kTick);
    longest_queue_ms = std::max(longest_queue_ms, 1e3 * queue_s_);
    const double share = queue_s_ > 0 ? kCapacity / arrives : 1.0;
    for (Box& box : boxes) {
      const double mbps = box.sends();
      const auto segments = static_cast<std::uint32_t>(mbps * 1e6 * kTick / (1500 * 8));
      const Rate was = box.controller.decision().rate;
      const RateDecision& d =
          box.controller.step(queued(tick(now_, mbps, segments, 0), from_seconds((before + queue_s_) / 2),
                                     std::min(mbps, mbps * share)),
                              at(now_));
      box.received += std::min(mbps, mbps * share) * kTick;
      if (d.state == ControlState::probe) box.largest_step = std::max(box.largest_step, d.rate / was);
    }
  }

  double now_ = 0;
  double queue_s_ = 0;
};

TEST(ControllerShares, TwoBoxesOfOneLinkComeToEqualShares) {
  for (const double first : {33.0, 34.0, 35.0}) {
    SharedLink link{first, 11};  // Jain's index 0.8
    link.run_for(30);
    link.longest_queue_ms = 0;
    link.run_for(240);
    link.count_anew();
    link.run_for(60);
    EXPECT_GE(link.fairness(), 0.93) << link.boxes[0].received << " and " << link.boxes[1].received
                                     << " Mbit";
    EXPECT_GE(link.boxes[0].received + link.boxes[1].received, 0.96 * 60 * kCapacity);
    EXPECT_LE(link.longest_queue_ms, 20);
  }
}

TEST(ControllerShares, ABoxAloneKeepsToSmallSteps) {
  SharedLink link{44};
  link.run_for(20);
  link.count_anew();
  link.run_for(60);
  EXPECT_LE(link.boxes[0].largest_step, 1.045);
  EXPECT_GE(link.boxes[0].received, 0.97 * 60 * kCapacity);
}

// Each has to try as much of the path, not of its own rate.
TEST(ControllerShares, TheOneWithLessTakesLargerSteps) {
  SharedLink link{38, 7};
  link.run_for(15);
  link.count_anew();
  link.run_for(60);
  EXPECT_LE(link.boxes[0].largest_step, 1.055);
  EXPECT_GE(link.boxes[1].largest_step, 1.06);
}

// Between the last clean round and the one that met the limit there is no telling how much was too much.
TEST(ControllerShares, ABoxAloneThatHasJustFoundItsLimitTakesSmallSteps) {
  SharedLink link{39};
  while (!link.boxes[0].controller.decision().capacity) link.run_for(kTick);
  link.count_anew();
  link.run_for(30);
  EXPECT_LE(link.boxes[0].largest_step, 1.06);
}

// Its steps were large beside its share; alone, they are large beside the path.
TEST(ControllerShares, OneThatTheOthersLeaveTakesSmallStepsAgain) {
  SharedLink link{38, 7};
  link.run_for(12);
  link.boxes[0].demand_mbps = 0;
  link.run_for(40);
  link.count_anew();
  link.run_for(60);
  EXPECT_LE(link.boxes[1].largest_step, 1.05);
  EXPECT_GE(link.boxes[1].received, 0.97 * 60 * kCapacity);
}

}  // namespace
}  // namespace weir::test
