// The live tap on a veth pair in a network namespace of this test's own (it ends with the thread that made
// it).
#include <cstdlib>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "estimator/capture.hpp"

#include "injector.hpp"
#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

/// Frames until `wanted` came or two seconds are over.
std::vector<PacketRecord> collect(LiveCapture& capture, std::size_t wanted) {
  std::vector<PacketRecord> records;
  const TimePoint end = monotonic_now() + 2s;
  while (records.size() < wanted && monotonic_now() < end) {
    pollfd waiting{.fd = capture.descriptor(), .events = POLLIN, .revents = 0};
    poll(&waiting, 1, 100);
    capture.dispatch(1000, [&](const Frame& frame) {
      PacketRecord record;
      if (parse_frame(frame, record) == ParseOutcome::tcp) records.push_back(record);
    });
  }
  return records;
}

class LiveCaptureTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, for a network namespace of its own";
  }
};

Bytes8 tagged(const TcpSpec& s, const char* tags) {
  Bytes8 frame = from_hex("020200020200 020000000001");
  put_all(frame, from_hex(tags));
  put_all(frame, from_hex("0800"));
  put_all(frame, ip_packet(s));
  return frame;
}

// On egress the tag stands in the frame, on ingress the kernel has moved it into the metadata: both must pass
// the filter and be read.
TEST_F(LiveCaptureTest, TheDefaultFilterPassesTaggedFramesWhereverTheTagIs) {
  in_namespace([] {
    LiveCapture leaving("v0", LiveCapture::Options{});
    LiveCapture arriving("v1", LiveCapture::Options{});
    Injector injector("v0");
    injector.send(ethernet_frame({.seq = 1}));
    injector.send(tagged({.seq = 2}, "8100 0007"));
    injector.send(tagged({.seq = 3}, "88a8 0064 8100 0007"));
    for (LiveCapture* capture : {&leaving, &arriving}) {
      const std::vector<PacketRecord> records = collect(*capture, 3);
      ASSERT_EQ(records.size(), 3U) << (capture == &leaving ? "leaving" : "arriving");
      for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(records[i].sequence, i + 1);
    }
  });
}

TEST_F(LiveCaptureTest, TheNarrowFilterPassesOneTagAsWell) {
  in_namespace([] {
    const LiveCapture::Options narrow{.filter = "tcp or (vlan and tcp)"};
    LiveCapture leaving("v0", narrow);
    LiveCapture arriving("v1", narrow);
    Injector injector("v0");
    injector.send(ethernet_frame({.seq = 1}));
    injector.send(tagged({.seq = 2}, "8100 0007"));
    EXPECT_EQ(collect(leaving, 2).size(), 2U);
    EXPECT_EQ(collect(arriving, 2).size(), 2U);
  });
}

// Two tags, VXLAN over IPv6, IPv6, and as many TCP options as there can be.
TEST_F(LiveCaptureTest, TheDefaultSnapLengthKeepsSackOptionsInsideATunnel) {
  in_namespace([] {
    LiveCapture capture("v0", LiveCapture::Options{});
    Injector injector("v0");
    const TcpSpec s{.source = address("2001:db8::1"),
                    .destination = address("2001:db8::2"),
                    .payload = 1000,
                    .sack = {{1, 2}, {3, 4}, {5, 6}},
                    .timestamps = true};
    const OuterSpec outer{.source = address("2001:db8:f::1"), .destination = address("2001:db8:f::9")};
    const Packet inner = in_ip(outer, 17, in_vxlan(behind_ethernet(0x86dd, tcp_packet(s))));
    injector.send(behind("020200020200 020000000001 88a8 0064 8100 0007 86dd", inner).bytes);
    const std::vector<PacketRecord> records = collect(capture, 1);
    ASSERT_EQ(records.size(), 1U);
    EXPECT_EQ(records[0].source, s.source);
    EXPECT_EQ(records[0].sack_count, 3);
    EXPECT_EQ(records[0].sack[2], (SequenceRange{5, 6}));
  });
}

TEST_F(LiveCaptureTest, FramesComeSoonAndOnTheMonotonicClock) {
  in_namespace([] {
    LiveCapture capture("v0", LiveCapture::Options{.filter = "tcp"});  // not the kernel's own IPv6 chatter
    Injector injector("v0");
    const TimePoint before = monotonic_now();
    injector.send(ethernet_frame({.seq = 1}));
    const TimePoint after = monotonic_now();
    const std::vector<PacketRecord> records = collect(capture, 1);
    ASSERT_EQ(records.size(), 1U);
    EXPECT_GE(records[0].time, before - 1ms);
    EXPECT_LE(records[0].time, after + 1ms);
    EXPECT_EQ(capture.counters().received, 1U);
    EXPECT_EQ(capture.counters().dropped, 0U);
  });
}

TEST_F(LiveCaptureTest, ARingThatOverflowsSaysHowMuchWasLost) {
  in_namespace([] {
    LiveCapture capture("v0", LiveCapture::Options{.filter = "tcp", .ring_bytes = 1U << 20U});
    Injector injector("v0");
    const Bytes8 frame = ethernet_frame({.seq = 1});
    for (int i = 0; i < 50'000; ++i) injector.send(frame);
    std::size_t seen = 0;
    for (std::size_t more = 1; more > 0; seen += more) {
      more = capture.dispatch(100'000, [](const Frame&) {});
    }
    const CaptureCounters counters = capture.counters();
    EXPECT_GT(counters.dropped, 0U);
    EXPECT_LE(seen + counters.dropped, 50'000U);
    EXPECT_GE(seen + counters.dropped, 49'000U);  // the last block may not have been closed yet
  });
}

// The kernel's filter and the estimator agree on whom to follow: of those all frames come, of the others one
// in eight, of what the filter does not look into all, and the bytes are right in the end.
TEST_F(LiveCaptureTest, TheFilterLeavesOutWhomTheEstimatorDoesNotFollow) {
  in_namespace([] {
    LiveCapture capture("v1", LiveCapture::Options{});
    FlowSample sample{.one_in = 4, .seed = 12345};
    sample.thinned = capture.follow(sample);
    ASSERT_TRUE(sample.thinned);
    Injector injector("v0");
    constexpr std::uint32_t kConnections = 1000;
    std::uint64_t sent = 0;
    const auto inject = [&](const Bytes8& frame) {
      injector.send(frame);
      sent += frame.size();
    };
    for (std::uint32_t c = 0; c < kConnections; ++c) {
      for (const bool v6 : {false, true}) {
        TcpSpec there{.source = address(v6 ? "2001:db8:1::1" : "10.1.0.1"),
                      .destination = address(v6 ? "2001:db8:20::1" : "10.20.0.1"),
                      .source_port = static_cast<std::uint16_t>(10'000 + c),
                      .destination_port = 443};
        TcpSpec back = there;
        std::swap(back.source, back.destination);
        std::swap(back.source_port, back.destination_port);
        for (const TcpSpec& s : {there, back}) inject(ethernet_frame(s));
        if (!v6) inject(tagged(there, "8100 0007"));
      }
    }
    EstimatorSettings settings;
    settings.inside = {prefix("10.1.0.0/16"), prefix("2001:db8:1::/48")};
    Estimator estimator(std::move(settings));
    estimator.follow(sample);
    std::size_t came = 0;
    std::size_t came_tagged = 0;
    const TimePoint end = monotonic_now() + 2s;
    for (bool more = true; more && monotonic_now() < end;) {
      pollfd waiting{.fd = capture.descriptor(), .events = POLLIN, .revents = 0};
      more = poll(&waiting, 1, 300) == 1;
      capture.dispatch(10'000, [&](const Frame& frame) {
        PacketRecord record;
        if (parse_frame(frame, record) != ParseOutcome::tcp) return;
        ++came;
        came_tagged += record.headers_bytes == 14 + 4 + 20 + 20 ? 1U : 0U;
        estimator.on_frame(frame);
      });
    }
    EXPECT_EQ(came_tagged, kConnections) << "not for this filter to judge";
    const EstimatorTotals& totals = estimator.totals();
    EXPECT_NEAR(static_cast<double>(totals.flows), 2 * kConnections / 4.0, 2 * kConnections * 0.06);
    const auto followed = static_cast<double>(totals.flows) * 2;
    const double plain = 4.0 * kConnections;
    EXPECT_NEAR(static_cast<double>(came - came_tagged), followed + (plain - followed) / 8, plain * 0.03);
    EXPECT_NEAR(static_cast<double>(totals.tcp), plain + kConnections, plain * 0.2);
    EXPECT_EQ(totals.one_in, 4U);
    // Of the followed ones both directions came whole: each was answered.
    const TickResult tick = estimator.tick(monotonic_now(), false);
    const auto bytes = tick.outbound[0].sent.count() + tick.inbound[0].sent.count();
    EXPECT_NEAR(static_cast<double>(bytes), static_cast<double>(sent), 0.2 * static_cast<double>(sent));
    EXPECT_TRUE(capture.follow({.one_in = 1}));
    injector.send(ethernet_frame({.seq = 77}));
    EXPECT_EQ(collect(capture, 1).size(), 1U);
  });
}

TEST_F(LiveCaptureTest, FaultsNameTheAttemptAndTheInterface) {
  in_namespace([] {
    try {
      LiveCapture capture("nosuch0", LiveCapture::Options{});
      FAIL() << "opened an interface that is not there";
    } catch (const std::runtime_error& e) {
      EXPECT_NE(std::string(e.what()).find("nosuch0"), std::string::npos) << e.what();
    }
    try {
      LiveCapture capture("v0", LiveCapture::Options{.filter = "no such filter"});
      FAIL() << "compiled nonsense";
    } catch (const std::runtime_error& e) {
      EXPECT_NE(std::string(e.what()).find("filter on v0"), std::string::npos) << e.what();
    }
    LiveCapture capture("v0", LiveCapture::Options{});
    ASSERT_EQ(std::system("ip link del v0"), 0);
    const auto until_gone = [&] {
      for (int i = 0; i < 100; ++i) {
        pollfd waiting{.fd = capture.descriptor(), .events = POLLIN, .revents = 0};
        poll(&waiting, 1, 20);
        capture.dispatch(100, [](const Frame&) {});
      }
    };
    EXPECT_THROW(until_gone(), std::runtime_error);
  });
}

}  // namespace
}  // namespace weir
