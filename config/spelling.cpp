#include "config/spelling.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "config/load.hpp"

namespace weir {
namespace {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

constexpr auto kDscpNames = std::to_array<NamedNumber>({
    {"default", 0}, {"df", 0},    {"be", 0},    {"le", 1},    {"cs0", 0},   {"cs1", 8},   {"cs2", 16},
    {"cs3", 24},    {"cs4", 32},  {"cs5", 40},  {"cs6", 48},  {"cs7", 56},  {"af11", 10}, {"af12", 12},
    {"af13", 14},   {"af21", 18}, {"af22", 20}, {"af23", 22}, {"af31", 26}, {"af32", 28}, {"af33", 30},
    {"af41", 34},   {"af42", 36}, {"af43", 38}, {"va", 44},   {"ef", 46},
});

constexpr auto kProtocolNames = std::to_array<NamedNumber>({
    {"icmp", 1},
    {"igmp", 2},
    {"ipip", 4},
    {"tcp", 6},
    {"udp", 17},
    {"dccp", 33},
    {"ipv6", 41},
    {"gre", 47},
    {"esp", 50},
    {"ah", 51},
    {"icmpv6", 58},
    {"ipv6-icmp", 58},
    {"ospf", 89},
    {"pim", 103},
    {"vrrp", 112},
    {"l2tp", 115},
    {"sctp", 132},
});

std::optional<std::uint8_t> number_of(std::span<const NamedNumber> names, std::string_view text,
                                      std::int64_t most) {
  const std::string wanted = lower_case(text.substr(0, 16));
  if (text.size() <= wanted.size()) {
    for (const auto& [name, number] : names) {
      if (name == wanted) return number;
    }
  }
  const auto number = parse_integer(text, 0, most);
  return number ? std::optional(static_cast<std::uint8_t>(*number)) : std::nullopt;
}

struct Unit {
  std::string_view name;
  unsigned power_of_ten;
};
constexpr auto kRateUnits = std::to_array<Unit>({{"gbit", 9}, {"mbit", 6}, {"kbit", 3}, {"bit", 0}});
constexpr auto kTimeUnits = std::to_array<Unit>({{"s", 9}, {"ms", 6}, {"us", 3}});

constexpr std::uint64_t power_of_ten(unsigned exponent) {
  std::uint64_t power = 1;
  while (exponent-- > 0) power *= 10;
  return power;
}

/// "622.08" and "mbit" of "622.08mbit". Digits stand on both sides of a decimal point, or there is none.
struct RateParts {
  std::string_view whole;
  std::string_view fraction;
  std::string_view unit;
};

std::optional<RateParts> split_rate(std::string_view text) {
  const auto digits = [&text] {
    const auto end = std::find_if_not(text.begin(), text.end(), is_digit);
    const auto found = text.substr(0, static_cast<std::size_t>(end - text.begin()));
    text.remove_prefix(found.size());
    return found;
  };
  RateParts parts;
  parts.whole = digits();
  if (parts.whole.empty()) return std::nullopt;
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    parts.fraction = digits();
    if (parts.fraction.empty()) return std::nullopt;
  }
  parts.unit = text;
  return parts;
}

std::optional<std::uint64_t> unsigned_number(std::string_view digits) {
  std::uint64_t value = 0;
  if (digits.empty()) return value;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::string_view without_trailing_zeros(std::string_view digits) {
  while (!digits.empty() && digits.back() == '0') digits.remove_suffix(1);
  return digits;
}

/// "1.5gbit" -> 1'500'000'000: a decimal number and one of `units`, without rounding.
std::optional<std::uint64_t> exact_multiple(std::string_view text, std::span<const Unit> units) {
  const auto parts = split_rate(text);
  if (!parts) return std::nullopt;
  const std::string unit_name = lower_case(parts->unit.substr(0, 5));
  const auto unit = std::find_if(units.begin(), units.end(),
                                 [&](const Unit& candidate) { return candidate.name == unit_name; });
  if (unit == units.end()) return std::nullopt;

  // Integers throughout: a policy file and the kernel must mean the same bit.
  const std::string_view fraction = without_trailing_zeros(parts->fraction);
  if (fraction.size() > unit->power_of_ten) return std::nullopt;  // less than one of the smallest
  const auto whole = unsigned_number(parts->whole);
  const auto part = unsigned_number(fraction);
  if (!whole || !part) return std::nullopt;
  const std::uint64_t below_one =
      *part * power_of_ten(unit->power_of_ten - static_cast<unsigned>(fraction.size()));
  const std::uint64_t multiple = power_of_ten(unit->power_of_ten);
  if (*whole > (std::numeric_limits<std::uint64_t>::max() - below_one) / multiple) return std::nullopt;
  return *whole * multiple + below_one;
}

/// `value` units of 10^power bits, exactly, e.g. 622'080'000 with power 6 -> "622.08".
std::string decimal(std::uint64_t value, unsigned power) {
  const std::uint64_t unit = power_of_ten(power);
  std::string text = std::to_string(value / unit);
  if (value % unit == 0) return text;
  std::string fraction = std::to_string(value % unit);
  fraction.insert(0, power - fraction.size(), '0');
  return text + "." + std::string(without_trailing_zeros(fraction));
}

}  // namespace

std::span<const NamedNumber> dscp_names() {
  return kDscpNames;
}
std::span<const NamedNumber> protocol_names() {
  return kProtocolNames;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::optional<std::uint8_t> parse_dscp(std::string_view text) {
  return number_of(kDscpNames, text, 63);
}

std::optional<std::string_view> name_of_dscp(std::uint8_t dscp) {
  for (const auto& [name, number] : kDscpNames) {
    if (number == dscp) return name;
  }
  return std::nullopt;
}

std::optional<std::uint8_t> parse_protocol(std::string_view text) {
  return number_of(kProtocolNames, text, 255);
}

bool has_ports(std::uint8_t protocol) {
  return protocol == 6 || protocol == 17 || protocol == 132;
}

std::string protocol_to_string(std::uint8_t protocol) {
  for (const auto& [name, number] : kProtocolNames) {
    if (number == protocol) return std::string(name);
  }
  return std::to_string(protocol);
}

std::optional<Rate> parse_rate(std::string_view text) {
  const auto bps = exact_multiple(text, kRateUnits);
  return bps ? std::optional(Rate::bps(*bps)) : std::nullopt;
}

std::string to_string(Rate rate) {
  std::string shortest = std::to_string(rate.bps()) + "bit";
  // From the smallest unit up: at equal length the larger unit reads better ("622.08mbit", not "622080kbit").
  for (auto unit = kRateUnits.rbegin(); unit != kRateUnits.rend(); ++unit) {
    if (rate.bps() < power_of_ten(unit->power_of_ten)) break;
    std::string candidate = decimal(rate.bps(), unit->power_of_ten) + std::string(unit->name);
    if (candidate.size() <= shortest.size()) shortest = std::move(candidate);
  }
  return shortest;
}

std::optional<std::string> probable_rate(std::string_view text) {
  std::string squeezed;
  for (const char c : lower_case(text.substr(0, 32))) {
    if (c != ' ' && c != '_') squeezed.push_back(c);
  }
  const auto parts = split_rate(squeezed);
  if (!parts || parts->unit.empty()) return std::nullopt;
  const char multiple = parts->unit.front();
  if (std::string_view("kmgb").find(multiple) == std::string_view::npos) return std::nullopt;
  std::string guess(squeezed, 0, squeezed.size() - parts->unit.size());
  if (multiple != 'b') guess.push_back(multiple);
  guess += "bit";
  return parse_rate(guess) ? std::optional(guess) : std::nullopt;
}

std::optional<Duration> parse_duration(std::string_view text) {
  const auto ns = exact_multiple(text, kTimeUnits);
  if (!ns || *ns > static_cast<std::uint64_t>(Duration::max().count())) return std::nullopt;
  return Duration(static_cast<Duration::rep>(*ns));
}

std::string duration_to_string(Duration duration) {
  const auto ns = static_cast<std::uint64_t>(std::max(duration, Duration::zero()).count());
  for (const Unit& unit : kTimeUnits) {
    if (ns % power_of_ten(unit.power_of_ten) == 0)
      return std::to_string(ns / power_of_ten(unit.power_of_ten)) + std::string(unit.name);
  }
  return decimal(ns, kTimeUnits.back().power_of_ten) + std::string(kTimeUnits.back().name);
}

std::optional<std::string> probable_duration(std::string_view text) {
  std::string squeezed;
  for (const char c : lower_case(text.substr(0, 32))) {
    if (c != ' ' && c != '_') squeezed.push_back(c);
  }
  const auto parts = split_rate(squeezed);
  if (!parts) return std::nullopt;
  const std::string number(squeezed, 0, squeezed.size() - parts->unit.size());
  for (const auto& [begin, unit] : std::to_array<std::pair<std::string_view, std::string_view>>(
           {{"ms", "ms"}, {"mil", "ms"}, {"us", "us"}, {"mic", "us"}, {"s", "s"}})) {
    if (!parts->unit.starts_with(begin)) continue;
    const std::string guess = number + std::string(unit);
    return parse_duration(guess) ? std::optional(guess) : std::nullopt;
  }
  return std::nullopt;
}

std::optional<double> parse_percent(std::string_view text) {
  const auto parts = split_rate(text);
  if (!parts || parts->unit != "%") return std::nullopt;
  const std::string_view number = text.substr(0, text.size() - 1);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc{} || end != number.data() + number.size() || !std::isfinite(value))
    return std::nullopt;
  return value / 100.0;
}

std::string percent_to_string(double fraction) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.2f", std::min(fraction * 100.0, 1e15));
  std::string_view digits = without_trailing_zeros(text.data());
  if (digits.back() == '.') digits.remove_suffix(1);
  return std::string(digits) + "%";
}

std::optional<std::int64_t> parse_integer(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most)
    return std::nullopt;
  return value;
}

namespace {

/// "7" or "7-9", from 1 on, as a range of one of our types.
template <typename Range>
std::optional<Range> parse_range(std::string_view text, std::int64_t most) {
  const std::size_t dash = text.find('-');
  const auto first = parse_integer(text.substr(0, dash), 1, most);
  const auto last = dash == std::string_view::npos ? first : parse_integer(text.substr(dash + 1), 1, most);
  if (!first || !last || *first > *last) return std::nullopt;
  return Range{.first = static_cast<std::uint16_t>(*first), .last = static_cast<std::uint16_t>(*last)};
}

}  // namespace

std::optional<PortRange> parse_port_range(std::string_view text) {
  return parse_range<PortRange>(text, 65'535);
}

std::optional<VlanRange> parse_vlan_range(std::string_view text) {
  if (text == "untagged") return VlanRange{};
  return parse_range<VlanRange>(text, 4'094);
}

std::optional<std::uint32_t> parse_fwmark(std::string_view text) {
  const bool hexadecimal = text.starts_with("0x");
  if (hexadecimal) text.remove_prefix(2);
  std::uint32_t mark = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), mark, hexadecimal ? 16 : 10);
  if (error != std::errc{} || end != text.data() + text.size() || mark == 0) return std::nullopt;
  return mark;
}

}  // namespace weir
