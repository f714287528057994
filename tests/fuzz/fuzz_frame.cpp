/// Any frames in any order at any times: parser, flow table, cohorts and the summary take them without a
/// crash, an endless loop or unbounded memory, and what they say adds up.
///
/// The input is a sequence of records: four bytes (control, length, milliseconds, bytes cut off in 16s) and a
/// frame.
///   control: bits 0-3 link type; bit 6: let 150 ms pass; bit 7: the capture lost frames in it
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "estimator/estimator.hpp"
#include "estimator/observation.hpp"
#include "estimator/parse.hpp"
#include "estimator/parse_usual.hpp"

#include "estimate_checks.hpp"

using namespace weir;
using namespace weir::fuzz;

namespace {

constexpr std::array kLinkTypes = {1, 101, 113, 276, 0, 108, 12, 9999, 9, 50, 51, 10, 104, 228, 229, 1};

/// What an outcome promises adds up, whatever an earlier frame left in the record. A copy of the frame, so
/// that the sanitizer sees one byte too far.
void check(Frame frame, PacketRecord& used) {
  const std::vector<std::byte> copy(frame.bytes.begin(), frame.bytes.end());
  frame.bytes = copy;
  PacketRecord by_parts;
  PacketRecord at_a_look;
  FlowKey key;
  if (parse_usual(frame, at_a_look, key)) {
    complete_usual(key, at_a_look);
    at_a_look.time = frame.time;
    require(parse_frame(frame, by_parts) == ParseOutcome::tcp);
    require(at_a_look == by_parts);
    require(key.same_connection(key_of(by_parts, 0)) && key.sender == key_of(by_parts, 0).sender);
  }
  const ParseOutcome outcome = parse_frame(frame, used);
  require(used.time == frame.time);
  if (outcome == ParseOutcome::opaque) require(used.frame_bytes == frame.wire_length);
  if (outcome == ParseOutcome::opaque || outcome == ParseOutcome::malformed) return;
  require(used.source.family == used.destination.family);
  if (used.tunnelled) require(used.outer_source.family == used.outer_destination.family);
  if (outcome == ParseOutcome::ip) return;
  require(used.protocol == 6);
  require(used.sack_count <= used.sack.size());
  require(used.tcp_header_bytes >= 20 && used.tcp_header_bytes <= 60);
  require(used.frame_bytes >= used.headers_bytes + used.payload);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::vector<Prefix>> sites = {{*Prefix::parse("10.20.0.0/16")},
                                                         {*Prefix::parse("2001:db8:20::/48")}};
  EstimatorSettings settings;
  settings.sites = sites;
  settings.max_flows = 16;  // small, so that eviction is reached
  BothWays observer(settings);
  PacketRecord record;
  TimePoint now{std::chrono::seconds(1000)};
  std::size_t at = 0;
  while (at + 4 <= size) {
    const std::uint8_t control = data[at];
    const std::size_t length = std::min<std::size_t>(data[at + 1], size - at - 4);
    now += std::chrono::milliseconds(data[at + 2]);
    // Up to 4 kB beyond what was captured, or up to all that a file can claim.
    const unsigned shift = (control & 0x20U) != 0 ? 24 : 4;
    const std::uint32_t wire_length =
        static_cast<std::uint32_t>(length) + (std::uint32_t{data[at + 3]} << shift);
    const Frame frame{.time = now,
                      .wire_length = wire_length,
                      .bytes = std::as_bytes(std::span(data + at + 4, length)),
                      .link_type = kLinkTypes[control & 15U]};
    check(frame, record);
    if ((control & 0x80U) != 0) observer.on_kernel_drops(1);
    observer.on_frame(frame);
    if ((control & 0x40U) != 0) observer.on_time(now + std::chrono::milliseconds(150));
    observer.check_tick();
    at += 4 + length;
  }
  observer.finish();
  return 0;
}
