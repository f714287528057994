/// Any bytes as a recording: replayed or refused with a reason, never a crash; and what was read is written
/// and read again the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <variant>

#include "estimator/control_replay.hpp"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

struct Writer {
  std::string text;
  void operator()(const weir::RecordedTick& tick) {
    weir::RateDecision decided;
    decided.rate = tick.decided.rate;
    decided.state = tick.decided.state;
    decided.mode = tick.decided.mode;
    append_tick_line(text, tick.now, tick.input, decided, tick.decided.reason);
  }
  template <class T>
  void operator()(const T& record) {
    append_line(text, record);
  }
};

void require_round_trip(std::string_view line) {
  const auto parsed = weir::parse_record_line(line);
  const auto* record = std::get_if<weir::RecordLine>(&parsed);
  if (record == nullptr) {
    require(!std::get<weir::BadRecordLine>(parsed).why.empty());
    return;
  }
  Writer writer;
  std::visit(writer, *record);
  const auto again = weir::parse_record_line(std::string_view(writer.text).substr(0, writer.text.size() - 1));
  require(std::holds_alternative<weir::RecordLine>(again) && std::get<weir::RecordLine>(again) == *record);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  weir::ControlReplay replay;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    require_round_trip(line);
    const weir::ReplayOutcome outcome = replay.take(line);
    if (const auto* bad = std::get_if<weir::BadRecordLine>(&outcome)) {
      require(!bad->why.empty());
      return 0;
    }
    if (const auto* step = std::get_if<weir::ReplayStep>(&outcome)) {
      require(step->decided != nullptr && step->recorded->reason.has_value());
    }
  }
  static_cast<void>(replay.cut_off());
  return 0;
}
