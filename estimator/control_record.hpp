/// What a recording of controllers holds, and each of it as one line of JSON. docs/CONTROLLER.md, "Recording
/// and replay", says what the lines look like; a recording is
///
///   header, then for each site:  start | checkpoint, then in order: ticks and changes of its limits,
///           (again start | checkpoint, ticks, ...), then the next site, ..., at last: closing line
///
/// so that a reader needs one controller at a time. Everything comes back exactly as it was written: times
/// are whole nanoseconds of the daemon's steady clock, rates whole bits per second.
///
/// Pure. Lines are untrusted: parse never throws, and refuses what no daemon can have measured.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "estimator/controller.hpp"

namespace weir {

inline constexpr std::uint32_t kRecordingFormat = 1;
inline constexpr std::size_t kLongestRecordLine = std::size_t{4} << 20U;

struct RecordingHeader {
  std::uint32_t format = kRecordingFormat;
  std::string version;       ///< of the program that wrote it
  std::string interface;     ///< whose sites these are
  std::int64_t wall_ns = 0;  ///< since 1970, when it was written; the same instant as
  TimePoint steady{};        ///< on the axis of all other times
  bool operator==(const RecordingHeader&) const = default;
};

/// A controller was made.
struct RecordedStart {
  std::string site;
  TimePoint now;
  ControlLimits limits;
  ControlStart start;
  bool operator==(const RecordedStart&) const = default;
};

/// A controller as it was before the lines that follow.
struct RecordedCheckpoint {
  std::string site;
  TimePoint now;
  std::uint64_t steps = 0;  ///< ticks and changes of limits since it was made: a gap in the recording shows
  std::string state;        ///< SiteController::state
  bool operator==(const RecordedCheckpoint&) const = default;
};

/// What of a decision is compared.
struct RecordedDecision {
  Rate rate;
  ControlState state = ControlState::hold;
  PathMode mode = PathMode::unknown;
  std::optional<std::string> reason;  ///< nullopt: as in the line before
  bool operator==(const RecordedDecision&) const = default;
};

struct RecordedLimits {
  TimePoint now;
  ControlLimits limits;
  RecordedDecision decided;
  bool operator==(const RecordedLimits&) const = default;
};

struct RecordedTick {
  TimePoint now;
  ControlInput input;
  RecordedDecision decided;
  bool operator==(const RecordedTick&) const = default;
};

/// The last line: a recording without it was cut off.
struct RecordingEnd {
  std::uint64_t lines = 0;  ///< before this one
  bool operator==(const RecordingEnd&) const = default;
};

using RecordLine = std::variant<RecordingHeader, RecordedStart, RecordedCheckpoint, RecordedLimits,
                                RecordedTick, RecordingEnd>;

/// One line, its end included.
void append_line(std::string& out, const RecordingHeader& header);
void append_line(std::string& out, const RecordedStart& start);
void append_line(std::string& out, const RecordedCheckpoint& checkpoint);
void append_line(std::string& out, const RecordedLimits& change);
void append_line(std::string& out, const RecordingEnd& end);
/// The parts of a RecordedTick, which is copied nowhere; `reason`: nullopt: as in the line before.
void append_tick_line(std::string& out, TimePoint now, const ControlInput& input, const RateDecision& decided,
                      std::optional<std::string_view> reason);

/// Why a line is none of a recording: one clause for people.
struct BadRecordLine {
  std::string why;
};
[[nodiscard]] std::variant<RecordLine, BadRecordLine> parse_record_line(std::string_view line);

}  // namespace weir
