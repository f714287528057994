#include "gateway/port_tree.hpp"

#include <exception>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace weir::gateway {
namespace {

// The kernel's events tell of a lost tree at once; this is the net below them.
constexpr Duration kPlaceCheck = std::chrono::seconds(5);
// A dump of 10 000 classes takes the kernel 50 ms: too much for every second.
constexpr std::size_t kManyClasses = 1000;
constexpr Duration kSlowDump = std::chrono::seconds(5);

bool is_due(const std::optional<TimePoint>& last, Duration every, TimePoint now) {
  return !last || now - *last >= every;
}

}  // namespace

shaper::ApplyReport PortTree::apply(const Policy& policy, std::span<const Rate> rates, const Instant& now) {
  shaper::ApplyReport report = try_to_apply(policy, rates);
  if (!report.ok()) return report;
  if (!std::exchange(ever_applied_, true)) status_.adopted = report.adopted;
  status_.in_place = true;
  status_.fault.reset();
  note_leaves(policy, report.degraded, now);
  read_classes(now.steady);
  return report;
}

bool PortTree::restore(const Policy& policy, std::span<const Rate> rates, const Instant& now) {
  const shaper::ApplyReport report = try_to_apply(policy, rates);
  if (report.ok()) {
    note_leaves(policy, report.degraded, now);
    if (!status_.in_place || report.messages > 0)
      tell_restored(policy, fmt::format("the tree stands again after {} message(s)", report.messages), now);
    return true;
  }
  std::string fault = describe(*report.fault);
  if (status_.fault != fault) {
    events_.record(EventKind::repair_failed, Severity::error, "",
                   fmt::format("{}: repair failed, trying again: {}", policy.wan.interface, fault), now.wall);
  }
  status_.in_place = false;
  status_.fault = std::move(fault);
  return false;
}

bool PortTree::look(const Policy& policy, std::span<const Rate> rates, const std::string& suspicion,
                    const Instant& now) {
  place_checked_ = now.steady;
  bool stands = false;
  try {
    stands = port_.in_place();
  } catch (const std::exception&) {
    // Cannot even be asked: restore() says why, in the words of the write that fails.
  }
  if (stands) {
    // A change of rates mended it.
    if (!status_.in_place) tell_restored(policy, "the tree stands again", now);
    return false;
  }
  if (status_.in_place) {
    events_.record(EventKind::foreign_change, Severity::error, "",
                   fmt::format("{}: {}; putting it back", policy.wan.interface, suspicion), now.wall);
  }
  return restore(policy, rates, now);
}

bool PortTree::every_second(const Policy& policy, std::span<const Rate> rates, bool troubled,
                            const Instant& now) {
  bool written = false;
  if (troubled || !status_.in_place || is_due(place_checked_, kPlaceCheck, now.steady))
    written = look(policy, rates, "the queue tree is not as it was left", now);
  if (classes_.size() <= kManyClasses || is_due(classes_read_, kSlowDump, now.steady))
    read_classes(now.steady);
  return written;
}

shaper::ApplyReport PortTree::clear() {
  status_.in_place = false;
  status_.fault.reset();
  ever_applied_ = false;
  classes_.clear();
  class_meters_.clear();
  return port_.clear();
}

void PortTree::tell_restored(const Policy& policy, const std::string& how, const Instant& now) {
  status_.in_place = true;
  status_.fault.reset();
  events_.record(EventKind::repaired, Severity::info, "", policy.wan.interface + ": " + how, now.wall);
}

void PortTree::note_leaves(const Policy& policy, bool fifo, const Instant& now) {
  if (fifo && !status_.fifo_leaves) {
    events_.record(EventKind::fifo_leaves, Severity::warning, "",
                   fmt::format("DEGRADED: this kernel has no fq_codel, plain FIFOs serve the classes of {}: "
                               "load the module sch_fq_codel",
                               policy.wan.interface),
                   now.wall);
  }
  status_.fifo_leaves = fifo;
}

shaper::ApplyReport PortTree::try_to_apply(const Policy& policy, std::span<const Rate> rates) {
  shaper::ApplyReport report;
  try {
    report = port_.apply(policy, rates);
  } catch (const std::system_error& failure) {
    report.fault = {.attempt = failure.what(), .error = failure.code().value(), .hint = {}};
  }
  status_.messages += report.messages;
  return report;
}

void PortTree::read_classes(TimePoint now) {
  classes_read_ = now;
  std::vector<shaper::ClassCounters> fresh;
  try {
    fresh = port_.class_counters();
  } catch (const std::exception&) {
    return;  // the same failure shows in the site counters, ten times a second, and is told there
  }
  std::map<std::uint32_t, RateMeter> meters;
  classes_.clear();
  for (shaper::ClassCounters& counters : fresh) {
    auto known = class_meters_.extract(counters.handle);
    const auto at =
        known ? meters.insert(std::move(known)).position : meters.try_emplace(counters.handle).first;
    RateMeter& meter = at->second;
    meter.read(counters.sent, now);
    const Rate sent = meter.of_last_second();
    classes_.push_back({.counters = std::move(counters), .sent = sent});
  }
  class_meters_ = std::move(meters);
}

}  // namespace weir::gateway
