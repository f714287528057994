/// One port's queue tree and classifier in the kernel: the shaper as the rest of Weir sees it.
///
/// Owns its netlink sockets, its lock file and its BPF objects (descriptors only: what is in the kernel
/// outlives it). Not thread-safe: one owner, one thread. Calls block for the kernel's time (a rate
/// change: well under 1 ms); an apply() that retires classes also waits until they are empty, 5 s at most.
/// Errors: the constructor throws std::system_error naming the attempt; kernel refusals come back in
/// ApplyReport.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/policy.hpp"
#include "config/units.hpp"
#include "shaper/arrivals.hpp"
#include "shaper/packet_query.hpp"

namespace weir::shaper {

/// The first change that the kernel refused. What came before it is in force.
struct KernelFault {
  std::string attempt;  ///< "create class 7e17:10 on wan0"
  int error = 0;        ///< errno
  std::string hint;     ///< what to do about it; may be empty
};

struct ApplyReport {
  std::size_t messages = 0;  ///< netlink messages and map updates written; 0: the kernel was already so
  bool adopted = false;      ///< a tree of ours was already there
  bool degraded = false;     ///< automatic leaves are FIFOs: this kernel has no fq_codel
  std::vector<std::string>
      changes;  ///< in the order done, for people; not of set_rates, unless it had to mend
  std::optional<KernelFault> fault;
  [[nodiscard]] bool ok() const { return !fault; }
};

/// Counters of one class since the kernel made it. `sent` is in the one unit (overhead included).
struct ClassCounters {
  std::string site;          ///< empty for the built-in classes and the port itself
  std::string name;          ///< class name; empty for the site's own class
  std::uint32_t handle = 0;  ///< major:minor as one 32-bit number
  std::string leaf = {};     ///< "fq_codel", "bfifo"; empty for inner classes
  Rate rate = {};            ///< HTB guarantee now in force
  Rate ceil = {};
  std::uint8_t priority = 0;
  Bytes sent = {};
  std::uint64_t packets = 0;
  std::uint64_t drops = 0;  ///< by the leaf
  std::uint64_t overlimits = 0;
  std::uint64_t ecn_marks = 0;  ///< CE set by the leaf
  Bytes backlog = {};
  std::uint64_t backlog_packets = 0;
};

/// One class's queue. In trees of more than 1000 classes it may be a second old.
struct QueueCounters {
  Bytes sent;     ///< charged
  Bytes backlog;  ///< waiting, without the link layer's overhead
};

/// The site class's own view, cheap enough for every tick.
struct SiteCounters {
  Bytes sent;  ///< charged bytes that left, all classes of the site
  std::uint64_t packets = 0;
  Bytes backlog;                       ///< waiting in the site's leaves
  std::vector<QueueCounters> goals{};  ///< of its classes with a latency goal, in the policy's order
};

class PortShaper {
 public:
  struct Options {
    bool replace_foreign = false;  ///< take the port even if somebody else's root qdisc stands there
    bool look_only = false;        ///< for plan() and adopted_rates() beside whoever holds the port: no lock
    std::filesystem::path state_dir = "/run/weir";
    std::filesystem::path bpf_dir = "/sys/fs/bpf/weir";
  };

  /// Takes the port's lock, unless it is only to look; throws if another process holds it.
  PortShaper(const std::string& interface, const Options& options);
  ~PortShaper();
  PortShaper(PortShaper&&) noexcept;
  PortShaper& operator=(PortShaper&&) noexcept;

  /// The shaped rate of each site of `policy` that the kernel's tree has now; nullopt when no tree of ours
  /// stands. A site that the tree does not have yet is nullopt in its place.
  [[nodiscard]] std::optional<std::vector<std::optional<Rate>>> adopted_rates(const Policy& policy);

  /// Makes the kernel hold `policy` with these shaped rates (one per site). Writes only what differs: from
  /// what the kernel shows, or, once there was an apply, from what that left there (docs/SHAPER.md).
  [[nodiscard]] ApplyReport apply(const Policy& policy, std::span<const Rate> shaped);
  /// What apply would do, as text for people; `as_tc` gives equivalent tc commands. Writes nothing.
  [[nodiscard]] std::vector<std::string> plan(const Policy& policy, std::span<const Rate> shaped, bool as_tc);
  /// What that would take of the kernel's memory, roughly (shaper/memory.hpp).
  struct Size {
    std::size_t classes = 0;
    std::size_t queues = 0;
    Bytes memory;  ///< of these and of the classifier
  };
  [[nodiscard]] Size size(const Policy& policy, std::span<const Rate> shaped);
  /// Changes the shaped rates of the policy last applied: one batch, ordered by the guarantee invariant.
  [[nodiscard]] ApplyReport set_rates(std::span<const Rate> shaped);
  /// Removes what Weir made on this port, and only that.
  [[nodiscard]] ApplyReport clear();

  /// Per site of the policy last applied, in its order.
  [[nodiscard]] std::vector<SiteCounters> site_counters();
  [[nodiscard]] std::vector<ClassCounters> class_counters();
  /// Where the loaded program sends such a packet, under the policy last applied; nullopt: there is none, or
  /// it cannot be asked.
  [[nodiscard]] std::optional<Verdict> explain(const PacketQuery& query);
  /// Of each rule of the policy last applied; nullopt as above.
  [[nodiscard]] std::optional<ArrivalCounters> arrivals();
  /// False when the tree, the filter or the interface is no longer as last applied (somebody deleted it).
  [[nodiscard]] bool in_place();
  /// The address of our netlink socket: a notification that carries it was caused by us (KernelEvents).
  [[nodiscard]] std::uint32_t netlink_port() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::shaper
