/// "Where would this packet go?": a packet as a person describes it, as a frame, and the policy's answer.
///
/// Two can be asked: the program in the kernel (Classifier::ask) and, without one, the policy itself
/// (judge). That both say the same is what tests/shaper/packet_query_test.cpp holds. Pure; any values may be
/// asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "config/address.hpp"
#include "config/policy.hpp"
#include "shaper/class_ids.hpp"

namespace weir::shaper {

/// Source and destination are of one family.
struct PacketQuery {
  IpAddress source;
  IpAddress destination;
  std::uint8_t dscp = 0;
  std::uint8_t protocol = 6;
  std::uint16_t source_port = 0;  ///< 0, of both: one that no rule names
  std::uint16_t destination_port = 0;
  std::uint16_t vlan = 0;  ///< 0: untagged
  std::uint32_t fwmark = 0;
  bool operator==(const PacketQuery&) const = default;
};

/// The packet as an Ethernet frame, complete and with right checksums of its IP header. ICMP and ICMPv6 are
/// echo requests, PIM is a hello.
[[nodiscard]] std::vector<std::byte> frame_of(const PacketQuery& query);

/// One match entry of a class set. Its number, from 0, is its place in the order of matching.
struct Rule {
  const MatchRule* match;
  std::size_t cls;    ///< index in the set
  std::size_t entry;  ///< index in the class's list
};
/// Refers to the set: no longer than it lives.
[[nodiscard]] std::vector<Rule> rules_in_order(const ClassSet& set);
/// How many those are.
[[nodiscard]] std::size_t number_of_rules(const ClassSet& set);
/// The set whose rules choose among a site's classes; nullptr: it has none.
[[nodiscard]] const ClassSet* rules_of(const Policy& policy, const SitePolicy& site);

enum class Way : std::uint8_t { control, elsewhere, site };

struct Verdict {
  Way way = Way::elsewhere;
  // The rest is of Way::site only.
  std::size_t site = 0;               ///< index in the policy
  std::size_t cls = 0;                ///< as config/site_classes.hpp numbers the site's classes
  std::optional<std::size_t> rule{};  ///< number of the rule that held; none did: the default class
  bool operator==(const Verdict&) const = default;
};

/// What the policy says, rule by rule.
[[nodiscard]] Verdict judge(const Policy& policy, const PacketQuery& query);
/// What the loaded program says of a packet.
struct ClassifierAnswer {
  Handle handle = 0;
  std::uint32_t slot = 0;  ///< of its counters (bpf/classifier_layout.h)
};
/// Its meaning under the policy that it was loaded for; nullopt: of another one.
[[nodiscard]] std::optional<Verdict> verdict_of(const Policy& policy, const ClassIds& ids,
                                                const ClassifierAnswer& answer);

/// The longest of the sites' subnets around an address, with the index of its site.
struct SiteSubnet {
  std::size_t site = 0;
  Prefix subnet;
  std::size_t number = 0;  ///< in the site's list
};
[[nodiscard]] std::optional<SiteSubnet> subnet_of(const Policy& policy, const IpAddress& address);

}  // namespace weir::shaper
