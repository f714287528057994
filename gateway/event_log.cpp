#include "gateway/event_log.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace weir::gateway {
namespace {

// In the order of EventKind.
constexpr std::array<std::string_view, 30> kKinds = {"started",
                                                     "stopping",
                                                     "adopted",
                                                     "applied",
                                                     "rate_changed",
                                                     "outage_began",
                                                     "outage_over",
                                                     "sharing_changed",
                                                     "batch_failed",
                                                     "batch_recovered",
                                                     "capture_down",
                                                     "capture_up",
                                                     "capture_lost",
                                                     "capture_sampled",
                                                     "ticks_dropped",
                                                     "foreign_change",
                                                     "left_behind",
                                                     "repaired",
                                                     "repair_failed",
                                                     "reloaded",
                                                     "reload_failed",
                                                     "last_good_used",
                                                     "last_good_not_saved",
                                                     "policy_applied",
                                                     "policy_confirmed",
                                                     "policy_rolled_back",
                                                     "memory_ignored",
                                                     "memory_not_saved",
                                                     "fifo_leaves",
                                                     "api_failed"};
static_assert(kKinds.size() == static_cast<std::size_t>(EventKind::api_failed) + 1);

}  // namespace

std::string_view to_string(EventKind kind) {
  return kKinds.at(static_cast<std::size_t>(kind));
}

std::string_view to_string(Severity severity) {
  switch (severity) {
    case Severity::debug:
      return "debug";
    case Severity::info:
      return "info";
    case Severity::warning:
      return "warning";
    case Severity::error:
      return "error";
  }
  return "error";
}

EventLog::EventLog(std::size_t capacity, std::function<void(const Event&)> observer)
    : capacity_(std::max<std::size_t>(capacity, 1)), observer_(std::move(observer)) {}

const Event& EventLog::record(EventKind kind, Severity severity, std::string site, std::string text,
                              WallTime at) {
  if (events_.size() == capacity_) events_.pop_front();
  events_.push_back({.id = next_id_++,
                     .at = at,
                     .kind = kind,
                     .severity = severity,
                     .site = std::move(site),
                     .text = std::move(text)});
  if (observer_) observer_(events_.back());
  return events_.back();
}

std::vector<const Event*> EventLog::after(std::uint64_t since, std::size_t limit) const {
  std::vector<const Event*> found;
  // Ids are consecutive, so the first one wanted is found by subtraction.
  const std::uint64_t oldest = oldest_id();
  std::size_t index = since < oldest ? 0 : static_cast<std::size_t>(since - oldest) + 1;
  for (; index < events_.size() && found.size() < limit; ++index) found.push_back(&events_[index]);
  return found;
}

std::vector<const Event*> EventLog::newest(std::size_t limit) const {
  std::vector<const Event*> found;
  for (std::size_t index = events_.size() - std::min(limit, events_.size()); index < events_.size();
       ++index) {
    found.push_back(&events_[index]);
  }
  return found;
}

}  // namespace weir::gateway
