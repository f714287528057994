/// The kernel's side of one port's queue tree, as small as the shaper's logic needs it.
///
/// Two exist: NetlinkKernel, and the tests' fake with HTB's rules. Not thread-safe.
/// Errors: what the kernel refuses comes back in WriteResult; everything else (no answer, no permission to
/// ask, a reply that makes no sense) throws std::system_error naming the attempt.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "shaper/change.hpp"
#include "shaper/tree.hpp"

namespace weir::shaper {

/// The most that GRO makes of frames on an interface, in bytes; 0: this kernel has no such limit.
struct MergeLimit {
  std::uint32_t bytes = 0;
  std::uint32_t ipv4_bytes = 0;  ///< IPv4's own, of kernels since 6.3
  bool operator==(const MergeLimit&) const = default;
};

struct LinkFacts {
  int index = 0;
  std::uint32_t mtu = 0;
  MergeLimit merge = {};
};

struct Refusal {
  std::size_t index = 0;         ///< which of the changes
  int error = 0;                 ///< errno
  std::string kernel_says = {};  ///< the extended acknowledgement's text; may be empty
};

struct WriteResult {
  std::size_t accepted = 0;
  std::optional<Refusal> refusal = {};  ///< the first; the kernel carries out what follows all the same
};

struct ClassStats {
  Handle parent = 0;
  bool inner = false;
  HtbClass htb = {};
  std::uint64_t bytes = 0;    ///< as the kernel counts: without the link layer's overhead
  std::uint64_t packets = 0;  ///< wire segments
  std::uint64_t overlimits = 0;
  std::uint64_t backlog = 0;  ///< bytes; zero in inner classes
  std::uint32_t queued = 0;   ///< packets
};

struct LeafStats {
  std::string kind = {};
  std::uint64_t drops = 0;
  std::uint64_t ecn_marks = 0;
  std::uint64_t backlog = 0;
  std::uint32_t queued = 0;
};

class Kernel {
 public:
  Kernel() = default;
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  virtual ~Kernel() = default;

  [[nodiscard]] virtual std::optional<LinkFacts> link(const std::string& interface) = 0;
  /// Of any interface; the errno, or 0.
  virtual int set_merge_limit(int interface_index, const MergeLimit& limit) = 0;
  [[nodiscard]] virtual Observed observe(int interface_index) = 0;
  /// The root, and of the classes and the leaves under them only these; what is not there is left out.
  [[nodiscard]] virtual Observed observe(int interface_index, std::span<const Handle> only) = 0;
  /// Asks by offering a queue that no kernel accepts: those that know the kind say so differently. Changes
  /// nothing.
  [[nodiscard]] virtual bool has_fq_codel(int interface_index) = 0;
  /// Hands over `changes` in this order.
  virtual WriteResult write(int interface_index, std::span<const Change> changes) = 0;
  [[nodiscard]] virtual std::map<Handle, ClassStats> class_stats(int interface_index) = 0;
  /// Only these classes, for trees so large that a full dump would cost too much; classes that are gone are
  /// left out.
  [[nodiscard]] virtual std::map<Handle, ClassStats> class_stats(int interface_index,
                                                                 std::span<const Handle> only) = 0;
  /// By the class they hang under.
  [[nodiscard]] virtual std::map<Handle, LeafStats> leaf_stats(int interface_index) = 0;
  /// Lets time pass while queues run empty: the kernel tells nobody when they do.
  virtual void pause(std::chrono::milliseconds how_long) = 0;
};

}  // namespace weir::shaper
