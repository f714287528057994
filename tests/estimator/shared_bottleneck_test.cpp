#include "estimator/shared_bottleneck.hpp"

#include <cmath>
#include <functional>
#include <random>

#include <gtest/gtest.h>

namespace weir::test {
namespace {

/// What the sites saw, as functions of the time of sending in seconds.
struct Sight {
  std::function<double(double)> queue_ms = [](double) { return 0.0; };
  std::function<double(double)> loss = [](double) { return 0.0; };
  std::uint32_t segments = 200;  ///< a tick
  bool active = true;
};

struct Watch {
  explicit Watch(std::vector<Sight> seen) : sights(std::move(seen)), shared(sights.size()) {}

  void run_until(double end) {
    for (; now < end; now += 0.1) {
      for (std::size_t i = 0; i < sights.size(); ++i) {
        if (sights[i].active) shared.add(i, measured(sights[i]));
      }
      shared.judge(at(now));
    }
  }
  [[nodiscard]] static TimePoint at(double s) { return TimePoint(from_seconds(100 + s)); }

  SiteMeasurement measured(const Sight& sight) {
    SiteMeasurement m;
    m.at = at(now);
    const double sent = now - 0.1;
    const double noise = std::exponential_distribution<double>(5)(random);
    m.queue = QueueDelay{.q = from_seconds((sight.queue_ms(sent) + noise) / 1e3),
                         .samples = sight.segments / 2,
                         .sent_from = at(sent - 0.1),
                         .sent_to = at(sent)};
    Cohort c;
    c.begin = at(sent);
    c.segments = sight.segments;
    c.lost_beyond = std::binomial_distribution<std::uint32_t>(sight.segments, sight.loss(sent))(random);
    m.mature.push_back(c);
    return m;
  }

  std::vector<Sight> sights;
  SharedBottleneck shared;
  std::mt19937 random{1};
  double now = 0;
};

using Sites = std::vector<std::size_t>;

/// A queue of 7 ms for half a second, every three seconds.
double pulses(double t, double shift = 0) {
  return std::fmod(t + 30 - shift, 3.0) < 0.5 ? 7.0 : 0.0;
}
Sight with_queue(std::function<double(double)> queue_ms) {
  Sight s;
  s.queue_ms = std::move(queue_ms);
  return s;
}
Sight with_loss(std::function<double(double)> loss) {
  Sight s;
  s.loss = std::move(loss);
  return s;
}
const Sight kShared = with_queue([](double t) { return pulses(t); });

TEST(SharedBottleneck, AQueueThatAllSeeIsShared) {
  Watch w({kShared, kShared, kShared});
  w.run_until(5);
  EXPECT_EQ(w.shared.group(), Sites{}) << "one pulse or two may come by chance";
  w.run_until(20);
  EXPECT_EQ(w.shared.group(), (Sites{0, 1, 2}));
}

TEST(SharedBottleneck, QueuesAtOtherTimesAreTheirOwn) {
  Watch w({kShared, with_queue([](double t) { return pulses(t, 1); }),
           with_queue([](double t) { return pulses(t, 2); })});
  w.run_until(60);
  EXPECT_EQ(w.shared.group(), Sites{});
  EXPECT_GT(w.shared.between(0, 1).apart, 3);
  EXPECT_EQ(w.shared.between(0, 1).common, 0);
}

TEST(SharedBottleneck, ASiteWithAQueueOfItsOwnBesidesStaysOut) {
  Watch w({kShared, kShared, with_queue([](double t) { return pulses(t) + 4 * pulses(t, 1.5); })});
  w.run_until(60);
  EXPECT_EQ(w.shared.group(), (Sites{0, 1}));
}

TEST(SharedBottleneck, WhoSendsNothingIsNotJudged) {
  Watch w({kShared, kShared, kShared});
  w.sights[2].active = false;
  w.run_until(20);
  EXPECT_EQ(w.shared.group(), (Sites{0, 1}));
  w.sights[2].active = true;
  w.run_until(40);
  EXPECT_EQ(w.shared.group(), (Sites{0, 1, 2}));
  w.sights[2].active = false;
  w.run_until(60);
  EXPECT_EQ(w.shared.group(), (Sites{0, 1, 2})) << "silence is no evidence";
}

TEST(SharedBottleneck, AQueueThatFewSamplesMissIsNoEvidenceAgainst) {
  Watch w({kShared, kShared, Sight{}});
  w.sights[2].segments = 8;
  w.run_until(60);
  EXPECT_EQ(w.shared.between(0, 2).apart, 0);
}

TEST(SharedBottleneck, LossThatIsTheSameIsShared) {
  const Sight lossy = with_loss([](double t) { return std::fmod(t, 2.0) < 1.0 ? 0.05 : 0.0; });
  Watch w({lossy, lossy, lossy});
  w.run_until(20);
  EXPECT_EQ(w.shared.group(), (Sites{0, 1, 2}));
}

TEST(SharedBottleneck, LossOfOneIsItsOwn) {
  Watch w({with_loss([](double) { return 0.05; }), Sight{}, Sight{}});
  w.run_until(60);
  EXPECT_EQ(w.shared.group(), Sites{});
}

TEST(SharedBottleneck, AFewLossesSayNothing) {
  const Sight lossy = with_loss([](double) { return 0.001; });
  Watch w({lossy, lossy});
  w.run_until(120);
  EXPECT_EQ(w.shared.group(), Sites{});
  EXPECT_EQ(w.shared.between(0, 1).common, 0);
}

TEST(SharedBottleneck, AMemberThatAloneLosesMuchIsNamed) {
  Watch w({kShared, kShared, kShared});
  w.run_until(20);
  w.sights[1].loss = [](double) { return 0.05; };
  bool named = false;
  for (double end = 20.1; end < 26; end += 0.1) {
    w.run_until(end);
    for (const std::size_t stray : w.shared.strays()) {
      EXPECT_EQ(stray, 1U);
      named = true;
    }
  }
  EXPECT_TRUE(named);
}

TEST(SharedBottleneck, EvidenceAgainstItEndsAFinding) {
  Watch w({kShared, kShared});
  w.run_until(20);
  ASSERT_EQ(w.shared.group(), (Sites{0, 1}));
  w.sights[1].queue_ms = [](double t) { return pulses(t, 1.5); };
  w.run_until(60);
  EXPECT_EQ(w.shared.group(), Sites{});
}

TEST(SharedBottleneck, AFindingIsForgottenTenMinutesAfterItsLastEvidence) {
  Watch w({kShared, kShared});
  w.run_until(20);
  for (Sight& s : w.sights) s.queue_ms = [](double) { return 0.0; };
  w.run_until(20 + 590);
  EXPECT_EQ(w.shared.group(), (Sites{0, 1}));
  w.run_until(20 + 610);
  EXPECT_EQ(w.shared.group(), Sites{});
}

TEST(SharedBottleneck, WhoIsBarredComesBackLaterEachTime) {
  Watch w({kShared, kShared, kShared});
  w.run_until(20);
  w.shared.bar(1, w.at(w.now));
  EXPECT_EQ(w.shared.group(), (Sites{0, 2}));
  w.run_until(49);
  EXPECT_EQ(w.shared.group(), (Sites{0, 2}));
  w.run_until(60);
  EXPECT_EQ(w.shared.group(), (Sites{0, 1, 2}));
  w.shared.bar(1, w.at(w.now));
  w.run_until(115);
  EXPECT_EQ(w.shared.group(), (Sites{0, 2}));
}

}  // namespace
}  // namespace weir::test
