// Which class does the estimator give the segments of each frame of a capture? One line a frame that changed
// a total: its number, and the totals with what was added to them (negative: a loss taken back). "rtt":
// samples.
#include <array>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <utility>

#include "estimator/capture.hpp"
#include "estimator/observation.hpp"
#include "estimator/segment_totals.hpp"

namespace {

using namespace weir;

constexpr std::array<std::pair<const char*, std::uint64_t SegmentTotals::*>, 11> kClasses{{
    {"fresh", &SegmentTotals::fresh},
    {"retransmitted", &SegmentTotals::retransmitted},
    {"spurious", &SegmentTotals::spurious},
    {"hole_fill", &SegmentTotals::hole_fill},
    {"reordered", &SegmentTotals::reordered},
    {"probe", &SegmentTotals::probe},
    {"keepalive", &SegmentTotals::keepalive},
    {"duplicate", &SegmentTotals::duplicate},
    {"unknown", &SegmentTotals::unknown},
    {"syn_retransmitted", &SegmentTotals::syn_retransmitted},
    {"fin_retransmitted", &SegmentTotals::fin_retransmitted},
}};

struct Counts {
  SegmentTotals segments;
  std::uint64_t samples = 0;
};

Counts counts_of(const Estimator& estimator) {
  Counts counts{.segments = estimator.totals().outbound,
                .samples = estimator.rtt_totals(Direction::outbound).samples +
                           estimator.rtt_totals(Direction::inbound).samples};
  add(estimator.totals().inbound, counts.segments);
  return counts;
}

void print_change(std::uint64_t frame, const Counts& before, const Counts& after) {
  if (before.segments == after.segments && before.samples == after.samples) return;
  std::printf("%llu", static_cast<unsigned long long>(frame));
  for (const auto& [name, total] : kClasses) {
    const auto change = static_cast<std::int64_t>(after.segments.*total - before.segments.*total);
    if (change != 0) std::printf(" %s=%lld", name, static_cast<long long>(change));
  }
  if (after.samples != before.samples) std::printf(" rtt=1");
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CAPTURE\n", argv[0]);
    return 2;
  }
  try {
    Observer observer(EstimatorSettings{}, argv[1]);
    Counts before;
    std::uint64_t frame = 0;
    read_capture_file(argv[1], [&](std::span<const Frame> frames) {
      for (const Frame& f : frames) {
        observer.on_frame(f);
        const Counts after = counts_of(observer.estimator());
        print_change(++frame, before, after);
        before = after;
      }
    });
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s: %s\n", argv[0], failure.what());
    return 1;
  }
  return 0;
}
