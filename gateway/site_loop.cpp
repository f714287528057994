#include "gateway/site_loop.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "gateway/latency_goals.hpp"
#include "gateway/meter.hpp"

namespace weir::gateway {
namespace {

// Figures older than this are no longer shown as the present.
constexpr Duration kFresh = std::chrono::seconds(2);
constexpr Duration kRttFresh = std::chrono::seconds(10);
/// In a recording, of the sites that share a bottleneck together. No site is called that: names have no
/// spaces.
constexpr std::string_view kGroupName = "shared bottleneck";

/// A figure that not every tick brings, kept until it is too old to be called current.
template <class T>
struct Latest {
  std::optional<T> value;
  TimePoint at;

  void offer(const std::optional<T>& fresh, TimePoint now, Duration keep) {
    if (fresh) {
      value = fresh;
      at = now;
    } else if (value && now - at > keep) {
      value.reset();
    }
  }
};

/// "class 'voice' misses its latency goal of 20 ms: it waits 1.2 ms here and 26.0 ms at the provider".
std::string sentence(const LatencyStatus& latency) {
  return fmt::format(
      "class '{}' misses its latency goal of {:g} ms: it waits {:.1f} ms here and {} at the "
      "provider{}",
      latency.class_name, milliseconds(latency.goal), milliseconds(latency.own),
      latency.provider ? fmt::format("{:.1f} ms", milliseconds(*latency.provider)) : "an unknown time",
      latency.probes_held ? "; no probe begins meanwhile" : "");
}

}  // namespace

struct SiteLoop::Site {
  std::string name;
  std::string recorded;  ///< its name in a recording
  std::string policy;
  ControlLimits limits;
  std::unique_ptr<RateLaw> law;
  Rate in_force;
  History history;
  DecisionLog decisions;

  RateMeter sent;      ///< from the shaper's counters: all protocols, also what the tap does not see
  RateMeter received;  ///< from the capture
  Bytes received_total;
  Bytes backlog;
  bool demand = false;
  std::uint32_t flows = 0;
  Latest<RttSummary> rtt;
  Latest<QueueDelay> queue;
  Latest<Delivery> delivered;
  LatencyGoals goals;
  Latest<Duration> provider;  ///< the queue there, as the law takes it
};

std::vector<Rate> rates_of(std::span<const ControlStart> starts) {
  std::vector<Rate> rates;
  rates.reserve(starts.size());
  for (const ControlStart& start : starts) rates.push_back(start.rate);
  return rates;
}

SiteLoop::SiteLoop(MakeRateLaw make_law, EventLog& events, Direction direction)
    : make_law_(std::move(make_law)), events_(events), direction_(direction) {}
SiteLoop::~SiteLoop() = default;

ControlLimits SiteLoop::limits_of(const SitePolicy& site) const {
  return {.floor = site.rate.floor,
          .ceiling = site.rate.ceiling,
          .adapt = site.rate.adapt,
          .paced = direction_ == Direction::outbound};
}

std::string SiteLoop::recorded_name(std::string_view site) const {
  return fmt::format("{}{}", site, direction_ == Direction::outbound ? "" : kInboundSuffix);
}

std::string SiteLoop::told(std::string text) const {
  return direction_ == Direction::outbound ? std::move(text) : "inbound: " + text;
}

std::vector<ControlStart> SiteLoop::starts_for(const Policy& policy,
                                               std::span<const std::optional<Rate>> adopted,
                                               const SiteMemories& remembered) const {
  std::vector<ControlStart> starts;
  starts.reserve(policy.sites.size());
  for (std::size_t i = 0; i < policy.sites.size(); ++i) {
    const SitePolicy& site = policy.sites[i];
    const auto known = std::ranges::find_if(sites_, [&](const auto& s) { return s->name == site.name; });
    const auto memory = remembered.find(site.name);
    std::optional<Rate> stands;
    if (known != sites_.end()) {
      stands = (*known)->law->decision().rate;
    } else if (i < adopted.size()) {
      stands = adopted[i];
    }
    starts.push_back(start_of(limits_of(site), site.rate.start, stands,
                              memory == remembered.end() ? std::nullopt : std::optional(memory->second)));
  }
  return starts;
}

void SiteLoop::take_over(const Policy& policy, std::span<const ControlStart> starts, const Instant& now) {
  std::vector<std::unique_ptr<Site>> next;
  std::vector<std::string> names;
  const bool same_sites = std::ranges::equal(
      sites_, policy.sites,
      [](const auto& site, const SitePolicy& wanted) { return site->name == wanted.name; });
  recorder_.set_bound(policy.recording.bytes());
  for (std::size_t i = 0; i < policy.sites.size(); ++i) {
    const SitePolicy& wanted = policy.sites[i];
    const auto known =
        std::ranges::find_if(sites_, [&](const auto& s) { return s && s->name == wanted.name; });
    std::unique_ptr<Site> site;
    if (known != sites_.end()) {
      site = std::move(*known);
      change_limits(*site, limits_of(wanted), now);
      // A site that does not adapt goes to its start rate, whatever the law had come to.
      if (!wanted.rate.adapt && site->law->decision().rate != starts[i].rate)
        make_law(*site, limits_of(wanted), starts[i].rate, now);
    } else {
      site = std::make_unique<Site>();
      site->name = wanted.name;
      site->recorded = recorded_name(wanted.name);
      make_law(*site, limits_of(wanted), starts[i], now);
    }
    site->policy = policy_name(policy, wanted);
    site->goals = LatencyGoals(classes_of(policy, wanted).classes);
    site->limits = limits_of(wanted);
    site->in_force = starts[i].rate;
    names.push_back(site->recorded);
    next.push_back(std::move(site));
  }
  sites_ = std::move(next);
  // What was found holds for these sites by their place in the policy.
  if (!same_sites) coordinator_ = PortCoordinator(sites_.size());
  names.push_back(recorded_name(kGroupName));
  recorder_.keep_only(names);
  fault_.reset();
  unreadable_.reset();
}

void SiteLoop::change_limits(Site& site, const ControlLimits& limits, const Instant& now) {
  recorder_.before_step(site.recorded, now.steady, [&] { return site.law->state(); });
  site.law->set_limits(limits, now.steady);
  recorder_.limits_changed(site.recorded, limits, site.law->decision(), now.steady);
  site.decisions.note(site.law->decision(), now.wall);
}

void SiteLoop::make_law(Site& site, const ControlLimits& limits, const ControlStart& start,
                        const Instant& now) {
  site.law = make_law_(limits, start, now.steady);
  recorder_.start(site.recorded, limits, start, now.steady);
  site.decisions.begin(site.law->decision(), now.wall);
}

void SiteLoop::rates_written(std::span<const Rate> in_force) {
  for (std::size_t i = 0; i < sites_.size(); ++i) sites_[i]->in_force = in_force[i];
  fault_.reset();
}

void SiteLoop::tick(const TickResult& measured, Port& port, const Instant& now) {
  const std::size_t with_elsewhere = sites_.size() + 1;
  if (measured.outbound.size() != with_elsewhere || measured.inbound.size() != with_elsewhere) return;
  std::vector<Bytes> inbound;
  inbound.reserve(sites_.size());
  for (std::size_t i = 0; i < sites_.size(); ++i) inbound.push_back(measured.inbound[i].sent);
  tick(std::span(measured.outbound).first(sites_.size()), inbound, port, now);
}

void SiteLoop::tick(std::span<const SiteMeasurement> shaped, std::span<const Bytes> opposite, Port& port,
                    const Instant& now) {
  // Without S there is no evidence, and without evidence there is no change.
  if (read_counters(port, now.steady)) {
    std::vector<ControlInput> inputs = inputs_of(shaped);
    coordinate(inputs, now);
    for (std::size_t i = 0; i < sites_.size(); ++i) step(*sites_[i], inputs[i], opposite[i], now);
  }
  write_changed_rates(port, now);
}

bool SiteLoop::read_counters(Port& port, TimePoint now) {
  try {
    const std::vector<shaper::SiteCounters> counters = port.site_counters();
    if (counters.size() != sites_.size()) {
      unreadable_ =
          fmt::format("the kernel counts {} sites where the policy has {}", counters.size(), sites_.size());
      return false;
    }
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      sites_[i]->sent.read(counters[i].sent, now);
      sites_[i]->backlog = counters[i].backlog;
      sites_[i]->goals.read(counters[i].goals, now);
    }
    unreadable_.reset();
    return true;
  } catch (const std::exception& failure) {
    unreadable_ = failure.what();
    for (const auto& site : sites_) site->sent.reset();
    return false;
  }
}

std::vector<ControlInput> SiteLoop::inputs_of(std::span<const SiteMeasurement> measured) const {
  std::vector<ControlInput> inputs;
  inputs.reserve(sites_.size());
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    const SiteMeasurement& m = measured[i];
    inputs.push_back({
        .measured = m,
        .sent = sites_[i]->sent.of_last_tick().value_or(Rate::of(m.sent, m.interval)),
        .backlogged = sites_[i]->backlog > Bytes(0),
        .latency_room = sites_[i]->goals.room(sites_[i]->in_force),
    });
  }
  return inputs;
}

void SiteLoop::coordinate(std::vector<ControlInput>& inputs, const Instant& now) {
  if (sites_.size() < 2) return;
  std::vector<PortCoordinator::SiteOnPort> on_port;
  on_port.reserve(sites_.size());
  for (const auto& site : sites_)
    on_port.push_back({.limits = site->limits, .rate = site->law->decision().rate});
  const std::vector<std::size_t> before = coordinator_.members();
  coordinator_.look(inputs, on_port, now.steady);
  // As if the group were a site: its rate can be replayed like any other.
  const std::string group = recorded_name(kGroupName);
  if (const auto start = coordinator_.start()) {
    recorder_.start(group, coordinator_.limits(), *start, now.steady);
  } else if (coordinator_.decision() != nullptr) {
    recorder_.before_step(group, now.steady, [&] { return coordinator_.state(); });
  }
  coordinator_.decide(inputs, on_port, now.steady);
  if (coordinator_.decision() != nullptr)
    recorder_.tick(group, coordinator_.input(), *coordinator_.decision(), now.steady);
  if (coordinator_.members() != before) note_group(before, now);
}

void SiteLoop::note_group(const std::vector<std::size_t>& before, const Instant& now) {
  const std::vector<std::size_t>& members = coordinator_.members();
  const auto tell = [&](std::size_t site, std::string text) {
    events_.record(EventKind::sharing_changed, Severity::info, sites_[site]->name, told(std::move(text)),
                   now.wall);
  };
  for (const std::size_t i : members) {
    if (std::ranges::find(before, i) == before.end()) tell(i, *shares_with(i));
  }
  for (const std::size_t i : before) {
    if (std::ranges::find(members, i) == members.end()) tell(i, "shares no bottleneck any more");
  }
}

std::optional<std::string> SiteLoop::shares_with(std::size_t site) const {
  const std::vector<std::size_t>& members = coordinator_.members();
  if (std::ranges::find(members, site) == members.end()) return std::nullopt;
  const Rate whole = coordinator_.decision()->rate;
  constexpr std::size_t kMostNames = 5;
  std::string names;
  std::size_t told = 0;
  for (const std::size_t other : members) {
    if (other == site) continue;
    if (told == kMostNames) {
      names += " and others";
      break;
    }
    names += (told++ == 0 ? "" : ", ") + sites_[other]->name;
  }
  return fmt::format("shares a bottleneck with {}: {} of {} sites, {:.1f} Mbit/s together", names,
                     members.size(), sites_.size(), whole.mbps());
}

void SiteLoop::step(Site& site, const ControlInput& input, Bytes opposite, const Instant& now) {
  const SiteMeasurement& measured = input.measured;
  const Rate rate_before = site.law->decision().rate;
  const ControlState state_before = site.law->decision().state;
  recorder_.before_step(site.recorded, now.steady, [&] { return site.law->state(); });
  const RateDecision& decision = site.law->step(input, now.steady);
  recorder_.tick(site.recorded, input, decision, now.steady);
  site.decisions.note(decision, now.wall);

  site.received_total += opposite;
  site.received.read(site.received_total, now.steady);
  site.demand = input.backlogged || input.sent >= 0.95 * site.in_force;
  site.flows = measured.flows;
  site.rtt.offer(measured.rtt, now.steady, kRttFresh);
  site.queue.offer(measured.queue, now.steady, kFresh);
  site.delivered.offer(measured.delivered, now.steady, kFresh);
  site.provider.offer(decision.queue, now.steady, kFresh);

  if (decision.rate != rate_before) {
    events_.record(EventKind::rate_changed, decision.rate < rate_before ? Severity::info : Severity::debug,
                   site.name,
                   told(fmt::format("{}: {:.1f} Mbit/s -> {}", to_string(decision.state), rate_before.mbps(),
                                    decision.reason)),
                   now.wall);
  }
  const bool outage = decision.state == ControlState::outage;
  if (outage != (state_before == ControlState::outage)) {
    events_.record(
        outage ? EventKind::outage_began : EventKind::outage_over, outage ? Severity::error : Severity::info,
        site.name,
        told(outage ? "no host of this site answers any more; the rate is held" : "the site answers again"),
        now.wall);
  }
}

void SiteLoop::write_changed_rates(Port& port, const Instant& now) {
  if (std::ranges::all_of(sites_, [](const auto& s) { return s->in_force == s->law->decision().rate; }))
    return;
  const std::vector<Rate> wanted = wanted_rates();
  const shaper::ApplyReport report = port.set_rates(wanted);
  ++batches_;
  messages_ += report.messages;
  if (report.ok()) {
    if (fault_) {
      events_.record(EventKind::batch_recovered, Severity::info, "", told("the kernel takes the rates again"),
                     now.wall);
    }
    rates_written(wanted);
    return;
  }
  ++batches_failed_;
  // One event for a fault that lasts: it is tried ten times a second and must not push everything else out.
  if (!fault_ || fault_->attempt != report.fault->attempt || fault_->error != report.fault->error) {
    events_.record(EventKind::batch_failed, Severity::error, "",
                   told("rates not written, trying again: " + describe(*report.fault)), now.wall);
  }
  fault_ = report.fault;
}

void SiteLoop::sample_history(const Instant& now) {
  const auto unix_ms = std::chrono::floor<std::chrono::milliseconds>(now.wall.time_since_epoch()).count();
  const auto bps = [](Rate r) { return static_cast<float>(r.bps()); };
  const auto ms = [](Duration d) { return static_cast<float>(milliseconds(d)); };
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    const SiteStatus s = status_of(i, now.steady);
    sites_[i]->history.add({
        .unix_ms = unix_ms,
        .shaped_bps = bps(s.shaped),
        .sent_bps = bps(s.sent),
        .delivered_bps = s.delivered ? bps(*s.delivered) : kUnknown,
        .capacity_bps = s.capacity ? bps(s.capacity->rate) : kUnknown,
        .loss_beyond = static_cast<float>(s.loss_beyond),
        .loss_before = static_cast<float>(s.loss_before),
        .rtt_base_ms = s.rtt ? ms(s.rtt->base) : kUnknown,
        .rtt_p50_ms = s.rtt ? ms(s.rtt->p50) : kUnknown,
        .rtt_p95_ms = s.rtt ? ms(s.rtt->p95) : kUnknown,
        .queue_ms = s.queue ? ms(*s.queue) : kUnknown,
        .state = s.state,
        .mode = s.mode,
        .demand = s.demand,
    });
  }
}

std::vector<Rate> SiteLoop::wanted_rates() const {
  std::vector<Rate> rates;
  rates.reserve(sites_.size());
  for (const auto& site : sites_) rates.push_back(site->law->decision().rate);
  return rates;
}

SiteMemories SiteLoop::memories(TimePoint now) const {
  SiteMemories all;
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    SiteMemory& memory = all.emplace(sites_[i]->name, sites_[i]->law->memory(now)).first->second;
    if (const auto part = coordinator_.part_of_capacity(i, now)) memory.capacity = part;
  }
  return all;
}

SiteStatus SiteLoop::status_of(std::size_t index, TimePoint now) const {
  const Site& site = *sites_[index];
  const RateDecision& d = site.law->decision();
  SiteStatus s{
      .name = site.name,
      .policy = site.policy,
      .shaped = site.in_force,
      .wanted = d.rate,
      .floor = site.limits.floor,
      .ceiling = site.limits.ceiling,
      .adapt = site.limits.adapt,
      .state = d.state,
      .mode = d.mode,
      .reason = d.reason,
      .since = std::max(now - d.since, Duration::zero()),
      .sharing = shares_with(index),
      .capacity = std::nullopt,
      .loss_beyond = d.loss_beyond,
      .loss_before = d.loss_before,
      .loss_segments = d.loss_segments,
      .evidence = d.evidence,
      .rtt = site.rtt.value,
      .queue = std::nullopt,
      .sent = site.sent.of_last_second(),
      .delivered = std::nullopt,
      .received = site.received.of_last_second(),
      .demand = site.demand,
      .backlog = site.backlog,
      .flows = site.flows,
      .latency = site.goals.status(site.in_force, site.provider.value),
      .degraded = {},
  };
  if (d.capacity) {
    s.capacity = {.rate = d.capacity->rate,
                  .low = d.capacity->low,
                  .high = d.capacity->high,
                  .age = std::max(now - d.capacity->measured, Duration::zero())};
  }
  if (site.queue.value) s.queue = site.queue.value->q;
  if (site.delivered.value) s.delivered = site.delivered.value->rate;
  if (d.state == ControlState::outage) {
    s.degraded.push_back({"outage", "no host of this site answers; the rate is held"});
  }
  if (d.state == ControlState::contend) {
    s.degraded.push_back(
        {"foreign_queue", "the provider's queue is somebody else's; the rate does not yield to it"});
  }
  if (d.mode == PathMode::blind) {
    s.degraded.push_back({"blind", "no TCP to learn from; the rate is held"});
  }
  if (s.latency) {
    const RateDecision* const shared = s.sharing ? coordinator_.decision() : nullptr;
    s.latency->probes_held = (shared != nullptr ? *shared : d).probes_held;
    if (s.latency->missed != LatencyMissed::no)
      s.degraded.push_back({"latency_missed", sentence(*s.latency)});
  }
  if (s.wanted != s.shaped) {
    s.degraded.push_back({"rate_not_in_force", "the kernel refuses the rate that was decided"});
  }
  return s;
}

std::vector<SiteStatus> SiteLoop::site_status(TimePoint now) const {
  std::vector<SiteStatus> all;
  all.reserve(sites_.size());
  for (std::size_t i = 0; i < sites_.size(); ++i) all.push_back(status_of(i, now));
  return all;
}

const SiteLoop::Site* SiteLoop::find(std::string_view name) const {
  const auto found = std::ranges::find_if(sites_, [&](const auto& s) { return s->name == name; });
  return found == sites_.end() ? nullptr : found->get();
}

const History* SiteLoop::history_of(std::string_view name) const {
  const Site* site = find(name);
  return site == nullptr ? nullptr : &site->history;
}

const DecisionLog* SiteLoop::decisions_of(std::string_view name) const {
  const Site* site = find(name);
  return site == nullptr ? nullptr : &site->decisions;
}

}  // namespace weir::gateway
