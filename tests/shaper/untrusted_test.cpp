/// What the shaper reads from outside, netlink replies and its own state file, damaged in every way.

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include <gtest/gtest.h>
#include <linux/gen_stats.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "shaper/bfifo.hpp"
#include "shaper/change_message.hpp"
#include "shaper/fq_codel.hpp"
#include "shaper/htb.hpp"
#include "shaper/state_file.hpp"
#include "shaper/tc_message.hpp"

namespace weir::shaper {
namespace {

using Room = std::array<std::byte, 1024>;

const HtbClass kClass{.rate = Rate::mbps(45),
                      .ceil = Rate::mbps(60'000),
                      .burst = {15'625},
                      .cburst = {31'250},
                      .quantum = 3'000,
                      .priority = 2,
                      .link_layer = LinkLayer::Kind::atm,
                      .overhead = 24,
                      .mpu = 64};

/// A class as a dump shows it: the message that made it, with the counters.
nlmsghdr* class_message(Room& room) {
  SetClass change{.create = true, .handle = make_handle(kMajor, 0x11), .parent = make_handle(kMajor, 0x10)};
  change.htb = kClass;
  nlmsghdr* message = encode(room, 3, 1, change);
  const Nest stats(message, TCA_STATS2);
  const gnet_stats_basic basic{.bytes = 1'000'000, .packets = 700};
  mnl_attr_put(message, TCA_STATS_BASIC, sizeof basic, &basic);
  gnet_stats_queue queue{};
  queue.backlog = 3'028;
  queue.qlen = 2;
  queue.overlimits = 9;
  mnl_attr_put(message, TCA_STATS_QUEUE, sizeof queue, &queue);
  return message;
}

nlmsghdr* leaf_message(Room& room, const LeafParameters& leaf) {
  return encode(
      room, 3, 1,
      SetLeaf{
          .create = true,
          .leaf = {.handle = make_handle(0x11, 0), .parent = make_handle(kMajor, 0x11), .parameters = leaf}});
}

TEST(Decoding, IsTheReverseOfEncoding) {
  alignas(nlmsghdr) Room room{};
  const auto cls = decode_class(class_message(room));
  ASSERT_TRUE(cls);
  EXPECT_EQ(cls->interface_index, 3);
  EXPECT_EQ(cls->stats.htb, kClass);
  EXPECT_EQ(cls->stats.parent, make_handle(kMajor, 0x10));
  EXPECT_EQ(cls->stats.bytes, 1'000'000U);
  EXPECT_EQ(cls->stats.packets, 700U);
  EXPECT_EQ(cls->stats.backlog, 3'028U);
  EXPECT_EQ(cls->stats.queued, 2U);

  const FqCodel fq{.limit = 500,
                   .memory_limit = Bytes(1 << 20),
                   .target_us = 7'000,
                   .interval_us = 100'000,
                   .flows = 64,
                   .quantum = 1514};
  EXPECT_EQ(decode_qdisc(leaf_message(room, fq))->leaf, LeafParameters(fq));
  EXPECT_EQ(decode_qdisc(leaf_message(room, ByteFifo{.limit = Bytes(70'000)}))->leaf,
            LeafParameters(ByteFifo{.limit = Bytes(70'000)}));

  const SetRoot root{.how = SetRoot::How::add, .root = {.size_overhead = -4}};
  EXPECT_EQ(decode_qdisc(encode(room, 3, 1, root))->root, root.root);
}

TEST(Decoding, CarriesSixtyFourBitRatesOnlyWhereNeeded) {
  alignas(nlmsghdr) Room room{};
  SetClass change{.create = true, .handle = make_handle(kMajor, 0x11), .parent = kPortClass};
  change.htb = kClass;
  change.htb.ceil = Rate::mbps(45);
  const auto narrow = encode(room, 3, 1, change)->nlmsg_len;
  change.htb.ceil = Rate::mbps(60'000);
  EXPECT_EQ(encode(room, 3, 1, change)->nlmsg_len, narrow + 12);
}

// Every length a message can be cut to, with headers that lie about it and headers that do not.
TEST(Decoding, SurvivesTruncation) {
  alignas(nlmsghdr) Room whole{};
  const auto length = class_message(whole)->nlmsg_len;
  for (std::uint32_t cut = 0; cut <= length; ++cut) {
    // On the heap and exactly as long, so that a sanitizer sees the first byte read too far.
    std::vector<std::byte> bytes(whole.begin(), whole.begin() + cut);
    for (const auto* message : messages_in(bytes)) static_cast<void>(decode_class(message));
    if (cut < sizeof(nlmsghdr)) continue;
    reinterpret_cast<nlmsghdr*>(bytes.data())->nlmsg_len = cut;
    const auto messages = messages_in(bytes);
    ASSERT_EQ(messages.size(), 1U);
    const auto decoded = decode_class(messages[0]);
    if (cut < sizeof(nlmsghdr) + sizeof(tcmsg) + 8 + sizeof(tc_htb_opt)) {
      EXPECT_EQ(decoded, std::nullopt) << cut;
    }
  }
}

TEST(Decoding, SurvivesRandomDamage) {
  std::mt19937 random(99);
  std::array<Room, 3> samples{};
  class_message(samples[0]);
  leaf_message(samples[1], FqCodel{.limit = 500, .memory_limit = Bytes(1 << 20)});
  encode(samples[2], 3, 1, SetRoot{.how = SetRoot::How::add, .root = {.size_overhead = -4}});
  std::size_t decoded = 0;
  for (int round = 0; round < 60'000; ++round) {
    const auto& sample = samples[static_cast<std::size_t>(round) % samples.size()];
    const auto length = reinterpret_cast<const nlmsghdr*>(sample.data())->nlmsg_len;
    std::vector<std::byte> bytes(sample.begin(), sample.begin() + length);
    for (int flips = 0; flips < 1 + round % 4; ++flips) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    for (const auto* message : messages_in(bytes)) {
      decoded += decode_class(message) ? 1U : 0U;
      decoded += decode_qdisc(message) ? 1U : 0U;
      static_cast<void>(answer_to(message));
    }
  }
  EXPECT_GT(decoded, 1'000U) << "the damage must leave some messages readable, or this tests nothing";
}

TEST(Decoding, ReadsTheKernelsWordsBehindAnError) {
  alignas(nlmsghdr) Room room{};
  nlmsghdr* message = mnl_nlmsg_put_header(room.data());
  message->nlmsg_type = NLMSG_ERROR;
  message->nlmsg_flags = NLM_F_ACK_TLVS | NLM_F_CAPPED;
  auto* error = static_cast<nlmsgerr*>(mnl_nlmsg_put_extra_header(message, sizeof(nlmsgerr)));
  error->error = -EBUSY;
  error->msg.nlmsg_len = 4'000;  // the request's, which is not repeated here
  mnl_attr_put_strz(message, NLMSGERR_ATTR_MSG, "device is in use");
  EXPECT_EQ(answer_to(message).error, EBUSY);
  EXPECT_EQ(answer_to(message).text, "device is in use");
  message->nlmsg_flags = NLM_F_ACK_TLVS;  // now it claims that 4000 bytes of request stand in between
  EXPECT_EQ(answer_to(message).text, "");
  for (const int nonsense : {1, EBUSY, -4096, std::numeric_limits<int>::min()}) {
    error->error = nonsense;
    EXPECT_EQ(answer_to(message).error, EBADMSG) << nonsense;
  }
  message->nlmsg_len = sizeof(nlmsghdr) + 2;
  EXPECT_EQ(answer_to(message).error, EBADMSG);
}

TEST(Decoding, CountsMarksOfFqCodelOnly) {
  alignas(nlmsghdr) Room room{};
  nlmsghdr* message = mnl_nlmsg_put_header(room.data());
  tc_fq_codel_xstats stats{};
  stats.type = TCA_FQ_CODEL_XSTATS_QDISC;
  stats.qdisc_stats.ecn_mark = 42;
  mnl_attr_put(message, TCA_STATS_APP, sizeof stats, &stats);
  const auto* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload(message));
  EXPECT_EQ(fq_codel::decode_ecn_marks(attribute), 42U);
  EXPECT_EQ(fq_codel::decode_ecn_marks(nullptr), 0U);
}

TEST(PortState, SurvivesItsOwnRoundTrip) {
  const PortState state{.handles = {{{"dc-coast", ""}, make_handle(kMajor, 0x10)},
                                    {{"dc \"coast\"\n", "voice"}, make_handle(kMajor, 0x11)}},
                        .replaced = "tbf 8001:"};
  EXPECT_EQ(parse_port_state(to_json(state, "weir")), state);
  EXPECT_EQ(parse_port_state(to_json({}, "weir")), PortState{});
}

TEST(PortState, TakesDamageForLoss) {
  for (const char* text :
       {"", "{", "null", "[]", "{}", R"({"version":2,"classes":[]})", R"({"version":1,"classes":{}})",
        R"({"version":1,"classes":[1]})", R"({"version":1,"classes":[{"site":"a","class":"b"}]})",
        R"({"version":1,"classes":[{"site":"a","class":"b","handle":-1}]})",
        R"({"version":1,"classes":[{"site":"a","class":"b","handle":4294967296}]})",
        R"({"version":1,"classes":[{"site":"a","class":"b","handle":"x"}]})",
        R"({"version":1,"classes":[{"site":7,"class":"b","handle":1}]})"}) {
    EXPECT_EQ(parse_port_state(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_port_state(std::string(100'000, '[')), std::nullopt);
  const std::string good = to_json({.handles = {{{"a", "b"}, 1}}, .replaced = "tbf 1:"}, "weir");
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string bad = good;
    bad[random() % bad.size()] = static_cast<char>(random());
    static_cast<void>(parse_port_state(bad));
  }
}

class StateDirectory : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/weir-state-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    path = name;
  }
  void TearDown() override { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

TEST_F(StateDirectory, KeepsTheStateBetweenProcesses) {
  const PortState state{.handles = {{{"a", "b"}, make_handle(kMajor, 0x10)}}};
  StateFile(path / "wan0.json").save(state);
  EXPECT_EQ(StateFile(path / "wan0.json").load(), state);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path), {}), 1) << "the draft must not stay";
  StateFile(path / "wan0.json").remove();
  EXPECT_EQ(StateFile(path / "wan0.json").load(), std::nullopt);
  EXPECT_THROW(StateFile(path / "nowhere" / "wan0.json").save(state), std::system_error);
}

TEST_F(StateDirectory, LetsGoOfTheLockWhenItsHolderDies) {
  const auto file = path / "below" / "wan0.lock";
  {
    const PortLock held(file);
    EXPECT_THROW(PortLock second(file), std::system_error);
    // wan0 is held, lan0 is not; what is no state file is no port.
    for (const char* name : {"wan0.json", "lan0.json", "lan1.json.new", "notes.txt"})
      std::ofstream(file.parent_path() / name) << "{}";
    EXPECT_EQ(unattended_ports(file.parent_path()), std::vector<std::string>{"lan0"});
  }
  const pid_t child = fork();
  if (child == 0) {
    const PortLock held(file);
    raise(SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_NO_THROW(PortLock again(file));
}

}  // namespace
}  // namespace weir::shaper
