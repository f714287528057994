/// Any bytes as the file that outlives the daemon: taken whole or refused with a reason, never a crash; what
/// was taken is written and read again the same, and controllers begin with it and go on.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <variant>

#include "estimator/controller.hpp"
#include "gateway/site_memories.hpp"

namespace {

using namespace weir;
using namespace weir::gateway;

// An hour after what the corpus says that it was saved.
const WallTime kNow(std::chrono::seconds(1'700'003'600));
const ControlLimits kLimits{.floor = Rate::mbps(10), .ceiling = Rate::mbps(500), .adapt = true};

void require(bool condition) {
  if (!condition) std::abort();
}

void begin_with(const SiteMemory& memory) {
  const ControlStart start = start_of(kLimits, Rate::mbps(20), std::nullopt, memory);
  require(start.rate >= kLimits.floor && start.rate <= kLimits.ceiling && !why_there(start).empty());
  TimePoint now(std::chrono::seconds(5));
  SiteController controller(kLimits, start, now);
  ControlInput input;
  input.sent = start.rate;
  input.backlogged = true;
  input.measured.interval = kCohortLength;
  input.measured.queue = QueueDelay{};
  for (int i = 0; i < 5; ++i) {
    now += kCohortLength;
    input.measured.at = now;
    Cohort lossy;
    lossy.begin = now - 2 * kCohortLength;
    lossy.segments = 400;
    lossy.lost_beyond = 40;
    input.measured.mature = {lossy};
    input.measured.queue->q = std::chrono::milliseconds(10 * i);
    input.measured.queue->sent_from = input.measured.queue->sent_to = now;
    const RateDecision& decided = controller.step(input, now);
    require(decided.rate >= kLimits.floor && decided.rate <= kLimits.ceiling);
  }
  require(SiteController::from_state(controller.state()).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto taken = parse_memories(text, "wan0", kNow);
  const auto* sites = std::get_if<SiteMemories>(&taken);
  if (sites == nullptr) {
    require(!std::get<UnusableMemory>(taken).why.empty());
    return 0;
  }
  const auto again =
      parse_memories(to_text({.interface = "wan0", .saved = kNow, .sites = *sites}), "wan0", kNow);
  require(std::holds_alternative<SiteMemories>(again) && std::get<SiteMemories>(again) == *sites);
  for (const auto& [name, memory] : *sites) begin_with(memory);
  return 0;
}
