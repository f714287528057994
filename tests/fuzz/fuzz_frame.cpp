/// Any frames in any order at any times: parser, flow table, cohorts and the summary take them without a
/// crash, an endless loop or unbounded memory, and what they say adds up.
///
/// The input is a sequence of records: four bytes (control, length, milliseconds, bytes cut off in 16s) and a
/// frame.
///   control: bits 0-2 link type; bit 6: let 150 ms pass; bit 7: the capture lost frames in it
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "estimator/estimator.hpp"
#include "estimator/observation.hpp"

using namespace weir;

namespace {

constexpr std::array kLinkTypes = {1, 101, 113, 276, 0, 108, 12, 9999};

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const TickResult& tick) {
  for (const auto& sites : {tick.outbound, tick.inbound}) {
    for (const SiteMeasurement& site : sites) {
      require(site.sent_tcp <= site.sent);
      for (const Cohort& cohort : site.mature) {
        require(cohort.lost_beyond <= cohort.segments);
        require(cohort.begin <= site.at);
      }
      if (site.queue) require(site.queue->q >= Duration::zero() && site.queue->p10 <= site.queue->p90);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::vector<Prefix>> sites = {{*Prefix::parse("10.20.0.0/16")},
                                                         {*Prefix::parse("2001:db8:20::/48")}};
  EstimatorSettings settings;
  settings.sites = sites;
  settings.max_flows = 16;  // small, so that eviction is reached
  Observer observer(settings, "fuzz");
  TimePoint now{std::chrono::seconds(1000)};
  std::size_t at = 0;
  while (at + 4 <= size) {
    const std::uint8_t control = data[at];
    const std::size_t length = std::min<std::size_t>(data[at + 1], size - at - 4);
    now += std::chrono::milliseconds(data[at + 2]);
    const std::uint32_t wire_length = static_cast<std::uint32_t>(length) + (data[at + 3] << 4U);
    const Frame frame{.time = now,
                      .wire_length = wire_length,
                      .bytes = std::as_bytes(std::span(data + at + 4, length)),
                      .link_type = kLinkTypes[control & 7U]};
    if ((control & 0x80U) != 0) observer.on_kernel_drops(1);
    observer.on_frame(frame);
    if ((control & 0x40U) != 0) observer.on_time(now + std::chrono::milliseconds(150));
    check(observer.last_tick());
    at += 4 + length;
  }
  const Observation whole = observer.finish();
  check(observer.last_tick());
  for (const DirectionObservation& d : whole.directions) {
    require(d.segments.fresh <= d.segments.data);
    if (d.loss.low) require(*d.loss.low <= *d.loss.high);
  }
  require(!to_text(whole).empty());
  return 0;
}
