// From frames to what is told of which way waits: measurements, JSON, the page.
#include "estimator/queue_ways.hpp"

#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "estimator/observation.hpp"

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

/// A connection from our side to a far host 20 ms away, two segments every 5 ms, answered at once: the first
/// second without a queue, then with so much on either way.
struct Conversation {
  double forward_ms = 0.0;
  double reverse_ms = 0.0;
  bool timestamps = true;
  std::uint16_t our_port = 40000;

  template <typename Take>
  void run(double until_ms, Take&& take) const {
    Wire wire;                                               // for its packets only
    const std::uint32_t payload = timestamps ? 1448 : 1460;  // full ones: an ACK of two is not held back
    std::uint32_t seq = 0;
    struct Answer {
      double left = 0.0;
      double passes = 0.0;
      std::uint32_t ack = 0;
    };
    std::vector<Answer> answers;
    std::size_t answered = 0;
    const auto send = [&](double ms, TcpSpec s, bool ours) {
      s.timestamps = timestamps;
      (ours ? s.source_port : s.destination_port) = our_port;
      take(ms, s);
    };
    const auto answer_until = [&](double ms) {
      for (; answered < answers.size() && answers[answered].passes <= ms; ++answered) {
        const Answer& a = answers[answered];
        TcpSpec s = wire.in(a.ack);
        s.tsval = static_cast<std::uint32_t>(777'000 + std::floor(a.left));
        send(a.passes, s, false);
      }
    };
    send(0.0, wire.in(0), false);
    for (double ms = 1.0; ms < until_ms; ms += 5.013) {
      answer_until(ms);
      const double full = std::clamp((ms - 1000.0) / 100.0, 0.0, 1.0);
      for (int i = 0; i < 2; ++i) {
        TcpSpec s = wire.out(seq, payload);
        s.tsval = static_cast<std::uint32_t>(ms);
        send(ms + 0.01 * i, s, true);
        seq += payload;
      }
      const double left = ms + 10.0 + full * forward_ms;
      answers.push_back({left, left + 10.0 + full * reverse_ms, seq});
    }
    answer_until(until_ms);
  }
};

DirectionObservation outbound_of(const Conversation& conversation, Observer& observer) {
  conversation.run(5000.0, [&](double ms, const TcpSpec& s) {
    const Bytes8 bytes = ethernet_frame(s);
    observer.on_frame(as_frame(bytes, at_ms(ms), 14 + ip_length(s)));
  });
  return observer.finish().directions.at(0);
}

struct Case {
  Conversation conversation;
  const char* says;
};

TEST(QueueWays, TheWayThatWaitsIsTold) {
  const Case cases[] = {{{.forward_ms = 30.0}, "Which way waits?      the way out: "},
                        {{.reverse_ms = 30.0}, "Which way waits?      the way back: "},
                        {{.forward_ms = 25.0, .reverse_ms = 35.0}, "Which way waits?      both: "},
                        {{}, "Which way waits?      neither: "}};
  for (const Case& c : cases) {
    Observer observer(one_site(), "test.pcap");
    const DirectionObservation out = outbound_of(c.conversation, observer);
    EXPECT_GT(out.queue.share(), 0.7) << c.says;
    EXPECT_NEAR(milliseconds(out.queue.forward_p95), c.conversation.forward_ms, 1.5) << c.says;
    EXPECT_NEAR(milliseconds(out.queue.reverse_p95), c.conversation.reverse_ms, 1.5) << c.says;
    EXPECT_LT(out.queue.within, 4ms) << c.says;
    EXPECT_EQ(out.queue.asked, out.rtt.samples) << "few enough that all are asked";
    ASSERT_EQ(out.dscps.size(), 1U);
    EXPECT_EQ(out.dscps[0].queue.samples, out.queue.samples);
    const std::string page = to_text(observer.summary());
    EXPECT_NE(page.find(c.says), std::string::npos) << page;
  }
}

TEST(QueueWays, JsonHasWhatTheDocumentationPromises) {
  Observer observer(one_site(), "test.pcap");
  outbound_of({.forward_ms = 30.0}, observer);
  const boost::json::object json = to_json(observer.summary());
  for (const auto* directions :
       {&json.at("directions"), &json.at("sites").as_array().at(0).as_object().at("directions")}) {
    const auto& out = directions->as_array().at(0).as_object();
    const auto& queue = out.at("queue_ms").as_object();
    EXPECT_GT(queue.at("samples").to_number<int>(), 300);
    EXPECT_GT(queue.at("share").as_double(), 0.7);
    EXPECT_GT(queue.at("within").as_double(), 0.0);
    EXPECT_NEAR(queue.at("forward").as_object().at("p50").as_double(), 30.0, 1.5);
    EXPECT_NEAR(queue.at("forward").as_object().at("p95").as_double(), 30.0, 1.5);
    EXPECT_NEAR(queue.at("reverse").as_object().at("p95").as_double(), 0.0, 1.5);
    EXPECT_TRUE(out.at("dscp").as_array().at(0).as_object().at("queue_ms").as_object().contains("forward"));
    const auto& in = directions->as_array().at(1).as_object().at("queue_ms").as_object();
    EXPECT_EQ(in.at("samples").to_number<int>(), 0);
    EXPECT_FALSE(in.contains("share")) << "nothing was asked";
  }
}

TEST(QueueWays, WithoutTimestampsNothingIsTold) {
  Observer observer(one_site(), "test.pcap");
  const DirectionObservation out = outbound_of({.forward_ms = 30.0, .timestamps = false}, observer);
  EXPECT_GT(out.rtt.samples, 500U);
  EXPECT_EQ(out.queue.asked, out.rtt.samples);
  EXPECT_EQ(out.queue.samples, 0U);
  EXPECT_NE(to_text(observer.summary()).find("Which way waits?      cannot be told"), std::string::npos);
  const boost::json::object json = to_json(observer.summary());
  const auto& queue = json.at("directions").as_array().at(0).as_object().at("queue_ms").as_object();
  EXPECT_EQ(queue.at("share").to_number<double>(), 0.0);
  EXPECT_FALSE(queue.contains("forward"));
}

// Half of the connections have timestamps: half of the samples tell.
TEST(QueueWays, TheShareIsThatOfAllSamples) {
  Observer observer(one_site(), "test.pcap");
  std::vector<std::pair<double, TcpSpec>> frames;
  const auto keep = [&](double ms, const TcpSpec& s) { frames.emplace_back(ms, s); };
  Conversation{.forward_ms = 20.0}.run(10'000.0, keep);
  Conversation{.forward_ms = 20.0, .timestamps = false, .our_port = 40001}.run(10'000.0, keep);
  std::stable_sort(frames.begin(), frames.end(), [](auto& a, auto& b) { return a.first < b.first; });
  for (const auto& [ms, s] : frames) {
    const Bytes8 bytes = ethernet_frame(s);
    observer.on_frame(as_frame(bytes, at_ms(ms), 14 + ip_length(s)));
  }
  const QueueTotals queue = observer.finish().directions.at(0).queue;
  EXPECT_NEAR(queue.share(), 0.46, 0.04);
}

TEST(QueueWays, EachTickTellsTheWaysOfASite) {
  Wire wire;
  std::size_t told = 0;
  double next_tick = 100.0;
  Conversation{.forward_ms = 12.0, .reverse_ms = 24.0}.run(5000.0, [&](double ms, const TcpSpec& s) {
    for (; next_tick <= ms; next_tick += 100.0) {
      const SiteMeasurement site = wire.tick(next_tick).outbound.at(0);
      if (next_tick < 2000.0) continue;
      ASSERT_TRUE(site.queue_by_way) << next_tick;
      ++told;
      EXPECT_NEAR(milliseconds(site.queue_by_way->forward), 12.0, 1.5);
      EXPECT_NEAR(milliseconds(site.queue_by_way->reverse), 24.0, 1.5);
      EXPECT_LT(site.queue_by_way->within, 4ms);
      EXPECT_GE(site.queue_by_way->samples, 8U);
      EXPECT_NEAR(milliseconds(site.queue->q), 36.0, 0.5);
    }
    wire.send(ms, s);
  });
  EXPECT_GT(told, 25U);
}

TEST(QueueWays, ATickWithoutSamplesTellsNothing) {
  QueueWays ways;
  const QueueSplit split{.forward = 3ms, .reverse = 5ms, .within = 1ms};
  for (int i = 0; i < 30; ++i) ways.add(at_ms(10.0 + i), split, Bytes(1000));
  const auto first = ways.close_tick(at_ms(100));
  ASSERT_TRUE(first);
  EXPECT_EQ(*first, (QueueByWay{.forward = 3ms, .reverse = 5ms, .within = 1ms, .samples = 30}));
  EXPECT_FALSE(ways.close_tick(at_ms(200)));
  for (int i = 0; i < 3; ++i) ways.add(at_ms(210.0 + i), split, Bytes(1000));
  EXPECT_EQ(ways.close_tick(at_ms(300))->samples, 8U) << "with those of the last half second";
  for (int i = 0; i < 3; ++i) ways.add(at_ms(910.0 + i), split, Bytes(1000));
  EXPECT_FALSE(ways.close_tick(at_ms(1000))) << "three are too few";
}

// However many pass, about as many are asked; when they get fewer, all are again.
TEST(QueueWays, NoMoreAreAskedThanTell) {
  QueueWays ways;
  std::uint32_t asked = 0;
  for (int tick = 0; tick < 20; ++tick) {
    asked = 0;
    for (int i = 0; i < 40'000; ++i) asked += ways.asks_next() ? 1U : 0U;
    static_cast<void>(ways.close_tick(at_ms(100.0 * tick)));
  }
  EXPECT_GT(asked, 150U);
  EXPECT_LE(asked, 1024U);
  for (int tick = 20; tick < 40; ++tick) {
    asked = 0;
    for (int i = 0; i < 80; ++i) asked += ways.asks_next() ? 1U : 0U;
    static_cast<void>(ways.close_tick(at_ms(100.0 * tick)));
  }
  EXPECT_EQ(asked, 80U);
}

// As many samples a tick as are asked at most are kept for half a second: each tick has its answer.
TEST(QueueWays, EveryTickOfABusyPathTells) {
  for (const int a_tick : {1000, 9000}) {
    QueueWays ways;
    for (int tick = 1; tick < 30; ++tick) {
      for (int i = 0; i < a_tick; ++i) {
        if (ways.asks_next()) ways.add(at_ms(100.0 * tick - 50), QueueSplit{}, Bytes(1500));
      }
      const auto told = ways.close_tick(at_ms(100.0 * tick));
      ASSERT_TRUE(told) << a_tick << ", tick " << tick;
      EXPECT_GE(told->samples, 100U) << a_tick << ", tick " << tick;
    }
  }
}

}  // namespace
}  // namespace weir
