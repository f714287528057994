/// JSON text for people and machines alike.
///
/// Boost.JSON writes every floating number as "1.25E1"; this writes "12.5", the shortest decimal that reads
/// back the same. What JSON cannot hold (NaN, infinity) becomes null.
#pragma once

#include <string>

#include <boost/json/value.hpp>

namespace weir::gateway {

[[nodiscard]] std::string to_text(const boost::json::value& value);

/// `value` to `digits` decimal places: 0.0213456 -> 0.02135. Keeps measurement noise out of what people read.
[[nodiscard]] double rounded(double value, int digits);

}  // namespace weir::gateway
