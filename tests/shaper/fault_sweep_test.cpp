// A reload that meets every fault at every place where it can: no class in use is ever missing, no packet is
// lost, and whoever comes next converges.
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fake_kernel.hpp"
#include "random_policy.hpp"

namespace weir::shaper {
namespace {

using testing::FakeFault;
using testing::FakePort;
using testing::make_class;
using testing::PolicyAndRates;
using testing::RandomPolicies;
using testing::two_sites;

/// A port with traffic in every class that its classifier names. Classes that nothing is sent to any more run
/// empty while the shaper waits.
class BusyPort {
 public:
  BusyPort() {
    port.start_as_of_a_large_tree();  // reads back only what it touched: the more that can be missed
    port.kernel.after_message = [this] { look(); };
    port.kernel.on_pause = [this] {
      const auto used = in_use();
      for (auto& [handle, packets] : port.kernel.queued)
        if (!used.contains(handle)) packets = 0;
    };
    port.classifier.after_switch = [this] { look(); };
  }

  FakePort port;
  std::string missing;       ///< a class in use that once did not take packets
  bool may_be_bare = false;  ///< the tree may go as a whole: the port then forwards without us

 private:
  [[nodiscard]] std::set<Handle> in_use() const {
    std::set<Handle> handles;
    if (!port.classifier.holds) return handles;
    const auto& [policy, ids] = *port.classifier.holds;
    handles = {kControlClass, kElsewhereClass};
    for (std::size_t s = 0; s < policy.sites.size(); ++s) {
      const auto& classes = policy.classes_of(policy.sites[s]).classes;
      for (std::size_t c = 0; c < classes.size(); ++c)
        if (!classes[c].inner) handles.insert(ids.classes[s][c]);
    }
    return handles;
  }
  void look() {
    if (!port.kernel.tree.is_ours()) {
      if (!may_be_bare && missing.empty() && port.classifier.holds) missing = "the root";
      return;
    }
    for (const Handle handle : in_use()) {
      const auto found = port.kernel.tree.classes.find(handle);
      const bool takes = found != port.kernel.tree.classes.end() && !found->second.inner;
      if (takes) port.kernel.queued[handle] = 1;
      if (!takes && missing.empty()) missing = tc_name(handle);
    }
  }
};

/// What happens after the fault.
enum class Then { again, again_after_restart, back, back_after_restart };

std::string name_of(Then then) {
  switch (then) {
    case Then::again:
      return "the new policy again";
    case Then::again_after_restart:
      return "a restart with the new policy";
    case Then::back:
      return "a change of the old policy's rates";
    case Then::back_after_restart:
      return "a restart with the old policy";
  }
  return "";
}

/// Who meets the fault: one that goes by what it left behind, or one that has to look.
enum class Who { knows, has_to_look };

struct Sweep {
  struct Met {
    std::size_t faults = 0;
    std::size_t harmless = 0;  ///< done with within the same call
  };
  Met knowing;
  Met looking;

  [[nodiscard]] std::size_t faults() const { return knowing.faults + looking.faults; }

  /// Goes from `before` to `after` with the fault at every place in turn, until there are no more places.
  void run(const PolicyAndRates& before, const PolicyAndRates& after, const FakeFault& fault) {
    for (const Who who : {Who::knows, Who::has_to_look}) run(before, after, fault, who);
  }

 private:
  void run(const PolicyAndRates& before, const PolicyAndRates& after, FakeFault fault, Who who) {
    for (fault.at = 0;; ++fault.at) {
      for (const Then then : {Then::again, Then::again_after_restart, Then::back, Then::back_after_restart}) {
        if (!once(before, after, fault, who, then)) {
          EXPECT_GT(fault.at, 0U) << fault.name() << " was never met";
          return;
        }
        if (::testing::Test::HasFailure()) return;
      }
    }
  }

  bool once(const PolicyAndRates& before, const PolicyAndRates& after, const FakeFault& fault, Who who,
            Then then) {
    SCOPED_TRACE(fault.name() + (who == Who::knows ? "" : " for one that has to look") + ", then " +
                 name_of(then));
    BusyPort busy;
    FakePort& port = busy.port;
    EXPECT_TRUE(port->apply(before.policy, before.shaped).ok());
    if (who == Who::has_to_look) {
      port.kernel.failing_dumps = 1;
      EXPECT_THROW(static_cast<void>(port->in_place()), std::system_error);
    }
    port.kernel.arm(fault);
    const auto report = port->apply(after.policy, after.shaped);
    if (port.kernel.disarm()) return false;  // there is no such place
    Met& met = who == Who::knows ? knowing : looking;
    ++met.faults;
    if (report.ok()) ++met.harmless;
    if (report.fault) {
      EXPECT_FALSE(report.fault->attempt.empty());
    }

    const bool back = then == Then::back || then == Then::back_after_restart;
    if (then == Then::again_after_restart || then == Then::back_after_restart) port.start();
    const PolicyAndRates& wanted = back && !report.ok() ? before : after;
    const auto next = then == Then::back && !report.ok() ? port->set_rates(before.shaped)
                                                         : port->apply(wanted.policy, wanted.shaped);
    EXPECT_TRUE(next.ok()) << (next.fault ? next.fault->attempt : "");
    EXPECT_EQ(port->apply(wanted.policy, wanted.shaped).messages, 0U);
    EXPECT_TRUE(port->in_place());
    EXPECT_EQ(port.classifier.holds->first, wanted.policy);

    // Around a class that the dump kept from us the guarantees cannot be right until the next look.
    EXPECT_TRUE(port.kernel.first_violation == std::nullopt || fault.kind == FakeFault::Kind::shortens_dump)
        << *port.kernel.first_violation;
    EXPECT_EQ(violated_invariant(port.kernel.tree), std::nullopt);
    EXPECT_EQ(busy.missing, "") << "a class in use did not take packets";
    EXPECT_EQ(port.kernel.lost, 0U) << "packets went with their queue";
    return true;
  }
};

std::vector<FakeFault> every_fault() {
  std::vector<FakeFault> faults;
  for (const int error : {ENOMEM, EBUSY, EINVAL, ENOBUFS})
    faults.push_back({.kind = FakeFault::Kind::refuses_message, .error = error});
  faults.push_back({.kind = FakeFault::Kind::loses_batch, .error = ENOBUFS});
  faults.push_back({.kind = FakeFault::Kind::loses_answer, .error = EAGAIN});
  for (const int error : {ENOBUFS, EBUSY})
    faults.push_back({.kind = FakeFault::Kind::fails_dump, .error = error});
  faults.push_back({.kind = FakeFault::Kind::shortens_dump});
  faults.push_back({.kind = FakeFault::Kind::fails_classifier, .error = EPERM});
  return faults;
}

TEST(FaultSweep, OfAReloadThatTakesAndGivesClasses) {
  PolicyAndRates before{.policy = two_sites(), .shaped = {Rate::mbps(100), Rate::mbps(50)}};
  PolicyAndRates after{.policy = two_sites(), .shaped = {Rate::mbps(40), Rate::mbps(70)}};
  auto& classes = after.policy.class_sets[0].classes;
  after.policy.sites[1].name = "dc-other";
  classes.insert(classes.begin(), make_class("new", 0.1, 5));
  classes.pop_back();
  classes.back().is_default = true;
  Sweep sweep;
  for (const FakeFault& fault : every_fault()) sweep.run(before, after, fault);
  EXPECT_GT(sweep.knowing.faults, 500U);
  EXPECT_GT(sweep.looking.faults, 500U);
  EXPECT_LT(sweep.looking.harmless, sweep.looking.faults / 10) << "hardly any goes unnoticed";
}

TEST(FaultSweep, OfRandomReloads) {
  RandomPolicies random(1209, false);
  Sweep sweep;
  for (int round = 0; round < 3 && !HasFailure(); ++round) {
    const auto before = random.next(4, 5);
    const auto after = random.next(4, 5);
    SCOPED_TRACE("round " + std::to_string(round));
    for (const FakeFault& fault : every_fault()) sweep.run(before, after, fault);
  }
  EXPECT_GT(sweep.faults(), 3'000U);
  RecordProperty("faults", static_cast<int>(sweep.faults()));
}

// One fault after the other, and policies in between: whatever was left behind, the first call without a
// fault converges.
TEST(FaultSweep, OfRandomSequencesOfPoliciesAndFaults) {
  RandomPolicies random(77, false);
  const auto faults = every_fault();
  std::size_t met = 0;
  for (int sequence = 0; sequence < 60; ++sequence) {
    BusyPort busy;
    FakePort& port = busy.port;
    const auto first = random.next(4, 5);
    ASSERT_TRUE(port->apply(first.policy, first.shaped).ok());
    bool hidden = false;  // by a dump, since the last look without a fault
    for (int step = 0; step < 12; ++step) {
      SCOPED_TRACE("sequence " + std::to_string(sequence) + ", step " + std::to_string(step));
      const auto next = random.next(4, 5);
      FakeFault fault = faults[static_cast<std::size_t>(random.pick(0, static_cast<int>(faults.size()) - 1))];
      fault.at = static_cast<std::size_t>(random.pick(0, 12));
      if (random.pick(0, 3) == 0) port.start();
      hidden = hidden || fault.kind == FakeFault::Kind::shortens_dump;
      SCOPED_TRACE(fault.name());
      port.kernel.arm(fault);
      const auto report = port->apply(next.policy, next.shaped);
      if (!port.kernel.disarm()) ++met;
      if (hidden) port.kernel.first_violation.reset();
      ASSERT_EQ(port.kernel.first_violation, std::nullopt);
      ASSERT_EQ(busy.missing, "") << "a class in use did not take packets";
      ASSERT_EQ(port.kernel.lost, 0U) << "packets went with their queue";
      if (step % 4 != 3) continue;
      const auto mended = port->apply(next.policy, next.shaped);
      ASSERT_TRUE(mended.ok()) << mended.fault->attempt;
      ASSERT_TRUE(port->in_place());
      ASSERT_EQ(port->apply(next.policy, next.shaped).messages, 0U);
      ASSERT_EQ(violated_invariant(port.kernel.tree), std::nullopt);
      if (hidden) port.kernel.first_violation.reset();  // what had to be mended was one
      hidden = false;
    }
  }
  EXPECT_GT(met, 200U);
}

TEST(FaultSweep, OfAFirstStart) {
  RandomPolicies random(5, false);
  const auto wanted = random.next(4, 5);
  std::size_t met = 0;
  for (FakeFault fault : every_fault()) {
    for (fault.at = 0;; ++fault.at) {
      SCOPED_TRACE(fault.name());
      BusyPort busy;
      busy.may_be_bare = true;
      busy.port.kernel.arm(fault);
      const auto report = busy.port->apply(wanted.policy, wanted.shaped);
      if (busy.port.kernel.disarm()) break;
      ++met;
      if (!report.ok()) {
        EXPECT_FALSE(busy.port.kernel.tree.is_ours()) << "half made";
      }
      EXPECT_TRUE(busy.port->apply(wanted.policy, wanted.shaped).ok());
      EXPECT_EQ(busy.port->apply(wanted.policy, wanted.shaped).messages, 0U);
      EXPECT_EQ(busy.port.kernel.first_violation, std::nullopt);
      EXPECT_EQ(busy.missing, "");
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(met, 100U);
}

// The root is among what a damaged dump may lack: that is no reason to take a tree for a first start's, and
// away.
TEST(FaultSweep, ADumpWithoutTheRootCostsNoTree) {
  BusyPort busy;
  const PolicyAndRates policy{.policy = two_sites(), .shaped = {Rate::mbps(100), Rate::mbps(50)}};
  ASSERT_TRUE(busy.port->apply(policy.policy, policy.shaped).ok());
  const auto before = busy.port.kernel.tree;
  busy.port.start();
  busy.port.kernel.hides_root_once = true;
  EXPECT_FALSE(busy.port->apply(policy.policy, policy.shaped).ok());
  EXPECT_EQ(busy.port.kernel.tree, before);
  EXPECT_TRUE(busy.port.classifier.holds.has_value());
  EXPECT_TRUE(busy.port->apply(policy.policy, policy.shaped).ok());
  EXPECT_EQ(busy.missing, "");
}

}  // namespace
}  // namespace weir::shaper
