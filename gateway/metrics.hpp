/// The model as Prometheus text (exposition format 0.0.4). Pure.
///
/// Naming: prefix weir_, base units in the name (seconds, bytes, ratio), counters end in _total; rates stay
/// in bits per second, the one unit in which the whole product speaks.
#pragma once

#include <string>
#include <string_view>

namespace weir::gateway {

struct ApiView;

inline constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

[[nodiscard]] std::string metrics_text(const ApiView& view);

}  // namespace weir::gateway
