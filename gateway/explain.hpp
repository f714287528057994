/// "Where would this packet go, and why?": the question in words, and the answer as JSON (docs/API.md,
/// /v1/explain and /v1/rules). Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <boost/json/value.hpp>

#include "config/policy.hpp"
#include "estimator/estimator.hpp"
#include "gateway/status.hpp"
#include "shaper/arrivals.hpp"
#include "shaper/packet_query.hpp"

namespace weir::gateway {

/// ("from", "10.1.0.5"), ("dscp", "ef"), ...
using QueryWords = std::vector<std::pair<std::string, std::string>>;
/// The words there are: addresses, the port it leaves by (outbound: the WAN's), and of the rest each as a
/// match entry of the policy spells it.
inline constexpr std::string_view kQueryWords[] = {"from", "to",   "dscp",   "protocol", "source_port",
                                                   "port", "vlan", "fwmark", "direction"};

/// The question, or a sentence about what is wrong with it. Any words may be given.
[[nodiscard]] std::variant<shaper::PacketQuery, std::string> parse_query(const QueryWords& words);

[[nodiscard]] std::string_view to_string(Direction direction);
/// As to_string spells it; nullopt: neither.
[[nodiscard]] std::optional<Direction> parse_direction(std::string_view text);
/// Which way the packet goes: as the words say; else out, unless it comes from a site of `policy` and goes to
/// none, and the LAN port has a tree. `inbound`: that port's own policy; nullptr: nothing is shaped there.
[[nodiscard]] Direction direction_of(const QueryWords& words, const Policy& policy, const Policy* inbound,
                                     const shaper::PacketQuery& packet);
inline constexpr const char* kNothingInbound = "the policy shapes nothing inbound";

enum class AnsweredBy : std::uint8_t { program, policy };

/// `policy`: of the port that the packet leaves by; `classes`: those of its tree, for what the packet's class
/// has now.
[[nodiscard]] boost::json::object explain_json(const Policy& policy, const shaper::PacketQuery& query,
                                               const shaper::Verdict& verdict, AnsweredBy by,
                                               std::span<const ClassStatus> classes);

/// What one rule met, or what met none.
struct RuleStatus {
  const SitePolicy* site = nullptr;  ///< nullptr: one of the built-in classes
  std::optional<std::size_t> rule;   ///< number within the site's policy; none: no rule held
  std::string cls;                   ///< that this leads to; empty: each subnet's own
  std::string match;                 ///< empty without a rule
  shaper::Arrivals arrived;
};
/// In the order of the policy, the built-in classes first. Refers to the policy; no more of it than fits
/// `arrived`.
[[nodiscard]] std::vector<RuleStatus> rules_of_policy(const Policy& policy,
                                                      const shaper::ArrivalCounters& arrived);
[[nodiscard]] boost::json::object rule_json(const Policy& policy, const RuleStatus& rule);

}  // namespace weir::gateway
