#include "gateway/gateway.hpp"

#include <algorithm>
#include <exception>
#include <random>
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
constexpr Duration kStalled = std::chrono::seconds(2);
constexpr Duration kRecently = std::chrono::seconds(10);

bool is_due(const std::optional<TimePoint>& last, Duration every, TimePoint now) {
  return !last || now - *last >= every;
}

std::vector<Rate> rates_of(const std::vector<ControlStart>& starts) {
  std::vector<Rate> rates;
  rates.reserve(starts.size());
  for (const ControlStart& start : starts) rates.push_back(start.rate);
  return rates;
}

bool same_for_estimator(const Policy& a, const Policy& b) {
  const auto same_site = [](const SitePolicy& x, const SitePolicy& y) {
    return x.name == y.name && x.subnets == y.subnets;
  };
  return a.wan.link_layer == b.wan.link_layer && std::ranges::equal(a.sites, b.sites, same_site);
}

}  // namespace

EstimatorSettings estimator_settings(const Policy& policy) {
  EstimatorSettings settings;
  for (const SitePolicy& site : policy.sites) settings.sites.push_back(site.subnets);
  settings.link_layer = policy.wan.link_layer;
  settings.corroborate = true;
  settings.hash_seed = std::random_device()();
  return settings;
}

Gateway::Gateway(Settings settings, BootPolicy boot, Port& port, const PolicyLibrary& library,
                 RevisionLog& revisions, MakeRateLaw make_law, EventLog& events, const Instant& now)
    : version_(std::move(settings.version)),
      port_(port),
      events_(events),
      loop_(std::move(make_law), events),
      changes_(
          std::move(settings.policy_file), std::move(boot), library, revisions, events,
          [this](const Policy& next, const Instant& at) { return put_in_force(next, at); }, now),
      started_(now) {
  capture_.why_down = "not opened yet";
}

shaper::ApplyReport Gateway::start(const Instant& now, const RememberedSites& remembered) {
  const auto adopted = port_.adopted_rates(policy());
  const std::vector<ControlStart> starts = loop_.starts_for(
      policy(), adopted ? std::span(*adopted) : std::span<const std::optional<Rate>>(), remembered.sites);
  shaper::ApplyReport report = try_to_apply(policy(), rates_of(starts));
  if (!report.ok()) return report;
  loop_.take_over(policy(), starts, now);
  kept_ = remembered.sites;
  kept_at_ = now.steady;
  shaper_.in_place = true;
  shaper_.adopted = report.adopted;
  const auto known =
      std::ranges::count_if(starts, [](const ControlStart& start) { return start.memory.has_value(); });
  events_.record(EventKind::started, Severity::info, "",
                 fmt::format("weir {} controls {} with {} site(s){}", version_, policy().wan.interface,
                             policy().sites.size(),
                             known > 0 ? fmt::format(", {} of them known from before", known) : ""),
                 now.wall);
  if (remembered.ignored) {
    events_.record(EventKind::memory_ignored, Severity::warning, "",
                   "what was known of the sites before is not used: " + *remembered.ignored, now.wall);
  }
  if (report.adopted) {
    events_.record(EventKind::adopted, Severity::info, "",
                   fmt::format("adopted the tree that stood there, with {} change(s)", report.messages),
                   now.wall);
  } else {
    events_.record(EventKind::applied, Severity::info, "",
                   fmt::format("programmed the tree with {} message(s)", report.messages), now.wall);
  }
  note_leaves(report.degraded, now);
  changes_.started(now);
  read_classes(now.steady);
  return report;
}

ChangeControl::InForce Gateway::put_in_force(const Policy& next, const Instant& now) {
  const std::vector<ControlStart> starts = loop_.starts_for(next);
  shaper::ApplyReport report = try_to_apply(next, rates_of(starts));
  if (!report.ok()) {
    repair(now);  // part of the new policy may be in force
    return {.why_not = describe(*report.fault), .changes = {}};
  }
  if (!same_for_estimator(policy(), next)) ++estimator_generation_;
  loop_.take_over(next, starts, now);
  shaper_.in_place = true;
  note_leaves(report.degraded, now);
  read_classes(now.steady);
  return {.why_not = std::nullopt, .changes = std::move(report.changes)};
}

void Gateway::on_tick(const CaptureTick& tick, const Instant& now) {
  if (tick.generation != estimator_generation_) return;
  if (tick.counters.dropped > capture_.counters.dropped) {
    if (!capture_lost_ || now.steady - *capture_lost_ > kRecently) {
      events_.record(EventKind::capture_lost, Severity::warning, "",
                     "the capture loses frames: its measurements are void meanwhile and the rates are held",
                     now.wall);
    }
    capture_lost_ = now.steady;
  }
  if (tick.totals.one_in != capture_.totals.one_in) {
    const bool fewer = tick.totals.one_in > capture_.totals.one_in;
    events_.record(EventKind::capture_sampled, fewer ? Severity::warning : Severity::info, "",
                   tick.totals.one_in == 1
                       ? "all connections are followed again"
                       : fmt::format("the capture {}: one connection in {} is followed",
                                     fewer ? "cannot keep up" : "has room again", tick.totals.one_in),
                   now.wall);
  }
  capture_.counters = tick.counters;
  capture_.totals = tick.totals;
  ++capture_.ticks;
  last_tick_ = now.steady;
  loop_.tick(tick.result, port_, now);
}

void Gateway::on_ticks_dropped(std::uint64_t count, const Instant& now) {
  capture_.ticks_dropped += count;
  if (is_due(ticks_dropped_told_, kRecently, now.steady)) {
    ticks_dropped_told_ = now.steady;
    events_.record(EventKind::ticks_dropped, Severity::warning, "",
                   fmt::format("the control loop lagged: {} measurement(s) thrown away", count), now.wall);
  }
}

void Gateway::on_capture(const CaptureChange& change, const Instant& now) {
  capture_.up = change.up;
  capture_.why_down = change.text;
  capture_.counters = {};  // a new tap counts from zero
  events_.record(
      change.up ? EventKind::capture_up : EventKind::capture_down,
      change.up ? Severity::info : Severity::error, "",
      change.up ? "the capture runs on " + policy().wan.interface : "no capture, all rates are held: " + change.text,
      now.wall);
}

void Gateway::on_kernel_change(const std::string& what, const Instant& now) {
  check_in_place(what, now);
}

void Gateway::on_api_failure(const std::string& what, const Instant& now) {
  api_failures_.push_back(what);
  events_.record(EventKind::api_failed, Severity::error, "", what, now.wall);
}

std::optional<KeptMemories> Gateway::memories_to_keep(const Instant& now) {
  SiteMemories present = loop_.memories(now.steady);
  // That all is older by now is no news: an idle link costs the disk nothing.
  const bool same = kept_ && aged(*std::move(kept_), now.steady - kept_at_) == present;
  kept_ = present;
  kept_at_ = now.steady;
  if (same) return std::nullopt;
  return KeptMemories{.interface = policy().wan.interface, .saved = now.wall, .sites = std::move(present)};
}

void Gateway::on_memories_kept(const std::optional<std::string>& failure, const Instant& now) {
  if (failure) {
    kept_.reset();  // once more, a minute later
    if (!memory_not_saved_) {
      events_.record(EventKind::memory_not_saved, Severity::warning, "",
                     "what is known of the sites could not be saved: " + *failure, now.wall);
    }
  }
  memory_not_saved_ = failure;
}

void Gateway::every_second(const Instant& now) {
  changes_.every_second(now);
  loop_.sample_history(now);
  const bool troubled = !shaper_.in_place || loop_.fault() || loop_.unreadable();
  if (troubled || is_due(place_checked_, kPlaceCheck, now.steady))
    check_in_place("the queue tree is not as it was left", now);
  if (classes_.size() <= kManyClasses || is_due(classes_read_, kSlowDump, now.steady))
    read_classes(now.steady);
}

void Gateway::check_in_place(const std::string& suspicion, const Instant& now) {
  place_checked_ = now.steady;
  bool stands = false;
  try {
    stands = port_.in_place();
  } catch (const std::exception&) {
    // Cannot even be asked: repair() says why, in the words of the write that fails.
  }
  if (stands) {
    if (!shaper_.in_place) tell_repaired("the tree stands again", now);  // a change of rates mended it
    return;
  }
  if (shaper_.in_place) {
    events_.record(EventKind::foreign_change, Severity::error, "",
                   fmt::format("{}: {}; putting it back", policy().wan.interface, suspicion), now.wall);
  }
  repair(now);
}

void Gateway::repair(const Instant& now) {
  const std::vector<Rate> rates = loop_.wanted_rates();
  const shaper::ApplyReport report = try_to_apply(policy(), rates);
  if (report.ok()) {
    note_leaves(report.degraded, now);
    loop_.rates_written(rates);
    tell_repaired(fmt::format("the tree stands again after {} message(s)", report.messages), now);
    return;
  }
  std::string fault = describe(*report.fault);
  if (shaper_.fault != fault) {
    events_.record(EventKind::repair_failed, Severity::error, "", "repair failed, trying again: " + fault,
                   now.wall);
  }
  shaper_.in_place = false;
  shaper_.fault = std::move(fault);
}

void Gateway::tell_repaired(std::string how, const Instant& now) {
  shaper_.in_place = true;
  shaper_.fault.reset();
  events_.record(EventKind::repaired, Severity::info, "", std::move(how), now.wall);
}

void Gateway::note_leaves(bool fifo, const Instant& now) {
  if (fifo && !shaper_.fifo_leaves) {
    events_.record(
        EventKind::fifo_leaves, Severity::warning, "",
        "DEGRADED: this kernel has no fq_codel, plain FIFOs serve the classes: load the module sch_fq_codel",
        now.wall);
  }
  shaper_.fifo_leaves = fifo;
}

shaper::ApplyReport Gateway::try_to_apply(const Policy& policy, std::span<const Rate> rates) {
  shaper::ApplyReport report;
  try {
    report = port_.apply(policy, rates);
  } catch (const std::system_error& failure) {
    report.fault = {.attempt = failure.what(), .error = failure.code().value(), .hint = {}};
  }
  shaper_.messages += report.messages;
  return report;
}

void Gateway::read_classes(TimePoint now) {
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

GatewayStatus Gateway::status(const Instant& now) const {
  GatewayStatus s{
      .version = version_,
      .at = now.wall,
      .started = started_.wall,
      .uptime = now.steady - started_.steady,
      .interface = policy().wan.interface,
      .port_rate = policy().wan.rate,
      .policy = changes_.status(),
      .capture = capture_,
      .shaper = shaper_,
      .degraded = degradations(now.steady),
      .sites = loop_.site_status(now.steady),
  };
  if (last_tick_) s.capture.last_tick_age = now.steady - *last_tick_;
  s.shaper.batches = loop_.batches();
  s.shaper.batches_failed = loop_.batches_failed();
  s.shaper.messages += loop_.messages();
  if (!s.shaper.fault && loop_.fault()) s.shaper.fault = describe(*loop_.fault());
  return s;
}

std::optional<std::vector<SharedText>> Gateway::recording(std::optional<std::string_view> site,
                                                          const Instant& now) {
  if (!loop_.recorder().is_on()) return std::nullopt;
  const auto unix_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now.wall.time_since_epoch());
  return loop_.recorder().recording({.version = version_,
                                     .interface = policy().wan.interface,
                                     .wall_ns = unix_ns.count(),
                                     .steady = now.steady},
                                    site);
}

std::vector<Degradation> Gateway::degradations(TimePoint now) const {
  std::vector<Degradation> all;
  changes_.add_degradations(all);
  if (!shaper_.in_place) {
    all.push_back(
        {"tree_missing", "the queue tree does not stand: " + shaper_.fault.value_or("not repaired yet")});
  }
  if (loop_.fault())
    all.push_back({"rates_refused", "the kernel refuses new rates: " + describe(*loop_.fault())});
  if (loop_.unreadable()) {
    all.push_back(
        {"counters_unreadable", "the port's counters can't be read, rates are held: " + *loop_.unreadable()});
  }
  if (shaper_.fifo_leaves) {
    all.push_back({"fifo_leaves", "this kernel has no fq_codel: plain FIFOs serve the classes"});
  }
  if (!capture_.up) {
    all.push_back({"capture_down", "no capture, rates are held: " + capture_.why_down});
  } else if (now - last_tick_.value_or(started_.steady) > kStalled) {
    all.push_back({"capture_stalled", "no measurement for more than two seconds, rates are held"});
  }
  if (capture_lost_ && now - *capture_lost_ <= kRecently) {
    all.push_back({"capture_lossy", "the capture lost frames in the last ten seconds"});
  }
  if (capture_.totals.one_in > 1) {
    all.push_back(
        {"capture_sampled", fmt::format("the capture cannot keep up: one connection in {} is followed",
                                        capture_.totals.one_in)});
  }
  if (memory_not_saved_) {
    all.push_back({"memory_not_saved", "what is known of the sites is not on disk: " + *memory_not_saved_});
  }
  for (const std::string& what : api_failures_) all.push_back({"api", what});
  return all;
}

}  // namespace weir::gateway
