// What is done with each frame.
#include <algorithm>
#include <chrono>

#include "estimator/estimator_impl.hpp"
#include "estimator/half_flow_usual.hpp"
#include "estimator/parse_usual.hpp"
#include "estimator/segment_totals.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

/// What the queue on the way in may be wrong by, where it is short.
constexpr Duration kWayInWithin = 4ms;

/// Whether the tap's filter could tell whose it is (sampling_filter).
[[nodiscard]] bool is_plain(const PacketRecord& record) {
  const std::uint32_t in_front = record.headers_bytes - record.tcp_header_bytes;
  return !record.tunnelled && in_front == (record.source.family == Family::v4 ? 14U + 20U : 14U + 40U);
}

/// Nothing but an acknowledgment, and perhaps data.
[[nodiscard]] bool is_established(const PacketRecord& record) {
  return (record.flags & ~kTcpPsh) == kTcpAck && record.window != 0;
}

}  // namespace

// -- frames --

void Estimator::Impl::take(std::span<const Frame> frames) {
  if (frames.empty()) return;
  begin_at(frames.front().time);
  totals.frames += frames.size();
  while (!frames.empty()) {
    const std::size_t some = std::min(frames.size(), kGroup - pending);
    collect(frames.first(some));
    if (pending == kGroup) step();
    frames = frames.subspan(some);
  }
}

/// There is room for them. What every frame needs is kept out of memory meanwhile.
void Estimator::Impl::collect(std::span<const Frame> frames) {
  FrameClock now = clock;
  Pending* item = &groups[newest][pending];
  const Pending* before = pending > 0 ? item - 1 : &nothing;
  for (const Frame& frame : frames) {
    PacketRecord& record = item->record;
    ParseOutcome outcome = ParseOutcome::tcp;
    unsigned marks = 0;
    if (parse_usual(frame, record, item->key)) [[likely]] {
      marks = Pending::kBegun;
      if (is_established(record)) [[likely]]
        marks |= Pending::kUsual;
    } else {
      outcome = parse_frame(frame, record);
      item->key.likely = nullptr;
      if (outcome == ParseOutcome::tcp) find_ends(record, item->key);
    }
    record.time = now.believed(frame.time);
    if (outcome == ParseOutcome::tcp) [[likely]] {
      if (item->key.same_connection(before->key) && before->is(Pending::kFollowed)) {
        item->key.hash = before->key.hash;
        marks |= Pending::kFollowed | Pending::kAgain;
      } else {
        flows.find_hash(item->key);
        if (flows.follows(item->key)) [[likely]] {
          marks |= Pending::kFollowed | Pending::kFetched;
          flows.prefetch_index(item->key);
        }
      }
    }
    item->outcome = outcome;
    item->marks = static_cast<std::uint8_t>(marks);
    before = item++;
  }
  pending += frames.size();
  clock = now;
}

/// The newest group is full.
void Estimator::Impl::step() {
  if (behind >= 1) {
#pragma GCC unroll 8
    for (Pending& item : group(1)) {
      if (item.is(Pending::kFetched)) flows.prefetch_flow(item.key);
    }
  }
  if (behind >= 2) {
#pragma GCC unroll 8
    for (const Pending& item : group(2)) flows.prefetch_tracking(item.key, item.record.payload > 0);
  }
  if (behind >= 3) {
#pragma GCC unroll 8
    for (const Pending& item : group(3)) flows.prefetch_ring(item.key, item.record.payload > 0);
  }
  if (behind >= kSteps - 1) {
    work_on(group(kSteps - 1));
    --behind;
  }
  newest = newest + 1 < kSteps ? newest + 1 : 0;
  pending = 0;
  ++behind;
}

/// All that are on their way, as they are.
void Estimator::Impl::work_off() {
  for (; behind > 0; --behind) {
    work_on(group(behind));
  }
  work_on(group(0).first(std::exchange(pending, 0)));
}

void Estimator::Impl::work_on(std::span<Pending> items) {
  const bool by_rows = accounts && accounts->logs_flows();
  const auto usual = static_cast<Pending::Mark>(by_rows ? 0 : Pending::kUsual);
  Flow* flow = nullptr;  // of the packet before; nullptr: it was not worked on here
  std::uint64_t others = 0;
  for (Pending& item : items) {
    if (item.is(usual)) [[likely]] {
      if (!item.is(Pending::kAgain) || flow == nullptr) flow = flows.likely(item.key, item.record.time);
      if (flow != nullptr && take_usual(item.record, *flow, item.key.sender)) [[likely]] {
        if (!ways_in.empty()) watch_way_in(item.record, *flow, item.key.sender);
        continue;
      }
    }
    flow = nullptr;
    ++others;
    work_on(item);
  }
  const std::uint64_t taken = items.size() - others;
  totals.tcp += taken;
  if (accounts) accounts->answered_packets(taken);
}

void Estimator::Impl::work_on(Pending& item) {
  const std::uint64_t removed = flows.removed();
  if (item.is(Pending::kBegun)) complete_usual(item.key, item.record);
  switch (item.outcome) {
    case ParseOutcome::tcp:
      ++totals.tcp;
      if (item.is(Pending::kFollowed)) {
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
  if (flows.removed() != removed) forget_found();
}

/// What keys on their way hold may be gone.
void Estimator::Impl::forget_found() {
  for (auto& some : groups) {
    for (Pending& item : some) item.key.likely = nullptr;
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
  const std::uint32_t path = count_bytes(record, Bytes(on_wire(record, 0).charged.count() * times));
  if (record.has(kTcpAck) && !record.has(kTcpRst)) window(opposite(path)).ack_seen(record.time);
}

/// By the number of their path.
std::uint32_t Estimator::Impl::count_bytes(const PacketRecord& record, Bytes charged) {
  const Ends ends = deciding_ends(record);
  const Placement at = sides.place_frame(ends.source, ends.destination);
  const std::uint32_t path =
      path_number(at.source_inside ? Direction::outbound : Direction::inbound, at.site);
  const FrameKind kind = record.protocol == kProtocolTcp ? FrameKind::other_tcp : FrameKind::no_tcp;
  window(path).frame_seen(record.time, charged, kind);
  return path;
}

void Estimator::Impl::take_tcp(const PacketRecord& record, const FlowKey& key) {
  Flow* flow = flows.likely(key, record.time);
  if (flow == nullptr) flow = reach_flow(record, key);
  if (flow == nullptr) return;
  see(*flow, record, key.sender);
  take_any_tcp(record, *flow, key.sender);
  if (!ways_in.empty() && !record.has(kTcpSyn)) watch_way_in(record, *flow, key.sender);
}

/// Of a packet whose flow is not where it was looked for; nullptr: it is passed over.
Flow* Estimator::Impl::reach_flow(const PacketRecord& record, const FlowKey& key) {
  const FlowTable::Found found = flows.find_or_create(key, record.time, [this](Flow& flow) { forget(flow); });
  if (found.flow == nullptr) {
    ++totals.flows_refused;
    pass_over(record, 1);
  } else if (found.created) {
    place(*found.flow, record, key.sender);
  }
  return found.flow;
}

/// What most packets are, with nothing special on them, of a flow that was found in time. Either end has
/// acknowledged the other: both have been seen. False, and nothing was done, when it is another.
[[gnu::always_inline]] inline bool Estimator::Impl::take_usual(const PacketRecord& record, Flow& flow,
                                                               End sender) {
  HalfFlow* const first = flow.halves.data();
  const std::ptrdiff_t at = sender;
  HalfFlow& half = *(first + at);
  HalfFlow& peer = *(first + 1 - at);
  return record.payload > 0 ? take_in_turn(record, flow, sender, half, peer)
                            : take_lone_ack(record, flow, sender, half, peer);
}

/// Nothing but the next bytes in their turn, marked as those before, with an acknowledgment that tells
/// nothing.
[[gnu::always_inline]] inline bool Estimator::Impl::take_in_turn(const PacketRecord& record, Flow& flow,
                                                                 End sender, HalfFlow& half,
                                                                 const HalfFlow& peer) {
  const std::uint8_t dscp = half.dscp();
  if (dscp != record.traffic_class >> kEcnBits) [[unlikely]]
    return false;
  if (!peer.was_told_last(record.acknowledgment)) [[unlikely]]
    return false;
  // What fits an MSS that both SYNs told needs no division, nor a look at which of them did.
  const bool fits = record.payload + record.tcp_header_bytes <= flow.least_mss() + 20U;
  const OnWire wire =
      fits ? OnWire{.segments = 1, .charged = charged_whole(record)} : on_wire(record, flow.mss());
  const SequenceRange range{record.sequence, record.sequence + record.payload};
  Tracking* const t = half.in_turn(range, record.payload, wire.segments, flows.trackings());
  if (t == nullptr) [[unlikely]]
    return false;

  const TimePoint now = record.time;
  flow.last_seen = SlowTime(now);
  const std::uint32_t number = flow.path_of(sender);
  PathWindow& path = window(number);
  PathWindow& back = window(opposite(number));
  path.fresh_data_seen(now, wire.charged, wire.segments, half.usual_rtt(),
                       [&] { return flows.remote_of(flow, sender ^ 1U); });
  if (half.first_data_in(PathWindow::flow_period(now))) [[unlikely]]
    path.flow_seen(now);
  half.take_in_turn(segment_of(record, range, wire), *t);
  back.ack_seen(now);
  if (accounts) [[likely]] {
    accounts->fresh_data(direction_of(number), site_of(number), dscp, now, wire.segments);
  } else {
    SegmentTotals& sums = segments[number & 1U];
    sums.data += wire.segments;
    sums.fresh += wire.segments;
  }
  return true;
}

/// An acknowledgment of bytes sent once and never doubted.
[[gnu::always_inline]] inline bool Estimator::Impl::take_lone_ack(const PacketRecord& record, Flow& flow,
                                                                  End sender, const HalfFlow& half,
                                                                  HalfFlow& peer) {
  Tracking* const t = peer.asked_usually(record, flows.trackings());
  if (t == nullptr || half.classify_empty(record.sequence)) [[unlikely]]
    return false;

  flow.last_seen = SlowTime(record.time);
  const std::uint32_t number = flow.path_of(sender);
  PathWindow& back = window(number);
  PathWindow& path = window(opposite(number));
  back.lone_ack_passed(record.time, charged_whole(record));
  path.ack_seen(record.time);
  const FlowWork work{.trackings = flows.trackings(), .path = path, .mss = flow.mss()};
  peer.on_usual_ack(
      record, *t, work,
      [&](const AckVerdict& verdict)
          __attribute__((always_inline)) { use(verdict, record, flow, sender, peer, path); },
      [&](const AckVerdict& verdict) { use_any(verdict, record, flow, sender, path); });
  return true;
}

/// Every packet: all that may be on it.
void Estimator::Impl::take_any_tcp(const PacketRecord& record, Flow& flow, End sender) {
  Passing packet{record, flow, sender};
  if (record.has(kTcpSyn)) open_anew_if_reused(flow, record, packet.sender);
  find_path(packet);
  measure(packet);
  if (record.payload > 0)
    packet.path->sample_remote(record.time, packet.wire.charged, witness_of(flow, packet.sender));
  packet.path->frame_seen(record.time, packet.wire.charged, FrameKind::followed_tcp);
  if (record.payload > 0 || record.has(kTcpSyn)) {
    packet.half().set_dscp(static_cast<std::uint8_t>(record.traffic_class >> kEcnBits));
  }
  if (record.has(kTcpSyn)) take_syn(packet);
  if (accounts) tell_accounts(packet);
  if (record.has(kTcpRst)) {
    retire(flow);
    flow.closed = true;
    return;
  }
  if (record.has(kTcpAck)) {
    PathWindow& path = window_of(flow, packet.receiver());
    path.ack_seen(record.time);
    if (!packet.peer().is_told_nothing_by(record) || record.has(kTcpEce)) {
      take_ack(packet, path);
      find_path(packet);  // the sides may have been found out
    }
  }
  if (record.payload > 0 || record.has(kTcpFin)) {
    take_data(packet);
  } else if (!record.has(kTcpSyn)) {
    take_empty(packet);
  }
  if (record.has(kTcpFin)) {
    flow.finished = (flow.finished | 1U << packet.sender) & 3U;
    flow.closed = flow.finished == 3;
  }
}

void Estimator::Impl::tell_accounts(const Passing& packet) {
  accounts->packet(packet.record.has(kTcpSyn), packet.flow.answered);
  if (accounts->logs_flows())
    accounts->log(account_of(packet.flow, packet.sender), packet.record, packet.wire.charged);
}

/// A frame that is one on the wire.
[[gnu::always_inline]] inline Bytes Estimator::Impl::charged_whole(const PacketRecord& record) const {
  return charged_as_it_is ? Bytes(record.frame_bytes) : settings.link_layer.charged(record.frame_bytes);
}

/// How many segments of payload a frame is on the wire, and what they are charged: a super-packet as the
/// frames that it becomes.
[[gnu::always_inline]] inline Estimator::Impl::OnWire Estimator::Impl::on_wire(const PacketRecord& record,
                                                                               std::uint16_t mss) const {
  const std::uint32_t each = segment_payload(mss, record.tcp_header_bytes);
  if (record.payload <= each) [[likely]]
    return {.segments = record.payload > 0 ? 1U : 0U, .charged = charged_whole(record)};
  const std::uint32_t count = (record.payload + each - 1) / each;
  const std::uint64_t bytes = record.frame_bytes + std::uint64_t{count - 1} * record.headers_bytes;
  return {.segments = count, .charged = settings.link_layer.charged(bytes, count)};
}

void Estimator::Impl::measure(Passing& packet) const {
  packet.mss = packet.flow.mss();
  packet.wire = on_wire(packet.record, packet.mss);
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
    if (accounts) {
      accounts->syn_repeated(account_of(packet.flow, packet.sender));
    } else {
      ++segments[static_cast<std::size_t>(packet.direction)].syn_retransmitted;
    }
  }
  HalfFlow& peer = packet.peer();
  if (record.has(kTcpAck) && peer.refuses_syn_data(record.acknowledgment)) {
    peer.reject_syn_data(work_for(packet.flow, packet.receiver()));
  }
}

// -- acknowledgments --

/// Of what the receiver sends, by `path`.
void Estimator::Impl::take_ack(const Passing& packet, PathWindow& path) {
  const PacketRecord& record = packet.record;
  HalfFlow& half = packet.peer();
  const RemoteKey witness = witness_of(packet.flow, packet.receiver());
  if (record.has(kTcpEce) && !record.has(kTcpSyn) && half.left_unmarked(record.time, flows.trackings()))
    path.unmarked_data_echoed(record.time, witness);
  const AckVerdict verdict = half.on_ack(
      record, {.trackings = flows.trackings(), .path = path, .mss = packet.mss, .remote = witness});
  use_any(verdict, record, packet.flow, packet.sender, path);
}

void Estimator::Impl::use_any(const AckVerdict& verdict, const PacketRecord& record, Flow& flow, End sender,
                              PathWindow& path) {
  if (verdict.undone.segments > 0) take_losses_back(verdict.undone, flow, sender ^ 1U);
  use(verdict, record, flow, sender, flow.halves[sender ^ 1U], path);
}

void Estimator::Impl::take_losses_back(const UndoneLosses& undone, const Flow& flow, End owner) {
  if (accounts) {
    accounts->losses_undone(account_of(flow, owner), undone);
  } else {
    take_back(undone, segments[static_cast<std::size_t>(direction_of(flow, owner))]);
  }
}

/// What an acknowledgment from `sender` tells of distances; the data that it acknowledges are those of `half`
/// and went by `path`.
[[gnu::always_inline]] inline void Estimator::Impl::use(const AckVerdict& verdict, const PacketRecord& record,
                                                        Flow& flow, End sender, HalfFlow& half,
                                                        PathWindow& path) {
  if (verdict.rtt > Duration::zero()) {
    // The host's base is asked for when this flow can lower it, and now and then: it may have aged, or others
    // may have learnt more.
    const Duration own = half.least_rtt().value_or(verdict.rtt);
    if (half.base_is_due() || half.base() == Duration::zero() || verdict.rtt <= own || own < half.base())
      half.set_base(bases.learn(flows.address_of(flow, sender), verdict.rtt, own, record.time));
    const Duration base = half.base();
    const auto sample = [&] {
      return RttSample{.sent = verdict.sent,
                       .taken = record.time,
                       .rtt = verdict.rtt,
                       .base = base,
                       .weight = verdict.charged,
                       .flow = flow.number};
    };
    PathMeter& meter = path.meter();
    meter.add_rtt(record.time, verdict.rtt, base, verdict.charged);
    if (meter.keeps_next()) [[unlikely]]
      meter.keep(sample());
    const std::uint32_t number = flow.path_of(sender ^ 1U);
    if (!accounts) {
      rtt[number & 1U].add(verdict.rtt);
    } else if (!accounts->add_rtt(direction_of(number), site_of(number), half.dscp(), verdict.rtt)) {
      accounts->rtt_sampled(account_of(flow, sender ^ 1U), sample());
    }
    if (path.queue_ways().asks_next()) [[unlikely]]
      split_queue(sample(), record, flow, sender, path);
  }
  if (verdict.answered > Duration::zero() && flow.side_is_a_guess()) [[unlikely]]
    reconsider_sides(record, flow, sender, verdict.answered);
}

/// Which way a sample's queue waited, by the clock of whoever acknowledged.
void Estimator::Impl::split_queue(const RttSample& sample, const PacketRecord& record, const Flow& flow,
                                  End sender, PathWindow& path) {
  std::optional<QueueSplit> split;
  if (record.has_timestamp) {
    split = clocks.split(
        flow.number, sender,
        {.at = sample.taken, .value = record.timestamp_value, .rtt = sample.rtt, .base = sample.base});
  }
  if (split) path.queue_ways().add(sample.taken, *split, sample.weight);
  if (accounts) accounts->queue_asked(account_of(flow, static_cast<End>(1U - sender)), split);
}

/// What waits on the way in, by the first segment that echoes what we sent. `flow` may have been closed by
/// it.
void Estimator::Impl::watch_way_in(const PacketRecord& record, Flow& flow, End sender) {
  const std::uint32_t path = flow.path_of(sender);
  if (site_of(path) >= ways_in.size() || !ways_in[site_of(path)]) return;
  if (direction_of(path) == Direction::outbound) {
    if (record.has_timestamp) echoes.left(flow.number, sender, record.timestamp_value, record.time);
    return;
  }
  if (record.payload == 0) return;
  WayIn& way_in = *ways_in[site_of(path)];
  if ((record.traffic_class & kEcnMask) == kEcnCe) way_in.marked();
  if (!record.has_timestamp) return;
  const auto echo = echoes.came_back(flow.number, sender ^ 1U, record.timestamp_echo, record.time);
  if (!echo) return;
  // The base of what we send to that host is the same, and the far clock is to be told of one alone.
  HalfFlow& ours = flow.halves[sender ^ 1U];
  const Duration least = std::min(echo->least, ours.least_rtt().value_or(echo->least));
  ours.set_base(bases.learn(flows.address_of(flow, sender), echo->rtt, least, record.time));
  const auto split = clocks.split(
      flow.number, sender,
      {.at = record.time, .value = record.timestamp_value, .rtt = echo->rtt, .base = ours.base()});
  // The far end may have taken any time to answer: the clock's doubt has to be small beside what waited here.
  if (!split || split->within > std::max<Duration>(kWayInWithin, split->reverse / 8)) return;
  way_in.echoed({.back = record.time,
                 .waited = split->reverse,
                 .base = ours.base(),
                 .weight = Bytes(record.payload),
                 .flow = flow.number});
}

/// A side that was guessed is guessed again once both ends have answered: the nearer one is ours.
void Estimator::Impl::reconsider_sides(const PacketRecord& record, Flow& flow, End sender,
                                       Duration answered_after) {
  const auto sender_nearer = sides.host_answered(
      flows.address_of(flow, sender), flows.address_of(flow, sender ^ 1U), answered_after, record.time);
  if (!sender_nearer) return;
  const bool first_end_inside = *sender_nearer == (sender == 0);
  if (first_end_inside != flow.source_inside()) retire(flow);
  flow.place({.site = flow.site(), .source_inside = first_end_inside, .basis = SideBasis::nearness});
}

// -- data --

/// `segments` of payload are counted with the verdict about them.
void Estimator::Impl::count_data(const Passing& packet, const SegmentVerdict& verdict, bool lone_fin) {
  if (accounts) {
    accounts->data(account_of(packet.flow, packet.sender), packet.record.time, packet.wire.segments, verdict,
                   lone_fin);
  } else {
    SegmentTotals& of_direction = segments[static_cast<std::size_t>(packet.direction)];
    of_direction.data += packet.wire.segments;
    count(verdict, lone_fin, of_direction);
  }
}

/// Keep-alives and probes may come without payload.
void Estimator::Impl::take_empty(const Passing& packet) {
  if (const auto kind = packet.half().classify_empty(packet.record.sequence))
    count_data(packet, {.kind = *kind, .segments = 1}, false);
}

/// Payload, a FIN, or both.
void Estimator::Impl::take_data(const Passing& packet) {
  const PacketRecord& record = packet.record;
  HalfFlow& half = packet.half();
  PathWindow& path = *packet.path;
  const SequenceNumber begin = record.has(kTcpSyn) ? record.sequence + 1 : record.sequence;
  if (record.payload > 0) {
    if (!half.is_acknowledged()) totals.one_way += packet.wire.segments;
    path.data_seen(record.time);
    if (half.first_data_in(PathWindow::flow_period(record.time))) path.flow_seen(record.time);
    path.charge_sent(record.time, packet.wire.charged);
  }
  const SequenceRange range{begin, begin + record.payload + (record.has(kTcpFin) ? 1U : 0U)};
  const SegmentVerdict verdict = half.on_data(segment_of(record, range, packet.wire), packet.peer(), gap,
                                              {.trackings = flows.trackings(),
                                               .path = path,
                                               .mss = packet.mss,
                                               .remote = witness_of(packet.flow, packet.sender)});
  count_data(packet, verdict, record.payload == 0);
  if (verdict.resent_after) {
    retransmission_delay[static_cast<std::size_t>(packet.direction)].add(*verdict.resent_after,
                                                                         verdict.segments);
  }
}

}  // namespace weir
