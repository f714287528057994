/// PortShaper against the kernel that runs, judged by tc and by a monitor socket, not by our own decoder.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <boost/json.hpp>

#include "shaper/kernel_events.hpp"
#include "shaper/netlink_kernel.hpp"
#include "shaper/port_shaper.hpp"

#include "sample_policy.hpp"
#include "test_namespace.hpp"

namespace weir::shaper {
namespace {

namespace json = boost::json;
using testing::output_of;
using testing::two_sites;
using Kind = KernelEvent::Kind;

const std::vector<Rate> kRates{Rate::mbps(100), Rate::mbps(50)};

/// A directory for state and one in the BPF file system for pins, both of this test's own.
class ShaperKernel : public testing::NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped()) return;
    char name[] = "/tmp/weir-shaper-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    // A BPF file system that only this process sees, and that goes with it.
    std::filesystem::create_directory(pins());
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(mount("bpf", pins().c_str(), "bpf", 0, nullptr), 0) << strerror(errno);
  }
  void TearDown() override {
    if (!directory_.empty()) {
      umount(pins().c_str());
      std::filesystem::remove_all(directory_);
    }
    NamespaceTest::TearDown();
  }

  [[nodiscard]] PortShaper open(bool replace = false) const {
    return {"wan0", {.replace_foreign = replace, .state_dir = directory_, .bpf_dir = pins()}};
  }
  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }
  [[nodiscard]] std::filesystem::path pins() const { return directory_ / "bpf"; }

 private:
  std::filesystem::path directory_;
};

/// What happened to queues, classes and filters; links may still be settling.
std::vector<KernelEvent> tc_events(KernelEvents& events) {
  std::vector<KernelEvent> seen;
  events.drain([&](const KernelEvent& event) {
    const bool link = event.kind == Kind::link_changed || event.kind == Kind::link_removed;
    if (!link) seen.push_back(event);
  });
  return seen;
}

/// Waits until an event fits; false after two seconds.
bool comes(KernelEvents& events, const std::function<bool(const KernelEvent&)>& fits) {
  bool found = false;
  for (int i = 0; i < 20 && !found; ++i) {
    pollfd ready{.fd = events.descriptor(), .events = POLLIN, .revents = 0};
    poll(&ready, 1, 100);
    events.drain([&](const KernelEvent& event) { found = found || fits(event); });
  }
  return found;
}

/// The tree as tc prints it, in the order of handles, without counters and without fq_codel's busy flows.
std::string tree_by_tc() {
  return output_of("tc -d class show dev wan0 | grep htb | sort") +
         output_of(
             "tc -d qdisc show dev wan0 | grep -v clsact | sed -E 's/(refcnt|direct_packets_stat) [0-9]+//g' "
             "| sort");
}

TEST_F(ShaperKernel, HoldsWhatTcSees) {
  auto shaper = open();
  const auto report = shaper.apply(two_sites(), kRates);
  ASSERT_TRUE(report.ok()) << report.fault->attempt << " " << report.fault->hint;
  const auto classes = output_of("tc class show dev wan0");
  EXPECT_NE(classes.find("class htb 7e17:1 root rate 622Mbit overhead 24 ceil 622Mbit"), std::string::npos)
      << classes;
  EXPECT_NE(
      classes.find("class htb 7e17:10 parent 7e17:1 rate 100Mbit overhead 24 ceil 100Mbit burst 12500b"),
      std::string::npos)
      << classes;
  EXPECT_NE(
      classes.find("class htb 7e17:12 parent 7e17:10 leaf 12: prio 1 rate 25Mbit overhead 24 ceil 100Mbit"),
      std::string::npos)
      << classes;
  const auto qdiscs = json::parse(output_of("tc -j qdisc show dev wan0")).as_array();
  const auto root = std::find_if(qdiscs.begin(), qdiscs.end(), [](const json::value& q) {
    return q.at("kind") == "htb" && q.as_object().contains("root");
  });
  ASSERT_NE(root, qdiscs.end());
  EXPECT_EQ(root->at("handle").as_string(), "7e17:");
  const auto leaf = std::find_if(qdiscs.begin(), qdiscs.end(), [](const json::value& q) {
    return q.as_object().contains("parent") && q.at("parent") == "7e17:12";
  });
  ASSERT_NE(leaf, qdiscs.end());
  EXPECT_EQ(leaf->at("kind").as_string(), report.degraded ? "bfifo" : "fq_codel");
}

TEST_F(ShaperKernel, WritesNothingTheSecondTime) {
  ASSERT_TRUE(open().apply(two_sites(), kRates).ok());
  KernelEvents events;
  const auto before = tree_by_tc();
  const auto again = open().apply(two_sites(), kRates);
  EXPECT_TRUE(again.ok());
  EXPECT_EQ(again.messages, 0U);
  EXPECT_TRUE(tc_events(events).empty());
  EXPECT_EQ(tree_by_tc(), before);
}

// Killed, not stopped: no destructor runs, and what is in the kernel stays.
TEST_F(ShaperKernel, IsAdoptedAfterTheProcessWasKilled) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto shaper = open();
    const bool done = shaper.apply(two_sites(), std::vector{Rate::bps(77'777'777), Rate::mbps(50)}).ok();
    if (done) raise(SIGKILL);
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));

  KernelEvents events;
  const auto before = tree_by_tc();
  auto shaper = open();
  const auto rates = shaper.adopted_rates(two_sites());
  ASSERT_TRUE(rates);
  EXPECT_EQ((*rates)[0], Rate::bps(77'777'776));
  EXPECT_EQ((*rates)[1], Rate::mbps(50));
  const auto report = shaper.apply(two_sites(), std::vector{*(*rates)[0], *(*rates)[1]});
  EXPECT_TRUE(report.ok());
  EXPECT_TRUE(report.adopted);
  EXPECT_EQ(report.messages, 0U);
  EXPECT_TRUE(tc_events(events).empty());
  EXPECT_EQ(tree_by_tc(), before);
}

TEST_F(ShaperKernel, IsAdoptedWithoutItsStateFile) {
  { ASSERT_TRUE(open().apply(two_sites(), kRates).ok()); }
  std::filesystem::remove(directory() / "wan0.json");
  EXPECT_EQ(open().apply(two_sites(), kRates).messages, 0U);
}

TEST_F(ShaperKernel, ChangesRatesInPlace) {
  auto shaper = open();
  ASSERT_TRUE(shaper.apply(two_sites(), kRates).ok());
  KernelEvents events;
  const auto report = shaper.set_rates(std::vector{Rate::mbps(96), Rate::mbps(50)});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report.messages, 5U);
  std::size_t ours = 0;
  for (const auto& event : tc_events(events)) {
    EXPECT_EQ(event.kind, Kind::class_changed);
    EXPECT_EQ(event.interface, "wan0");
    ours += event.origin == shaper.netlink_port() ? 1U : 0U;
  }
  EXPECT_EQ(ours, 5U);
  EXPECT_NE(
      output_of("tc class show dev wan0").find("7e17:10 parent 7e17:1 rate 96Mbit overhead 24 ceil 96Mbit"),
      std::string::npos);
  EXPECT_TRUE(shaper.in_place());
}

// Rates beyond what 32 bits of bytes per second hold.
TEST_F(ShaperKernel, HoldsSixtyFourBitRates) {
  auto policy = two_sites();
  policy.wan.rate = Rate::mbps(100'000);
  ASSERT_TRUE(open().apply(policy, std::vector{Rate::mbps(40'000), Rate::mbps(50'000)}).ok());
  EXPECT_NE(
      output_of("tc class show dev wan0").find("7e17:20 parent 7e17:1 rate 50Gbit overhead 24 ceil 50Gbit"),
      std::string::npos)
      << output_of("tc class show dev wan0");
  EXPECT_EQ(open().apply(policy, std::vector{Rate::mbps(40'000), Rate::mbps(50'000)}).messages, 0U);
}

// One process that reloads goes by what it left there; one that has just begun looks, and finds the same.
TEST_F(ShaperKernel, LeavesWhatItBelievesAfterReloads) {
  auto policy = two_sites();
  {
    auto shaper = open();
    ASSERT_TRUE(shaper.apply(policy, kRates).ok());
    policy.class_sets[0].classes[1].ceiling = Share{0.5};
    policy.sites.push_back(testing::make_site("dc-new", Rate::mbps(5), Rate::mbps(50), "10.40.0.0/16"));
    const std::vector<Rate> rates{Rate::mbps(90), Rate::mbps(40), Rate::mbps(20)};
    const auto added = shaper.apply(policy, rates);
    EXPECT_TRUE(added.ok()) << added.fault->attempt;
    for (const auto& change : added.changes) EXPECT_EQ(change.find("read the whole tree"), std::string::npos);
    policy.sites.erase(policy.sites.begin());
    const auto removed = shaper.apply(policy, std::vector{rates[1], rates[2]});
    EXPECT_TRUE(removed.ok()) << removed.fault->attempt;
    for (const auto& change : removed.changes)
      EXPECT_EQ(change.find("read the whole tree"), std::string::npos);
    EXPECT_TRUE(shaper.in_place());
  }
  EXPECT_EQ(open().apply(policy, std::vector{Rate::mbps(40), Rate::mbps(20)}).messages, 0U);
}

TEST_F(ShaperKernel, ReadsSomeClassesAsItReadsThemAll) {
  auto shaper = open();
  ASSERT_TRUE(shaper.apply(two_sites(), kRates).ok());
  // With the queue that the kernel gives it, which it shows nobody.
  output_of("tc class add dev wan0 parent 7e17:1 classid 7e17:777 htb rate 8kbit");
  NetlinkKernel kernel;
  const int index = kernel.link("wan0")->index;
  const auto all = kernel.observe(index);
  const std::vector<Handle> asked{kRoot,
                                  kPortClass,
                                  make_handle(kMajor, 0x10),
                                  make_handle(kMajor, 0x11),
                                  make_handle(kMajor, 0x777),
                                  make_handle(kMajor, 0x999)};
  const auto some = kernel.observe(index, asked);
  EXPECT_EQ(some.root, all.root);
  Observed wanted{.root = all.root};
  for (const Handle handle : asked) {
    if (const auto cls = all.classes.find(handle); cls != all.classes.end()) wanted.classes.insert(*cls);
    if (const auto leaf = all.leaves.find(handle); leaf != all.leaves.end()) wanted.leaves.insert(*leaf);
  }
  EXPECT_EQ(wanted.classes.size(), 4U);
  EXPECT_EQ(wanted.leaves.size(), 1U);
  EXPECT_EQ(some, wanted);
}

TEST_F(ShaperKernel, HoldsEveryLinkLayer) {
  for (const auto& link : {LinkLayer{.kind = LinkLayer::Kind::atm, .overhead = 10, .mpu = 64},
                           LinkLayer{.kind = LinkLayer::Kind::ppp, .overhead = -10},
                           LinkLayer{.kind = LinkLayer::Kind::ppp, .overhead = -4}, LinkLayer{}}) {
    auto policy = two_sites();
    policy.wan.link_layer = link;
    const auto report = open().apply(policy, kRates);
    EXPECT_TRUE(report.ok()) << report.fault->attempt;
    EXPECT_EQ(open().apply(policy, kRates).messages, 0U);
  }
}

// The commands that `plan --tc` prints, run by the real tc, give the tree that we program, bit for bit.
TEST_F(ShaperKernel, PlansTheCommandsThatTcNeedsForTheSameTree) {
  for (const auto& link :
       {LinkLayer{.overhead = 24}, LinkLayer{.kind = LinkLayer::Kind::atm, .overhead = 10, .mpu = 64},
        LinkLayer{.kind = LinkLayer::Kind::ppp, .overhead = -4}}) {
    auto policy = two_sites();
    policy.wan.link_layer = link;
    const std::vector<Rate> rates{Rate::bps(123'456'789), Rate::kbps(700)};
    std::vector<std::string> commands;
    {
      auto shaper = open();
      commands = shaper.plan(policy, rates, true);
      EXPECT_EQ(output_of("tc qdisc show dev wan0").find("htb"), std::string::npos)
          << "a plan wrote something";
    }
    std::ofstream batch(directory() / "batch");  // tc reads its own commands, without its name
    for (const auto& command : commands) {
      const bool tree = command.starts_with("tc class ") || command.starts_with("tc qdisc ");
      if (tree && !command.ends_with("clsact")) batch << command.substr(3) << "\n";
    }
    batch.close();
    output_of("tc -batch " + (directory() / "batch").string());
    const auto by_tc = tree_by_tc();
    auto shaper = open();
    const auto changes = shaper.plan(policy, rates, true);
    EXPECT_TRUE(std::none_of(changes.begin(), changes.end(), [](const std::string& line) {
      return line.find(" htb ") != std::string::npos || line.find("fifo") != std::string::npos ||
             line.find("fq_codel") != std::string::npos;
    })) << changes.front();
    ASSERT_TRUE(shaper.apply(policy, rates).ok());
    EXPECT_EQ(tree_by_tc(), by_tc);
    ASSERT_TRUE(shaper.clear().ok());
    ASSERT_TRUE(shaper.apply(policy, rates).ok());
    EXPECT_EQ(tree_by_tc(), by_tc);
    ASSERT_TRUE(shaper.clear().ok());
  }
}

TEST_F(ShaperKernel, RefusesAStrangersQueueAndReplacesItWhenTold) {
  output_of("tc qdisc add dev wan0 root handle 5: tbf rate 10mbit burst 10k limit 100k");
  {
    auto shaper = open();
    const auto report = shaper.apply(two_sites(), kRates);
    ASSERT_TRUE(report.fault);
    EXPECT_EQ(report.fault->error, EBUSY);
    EXPECT_TRUE(shaper.clear().ok());
  }
  EXPECT_NE(output_of("tc qdisc show dev wan0").find("tbf 5:"), std::string::npos);
  auto shaper = open(true);
  EXPECT_TRUE(shaper.apply(two_sites(), kRates).ok());
  EXPECT_EQ(output_of("tc qdisc show dev wan0").find("tbf"), std::string::npos);
}

TEST_F(ShaperKernel, TakesOverAForeignRootWithOurHandle) {
  output_of("tc qdisc add dev wan0 root handle 7e17: tbf rate 10mbit burst 10k limit 100k");
  EXPECT_FALSE(open().apply(two_sites(), kRates).ok());
  EXPECT_TRUE(open(true).apply(two_sites(), kRates).ok());
  output_of("tc qdisc del dev wan0 root");
  output_of("tc qdisc add dev wan0 root handle 7e17: htb default 77");
  const auto report = open().apply(two_sites(), kRates);
  EXPECT_TRUE(report.ok()) << report.fault->attempt;
}

TEST_F(ShaperKernel, ClearsWhatItMadeAndOnlyThat) {
  const auto before = output_of("tc qdisc show dev wan0");
  auto shaper = open();
  ASSERT_TRUE(shaper.apply(two_sites(), kRates).ok());
  ASSERT_TRUE(shaper.clear().ok());
  EXPECT_EQ(output_of("tc qdisc show dev wan0"), before);
  EXPECT_FALSE(std::filesystem::exists(directory() / "wan0.json"));
  EXPECT_EQ(shaper.clear().messages, 0U);
}

TEST_F(ShaperKernel, IsHeldByOneProcessAtATime) {
  const auto first = open();
  try {
    static_cast<void>(open());
    FAIL() << "a second shaper took the same port";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code().value(), EWOULDBLOCK);
    EXPECT_NE(std::string(e.what()).find("wan0.lock"), std::string::npos) << e.what();
  }
}

TEST_F(ShaperKernel, TakesNoNameThatIsAPath) {
  for (const char* name : {"", "..", "../wan0", "wan0 ", "a-name-that-is-too-long"}) {
    EXPECT_THROW(PortShaper(name, {.state_dir = directory()}), std::system_error) << name;
  }
}

TEST_F(ShaperKernel, HearsWhenSomebodyDeletesTheQueuesAndPutsThemBack) {
  auto shaper = open();
  ASSERT_TRUE(shaper.apply(two_sites(), kRates).ok());
  KernelEvents events;
  ASSERT_TRUE(shaper.in_place());
  output_of("tc qdisc del dev wan0 root");
  EXPECT_TRUE(comes(events, [&](const KernelEvent& event) {
    return event.kind == Kind::qdisc_removed && event.handle == kRoot && event.interface == "wan0" &&
           event.origin != shaper.netlink_port();
  }));
  EXPECT_FALSE(shaper.in_place());
  EXPECT_TRUE(shaper.apply(two_sites(), kRates).ok());
  EXPECT_TRUE(shaper.in_place());
}

TEST_F(ShaperKernel, RepairsARateChangeAfterSomebodyDeletedAClass) {
  auto shaper = open();
  ASSERT_TRUE(shaper.apply(two_sites(), kRates).ok());
  output_of("tc class del dev wan0 classid 7e17:14");
  EXPECT_FALSE(shaper.in_place());
  const auto report = shaper.set_rates(std::vector{Rate::mbps(90), Rate::mbps(50)});
  EXPECT_TRUE(report.ok());
  EXPECT_TRUE(shaper.in_place());
}

TEST_F(ShaperKernel, HearsLinksGoDownChangeNamesAndVanish) {
  KernelEvents events;
  output_of("ip link set wan0 down");
  EXPECT_TRUE(comes(events, [](const KernelEvent& e) {
    return e.kind == Kind::link_changed && e.interface == "wan0" && !e.running;
  }));
  output_of("ip link set wan0 name wan9 && ip link set wan9 up");
  EXPECT_TRUE(comes(events, [](const KernelEvent& e) {
    return e.kind == Kind::link_renamed && e.former_name == "wan0" && e.interface == "wan9";
  }));
  output_of("ip link del wan9");
  EXPECT_TRUE(comes(
      events, [](const KernelEvent& e) { return e.kind == Kind::link_removed && e.interface == "wan9"; }));
}

// Packets that nobody classified go to `elsewhere`, and what is counted there is what tc counts plus the
// overhead.
TEST_F(ShaperKernel, CountsWhatTcCounts) {
  output_of(
      "ip address add 192.0.2.1/24 dev wan0 && ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wan0");
  auto shaper = open();
  ASSERT_TRUE(shaper.apply(two_sites(), kRates).ok());
  output_of(
      "python3 -c \"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
      "for _ in range(50): s.sendto(bytes(958), ('192.0.2.2', 9))\"");
  const auto classes = shaper.class_counters();
  const auto elsewhere =
      std::find_if(classes.begin(), classes.end(), [](const auto& c) { return c.name == "elsewhere"; });
  ASSERT_NE(elsewhere, classes.end());
  EXPECT_GE(elsewhere->packets, 50U);
  EXPECT_GE(elsewhere->sent.count(), 50U * (1000 + 24));
  const auto by_tc = output_of("tc -s class show dev wan0 classid 7e17:3");
  const auto expected = "Sent " + std::to_string(elsewhere->sent.count() - 24 * elsewhere->packets) +
                        " bytes " + std::to_string(elsewhere->packets) + " pkt";
  EXPECT_NE(by_tc.find(expected), std::string::npos) << by_tc << expected;
  EXPECT_EQ(shaper.site_counters().size(), 2U);
}

// What waits in a class with a latency goal is what tc says of it.
TEST_F(ShaperKernel, CountsWhatWaitsInAClassWithALatencyGoal) {
  output_of(
      "ip address add 192.0.2.1/24 dev wan0 && ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wan0 "
      "&& "
      "ip route add 10.20.0.0/16 via 192.0.2.2");
  Policy policy = two_sites();
  ClassPolicy& voice = policy.class_sets[0].classes[0];
  voice.latency = std::chrono::milliseconds(20);
  voice.guarantee = voice.ceiling = Rate::kbps(8);  // a packet a second
  auto shaper = open();
  ASSERT_TRUE(shaper.apply(policy, kRates).ok());
  output_of(
      "python3 -c \"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
      "s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 46 << 2)\n"
      "for _ in range(20): s.sendto(bytes(958), ('10.20.0.9', 9))\"");
  // Its sizes are rounded to kilobytes now and then, its packets are not: a thousand bytes each.
  const auto by_tc = [] {
    const std::string shown = output_of("tc -s class show dev wan0 classid 7e17:11");
    unsigned packets = 0;
    const std::size_t at = shown.find("backlog ");
    EXPECT_TRUE(at != std::string::npos && std::sscanf(&shown[at], "backlog %*s %up", &packets) == 1)
        << shown;
    return packets * 1000U;
  };
  const auto before = by_tc();
  const auto sites = shaper.site_counters();
  const auto after = by_tc();
  ASSERT_EQ(sites.at(0).goals.size(), 1U);
  EXPECT_LE(sites[0].goals[0].backlog.count(), before);
  EXPECT_GE(sites[0].goals[0].backlog.count(), after);
  EXPECT_GE(after, 5U * 1000) << "nothing waited: this proves nothing";
  EXPECT_EQ(sites[0].goals[0].sent.count() % (1000 + 24), 0U) << "as HTB charges: Ethernet and the overhead";
  EXPECT_EQ(sites.at(1).goals.at(0).backlog, Bytes(0));
}

// One class asked for by itself gives what the dump gives.
TEST_F(ShaperKernel, AnswersAboutSingleClasses) {
  auto shaper = open();
  ASSERT_TRUE(shaper.apply(two_sites(), kRates).ok());
  NetlinkKernel kernel;
  const auto link = kernel.link("wan0");
  ASSERT_TRUE(link);
  const auto all = kernel.class_stats(link->index);
  const std::vector<Handle> some{make_handle(kMajor, 0x10), make_handle(kMajor, 0x20),
                                 make_handle(kMajor, 0x999)};
  const auto single = kernel.class_stats(link->index, some);
  ASSERT_EQ(single.size(), 2U);
  EXPECT_EQ(single.at(some[0]).htb, all.at(some[0]).htb);
  EXPECT_EQ(single.at(some[1]).htb, all.at(some[1]).htb);
}

// What the kernel does without a word: it must be seen by reading back.
TEST_F(ShaperKernel, ShowsTheKernelsSilentChangesOfMind) {
  NetlinkKernel kernel;
  const auto link = kernel.link("wan0");
  ASSERT_TRUE(link);
  SetClass orphan{.create = true, .handle = make_handle(kMajor, 5), .parent = make_handle(kMajor, 0x4444)};
  orphan.htb = {.rate = Rate::mbps(1),
                .ceil = Rate::mbps(1),
                .burst = {1000},
                .cburst = {1000},
                .quantum = 1500,
                .priority = 9};
  SetClass bad = orphan;
  bad.handle = make_handle(kMajor, 6);
  bad.htb.rate = Rate();
  SetClass good = orphan;
  good.handle = make_handle(kMajor, 7);
  ASSERT_FALSE(kernel.write(link->index, std::vector<Change>{SetRoot{}}).refusal);
  const auto result = kernel.write(link->index, std::vector<Change>{orphan, bad, good});
  ASSERT_TRUE(result.refusal);
  EXPECT_EQ(result.refusal->index, 1U);
  EXPECT_EQ(result.refusal->error, EINVAL);
  EXPECT_EQ(result.accepted, 2U) << "the kernel goes on after a refused message";
  const auto seen = kernel.observe(link->index);
  EXPECT_EQ(seen.classes.at(orphan.handle).parent, kRoot) << "an unknown parent makes a root class";
  EXPECT_EQ(seen.classes.at(orphan.handle).htb.priority, 7U) << "priority 9 becomes 7";
}

TEST_F(ShaperKernel, ExplainsARefusalInTheKernelsWords) {
  NetlinkKernel kernel;
  const auto link = kernel.link("wan0");
  ASSERT_TRUE(link);
  ASSERT_FALSE(kernel.write(link->index, std::vector<Change>{SetRoot{}}).refusal);
  const auto result = kernel.write(link->index, std::vector<Change>{SetRoot{}});
  ASSERT_TRUE(result.refusal);
  EXPECT_EQ(result.refusal->error, EEXIST);
  EXPECT_FALSE(result.refusal->kernel_says.empty());
}

// Asking for fq_codel leaves the port as it was, and the answer is that of tc.
TEST_F(ShaperKernel, AsksForFqCodelWithoutChangingAnything) {
  NetlinkKernel kernel;
  const auto link = kernel.link("wan0");
  ASSERT_TRUE(link);
  // All but a count of packets: the kernel greets its neighbours whenever it likes.
  const char* const show = "tc -d qdisc show dev wan0 | sed -E 's/direct_packets_stat [0-9]+//'";
  for (const char* setting : {"true", "tc qdisc add dev wan0 root handle 5: pfifo limit 10",
                              "tc qdisc replace dev wan0 root handle 7e17: htb"}) {
    output_of(setting);
    const auto before = output_of(show);
    const bool has = kernel.has_fq_codel(link->index);
    EXPECT_EQ(output_of(show), before);
    const bool tc_has =
        output_of(
            "tc qdisc add dev far0 root fq_codel 2>&1 && tc qdisc del dev far0 root && echo has-it || true")
            .find("has-it") != std::string::npos;
    EXPECT_EQ(has, tc_has);
  }
}

}  // namespace
}  // namespace weir::shaper
