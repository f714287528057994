/// A recording run again: the same inputs through controllers of this program, each decision beside the
/// recorded one.
///
/// Pure; lines go in one by one. Untrusted: a bad line is told and nothing throws. Memory is bounded by one
/// controller and one line, whatever the file's length. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <variant>

#include "estimator/control_record.hpp"
#include "estimator/controller.hpp"

namespace weir {

/// One tick or change of limits.
struct ReplayStep {
  const std::string* site = nullptr;  ///< until the next line
  TimePoint now;
  Rate rate_before;
  ControlState state_before = ControlState::hold;
  const RateDecision* decided = nullptr;       ///< here; until the next line
  const RecordedDecision* recorded = nullptr;  ///< then, its reason filled in; until the next line
  bool says_why = false;                       ///< its reason is another than before the step
  bool is_news = false;                        ///< rate, state or reason differ from the step before
  bool same = true;                            ///< decided as recorded
};

/// The recorded controller differs from the one here in what it remembers, though it decided the same.
struct ReplayStateDiffers {
  const std::string* site = nullptr;
  TimePoint now;
};

/// The line says nothing that is to be shown.
struct ReplayNothing {};

using ReplayOutcome = std::variant<ReplayNothing, ReplayStep, ReplayStateDiffers, BadRecordLine>;

class ControlReplay {
 public:
  /// `only`: replays this site and checks the form of the others' lines.
  explicit ControlReplay(std::optional<std::string> only = std::nullopt) : only_(std::move(only)) {}

  /// The next line, without its end. After a BadRecordLine no further one is to be given.
  [[nodiscard]] ReplayOutcome take(std::string_view line);
  /// After the last line: why the recording is not whole; nullopt: it is.
  [[nodiscard]] std::optional<std::string> cut_off() const;

  [[nodiscard]] const std::optional<RecordingHeader>& header() const { return header_; }
  [[nodiscard]] std::uint64_t lines() const { return lines_; }
  [[nodiscard]] std::uint64_t ticks() const { return ticks_; }
  /// Replayed so far.
  [[nodiscard]] std::uint64_t sites() const { return sites_; }

 private:
  ReplayOutcome on(RecordingHeader& header);
  ReplayOutcome on(RecordedStart& start);
  ReplayOutcome on(RecordedCheckpoint& checkpoint);
  ReplayOutcome on(RecordedLimits& change);
  ReplayOutcome on(RecordedTick& tick);
  ReplayOutcome on(RecordingEnd& end);
  /// Turns to a site; a reason why this cannot be, or nullopt.
  std::optional<BadRecordLine> turn_to(std::string&& site, TimePoint now);
  std::optional<BadRecordLine> pass_time(TimePoint now);
  ReplayOutcome compare(RecordedDecision& recorded, Rate rate_before, ControlState state_before,
                        const std::string& reason_before);

  std::optional<std::string> only_;
  std::optional<RecordingHeader> header_;
  std::optional<RecordingEnd> end_;
  std::uint64_t lines_ = 0;
  std::uint64_t ticks_ = 0;
  std::uint64_t sites_ = 0;

  std::unordered_set<std::string> seen_;
  std::string site_;  ///< whose lines these are
  bool wanted_ = false;
  std::optional<SiteController> controller_;
  std::uint64_t steps_ = 0;  ///< of the controller, since it was made
  TimePoint now_;
  TimePoint counted_from_;  ///< cohorts are counted from then on, to bound what a controller remembers
  std::size_t cohorts_ = 0;
  std::string recorded_reason_;
  RecordedDecision recorded_;
};

}  // namespace weir
