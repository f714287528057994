#include "estimator/estimator.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "estimator/accounts.hpp"
#include "estimator/duration_sums.hpp"
#include "estimator/flow_table.hpp"
#include "estimator/frame_clock.hpp"
#include "estimator/histogram.hpp"
#include "estimator/parse.hpp"
#include "estimator/path_window.hpp"
#include "estimator/remote_bases.hpp"
#include "estimator/segment_totals.hpp"
#include "estimator/sides.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Frames that are parsed before the first of them is worked on: enough that memory arrives in time, few
/// enough that their records stay in the first-level cache.
constexpr std::size_t kBatch = 32;
/// Cohorts end this much before ticks: the answers of near hosts are in by then, and the cohort is ripe a
/// tick sooner.
constexpr Duration kCohortsEndBeforeTicks = 20ms;

/// Whether the tap's filter could tell whose it is (sampling_filter).
[[nodiscard]] bool is_plain(const PacketRecord& record) {
  const std::uint32_t in_front = record.headers_bytes - record.tcp_header_bytes;
  return !record.tunnelled && in_front == (record.source.family == Family::v4 ? 14U + 20U : 14U + 40U);
}

}  // namespace

struct Estimator::Impl {
  explicit Impl(EstimatorSettings s)
      : settings(std::move(s)),
        sides(settings.sites, settings.inside),
        flows(FlowLimits{.flows = settings.max_flows}, settings.hash_seed) {
    windows.resize(settings.sites.size() + 1);
    if (settings.keep_accounts) {
      accounts =
          std::make_unique<Accounts>(settings.sites.size() + 1, settings.keep_flows, settings.in_parts);
    }
  }

  EstimatorSettings settings;
  Sides sides;
  FlowTable flows;
  RemoteBases bases;
  /// [site][direction]; made with the first frame, since most sites of a large policy may be silent.
  std::vector<std::array<std::unique_ptr<PathWindow>, 2>> windows;
  std::array<DurationSums, 2> rtt;                   ///< [direction]
  std::array<DurationSums, 2> retransmission_delay;  ///< [direction]
  EstimatorTotals totals;
  std::unique_ptr<Accounts> accounts;
  CaptureGap gap{.begin = TimePoint::max(), .end = TimePoint::min()};
  FlowSample chosen;
  bool follows_fewer = false;  ///< than at the last tick
  std::optional<TimePoint> epoch;
  FrameClock clock;
  TimePoint last_tick;

  [[nodiscard]] PathWindow& window(Direction direction, std::uint32_t site) {
    auto& slot = windows[site][static_cast<std::size_t>(direction)];
    if (!slot) {
      slot = std::make_unique<PathWindow>(direction, *epoch);
      slot->follow_one_in(totals.one_in);
    }
    return *slot;
  }
  [[nodiscard]] SegmentTotals& segments(Direction direction) {
    return direction == Direction::outbound ? totals.outbound : totals.inbound;
  }
  /// Direction of the data that `end` of the flow sends.
  [[nodiscard]] static Direction direction_of(const Flow& flow, End end) {
    return (end == 0) == flow.source_inside ? Direction::outbound : Direction::inbound;
  }
  [[nodiscard]] PathWindow& window_of(const Flow& flow, End end) {
    return window(direction_of(flow, end), flow.site);
  }
  [[nodiscard]] static Account account_of(const Flow& flow, End end) {
    return {.direction = direction_of(flow, end),
            .site = flow.site,
            .dscp = flow.halves[end].dscp(),
            .flow = flow.number,
            .end = end};
  }

  /// A packet of a connection: who sent it, and where what the sender sends is summed up.
  struct Passing {
    const PacketRecord& record;
    Flow& flow;
    End sender;
    Direction direction = Direction::outbound;
    PathWindow* path = nullptr;
    std::uint16_t mss = 0;       ///< agreed on by both ends; 0: not seen
    std::uint32_t segments = 0;  ///< of payload, on the wire
    Bytes charged{};

    [[nodiscard]] HalfFlow& half() const { return flow.halves[sender]; }
    [[nodiscard]] HalfFlow& peer() const { return flow.halves[1U - sender]; }
    [[nodiscard]] End receiver() const { return static_cast<End>(1U - sender); }
  };
  void find_path(Passing& packet) {
    packet.direction = direction_of(packet.flow, packet.sender);
    packet.path = &window(packet.direction, packet.flow.site);
  }

  struct Pending {
    PacketRecord record;
    FlowKey key;
    ParseOutcome outcome = ParseOutcome::malformed;
    bool followed = false;  ///< TCP of a connection that is
  };
  std::array<Pending, kBatch> batch;
  std::size_t pending = 0;

  /// The addresses that decide a packet's site.
  struct Ends {
    const IpAddress& source;
    const IpAddress& destination;
  };
  [[nodiscard]] Ends deciding_ends(const PacketRecord& record) const;

  void take(const Frame& frame);
  void work_off();
  void work_on(const Pending& item);
  void take_ip(const PacketRecord& record);
  void take_unsampled(const PacketRecord& record);
  void pass_over(const PacketRecord& record, std::uint32_t times);
  Placement count_bytes(const PacketRecord& record, Bytes charged);
  void take_tcp(const PacketRecord& record, const FlowKey& key);
  [[nodiscard]] FlowWork work_for(const Flow& flow, End end) {
    return {.trackings = flows.trackings(), .path = window_of(flow, end), .mss = flow.mss()};
  }
  void place(Flow& flow, const PacketRecord& record, End sender);
  void retire(Flow& flow);
  void forget(Flow& flow);
  void open_anew_if_reused(Flow& flow, const PacketRecord& record, End sender);
  /// Of one frame; `mss` 0: not known.
  struct OnWire {
    std::uint32_t segments = 0;
    Bytes charged;
  };
  [[nodiscard]] OnWire on_wire(const PacketRecord& record, std::uint16_t mss) const;
  void measure(Passing& packet) const;
  void take_syn(const Passing& packet);
  void take_ack(Passing& packet, PathWindow& path);
  void take_rtt(const Passing& packet, PathWindow& path, const AckVerdict& verdict);
  void take_empty(const Passing& packet);
  void take_data(const Passing& packet);
  void reconsider_sides(Passing& packet, Duration answered_after);
  void begin_at(TimePoint first);
};

Estimator::Estimator(EstimatorSettings settings) : impl_(std::make_unique<Impl>(std::move(settings))) {}
Estimator::~Estimator() = default;
Estimator::Estimator(Estimator&&) noexcept = default;
Estimator& Estimator::operator=(Estimator&&) noexcept = default;

void Estimator::Impl::begin_at(TimePoint first) {
  if (epoch) return;
  epoch = first;
  last_tick = first;
}

// -- frames --

void Estimator::on_frame(const Frame& frame) {
  impl_->take(frame);
}

void Estimator::Impl::take(const Frame& frame) {
  ++totals.frames;
  begin_at(frame.time);
  Pending& item = batch[pending++];
  item.outcome = parse_frame(frame, item.record);
  item.record.time = clock.believed(frame.time);
  item.followed = false;
  if (item.outcome == ParseOutcome::tcp) {
    flows.find_key(item.record, item.key);
    item.followed = flows.follows(item.key);
    if (item.followed) flows.prefetch_index(item.key);
  }
  if (pending == kBatch) work_off();
}

void Estimator::Impl::work_off() {
  const std::span<Pending> items(batch.data(), std::exchange(pending, 0));
  for (Pending& item : items) {
    if (item.followed) flows.prefetch_flow(item.key);
  }
  for (const Pending& item : items) {
    if (item.followed) flows.prefetch_tracking(item.key);
  }
  for (const Pending& item : items) {
    if (item.followed) flows.prefetch_ring(item.key);
  }
  for (const Pending& item : items) work_on(item);
}

void Estimator::Impl::work_on(const Pending& item) {
  switch (item.outcome) {
    case ParseOutcome::tcp:
      ++totals.tcp;
      if (item.followed) {
        take_tcp(item.record, item.key);
      } else {
        take_unsampled(item.record);
      }
      break;
    case ParseOutcome::ip:
      take_ip(item.record);
      break;
    case ParseOutcome::opaque:
      ++totals.opaque;
      break;
    case ParseOutcome::malformed:
      ++totals.malformed;
      break;
  }
}

/// Those of the outer header when a site claims them: they are all that the classifier sees, so that the
/// bytes are shaped as that site's. Also when `inside` knows them and not the inner ones.
Estimator::Impl::Ends Estimator::Impl::deciding_ends(const PacketRecord& record) const {
  if (!record.tunnelled) return {record.source, record.destination};
  const Ends outer{record.outer_source, record.outer_destination};
  if (sides.claims(outer.source, outer.destination)) return outer;
  const bool inner_known = sides.knows(record.source, record.destination);
  if (!inner_known && sides.knows(outer.source, outer.destination)) return outer;
  return {record.source, record.destination};
}

void Estimator::Impl::take_ip(const PacketRecord& record) {
  count_bytes(record, settings.link_layer.charged(record.frame_bytes));
}

void Estimator::Impl::take_unsampled(const PacketRecord& record) {
  const std::uint32_t times = chosen.thinned && is_plain(record) ? FlowSample::kThinning : 1;
  totals.frames += times - 1;
  totals.tcp += times - 1;
  totals.unsampled += times;
  pass_over(record, times);
}

/// TCP of a connection that is not followed: its bytes, as if it had been, and that its sender is alive.
void Estimator::Impl::pass_over(const PacketRecord& record, std::uint32_t times) {
  const Placement at = count_bytes(record, Bytes(on_wire(record, 0).charged.count() * times));
  if (!record.has(kTcpAck) || record.has(kTcpRst)) return;
  window(at.source_inside ? Direction::inbound : Direction::outbound, at.site).ack_seen(record.time);
}

Placement Estimator::Impl::count_bytes(const PacketRecord& record, Bytes charged) {
  const Ends ends = deciding_ends(record);
  const Placement at = sides.place_frame(ends.source, ends.destination);
  const Direction direction = at.source_inside ? Direction::outbound : Direction::inbound;
  window(direction, at.site)
      .frame_seen(record.time, charged, record.protocol == 6 ? FrameKind::other_tcp : FrameKind::no_tcp);
  return at;
}

void Estimator::Impl::take_tcp(const PacketRecord& record, const FlowKey& key) {
  const FlowTable::Found found = flows.find_or_create(key, record.time, [this](Flow& flow) { forget(flow); });
  if (found.flow == nullptr) {
    ++totals.flows_refused;
    pass_over(record, 1);
    return;
  }
  Flow& flow = *found.flow;
  const End sender = key.sender;
  if (found.created) place(flow, record, sender);
  flow.last_seen = SlowTime(record.time);
  if (sender != flow.first_sender) flow.answered = true;
  if (record.has(kTcpSyn)) open_anew_if_reused(flow, record, sender);

  Passing packet{record, flow, sender};
  find_path(packet);
  measure(packet);
  packet.path->frame_seen(record.time, packet.charged, FrameKind::followed_tcp);
  if (record.payload > 0 || record.has(kTcpSyn)) {
    packet.half().set_dscp(static_cast<std::uint8_t>(record.traffic_class >> kEcnBits));
  }
  if (record.has(kTcpSyn)) take_syn(packet);
  if (accounts) {
    accounts->packet(record.has(kTcpSyn), flow.answered);
    if (accounts->logs_flows()) accounts->log(account_of(flow, sender), record, packet.charged);
  }
  if (record.has(kTcpRst)) {
    retire(flow);
    flow.closed = true;
    return;
  }
  if (record.has(kTcpAck)) {
    PathWindow& path = window_of(flow, packet.receiver());
    path.ack_seen(record.time);
    if (!packet.peer().is_told_nothing_by(record) || record.has(kTcpEce)) take_ack(packet, path);
  }
  if (record.payload > 0 || record.has(kTcpFin)) {
    take_data(packet);
  } else if (!record.has(kTcpSyn)) {
    take_empty(packet);
  }
  if (record.has(kTcpFin)) {
    flow.finished = (flow.finished | 1U << sender) & 3U;
    flow.closed = flow.finished == 3;
  }
}

/// How many segments of payload a frame is on the wire, and what they are charged: a super-packet as the
/// frames that it becomes.
[[gnu::always_inline]] inline Estimator::Impl::OnWire Estimator::Impl::on_wire(const PacketRecord& record,
                                                                               std::uint16_t mss) const {
  OnWire wire;
  std::uint64_t frame_bytes = record.frame_bytes;
  if (record.payload > 0) {
    wire.segments = 1;
    const std::uint32_t each = segment_payload(mss, record.tcp_header_bytes);
    if (record.payload > each) {
      wire.segments = (record.payload + each - 1) / each;
      frame_bytes += static_cast<std::uint64_t>(wire.segments - 1) * record.headers_bytes;
    }
  }
  wire.charged = settings.link_layer.charged(frame_bytes, std::max(wire.segments, 1U));
  return wire;
}

[[gnu::always_inline]] inline void Estimator::Impl::measure(Passing& packet) const {
  packet.mss = packet.flow.mss();
  const OnWire wire = on_wire(packet.record, packet.mss);
  packet.segments = wire.segments;
  packet.charged = wire.charged;
}

// -- connections --

void Estimator::Impl::place(Flow& flow, const PacketRecord& record, End sender) {
  const bool opens = record.has(kTcpSyn) && !record.has(kTcpAck);
  const Ends ends = deciding_ends(record);
  Placement placement = sides.place(ends.source, ends.destination, opens, record.time);
  if (sender == 1) placement.source_inside = !placement.source_inside;
  flow.place(placement);
}

void Estimator::Impl::retire(Flow& flow) {
  for (End end : {End{0}, End{1}}) flow.halves[end].leave(work_for(flow, end));
}

void Estimator::Impl::forget(Flow& flow) {
  retire(flow);
  if (accounts) accounts->flow_ended(flow.number);
}

void Estimator::Impl::open_anew_if_reused(Flow& flow, const PacketRecord& record, End sender) {
  if (!flow.halves[sender].conflicts_with_syn(record.sequence)) return;
  forget(flow);
  flow.halves = {};
  flow.finished = 0;
  flow.closed = false;
  flow.answered = record.has(kTcpAck);
  flow.first_sender = sender & 1U;
  place(flow, record, sender);
}

void Estimator::Impl::take_syn(const Passing& packet) {
  const PacketRecord& record = packet.record;
  const DataSegment syn{.time = record.time,
                        .range = {record.sequence, record.sequence + 1},
                        .ip_id = record.ip_id,
                        .has_timestamp = record.has_timestamp,
                        .timestamp = record.timestamp_value};
  if (packet.half().on_syn(syn, record.mss_option) == SynVerdict::repeated) {
    ++segments(packet.direction).syn_retransmitted;
    if (accounts) accounts->syn_repeated(account_of(packet.flow, packet.sender));
  }
  HalfFlow& peer = packet.peer();
  if (record.has(kTcpAck) && peer.refuses_syn_data(record.acknowledgment)) {
    peer.reject_syn_data(work_for(packet.flow, packet.receiver()));
  }
}

// -- acknowledgments --

/// Of what the receiver sends, by `path`.
void Estimator::Impl::take_ack(Passing& packet, PathWindow& path) {
  const PacketRecord& record = packet.record;
  Flow& flow = packet.flow;
  const End owner = packet.receiver();
  HalfFlow& half = packet.peer();
  if (record.has(kTcpEce) && !record.has(kTcpSyn) && half.left_unmarked(record.time, flows.trackings()))
    path.unmarked_data_echoed();
  const AckVerdict verdict =
      half.on_ack(record, {.trackings = flows.trackings(), .path = path, .mss = packet.mss});
  if (verdict.undone.segments > 0) {
    take_back(verdict.undone, segments(direction_of(flow, owner)));
    if (accounts) accounts->losses_undone(account_of(flow, owner), verdict.undone);
  }
  if (verdict.rtt > Duration::zero()) take_rtt(packet, path, verdict);
  if (verdict.answered > Duration::zero() && flow.side_is_a_guess())
    reconsider_sides(packet, verdict.answered);
}

/// The sender acknowledged: the sample is of the data that goes to it, by `path`.
void Estimator::Impl::take_rtt(const Passing& packet, PathWindow& path, const AckVerdict& verdict) {
  const Flow& flow = packet.flow;
  const TimePoint now = packet.record.time;
  const End owner = packet.receiver();
  rtt[static_cast<std::size_t>(direction_of(flow, owner))].add(verdict.rtt);
  // The host's base is asked for when this flow can lower it, and once a second: it may have aged, or others
  // may have learnt more.
  HalfFlow& half = packet.peer();
  const Duration own = half.least_rtt().value_or(verdict.rtt);
  if (half.base_is_due() || half.base() == Duration::zero() || verdict.rtt <= own || own < half.base())
    half.set_base(bases.learn(packet.record.source, verdict.rtt, own, now));
  const RttSample sample{.sent = verdict.sent,
                         .taken = now,
                         .rtt = verdict.rtt,
                         .base = half.base(),
                         .weight = verdict.charged,
                         .flow = flow.number};
  path.rtt_sampled(sample);
  if (accounts) accounts->rtt_sampled(account_of(flow, owner), sample);
}

/// A side that was guessed is guessed again once both ends have answered: the nearer one is ours.
void Estimator::Impl::reconsider_sides(Passing& packet, Duration answered_after) {
  Flow& flow = packet.flow;
  const PacketRecord& record = packet.record;
  const auto sender_nearer =
      sides.host_answered(record.source, record.destination, answered_after, record.time);
  if (!sender_nearer) return;
  const bool first_end_inside = *sender_nearer == (packet.sender == 0);
  if (first_end_inside != flow.source_inside) retire(flow);
  flow.place({.site = flow.site, .source_inside = first_end_inside, .basis = SideBasis::nearness});
  find_path(packet);
}

// -- data --

/// Keep-alives and probes may come without payload.
void Estimator::Impl::take_empty(const Passing& packet) {
  const auto kind = packet.half().classify_empty(packet.record.sequence);
  if (!kind) return;
  const SegmentVerdict empty{.kind = *kind, .segments = 1};
  count(empty, false, segments(packet.direction));
  if (accounts) accounts->data(account_of(packet.flow, packet.sender), packet.record.time, 0, empty, false);
}

/// Payload, a FIN, or both.
void Estimator::Impl::take_data(const Passing& packet) {
  const PacketRecord& record = packet.record;
  HalfFlow& half = packet.half();
  PathWindow& path = *packet.path;
  SegmentTotals& t = segments(packet.direction);
  const SequenceNumber begin = record.has(kTcpSyn) ? record.sequence + 1 : record.sequence;
  if (record.payload > 0) {
    t.data += packet.segments;
    if (!half.is_acknowledged()) totals.one_way += packet.segments;
    path.data_seen(record.time);
    if (half.first_data_in(record.time.time_since_epoch() / 1s)) path.flow_seen(record.time);
    path.charge_sent(record.time, packet.charged);
  }
  const DataSegment segment{.time = record.time,
                            .range = {begin, begin + record.payload + (record.has(kTcpFin) ? 1U : 0U)},
                            .payload = record.payload,
                            .wire_segments = packet.segments,
                            .charged = packet.charged,
                            .ip_id = record.ip_id,
                            .has_timestamp = record.has_timestamp,
                            .timestamp = record.timestamp_value,
                            .ecn = static_cast<std::uint8_t>(record.traffic_class & kEcnMask)};
  const SegmentVerdict verdict = half.on_data(
      segment, packet.peer(), gap, {.trackings = flows.trackings(), .path = path, .mss = packet.mss});
  const bool lone_fin = record.payload == 0;
  count(verdict, lone_fin, t);
  if (accounts) {
    accounts->data(account_of(packet.flow, packet.sender), record.time, packet.segments, verdict, lone_fin);
  }
  if (verdict.resent_after) {
    retransmission_delay[static_cast<std::size_t>(packet.direction)].add(*verdict.resent_after,
                                                                         verdict.segments);
  }
}

// -- ticks --

TickResult Estimator::tick(TimePoint now, bool capture_lost) {
  Impl& my = *impl_;
  my.work_off();
  my.begin_at(now - kCohortsEndBeforeTicks);
  capture_lost = std::exchange(my.follows_fewer, false) || capture_lost;
  if (capture_lost) {
    const bool adjoins = my.gap.end >= my.last_tick;
    my.gap = {.begin = adjoins ? my.gap.begin : my.last_tick, .end = now};
    if (my.accounts) my.accounts->capture_lost();
  }
  my.flows.expire(now, [&my](Flow& flow) { my.forget(flow); });

  TickResult result;
  const auto close_all = [&](Direction direction, std::vector<SiteMeasurement>& closed,
                             std::vector<PathPart>& parts) {
    closed.reserve(my.windows.size());
    if (my.settings.in_parts) parts.resize(my.windows.size());
    for (std::size_t site = 0; site < my.windows.size(); ++site) {
      if (const auto& window = my.windows[site][static_cast<std::size_t>(direction)]) {
        closed.push_back(
            window->close_tick(now, capture_lost, my.settings.in_parts ? &parts[site] : nullptr));
        closed.back().interval = now - my.last_tick;  // also of a path that was silent until now
      } else {
        SiteMeasurement silent;
        silent.at = now;
        silent.interval = now - my.last_tick;
        silent.valid = !capture_lost;
        silent.one_in = my.totals.one_in;
        closed.push_back(std::move(silent));
      }
    }
  };
  close_all(Direction::outbound, result.outbound, result.outbound_parts);
  close_all(Direction::inbound, result.inbound, result.inbound_parts);
  my.last_tick = now;
  return result;
}

void Estimator::follow(const FlowSample& sample) {
  Impl& my = *impl_;
  if (sample == my.chosen) return;
  my.work_off();
  my.follows_fewer = my.follows_fewer || sample.one_in > my.chosen.one_in;
  my.chosen = sample;
  my.totals.one_in = sample.one_in;
  my.flows.follow(sample);
  for (const auto& of_site : my.windows) {
    for (const auto& window : of_site) {
      if (window) window->follow_one_in(sample.one_in);
    }
  }
}

const EstimatorTotals& Estimator::totals() const {
  Impl& my = *impl_;
  my.work_off();
  my.totals.flows = my.flows.size();
  my.totals.flows_evicted = my.flows.evicted();
  my.totals.flow_bytes = my.flows.bytes_held();
  return my.totals;
}

RttTotals Estimator::rtt_totals(Direction direction) const {
  return rtt_totals_of(rtt_sums(direction));
}

DelayTotals Estimator::retransmission_delay(Direction direction) const {
  return delay_totals_of(retransmission_delay_sums(direction));
}

const DurationSums& Estimator::rtt_sums(Direction direction) const {
  impl_->work_off();
  return impl_->rtt[static_cast<std::size_t>(direction)];
}

const DurationSums& Estimator::retransmission_delay_sums(Direction direction) const {
  impl_->work_off();
  return impl_->retransmission_delay[static_cast<std::size_t>(direction)];
}

SideFinding Estimator::sides() const {
  impl_->work_off();
  return impl_->sides.finding();
}

const Accounts* Estimator::accounts() const {
  impl_->work_off();
  return impl_->accounts.get();
}

Accounts* Estimator::accounts() {
  impl_->work_off();
  return impl_->accounts.get();
}

}  // namespace weir
