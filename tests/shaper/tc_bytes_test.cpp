// What we send to the kernel beside what tc sends for the same change: the same messages with the same
// attributes, but for the rate tables, which today's kernels ignore (and with them cell_log and cell_align,
// which only describe those).
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "shaper/change_message.hpp"
#include "shaper/class_allocation.hpp"
#include "shaper/diff.hpp"
#include "shaper/netlink_attributes.hpp"
#include "shaper/plan.hpp"
#include "shaper/tc_message.hpp"

#include "sample_policy.hpp"
#include "test_namespace.hpp"

namespace weir::shaper {
namespace {

using testing::output_of;
using testing::two_sites;

constexpr int kLoopback = 1;  // its index in every namespace

/// A message taken apart: "type", "flags", "handle", "parent", and each attribute by its path, as hexadecimal
/// digits.
using Parts = std::map<std::string, std::string>;

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    constexpr const char* kDigits = "0123456789abcdef";
    text += kDigits[std::to_integer<unsigned>(b) >> 4U];
    text += kDigits[std::to_integer<unsigned>(b) & 15U];
  }
  return text;
}

template <class T>
std::string hex_of(const T& value) {
  return hex(std::as_bytes(std::span(&value, 1)));
}

std::span<const std::byte> payload_of(const nlattr* attribute) {
  return {static_cast<const std::byte*>(mnl_attr_get_payload(attribute)),
          mnl_attr_get_payload_len(attribute)};
}

std::vector<const nlattr*> attributes_in(std::span<const std::byte> bytes) {
  std::vector<const nlattr*> found;
  while (bytes.size() >= sizeof(nlattr)) {
    found.push_back(static_cast<const nlattr*>(static_cast<const void*>(bytes.data())));
    bytes = bytes.subspan(std::min(aligned(found.back()->nla_len), bytes.size()));
  }
  return found;
}

void add_htb_option(const nlattr* option, const std::string& path, Parts& parts) {
  const auto bytes = payload_of(option);
  switch (mnl_attr_get_type(option)) {
    case TCA_HTB_RTAB:
    case TCA_HTB_CTAB:
      return;
    case TCA_HTB_PARMS: {
      tc_htb_opt opt{};
      ASSERT_EQ(bytes.size(), sizeof opt);
      std::memcpy(&opt, bytes.data(), sizeof opt);
      opt.rate.cell_log = opt.ceil.cell_log = 0;
      opt.rate.cell_align = opt.ceil.cell_align = 0;
      parts[path] = hex_of(opt);
      return;
    }
    default:
      parts[path] = hex(bytes);
  }
}

void add_attributes(const nlmsghdr* message, Parts& parts) {
  std::string kind;
  const std::span payload(static_cast<const std::byte*>(mnl_nlmsg_get_payload(message)),
                          mnl_nlmsg_get_payload_len(message));
  for (const nlattr* attribute : attributes_in(payload.subspan(sizeof(tcmsg)))) {
    const auto type = mnl_attr_get_type(attribute);
    const std::string path = std::to_string(type);
    if (type == TCA_KIND) kind = mnl_attr_get_str(attribute);
    if (type != TCA_OPTIONS && type != TCA_STAB) {
      parts[path] = hex(payload_of(attribute));
      continue;
    }
    if (type == TCA_OPTIONS && kind == "bfifo") {  // a structure, not a nest
      parts[path] = hex(payload_of(attribute));
      continue;
    }
    for (const nlattr* option : attributes_in(payload_of(attribute))) {
      const std::string inner = path + "/" + std::to_string(mnl_attr_get_type(option));
      if (type == TCA_OPTIONS && kind == "htb") {
        add_htb_option(option, inner, parts);
      } else {
        parts[inner] = hex(payload_of(option));
      }
    }
  }
}

Parts parts_of(const nlmsghdr* message) {
  tcmsg header{};
  std::memcpy(&header, mnl_nlmsg_get_payload(message), sizeof header);
  constexpr unsigned kThatMatter = NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE | NLM_F_APPEND;
  Parts parts{{"type", std::to_string(message->nlmsg_type)},
              {"flags", std::to_string(message->nlmsg_flags & kThatMatter)},
              {"interface", std::to_string(header.tcm_ifindex)},
              {"handle", tc_name(header.tcm_handle)},
              {"parent", tc_name(header.tcm_parent)}};
  add_attributes(message, parts);
  return parts;
}

class TcBytes : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("tc -V >/dev/null 2>&1") != 0) GTEST_SKIP() << "needs tc (iproute2)";
    file_ = ::testing::TempDir() + "/tc-bytes-" + std::to_string(getpid());
  }
  void TearDown() override { std::remove(file_.c_str()); }

  Parts tc_sends(const std::string& command) {
    std::remove(file_.c_str());
    output_of("LD_PRELOAD=" WEIR_TC_BYTES " TC_BYTES=" + file_ + " " + command);
    std::ifstream file(file_, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    std::vector<std::byte> copy(bytes.size());
    std::memcpy(copy.data(), bytes.data(), bytes.size());
    const auto messages = messages_in(copy);
    if (messages.size() != 1) throw std::runtime_error("tc sent no message, or several: " + command);
    return parts_of(messages.front());
  }
  static Parts we_send(const Change& change) {
    alignas(nlmsghdr) std::array<std::byte, 1024> room{};
    return parts_of(encode(room, kLoopback, 1, change));
  }

  /// A class on its way out sends 1 byte/s and keeps its burst, less than a byte then: tc's smallest.
  static Change as_far_as_tc_can_say(Change change) {
    auto* const cls = std::get_if<SetClass>(&change);
    if (cls == nullptr || cls->title != "retired") return change;
    cls->htb.burst = ticks_for(burst_for(cls->htb.burst, cls->htb.rate), cls->htb.rate);
    return change;
  }

  void compare(const Change& change) {
    const std::string command = tc_command(change, "lo");
    Parts theirs = tc_sends(command);
    Parts ours = we_send(as_far_as_tc_can_say(change));
    // tc names no parent here, and the kernel does not look at it.
    if (std::holds_alternative<RemoveClass>(change)) theirs.erase("parent"), ours.erase("parent");
    EXPECT_EQ(ours, theirs) << command;
    ++compared_;
  }
  void compare(const ChangePlan& changes) {
    for (const auto* stages : {&changes.stages, &changes.removal})
      for (const Stage& stage : *stages)
        for (const Change& change : stage) compare(change);
  }

  std::size_t compared_ = 0;

 private:
  std::string file_;
};

Tree tree_of(const Policy& policy, std::vector<Rate> shaped, bool fq_codel = true) {
  return plan(policy, shaped, {.has_fq_codel = fq_codel, .mtu = 1500}, allocate_handles(policy, {}));
}

TEST_F(TcBytes, OfATreeMadeChangedAndTakenAway) {
  for (const bool fq_codel : {true, false}) {
    const Tree first = tree_of(two_sites(), {Rate::mbps(100), Rate::mbps(50)}, fq_codel);
    compare(diff({}, first));
    Policy fewer = two_sites();
    fewer.sites.pop_back();
    compare(diff(as_read_back(first), tree_of(fewer, {Rate::mbps(7)}, fq_codel)));
    compare(diff(as_read_back(first), tree_of(two_sites(), {Rate::mbps(600), Rate::kbps(900)}, fq_codel)));
  }
  compare(RemoveRoot{});
  EXPECT_GT(compared_, 80U);
}

TEST_F(TcBytes, OfEveryLinkLayer) {
  for (const auto& link : {LinkLayer{.kind = LinkLayer::Kind::atm, .overhead = 10, .mpu = 64},
                           LinkLayer{.kind = LinkLayer::Kind::ppp, .overhead = -10}, LinkLayer{.mpu = 84}}) {
    Policy policy = two_sites();
    policy.wan.link_layer = link;
    compare(diff({}, tree_of(policy, {Rate::mbps(100), Rate::mbps(50)})));
  }
}

TEST_F(TcBytes, OfRatesBeyondThirtyTwoBitsOfBytes) {
  Policy policy = two_sites();
  policy.wan.rate = Rate::mbps(100'000);
  compare(diff({}, tree_of(policy, {Rate::mbps(40'000), Rate::mbps(50'000)})));
}

TEST_F(TcBytes, OfAForeignRootThatIsReplaced) {
  const Tree tree = tree_of(two_sites(), {Rate::mbps(100), Rate::mbps(50)});
  Observed foreign;
  foreign.root = ObservedRoot{.kind = "pfifo", .handle = make_handle(1, 0), .htb = {}};
  const auto changes = diff(foreign, tree);
  compare(changes.stages.front().front());
}

}  // namespace
}  // namespace weir::shaper
