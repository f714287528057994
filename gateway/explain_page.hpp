/// The documents of /v1/explain and /v1/rules as what a person likes to read. Pure: JSON in, text out; any
/// JSON may be given, what is missing shows as "-".
#pragma once

#include <string>

#include <boost/json/value.hpp>

namespace weir::gateway {

[[nodiscard]] std::string render_explanation(const boost::json::value& explanation);
[[nodiscard]] std::string render_rules(const boost::json::value& rules, bool colour);

}  // namespace weir::gateway
