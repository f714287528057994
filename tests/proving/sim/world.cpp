#include "proving/sim/world.hpp"

#include <algorithm>
#include <span>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>
#include <ns3/ipv4-header.h>
#include <ns3/rng-seed-manager.h>
#include <ns3/simulator.h>

#include "estimator/controller.hpp"

namespace weir::proving {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(100);
constexpr Duration kPingEvery = std::chrono::milliseconds(50);
constexpr std::uint8_t kEf = 46;
constexpr std::size_t kSeen = 96;  ///< bytes of an IP packet that the tap copies

/// The first bytes of a packet.
class Headers {
 public:
  explicit Headers(const ns3::Packet& packet) : size_(packet.CopyData(bytes_.data(), kBytes)) {}
  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return std::span(bytes_).first(size_); }

 private:
  static constexpr std::uint32_t kBytes = 40;
  std::array<std::uint8_t, kBytes> bytes_{};
  std::size_t size_;
};

template <class F>
void after(Duration d, F&& f) {
  ns3::Simulator::Schedule(to_ns3(d), ns3::MakeEvent(std::forward<F>(f)));
}

ns3::Ipv4Address address(std::uint32_t second, std::size_t load) {
  return ns3::Ipv4Address(10U << 24U | second << 16U | static_cast<std::uint32_t>(load) << 8U | 1U);
}
std::uint32_t far_net(const Load& load) {
  return load.foreign ? 120 : 20 + static_cast<std::uint32_t>(load.site);
}
std::uint32_t our_net(const Load& load) {
  return load.foreign ? 110 : 1;
}
Prefix prefix(std::uint32_t second) {
  return *Prefix::parse(fmt::format("10.{}.0.0/16", second));
}

}  // namespace

struct World::Site {
  std::unique_ptr<SiteBox> box;
  std::unique_ptr<SiteBox> far_box;          ///< of a law that shapes behind the bottleneck
  std::unique_ptr<Estimator> far_estimator;  ///< of one that watches there as well
  std::unique_ptr<Law> law;
  std::string last_reason;
  std::optional<ControlInput> control;
  std::uint64_t sent_at_tick = 0;
  std::uint64_t sent_at_ask = 0;
  std::uint64_t sent_at_bin = 0;
  TimePoint asked;
  std::vector<Arrival> arrivals;  ///< since the law was asked
  std::deque<Arrival> reported;   ///< on their way back to the box
  std::vector<PingReply> pings;
  std::optional<Duration> rtt;
  std::uint64_t received = 0;
  ns3::EventId next_ask;

  /// The box that the law sets.
  [[nodiscard]] SiteBox& shaper() const { return far_box ? *far_box : *box; }
};

struct World::Wire {
  explicit Wire(Link l) : link(std::move(l)) {}
  Link link;
  std::unordered_map<std::uint64_t, Unit> waiting;
  std::uint64_t next_token = 0;
  ns3::EventId timer;
  TimePoint timer_at;
  LinkBin bin;
};

World::World(const Scenario& scenario, std::string law, std::uint32_t seed)
    : scenario_(scenario), law_name_(std::move(law)), random_(seed) {
  ns3::RngSeedManager::SetSeed(1);
  ns3::RngSeedManager::SetRun(seed);
  set_tcp_defaults();
  for (std::size_t i = 0; i < scenario_.links.size(); ++i)
    wires_.push_back(std::make_unique<Wire>(Link(scenario_.links[i].settings, seed * 1000 + i)));
  truth_.links.resize(wires_.size());
  truth_.sites.resize(scenario_.sites.size());
  build_hosts();
  build_sites();
  start_loads();
}

World::~World() = default;

void World::build_hosts() {
  for (std::size_t i = 0; i < scenario_.loads.size(); ++i) {
    const Load& load = scenario_.loads[i];
    ours_.push_back(std::make_unique<Host>(address(our_net(load), i), load.congestion,
                                           [this, i](auto packet) { from_our_host(i, std::move(packet)); }));
    far_.push_back(std::make_unique<Host>(address(far_net(load), i), load.congestion,
                                          [this, i](auto packet) { from_far_host(i, std::move(packet)); }));
  }
}

EstimatorSettings World::estimator_settings() const {
  EstimatorSettings settings;
  for (std::size_t i = 0; i < scenario_.sites.size(); ++i)
    settings.sites.push_back({prefix(20 + static_cast<std::uint32_t>(i))});
  settings.inside = {prefix(1)};
  settings.max_flows = 65'536;
  settings.corroborate = true;
  return settings;
}

EstimatorSettings World::far_settings(std::size_t site) const {
  EstimatorSettings settings;
  settings.sites.push_back({prefix(1)});
  settings.inside = {prefix(20 + static_cast<std::uint32_t>(site))};
  settings.max_flows = 65'536;
  settings.watch_way_in = {true};
  return settings;
}

void World::build_sites() {
  for (const SiteSetup& setup : scenario_.sites) {
    sites_.push_back(std::make_unique<Site>());
    sites_.back()->box =
        std::make_unique<SiteBox>(setup.start, [this](Unit unit) { leaves_box(std::move(unit)); });
  }
  new_laws();
}

void World::new_laws() {
  estimator_ = std::make_unique<Estimator>(estimator_settings());
  static_cast<void>(estimator_->tick(sim_now(), false));
  if (law_name_ == "weir" || law_name_ == "weir-inbound") coordinator_.emplace(sites_.size());
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    const SiteSetup& setup = scenario_.sites[i];
    sites_[i]->law = make_law(law_name_,
                              {.floor = setup.floor,
                               .ceiling = setup.ceiling,
                               .start = sites_[i]->shaper().rate(),
                               .contract = setup.contract,
                               .memory = sites_[i]->law ? sites_[i]->law->memory(sim_now()) : std::nullopt},
                              sim_now());
    sites_[i]->asked = sim_now();
    if (sites_[i]->law->behind_the_bottleneck() && !sites_[i]->far_box) {
      sites_[i]->far_box =
          std::make_unique<SiteBox>(setup.start, [this](Unit unit) { delivered(std::move(unit)); });
      sites_[i]->box->set_rate(unshaped(i));
    }
    if (law_name_ == "weir-inbound") {
      sites_[i]->far_estimator = std::make_unique<Estimator>(far_settings(i));
      static_cast<void>(sites_[i]->far_estimator->tick(sim_now(), false));
    }
  }
}

void World::start_loads() {
  for (std::size_t i = 0; i < scenario_.loads.size(); ++i) {
    const Load& load = scenario_.loads[i];
    if (load.kind == Load::Kind::tcp) {
      const bool out = load.way == Load::Way::out;
      start_tcp(load, out ? *ours_[i] : *far_[i], out ? *far_[i] : *ours_[i], scenario_.length);
    } else {
      for (std::uint32_t f = 0; f < load.flows; ++f) {
        const double spread = std::uniform_real_distribution<double>(0.0, 0.01)(random_);
        after(load.from + from_seconds(spread), [this, i] { send_udp(i); });
      }
    }
  }
  for (const BoxEvent& event : scenario_.events) after(event.at, [this] { new_laws(); });
}

void World::run() {
  after(kTick, [this] { tick(); });
  after(kBin, [this] { close_bin(); });
  if (law_name_.starts_with("cake-autorate")) after(kPingEvery, [this] { send_pings(); });
  for (std::size_t i = 0; i < sites_.size(); ++i) after(Duration::zero(), [this, i] { ask(i); });
  ns3::Simulator::Stop(to_ns3(scenario_.length) + ns3::NanoSeconds(1));
  ns3::Simulator::Run();
  ns3::Simulator::Destroy();
}

// ---- the way of a packet ----

std::size_t World::site_of(const Unit& unit) const {
  return unit.kind == Unit::Kind::ping ? unit.load : scenario_.loads[unit.load].site;
}

Unit World::from_host(std::size_t load, ns3::Ptr<ns3::Packet> packet, bool back) {
  Unit unit{
      .packet = std::move(packet), .kind = Unit::Kind::tcp, .load = load, .back = back, .born = sim_now()};
  const Headers headers(*unit.packet);
  unit.twice = receivers_.tells(headers.bytes());
  return unit;
}

void World::at_host(const Unit& unit, Host& host) {
  const Headers headers(*unit.packet);
  receivers_.arrives(headers.bytes());
  host.receive(unit.packet);
}

void World::from_our_host(std::size_t load, ns3::Ptr<ns3::Packet> packet) {
  Unit unit = from_host(load, std::move(packet), false);
  if (scenario_.loads[load].foreign) return cross_links(std::move(unit));
  sites_[scenario_.loads[load].site]->box->take(std::move(unit));
}

void World::from_far_host(std::size_t load, ns3::Ptr<ns3::Packet> packet) {
  Unit unit = from_host(load, std::move(packet), true);
  see_far(unit);
  cross_links(std::move(unit));
}

/// The tap of a box behind the bottleneck.
void World::see_far(const Unit& unit) {
  const Load& load = scenario_.loads[unit.load];
  if (!load.foreign && sites_[load.site]->far_estimator) see(unit, *sites_[load.site]->far_estimator);
}

void World::send_udp(std::size_t load) {
  const Load& l = scenario_.loads[load];
  const Duration now = sim_now().time_since_epoch();
  if (now >= l.until.value_or(scenario_.length)) return;
  after(l.rate.time_for(Bytes(l.frame)), [this, load] { send_udp(load); });
  Unit unit{.packet = udp_packet(ours_[load]->address(), far_[load]->address(), 6000, l.frame,
                                 l.priority ? kEf : 0),
            .kind = l.priority ? Unit::Kind::priority : Unit::Kind::udp,
            .load = load,
            .born = sim_now()};
  if (l.priority) {
    unit.number = truth_.priority.size();
    truth_.priority.push_back({.sent = sim_now(), .delay = std::nullopt});
  }
  if (l.foreign) return cross_links(std::move(unit));
  sites_[l.site]->box->take(std::move(unit));
}

void World::send_pings() {
  after(kPingEvery, [this] { send_pings(); });
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    cross_links(
        {.packet = udp_packet(address(1, 250), address(20 + static_cast<std::uint32_t>(i), 250), 7, 98, 0),
         .kind = Unit::Kind::ping,
         .load = i,
         .born = sim_now()});
  }
}

void World::leaves_box(Unit unit) {
  if (scenario_.local_loss > 0 &&
      std::uniform_real_distribution<double>(0.0, 1.0)(random_) < scenario_.local_loss)
    return;
  see(unit, *estimator_);
  cross_links(std::move(unit));
}

void World::capture_to(const std::string& path) {
  capture_.open(path, std::ios::binary);
  const std::array<std::uint32_t, 6> header{0xa1b23c4d, 4U << 16U | 2U, 0, 0, kEthernetHeader + kSeen, 1};
  capture_.write(reinterpret_cast<const char*>(header.data()), sizeof header);
  if (!capture_) throw std::runtime_error(fmt::format("cannot write {}", path));
}

void World::write_ticks_to(const std::string& path) {
  ticks_.open(path);
  ticks_ << "time_s,site,sent_bps,backlogged,delivered_bps,queue_ms,forward_ms,reverse_ms,base_ms,p50_ms,"
            "samples,"
            "segments,lost_beyond,lost_before,rate_bps\n";
  if (!ticks_) throw std::runtime_error(fmt::format("cannot write {}", path));
}

void World::write_tick(std::size_t i, const ControlInput& input) {
  const SiteMeasurement& m = input.measured;
  const auto ms = [](const auto& d) { return d ? fmt::format("{:.2f}", milliseconds(*d)) : std::string(); };
  std::optional<Duration> q;
  std::optional<Duration> forward;
  std::optional<Duration> reverse;
  std::optional<Duration> base;
  std::optional<Duration> p50;
  if (m.queue) q = m.queue->q;
  if (m.queue_by_way) {
    forward = m.queue_by_way->forward;
    reverse = m.queue_by_way->reverse;
  }
  if (m.rtt) {
    base = m.rtt->base;
    p50 = m.rtt->p50;
  }
  std::uint64_t segments = 0;
  std::uint64_t beyond = 0;
  std::uint64_t before = 0;
  for (const Cohort& c : m.mature) {
    segments += c.segments;
    beyond += c.lost_beyond;
    before += c.lost_before;
  }
  const auto delivered =
      m.delivered_bytes ? fmt::format("{}", Rate::of(*m.delivered_bytes, m.interval).bps()) : "";
  ticks_ << fmt::format("{:.1f},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
                        seconds(m.at.time_since_epoch()), scenario_.sites[i].name, input.sent.bps(),
                        input.backlogged ? 1 : 0, delivered, ms(q), ms(forward), ms(reverse), ms(base),
                        ms(p50), m.queue ? m.queue->samples : 0, segments, beyond, before,
                        sites_[i]->shaper().rate().bps());
}

/// The tap: the frame as the WAN port's capture has it.
void World::see(const Unit& unit, Estimator& estimator) {
  std::array<std::uint8_t, kEthernetHeader + kSeen> bytes{};
  bytes[12] = 0x08;
  std::size_t copied = unit.packet->CopyData(&bytes[kEthernetHeader], kSeen);
  std::uint32_t wire = unit.bytes();
  if (unit.twice) {
    const std::size_t before = copied;
    copied = write_dsack(std::span(bytes).subspan(kEthernetHeader), copied, *unit.twice);
    wire += static_cast<std::uint32_t>(copied - before);
  }
  estimator.on_frame({.time = sim_now(),
                      .wire_length = wire,
                      .bytes = std::as_bytes(std::span(bytes).first(kEthernetHeader + copied))});
  if (!capture_.is_open() || &estimator != estimator_.get()) return;
  const auto ns = static_cast<std::uint64_t>(sim_now().time_since_epoch().count());
  const std::array<std::uint32_t, 4> record{static_cast<std::uint32_t>(ns / 1'000'000'000U),
                                            static_cast<std::uint32_t>(ns % 1'000'000'000U),
                                            static_cast<std::uint32_t>(kEthernetHeader + copied), wire};
  capture_.write(reinterpret_cast<const char*>(record.data()), sizeof record);
  capture_.write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(kEthernetHeader + copied));
}

void World::cross_links(Unit unit) {
  const bool foreign = unit.kind != Unit::Kind::ping && scenario_.loads[unit.load].foreign;
  for (; unit.link < wires_.size(); ++unit.link) {
    const ScenarioLink& settings = scenario_.links[unit.link];
    if (settings.back != unit.back || (settings.site && (foreign || *settings.site != site_of(unit))))
      continue;
    Wire& wire = *wires_[unit.link];
    const std::size_t at = unit.link;
    const Item item{.token = wire.next_token++, .bytes = unit.bytes(), .ecn_capable = false};
    ++wire.bin.offered;
    const auto outcome = wire.link.offer(item, sim_now());
    if (!outcome) {
      wire.waiting.emplace(item.token, std::move(unit));
      return serve(at);
    }
    wire.bin.count(outcome->fate, item.bytes);
    if (outcome->fate != Fate::forwarded) return;
  }
  const TimePoint now = sim_now();
  if (unit.back) {
    const Duration rtt =
        unit.kind == Unit::Kind::ping ? scenario_.loads.front().rtt : scenario_.loads[unit.load].rtt;
    return after(rtt, [this, unit = std::move(unit)] { arrives_ours(unit); });
  }
  const double jitter = scenario_.jitter.at(now);
  double delay = scenario_.extra_delay.at(now);
  std::uniform_real_distribution<double> share(0.0, 1.0);
  if (jitter > 0) delay += jitter * share(random_);
  TimePoint due = std::max(last_arrival_, now + from_seconds(delay));
  if (scenario_.reorder > 0) {
    // The others take 2 ms more; those that overtake do not.
    if (share(random_) >= scenario_.reorder) due += std::chrono::milliseconds(2);
  }
  if (scenario_.reorder == 0) last_arrival_ = due;
  after(due - now, [this, unit = std::move(unit)]() mutable { arrives_far(std::move(unit)); });
}

/// What the buffer of a link has let go, and when to look again.
void World::serve(std::size_t link) {
  Wire& wire = *wires_[link];
  const TimePoint now = sim_now();
  std::vector<Outcome> out;
  wire.link.advance(now, out);
  for (const Outcome& outcome : out) over_link(link, outcome);
  const auto next = wire.link.next(now);
  if (!next || (wire.timer.IsRunning() && wire.timer_at <= *next)) return;
  wire.timer.Cancel();
  wire.timer_at = *next;
  wire.timer = ns3::Simulator::Schedule(to_ns3(*next - now), ns3::MakeEvent([this, link] { serve(link); }));
}

void World::over_link(std::size_t link, const Outcome& outcome) {
  Wire& wire = *wires_[link];
  if (outcome.fate == Fate::marked) return;  // nobody here negotiates ECN
  auto node = wire.waiting.extract(outcome.item.token);
  wire.bin.count(outcome.fate, outcome.item.bytes);
  if (outcome.fate != Fate::forwarded) return;
  Unit unit = std::move(node.mapped());
  ++unit.link;
  cross_links(std::move(unit));
}

void World::arrives_far(Unit unit) {
  if (unit.kind == Unit::Kind::ping) {
    unit.back = true;
    unit.link = 0;
    return cross_links(std::move(unit));
  }
  const TimePoint now = sim_now();
  const Load& load = scenario_.loads[unit.load];
  if (!load.foreign) {
    Site& site = *sites_[load.site];
    site.received += unit.bytes();
    site.arrivals.push_back({now, Bytes(unit.bytes())});
    site.reported.push_back({now, Bytes(unit.bytes())});
    see_far(unit);
  }
  if (!load.foreign && sites_[load.site]->far_box) return sites_[load.site]->far_box->take(std::move(unit));
  delivered(std::move(unit));
}

void World::delivered(Unit unit) {
  const TimePoint now = sim_now();
  if (unit.kind == Unit::Kind::priority) truth_.priority[unit.number].delay = now - unit.born;
  if (unit.kind == Unit::Kind::tcp) at_host(unit, *far_[unit.load]);
}

void World::arrives_ours(const Unit& unit) {
  if (unit.kind == Unit::Kind::ping) {
    sites_[unit.load]->pings.push_back({sim_now(), sim_now() - unit.born});
    return;
  }
  if (!scenario_.loads[unit.load].foreign) see(unit, *estimator_);
  at_host(unit, *ours_[unit.load]);
}

// ---- clocks ----

void World::tick() {
  after(kTick, [this] { tick(); });
  const TimePoint now = sim_now();
  const TickResult result = estimator_->tick(now, false);
  std::vector<ControlInput> inputs(sites_.size());
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    Site& site = *sites_[i];
    const std::uint64_t sent = site.shaper().sent_bytes();
    inputs[i] = {.measured = result.outbound[i],
                 .sent = Rate::of(Bytes(sent - site.sent_at_tick), kTick),
                 .backlogged = site.shaper().backlogged(),
                 .share = std::nullopt};
    if (site.far_estimator) inputs[i].measured = site.far_estimator->tick(now, false).way_in.front();
    site.sent_at_tick = sent;
  }
  if (coordinator_) coordinate(inputs);
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    Site& site = *sites_[i];
    site.control = std::move(inputs[i]);
    if (const auto& rtt = result.outbound[i].rtt) {
      const auto& queue = result.outbound[i].queue;
      site.rtt = queue ? rtt->base + queue->q : rtt->p50;
    }
    if (ticks_.is_open()) write_tick(i, *site.control);
    site.next_ask.Cancel();
    ask(i);
  }
}

void World::coordinate(std::vector<ControlInput>& inputs) {
  std::vector<PortCoordinator::SiteOnPort> sites;
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    sites.push_back({.limits = {.floor = scenario_.sites[i].floor, .ceiling = scenario_.sites[i].ceiling},
                     .rate = sites_[i]->shaper().rate()});
  }
  coordinator_->look(inputs, sites, sim_now());
  coordinator_->decide(inputs, sites, sim_now());
}

Rate World::unshaped(std::size_t i) const {
  return scenario_.sites[i].ceiling * 10.0;
}

void World::ask(std::size_t i) {
  Site& site = *sites_[i];
  const TimePoint now = sim_now();
  const std::uint64_t sent = site.box->sent_bytes();
  const Duration interval = now - site.asked;
  const Duration half = (site.rtt ? *site.rtt : scenario_.loads.front().rtt) / 2;
  Bytes received;
  while (!site.reported.empty() && site.reported.front().at + half <= now) {
    received += site.reported.front().bytes;
    site.reported.pop_front();
  }
  const LawInput input{.now = now,
                       .interval = interval,
                       .control = site.control ? &*site.control : nullptr,
                       .capacity = available(scenario_, i, now),
                       .sent = Rate::of(Bytes(sent - site.sent_at_ask), interval),
                       .received = Rate::of(received, interval),
                       .rtt = site.rtt,
                       .backlogged = site.box->backlogged(),
                       .pings = site.pings,
                       .arrivals = site.arrivals};
  const auto rate = site.law->step(input);
  site.control.reset();
  site.arrivals.clear();
  site.pings.clear();
  site.sent_at_ask = sent;
  site.asked = now;
  SiteBox& box = site.shaper();
  const Rate wanted = rate.value_or(unshaped(i));
  if (wanted != box.rate()) box.set_rate(wanted);
  if (site.law->reason() != site.last_reason) {
    site.last_reason = std::string(site.law->reason());
    decisions_.push_back({now, i, wanted, site.last_reason});
  }
  site.next_ask = ns3::Simulator::Schedule(to_ns3(site.law->period()), ns3::MakeEvent([this, i] { ask(i); }));
}

void World::close_bin() {
  after(kBin, [this] { close_bin(); });
  const TimePoint now = sim_now();
  for (std::size_t l = 0; l < wires_.size(); ++l) {
    LinkBin& bin = wires_[l]->bin;
    bin.capacity_bps = wires_[l]->link.settings().capacity.at(now - kBin);
    bin.queue_ms = milliseconds(wires_[l]->link.queue(now));
    truth_.links[l].push_back(std::exchange(bin, LinkBin{}));
  }
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    Site& site = *sites_[i];
    const Duration t = now.time_since_epoch();
    const bool endless = std::any_of(scenario_.loads.begin(), scenario_.loads.end(), [&](const Load& l) {
      return l.site == i && !l.foreign && l.kind == Load::Kind::tcp && l.way == Load::Way::out &&
             l.bytes == 0 && t >= l.from && t < l.until.value_or(scenario_.length + kTick);
    });
    const std::uint64_t sent = site.box->sent_bytes();
    truth_.sites[i].push_back({.shaped_bps = static_cast<double>(site.shaper().rate().bps()),
                               .sent_bytes = sent - site.sent_at_bin,
                               .received_bytes = std::exchange(site.received, 0),
                               .demand = endless || site.box->backlogged()});
    site.sent_at_bin = sent;
  }
}

}  // namespace weir::proving
