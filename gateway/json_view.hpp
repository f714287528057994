/// Any JSON as what a person reads of it: what is missing or of another type shows as "-". Pure.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/value.hpp>

namespace weir::gateway {

/// The value behind a chain of keys, within `from`; a null of its own when any link is missing.
[[nodiscard]] const boost::json::value& at(const boost::json::value& from,
                                           std::initializer_list<std::string_view> keys);
[[nodiscard]] std::optional<double> number(const boost::json::value& value);
/// Text of a stranger may hold escape sequences; a terminal must not obey them.
[[nodiscard]] std::string printable(std::string_view from);
[[nodiscard]] std::string text(const boost::json::value& value);
[[nodiscard]] bool truth(const boost::json::value& value);
[[nodiscard]] const boost::json::array& list(const boost::json::value& value);

template <class Format>
[[nodiscard]] std::string shown(const boost::json::value& value, Format&& format) {
  const auto found = number(value);
  return found ? format(*found) : std::string("-");
}

/// "46.1 M".
[[nodiscard]] std::string rate(const boost::json::value& bps);
/// The same with its unit: "46.1 Mbit/s", "0 bit/s".
[[nodiscard]] std::string bit_rate(const boost::json::value& bps);
/// "2.10 %" of a ratio.
[[nodiscard]] std::string percent(const boost::json::value& ratio);
/// "12 s", "3 h 5 min".
[[nodiscard]] std::string time_span(const boost::json::value& in_seconds);

}  // namespace weir::gateway
