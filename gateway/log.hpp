/// Where the daemon's log goes: standard error, with the time, or under journald with the priority it
/// understands.
#pragma once

#include <string>

#include "gateway/event_log.hpp"

namespace weir::gateway {

/// `level`: trace, debug, info, warning, error. Call once, before any thread.
void set_up_log(const std::string& level);

/// One event, line by line.
void log_event(const Event& event);

}  // namespace weir::gateway
