/// When our ends sent which TSval, so that the segment which echoes it tells a round trip: a connection that
/// only downloads has no data of its own to be acknowledged.
///
/// Pure, not thread-safe. A far end echoes the TSval of the newest segment that it took in its turn (RFC
/// 7323, 4.3), so the time from a TSval's first departure to its first return is the round trip, and whatever
/// the far end waited for something to send: what of it waited on the way back, its own clock tells
/// (remote_clock).
///
///   ours  --- ACK, TSval 7 --->  far      kept: 7 left at t
///   ours  <-- data, TSecr 7 ---  far      t..now; 7 and all before it are forgotten
///
/// A departure counts as a TSval's first only where the one before it was seen as well: a clock that ticks
/// slower than the round trip has the same TSval on segments of many round trips.
///
/// A bounded table, four-way sets by flow, whose memory is taken with the first departure; of a full set the
/// flow that was heard of longest ago gives way. Of one flow kOnTheirWay are waited for at most: more in one
/// round trip tell nothing new.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "config/units.hpp"
#include "estimator/rtt_floor.hpp"

namespace weir {

class EchoTimes {
 public:
  static constexpr std::size_t kMost = 8192;

  /// A round trip, and the least that this flow had.
  struct Echo {
    TimePoint left;
    Duration rtt{};
    Duration least{};
  };

  /// `end` (0 or 1) of the flow with this number, which is ours, sent `value`.
  void left(std::uint32_t flow, unsigned end, std::uint32_t value, TimePoint at) {
    if (sets_.empty()) sets_.resize(kMost / kWays);
    Entry& entry = reach(key_of(flow, end), at);
    entry.at = at;
    // Too long ago, or of a clock that was set back: what came before says nothing of what comes now.
    if (!entry.begun || at - entry.seen.at > kLost) {
      entry.waiting = 0;
      entry.begun = true;
      entry.seen = {.value = value, .at = at};
      return;
    }
    if (!is_later(value, entry.seen.value)) {
      if (value == entry.seen.value) entry.seen.at = at;
      return;
    }
    entry.seen = {.value = value, .at = at};
    if (entry.waiting == kOnTheirWay) {
      if (at - entry.sent[0].at < kLost) return;
      entry.waiting = 0;  // nobody echoed them
    }
    entry.sent[entry.waiting++] = entry.seen;
  }
  /// The other end echoes `value`. nullopt: it did so before, or it is not known when that left, or too long
  /// ago.
  [[nodiscard]] std::optional<Echo> came_back(std::uint32_t flow, unsigned end, std::uint32_t value,
                                              TimePoint at) {
    Entry* const entry = find(key_of(flow, end));
    if (entry == nullptr) return std::nullopt;
    entry->at = at;
    std::optional<TimePoint> left;
    std::size_t told = 0;
    while (told < entry->waiting && !is_later(entry->sent[told].value, value)) {
      if (entry->sent[told].value == value) left = entry->sent[told].at;
      ++told;
    }
    if (told == 0) return std::nullopt;
    for (std::size_t i = told; i < entry->waiting; ++i) entry->sent[i - told] = entry->sent[i];
    entry->waiting -= static_cast<std::uint32_t>(told);
    if (!left || at <= *left || at - *left > kLost) return std::nullopt;
    entry->floor.add(at - *left, at);
    return Echo{.left = *left, .rtt = at - *left, .least = entry->floor.value().value_or(at - *left)};
  }
  [[nodiscard]] std::size_t bytes_held() const { return sets_.capacity() * sizeof(Set); }

 private:
  static constexpr std::size_t kWays = 4;
  static constexpr std::size_t kOnTheirWay = 4;
  /// What was not echoed for so long was lost, or the other end had nothing to send.
  static constexpr Duration kLost = std::chrono::seconds(2);

  struct Departure {
    std::uint32_t value = 0;
    TimePoint at;
  };
  struct Entry {
    std::array<Departure, kOnTheirWay> sent;  ///< the first `waiting`, in order
    Departure seen;                           ///< the latest value, and when it left last
    TimePoint at;                             ///< when anything of the flow passed
    RttFloor floor;
    std::uint32_t waiting = 0;
    bool begun = false;  ///< `seen` means something
  };
  struct Set {
    std::array<std::uint32_t, kWays> keys{};  ///< 0: nothing
    std::array<Entry, kWays> entries{};
  };
  static_assert(std::has_single_bit(kMost / kWays));

  /// Of two TSvals; they wrap (RFC 7323, 5.2).
  [[nodiscard]] static bool is_later(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::int32_t>(a - b) > 0;
  }
  /// Never 0: numbers of flows begin at 1.
  [[nodiscard]] static std::uint32_t key_of(std::uint32_t flow, unsigned end) { return flow << 1U | end; }
  [[nodiscard]] Set& set_of(std::uint32_t key) { return sets_[key & (kMost / kWays - 1)]; }
  [[nodiscard]] Entry* find(std::uint32_t key) {
    if (sets_.empty()) return nullptr;
    Set& set = set_of(key);
    for (std::size_t i = 0; i < kWays; ++i) {
      if (set.keys[i] == key) return &set.entries[i];
    }
    return nullptr;
  }
  [[nodiscard]] Entry& reach(std::uint32_t key, TimePoint at) {
    if (Entry* const known = find(key)) return *known;
    Set& set = set_of(key);
    std::size_t place = 0;
    for (std::size_t i = 0; i < kWays; ++i) {
      if (set.keys[i] == 0) {
        place = i;
        break;
      }
      if (set.entries[i].at < set.entries[place].at) place = i;
    }
    set.keys[place] = key;
    set.entries[place] = Entry{};
    set.entries[place].at = at;
    return set.entries[place];
  }

  std::vector<Set> sets_;
};

}  // namespace weir
