// Lines of a recording: everything comes back as it was written, and nothing that is not one is taken.
#include "estimator/control_record.hpp"

#include <limits>

#include <gtest/gtest.h>

#include "any_record.hpp"
#include "recorded_run.hpp"

namespace weir::test {
namespace {

template <class T>
T back(const std::string& text) {
  EXPECT_EQ(std::ranges::count(text, '\n'), 1) << text;
  EXPECT_TRUE(text.ends_with('\n'));
  auto parsed = parse_record_line(std::string_view(text).substr(0, text.size() - 1));
  if (const auto* bad = std::get_if<BadRecordLine>(&parsed)) {
    ADD_FAILURE() << bad->why << ": " << text;
    return {};
  }
  auto* found = std::get_if<T>(&std::get<RecordLine>(parsed));
  if (found == nullptr) {
    ADD_FAILURE() << "another kind of line: " << text;
    return {};
  }
  return std::move(*found);
}

template <class T>
void expect_same(const T& record) {
  std::string text;
  append_line(text, record);
  EXPECT_EQ(back<T>(text), record) << text;
}

TEST(ControlRecord, EveryFieldOfAnyTickComesBack) {
  Any any(1);
  for (int i = 0; i < 3000; ++i) {
    RecordedTick tick{.now = any.time(), .input = any.input(), .decided = any.decision()};
    RateDecision decided;
    decided.rate = tick.decided.rate;
    decided.state = tick.decided.state;
    decided.mode = tick.decided.mode;
    std::string text;
    append_tick_line(text, tick.now, tick.input, decided, tick.decided.reason);
    const auto found = back<RecordedTick>(text);
    ASSERT_EQ(found, tick) << text;
  }
}

TEST(ControlRecord, SoDoesEveryOtherLine) {
  Any any(2);
  for (int i = 0; i < 300; ++i) {
    expect_same(RecordingHeader{.version = "0.1.0",
                                .interface = "wan\"0",
                                .wall_ns = std::numeric_limits<std::int64_t>::max() - i,
                                .steady = any.time()});
    expect_same(
        RecordedStart{.site = "coast", .now = any.time(), .limits = any.limits(), .start = any.start()});
    expect_same(RecordedCheckpoint{.site = "c\u00f4te",
                                   .now = any.time(),
                                   .steps = std::numeric_limits<std::uint64_t>::max() - any.count(),
                                   .state = "1 2.5 text \"\\"});
    expect_same(RecordedLimits{.now = any.time(), .limits = any.limits(), .decided = any.decision()});
    expect_same(RecordingEnd{.lines = any.count()});
  }
}

TEST(ControlRecord, AQuietTickIsShort) {
  std::string text;
  ControlInput input;
  input.measured.at = TimePoint(std::chrono::hours(1000));
  input.measured.interval = kCohortLength;
  append_tick_line(text, input.measured.at, input, {}, std::nullopt);
  EXPECT_LT(text.size(), 180U) << text;
}

TEST(ControlRecord, AStartWithoutAMemoryIsWrittenAsEverAndRead) {
  const std::string line =
      R"({"site":"coast","start":{"now":5,"floor":1,"ceiling":2,"adapt":true,"rate":300}})";
  const auto start = back<RecordedStart>(line + "\n");
  EXPECT_EQ(start.start, ControlStart(Rate::bps(300)));
  std::string text;
  append_line(text, start);
  EXPECT_EQ(text, line + "\n");
}

TEST(ControlRecord, WhatIsNoLineIsRefusedWithItsReason) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"", "not JSON"},
      {"garbage", "not JSON"},
      {"[1,2]", "not a JSON object"},
      {"{}", "no line of a recording"},
      {R"({"weir_recording":2,"version":"9","interface":"wan0","wall_ns":0,"steady_ns":0})", "format 2"},
      {R"({"weir_recording":1})", "'version'"},
      {R"({"site":"a","start":{"now":0,"floor":1,"ceiling":2,"adapt":1,"rate":1}})", "'adapt'"},
      {R"({"site":"a","start":{"now":0,"floor":-1,"ceiling":2,"adapt":true,"rate":1}})", "'floor'"},
      {R"({"site":"a","start":{"now":0.5,"floor":1,"ceiling":2,"adapt":true,"rate":1}})", "'now'"},
      {R"({"site":"a","start":{"now":9223372036854775807,"floor":1,"ceiling":2,"adapt":true,"rate":1}})",
       "'now'"},
      {R"({"site":"a","start":{"now":0,"floor":1,"ceiling":2,"adapt":true,"rate":1,"from":"dream"}})",
       "'dream'"},
      {R"({"site":"a","start":{"now":0,"floor":1,"ceiling":2,"adapt":true,"rate":1,"memory":[]}})",
       "'memory'"},
      {R"({"site":"","checkpoint":{"now":0,"steps":0,"state":""}})", "'site'"},
      {R"({"site":"a"})", "'checkpoint'"},
      {R"({"end":"1"})", "'end'"},
      {R"({"limits":{"now":0,"floor":1,"ceiling":2,"adapt":true}})", "'decided'"},
      {R"({"limits":{"now":0,"floor":1,"ceiling":2,"adapt":true},"decided":[1,"hold"]})", "'decided'"},
      {R"({"limits":{"now":0,"floor":1,"ceiling":2,"adapt":true},"decided":[1,"dance","policer"]})",
       "'dance'"},
      {R"({"tick":{"now":1,"sent":1},"measured":{"at":1,"interval":0,"sent":0,"tcp":0},"decided":[1,"hold","policer"]})",
       "'interval'"},
      {R"({"tick":{"now":1,"sent":1},"measured":{"at":1,"interval":100000000,"sent":0,"tcp":0,"queue":[1]},"decided":[1,"hold","policer"]})",
       "'queue'"},
      {R"({"tick":{"now":1,"sent":1},"measured":{"at":1,"interval":100000000,"sent":0,"tcp":0,"mature":[{"begin":0,"segments":1,"sent":0,"slots":[51]}]},"decided":[1,"hold","policer"]})",
       "'slots'"},
      {R"({"tick":{"now":1,"sent":1},"measured":{"at":1,"interval":100000000,"sent":0,"tcp":0,"mature":[{"begin":0,"segments":1,"sent":0,"slots":[2,[2,1,1]]}]},"decided":[1,"hold","policer"]})",
       "'slots'"},
      {R"({"tick":{"now":1,"sent":1},"measured":{"at":1,"interval":100000000,"sent":0,"tcp":0,"mature":[{"begin":0,"segments":1,"sent":0,"slots":[2,[0,1,65536]]}]},"decided":[1,"hold","policer"]})",
       "'slots'"},
  };
  for (const auto& [line, why] : wrong) {
    const auto parsed = parse_record_line(line);
    const auto* bad = std::get_if<BadRecordLine>(&parsed);
    ASSERT_NE(bad, nullptr) << line;
    EXPECT_NE(bad->why.find(why), std::string::npos) << bad->why << " for " << line;
  }
  EXPECT_TRUE(
      std::holds_alternative<BadRecordLine>(parse_record_line(std::string(kLongestRecordLine + 1, ' '))));
}

// Every prefix of every kind of line, and every line with one byte changed: refused or understood, never
// worse.
TEST(ControlRecord, DamagedLinesDoNoHarm) {
  Any any(3);
  std::string text;
  append_tick_line(text, any.time(), any.input(), {}, "why");
  append_line(text,
              RecordedStart{.site = "a", .now = any.time(), .limits = any.limits(), .start = any.start()});
  append_line(text, RecordedLimits{.now = any.time(), .limits = any.limits(), .decided = any.decision()});
  for (std::string line : lines_of(text)) {
    for (std::size_t size = 0; size < line.size(); ++size)
      EXPECT_TRUE(std::holds_alternative<BadRecordLine>(parse_record_line(line.substr(0, size))));
    for (char& c : line) {
      const char was = std::exchange(c, '9');
      static_cast<void>(parse_record_line(line));
      c = was;
    }
  }
}

}  // namespace
}  // namespace weir::test
