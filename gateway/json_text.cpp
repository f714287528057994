#include "gateway/json_text.hpp"

#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include <boost/json.hpp>

namespace weir::gateway {
namespace {

namespace json = boost::json;

void append(std::string& out, const json::value& value) {
  switch (value.kind()) {
    case json::kind::object: {
      char separator = '{';
      for (const auto& [key, member] : value.get_object()) {
        out += separator;
        out += json::serialize(key);
        out += ':';
        append(out, member);
        separator = ',';
      }
      out += separator == '{' ? "{}" : "}";
      break;
    }
    case json::kind::array: {
      char separator = '[';
      for (const json::value& element : value.get_array()) {
        out += separator;
        append(out, element);
        separator = ',';
      }
      out += separator == '[' ? "[]" : "]";
      break;
    }
    case json::kind::double_:
      if (std::isfinite(value.get_double()))
        fmt::format_to(std::back_inserter(out), "{}", value.get_double());
      else
        out += "null";
      break;
    default:
      out += json::serialize(value);
  }
}

}  // namespace

std::string to_text(const boost::json::value& value) {
  std::string out;
  append(out, value);
  return out;
}

double rounded(double value, int digits) {
  const double scale = std::pow(10.0, digits);
  const double scaled = std::round(value * scale);
  return std::isfinite(scaled) ? scaled / scale : value;
}

}  // namespace weir::gateway
