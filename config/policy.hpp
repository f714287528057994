/// The policy: what one YAML file says, checked and with every default filled in.
///
/// Pure values, comparable; nobody but config/load makes one from text. Units: rates in Weir's one unit
/// (config/units.hpp), percentages as fractions 0..1 of the parent's rate.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/address.hpp"
#include "config/units.hpp"

namespace weir {

/// A share of the parent's current rate, or a fixed rate.
struct Share {
  double fraction = 0.0;
  auto operator<=>(const Share&) const = default;
};
using RateOrShare = std::variant<Rate, Share>;

/// The rate that `r` means under a parent of rate `parent`.
[[nodiscard]] constexpr Rate resolve(const RateOrShare& r, Rate parent) {
  if (const auto* rate = std::get_if<Rate>(&r)) return *rate;
  return parent * std::get<Share>(r).fraction;
}

/// An inclusive range of TCP/UDP/SCTP ports; a single port is first == last.
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  auto operator<=>(const PortRange&) const = default;
};

/// VLAN ids, inclusive. 0 is a frame without one: untagged, or with a priority alone (IEEE 802.1Q, 9.6).
struct VlanRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  auto operator<=>(const VlanRange&) const = default;
};

/// One entry of a class's match list: all that is given must hold (a conjunction); an empty vector or nullopt
/// says nothing. Within one field the values are alternatives.
/// `source` and `destination` are the packet's own.
struct MatchRule {
  std::vector<std::uint8_t> dscp{};  ///< code points 0..63
  std::vector<Prefix> source{};
  std::vector<Prefix> destination{};
  std::vector<std::uint8_t> protocol{};  ///< IP protocol numbers
  std::vector<PortRange> port{};         ///< source or destination port
  std::vector<PortRange> source_port{};
  std::vector<PortRange> destination_port{};
  std::vector<VlanRange> vlan{};        ///< of the outermost tag
  std::vector<std::uint32_t> fwmark{};  ///< what a firewall of this host marked the packet with
  auto operator<=>(const MatchRule&) const = default;
};

/// ClassPolicy::brownout of a class that the policy's order does not name.
inline constexpr std::uint32_t kNoBrownoutOrder = UINT32_MAX;

/// What serves a class's packets. `automatic`: fq_codel, or a byte FIFO ("degraded") on a kernel without it.
enum class LeafKind : std::uint8_t { automatic, fq_codel, fifo };

/// The queue of a class's waiting packets. What is left out follows from the class's rates
/// (shaper/leaf_parameters.hpp).
struct LeafPolicy {
  LeafKind kind = LeafKind::automatic;
  std::optional<Duration> depth{};         ///< of sending at the class's ceiling; or
  std::optional<std::uint32_t> packets{};  ///< so many; of a FIFO: full frames
  // Of fq_codel only:
  std::optional<Duration> target{};
  std::optional<Duration> interval{};
  std::optional<std::uint32_t> flows{};  ///< fixed when the queue is made: another number makes another queue
  std::optional<std::uint32_t> quantum{};  ///< bytes
  std::optional<bool> ecn{};
  bool operator==(const LeafPolicy&) const = default;
};

/// Classes form a tree: packets wait in its leaves, inner classes share a part of the rate among their own.
struct ClassPolicy {
  std::string name;
  std::vector<MatchRule> match;  ///< a disjunction; empty only for the default class and for inner ones
  bool is_default = false;
  std::optional<RateOrShare> guarantee;  ///< none: the least that HTB takes (8 kbit)
  RateOrShare ceiling = Share{1.0};      ///< left out at priority 0: three times the guarantee, if any
  std::uint8_t priority = 3;             ///< 0 (first) .. 7
  LeafPolicy leaf{};
  /// The most that its packets should wait, here and in the provider's queue; only with a guarantee.
  std::optional<Duration> latency{};
  std::optional<std::size_t>
      parent{};        ///< the inner class around it: its index in the set, always a lower one
  bool inner = false;  ///< has classes: no packets of its own
  std::optional<std::uint8_t> set_dscp{};  ///< written into its packets; ECN bits stay
  /// Whose guarantee is kept when not all of one parent fit: lower first, then priority, then order.
  std::uint32_t brownout = kNoBrownoutOrder;
  bool operator==(const ClassPolicy&) const = default;
};

/// A named tree of classes that sites share: inner classes before their own, and leaves in the order of
/// matching.
struct ClassSet {
  std::string name;
  std::vector<ClassPolicy> classes;
  bool operator==(const ClassSet&) const = default;

  /// Index of the class of packets for which no rule holds.
  [[nodiscard]] std::size_t default_class() const {
    const auto found = std::ranges::find(classes, true, &ClassPolicy::is_default);
    return found == classes.end() ? 0 : static_cast<std::size_t>(found - classes.begin());
  }
};

struct SiteRates {
  Rate floor;    ///< the contract: never shaped below
  Rate ceiling;  ///< never shaped above
  Rate start;    ///< where a first start begins
  bool adapt = true;
  bool operator==(const SiteRates&) const = default;
};

/// Each subnet of a site is a class of its own.
struct EachSubnet {
  ClassPolicy shape;                       ///< of each; no name, no match
  std::optional<std::size_t> class_set{};  ///< the classes within it; none: it is a leaf
  bool operator==(const EachSubnet&) const = default;
};

struct SitePolicy {
  std::string name;
  std::vector<Prefix> subnets;
  SiteRates rate;
  std::size_t class_set = 0;  ///< index into Policy::class_sets; means nothing with each_subnet
  std::optional<EachSubnet> each_subnet{};
  std::optional<std::uint8_t> set_dscp{};  ///< of packets of those classes that say nothing of it
  bool operator==(const SitePolicy&) const = default;

  /// What is written into the packets of one of its classes; nullopt: nothing.
  [[nodiscard]] std::optional<std::uint8_t> dscp_written_by(const ClassPolicy& one) const {
    return one.set_dscp ? one.set_dscp : set_dscp;
  }
};

/// One of the two built-in classes beside the sites.
struct BuiltInClass {
  RateOrShare guarantee;
  RateOrShare ceiling;
  bool operator==(const BuiltInClass&) const = default;
};

struct WanPort {
  std::string interface;
  Rate rate;
  LinkLayer link_layer;
  bool operator==(const WanPort&) const = default;
};

struct LanPort {
  std::string interface;
  Rate rate;  ///< what its queues hand on to the hosts; left out: the WAN port's
  bool operator==(const LanPort&) const = default;
};

struct TcpEndpoint {
  IpAddress address;
  std::uint16_t port = 0;
  bool operator==(const TcpEndpoint&) const = default;
};

struct ApiSettings {
  std::filesystem::path socket = "/run/weir/weir.sock";
  std::optional<TcpEndpoint> listen;  ///< a loopback address only
  bool operator==(const ApiSettings&) const = default;
};

/// What is kept of the controllers' past for `weir record`.
struct RecordingSettings {
  std::uint64_t mebibytes = 8;  ///< 0: nothing
  [[nodiscard]] std::uint64_t bytes() const { return mebibytes << 20U; }
  bool operator==(const RecordingSettings&) const = default;
};

/// Which of a packet's addresses is the site's: where it goes to, as on its way out, or where it comes from.
enum class SiteAddress : std::uint8_t { destination, source };

/// What the kernel may merge of the frames on their way to a queue (GRO). `bounded`: 1 ms at the slowest
/// site's floor.
enum class GroPolicy : std::uint8_t { bounded, as_is };

struct Policy {
  WanPort wan;                 ///< the port whose queues this describes
  std::optional<LanPort> lan;  ///< the other leg: what is queued has come in there
  GroPolicy gro = GroPolicy::bounded;
  SiteAddress site_address = SiteAddress::destination;
  std::vector<ClassSet> class_sets;
  std::vector<SitePolicy> sites;
  /// Those sites of which is shaped what comes from them, in the order of `sites` and with their names and
  /// subnets. Without `adapt` floor, ceiling and start are one rate. None without `lan`.
  std::vector<SitePolicy> inbound;
  BuiltInClass control{.guarantee = Share{0.02}, .ceiling = Share{1.0}};
  BuiltInClass elsewhere{.guarantee = Share{0.01}, .ceiling = Share{1.0}};
  ApiSettings api;
  RecordingSettings recording;
  bool operator==(const Policy&) const = default;

  [[nodiscard]] const ClassSet& classes_of(const SitePolicy& site) const {
    return class_sets[site.class_set];
  }
};

/// The same for the LAN port: its interface and rate, and the sites of `policy.inbound` with the packets that
/// come from them. Rates stay those of the WAN's link layer, whose frames they bound. Without `lan`: nullopt.
[[nodiscard]] std::optional<Policy> lan_policy(const Policy& policy);

}  // namespace weir
