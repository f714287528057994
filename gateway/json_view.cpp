#include "gateway/json_view.hpp"

#include <cctype>
#include <cmath>

#include <fmt/format.h>

#include <boost/json.hpp>

namespace weir::gateway {

namespace json = boost::json;

const json::value& at(const json::value& from, std::initializer_list<std::string_view> keys) {
  static const json::value kMissing;
  const json::value* here = &from;
  for (const std::string_view key : keys) {
    const json::object* object = here->if_object();
    here = object == nullptr ? nullptr : object->if_contains(key);
    if (here == nullptr) return kMissing;
  }
  return *here;
}

std::optional<double> number(const json::value& value) {
  boost::system::error_code not_a_number;
  const auto found = value.to_number<double>(not_a_number);
  return not_a_number ? std::nullopt : std::optional(found);
}

std::string printable(std::string_view from) {
  std::string safe;
  for (const char c : from) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f)
      safe += c;
    else if (c == '\n')
      safe += ' ';
  }
  return safe;
}

std::string text(const json::value& value) {
  const json::string* found = value.if_string();
  return found == nullptr ? std::string("-") : printable({found->data(), found->size()});
}

bool truth(const json::value& value) {
  return value.is_bool() && value.get_bool();
}

const json::array& list(const json::value& value) {
  static const json::array kNone;
  return value.is_array() ? value.get_array() : kNone;
}

std::string rate(const json::value& bps) {
  return shown(bps, [](double v) {
    if (v >= 1e9) return fmt::format("{:.2f} G", v / 1e9);
    if (v >= 1e6) return fmt::format("{:.1f} M", v / 1e6);
    return v >= 1e3 ? fmt::format("{:.0f} k", v / 1e3) : fmt::format("{:.0f}", v);
  });
}

std::string bit_rate(const json::value& bps) {
  const std::string number = rate(bps);
  const bool has_prefix = !number.empty() && std::isupper(static_cast<unsigned char>(number.back())) != 0;
  const bool is_kilo = number.ends_with(" k");
  return number + (has_prefix || is_kilo ? "bit/s" : " bit/s");
}

std::string percent(const json::value& ratio) {
  return shown(ratio, [](double v) { return fmt::format("{:.2f} %", 100.0 * v); });
}

std::string time_span(const json::value& in_seconds) {
  return shown(in_seconds, [](double v) {
    if (v < 60) return fmt::format("{:.0f} s", v);
    if (v < 3600) return fmt::format("{:.0f} min", std::floor(v / 60));
    if (v < 86400)
      return fmt::format("{:.0f} h {:.0f} min", std::floor(v / 3600), std::floor(std::fmod(v, 3600) / 60));
    return fmt::format("{:.0f} d {:.0f} h", std::floor(v / 86400), std::floor(std::fmod(v, 86400) / 3600));
  });
}

}  // namespace weir::gateway
