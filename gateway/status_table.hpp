/// The status document as a table that a person likes to read. Pure: JSON in, text out.
///
/// Takes any JSON: what is missing or of another type shows as "-".
#pragma once

#include <string>

#include <boost/json/value.hpp>

namespace weir::gateway {

struct TableStyle {
  bool colour = false;
};

/// `status`: the document of /v1/status. `classes`: that of /v1/classes, or null to leave the classes out.
[[nodiscard]] std::string render_status(const boost::json::value& status, const boost::json::value& classes,
                                        const TableStyle& style);

}  // namespace weir::gateway
