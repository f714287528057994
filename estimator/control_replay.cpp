#include "estimator/control_replay.hpp"

#include <utility>

#include <fmt/format.h>

#include "estimator/control_constants.hpp"
#include "estimator/state_text.hpp"

namespace weir {
namespace {

constexpr std::size_t kMostSites = 65'536;

}  // namespace

ReplayOutcome ControlReplay::take(std::string_view line) {
  if (end_) return BadRecordLine{"something follows the closing line"};
  auto parsed = parse_record_line(line);
  if (auto* bad = std::get_if<BadRecordLine>(&parsed)) return std::move(*bad);
  auto& record = std::get<RecordLine>(parsed);
  if (!header_ && !std::holds_alternative<RecordingHeader>(record))
    return BadRecordLine{"the first line of a recording says 'weir_recording', this one does not"};
  ReplayOutcome outcome = std::visit([this](auto& one) { return on(one); }, record);
  ++lines_;
  return outcome;
}

std::optional<std::string> ControlReplay::cut_off() const {
  if (end_) return std::nullopt;
  return lines_ == 0 ? "it is empty" : "it was cut off: its closing line is missing";
}

ReplayOutcome ControlReplay::on(RecordingHeader& header) {
  if (header_) return BadRecordLine{"a second header"};
  header_ = std::move(header);
  return ReplayNothing{};
}

ReplayOutcome ControlReplay::on(RecordingEnd& end) {
  if (end.lines != lines_)
    return BadRecordLine{fmt::format("{} lines should stand before it, not {}", end.lines, lines_)};
  end_ = end;
  return ReplayNothing{};
}

std::optional<BadRecordLine> ControlReplay::turn_to(std::string&& site, TimePoint now) {
  if (site == site_) return pass_time(now);
  if (seen_.size() == kMostSites) return BadRecordLine{"too many sites"};
  if (!seen_.insert(site).second) return BadRecordLine{fmt::format("'{}' stands there already", site)};
  site_ = std::move(site);
  wanted_ = !only_ || *only_ == site_;
  if (wanted_) ++sites_;
  controller_.reset();
  now_ = counted_from_ = now;
  cohorts_ = 0;
  return std::nullopt;
}

std::optional<BadRecordLine> ControlReplay::pass_time(TimePoint now) {
  if (now < now_) return BadRecordLine{"its time lies before that of the line above"};
  now_ = now;
  if (now - counted_from_ > control::kMemory) {
    counted_from_ = now;
    cohorts_ = 0;
  }
  return std::nullopt;
}

ReplayOutcome ControlReplay::on(RecordedStart& start) {
  if (auto bad = turn_to(std::move(start.site), start.now)) return *std::move(bad);
  if (!wanted_) return ReplayNothing{};
  controller_.emplace(start.limits, start.start, start.now);
  steps_ = 0;
  recorded_reason_.clear();
  return ReplayNothing{};
}

ReplayOutcome ControlReplay::on(RecordedCheckpoint& checkpoint) {
  if (auto bad = turn_to(std::move(checkpoint.site), checkpoint.now)) return *std::move(bad);
  if (!wanted_) return ReplayNothing{};
  auto recorded = SiteController::from_state(checkpoint.state);
  if (!recorded) return BadRecordLine{"its checkpoint is damaged, or of another version of the controller"};
  const bool follows = controller_ && steps_ == checkpoint.steps;
  const bool same = !follows || controller_->state() == checkpoint.state;
  controller_ = std::move(recorded);
  steps_ = checkpoint.steps;
  recorded_reason_.clear();
  if (same) return ReplayNothing{};
  return ReplayStateDiffers{.site = &site_, .now = checkpoint.now};
}

ReplayOutcome ControlReplay::on(RecordedLimits& change) {
  if (site_.empty()) return BadRecordLine{"no site was named before it"};
  if (auto bad = pass_time(change.now)) return *std::move(bad);
  if (!controller_) return ReplayNothing{};
  const RateDecision before = controller_->decision();
  controller_->set_limits(change.limits, change.now);
  return compare(change.decided, before.rate, before.state, before.reason);
}

ReplayOutcome ControlReplay::on(RecordedTick& tick) {
  if (site_.empty()) return BadRecordLine{"no site was named before it"};
  if (auto bad = pass_time(tick.now)) return *std::move(bad);
  if (!controller_) return ReplayNothing{};
  cohorts_ += tick.input.measured.mature.size() + 1;
  if (cohorts_ > control::kMostRemembered)
    return BadRecordLine{"too many ticks or cohorts for the time in which they came"};
  const Rate rate_before = controller_->decision().rate;
  const ControlState state_before = controller_->decision().state;
  const std::string reason_before = controller_->decision().reason;
  static_cast<void>(controller_->step(tick.input, tick.now));
  ++ticks_;
  return compare(tick.decided, rate_before, state_before, reason_before);
}

ReplayOutcome ControlReplay::compare(RecordedDecision& recorded, Rate rate_before, ControlState state_before,
                                     const std::string& reason_before) {
  ++steps_;
  if (recorded.reason) {
    recorded_reason_ = *recorded.reason;
  } else {
    recorded.reason = recorded_reason_;
  }
  recorded_ = std::move(recorded);
  const RateDecision& here = controller_->decision();
  return ReplayStep{
      .site = &site_,
      .now = now_,
      .rate_before = rate_before,
      .state_before = state_before,
      .decided = &here,
      .recorded = &recorded_,
      .says_why = here.reason != reason_before,
      .is_news = here.rate != rate_before || here.state != state_before || here.reason != reason_before,
      .same = here.rate == recorded_.rate && here.state == recorded_.state && here.mode == recorded_.mode &&
              here.reason == recorded_.reason,
  };
}

}  // namespace weir
