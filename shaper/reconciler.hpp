/// PortShaper's logic, apart from everything it is done with: kernel, classifier and memory are interfaces.
///
/// Not thread-safe. Errors as PortShaper: refusals come back in reports, a kernel that gives no answer
/// throws.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shaper/diff.hpp"
#include "shaper/kernel.hpp"
#include "shaper/merge_bound.hpp"
#include "shaper/plan.hpp"
#include "shaper/port_shaper.hpp"
#include "shaper/state_file.hpp"

namespace weir::shaper {

/// What decides a packet's class, as the reconciler needs it; shaper/classifier.hpp is the real one.
class TrafficClassifier {
 public:
  virtual ~TrafficClassifier() = default;
  /// Makes the classifier hold this; the number of writes. Throws std::system_error.
  virtual std::size_t load(const Policy& policy, const ClassIds& ids) = 0;
  [[nodiscard]] virtual bool attached() = 0;
  virtual std::size_t remove() = 0;
  [[nodiscard]] virtual std::vector<std::string> plan(const Policy& policy, const ClassIds& ids,
                                                      bool as_tc) = 0;
  [[nodiscard]] virtual std::optional<ClassifierAnswer> ask(std::span<const std::byte> frame,
                                                            std::uint32_t fwmark) = 0;
  [[nodiscard]] virtual std::optional<ArrivalCounters> arrivals(const Policy& policy) = 0;
};

class Reconciler {
 public:
  /// A dump costs about 5 us a class, a question about one class about 8 us, of which every listener of the
  /// tc group hears: up to so many classes all are dumped.
  static constexpr std::size_t kClassesPerDump = 1000;

  Reconciler(std::string interface, bool replace_foreign, Kernel& kernel, TrafficClassifier& classifier,
             StateStore& store, std::size_t classes_per_dump = kClassesPerDump);

  [[nodiscard]] std::optional<std::vector<std::optional<Rate>>> adopted_rates(const Policy& policy);
  [[nodiscard]] ApplyReport apply(const Policy& policy, std::span<const Rate> shaped);
  [[nodiscard]] std::vector<std::string> plan(const Policy& policy, std::span<const Rate> shaped, bool as_tc);
  [[nodiscard]] PortShaper::Size size(const Policy& policy, std::span<const Rate> shaped);
  [[nodiscard]] ApplyReport set_rates(std::span<const Rate> shaped);
  [[nodiscard]] ApplyReport clear();
  [[nodiscard]] std::vector<SiteCounters> site_counters();
  [[nodiscard]] std::vector<ClassCounters> class_counters();
  [[nodiscard]] std::optional<Verdict> explain(const PacketQuery& query);
  [[nodiscard]] std::optional<ArrivalCounters> arrivals();
  [[nodiscard]] bool in_place();

 private:
  struct Applied {
    int interface_index = 0;
    Policy policy;
    KernelFacts facts;
    Tree tree;
    std::vector<std::vector<Handle>> goals;  ///< [site]: the classes with a latency goal
    std::optional<BoundedMerging> merging;   ///< as the state file has it
    bool may_bound = true;                   ///< false: the other leg took no limit
    /// The kernel holds `tree`, by all we know; false: a later attempt failed half-way, or somebody else
    /// works on the port.
    bool kernel_is_known = true;
  };

  [[nodiscard]] std::optional<LinkFacts> find_link(ApplyReport& report);
  [[nodiscard]] KernelFacts facts_of(const LinkFacts& link);
  [[nodiscard]] ClassIds handles_for(const Policy& policy);
  [[nodiscard]] std::optional<KernelFault> refuse(const Policy& policy, const Observed& observed,
                                                  const KernelFacts& facts) const;
  /// What the kernel holds, without asking it; nullopt when that is not known.
  [[nodiscard]] std::optional<Observed> believed(const LinkFacts& link) const;
  enum class ReadBack : std::uint8_t { everything, what_was_touched };
  /// False: that is not known, or it was wrong; the kernel must be looked at.
  [[nodiscard]] bool apply_to_believed(const LinkFacts& link, const Policy& policy,
                                       std::span<const Rate> shaped, ApplyReport& report, bool& first_start);
  /// From `observed` to what is wanted. `first_start` becomes true when nothing of ours stood there and
  /// something is about to be made. False: the kernel refused a change or holds something else now, so that
  /// `observed` may not have been what it held.
  [[nodiscard]] bool converge(const LinkFacts& link, const Policy& policy, std::span<const Rate> shaped,
                              Observed observed, ReadBack how, ApplyReport& report, bool& first_start);
  void undo_first_start(int index, ApplyReport& report);
  /// A tick's rates are not told one by one: words for ten thousand classes cost more than their change.
  enum class Tell : std::uint8_t { all, faults };
  [[nodiscard]] bool run(int index, const Stage& stage, ApplyReport& report, Tell tell = Tell::all);
  [[nodiscard]] bool run_all(int index, const std::vector<Stage>& stages, ApplyReport& report);
  [[nodiscard]] bool switch_classifier(const Policy& policy, const ClassIds& ids, ApplyReport& report);
  void wait_until_empty(int index, std::span<const Handle> retired);
  /// What of `tree` does not stand yet after `changes`, which were to make it.
  [[nodiscard]] ChangePlan rest_of(int index, const ChangePlan& changes, const Tree& tree, ReadBack how);
  void remember(PortState wanted, PortState& remembered, ApplyReport& report);
  void keep_merging_bounded();
  /// Lets the other leg merge as before, and removes the state file.
  void forget(ApplyReport& report);
  void read_counters();
  [[nodiscard]] Bytes charged(const ClassStats& stats) const;
  [[nodiscard]] Handle site_of(Handle handle) const;

  std::string interface_;
  bool replace_foreign_;
  Kernel& kernel_;
  TrafficClassifier& classifier_;
  StateStore& store_;
  MergeBound merge_bound_;
  std::size_t classes_per_dump_;
  std::optional<bool> has_fq_codel_;  ///< of this kernel, once asked
  std::optional<Applied> applied_;
  std::uint64_t counter_reads_ = 0;
  std::map<Handle, ClassStats> last_read_;  ///< of the counters; leaves of large trees may be a second old
};

}  // namespace weir::shaper
