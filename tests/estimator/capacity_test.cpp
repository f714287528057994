#include "estimator/capacity.hpp"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tcp_path.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

CapacityFinding finding_of(const TcpPathSetup& setup) {
  CapacityObserver observer;
  const std::vector<SiteMeasurement> run = TcpPath(setup).run();
  for (const SiteMeasurement& m : run) observer.add(m);
  return observer.finding(run.back().at);
}

std::string name_of(const TcpPathSetup& s) {
  return std::to_string(s.rate_mbps) + " Mbit/s, bucket " + std::to_string(s.bucket_bytes) + ", buffer " +
         std::to_string(s.buffer_bytes) + ", rtt " + std::to_string(s.rtt_s) + ", flows " +
         std::to_string(s.flows) + ", loss " + std::to_string(s.loss) + " in bursts of " +
         std::to_string(s.loss_burst) + ", each " + std::to_string(s.flow_mbps) + " Mbit/s, transfers " +
         std::to_string(s.transfer_bytes) + ", seed " + std::to_string(s.seed);
}

TcpPathSetup policer(double mbps, double bucket_s, int flows, double rtt_s = 0.05) {
  return {.rate_mbps = mbps,
          .bucket_bytes = bucket_s * mbps * 1e6 / 8.0,
          .rtt_s = rtt_s,
          .jitter_s = 0.002,
          .flows = flows};
}

void expect_policer(const TcpPathSetup& setup) {
  SCOPED_TRACE(name_of(setup));
  const CapacityFinding f = finding_of(setup);
  EXPECT_EQ(f.mode, CapacityMode::policer);
  ASSERT_TRUE(f.rate);
  EXPECT_NEAR(f.rate->mbps(), setup.rate_mbps, 0.1 * setup.rate_mbps);
  EXPECT_LE(f.low, *f.rate);
  EXPECT_GE(f.high, *f.rate);
  ASSERT_TRUE(f.age);
  EXPECT_LT(*f.age, 5s);
}

TEST(Capacity, OfAPolicerIsTheRateOfItsBucketWhateverItsSizeAndTheRoundTrip) {
  for (const double mbps : {2.0, 10.0, 45.0}) {
    for (const double bucket_s : {0.1, 0.25, 2.0})
      expect_policer(policer(mbps, bucket_s, mbps < 5.0 ? 2 : 8));
  }
  for (const double rtt_s : {0.01, 0.2}) expect_policer(policer(10.0, 0.25, 8, rtt_s));
  expect_policer(policer(2.0, 0.25, 1));
}

TEST(Capacity, OfAPolicerIsSeenThroughShortTransfersAndSomeRandomLoss) {
  TcpPathSetup setup = policer(10.0, 0.5, 4);
  setup.transfer_bytes = 1e6;
  expect_policer(setup);
  setup = policer(10.0, 0.25, 8);
  setup.loss = 0.001;
  expect_policer(setup);
}

TEST(Capacity, TellsTheBucketThatWasSeenFull) {
  for (const double bucket_s : {0.25, 2.0}) {
    const TcpPathSetup setup = policer(10.0, bucket_s, 1);
    const CapacityFinding f = finding_of(setup);
    ASSERT_TRUE(f.bucket) << name_of(setup);
    EXPECT_NEAR(static_cast<double>(f.bucket->count()), setup.bucket_bytes, 0.1 * setup.bucket_bytes);
  }
}

// A bucket of a burst or two drops whatever comes in a longer one, at nearly any rate.
TEST(Capacity, OfAPolicerWithATinyBucketIsRightOrNotTold) {
  for (const double mbps : {2.0, 10.0, 45.0}) {
    for (const double bucket_bytes : {4e3, 8e3, 16e3, 32e3}) {
      for (const int flows : {1, 3}) {
        TcpPathSetup setup = policer(mbps, 0.0, flows, 0.1);
        setup.bucket_bytes = bucket_bytes;
        setup.jitter_s = 0.0;
        const CapacityFinding f = finding_of(setup);
        const double told = f.rate ? f.rate->mbps() : mbps;
        EXPECT_NEAR(told, mbps, 0.1 * mbps) << name_of(setup);
      }
    }
  }
}

TEST(Capacity, OfABufferIsWhatPassesWhileTheQueueStands) {
  for (const double mbps : {2.0, 45.0}) {
    for (const int flows : {1, 8}) {
      TcpPathSetup setup = policer(mbps, 0.0, flows);
      setup.buffer_bytes = 0.1 * mbps * 1e6 / 8.0;
      SCOPED_TRACE(name_of(setup));
      const CapacityFinding f = finding_of(setup);
      EXPECT_EQ(f.mode, CapacityMode::buffer);
      ASSERT_TRUE(f.rate && f.depth && f.age);
      EXPECT_NEAR(f.rate->mbps(), mbps, 0.05 * mbps);
      EXPECT_NEAR(milliseconds(*f.depth), 100.0, 20.0);
      EXPECT_GE(*f.depth, f.queue);
    }
  }
}

// The invariant: never a number for loss that does not answer to the rate, whatever its pattern and the
// load's.
TEST(Capacity, OfRandomLossIsNeverANumber) {
  for (const double loss : {0.002, 0.01, 0.05, 0.3}) {
    for (const double burst : {1.0, 3.0, 20.0}) {
      for (const int flows : {1, 8}) {
        for (const double flow_mbps : {0.0, 2.0}) {
          TcpPathSetup setup{.loss = loss, .loss_burst = burst, .jitter_s = 0.002, .flows = flows};
          setup.flow_mbps = flow_mbps;
          setup.line_mbps = 200.0;
          setup.transfer_bytes = burst > 1.0 ? 3e5 : 0.0;
          setup.seconds = 30.0;
          for (setup.seed = 1; setup.seed <= 2; ++setup.seed) {
            const CapacityFinding f = finding_of(setup);
            EXPECT_FALSE(f.rate) << name_of(setup);
            EXPECT_NE(f.mode, CapacityMode::policer) << name_of(setup);
            EXPECT_NE(f.mode, CapacityMode::buffer) << name_of(setup);
          }
        }
      }
    }
  }
}

TEST(Capacity, OfShortOutagesIsNeverANumber) {
  for (const double outage_s : {0.003, 0.05, 0.25}) {
    for (const double every_s : {0.3, 1.0}) {
      for (const bool regular : {true, false}) {
        for (const int flows : {1, 8}) {
          TcpPathSetup setup{.jitter_s = 0.002, .flows = flows, .line_mbps = 200.0, .seconds = 30.0};
          setup.outage_s = outage_s;
          setup.outage_every_s = every_s;
          setup.regular = regular;
          const CapacityFinding f = finding_of(setup);
          EXPECT_FALSE(f.rate) << name_of(setup) << ", outages of " << outage_s << " s each " << every_s;
          EXPECT_NE(f.mode, CapacityMode::policer);
        }
      }
    }
  }
}

TEST(Capacity, CallsRandomLossByItsName) {
  TcpPathSetup setup{.loss = 0.01, .jitter_s = 0.002, .flows = 8};
  const CapacityFinding f = finding_of(setup);
  EXPECT_EQ(f.mode, CapacityMode::lossy);
  EXPECT_NEAR(f.loss, 0.01, 0.005);
}

TEST(Capacity, OfAPathThatItsSendersNeverFillIsNoNumber) {
  TcpPathSetup setup = policer(100.0, 0.1, 8);
  setup.flow_mbps = 2.0;
  CapacityFinding f = finding_of(setup);
  EXPECT_EQ(f.mode, CapacityMode::application_limited);
  EXPECT_FALSE(f.rate);
  setup.bucket_bytes = 0.0;
  setup.buffer_bytes = 1e6;
  f = finding_of(setup);
  EXPECT_EQ(f.mode, CapacityMode::application_limited);
  EXPECT_FALSE(f.rate);
}

TEST(Capacity, OfTooLittleTrafficIsUnknown) {
  EXPECT_EQ(CapacityObserver().finding(TimePoint()).mode, CapacityMode::unknown);
  TcpPathSetup setup = policer(100.0, 0.1, 1);
  setup.flow_mbps = 2.0;
  setup.seconds = 5.0;
  EXPECT_EQ(finding_of(setup).mode, CapacityMode::unknown);
}

TEST(Capacity, TicksWithCaptureLossAreNoEvidence) {
  CapacityObserver observer;
  TimePoint end;
  for (SiteMeasurement m : TcpPath(policer(10.0, 0.25, 8)).run()) {
    m.valid = false;
    end = m.at;
    observer.add(m);
  }
  EXPECT_EQ(observer.finding(end).busy_windows, 0U);
  EXPECT_EQ(observer.finding(end).mode, CapacityMode::unknown);
}

// Nothing can be said of how loss follows a load that never changes.
TEST(Capacity, OfLossUnderAConstantLoadIsUnknown) {
  CapacityObserver observer;
  TimePoint end;
  for (int i = 0; i < 300; ++i) {
    SiteMeasurement m;
    m.at = end += kCohortLength;
    m.interval = kCohortLength;
    m.delivered_bytes = Bytes(100'000);
    m.mature.emplace_back();
    m.mature[0].begin = m.at - kCohortLength;
    m.mature[0].segments = 100;
    m.mature[0].lost_beyond = i % 3 == 0 ? 1 : 0;
    observer.add(m);
  }
  EXPECT_EQ(observer.finding(end).mode, CapacityMode::unknown);
}

// Half of the record says 10, the other half 20: no one bucket explains both, until the old half is
// forgotten.
TEST(Capacity, OfAPolicerThatChangedIsTheNewOneOrNone) {
  CapacityObserver observer;
  TimePoint end;
  for (const SiteMeasurement& m : TcpPath(policer(10.0, 0.25, 8)).run()) {
    observer.add(m);
    end = m.at;
  }
  ASSERT_TRUE(observer.finding(end).rate);
  const Duration shift = end - TimePoint();
  TcpPathSetup setup = policer(20.0, 0.25, 8);
  setup.seconds = 180.0;
  int told = 0;
  int ticks = 0;
  for (SiteMeasurement m : TcpPath(setup).run()) {
    m.at += shift;
    for (Cohort& c : m.mature) c.begin += shift;
    observer.add(m);
    if (++ticks % 100 != 0) continue;
    const CapacityFinding f = observer.finding(m.at);
    if (!f.rate || ticks < 300) continue;
    EXPECT_NEAR(f.rate->mbps(), 20.0, 2.0) << ticks / 10 << " s after the change";
    ++told;
  }
  EXPECT_GE(told, 5);
}

}  // namespace
}  // namespace weir
