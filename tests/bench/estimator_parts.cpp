// The estimator's parts under Google Benchmark: what a packet costs in each of them.
#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include "estimator/echo_times.hpp"
#include "estimator/estimator.hpp"
#include "estimator/flow_table.hpp"
#include "estimator/parse.hpp"
#include "estimator/path_window.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Ethernet, IPv4, TCP with the timestamps option and 1448 bytes of payload, of which none is captured.
std::array<std::byte, 66> data_frame(std::uint32_t connection, std::uint32_t sequence) {
  std::array<std::uint8_t, 66> b{};
  const auto put16 = [&](std::size_t at, std::uint32_t v) {
    b[at] = static_cast<std::uint8_t>(v >> 8U);
    b[at + 1] = static_cast<std::uint8_t>(v);
  };
  const auto put32 = [&](std::size_t at, std::uint32_t v) {
    put16(at, v >> 16U);
    put16(at + 2, v);
  };
  put16(12, 0x0800);
  b[14] = 0x45;
  put16(16, 1500);
  b[22] = 64;
  b[23] = 6;
  put32(26, 0x0a010000U + connection / 40'000U);
  put32(30, 0x0a140001U);
  put16(34, 20'000 + connection % 40'000U);
  put16(36, 443);
  put32(38, sequence);
  put32(42, 1);
  b[46] = 8 << 4U;
  b[47] = kTcpAck;
  put16(48, 1000);
  b[54] = b[55] = 1;
  b[56] = 8;
  b[57] = 10;
  std::array<std::byte, 66> frame{};
  std::memcpy(frame.data(), b.data(), b.size());
  return frame;
}

void parse(benchmark::State& state) {
  const auto bytes = data_frame(1, 1);
  const Frame frame{.time = TimePoint(1s), .wire_length = 1514, .bytes = bytes, .link_type = 1};
  PacketRecord record;
  for (auto _ : state) {
    benchmark::DoNotOptimize(parse_frame(frame, record));
    benchmark::DoNotOptimize(record);
  }
}
BENCHMARK(parse);

/// Finding a connection among so many, in random order, without the batch's prefetching.
void find_flow(benchmark::State& state) {
  const auto flows = static_cast<std::uint32_t>(state.range(0));
  FlowTable table(FlowLimits{.flows = flows}, 1);
  std::vector<FlowKey> keys;
  for (std::uint32_t c = 0; c < flows; ++c) {
    const auto bytes = data_frame(c, 1);
    PacketRecord record;
    benchmark::DoNotOptimize(
        parse_frame({.time = TimePoint(1s), .wire_length = 1514, .bytes = bytes, .link_type = 1}, record));
    keys.push_back(table.key_of(record));
    benchmark::DoNotOptimize(table.find_or_create(keys.back(), TimePoint(1s), [](Flow&) {}));
  }
  std::mt19937 random(1);
  std::shuffle(keys.begin(), keys.end(), random);
  std::size_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(table.find_or_create(keys[at], TimePoint(1s), [](Flow&) {}));
    at = at + 1 == keys.size() ? 0 : at + 1;
  }
}
BENCHMARK(find_flow)->Arg(1000)->Arg(100'000)->Arg(1'000'000);

/// A segment sent and delivered, a tick every 100 ms of them.
void path_window(benchmark::State& state) {
  PathWindow path(Direction::outbound, TimePoint(0s));
  TimePoint now(0s);
  TimePoint next_tick(100ms);
  for (auto _ : state) {
    now += 10us;
    path.frame_seen(now, Bytes(1514), FrameKind::followed_tcp);
    path.segments_sent(now, 1, 20ms);
    path.segments_delivered(now - 20ms, 1);
    path.delivered(now, Bytes(1514));
    if (now < next_tick) continue;
    benchmark::DoNotOptimize(path.close_tick(now, false));
    next_tick += 100ms;
  }
}
BENCHMARK(path_window);

/// What watching the way in takes for a packet of ours and the one that echoes it, among so many flows in
/// turn.
void echo(benchmark::State& state) {
  const auto flows = static_cast<std::uint32_t>(state.range(0));
  EchoTimes echoes;
  TimePoint now(1s);
  std::uint32_t flow = 0;
  for (auto _ : state) {
    now += 10us;
    flow = flow == flows ? 1 : flow + 1;
    const auto value = static_cast<std::uint32_t>(now.time_since_epoch() / 1ms);
    echoes.left(flow, 0, value, now);
    benchmark::DoNotOptimize(echoes.came_back(flow, 0, value, now + 20ms));
  }
}
BENCHMARK(echo)->Arg(100)->Arg(8000)->Arg(100'000);

}  // namespace
}  // namespace weir

BENCHMARK_MAIN();
