#include "estimator/observation.hpp"

#include <algorithm>

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

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
