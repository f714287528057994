/// The queue tree of one port as values: what plan wants, and what the kernel shows.
///
/// Pure values. Rates are whole bytes per second (multiples of 8 bit/s), because HTB keeps nothing finer:
/// what is written here is what a dump gives back, so two trees can be compared field by field.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/units.hpp"
#include "shaper/class_ids.hpp"

namespace weir::shaper {

/// The kernel's unit of scheduling time: 64 ns (net/pkt_sched.h PSCHED_SHIFT; /proc/net/psched shows it).
struct Ticks {
  std::uint32_t count = 0;
  auto operator<=>(const Ticks&) const = default;
};

/// The ticks that `tc` computes for a burst of `burst` at `rate` (whole microseconds first, then ticks), so
/// that a tree made with `weir plan --tc` reads back equal to ours.
[[nodiscard]] Ticks ticks_for(Bytes burst, Rate rate);
/// The smallest burst for which ticks_for gives `ticks`.
[[nodiscard]] Bytes burst_for(Ticks ticks, Rate rate);

/// `rate` as HTB can hold it: whole bytes per second, and at least one.
[[nodiscard]] constexpr Rate whole_bytes(Rate rate) {
  return Rate::bps(std::max<std::uint64_t>(rate.bytes_per_second(), 1) * 8);
}

struct HtbRoot {
  std::uint32_t default_class = 3;  ///< minor of the class for packets that nobody classified
  std::int32_t size_overhead =
      0;  ///< bytes added to every packet before it is queued (a size table; only < 0)
  bool operator==(const HtbRoot&) const = default;
};

struct HtbClass {
  Rate rate = {};  ///< guarantee
  Rate ceil = {};
  Ticks burst = {};            ///< time of sending at `rate` that may be saved up
  Ticks cburst = {};           ///< the same at `ceil`
  std::uint32_t quantum = 0;   ///< bytes per round among siblings; means nothing in an inner class
  std::uint32_t priority = 0;  ///< 0 (first) .. 7; means nothing in an inner class
  LinkLayer::Kind link_layer =
      LinkLayer::Kind::ethernet;  ///< the kernel knows ethernet and atm; ppp is ethernet
  std::uint16_t overhead = 0;
  std::uint16_t mpu = 0;
  bool operator==(const HtbClass&) const = default;
};

struct FqCodel {
  std::uint32_t limit = 0;  ///< packets
  Bytes memory_limit = {};
  std::uint32_t target_us = 0;
  std::uint32_t interval_us = 0;
  std::uint32_t flows = 0;    ///< fixed when the queue is made
  std::uint32_t quantum = 0;  ///< bytes per flow and round
  bool ecn = true;
  bool operator==(const FqCodel&) const = default;
};

struct ByteFifo {
  Bytes limit = {};
  bool operator==(const ByteFifo&) const = default;
};

using LeafParameters = std::variant<FqCodel, ByteFifo>;
/// The kernel's name of the kind: "fq_codel", "bfifo".
[[nodiscard]] const char* kind_of(const LeafParameters& leaf);

/// The queue under a class without children. Its handle's major is the class's minor.
struct LeafSpec {
  Handle handle = 0;
  Handle parent = 0;
  LeafParameters parameters = {};
  bool flows_matter = false;  ///< another number of flows makes another queue
  bool operator==(const LeafSpec&) const = default;
};

struct ClassSpec {
  Handle handle = 0;
  Handle parent = 0;
  HtbClass htb = {};
  std::string site = {};              ///< empty for the port and the built-in classes
  std::string name = {};              ///< class name; empty for a site's own class
  std::optional<LeafSpec> leaf = {};  ///< none: an inner class, which has children
  bool operator==(const ClassSpec&) const = default;
  /// "dc-coast/voice", "dc-coast", "control": how people call it.
  [[nodiscard]] std::string title() const {
    return site.empty() || name.empty() ? site + name : site + "/" + name;
  }
};

/// A class of a planned tree whose figures are others for other rates.
struct ReplannedClass {
  std::size_t index = 0;  ///< in the tree's classes
  HtbClass htb = {};
  std::optional<LeafParameters> leaf = {};  ///< where it has one
  bool operator==(const ReplannedClass&) const = default;
};

/// What plan wants. Parents stand before their children.
struct Tree {
  HtbRoot root = {};
  std::vector<ClassSpec> classes = {};
  ClassIds ids = {};
  bool degraded = false;  ///< automatic leaves are byte FIFOs
  bool operator==(const Tree&) const = default;
};

struct ObservedRoot {
  std::string kind = {};
  Handle handle = 0;  ///< 0: the kernel put it there itself
  std::optional<HtbRoot> htb = {};
  bool operator==(const ObservedRoot&) const = default;
};

struct ObservedClass {
  Handle handle = 0;
  Handle parent = 0;  ///< a class, or the root qdisc's handle
  HtbClass htb = {};
  bool inner = false;
  bool operator==(const ObservedClass&) const = default;
};

struct ObservedLeaf {
  Handle handle = 0;
  Handle parent = 0;
  std::string kind = {};
  std::optional<LeafParameters> parameters = {};  ///< nullopt: a kind that Weir does not make
  bool operator==(const ObservedLeaf&) const = default;
};

/// What one port's dump showed.
struct Observed {
  std::optional<ObservedRoot> root = {};
  std::map<Handle, ObservedClass> classes = {};
  std::map<Handle, ObservedLeaf> leaves = {};  ///< by the class they hang under
  bool operator==(const Observed&) const = default;

  [[nodiscard]] bool is_ours() const { return root && root->handle == kRoot && root->kind == "htb"; }
  /// Our root, which can be changed into `wanted`; another one is made anew, with all below it.
  [[nodiscard]] bool can_become(const HtbRoot& wanted) const {
    return is_ours() && root->htb && root->htb->default_class == wanted.default_class;
  }
  /// Somebody else put a queue on this port.
  [[nodiscard]] bool is_foreign() const { return root && root->handle != 0 && !is_ours(); }
};

/// The dump that a kernel holding exactly `tree` gives: its rounding applied, inner classes without quantum.
[[nodiscard]] Observed as_read_back(const Tree& tree);
/// `leaf` after the kernel's rounding.
[[nodiscard]] LeafParameters as_read_back(const LeafParameters& leaf);

/// "7e17:10", as tc writes it; "7e17:" for a qdisc.
[[nodiscard]] std::string tc_name(Handle handle);

}  // namespace weir::shaper
