#include "estimator/estimator.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "estimator/flow_table.hpp"
#include "estimator/histogram.hpp"
#include "estimator/parse.hpp"
#include "estimator/path_window.hpp"
#include "estimator/remote_bases.hpp"
#include "estimator/sides.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Segments in flight remembered over all flows; 24 bytes each, so that the whole stays within 24 MB.
constexpr std::size_t kMostSegments = 1U << 20U;
/// Cohorts end this much before ticks: the answers of near hosts are in by then, and the cohort is ripe a
/// tick sooner.
constexpr Duration kCohortsEndBeforeTicks = 20ms;
/// A frame whose stamp is this far ahead of the last one has a broken stamp.
constexpr Duration kLargestStep = std::chrono::hours(24);

void count(const SegmentVerdict& verdict, bool lone_fin, SegmentTotals& totals) {
  totals.fresh += verdict.fresh;
  const std::uint32_t n = verdict.segments;
  switch (verdict.kind) {
    case SegmentClass::fresh:
      break;
    case SegmentClass::probe:
      totals.probe += n;
      break;
    case SegmentClass::keepalive:
      totals.keepalive += n;
      break;
    case SegmentClass::duplicate:
      totals.duplicate += n;
      break;
    case SegmentClass::spurious:
      totals.spurious += n;
      totals.fin_retransmitted += lone_fin ? 1 : 0;
      break;
    case SegmentClass::retransmitted:
      totals.retransmitted += n;
      totals.fin_retransmitted += lone_fin ? 1 : 0;
      break;
    case SegmentClass::reordered:
      totals.reordered += n;
      break;
    case SegmentClass::hole_fill:
      totals.hole_fill += n;
      break;
    case SegmentClass::unknown:
      totals.unknown += n;
      break;
  }
}

}  // namespace

struct Estimator::Impl {
  explicit Impl(EstimatorSettings s)
      : settings(std::move(s)),
        sides(settings.sites, settings.inside),
        flows(settings.max_flows, kMostSegments) {
    for (auto& of_direction : windows) of_direction.resize(settings.sites.size() + 1);
  }

  EstimatorSettings settings;
  Sides sides;
  FlowTable flows;
  RemoteBases bases;
  /// [direction][site]; made with the first frame, since most sites of a large policy may be silent.
  std::array<std::vector<std::unique_ptr<PathWindow>>, 2> windows;
  std::array<DurationHistogram, 2> rtt;
  std::array<Duration, 2> least_rtt{};
  EstimatorTotals totals;
  CaptureGap gap{.begin = TimePoint::max(), .end = TimePoint::min()};
  std::optional<TimePoint> epoch;
  TimePoint last_frame;
  TimePoint last_tick;
  PacketRecord parsed;  ///< the frame at hand; to clear one for each frame costs as much as to parse it

  [[nodiscard]] PathWindow& window(Direction direction, std::uint32_t site) {
    auto& slot = windows[static_cast<std::size_t>(direction)][site];
    if (!slot) slot = std::make_unique<PathWindow>(direction, *epoch);
    return *slot;
  }
  [[nodiscard]] SegmentTotals& segments(Direction direction) {
    return direction == Direction::outbound ? totals.outbound : totals.inbound;
  }
  /// Direction of the data that `end` of the flow sends.
  [[nodiscard]] static Direction direction_of(const Flow& flow, End end) {
    return (end == 0) == flow.placement.source_inside ? Direction::outbound : Direction::inbound;
  }
  [[nodiscard]] PathWindow& window_of(const Flow& flow, End end) {
    return window(direction_of(flow, end), flow.placement.site);
  }

  /// The addresses that decide a packet's site.
  struct Ends {
    const IpAddress& source;
    const IpAddress& destination;
  };
  [[nodiscard]] Ends deciding_ends(const PacketRecord& record) const;

  void take(const Frame& frame);
  void take_ip(const PacketRecord& record);
  void take_tcp(const PacketRecord& record);
  void place(Flow& flow, const PacketRecord& record, End sender);
  void retire(Flow& flow);
  void open_anew_if_reused(Flow& flow, const PacketRecord& record, End sender);
  void take_syn(Flow& flow, const PacketRecord& record, End sender);
  void take_ack(Flow& flow, const PacketRecord& record, End sender);
  void take_rtt(Flow& flow, const PacketRecord& record, End sender, RttSample sample);
  void take_data(Flow& flow, const PacketRecord& record, End sender, std::uint32_t segments, Bytes charged);
  void reconsider_sides(Flow& flow, const PacketRecord& record, End sender, Duration answered_after);
  [[nodiscard]] std::uint32_t wire_segments(const Flow& flow, const PacketRecord& record, End sender) const;
  void begin_at(TimePoint first);
};

Estimator::Estimator(EstimatorSettings settings) : impl_(std::make_unique<Impl>(std::move(settings))) {}
Estimator::~Estimator() = default;
Estimator::Estimator(Estimator&&) noexcept = default;
Estimator& Estimator::operator=(Estimator&&) noexcept = default;

void Estimator::Impl::begin_at(TimePoint first) {
  if (epoch) return;
  epoch = first;
  last_frame = last_tick = first;
}

// -- frames --

void Estimator::on_frame(const Frame& frame) {
  impl_->take(frame);
}

void Estimator::Impl::take(const Frame& frame) {
  ++totals.frames;
  begin_at(frame.time);
  PacketRecord& record = parsed;
  const ParseOutcome outcome = parse_frame(frame, record);
  // Stamps of several queues may go back by microseconds; nothing behind this line ever sees time go back.
  if (record.time < last_frame || record.time - last_frame > kLargestStep) record.time = last_frame;
  last_frame = record.time;
  switch (outcome) {
    case ParseOutcome::tcp:
      take_tcp(record);
      break;
    case ParseOutcome::ip:
      take_ip(record);
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
/// bytes are shaped as that site's.
Estimator::Impl::Ends Estimator::Impl::deciding_ends(const PacketRecord& record) const {
  if (record.tunnelled && sides.claims(record.outer_source, record.outer_destination))
    return {record.outer_source, record.outer_destination};
  return {record.source, record.destination};
}

void Estimator::Impl::take_ip(const PacketRecord& record) {
  const Ends ends = deciding_ends(record);
  const Placement at = sides.place_frame(ends.source, ends.destination);
  const Direction direction = at.source_inside ? Direction::outbound : Direction::inbound;
  window(direction, at.site)
      .frame_seen(record.time, settings.link_layer.charged(record.frame_bytes), record.protocol == 6);
}

void Estimator::Impl::take_tcp(const PacketRecord& record) {
  ++totals.tcp;
  const FlowTable::Found found = flows.find_or_create(record, [this](Flow& flow) { retire(flow); });
  if (found.flow == nullptr) {
    ++totals.flows_refused;
    take_ip(record);
    return;
  }
  Flow& flow = *found.flow;
  const End sender = found.sender;
  if (found.created) place(flow, record, sender);
  flow.last_seen = record.time;
  if (sender != flow.first_sender) flow.answered = true;

  const std::uint32_t segments = wire_segments(flow, record, sender);
  const std::uint32_t frames = std::max(segments, 1U);
  const Bytes charged = settings.link_layer.charged(
      record.frame_bytes + static_cast<std::uint64_t>(frames - 1) * record.headers_bytes, frames);
  window_of(flow, sender).frame_seen(record.time, charged, true);

  if (record.has(kTcpSyn)) {
    open_anew_if_reused(flow, record, sender);
    take_syn(flow, record, sender);
  }
  if (record.has(kTcpAck) && !record.has(kTcpRst)) take_ack(flow, record, sender);
  if (record.has(kTcpRst)) {
    for (End end : {End{0}, End{1}}) flow.halves[end].leave(window_of(flow, end));
    flow.closed = true;
    return;
  }
  take_data(flow, record, sender, segments, charged);
  if (record.has(kTcpFin)) {
    flow.finished[sender] = true;
    flow.closed = flow.finished[0] && flow.finished[1];
  }
}

std::uint32_t Estimator::Impl::wire_segments(const Flow& flow, const PacketRecord& record, End sender) const {
  if (record.payload == 0) return 0;
  const std::uint32_t each = flow.halves[sender].segment_payload(record.tcp_header_bytes);
  return (record.payload + each - 1) / each;
}

// -- connections --

void Estimator::Impl::place(Flow& flow, const PacketRecord& record, End sender) {
  const bool opens = record.has(kTcpSyn) && !record.has(kTcpAck);
  const Ends ends = deciding_ends(record);
  flow.placement = sides.place(ends.source, ends.destination, opens, record.time);
  if (sender == 1) flow.placement.source_inside = !flow.placement.source_inside;
}

void Estimator::Impl::retire(Flow& flow) {
  for (End end : {End{0}, End{1}}) flow.halves[end].leave(window_of(flow, end));
}

void Estimator::Impl::open_anew_if_reused(Flow& flow, const PacketRecord& record, End sender) {
  if (!flow.halves[sender].conflicts_with_syn(record.sequence)) return;
  retire(flow);
  flow.halves = {};
  flow.finished = {};
  flow.closed = false;
  flow.answered = record.has(kTcpAck);
  flow.first_sender = sender;
}

void Estimator::Impl::take_syn(Flow& flow, const PacketRecord& record, End sender) {
  const DataSegment syn{.time = record.time,
                        .range = {record.sequence, record.sequence + 1},
                        .ip_id = record.ip_id,
                        .has_timestamp = record.has_timestamp,
                        .timestamp = record.timestamp_value};
  HalfFlow& half = flow.halves[sender];
  HalfFlow& peer = flow.halves[1 - sender];
  if (half.on_syn(syn, record.mss_option) == SynVerdict::repeated) {
    ++segments(direction_of(flow, sender)).syn_retransmitted;
  }
  if (half.offered_mss() != 0 && peer.offered_mss() != 0) {
    const std::uint16_t agreed = std::min(half.offered_mss(), peer.offered_mss());
    half.agree_mss(agreed);
    peer.agree_mss(agreed);
  }
  if (record.has(kTcpAck) && peer.refuses_syn_data(record.acknowledgment)) {
    peer.reject_syn_data(window_of(flow, static_cast<End>(1 - sender)));
  }
}

// -- acknowledgments --

void Estimator::Impl::take_ack(Flow& flow, const PacketRecord& record, End sender) {
  const End owner = static_cast<End>(1 - sender);
  HalfFlow& half = flow.halves[owner];
  PathWindow& path = window_of(flow, owner);
  path.ack_seen(record.time);
  if (record.has(kTcpEce) && !record.has(kTcpSyn) && half.left_unmarked(record.time))
    path.unmarked_data_echoed();
  const AckVerdict verdict = half.on_ack(record, path);
  if (verdict.losses_undone > 0) {
    SegmentTotals& t = segments(direction_of(flow, owner));
    const std::uint64_t undone = std::min<std::uint64_t>(verdict.losses_undone, t.retransmitted);
    t.retransmitted -= undone;
    t.spurious += undone;
  }
  if (verdict.sample) take_rtt(flow, record, sender, *verdict.sample);
  if (verdict.answered) reconsider_sides(flow, record, sender, *verdict.answered);
}

/// `sender` acknowledged: the sample is of the data that goes to it.
void Estimator::Impl::take_rtt(Flow& flow, const PacketRecord& record, End sender, RttSample sample) {
  const End owner = static_cast<End>(1 - sender);
  const Direction direction = direction_of(flow, owner);
  const auto at = static_cast<std::size_t>(direction);
  rtt[at].add(sample.rtt);
  if (least_rtt[at] == Duration::zero() || sample.rtt < least_rtt[at]) least_rtt[at] = sample.rtt;
  const Duration own = flow.halves[owner].least_rtt().value_or(sample.rtt);
  sample.base = bases.learn(record.source, sample.rtt, own, sample.taken);
  sample.flow = flow.number;
  window_of(flow, owner).rtt_sampled(sample);
}

/// A side that was guessed is guessed again once both ends have answered: the nearer one is ours.
void Estimator::Impl::reconsider_sides(Flow& flow, const PacketRecord& record, End sender,
                                       Duration answered_after) {
  const SideBasis basis = flow.placement.basis;
  if (basis == SideBasis::configured || basis == SideBasis::nearness) return;
  const auto sender_nearer =
      sides.host_answered(record.source, record.destination, answered_after, record.time);
  if (!sender_nearer) return;
  const bool first_end_inside = *sender_nearer == (sender == 0);
  if (first_end_inside != flow.placement.source_inside) retire(flow);
  flow.placement.source_inside = first_end_inside;
  flow.placement.basis = SideBasis::nearness;
}

// -- data --

void Estimator::Impl::take_data(Flow& flow, const PacketRecord& record, End sender,
                                std::uint32_t count_of_segments, Bytes charged) {
  const Direction direction = direction_of(flow, sender);
  HalfFlow& half = flow.halves[sender];
  SegmentTotals& t = segments(direction);
  const bool fin = record.has(kTcpFin);
  const SequenceNumber begin = record.has(kTcpSyn) ? record.sequence + 1 : record.sequence;
  if (record.payload == 0 && !fin) {
    if (record.has(kTcpSyn)) return;
    const auto kind = half.classify_empty(begin);
    if (kind == SegmentClass::probe) ++t.probe;
    if (kind == SegmentClass::keepalive) ++t.keepalive;
    return;
  }

  PathWindow& path = window_of(flow, sender);
  if (record.payload > 0) {
    t.data += count_of_segments;
    if (!half.is_acknowledged()) totals.one_way += count_of_segments;
    path.data_seen(record.time, half.first_data_in(record.time.time_since_epoch() / 1s));
    path.charge_sent(record.time, charged);
  }
  const DataSegment segment{.time = record.time,
                            .range = {begin, begin + record.payload + (fin ? 1U : 0U)},
                            .payload = record.payload,
                            .wire_segments = count_of_segments,
                            .charged = charged,
                            .ip_id = record.ip_id,
                            .has_timestamp = record.has_timestamp,
                            .timestamp = record.timestamp_value,
                            .ecn = static_cast<std::uint8_t>(record.traffic_class & kEcnMask)};
  const HalfFlow& peer = flow.halves[1 - sender];
  const Duration round_trip =
      half.least_rtt().value_or(Duration::zero()) + peer.least_rtt().value_or(Duration::zero());
  const SegmentVerdict verdict = half.on_data(segment, round_trip, gap, flows.budget(), path);
  count(verdict, record.payload == 0, t);
}

// -- ticks --

TickResult Estimator::tick(TimePoint now, bool capture_lost) {
  Impl& my = *impl_;
  my.begin_at(now - kCohortsEndBeforeTicks);
  if (capture_lost) {
    const bool adjoins = my.gap.end >= my.last_tick;
    my.gap = {.begin = adjoins ? my.gap.begin : my.last_tick, .end = now};
  }
  my.flows.expire(now, [&my](Flow& flow) { my.retire(flow); });

  const auto close_all = [&](std::vector<std::unique_ptr<PathWindow>>& windows) {
    std::vector<SiteMeasurement> closed;
    closed.reserve(windows.size());
    for (const auto& window : windows) {
      if (window) {
        closed.push_back(window->close_tick(now, capture_lost));
      } else {
        SiteMeasurement silent;
        silent.at = now;
        silent.interval = now - my.last_tick;
        silent.valid = !capture_lost;
        closed.push_back(std::move(silent));
      }
    }
    return closed;
  };
  TickResult result{.outbound = close_all(my.windows[static_cast<std::size_t>(Direction::outbound)]),
                    .inbound = close_all(my.windows[static_cast<std::size_t>(Direction::inbound)])};
  my.last_tick = now;
  my.totals.flows = my.flows.size();
  my.totals.flows_evicted = my.flows.evicted();
  return result;
}

const EstimatorTotals& Estimator::totals() const {
  return impl_->totals;
}

RttTotals Estimator::rtt_totals(Direction direction) const {
  const auto at = static_cast<std::size_t>(direction);
  const DurationHistogram& h = impl_->rtt[at];
  return {.min = impl_->least_rtt[at],
          .p50 = h.quantile(0.50),
          .p95 = h.quantile(0.95),
          .p99 = h.quantile(0.99),
          .samples = h.total()};
}

SideFinding Estimator::sides() const {
  return impl_->sides.finding();
}

}  // namespace weir
