/// A run of the path simulator as a recording, for the tests of replay.
#pragma once

#include <string>
#include <vector>

#include "estimator/control_record.hpp"
#include "estimator/controller.hpp"

#include "path_simulator.hpp"

namespace weir::test {

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return lines;
}

/// What a controller that is given `inputs` decides, written down; from tick `from` on, with a checkpoint
/// every `every` ticks (0: only where it begins in the middle).
inline std::string recorded_run(const ControlLimits& limits, const ControlStart& start,
                                const std::vector<ControlInput>& inputs, std::size_t from = 0,
                                std::size_t every = 0) {
  std::string text;
  append_line(text, RecordingHeader{.version = "9.9",
                                    .interface = "wan0",
                                    .wall_ns = 1'700'000'000'000'000'000,
                                    .steady = TimePoint()});
  SiteController controller(limits, start, TimePoint());
  std::optional<std::string> reason;  // last written since the checkpoint
  std::uint64_t lines = 1;
  const auto checkpoint = [&](std::size_t i) {
    append_line(text,
                RecordedCheckpoint{
                    .site = "coast", .now = inputs[i].measured.at, .steps = i, .state = controller.state()});
    ++lines;
    reason.reset();
  };
  if (from == 0) {
    append_line(text, RecordedStart{.site = "coast", .now = TimePoint(), .limits = limits, .start = start});
    ++lines;
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (i >= from && i > 0 && (i == from || (every > 0 && i % every == 0))) checkpoint(i);
    const TimePoint now = inputs[i].measured.at;
    const RateDecision& d = controller.step(inputs[i], now);
    if (i < from) continue;
    append_tick_line(text, now, inputs[i], d,
                     reason == d.reason ? std::nullopt : std::optional<std::string_view>(d.reason));
    reason = d.reason;
    ++lines;
  }
  append_line(text, RecordingEnd{.lines = lines});
  return text;
}

}  // namespace weir::test
