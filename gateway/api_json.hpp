/// The model as JSON, field by field as docs/API.md has it. Pure.
///
/// Names carry the unit: *_bps integers in bits per second, *_s seconds, *_ms milliseconds, *_bytes bytes;
/// loss is a ratio 0..1. What is not known is null.
#pragma once

#include <span>

#include <boost/json/value.hpp>

#include "gateway/decision_log.hpp"
#include "gateway/event_log.hpp"
#include "gateway/history.hpp"
#include "gateway/revision_log.hpp"
#include "gateway/status.hpp"

namespace weir::gateway {

/// Of a site, with what comes from it; `inbound` nullptr: that is not shaped.
[[nodiscard]] boost::json::object site_json(const SiteStatus& site, const SiteStatus* inbound,
                                            const std::optional<LanStatus>& lan);
/// Of all of them.
[[nodiscard]] boost::json::array sites_json(const GatewayStatus& status);
[[nodiscard]] boost::json::object status_json(const GatewayStatus& status);
[[nodiscard]] boost::json::array degraded_json(std::span<const Degradation> degraded);
[[nodiscard]] boost::json::object class_json(const ClassStatus& one, Direction direction);
[[nodiscard]] boost::json::object revision_json(const Revision& revision);
[[nodiscard]] boost::json::object event_json(const Event& event);
[[nodiscard]] boost::json::object decision_json(const Decision& decision);
/// Arrays of equal length, one value per sample, oldest first.
[[nodiscard]] boost::json::object history_json(std::string_view site, std::span<const HistorySample> samples);

}  // namespace weir::gateway
