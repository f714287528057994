// What `weir observe` says by site and by DSCP, and when only one direction is visible.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "estimator/observation.hpp"

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

constexpr std::uint8_t kEf = 46;
constexpr std::uint8_t kDefault = 0;

EstimatorSettings three_sites() {
  EstimatorSettings settings;
  settings.sites = {{prefix("10.20.0.0/16")}, {prefix("10.30.0.0/16")}, {prefix("10.40.0.0/16")}};
  settings.inside = {prefix("10.1.0.0/16")};
  return settings;
}

/// Frames of several connections, put in order of time before an observer sees them.
class Tape {
 public:
  void add(double ms, const TcpSpec& s) {
    frames_.push_back({.ms = ms, .bytes = ethernet_frame(s), .length = 14 + ip_length(s)});
  }
  Observation play(EstimatorSettings settings, std::vector<std::string> names = {}) {
    Observer observer(std::move(settings), "test.pcap", std::move(names));
    play(observer);
    return observer.finish();
  }
  void play(Observer& observer) {
    std::stable_sort(frames_.begin(), frames_.end(),
                     [](const auto& a, const auto& b) { return a.ms < b.ms; });
    for (const Recorded& f : frames_) observer.on_frame(as_frame(f.bytes, at_ms(f.ms), f.length));
  }

 private:
  struct Recorded {
    double ms = 0.0;
    Bytes8 bytes;
    std::uint32_t length = 0;
  };
  std::vector<Recorded> frames_;
};

/// A connection from 10.1.0.1 to some far host.
class Connection {
 public:
  Connection(Tape& tape, std::string_view far, std::uint8_t dscp, std::uint16_t port = 40000)
      : tape_(tape), far_(address(far)), dscp_(dscp), port_(port) {}

  void out(double ms, std::uint32_t seq, std::uint32_t payload = 1000, unsigned flags = kTcpAck) {
    tape_.add(ms, {.source = address("10.1.0.1"),
                   .destination = far_,
                   .source_port = port_,
                   .seq = seq,
                   .flags = flags,
                   .payload = payload,
                   .traffic_class = static_cast<unsigned>(dscp_) << 2U,
                   .ip_id = next_id_++});
  }
  void ack(double ms, std::uint32_t number, std::vector<SequenceRange> sack = {}) {
    tape_.add(ms, {.source = far_,
                   .destination = address("10.1.0.1"),
                   .source_port = 5001,
                   .destination_port = port_,
                   .ack = number,
                   .ip_id = next_id_++,
                   .sack = std::move(sack)});
  }
  /// An RTT of 20 ms; the first segment gets lost beyond the tap, or none.
  void round(double ms, bool lossy, std::uint32_t segments = 8) {
    const std::uint32_t seq = next_seq_;
    next_seq_ += segments * 1000;
    for (std::uint32_t i = 0; i < segments; ++i) out(ms + 0.1 * i, seq + i * 1000);
    const double answered = ms + 19.9 + 0.1 * segments;
    if (lossy) {
      ack(answered, seq, {{seq + 1000, next_seq_}});
      out(answered + 0.1, seq);
      ack(answered + 20.1, next_seq_);
    } else {
      ack(answered, next_seq_);
    }
  }
  /// An acknowledgment before all data: the tap sees both directions.
  void greet(double ms) { ack(ms, 0); }

 private:
  Tape& tape_;
  IpAddress far_;
  std::uint8_t dscp_;
  std::uint16_t port_;
  std::uint32_t next_seq_ = 0;
  std::uint16_t next_id_ = 1;
};

/// Of each sender in a round of traffic(): a load that changes, and has nothing to do with the loss.
std::uint32_t segments_in(int round) {
  return 4 + static_cast<std::uint32_t>(round * 7 % 9);
}

/// 30 s: two sites are sent EF and default traffic, and `lossy(branch, ef, round)` says who loses.
template <typename Lossy>
Observation traffic(Lossy lossy, EstimatorSettings settings = three_sites()) {
  Tape tape;
  struct Sender {
    Connection connection;
    bool branch;
    bool ef;
  };
  std::vector<Sender> senders = {{Connection(tape, "10.20.0.1", kEf, 1), true, true},
                                 {Connection(tape, "10.20.0.2", kDefault, 2), true, false},
                                 {Connection(tape, "10.30.0.1", kEf, 3), false, true},
                                 {Connection(tape, "10.30.0.2", kDefault, 4), false, false}};
  for (Sender& s : senders) s.connection.greet(0);
  for (int i = 0; i < 300; ++i) {
    for (Sender& s : senders) s.connection.round(100.0 * i + 5, lossy(s.branch, s.ef, i), segments_in(i));
  }
  return tape.play(std::move(settings), {"branch", "plant", "depot"});
}

TEST(ObservationSites, EachHasItsOwnSums) {
  const Observation o = traffic([](bool branch, bool ef, int) { return branch && !ef; });
  ASSERT_EQ(o.sites.size(), 2U) << "depot and elsewhere are silent";
  EXPECT_EQ(o.sites[0].name, "branch");
  EXPECT_EQ(o.sites[1].name, "plant");
  const DirectionObservation& branch = o.sites[0].directions[0];
  const DirectionObservation& plant = o.sites[1].directions[0];
  std::uint32_t sent = 0;
  for (int i = 0; i < 300; ++i) sent += 2 * segments_in(i);
  EXPECT_EQ(branch.segments.data, sent + 300U);
  EXPECT_EQ(branch.loss.beyond_segments, 300U);
  EXPECT_EQ(plant.segments.data, sent);
  EXPECT_EQ(plant.loss.beyond_segments, 0U);
  EXPECT_NEAR(milliseconds(branch.rtt.p50), 20.0, 0.7);
  EXPECT_EQ(o.directions[0].loss.beyond_segments, 300U);
  EXPECT_GT(branch.sent, Bytes());
  EXPECT_EQ(branch.sent + plant.sent, o.directions[0].sent);
}

TEST(ObservationSites, LossIsChargedToTheMarkOfItsFlow) {
  const Observation o = traffic([](bool branch, bool ef, int) { return branch && !ef; });
  for (const DirectionObservation* d : {&o.directions[0], &o.sites[0].directions[0]}) {
    ASSERT_EQ(d->dscps.size(), 2U);
    EXPECT_EQ(d->dscps[0].dscp, kDefault);
    EXPECT_EQ(d->dscps[0].loss.beyond_segments, 300U);
    EXPECT_EQ(d->dscps[0].segments.fast, 300U);
    EXPECT_EQ(d->dscps[1].dscp, kEf);
    EXPECT_EQ(d->dscps[1].loss.beyond_segments, 0U);
    EXPECT_GT(d->dscps[1].rtt.samples, 100U);
  }
}

TEST(ObservationSites, SaysWhetherTheProviderHonoursDscp) {
  const Observation honoured =
      traffic([](bool branch, bool ef, int i) { return branch && !ef && i % 2 == 0; });
  ASSERT_TRUE(honoured.sites[0].directions[0].dscp_honoured);
  EXPECT_EQ(honoured.sites[0].directions[0].dscp_honoured->verdict, DscpVerdict::honoured);
  ASSERT_TRUE(honoured.sites[1].directions[0].dscp_honoured);
  EXPECT_EQ(honoured.sites[1].directions[0].dscp_honoured->verdict, DscpVerdict::unknown) << "no loss there";
  EXPECT_FALSE(honoured.sites[0].directions[1].dscp_honoured) << "what comes in was marked by others";
  EXPECT_FALSE(honoured.directions[0].dscp_honoured) << "several paths are no one path";

  std::mt19937 chance(1);
  const Observation random = traffic([&](bool, bool, int) { return chance() % 3 == 0; });
  EXPECT_EQ(random.sites[0].directions[0].dscp_honoured->verdict, DscpVerdict::unknown);

  EstimatorSettings no_sites;
  no_sites.inside = {prefix("10.1.0.0/16")};
  const Observation whole = traffic([](bool, bool ef, int) { return !ef; }, no_sites);
  EXPECT_TRUE(whole.sites.empty());
  ASSERT_TRUE(whole.directions[0].dscp_honoured);
  EXPECT_EQ(whole.directions[0].dscp_honoured->verdict, DscpVerdict::honoured);
}

// More code points than sums: the rest are together, and nothing is lost from the whole.
TEST(ObservationSites, ManyMarksAreBounded) {
  Tape tape;
  for (std::uint8_t dscp = 0; dscp < 64; ++dscp) {
    Connection c(tape, "10.20.0.1", dscp, static_cast<std::uint16_t>(1000 + dscp));
    c.greet(100.0 * dscp);
    c.round(100.0 * dscp + 1, true);
  }
  const Observation o = tape.play(three_sites());
  const DirectionObservation& branch = o.sites[0].directions[0];
  EXPECT_EQ(branch.dscps.size(), 17U);
  EXPECT_FALSE(branch.dscps.back().dscp);
  EXPECT_EQ(branch.dscps.back().loss.beyond_segments, 48U);
  EXPECT_EQ(branch.segments, o.directions[0].segments);
  EXPECT_EQ(o.sites[0].name, "site 0") << "no names were given";
  const auto json = to_json(o).at("sites").at(0).at("directions").at(0).at("dscp").as_array();
  EXPECT_EQ(json.back().at("dscp").as_string(), "rest");
  EXPECT_EQ(json.at(3).at("dscp").to_number<int>(), 3) << "a number where there is no name";
}

TEST(ObservationSites, JsonAndPageTellThemApart) {
  const Observation o = traffic([](bool branch, bool ef, int) { return branch && !ef; });
  const boost::json::object json = to_json(o);
  const auto& sites = json.at("sites").as_array();
  ASSERT_EQ(sites.size(), 2U);
  EXPECT_EQ(sites[0].at("name").as_string(), "branch");
  const auto& out = sites[0].at("directions").at(0).as_object();
  EXPECT_EQ(out.at("name").as_string(), "outbound");
  for (const char* key : {"segments", "loss", "rtt_ms", "capacity", "dscp", "dscp_honoured"}) {
    EXPECT_TRUE(out.contains(key)) << key;
  }
  const auto& dscp = out.at("dscp").as_array();
  EXPECT_EQ(dscp.at(0).at("dscp").as_string(), "default");
  EXPECT_EQ(dscp.at(1).at("dscp").as_string(), "ef");
  for (const char* key : {"segments", "loss", "rtt_ms"}) EXPECT_TRUE(dscp.at(0).as_object().contains(key));
  const auto& honoured = out.at("dscp_honoured").as_object();
  EXPECT_EQ(honoured.at("verdict").as_string(), "honoured");
  EXPECT_GE(honoured.at("confidence").as_double(), 0.99);
  EXPECT_EQ(honoured.at("favoured").as_string(), "ef");
  EXPECT_GT(honoured.at("windows").to_number<int>(), 0);

  const std::string page = to_text(o);
  EXPECT_NE(page.find("SITE branch\n"), std::string::npos) << page;
  EXPECT_NE(page.find("SITE plant\n"), std::string::npos);
  EXPECT_EQ(page.find("SITE depot"), std::string::npos);
  EXPECT_NE(page.find("Is DSCP honoured?     yes"), std::string::npos) << page;
  EXPECT_NE(page.find("DSCP ef "), std::string::npos) << page;
}

TEST(ObservationSites, PagesAskForTheCapacitiesOfManySitesInTurn) {
  Tape tape;
  EstimatorSettings settings;
  settings.inside = {prefix("10.1.0.0/16")};
  for (int site = 0; site < 10; ++site) {
    const std::string network = "10.2" + std::to_string(site) + ".0.";
    settings.sites.push_back({prefix(network + "0/24")});
    Connection connection(tape, network + "1", kDefault, static_cast<std::uint16_t>(40000 + site));
    for (int i = 0; i < 20; ++i) connection.round(i * 100.0, false);
  }
  Observer observer(std::move(settings), "mon0");
  tape.play(observer);
  const auto told = [&] {
    std::size_t count = 0;
    for (const SiteObservation& site : observer.summary().sites) {
      for (const DirectionObservation& d : site.directions) count += d.capacity ? 1U : 0U;
    }
    return count;
  };
  const std::size_t first = told();
  EXPECT_LT(first, 10U);
  std::size_t last = first;
  for (int page = 0; page < 10; ++page) last = told();
  EXPECT_EQ(last, 20U) << "of both directions of ten sites";
  EXPECT_EQ(observer.finish().sites.size(), 10U);
}

// Sites are as many paths: all of them together carry nothing that could be told, unless one is nearly all.
TEST(ObservationSites, TheCapacityOfAllIsThatOfTheSiteThatNearlyAllGoesTo) {
  for (const std::uint32_t others : {1U, 6U}) {
    Tape tape;
    Connection branch(tape, "10.20.0.9", kDefault);
    Connection plant(tape, "10.30.0.9", kDefault, 40001);
    for (int i = 0; i < 40; ++i) {
      branch.round(i * 100.0, false, 20);
      plant.round(i * 100.0 + 50, false, others);
    }
    const Observation o = tape.play(three_sites(), {"branch", "plant", "depot"});
    ASSERT_EQ(o.sites.size(), 2U);
    const auto& all = o.directions[0].capacity;
    const auto& main = o.sites[0].directions[0].capacity;
    ASSERT_TRUE(main);
    EXPECT_EQ(all.has_value(), others == 1);
    if (all) {
      EXPECT_EQ(all->mode, main->mode);
      EXPECT_EQ(all->busy_windows, main->busy_windows);
    }
  }
}

TEST(ObservationSites, NoPolicyNoSites) {
  EstimatorSettings settings;
  settings.inside = {prefix("10.1.0.0/16")};
  Tape tape;
  Connection(tape, "10.20.0.1", kEf).out(0, 0);
  const boost::json::object json = to_json(tape.play(settings));
  EXPECT_FALSE(json.contains("sites"));
  EXPECT_FALSE(json.contains("flows"));
  EXPECT_FALSE(json.at("directions").at(0).as_object().contains("dscp_honoured")) << "only one mark";
}

TEST(Observation, RetransmissionDelaysShowTheTimeouts) {
  Tape tape;
  Connection c(tape, "10.20.0.1", kDefault);
  c.greet(0);
  for (std::uint32_t i = 0; i < 20; ++i) c.round(100.0 * i + 1, true);
  for (std::uint32_t i = 0; i < 5; ++i) {
    c.out(3000 + 1000.0 * i, 160'000 + i * 1000);
    c.out(3000 + 1000.0 * i + 222, 160'000 + i * 1000);
    c.ack(3000 + 1000.0 * i + 242, 160'000 + (i + 1) * 1000);
  }
  const Observation o = tape.play(three_sites());
  const auto out = to_json(o).at("directions").at(0).as_object();
  EXPECT_EQ(out.at("segments").at("fast").to_number<int>(), 20);
  EXPECT_EQ(out.at("segments").at("timeout").to_number<int>(), 5);
  const auto& delay = out.at("retransmission_delay_ms").as_object();
  EXPECT_EQ(delay.at("samples").to_number<int>(), 25);
  EXPECT_NEAR(delay.at("min").as_double(), 20.8, 0.01);
  EXPECT_NEAR(delay.at("p99").as_double(), 222.0, 6.0);
  int timeouts = 0;
  int all = 0;
  for (const auto& bin : delay.at("histogram").as_array()) {
    const int count = bin.at("count").to_number<int>();
    all += count;
    if (bin.at("le_ms").as_double() > 200.0) timeouts += count;
  }
  EXPECT_EQ(all, 25);
  EXPECT_EQ(timeouts, 5);
  EXPECT_NE(to_text(o).find("(20 fast, 5 by timeout)"), std::string::npos) << to_text(o);
}

TEST(Observation, FlowsAreListedOnceAskedFor) {
  EstimatorSettings settings = three_sites();
  settings.keep_flows = 2;
  Tape tape;
  for (std::uint16_t port = 1; port <= 5; ++port) {
    Connection c(tape, "10.20.0.1", kEf, port);
    c.greet(1000.0 * port);
    for (int i = 0; i < port; ++i) c.round(1000.0 * port + 100.0 * i + 1, true);
  }
  const Observation o = tape.play(settings, {"branch", "plant", "depot"});
  const boost::json::object json = to_json(o);
  EXPECT_EQ(json.at("flows_omitted").to_number<int>(), 3);
  const auto& flows = json.at("flows").as_array();
  ASSERT_EQ(flows.size(), 2U);
  const auto& flow = flows.at(0).as_object();
  EXPECT_EQ(flow.at("inside").as_string(), "10.1.0.1");
  EXPECT_EQ(flow.at("inside_port").to_number<int>(), 5);
  EXPECT_EQ(flow.at("far").as_string(), "10.20.0.1");
  EXPECT_EQ(flow.at("far_port").to_number<int>(), 5001);
  EXPECT_EQ(flow.at("site").as_string(), "branch");
  EXPECT_EQ(flow.at("state").as_string(), "open");
  EXPECT_NEAR(flow.at("start_s").as_double(), 4.0, 1e-6) << "since the first frame";
  EXPECT_NEAR(flow.at("duration_s").as_double(), 0.4418, 1e-6);
  const auto& out = flow.at("outbound").as_object();
  EXPECT_EQ(out.at("dscp").as_string(), "ef");
  EXPECT_EQ(out.at("segments").to_number<int>(), 45);
  EXPECT_EQ(out.at("retransmitted").to_number<int>(), 5);
  EXPECT_NEAR(out.at("rtt_ms").at("min").as_double(), 20.0, 0.1);
  EXPECT_FALSE(flow.at("inbound").as_object().contains("rtt_ms"));
  const std::string page = to_text(o);
  EXPECT_NE(page.find("FLOWS, the largest first: 2 shown, 3 more"), std::string::npos) << page;
  EXPECT_NE(page.find("10.1.0.1:5 "), std::string::npos) << page;
}

// -- one direction --

TEST(OneDirectional, IsSaidWhenDataShowNoAcknowledgment) {
  Tape tape;
  Connection c(tape, "10.20.0.1", kDefault);
  for (std::uint32_t i = 0; i < 1200; ++i) c.out(i, i * 1000);
  c.out(1300, 1'100'000);  // sent again: lost, or for nothing? Nobody can tell.
  const Observation o = tape.play(three_sites());
  EXPECT_TRUE(o.one_directional);
  const auto capture = to_json(o).at("capture").as_object();
  EXPECT_TRUE(capture.at("one_directional").as_bool());
  EXPECT_FALSE(capture.at("voids").as_array().empty());
  EXPECT_NE(to_text(o).find("Only one direction is visible"), std::string::npos) << to_text(o);
  EXPECT_FALSE(o.directions[0].rate_to_set());
  EXPECT_EQ(o.directions[0].rtt.samples, 0U);
}

TEST(OneDirectional, IsSaidOfAcknowledgmentsAlone) {
  Tape tape;
  Connection c(tape, "10.20.0.1", kDefault);
  for (std::uint32_t i = 0; i < 1200; ++i) c.ack(i, i * 1000);
  EXPECT_TRUE(tape.play(three_sites()).one_directional);
}

TEST(OneDirectional, IsNotSaidTooEarlyNorOfAUsualCapture) {
  Tape tape;
  Connection short_lived(tape, "10.20.0.1", kDefault);
  for (std::uint32_t i = 0; i < 900; ++i) short_lived.out(i, i * 1000);
  EXPECT_FALSE(tape.play(three_sites()).one_directional);

  const Observation usual = traffic([](bool, bool, int) { return false; });
  EXPECT_FALSE(usual.one_directional);
  EXPECT_FALSE(to_json(usual).at("capture").as_object().contains("voids"));
}

TEST(OneDirectional, IsNotSaidOfAFloodOfSyns) {
  Tape tape;
  for (std::uint16_t port = 1; port < 5000; ++port) {
    Connection(tape, "10.20.0.1", kDefault, port).out(port, 0, 0, kTcpSyn);
  }
  EXPECT_FALSE(tape.play(three_sites()).one_directional);
}

TEST(OneDirectional, IsNotSaidOfAFloodThatNobodyAnswers) {
  Tape tape;
  Connection seen_whole(tape, "10.20.0.1", kDefault);
  for (std::uint32_t i = 0; i < 1200; ++i) {
    seen_whole.out(i, i * 1000);
    seen_whole.ack(i + 0.5, (i + 1) * 1000);
  }
  for (std::uint16_t port = 1; port < 60'000; ++port) {
    Connection(tape, "10.20.0.1", kDefault, port).out(port * 0.01, 0, 0, kTcpAck);
  }
  EXPECT_FALSE(tape.play(three_sites()).one_directional);
}

// -- optional members --

TEST(ObservationJson, CapacityHasBucketDepthAndAgeWhenTheyAreKnown) {
  Observation o;
  DirectionObservation d;
  d.capacity.emplace();
  d.capacity->mode = CapacityMode::policer;
  d.capacity->rate = Rate::mbps(10);
  o.directions = {d};
  auto capacity = to_json(o).at("directions").at(0).at("capacity").as_object();
  EXPECT_FALSE(capacity.contains("bucket_bytes"));
  EXPECT_FALSE(capacity.contains("age_s"));
  o.directions[0].capacity->bucket = Bytes(100'000);
  o.directions[0].capacity->age = 1500ms;
  capacity = to_json(o).at("directions").at(0).at("capacity").as_object();
  EXPECT_EQ(capacity.at("bucket_bytes").to_number<int>(), 100'000);
  EXPECT_EQ(capacity.at("age_s").as_double(), 1.5);
  EXPECT_FALSE(capacity.contains("buffer_ms"));
  o.directions[0].capacity->depth = 250ms;
  capacity = to_json(o).at("directions").at(0).at("capacity").as_object();
  EXPECT_EQ(capacity.at("buffer_ms").as_double(), 250.0);
}

TEST(ObservationJson, ApplicationLimitedHasANameAndNoNumber) {
  Observation o;
  DirectionObservation d;
  d.capacity.emplace().mode = CapacityMode::application_limited;
  o.directions = {d};
  const auto capacity = to_json(o).at("directions").at(0).at("capacity").as_object();
  EXPECT_EQ(capacity.at("mode").as_string(), "application-limited");
  EXPECT_FALSE(capacity.contains("bps"));
}

}  // namespace
}  // namespace weir
