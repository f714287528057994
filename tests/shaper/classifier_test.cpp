// The classifier on a port: a veth in a namespace of its own, an HTB tree made by tc, truth from `tc -s
// class`.
#include "shaper/classifier.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "classifier_frames.hpp"
#include "classifier_policy.hpp"
#include "classifier_sandbox.hpp"

namespace weir::shaper::test {
namespace {

/// Packets that each class has sent, by handle: "class htb 7e17:11 parent ... \n Sent 60 bytes 1 pkt (dropped
/// ...".
std::map<Handle, std::uint64_t> packets_by_class(const std::string& interface) {
  std::istringstream lines(output_of("tc -s class show dev " + interface));
  std::map<Handle, std::uint64_t> packets;
  Handle current = 0;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string first, kind, third, number;
    words >> first >> kind >> third >> number;
    if (first == "class") {
      const auto colon = third.find(':');
      current = make_handle(static_cast<std::uint16_t>(std::stoul(third.substr(0, colon), nullptr, 16)),
                            static_cast<std::uint16_t>(std::stoul(third.substr(colon + 1), nullptr, 16)));
    } else if (first == "Sent") {
      packets[current] = std::stoull(number);
    }
  }
  return packets;
}

class ClassifierTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!sandbox_.refusal().empty()) GTEST_SKIP() << sandbox_.refusal();
    output_of("ip link add wan0 type veth peer name far0");
    silence("wan0");
    silence("far0");
    output_of("ip link set wan0 up && ip link set far0 up");
  }

  /// The stack's own neighbour discovery would count as control traffic.
  static void silence(const std::string& interface) {
    std::ofstream("/proc/sys/net/ipv6/conf/" + interface + "/disable_ipv6") << 1;
  }

  static void make_htb_tree(const ClassIds& ids) {
    const auto spelled = [](Handle h) {
      std::ostringstream out;
      out << std::hex << (h >> 16) << ':' << (h & 0xffff);
      return out.str();
    };
    output_of("tc qdisc add dev wan0 root handle 7e17: htb default 3");
    std::vector<Handle> leaves{kControlClass, kElsewhereClass};
    for (const auto& site : ids.classes) leaves.insert(leaves.end(), site.begin(), site.end());
    for (const auto leaf : leaves)
      output_of("tc class add dev wan0 parent 7e17: classid " + spelled(leaf) +
                " htb rate 100mbit quantum 10000");
  }

  [[nodiscard]] Classifier classifier() const { return Classifier("wan0", sandbox_.bpf_dir()); }
  static std::string egress_filters() { return output_of("tc filter show dev wan0 egress"); }
  static std::string qdiscs() { return output_of("tc qdisc show dev wan0"); }
  static bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  Sandbox sandbox_;
  Policy policy_ = example_policy();
  ClassIds ids_ = example_ids();
};

const Octets& voice() {
  static const auto frame = ethernet(0x0800, ipv4({.dscp = 46, .protocol = 17}, ports(1, 2)));
  return frame;
}

/// What load refuses, by its message.
std::string refusal_of(Classifier& c, const Policy& policy, const ClassIds& ids) {
  try {
    c.load(policy, ids);
  } catch (const std::system_error& e) {
    return e.what();
  }
  return "took it";
}

TEST_F(ClassifierTest, PacketsReachTheirHtbClassesAndAreCountedOnArrival) {
  make_htb_tree(ids_);
  auto c = classifier();
  EXPECT_GT(c.load(policy_, ids_), 0U);
  EXPECT_TRUE(c.attached());
  const RawSender sender("wan0");
  const auto send = [&](int count, const Octets& frame) {
    for (int i = 0; i < count; ++i) sender.send(frame);
  };
  send(1, voice());
  send(2, ethernet({0x8100}, 0x0800, ipv4({.source = "10.1.8.1"}, ports(22, 1))));
  send(3, ethernet(0x86dd, ipv6({.source = "2001:db8:50::1"}, ports(1, 2))));
  send(4, ethernet({0x88a8, 0x8100}, 0x86dd, ipv6({}, ports(1, 80))));
  send(5, ethernet(0x0800, ipv4({.destination = "10.20.30.1"}, ports(1, 2))));
  send(6, ethernet(0x0800, ipv4({.destination = "8.8.8.8"}, ports(1, 2))));
  send(7, ethernet(0x0806, Octets(28)));

  auto packets = packets_by_class("wan0");
  EXPECT_EQ(packets[ids_.classes[0][0]], 1U);
  EXPECT_EQ(packets[ids_.classes[0][1]], 2U);
  EXPECT_EQ(packets[ids_.classes[0][2]], 3U);
  EXPECT_EQ(packets[ids_.classes[0][3]], 4U);
  EXPECT_EQ(packets[ids_.classes[1][0]], 5U);
  EXPECT_EQ(packets[kElsewhereClass], 6U);
  EXPECT_EQ(packets[kControlClass], 7U);

  const auto arrivals = c.arrivals(policy_);
  ASSERT_TRUE(arrivals.has_value());
  // Rules of its policy: voice, interactive twice, replication twice, web, backup.
  const auto& edge = arrivals->sites.at(0);
  std::vector<std::uint64_t> by_rule;
  for (const Arrivals& rule : edge.rules) by_rule.push_back(rule.packets);
  EXPECT_EQ(by_rule, (std::vector<std::uint64_t>{1, 0, 2, 3, 0, 4, 0}));
  EXPECT_EQ(edge.otherwise.packets, 0U);
  EXPECT_EQ(edge.total().packets, 10U);
  EXPECT_EQ(arrivals->sites.at(1).total().packets, 5U);
  EXPECT_EQ(arrivals->sites.at(1).otherwise.bytes, Bytes(5 * (14 + 20 + 20)));
  EXPECT_EQ(arrivals->elsewhere.packets, 6U);
  EXPECT_EQ(arrivals->control.packets, 7U);
  // A question is not an arrival.
  EXPECT_EQ(c.ask(as_frame(voice()))->handle, ids_.classes[0][0]);
  EXPECT_EQ(c.arrivals(policy_)->sites.at(0).total().packets, 10U);
}

TEST_F(ClassifierTest, ATagInMetadataIsSteppedOver) {
  // A tagged frame that is *received* has its tag taken out of the frame; a bridge then sends it on like
  // that.
  make_htb_tree(ids_);
  output_of("ip link add lan0 type veth peer name host0");
  output_of("ip link add br0 type bridge && ip link set lan0 master br0 && ip link set wan0 master br0");
  for (const auto* name : {"lan0", "host0", "br0"}) {
    silence(name);
    output_of(std::string("ip link set ") + name + " up");
  }
  auto c = classifier();
  c.load(policy_, ids_);
  const RawSender sender("host0");
  sender.send(ethernet({0x8100}, 0x0800, ipv4({.dscp = 46}, ports(1, 2))));
  sender.send(ethernet({0x88a8, 0x8100}, 0x0800, ipv4({.dscp = 46}, ports(1, 2))));
  EXPECT_EQ(packets_by_class("wan0")[ids_.classes[0][0]], 2U);
}

TEST_F(ClassifierTest, LoadingTheSameAgainWritesNothingAlsoAfterARestart) {
  std::string before;
  {
    auto first = classifier();
    EXPECT_GT(first.load(policy_, ids_), 0U);
    EXPECT_EQ(first.load(policy_, ids_), 0U);
    EXPECT_TRUE(first.plan(policy_, ids_, false).empty());
    before = egress_filters();
  }
  auto second = classifier();
  EXPECT_TRUE(second.attached());
  EXPECT_EQ(second.load(policy_, ids_), 0U);
  EXPECT_EQ(egress_filters(), before);
  EXPECT_EQ(second.ask(as_frame(voice()))->handle, ids_.classes[0][0]);
  // What the classifier does not depend on is no change either.
  policy_.sites[0].rate.floor = Rate::mbps(77);
  EXPECT_EQ(second.load(policy_, ids_), 0U);
  ids_.classes[0][0] = make_handle(kMajor, 0x99);
  EXPECT_GT(second.load(policy_, ids_), 0U);
  EXPECT_EQ(second.ask(as_frame(voice()))->handle, ids_.classes[0][0]);
}

/// Leaves the process the capabilities that the daemon's unit grants, and no other.
bool keep_only_daemon_capabilities() {
  std::uint64_t wanted = 0;
  for (const auto capability : {CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON})
    wanted |= std::uint64_t{1} << capability;
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> data{};
  for (std::size_t i = 0; i < 2; ++i)
    data[i].effective = data[i].permitted = static_cast<std::uint32_t>(wanted >> 32 * i);
  return ::syscall(SYS_capset, &header, data.data()) == 0;
}

TEST_F(ClassifierTest, ARestartWithTheDaemonsCapabilitiesFindsItsOwn) {
  classifier().load(policy_, ids_);
  const auto daemon = [&] {
    if (!keep_only_daemon_capabilities()) return "capset failed";
    auto c = classifier();
    if (!c.attached()) return "did not find its own";
    if (c.load(policy_, ids_) != 0) return "wrote although nothing changed";
    policy_.sites[0].subnets.pop_back();
    if (c.load(policy_, ids_) == 0) return "did not load a new policy";
    if (c.ask(as_frame(voice()))->handle != ids_.classes[0][0]) return "classified wrongly";
    return c.remove() == 5 ? "" : "did not remove all";
  };
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    try {
      const std::string fault = daemon();
      if (!fault.empty()) std::cerr << "in the child: " << fault << '\n';
      ::_exit(fault.empty() ? 0 : 1);
    } catch (const std::exception& e) {
      std::cerr << "in the child: " << e.what() << '\n';
      ::_exit(1);
    }
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(ClassifierTest, ReloadUnderTrafficMisplacesNoPacket) {
  // Two policies that have nothing in common but the destination: any mixture of their tables would lead to
  // elsewhere, to the default class, or to a class of the other site.
  auto other = policy_;
  std::swap(other.sites[0], other.sites[1]);
  std::swap(other.class_sets[0], other.class_sets[1]);
  other.sites[0].class_set = 0;
  other.sites[1].class_set = 1;
  auto& classes = other.class_sets[1].classes;
  std::reverse(classes.begin(), classes.end());
  ClassIds other_ids{.site = {make_handle(kMajor, 0x40), make_handle(kMajor, 0x50)}, .classes = {{0}, {}}};
  other_ids.classes[0][0] = make_handle(kMajor, 0x41);
  for (std::uint16_t i = 0; i < 6; ++i)
    other_ids.classes[1].push_back(make_handle(kMajor, static_cast<std::uint16_t>(0x51 + i)));
  const auto first_voice = ids_.classes[0][0];
  const auto other_voice = other_ids.classes[1][5];
  auto all = ids_;
  all.classes.insert(all.classes.end(), other_ids.classes.begin(), other_ids.classes.end());
  make_htb_tree(all);

  auto c = classifier();
  c.load(policy_, ids_);
  std::atomic<std::uint64_t> sent = 0;
  std::jthread traffic([&](const std::stop_token& stop) {
    const RawSender sender("wan0");
    while (!stop.stop_requested()) {
      sender.send(voice());
      sent.fetch_add(1);
    }
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_GT(c.load(i % 2 == 0 ? other : policy_, i % 2 == 0 ? other_ids : ids_), 0U);
    for (const auto until = sent.load() + 50; sent.load() < until;) std::this_thread::yield();
  }
  traffic.request_stop();
  traffic.join();

  auto packets = packets_by_class("wan0");
  EXPECT_GT(packets[first_voice], 100U);
  EXPECT_GT(packets[other_voice], 100U);
  const auto placed = packets[first_voice] + packets[other_voice];
  packets.erase(first_voice);
  packets.erase(other_voice);
  for (const auto& [handle, count] : packets) EXPECT_EQ(count, 0U) << std::hex << handle;
  EXPECT_LE(placed, sent.load());
}

TEST_F(ClassifierTest, RemoveLeavesNothing) {
  auto c = classifier();
  const auto before = qdiscs();
  c.load(policy_, ids_);
  EXPECT_TRUE(contains(qdiscs(), "clsact"));
  EXPECT_TRUE(std::filesystem::exists(sandbox_.bpf_dir() / "wan0" / "program"));
  EXPECT_EQ(c.remove(), 5U) << "filter, clsact, three names";
  EXPECT_EQ(qdiscs(), before);
  EXPECT_FALSE(std::filesystem::exists(sandbox_.bpf_dir()));
  EXPECT_FALSE(c.attached());
  EXPECT_FALSE(c.ask(as_frame(voice())).has_value());
  EXPECT_EQ(c.remove(), 0U);
  EXPECT_EQ(classifier().remove(), 0U);
}

TEST_F(ClassifierTest, ARestartedOneRemovesAllOfIt) {
  classifier().load(policy_, ids_);
  EXPECT_EQ(classifier().remove(), 5U);
  EXPECT_FALSE(contains(qdiscs(), "clsact"));
}

TEST_F(ClassifierTest, AForeignClsactStays) {
  output_of("tc qdisc add dev wan0 clsact");
  auto c = classifier();
  c.load(policy_, ids_);
  c.remove();
  EXPECT_TRUE(contains(qdiscs(), "clsact"));
}

TEST_F(ClassifierTest, OurClsactStaysWhileAForeignFilterIsOnIt) {
  auto c = classifier();
  c.load(policy_, ids_);
  output_of("tc filter add dev wan0 ingress pref 3 protocol ip u32 match u32 0 0");
  const auto foreign = output_of("tc filter show dev wan0 ingress");
  c.remove();
  EXPECT_TRUE(contains(qdiscs(), "clsact"));
  EXPECT_EQ(output_of("tc filter show dev wan0 ingress"), foreign);
  EXPECT_TRUE(egress_filters().empty());
}

TEST_F(ClassifierTest, AForeignFilterInOurPlaceIsNotTouched) {
  output_of("tc qdisc add dev wan0 clsact");
  output_of("tc filter add dev wan0 egress pref 7 protocol ip u32 match u32 0 0");
  const auto foreign = egress_filters();
  auto c = classifier();
  const auto refusal = refusal_of(c, policy_, ids_);
  EXPECT_TRUE(contains(refusal, "egress of wan0, where a foreign filter stands (u32")) << refusal;
  EXPECT_EQ(c.remove(), 0U);
  EXPECT_EQ(egress_filters(), foreign);
  EXPECT_FALSE(std::filesystem::exists(sandbox_.bpf_dir() / "wan0"));
}

TEST_F(ClassifierTest, AnIngressQdiscInClsactsPlaceIsNotTouched) {
  output_of("tc qdisc add dev wan0 ingress");
  const auto before = qdiscs();
  auto c = classifier();
  const auto refusal = refusal_of(c, policy_, ids_);
  EXPECT_TRUE(contains(refusal, "where qdisc 'ingress' has its place")) << refusal;
  EXPECT_EQ(qdiscs(), before);
  EXPECT_EQ(output_of("tc filter show dev wan0 ingress"), "");
  EXPECT_FALSE(std::filesystem::exists(sandbox_.bpf_dir())) << "a failed load leaves no names behind";
}

TEST_F(ClassifierTest, AFilterThatSomebodyDeletedComesBack) {
  auto c = classifier();
  c.load(policy_, ids_);
  output_of("tc filter del dev wan0 egress pref 7");
  EXPECT_FALSE(c.attached());
  EXPECT_EQ(c.plan(policy_, ids_, false),
            std::vector<std::string>{"attach the classifier at egress of wan0"});
  EXPECT_EQ(c.load(policy_, ids_), 1U);
  EXPECT_TRUE(c.attached());
  output_of("tc qdisc del dev wan0 clsact");
  EXPECT_GT(c.load(policy_, ids_), 1U);
  EXPECT_TRUE(c.attached());
  EXPECT_EQ(c.remove(), 5U);
}

TEST_F(ClassifierTest, AnInterfaceMadeAnewIsAnotherInterface) {
  auto c = classifier();
  c.load(policy_, ids_);
  output_of("ip link del wan0");
  EXPECT_FALSE(c.attached());
  const auto refusal = refusal_of(c, policy_, ids_);
  EXPECT_TRUE(contains(refusal, "find interface wan0")) << refusal;
  output_of("ip link add wan0 type veth peer name far0");
  EXPECT_FALSE(c.attached());
  EXPECT_GT(c.load(policy_, ids_), 0U);
  EXPECT_TRUE(c.attached());
  EXPECT_EQ(c.remove(), 5U);
}

TEST_F(ClassifierTest, PinsOfAnotherNamespaceAreNotTakenForOurs) {
  classifier().load(policy_, ids_);
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  output_of("ip link add wan0 type veth peer name far0");
  auto here = classifier();
  EXPECT_FALSE(here.ask(as_frame(voice())).has_value());
  EXPECT_EQ(here.remove(), 0U);
  EXPECT_TRUE(std::filesystem::exists(sandbox_.bpf_dir() / "wan0" / "program"));
  EXPECT_GT(here.load(policy_, ids_), 0U);
  EXPECT_TRUE(here.attached());
}

TEST_F(ClassifierTest, AnInterfaceNameWithADotHasAPlace) {
  output_of("ip link add wan0.100 type veth peer name far1");
  Classifier c("wan0.100", sandbox_.bpf_dir());
  EXPECT_GT(c.load(policy_, ids_), 0U);
  EXPECT_EQ(Classifier("wan0.100", sandbox_.bpf_dir()).load(policy_, ids_), 0U);
  EXPECT_EQ(c.remove(), 5U);
}

TEST_F(ClassifierTest, WithoutABpfFileSystemSaysHowToMountIt) {
  Classifier c("wan0", std::filesystem::temp_directory_path() / "weir-no-bpffs" / "weir");
  const auto refusal = refusal_of(c, policy_, ids_);
  EXPECT_TRUE(contains(refusal, "mount -t bpf bpf /sys/fs/bpf")) << refusal;
  EXPECT_FALSE(contains(qdiscs(), "clsact"));
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::temp_directory_path() / "weir-no-bpffs"));
}

TEST_F(ClassifierTest, APortWithoutEthernetHeadersIsRefused) {
  Classifier c("lo", sandbox_.bpf_dir());
  const auto refusal = refusal_of(c, policy_, ids_);
  EXPECT_TRUE(contains(refusal, "lo, which is not an Ethernet interface")) << refusal;
}

TEST_F(ClassifierTest, AFailedLoadLeavesTheOldPolicyServing) {
  make_htb_tree(ids_);
  auto c = classifier();
  c.load(policy_, ids_);
  auto too_big = policy_;
  too_big.class_sets[0].classes[0].match.assign(5'000, Match{.dscp = {1}});
  EXPECT_THROW(c.load(too_big, ids_), std::system_error);
  EXPECT_TRUE(c.attached());
  EXPECT_EQ(c.load(policy_, ids_), 0U);
  const RawSender sender("wan0");
  sender.send(voice());
  EXPECT_EQ(packets_by_class("wan0")[ids_.classes[0][0]], 1U);
}

TEST_F(ClassifierTest, OtherFiltersStillSeeThePackets) {
  make_htb_tree(ids_);
  auto c = classifier();
  c.load(policy_, ids_);
  output_of(
      "ip link add dummy-seen type veth peer name dummy-end && ip link set dummy-seen up && ip link set "
      "dummy-end up");
  silence("dummy-end");
  output_of(
      "tc filter add dev wan0 egress pref 50 protocol all u32 match u32 0 0 action mirred egress mirror dev "
      "dummy-seen");
  const RawSender sender("wan0");
  sender.send(voice());
  const auto shown = output_of("tc -s filter show dev wan0 egress pref 50");
  EXPECT_TRUE(contains(shown, "Sent 54 bytes 1 pkt")) << shown;
  EXPECT_EQ(packets_by_class("wan0")[ids_.classes[0][0]], 1U);
}

TEST_F(ClassifierTest, PlanSaysWhatLoadWouldDo) {
  auto c = classifier();
  const auto pin = (sandbox_.bpf_dir() / "wan0" / "program").string();
  EXPECT_EQ(c.plan(policy_, ids_, false),
            (std::vector<std::string>{"load classifier " + pin + ": 2 sites, 5 subnets, 7 rules",
                                      "create clsact on wan0", "attach the classifier at egress of wan0"}));
  EXPECT_FALSE(contains(qdiscs(), "clsact"));
  c.load(policy_, ids_);
  policy_.sites[0].subnets.pop_back();
  const auto steps = c.plan(policy_, ids_, true);
  ASSERT_EQ(steps.size(), 2U);
  // The command is one that tc takes: it puts back the very program that is pinned.
  EXPECT_EQ(steps[1],
            "tc filter replace dev wan0 egress protocol all pref 7 handle 0x7e17 bpf direct-action "
            "object-pinned " +
                pin);
  output_of(steps[1]);
  EXPECT_TRUE(contains(egress_filters(), "pref 7"));
}

}  // namespace
}  // namespace weir::shaper::test
