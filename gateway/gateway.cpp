#include "gateway/gateway.hpp"

#include <algorithm>
#include <exception>
#include <iterator>
#include <random>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace weir::gateway {
namespace {

constexpr Duration kStalled = std::chrono::seconds(2);
constexpr Duration kRecently = std::chrono::seconds(10);

bool is_due(const std::optional<TimePoint>& last, Duration every, TimePoint now) {
  return !last || now - *last >= every;
}

/// Takes what is remembered of what comes from sites out of all that is.
SiteMemories take_inbound(SiteMemories& all) {
  SiteMemories inbound;
  for (auto one = all.begin(); one != all.end();) {
    const auto next = std::next(one);
    if (one->first.ends_with(kInboundSuffix)) {
      auto node = all.extract(one);
      node.key().resize(node.key().size() - kInboundSuffix.size());
      inbound.insert(std::move(node));
    }
    one = next;
  }
  return inbound;
}

/// By site; empty: none does.
std::vector<bool> follows_inbound(const Policy& policy) {
  std::vector<bool> follows;
  for (const SitePolicy& comes : policy.inbound) {
    if (!comes.rate.adapt) continue;
    follows.resize(policy.sites.size());
    const auto site = std::ranges::find(policy.sites, comes.name, &SitePolicy::name);
    follows[static_cast<std::size_t>(site - policy.sites.begin())] = true;
  }
  return follows;
}

/// What is written besides the tree itself.
void add_loop(ShaperStatus& shaper, const SiteLoop& loop) {
  shaper.batches = loop.batches();
  shaper.batches_failed = loop.batches_failed();
  shaper.messages += loop.messages();
  if (!shaper.fault && loop.fault()) shaper.fault = describe(*loop.fault());
}

bool same_for_estimator(const Policy& a, const Policy& b) {
  const auto same_site = [](const SitePolicy& x, const SitePolicy& y) {
    return x.name == y.name && x.subnets == y.subnets;
  };
  return a.wan.link_layer == b.wan.link_layer && follows_inbound(a) == follows_inbound(b) &&
         std::ranges::equal(a.sites, b.sites, same_site);
}

}  // namespace

EstimatorSettings estimator_settings(const Policy& policy) {
  EstimatorSettings settings;
  for (const SitePolicy& site : policy.sites) settings.sites.push_back(site.subnets);
  settings.link_layer = policy.wan.link_layer;
  settings.corroborate = true;
  settings.watch_way_in = follows_inbound(policy);
  settings.hash_seed = std::random_device()();
  return settings;
}

Gateway::Gateway(Settings settings, BootPolicy boot, Ports ports, const PolicyLibrary& library,
                 RevisionLog& revisions, MakeRateLaw make_law, EventLog& events, const Instant& now)
    : version_(std::move(settings.version)),
      port_(ports.wan),
      events_(events),
      loop_(make_law, events),
      tree_(ports.wan, events),
      changes_(
          std::move(settings.policy_file), std::move(boot), library, revisions, events,
          [this](const Policy& next, const Instant& at) { return put_in_force(next, at); }, now),
      started_(now) {
  capture_.why_down = "not opened yet";
  if (ports.lan != nullptr) inbound_.emplace(*ports.lan, std::move(make_law), events);
}

shaper::ApplyReport Gateway::start(const Instant& now, const RememberedSites& remembered) {
  SiteMemories outbound = remembered.sites;
  const SiteMemories inbound = take_inbound(outbound);
  const auto adopted = port_.adopted_rates(policy());
  const std::vector<ControlStart> starts = loop_.starts_for(
      policy(), adopted ? std::span(*adopted) : std::span<const std::optional<Rate>>(), outbound);
  shaper::ApplyReport report = tree_.apply(policy(), rates_of(starts), now);
  if (!report.ok()) return report;
  loop_.take_over(policy(), starts, now);
  kept_ = remembered.sites;
  kept_at_ = now.steady;
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
  // What goes out is shaped, and that does not wait for the other port.
  if (inbound_ && !inbound_->put_in_force(policy(), now, inbound).ok())
    inbound_->keep_trying(policy(), now, inbound);
  bound_recordings(policy());
  changes_.started(now);
  return report;
}

ChangeControl::InForce Gateway::put_in_force(const Policy& next, const Instant& now) {
  const std::vector<ControlStart> starts = loop_.starts_for(next);
  shaper::ApplyReport report = tree_.apply(next, rates_of(starts), now);
  if (report.ok() && inbound_) put_in_force_inbound(next, report, now);
  if (!report.ok()) {
    restore(now);  // part of the new policy may be in force, or all of it at the other port
    return {.why_not = describe(*report.fault), .changes = {}};
  }
  if (!same_for_estimator(policy(), next)) ++estimator_generation_;
  loop_.take_over(next, starts, now);
  bound_recordings(next);
  return {.why_not = std::nullopt, .changes = std::move(report.changes)};
}

void Gateway::put_in_force_inbound(const Policy& next, shaper::ApplyReport& report, const Instant& now) {
  const bool was_missing = inbound_->is_missing();
  shaper::ApplyReport inbound = inbound_->put_in_force(next, now);
  report.changes.insert(report.changes.end(), inbound.changes.begin(), inbound.changes.end());
  if (inbound.ok()) return;
  // A port that is not there, say, was none for the policy before either: what goes out does not wait for it.
  if (was_missing) return inbound_->keep_trying(next, now);
  inbound_->restore(now);
  report.fault = std::move(inbound.fault);
}

/// What a policy lets the recording hold is for both directions together.
void Gateway::bound_recordings(const Policy& policy) {
  if (!inbound_) return;
  const bool both = !follows_inbound(policy).empty();
  loop_.recorder().set_bound(policy.recording.bytes() / (both ? 2 : 1));
  inbound_->loop().recorder().set_bound(both ? policy.recording.bytes() / 2 : 0);
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
  if (inbound_) inbound_->on_tick(tick.result, now);
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
  if (const auto rates = loop_.wanted_rates(); tree_.look(policy(), rates, what, now))
    loop_.rates_written(rates);
  if (inbound_) inbound_->look(what, now);
}

void Gateway::on_api_failure(const std::string& what, const Instant& now) {
  api_failures_.push_back(what);
  events_.record(EventKind::api_failed, Severity::error, "", what, now.wall);
}

std::optional<KeptMemories> Gateway::memories_to_keep(const Instant& now) {
  SiteMemories present = loop_.memories(now.steady);
  if (inbound_) {
    for (const auto& [site, memory] : inbound_->loop().memories(now.steady))
      present.emplace(inbound_->loop().recorded_name(site), memory);
  }
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
  const auto rates = loop_.wanted_rates();
  if (tree_.every_second(policy(), rates, loop_.fault() || loop_.unreadable(), now))
    loop_.rates_written(rates);
  if (inbound_) inbound_->every_second(now);
}

void Gateway::restore(const Instant& now) {
  const auto rates = loop_.wanted_rates();
  if (tree_.restore(policy(), rates, now)) loop_.rates_written(rates);
}

std::span<const ClassStatus> Gateway::inbound_classes() const {
  if (inbound_policy() == nullptr) return {};
  return inbound_->tree().classes();
}

std::optional<shaper::Verdict> Gateway::explain_inbound(const shaper::PacketQuery& query) {
  return inbound_policy() != nullptr ? inbound_->port().explain(query) : std::nullopt;
}

std::optional<shaper::ArrivalCounters> Gateway::inbound_arrivals() {
  return inbound_policy() != nullptr ? inbound_->port().arrivals() : std::nullopt;
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
      .shaper = tree_.status(),
      .lan = inbound_ ? inbound_->status() : std::nullopt,
      .degraded = degradations(now.steady),
      .sites = loop_.site_status(now.steady),
      .inbound = inbound_ ? inbound_->loop().site_status(now.steady) : std::vector<SiteStatus>(),
  };
  if (last_tick_) s.capture.last_tick_age = now.steady - *last_tick_;
  add_loop(s.shaper, loop_);
  if (s.lan) add_loop(s.lan->shaper, inbound_->loop());
  return s;
}

std::optional<std::vector<SharedText>> Gateway::recording(std::optional<std::string_view> site,
                                                          const Instant& now) {
  if (!loop_.recorder().is_on()) return std::nullopt;
  const auto unix_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now.wall.time_since_epoch());
  const RecordingHeader header{.version = version_,
                               .interface = policy().wan.interface,
                               .wall_ns = unix_ns.count(),
                               .steady = now.steady};
  std::vector<ControlRecorder::Part> parts;
  const auto add = [&](SiteLoop& loop) {
    parts.push_back({.recorder = &loop.recorder(),
                     .site = site ? std::optional(loop.recorded_name(*site)) : std::nullopt});
  };
  add(loop_);
  if (inbound_policy() != nullptr) add(inbound_->loop());
  return ControlRecorder::recording(header, parts);
}

std::vector<Degradation> Gateway::degradations(TimePoint now) const {
  std::vector<Degradation> all;
  changes_.add_degradations(all);
  const auto missing = [&](const char* code, const std::string& what, const ShaperStatus& shaper) {
    if (shaper.in_place) return;
    all.push_back({code, what + " does not stand: " + shaper.fault.value_or("not repaired yet")});
  };
  missing("tree_missing", "the queue tree", tree_.status());
  if (const auto lan = inbound_ ? inbound_->status() : std::nullopt)
    missing("lan_tree_missing", "the queue tree of " + lan->interface, lan->shaper);
  if (inbound_ && inbound_->left_over())
    all.push_back({"lan_tree_left", "the LAN port's tree cannot be taken away: " + *inbound_->left_over()});
  const auto stuck = [&](const std::string& code, const std::string& port, const SiteLoop& loop) {
    if (loop.fault())
      all.push_back(
          {code + "rates_refused", "the kernel refuses new rates" + port + ": " + describe(*loop.fault())});
    if (loop.unreadable()) {
      all.push_back({code + "counters_unreadable",
                     "the port's counters" + port + " can't be read, rates are held: " + *loop.unreadable()});
    }
  };
  stuck("", "", loop_);
  if (inbound_) stuck("lan_", " of the LAN port", inbound_->loop());
  if (tree_.status().fifo_leaves) {
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
