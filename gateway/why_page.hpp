/// `weir why`: what a site's rate is, and the decisions that led there. Pure: JSON in, text out.
#pragma once

#include <string>

#include <boost/json/value.hpp>

namespace weir::gateway {

/// `site`: the document of /v1/sites/NAME; `decisions`: that of /v1/sites/NAME/decisions. The newest comes
/// first. Takes any JSON: what is missing or of another type shows as "-".
[[nodiscard]] std::string render_why(const boost::json::value& site, const boost::json::value& decisions);

}  // namespace weir::gateway
