/// How values are spelled in a policy file, and wherever else a person writes them (rates and DSCP:
/// config/load.hpp).
///
/// Pure functions of untrusted text: nullopt for anything that is not exactly such a value, never an
/// exception.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "config/policy.hpp"

namespace weir {

/// A spelled name and the number it stands for.
struct NamedNumber {
  std::string_view name;
  std::uint8_t number;
};

/// Code points with a name (RFC 2474, 2597, 3246, 5865, 8622).
[[nodiscard]] std::span<const NamedNumber> dscp_names();
/// IP protocols that a policy may name; any other by number.
[[nodiscard]] std::span<const NamedNumber> protocol_names();

/// "tcp" -> 6, "132" -> 132.
[[nodiscard]] std::optional<std::uint8_t> parse_protocol(std::string_view text);
/// True for the protocols whose ports Weir reads: TCP, UDP, SCTP.
[[nodiscard]] bool has_ports(std::uint8_t protocol);
[[nodiscard]] std::string protocol_to_string(std::uint8_t protocol);

/// "2.5%" -> 0.025; any percentage that is not negative, also above 100.
[[nodiscard]] std::optional<double> parse_percent(std::string_view text);
/// 0.025 -> "2.5%", at most two decimals: for messages, not for reading back.
[[nodiscard]] std::string percent_to_string(double fraction);

/// "20ms", "2.5ms", "500us", "1s"; nullopt otherwise, also for what is less than a nanosecond.
[[nodiscard]] std::optional<Duration> parse_duration(std::string_view text);
/// 20'000'000 ns -> "20ms": the largest of these units that spells it whole.
[[nodiscard]] std::string duration_to_string(Duration duration);
/// The time that somebody who wrote "20 ms", "20msec" or "20 milliseconds" probably meant, as parse_duration
/// takes it; nullopt when there is no guess.
[[nodiscard]] std::optional<std::string> probable_duration(std::string_view text);

/// A whole decimal number within [least, most], nothing around it.
[[nodiscard]] std::optional<std::int64_t> parse_integer(std::string_view text, std::int64_t least,
                                                        std::int64_t most);
/// "22" or "5000-5010", 1..65535, first <= last.
[[nodiscard]] std::optional<PortRange> parse_port_range(std::string_view text);

/// "100", "200-210" or "untagged"; ids 1..4094, first <= last.
[[nodiscard]] std::optional<VlanRange> parse_vlan_range(std::string_view text);
/// "16" or "0x10", as iptables and nft take it; not 0, which every packet has that nobody marked.
[[nodiscard]] std::optional<std::uint32_t> parse_fwmark(std::string_view text);

/// The rate that somebody who wrote "45 Mbps", "45m" or "45Mb/s" probably meant, as parse_rate takes it;
/// nullopt when there is no guess.
[[nodiscard]] std::optional<std::string> probable_rate(std::string_view text);

/// ASCII only, whatever the locale.
[[nodiscard]] std::string lower_case(std::string_view text);

}  // namespace weir
