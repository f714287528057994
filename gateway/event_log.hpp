/// What happened, in order, for people who ask later: a bounded ring of events with ever-growing ids.
///
/// Pure (the instant is an argument). Not thread-safe: the loop owns it. When full the oldest event goes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/clock.hpp"

namespace weir::gateway {

enum class EventKind : std::uint8_t {
  started,
  stopping,
  adopted,
  applied,
  rate_changed,
  outage_began,
  outage_over,
  sharing_changed,
  batch_failed,
  batch_recovered,
  capture_down,
  capture_up,
  capture_lost,
  capture_sampled,
  ticks_dropped,
  foreign_change,
  left_behind,
  repaired,
  repair_failed,
  reloaded,
  reload_failed,
  last_good_used,
  last_good_not_saved,
  policy_applied,
  policy_confirmed,
  policy_rolled_back,
  memory_ignored,
  memory_not_saved,
  fifo_leaves,
  api_failed,
};
/// debug: for replay and the curious, e.g. each step of a probe; the log shows it only when asked.
enum class Severity : std::uint8_t { debug, info, warning, error };

[[nodiscard]] std::string_view to_string(EventKind kind);
[[nodiscard]] std::string_view to_string(Severity severity);

struct Event {
  std::uint64_t id = 0;  ///< 1 for the first since the daemon began
  WallTime at;
  EventKind kind{};
  Severity severity{};
  std::string site;  ///< empty: not about one site
  std::string text;  ///< one sentence
};

class EventLog {
 public:
  /// `observer`, when given, sees every event as it is recorded (the daemon writes them to its log).
  explicit EventLog(std::size_t capacity = 4096, std::function<void(const Event&)> observer = {});

  const Event& record(EventKind kind, Severity severity, std::string site, std::string text, WallTime at);
  /// At most `limit` events with an id above `since`, oldest first.
  [[nodiscard]] std::vector<const Event*> after(std::uint64_t since, std::size_t limit) const;
  /// The newest `limit` events, oldest first.
  [[nodiscard]] std::vector<const Event*> newest(std::size_t limit) const;
  /// Id of the newest event; 0 when there was none.
  [[nodiscard]] std::uint64_t newest_id() const { return next_id_ - 1; }
  /// Id of the oldest event still held; 0 when there is none.
  [[nodiscard]] std::uint64_t oldest_id() const { return events_.empty() ? 0 : events_.front().id; }

 private:
  std::size_t capacity_;
  std::function<void(const Event&)> observer_;
  std::uint64_t next_id_ = 1;
  std::deque<Event> events_;
};

}  // namespace weir::gateway
