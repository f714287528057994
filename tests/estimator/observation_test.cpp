#include "estimator/observation.hpp"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

Cohort cohort(TimePoint begin, std::uint32_t segments, std::uint32_t lost) {
  Cohort c;
  c.begin = begin;
  c.segments = segments;
  c.lost_beyond = lost;
  return c;
}

/// Ticks of traffic at `offered` segments each through a path of `capacity` segments a tick.
class Path {
 public:
  explicit Path(std::uint32_t seed) : random_(seed) {}

  void policed(int ticks, std::uint32_t offered, std::uint32_t capacity) {
    for (int i = 0; i < ticks; ++i) tick(offered, std::min(offered, capacity), 1ms);
  }
  void randomly_lossy(int ticks, std::uint32_t offered, double p) {
    for (int i = 0; i < ticks; ++i) {
      tick(offered, offered - std::binomial_distribution<std::uint32_t>(offered, p)(random_), 1ms);
    }
  }
  void queued(int ticks, std::uint32_t capacity, Duration queue) {
    for (int i = 0; i < ticks; ++i) tick(capacity, capacity, queue);
  }
  void silent(int ticks) {
    for (int i = 0; i < ticks; ++i) tick(0, 0, 0ms);
  }
  CapacityObserver observer;

 private:
  void tick(std::uint32_t offered, std::uint32_t passed, Duration queue) {
    SiteMeasurement m;
    m.at = at_ms(100.0 * ++ticks_);
    m.interval = 100ms;
    m.delivered_bytes = Bytes(passed * 1250ULL);
    m.rtt = RttSummary{.base = 20ms, .p50 = 20ms, .p95 = 20ms, .samples = 100};
    if (offered > 0) {
      m.queue.emplace().q = queue;
      m.mature.push_back(cohort(m.at - 100ms, offered, offered - passed));
    }
    observer.add(m);
  }
  std::mt19937 random_;
  int ticks_ = 0;
};

TEST(Capacity, OfAPolicerIsWhatPassesWhileItDrops) {
  Path path(1);
  for (int i = 0; i < 20; ++i) {
    path.policed(10, 80, 100);
    path.policed(10, 120, 100);
  }
  const CapacityFinding f = path.observer.finding();
  EXPECT_EQ(f.mode, CapacityMode::policer);
  ASSERT_TRUE(f.rate);
  EXPECT_NEAR(f.rate->mbps(), 10.0, 0.1);  // 100 segments of 1250 bytes in 100 ms
  EXPECT_GE(f.windows, 30U);
}

TEST(Capacity, OfABufferIsWhatPassesWhileTheQueueStands) {
  Path path(1);
  for (int i = 0; i < 10; ++i) {
    path.policed(10, 40, 100);
    path.queued(20, 100, 60ms);
  }
  const CapacityFinding f = path.observer.finding();
  EXPECT_EQ(f.mode, CapacityMode::buffer);
  ASSERT_TRUE(f.rate);
  EXPECT_NEAR(f.rate->mbps(), 10.0, 0.1);
  EXPECT_EQ(f.queue, 60ms);
}

// The invariant: never a number for loss that does not answer to the rate, however steady the traffic.
TEST(Capacity, OfRandomLossIsNeverANumber) {
  int lossy = 0;
  for (std::uint32_t seed = 1; seed <= 200; ++seed) {
    Path path(seed);
    std::mt19937 random(seed);
    for (int i = 0; i < 40; ++i)
      path.randomly_lossy(10, 60 + static_cast<std::uint32_t>(random() % 80), 0.02);
    const CapacityFinding f = path.observer.finding();
    EXPECT_FALSE(f.rate) << "seed " << seed;
    EXPECT_TRUE(f.mode == CapacityMode::lossy || f.mode == CapacityMode::unknown) << "seed " << seed;
    if (f.mode == CapacityMode::lossy) ++lossy;
  }
  EXPECT_GE(lossy, 190);
}

TEST(Capacity, OfAPathThatWasNeverFullIsUnknown) {
  Path path(1);
  path.policed(200, 40, 100);
  EXPECT_EQ(path.observer.finding().mode, CapacityMode::unknown);
  EXPECT_FALSE(path.observer.finding().rate);
  path.silent(50);
  EXPECT_EQ(path.observer.finding().mode, CapacityMode::unknown);
  EXPECT_EQ(CapacityObserver().finding().mode, CapacityMode::unknown);
}

TEST(Capacity, TicksWithCaptureLossAreNoEvidence) {
  Path path(1);
  SiteMeasurement m;
  m.interval = 100ms;
  for (int i = 1; i <= 200; ++i) {
    m.at = at_ms(100.0 * i);
    m.valid = false;
    m.delivered_bytes = Bytes(125'000);
    m.mature = {cohort(m.at - 100ms, 100, 20)};
    path.observer.add(m);
  }
  EXPECT_EQ(path.observer.finding().busy_windows, 0U);
}

/// 300 rounds of four segments, each tenth loses one beyond the tap.
void feed(Observer& observer) {
  Wire wire;  // for its packets only
  const auto send = [&](double ms, const TcpSpec& s) {
    const Bytes8 bytes = ethernet_frame(s);
    observer.on_frame(as_frame(bytes, at_ms(ms), 14 + ip_length(s)));
  };
  double ms = 0.0;
  for (std::uint32_t round = 0; round < 300; ++round) {
    const std::uint32_t seq = round * 4000;
    if (round == 0) send(ms, wire.in(0));
    for (std::uint32_t i = 0; i < 4; ++i) send(ms + 0.1 * i, wire.out(seq + i * 1000, 1000));
    if (round % 10 == 9) {
      send(ms + 20.5, wire.in(seq, {{seq + 1000, seq + 4000}}));
      send(ms + 20.6, wire.out(seq, 1000));
      send(ms + 40.6, wire.in(seq + 4000));
    } else {
      send(ms + 20.3, wire.in(seq + 4000));
    }
    ms += 50.0;
  }
}

TEST(Observation, AnswersWhereItIsLostAndSaysNoMoreThanItKnows) {
  Observer observer(one_site(), "test.pcap");
  feed(observer);
  const Observation o = observer.finish();
  EXPECT_TRUE(o.sides_configured);
  ASSERT_EQ(o.directions.size(), 2U);
  const DirectionObservation& out = o.directions[0];
  EXPECT_EQ(out.segments.data, 1230U);
  EXPECT_EQ(out.loss.beyond_segments, 30U);
  EXPECT_EQ(out.loss.before_segments, 0U);
  EXPECT_NEAR(*out.loss.beyond, 30.0 / 1230.0, 1e-9);
  EXPECT_LT(*out.loss.low, *out.loss.beyond);
  EXPECT_GT(*out.loss.high, *out.loss.beyond);
  EXPECT_NEAR(milliseconds(out.rtt.p50), 20.0, 0.5);
  EXPECT_FALSE(out.rate_to_set()) << "loss that does not follow the load gives no rate";
  EXPECT_FALSE(o.directions[1].loss.beyond) << "no data, no ratio";

  const std::string page = to_text(o);
  EXPECT_NE(page.find("lost beyond the tap   30 of 1 230 segments, 2.44 %"), std::string::npos) << page;
  EXPECT_NE(page.find("none can be told"), std::string::npos) << page;
}

TEST(Observation, JsonHasWhatTheDocumentationPromises) {
  Observer observer(one_site(), "test.pcap");
  feed(observer);
  const boost::json::object json = to_json(observer.finish());
  EXPECT_EQ(json.at("version").as_int64(), 1);
  for (const char* key : {"packets", "tcp_packets", "seconds", "kernel_drops", "malformed"}) {
    EXPECT_TRUE(json.at("capture").as_object().contains(key)) << key;
  }
  const auto& out = json.at("directions").as_array().at(0).as_object();
  EXPECT_EQ(out.at("name").as_string(), "outbound");
  for (const char* key : {"data", "new", "retransmitted", "spurious", "hole_fill", "reordered", "probe",
                          "keepalive", "duplicate"}) {
    EXPECT_TRUE(out.at("segments").as_object().contains(key)) << key;
  }
  EXPECT_EQ(out.at("segments").as_object().at("retransmitted").to_number<int>(), 30);
  for (const char* key : {"min", "p50", "p95", "p99", "samples"}) {
    EXPECT_TRUE(out.at("rtt_ms").as_object().contains(key)) << key;
  }
  EXPECT_TRUE(out.at("loss").as_object().contains("beyond"));
  EXPECT_FALSE(out.at("capacity").as_object().contains("bps")) << "no number without evidence";
  EXPECT_TRUE(
      json.at("directions").as_array().at(1).as_object().at("loss").as_object().at("beyond").is_null());
}

TEST(Observation, OfNothingIsEmptyNotWrong) {
  Observer observer(EstimatorSettings{}, "empty.pcap");
  const Observation o = observer.finish();
  EXPECT_EQ(o.packets, 0U);
  EXPECT_FALSE(to_text(o).empty());
  EXPECT_FALSE(boost::json::serialize(to_json(o)).empty());
}

// A stamp a day ahead must not cost a day of ticks.
TEST(Observation, LongSilencesAreCrossedInOneStep) {
  Observer observer(one_site(), "gap.pcap");
  feed(observer);
  Wire wire;
  const Bytes8 bytes = ethernet_frame(wire.out(0, 10));
  for (int day = 1; day <= 2000; ++day) {
    observer.on_frame(as_frame(bytes, at_ms(86'400'000.0 * day), 100));
  }
  EXPECT_EQ(observer.finish().packets, 2000U + 1U + 1230U + 330U);
}

TEST(Observation, KernelDropsAreSaidAndVoidTheTick) {
  Observer observer(one_site(), "mon0");
  feed(observer);
  observer.on_kernel_drops(5);
  observer.on_time(at_ms(20'000));
  EXPECT_EQ(observer.summary().kernel_drops, 5U);
  EXPECT_NE(to_text(observer.summary()).find("The capture lost 5 frames"), std::string::npos);
}

TEST(LossShares, ACaptureThatSeesEverythingTwiceChangesThemNot) {
  const SegmentTotals once{.data = 1000, .fresh = 990, .retransmitted = 10};
  const SegmentTotals twice{.data = 2000, .fresh = 990, .retransmitted = 10, .duplicate = 1000};
  EXPECT_EQ(loss_of(Direction::outbound, once).beyond, loss_of(Direction::outbound, twice).beyond);
  EXPECT_EQ(loss_of(Direction::outbound, once).high, loss_of(Direction::outbound, twice).high);
}

// A first frame stamped 1970, then the traffic of today.
TEST(Observer, ABrokenFirstStampDoesNotStopTheClock) {
  Observer observer(one_site(), "test");
  const auto send = [&](double ms, const TcpSpec& s) {
    const Bytes8 bytes = ethernet_frame(s);
    observer.on_frame(as_frame(bytes, at_ms(ms), 14 + ip_length(s)));
  };
  Wire made;
  const double today = 1e12;
  send(0, made.out(0, 0));
  for (std::uint32_t i = 0; i < 40; ++i) {
    send(today + i * 100, made.out(2 * i * 1460, 1460));
    send(today + i * 100 + 0.1, made.out((2 * i + 1) * 1460, 1460));
    send(today + i * 100 + 20.1, made.in((2 * i + 2) * 1460));
  }
  const Observation o = observer.finish();
  EXPECT_GT(o.directions[0].rtt.samples, 30U);
  EXPECT_NEAR(milliseconds(o.directions[0].rtt.p50), 20.0, 1.0);
}

}  // namespace
}  // namespace weir
