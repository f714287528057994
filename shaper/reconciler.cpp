#include "shaper/reconciler.hpp"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <stdexcept>
#include <system_error>
#include <unordered_map>
#include <utility>

#include <unistd.h>

#include "config/site_classes.hpp"
#include "shaper/invariants.hpp"
#include "shaper/memory.hpp"

namespace weir::shaper {
namespace {

using namespace std::chrono_literals;

constexpr auto kDrainStep = 20ms;
constexpr int kDrainSteps = 250;             // 5 s
constexpr std::uint64_t kReadsPerDump = 10;  // of larger trees: once a second at ten reads a second

KernelFault no_such_port(const std::string& interface) {
  return {.attempt = "find " + interface,
          .error = ENODEV,
          .hint = "no interface has this name here: check the policy's wan and lan, and `ip link`"};
}

KernelFault fault_of(const std::system_error& e) {
  return {.attempt = e.what(), .error = e.code().value(), .hint = {}};
}

/// [site]: the classes with a latency goal.
std::vector<std::vector<Handle>> goals_of(const Policy& policy, const ClassIds& ids) {
  std::vector<std::vector<Handle>> goals(policy.sites.size());
  for (std::size_t s = 0; s < goals.size(); ++s) {
    const auto classes = weir::classes_of(policy, policy.sites[s]).classes;
    for (std::size_t c = 0; c < classes.size(); ++c) {
      if (classes[c].policy->latency) goals[s].push_back(ids.classes[s][c]);
    }
  }
  return goals;
}

KernelFault still_to_do(const std::string& interface, const ChangePlan& rest) {
  const auto& stage = rest.stages.empty() ? rest.removal.front() : rest.stages.front();
  return {.attempt = "read back the tree on " + interface + ": still to do: " + describe(stage.front()),
          .error = EPROTO,
          .hint = "the kernel took a change and did something else, or somebody else works on this port"};
}

std::string hint_for(const Refusal& refusal) {
  if (!refusal.kernel_says.empty()) return "the kernel says: " + refusal.kernel_says;
  if (refusal.error == EPERM || refusal.error == EACCES) return "needs CAP_NET_ADMIN (root)";
  return {};
}

}  // namespace

Reconciler::Reconciler(std::string interface, bool replace_foreign, Kernel& kernel,
                       TrafficClassifier& classifier, StateStore& store, std::size_t classes_per_dump)
    : interface_(std::move(interface)),
      replace_foreign_(replace_foreign),
      kernel_(kernel),
      classifier_(classifier),
      store_(store),
      merge_bound_(kernel, store),
      classes_per_dump_(classes_per_dump) {}

std::optional<LinkFacts> Reconciler::find_link(ApplyReport& report) {
  auto link = kernel_.link(interface_);
  if (!link) report.fault = no_such_port(interface_);
  return link;
}

KernelFacts Reconciler::facts_of(const LinkFacts& link) {
  if (!has_fq_codel_) has_fq_codel_ = kernel_.has_fq_codel(link.index);
  return {.has_fq_codel = *has_fq_codel_, .mtu = link.mtu};
}

ClassIds Reconciler::handles_for(const Policy& policy) {
  const auto state = store_.load();
  return allocate_handles(policy, state ? state->handles : KnownHandles());
}

std::optional<std::vector<std::optional<Rate>>> Reconciler::adopted_rates(const Policy& policy) {
  const auto link = kernel_.link(interface_);
  if (!link) return std::nullopt;
  const auto observed = kernel_.observe(link->index);
  if (!observed.is_ours()) return std::nullopt;
  const auto ids = handles_for(policy);
  std::vector<std::optional<Rate>> rates;
  for (const Handle handle : ids.site) {
    const auto it = observed.classes.find(handle);
    const bool is_site = it != observed.classes.end() && it->second.parent == kPortClass && it->second.inner;
    rates.push_back(is_site ? std::optional(it->second.htb.ceil) : std::nullopt);
  }
  return rates;
}

std::optional<KernelFault> Reconciler::refuse(const Policy& policy, const Observed& observed,
                                              const KernelFacts& facts) const {
  if (observed.is_foreign() && !replace_foreign_) {
    return KernelFault{
        .attempt = "take " + interface_ + ", where " + observed.root->kind + " " +
                   tc_name(observed.root->handle) + " stands, which is not ours",
        .error = EBUSY,
        .hint = "look at it with `tc qdisc show dev " + interface_ + "`; --replace throws it out"};
  }
  if (const auto leaf = unsupported_leaf(policy, facts)) {
    return KernelFault{
        .attempt = "give " + *leaf + " on " + interface_ + " the fq_codel leaf it asks for",
        .error = ENOENT,
        .hint = "this kernel has no fq_codel: load the module sch_fq_codel, or write leaf: auto"};
  }
  return std::nullopt;
}

bool Reconciler::run(int index, const Stage& stage, ApplyReport& report, Tell tell) {
  const auto result = kernel_.write(index, stage);
  report.messages += result.accepted;
  for (std::size_t i = 0; tell == Tell::all && i < stage.size(); ++i) {
    if (result.refusal && i == result.refusal->index) break;
    report.changes.push_back(describe(stage[i]));
  }
  if (!result.refusal) return true;
  const auto& refusal = *result.refusal;
  report.fault =
      KernelFault{.attempt = describe(stage[std::min(refusal.index, stage.size() - 1)]) + " on " + interface_,
                  .error = refusal.error,
                  .hint = hint_for(refusal)};
  return false;
}

bool Reconciler::run_all(int index, const std::vector<Stage>& stages, ApplyReport& report) {
  return std::all_of(stages.begin(), stages.end(),
                     [&](const Stage& stage) { return run(index, stage, report); });
}

bool Reconciler::switch_classifier(const Policy& policy, const ClassIds& ids, ApplyReport& report) {
  try {
    const auto writes = classifier_.load(policy, ids);
    report.messages += writes;
    if (writes > 0) report.changes.push_back("load the classifier: " + std::to_string(writes) + " writes");
    return true;
  } catch (const std::system_error& e) {
    report.fault = fault_of(e);
    return false;
  }
}

// Nothing tells when a queue runs empty: look, bounded. What is left after that is dropped with the class.
void Reconciler::wait_until_empty(int index, std::span<const Handle> retired) {
  for (int step = 0; step < kDrainSteps && !retired.empty(); ++step) {
    const auto stats =
        retired.size() > kClassesPerDump ? kernel_.class_stats(index) : kernel_.class_stats(index, retired);
    const bool empty = std::all_of(retired.begin(), retired.end(), [&](Handle handle) {
      const auto it = stats.find(handle);
      return it == stats.end() || it->second.queued == 0;
    });
    if (empty) return;
    kernel_.pause(kDrainStep);
  }
}

// HTB takes some changes without an error and does something else (an unknown parent makes a root class,
// priority 9 becomes 7): after anything structural, believe only what can be read back.
ChangePlan Reconciler::rest_of(int index, const ChangePlan& changes, const Tree& tree, ReadBack how) {
  if (how == ReadBack::everything && changes.empty()) return {};  // it was looked at just now
  const std::vector<Handle> touched = touched_by(changes);
  const bool is_small = tree.classes.size() <= classes_per_dump_;
  if (how == ReadBack::everything || is_small || touched.size() > kClassesPerDump)
    return diff(kernel_.observe(index), tree);
  // Where nothing was touched, whether the root stands.
  return diff(kernel_.observe(index, touched), part_of(tree, touched));
}

void Reconciler::remember(PortState wanted, PortState& remembered, ApplyReport& report) {
  if (wanted == remembered) return;
  try {
    store_.save(wanted);
    remembered = std::move(wanted);
  } catch (const std::system_error& e) {
    // The handles can be derived again: no reason to leave the port without its queues.
    report.changes.push_back(std::string("could not remember the handles: ") + e.what());
  }
}

ApplyReport Reconciler::apply(const Policy& policy, std::span<const Rate> shaped) {
  ApplyReport report;
  std::optional<LinkFacts> link;
  bool first_start = false;
  try {
    link = find_link(report);
    if (link && !apply_to_believed(*link, policy, shaped, report, first_start)) {
      static_cast<void>(converge(*link, policy, shaped, kernel_.observe(link->index), ReadBack::everything,
                                 report, first_start));
    }
  } catch (const std::system_error& e) {
    report.fault = fault_of(e);
  } catch (const std::length_error& e) {
    report.fault = KernelFault{.attempt = "plan " + interface_, .error = E2BIG, .hint = e.what()};
  }
  if (report.fault && first_start) undo_first_start(link->index, report);
  // The policy before stays in force; what is left of the attempt is seen by the next change of its rates.
  if (report.fault && applied_ && link && link->index == applied_->interface_index)
    applied_->kernel_is_known = false;
  return report;
}

// Most reloads change little of a tree, and the dumps of a large one are nearly all of their time.
bool Reconciler::apply_to_believed(const LinkFacts& link, const Policy& policy, std::span<const Rate> shaped,
                                   ApplyReport& report, bool& first_start) {
  auto known = believed(link);
  if (!known) return false;
  applied_->kernel_is_known = false;  // until it is done
  if (converge(link, policy, shaped, *std::move(known), ReadBack::what_was_touched, report, first_start))
    return true;
  report.changes.push_back("read the whole tree, since this failed: " + report.fault->attempt);
  report.fault.reset();
  return false;
}

std::optional<Observed> Reconciler::believed(const LinkFacts& link) const {
  if (!applied_ || !applied_->kernel_is_known || link.index != applied_->interface_index) return std::nullopt;
  return as_read_back(applied_->tree);
}

// Where nothing of ours stood, nothing half-made stays: the port goes on with the kernel's own queue.
void Reconciler::undo_first_start(int index, ApplyReport& report) {
  const auto attempt = [&](auto&& take_back) {
    try {
      take_back();
    } catch (const std::system_error& e) {
      report.changes.push_back(std::string("could not take back what was made: ") + e.what());
    }
  };
  attempt([&] {
    if (!kernel_.observe(index).is_ours()) return;
    const auto result = kernel_.write(index, std::vector<Change>{RemoveRoot{}});
    report.messages += result.accepted;
    report.changes.push_back(result.refusal ? "could not take back what was made"
                                            : "took back what was made");
  });
  attempt([&] { report.messages += classifier_.remove(); });
  attempt([&] { forget(report); });
}

void Reconciler::forget(ApplyReport& report) {
  auto state = store_.load().value_or(PortState());
  merge_bound_.give_back(state, report);
  if (!state.merging) store_.remove();  // else it knows what is still to be given back
}

bool Reconciler::converge(const LinkFacts& link, const Policy& policy, std::span<const Rate> shaped,
                          Observed observed, ReadBack how, ApplyReport& report, bool& first_start) {
  report.adopted = observed.is_ours();
  const auto facts = facts_of(link);
  report.fault = refuse(policy, observed, facts);
  if (report.fault) return true;
  PortState state = store_.load().value_or(PortState());
  auto tree = shaper::plan(policy, shaped, facts, allocate_handles(policy, state.handles));
  keep_flows(observed, tree);
  if (const auto broken = violated_invariant(as_read_back(tree))) {
    report.fault = KernelFault{.attempt = "plan " + interface_, .error = EINVAL, .hint = *broken};
    return true;
  }
  report.degraded = tree.degraded;

  // Our filter without our root is no first start: somebody took the tree, or the dump lacks it.
  first_start = !observed.is_ours() && !classifier_.attached();
  PortState wanted{
      .handles = names_of(policy, tree.ids), .replaced = state.replaced, .merging = state.merging};
  if (observed.is_foreign()) wanted.replaced = observed.root->kind + " " + tc_name(observed.root->handle);
  // While classes of the old policy still stand, their names are kept too: a start in between, or going back
  // to the old policy, finds them again.
  PortState meanwhile = wanted;
  meanwhile.handles.insert(state.handles.begin(), state.handles.end());
  remember(std::move(meanwhile), state, report);

  const auto changes = diff(std::move(observed), tree);
  if (!run_all(link.index, changes.stages, report)) return false;
  if (!switch_classifier(policy, tree.ids, report)) return true;
  wait_until_empty(link.index, changes.retired);
  if (!run_all(link.index, changes.removal, report)) return false;
  if (const auto rest = rest_of(link.index, changes, tree, how); !rest.empty()) {
    report.fault = still_to_do(interface_, rest);
    return false;
  }
  remember(std::move(wanted), state, report);
  merge_bound_.keep(policy, state, report);

  auto goals = goals_of(policy, tree.ids);
  applied_ = Applied{.interface_index = link.index,
                     .policy = policy,
                     .facts = facts,
                     .tree = std::move(tree),
                     .goals = std::move(goals),
                     .merging = state.merging};
  last_read_.clear();
  counter_reads_ = 0;
  return true;
}

std::vector<std::string> Reconciler::plan(const Policy& policy, std::span<const Rate> shaped, bool as_tc) {
  const auto link = kernel_.link(interface_);
  if (!link) throw std::system_error(ENODEV, std::generic_category(), "find " + interface_);
  const auto observed = kernel_.observe(link->index);
  const auto facts = facts_of(*link);
  if (const auto fault = refuse(policy, observed, facts)) {
    throw std::system_error(fault->error, std::generic_category(), fault->attempt + " (" + fault->hint + ")");
  }
  auto tree = shaper::plan(policy, shaped, facts, handles_for(policy));
  keep_flows(observed, tree);
  const auto changes = diff(observed, tree);
  std::vector<std::string> lines;
  const auto write_out = [&](const std::vector<Stage>& stages) {
    for (const auto& stage : stages) {
      for (const auto& change : stage)
        lines.push_back(as_tc ? tc_command(change, interface_) : describe(change));
    }
  };
  write_out(changes.stages);
  auto classification = classifier_.plan(policy, tree.ids, as_tc);
  std::move(classification.begin(), classification.end(), std::back_inserter(lines));
  write_out(changes.removal);
  auto merging = merge_bound_.plan(policy, store_.load().value_or(PortState()), as_tc);
  std::move(merging.begin(), merging.end(), std::back_inserter(lines));
  return lines;
}

PortShaper::Size Reconciler::size(const Policy& policy, std::span<const Rate> shaped) {
  const auto link = kernel_.link(interface_);
  if (!link) throw std::system_error(ENODEV, std::generic_category(), "find " + interface_);
  const auto tree = shaper::plan(policy, shaped, facts_of(*link), handles_for(policy));
  const auto processors = static_cast<std::size_t>(std::max(::sysconf(_SC_NPROCESSORS_CONF), 1L));
  PortShaper::Size size{
      .classes = tree.classes.size(),
      .memory = kernel_memory(tree) + kernel_memory(build_tables(policy, tree.ids), processors)};
  for (const ClassSpec& spec : tree.classes)
    if (spec.leaf) ++size.queues;
  return size;
}

ApplyReport Reconciler::set_rates(std::span<const Rate> shaped) {
  ApplyReport report;
  if (!applied_) {
    report.fault = KernelFault{
        .attempt = "set rates on " + interface_, .error = EINVAL, .hint = "no policy was applied"};
    return report;
  }
  auto& now = *applied_;
  if (!now.kernel_is_known) return apply(Policy(now.policy), shaped);
  const auto changed = replan(now.tree, now.policy, shaped, now.facts);
  const auto batch = rate_changes(now.tree, changed);
  report.adopted = true;
  report.degraded = now.tree.degraded;
  try {
    if (batch.empty() || run(now.interface_index, batch, report, Tell::faults)) {
      take_over(changed, now.tree);
      return report;
    }
  } catch (const std::system_error& e) {
    report.fault = fault_of(e);
  }
  // The kernel went on after the change it refused: look at what it holds now and mend that, in this same
  // tick.
  now.kernel_is_known = false;
  auto repaired = apply(Policy(now.policy), shaped);
  repaired.messages += report.messages;
  return repaired;
}

ApplyReport Reconciler::clear() {
  ApplyReport report;
  applied_.reset();
  try {
    const auto writes = classifier_.remove();  // its pins outlive the interface
    report.messages += writes;
    if (writes > 0) report.changes.push_back("remove the classifier");
    if (const auto link = kernel_.link(interface_)) {
      const auto observed = kernel_.observe(link->index);
      report.adopted = observed.is_ours();
      if (observed.is_ours() && !run(link->index, {RemoveRoot{}}, report)) return report;
    }
    forget(report);
  } catch (const std::system_error& e) {
    report.fault = fault_of(e);
  }
  return report;
}

std::optional<Verdict> Reconciler::explain(const PacketQuery& query) {
  if (!applied_ || !applied_->kernel_is_known) return std::nullopt;
  const auto answer = classifier_.ask(frame_of(query), query.fwmark);
  return answer ? verdict_of(applied_->policy, applied_->tree.ids, *answer) : std::nullopt;
}

std::optional<ArrivalCounters> Reconciler::arrivals() {
  return applied_ && applied_->kernel_is_known ? classifier_.arrivals(applied_->policy) : std::nullopt;
}

bool Reconciler::in_place() {
  if (!applied_) return false;
  const bool was_known = std::exchange(applied_->kernel_is_known, false);
  const auto link = kernel_.link(interface_);
  if (!link || link->index != applied_->interface_index) return false;
  if (!diff(kernel_.observe(link->index), applied_->tree).empty()) return false;
  applied_->kernel_is_known = was_known;
  if (!classifier_.attached()) return false;
  keep_merging_bounded();
  return true;
}

// The other leg may have been made anew, and merges as usual again. Where it cannot be bounded the next apply
// tries.
void Reconciler::keep_merging_bounded() {
  if (!applied_->may_bound || !merge_bound_.is_due(applied_->policy, applied_->merging)) return;
  PortState state = store_.load().value_or(PortState());
  ApplyReport report;
  merge_bound_.keep(applied_->policy, state, report);
  applied_->merging = state.merging;
  applied_->may_bound = !merge_bound_.is_due(applied_->policy, applied_->merging);
}

// The overhead that a size table adds is in the kernel's byte counter already; a class's own is not.
Bytes Reconciler::charged(const ClassStats& stats) const {
  LinkLayer link = applied_->policy.wan.link_layer;
  link.overhead = std::max<std::int16_t>(link.overhead, 0);
  return link.charged(stats.bytes, stats.packets);
}

void Reconciler::read_counters() {
  const bool full = applied_->tree.classes.size() <= classes_per_dump_ || counter_reads_ % kReadsPerDump == 0;
  ++counter_reads_;
  if (full) {
    last_read_ = kernel_.class_stats(applied_->interface_index);
    return;
  }
  for (auto& [handle, fresh] : kernel_.class_stats(applied_->interface_index, applied_->tree.ids.site)) {
    last_read_[handle] = fresh;
  }
}

/// The site's own class above `handle`; a dump is a stranger's bytes, so no further than HTB is deep.
Handle Reconciler::site_of(Handle handle) const {
  for (int level = 0; level < kMostLevels; ++level) {
    const auto above = last_read_.find(handle);
    if (above == last_read_.end() || above->second.parent == kPortClass) break;
    handle = above->second.parent;
  }
  return handle;
}

std::vector<SiteCounters> Reconciler::site_counters() {
  if (!applied_) return {};
  read_counters();
  // HTB reports a backlog of leaves only.
  std::unordered_map<Handle, std::uint64_t> waiting;
  for (const auto& [handle, cls] : last_read_) waiting[site_of(cls.parent)] += cls.backlog;

  std::vector<SiteCounters> counters;
  for (std::size_t i = 0; i < applied_->tree.ids.site.size(); ++i) {
    const Handle handle = applied_->tree.ids.site[i];
    SiteCounters site;
    if (const auto it = last_read_.find(handle); it != last_read_.end()) {
      site.sent = charged(it->second);
      site.packets = it->second.packets;
      site.backlog = Bytes(waiting[handle]);
    }
    for (const Handle goal : applied_->goals[i]) {
      QueueCounters& queue = site.goals.emplace_back();
      if (const auto it = last_read_.find(goal); it != last_read_.end())
        queue = {.sent = charged(it->second), .backlog = Bytes(it->second.backlog)};
    }
    counters.push_back(std::move(site));
  }
  return counters;
}

std::vector<ClassCounters> Reconciler::class_counters() {
  if (!applied_) return {};
  const auto stats = kernel_.class_stats(applied_->interface_index);
  const auto leaves = kernel_.leaf_stats(applied_->interface_index);
  std::vector<ClassCounters> counters;
  counters.reserve(applied_->tree.classes.size());
  for (const auto& spec : applied_->tree.classes) {
    const auto cls = stats.find(spec.handle);
    if (cls == stats.end()) continue;  // somebody removed it: in_place() tells
    ClassCounters c{.site = spec.site, .name = spec.name, .handle = spec.handle, .leaf = {}};
    if (spec.handle == kPortClass) c.name = "port";
    c.rate = cls->second.htb.rate;
    c.ceil = cls->second.htb.ceil;
    c.priority = static_cast<std::uint8_t>(spec.leaf ? cls->second.htb.priority : 0);
    c.sent = charged(cls->second);
    c.packets = cls->second.packets;
    c.overlimits = cls->second.overlimits;
    c.backlog = Bytes(cls->second.backlog);
    c.backlog_packets = cls->second.queued;
    if (const auto leaf = leaves.find(spec.handle); leaf != leaves.end()) {
      c.leaf = leaf->second.kind;
      c.drops = leaf->second.drops;
      c.ecn_marks = leaf->second.ecn_marks;
    }
    counters.push_back(std::move(c));
  }
  return counters;
}

}  // namespace weir::shaper
