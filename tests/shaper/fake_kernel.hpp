/// A kernel in memory with HTB's rules, including those that nobody expects; and the other two things that
/// the reconciler works with. Every message is checked against the tree's invariants at the instant it is
/// carried out.
#pragma once

#include <array>
#include <cerrno>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "shaper/invariants.hpp"
#include "shaper/kernel.hpp"
#include "shaper/reconciler.hpp"

namespace weir::shaper::testing {

/// Something that goes wrong once, at the `at`-th of its kind.
struct FakeFault {
  enum class Kind {
    refuses_message,   ///< and, as the real one, carries out the rest of the batch
    loses_batch,       ///< none of it is carried out, and there is no answer
    loses_answer,      ///< all of it is carried out, and there is no answer
    fails_dump,        ///< there is none
    shortens_dump,     ///< a class and its leaf are left out: the at-th over all dumps
    fails_classifier,  ///< what loads it does not
  };
  Kind kind = Kind::refuses_message;
  int error = EINVAL;
  std::size_t at = 0;

  [[nodiscard]] std::string name() const {
    constexpr std::array kNames{"refused message", "lost batch",           "lost answer",
                                "failed dump",     "dump without a class", "classifier that fails"};
    return std::string(kNames.at(static_cast<std::size_t>(kind))) + " " + std::to_string(at) + " (errno " +
           std::to_string(error) + ")";
  }
};

class FakeKernel final : public Kernel {
 public:
  Observed tree;  ///< what stands on the port
  bool fq_codel = true;
  int index = 7;  ///< 0: no such interface
  std::uint32_t mtu = 1500;
  std::size_t messages = 0;            ///< seen since the start
  std::optional<std::size_t> fail_at;  ///< refuse the message with this number
  std::optional<std::string> first_violation;
  std::map<Handle, std::uint32_t> queued;  ///< packets in leaf classes
  std::map<Handle, std::uint64_t> bytes;
  std::map<Handle, std::uint64_t> packets;
  int pauses = 0;
  int failing_dumps = 0;  ///< so many observe() to come give no answer
  std::function<void()> on_pause = [] {};
  std::function<void()> on_write = [] {};
  std::function<void()> after_message = [] {};
  std::size_t lost = 0;  ///< packets that were in a queue when it was taken away
  bool hides_root_once = false;
  std::size_t looks = 0;  ///< at the whole tree
  std::size_t full_dumps = 0;
  std::size_t single_questions = 0;

  /// What the other leg merges; nullopt: there is none.
  std::optional<MergeLimit> other_leg;
  std::vector<MergeLimit> limits_set;
  int refuses_limits = 0;  ///< errno
  bool other_leg_fails = false;

  std::optional<LinkFacts> link(const std::string& interface) override {
    if (interface == "lan0" && other_leg_fails)
      throw std::system_error(ENOBUFS, std::generic_category(), "look up lan0");
    if (interface == "lan0")
      return other_leg ? std::optional(LinkFacts{.index = 8, .mtu = mtu, .merge = *other_leg}) : std::nullopt;
    return index == 0 ? std::nullopt : std::optional(LinkFacts{.index = index, .mtu = mtu});
  }
  int set_merge_limit(int which, const MergeLimit& limit) override {
    if (which != 8) throw std::logic_error("not the other leg");
    if (refuses_limits != 0) return refuses_limits;
    limits_set.push_back(limit);
    other_leg = limit;
    return 0;
  }
  void arm(const FakeFault& fault) {
    fault_ = fault;
    until_fault_ = fault.at;
  }
  /// True when it has not happened.
  bool disarm() {
    const bool not_met = fault_.has_value();
    fault_.reset();
    return not_met;
  }
  /// The armed fault of this kind happens now; whoever asks counts as one of its kind.
  bool strikes(FakeFault::Kind kind) {
    if (!fault_ || fault_->kind != kind || until_fault_-- > 0) return false;
    last_error_ = fault_->error;
    fault_.reset();
    return true;
  }
  [[noreturn]] void no_answer(const char* attempt) const {
    throw std::system_error(last_error_, std::generic_category(), attempt);
  }

  Observed observe(int) override {
    ++looks;
    if (strikes(FakeFault::Kind::fails_dump)) no_answer("dump the classes of wan0");
    if (std::exchange(hides_root_once, false)) return {};
    if (failing_dumps > 0) {
      --failing_dumps;
      throw std::system_error(ENOBUFS, std::generic_category(), "dump the classes of wan0");
    }
    return shortened(tree);
  }
  Observed observe(int, std::span<const Handle> only) override {
    if (strikes(FakeFault::Kind::fails_dump)) no_answer("read the classes of wan0");
    Observed seen{.root = tree.root};
    for (const Handle handle : only) {
      ++single_questions;
      if (const auto cls = tree.classes.find(handle); cls != tree.classes.end()) seen.classes.insert(*cls);
      if (const auto leaf = tree.leaves.find(handle); leaf != tree.leaves.end()) seen.leaves.insert(*leaf);
    }
    return shortened(std::move(seen));
  }
  bool has_fq_codel(int) override { return fq_codel; }

  // As the real one: after a refusal the rest is carried out all the same.
  WriteResult write(int, std::span<const Change> changes) override {
    on_write();
    if (strikes(FakeFault::Kind::loses_batch)) no_answer("change the queue tree");
    WriteResult result;
    for (std::size_t i = 0; i < changes.size(); ++i) {
      const int error = fail_at == messages++ ? EINVAL
                        : strikes(FakeFault::Kind::refuses_message)
                            ? last_error_
                            : std::visit([&](const auto& c) { return take(c); }, changes[i]);
      if (error == 0) {
        ++result.accepted;
      } else if (!result.refusal) {
        result.refusal = Refusal{.index = i, .error = error, .kernel_says = "fake"};
      }
      if (!first_violation) first_violation = violated_invariant(tree);
      after_message();
    }
    if (strikes(FakeFault::Kind::loses_answer)) no_answer("change the queue tree");
    return result;
  }

  std::map<Handle, ClassStats> class_stats(int) override {
    ++full_dumps;
    std::map<Handle, ClassStats> stats;
    for (const auto& [handle, cls] : tree.classes) stats.emplace(handle, stats_of(cls));
    return stats;
  }
  std::map<Handle, ClassStats> class_stats(int, std::span<const Handle> only) override {
    std::map<Handle, ClassStats> stats;
    for (const Handle handle : only) {
      ++single_questions;
      if (const auto it = tree.classes.find(handle); it != tree.classes.end())
        stats.emplace(handle, stats_of(it->second));
    }
    return stats;
  }
  std::map<Handle, LeafStats> leaf_stats(int) override {
    std::map<Handle, LeafStats> stats;
    for (const auto& [parent, leaf] : tree.leaves)
      stats.emplace(parent, LeafStats{.kind = leaf.kind, .drops = 3});
    return stats;
  }
  void pause(std::chrono::milliseconds) override {
    ++pauses;
    on_pause();
  }

 private:
  /// What was read without one class, if the armed fault is for one of its classes.
  Observed shortened(Observed seen) {
    if (!fault_ || fault_->kind != FakeFault::Kind::shortens_dump) return seen;
    if (until_fault_ >= seen.classes.size()) {
      until_fault_ -= seen.classes.size();
      return seen;
    }
    const Handle gone = std::next(seen.classes.begin(), static_cast<std::ptrdiff_t>(until_fault_))->first;
    seen.classes.erase(gone);
    seen.leaves.erase(gone);
    fault_.reset();
    return seen;
  }
  void lose_queue_of(Handle handle) {
    lost += queued[handle];
    queued[handle] = 0;
  }

  [[nodiscard]] bool has_children(Handle handle) const {
    for (const auto& [h, cls] : tree.classes) {
      if (cls.parent == handle) return true;
    }
    return false;
  }

  ClassStats stats_of(const ObservedClass& cls) {
    ClassStats stats{.parent = cls.parent, .inner = cls.inner, .htb = cls.htb};
    stats.bytes = bytes[cls.handle];
    stats.packets = packets[cls.handle];
    stats.queued = queued[cls.handle];
    stats.backlog = queued[cls.handle] * 1514U;
    return stats;
  }

  int take(const SetRoot& c) {
    if (c.how == SetRoot::How::modify) {
      if (!tree.is_ours()) return ENOENT;
      tree.root->htb->size_overhead = c.root.size_overhead;
      return 0;
    }
    if (c.how == SetRoot::How::add && tree.root && tree.root->handle != 0) return EEXIST;
    if (c.how == SetRoot::How::replace && tree.root && tree.root->handle == kRoot) return EINVAL;
    tree = {};
    tree.root = ObservedRoot{.kind = "htb", .handle = kRoot, .htb = c.root};
    return 0;
  }
  int take(const RemoveRoot&) {
    if (!tree.root || tree.root->handle != kRoot) return ENOENT;
    for (const auto& [handle, cls] : tree.classes) lose_queue_of(handle);
    tree = {};
    tree.root = ObservedRoot{.kind = "noqueue", .handle = 0, .htb = std::nullopt};
    return 0;
  }
  int take(const SetClass& c) {
    if (!tree.is_ours()) return ENOENT;
    const auto have = tree.classes.find(c.handle);
    if (!c.create) {
      if (have == tree.classes.end()) return ENOENT;
      const auto before = have->second.htb;
      have->second.htb = c.htb;
      if (have->second.inner) {
        have->second.htb.quantum = before.quantum;
        have->second.htb.priority = before.priority;
      }
      return 0;
    }
    if (have != tree.classes.end()) return EEXIST;
    ObservedClass cls{.handle = c.handle, .parent = c.parent, .htb = c.htb};
    if (cls.htb.priority > 7) cls.htb.priority = 7;
    const auto above = tree.classes.find(c.parent);
    if (above == tree.classes.end()) {
      cls.parent = kRoot;  // an unknown parent makes a root class, without an error
    } else {
      if (!above->second.inner) lose_queue_of(c.parent);
      above->second.inner = true;
      tree.leaves.erase(c.parent);
    }
    tree.classes.emplace(c.handle, cls);
    return 0;
  }
  int take(const RemoveClass& c) {
    const auto it = tree.classes.find(c.handle);
    if (it == tree.classes.end()) return ENOENT;
    if (has_children(c.handle)) return EBUSY;
    const Handle parent = it->second.parent;
    lose_queue_of(c.handle);
    tree.classes.erase(it);
    tree.leaves.erase(c.handle);
    if (const auto above = tree.classes.find(parent); above != tree.classes.end() && !has_children(parent)) {
      above->second.inner = false;
    }
    return 0;
  }
  int take(const SetLeaf& c) {
    const auto cls = tree.classes.find(c.leaf.parent);
    if (cls == tree.classes.end()) return ENOENT;
    if (cls->second.inner) return EINVAL;
    const std::string kind = kind_of(c.leaf.parameters);
    if (kind == "fq_codel" && !fq_codel) return ENOENT;
    const auto have = tree.leaves.find(c.leaf.parent);
    if (c.create ? have != tree.leaves.end() : have == tree.leaves.end()) return c.create ? EEXIST : ENOENT;
    if (!c.create && have->second.kind != kind) return EINVAL;
    tree.leaves[c.leaf.parent] = ObservedLeaf{.handle = c.leaf.handle,
                                              .parent = c.leaf.parent,
                                              .kind = kind,
                                              .parameters = as_read_back(c.leaf.parameters)};
    return 0;
  }
  int take(const RemoveLeaf& c) {
    const auto have = tree.leaves.find(c.parent);
    if (have == tree.leaves.end() || have->second.handle != c.handle) return ENOENT;
    lose_queue_of(c.parent);
    tree.leaves.erase(have);
    return 0;
  }

  std::optional<FakeFault> fault_;
  std::size_t until_fault_ = 0;
  int last_error_ = 0;
};

class FakeClassifier final : public TrafficClassifier {
 public:
  std::optional<std::pair<Policy, ClassIds>> holds;
  bool fails = false;
  std::optional<ClassifierAnswer> answer;
  std::function<void()> on_switch = [] {};
  std::function<void()> after_switch = [] {};
  FakeKernel* kernel = nullptr;  ///< that knows of armed faults

  std::size_t load(const Policy& policy, const ClassIds& ids) override {
    if (fails || (kernel != nullptr && kernel->strikes(FakeFault::Kind::fails_classifier)))
      throw std::system_error(EPERM, std::generic_category(), "load the classifier");
    std::pair wanted(policy, ids);
    if (holds == wanted) return 0;
    on_switch();
    holds = std::move(wanted);
    after_switch();
    return 1;
  }
  bool attached() override { return holds.has_value(); }
  std::size_t remove() override { return std::exchange(holds, std::nullopt) ? 1 : 0; }
  std::vector<std::string> plan(const Policy&, const ClassIds&, bool) override { return {"classify"}; }
  std::optional<ClassifierAnswer> ask(std::span<const std::byte>, std::uint32_t) override { return answer; }
  std::optional<ArrivalCounters> arrivals(const Policy&) override { return std::nullopt; }
};

class FakeStore final : public StateStore {
 public:
  std::optional<PortState> state;
  std::size_t writes = 0;
  bool fails = false;

  std::optional<PortState> load() override { return state; }
  void save(const PortState& wanted) override {
    if (fails) throw std::system_error(ENOSPC, std::generic_category(), "write the state");
    ++writes;
    state = wanted;
  }
  void remove() override { state.reset(); }
};

/// All of them around one reconciler; start() is what a restarted process does.
struct FakePort {
  FakeKernel kernel;
  FakeClassifier classifier;
  FakeStore store;
  bool replace_foreign = false;
  std::size_t classes_per_dump = Reconciler::kClassesPerDump;
  std::optional<Reconciler> reconciler;

  FakePort() {
    classifier.kernel = &kernel;
    start();
  }
  FakePort(const FakePort&) = delete;
  FakePort& operator=(const FakePort&) = delete;
  Reconciler& start() {
    return reconciler.emplace("wan0", replace_foreign, kernel, classifier, store, classes_per_dump);
  }
  /// What is true of trees too large to be dumped all the time.
  Reconciler& start_as_of_a_large_tree() {
    classes_per_dump = 0;
    return start();
  }
  Reconciler* operator->() { return &*reconciler; }
};

}  // namespace weir::shaper::testing
