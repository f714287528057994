#include "estimator/path_window.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "estimator/weighted.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Cohorts kept at most: the longest wait for a fate, with room for ticks that come late.
constexpr std::size_t kMostOpenCohorts = 128;
constexpr Duration kLongestWait = 10s;
constexpr Duration kMaturityMargin = 100ms;
constexpr double kResolvedShare = 0.95;
/// A receiver that got both tells so (D-SACK) when the retransmission arrives: reordering looks like loss
/// until then. At least this long, for what held the original up may hold up the retransmission as well.
constexpr Duration kLeastTimeToUndo = 10ms;

constexpr Duration kDeliveryWindow = 500ms;
/// Under this share of the bytes TCP says nothing about the rest.
constexpr double kLeastTcpShare = 0.05;
/// Of the bytes that a sample of the connections should have had on average; below it the sample missed those
/// that matter.
constexpr double kLeastFollowedShare = 0.5;

constexpr std::size_t kMostSamples = 4096;
constexpr Duration kSamplesKept = 500ms;
constexpr std::size_t kSamplesWanted = 20;
constexpr std::size_t kFlowsWanted = 3;
/// On a slow path half a second may hold no more than this; fewer are no percentile.
constexpr std::size_t kSamplesLeast = 8;

}  // namespace

/// The last ten seconds in five slots, summed up once a tick.
struct PathWindow::RttHistory {
  static constexpr std::int64_t kSlots = 5;
  static constexpr Duration kSlotLength = 2s;

  std::array<DurationHistogram, kSlots> rtt{};
  std::array<DurationHistogram, kSlots> base{};
  std::int64_t newest = 0;
  std::size_t newest_at = 0;
  TimePoint newest_ends;

  void advance_to(TimePoint now) {
    if (now < newest_ends) return;
    const std::int64_t slot = now.time_since_epoch() / kSlotLength;
    const std::int64_t steps = std::min(slot - newest, kSlots);
    for (std::int64_t i = 1; i <= steps; ++i) {
      const auto at = static_cast<std::size_t>((slot - steps + i) % kSlots);
      rtt[at].clear();
      base[at].clear();
    }
    newest = slot;
    newest_at = static_cast<std::size_t>(newest % kSlots);
    newest_ends = TimePoint(kSlotLength * (slot + 1));
  }
  void add(const RttSample& sample) {
    advance_to(sample.taken);
    rtt[newest_at].add(sample.rtt);
    base[newest_at].add(sample.base, static_cast<std::uint32_t>(1 + sample.weight.count() / 1024));
  }
  [[nodiscard]] static DurationHistogram sum_of(const std::array<DurationHistogram, kSlots>& slots) {
    DurationHistogram sum;
    for (const DurationHistogram& slot : slots) {
      if (slot.total() > 0) sum.merge(slot);
    }
    return sum;
  }
};

void PathWindow::RttHistoryDeleter::operator()(RttHistory* history) const {
  std::default_delete<RttHistory>()(history);
}

PathWindow::PathWindow(Direction direction, TimePoint epoch)
    : direction_(direction), epoch_(epoch), tick_began_(epoch) {
  tick_.begin = epoch;
}

PathWindow::CohortId PathWindow::cohort_of(TimePoint at) const {
  return at <= epoch_ ? 0 : static_cast<CohortId>((at - epoch_) / kCohortLength);
}

TimePoint PathWindow::begin_of(CohortId cohort) const {
  return epoch_ + kCohortLength * static_cast<std::int64_t>(cohort);
}

// -- frames --

void PathWindow::flow_seen(TimePoint at) {
  const std::int64_t period = flow_period(at);
  if (period != flows_period_) {
    flows_last_period_ = period == flows_period_ + 1 ? flows_this_period_ : 0;
    flows_this_period_ = 0;
    flows_period_ = period;
  }
  ++flows_this_period_;
}

// -- fate of transmissions --

PathWindow::Place PathWindow::place_of(TimePoint at, CohortId id) {
  const TimePoint begin = begin_of(id);
  const Duration into = std::max(at - begin, Duration::zero());
  const auto slot = std::min(static_cast<std::size_t>(into / kSlotLength), kSlotsPerCohort - 1);
  OpenCohort& c = cohort(id);
  return {.begin = begin + kSlotLength * static_cast<std::int64_t>(slot),
          .end = begin + kSlotLength * static_cast<std::int64_t>(slot + 1),
          .cohort = &c,
          .slot = &c.slots[slot]};
}

PathWindow::Place PathWindow::find_open(TimePoint sent) {
  const CohortId id = cohort_of(sent);
  if (id < first_cohort_ || id - first_cohort_ >= open_cohorts_) return {};
  return place_of(sent, id);
}

PathWindow::Place PathWindow::make(TimePoint at) {
  const CohortId id = cohort_of(at);
  if (open_cohorts_ == 0) first_cohort_ = std::max(first_cohort_, id);
  if (id < first_cohort_) return {};
  // Far ahead: nothing that is open now can still be waited for.
  if (id - first_cohort_ >= 2 * kMostOpenCohorts) {
    forget_places();
    open_cohorts_ = 0;
    first_cohort_ = id;
  }
  while (id - first_cohort_ >= open_cohorts_) {
    if (open_cohorts_ == ring_.size()) widen();
    cohort(first_cohort_ + open_cohorts_) = OpenCohort{};
    cohort(first_cohort_ + open_cohorts_).one_in = one_in_;
    ++open_cohorts_;
  }
  return place_of(at, id);
}

void PathWindow::widen() {
  forget_places();
  std::vector<OpenCohort> wider(std::max<std::size_t>(ring_.size() * 2, 4));
  for (std::uint32_t i = 0; i < open_cohorts_; ++i)
    wider[(first_cohort_ + i) & (wider.size() - 1)] = cohort(first_cohort_ + i);
  ring_ = std::move(wider);
}

void PathWindow::segments_lost_after_tap(TimePoint sent, std::uint32_t segments, TimePoint told) {
  in_flight_ -= std::min<std::uint64_t>(in_flight_, segments);
  if (const Place& p = open(sent); p.cohort) {
    p.cohort->lost_after += segments;
    p.cohort->lost_at = told;
    add(p.slot->lost, segments);
  }
}

void PathWindow::loss_told_again(TimePoint sent, TimePoint told) {
  if (const Place& p = open(sent); p.cohort) p.cohort->lost_at = told;
}

void PathWindow::loss_undone(TimePoint sent, std::uint32_t segments) {
  if (const Place& p = open(sent); p.cohort) {
    const std::uint32_t undone = std::min(p.cohort->lost_after, segments);
    p.cohort->lost_after -= undone;
    p.cohort->delivered += undone;
    take_off(p.slot->lost, undone);
    add(p.slot->delivered, undone);
  }
}

void PathWindow::segments_forgotten(TimePoint sent, std::uint32_t segments) {
  in_flight_ -= std::min<std::uint64_t>(in_flight_, segments);
  if (const Place& p = open(sent); p.cohort) {
    take_off(p.cohort->sent, segments);
    take_off(p.slot->sent, segments);
  }
}

void PathWindow::segments_doubtful(TimePoint sent, std::uint32_t segments) {
  if (const Place& p = open(sent); p.cohort) {
    p.cohort->doubtful += segments;
    add(p.slot->lost, segments);
  }
}

void PathWindow::segments_undoubted(TimePoint sent, std::uint32_t segments) {
  if (const Place& p = open(sent); p.cohort) {
    take_off(p.cohort->doubtful, segments);
    take_off(p.slot->lost, segments);
  }
}

void PathWindow::hole_opened(TimePoint at) {
  if (const Place& p = reach(at); p.cohort) p.cohort->holes_open += 1;
}

void PathWindow::hole_closed(TimePoint opened) {
  if (const Place& p = open(opened); p.cohort) take_off(p.cohort->holes_open, 1);
}

void PathWindow::hole_filled_late(TimePoint opened, std::uint32_t segments) {
  if (const Place& p = open(opened); p.cohort) p.cohort->lost_before_tap += segments;
}

// -- acknowledgments --

void PathWindow::rtt_sampled(const RttSample& sample) {
  if (!rtt_history_) rtt_history_.reset(std::make_unique<RttHistory>().release());
  rtt_history_->add(sample);

  if (samples_skipped_ + 1 < sample_stride_) {
    ++samples_skipped_;
    return;
  }
  samples_skipped_ = 0;
  if (samples_.size() >= kMostSamples) {  // keep every second one, from now on as well
    std::size_t kept = 0;
    for (std::size_t i = 0; i < samples_.size(); i += 2) samples_[kept++] = samples_[i];
    samples_.resize(kept);
    samples_fresh_ = std::min(samples_fresh_, static_cast<std::uint32_t>(kept));
    sample_stride_ *= 2;
  }
  samples_.push_back(sample);
  ++samples_fresh_;
}

// -- the end of a tick --

/// All resolved, or >= 95 % after an RTT with nothing in suspense, or older than 2 RTT + 100 ms.
///
/// "In suspense" matters: at 4 % of loss the other 96 % are acknowledged one RTT after the cohort, while the
/// lost ones still wait for their retransmission. Counting by the 95 % alone would emit exactly the cohorts
/// whose losses are the part that is missing. Within the first RTT the rest is merely in flight, and may yet
/// be lost.
bool PathWindow::is_mature(const OpenCohort& cohort, CohortId id, TimePoint now) const {
  const TimePoint end = begin_of(id) + kCohortLength;
  if (now < end) return false;
  const Duration rtt = std::max(cohort.rtt, summary_ ? summary_->p95 : Duration::zero());
  if (now >= end + std::min(2 * rtt + kMaturityMargin, kLongestWait)) return true;
  if (cohort.doubtful > 0 || cohort.holes_open > 0) return false;
  if (cohort.lost_after > 0 && now < cohort.lost_at + std::max(rtt, kLeastTimeToUndo)) return false;
  const std::uint32_t resolved = cohort.delivered + cohort.lost_after;
  if (resolved >= cohort.sent) return true;
  return now >= end + cohort.rtt && resolved >= kResolvedShare * cohort.sent;
}

/// Segments with SACKed bytes of their flow above them that were neither delivered nor sent again in 2 RTT
/// are lost: reordering does not last that long (RFC 8985, 6.2 waits a quarter of an RTT).
Cohort PathWindow::finish(const OpenCohort& cohort, CohortId id) const {
  const std::uint32_t lost_after = cohort.lost_after + cohort.doubtful;
  const std::uint32_t resolved = cohort.delivered + lost_after;
  const bool outbound = direction_ == Direction::outbound;
  return {.begin = begin_of(id),
          // Inbound, what was lost before the tap was lost beyond us and is part of what the far side sent.
          .segments = outbound ? resolved : resolved + cohort.lost_before_tap,
          .lost_beyond = outbound ? lost_after : cohort.lost_before_tap,
          .lost_before = outbound ? cohort.lost_before_tap : lost_after,
          .sent = cohort.charged,
          .one_in = cohort.one_in,
          .slots = {cohort.slots.begin(), cohort.slots.end()}};
}

/// In order of sending: a cohort whose losses are still in suspense holds back the clean ones after it, or a
/// reader would take the road up to those for clean.
void PathWindow::collect_mature(TimePoint now, std::vector<Cohort>& into) {
  while (open_cohorts_ > 0) {
    const OpenCohort& oldest = cohort(first_cohort_);
    const bool crowded_out = open_cohorts_ > kMostOpenCohorts;
    if (!crowded_out && !is_mature(oldest, first_cohort_, now)) break;
    if (!oldest.voided && !oldest.untouched()) {
      Cohort finished = finish(oldest, first_cohort_);
      if (finished.segments > 0 || finished.lost_before > 0) into.push_back(std::move(finished));
    }
    forget_places();
    --open_cohorts_;
    ++first_cohort_;
  }
}

/// A lost frame may have been data (a hole that is none), a retransmission (a loss unseen) or an ACK: nothing
/// that was in flight at the time can be believed.
void PathWindow::void_open_cohorts(TimePoint now) {
  reach(now);
  for (std::uint32_t i = 0; i < open_cohorts_; ++i) cohort(first_cohort_ + i).voided = true;
}

Duration PathWindow::delivery_window() const {
  return std::max(kDeliveryWindow, 2 * base_);
}

/// The ticks that a delivered rate is taken over: from the first ACK of a busy period on, whose own bytes had
/// arrived before and do not count. Silence with nothing in flight ends the period.
///
///   ticks     | idle | data, no ACK yet | first ACK  a1 a2 a3 ... |  ...  | this one |
///   kept                                             |------------|-------|----------|
void PathWindow::keep_for_delivery(TickSums tick) {
  if (!tick.data && tick.delivered == Bytes() && in_flight_ == 0) {
    ticks_.clear();
    return;
  }
  if (ticks_.empty()) {
    if (!tick.first_delivery) return;
    tick.begin = *tick.first_delivery;
    tick.delivered = tick.delivered - tick.first_delivery_bytes;
  }
  ticks_.push_back(tick);
}

void PathWindow::follow_one_in(std::uint32_t n) {
  if (n == one_in_) return;
  one_in_ = n;
  reselected_ = true;
  unanswered_since_ = kNever;
}

/// How much of all bytes the followed TCP stands for; nothing when TCP is too little to speak for the rest.
std::optional<double> PathWindow::bytes_per_followed_byte() const {
  BytesByKind sent = ticks_.empty() ? tick_.sent : BytesByKind();
  for (const TickSums& tick : ticks_) sent += tick.sent;
  const auto all = static_cast<double>(sent.all().count());
  const auto tcp = static_cast<double>(sent.tcp().count());
  const auto followed = static_cast<double>(sent.followed().count());
  if (all == 0.0) return scale_;  // nothing but ACKs of what was sent before
  if (followed == 0.0 || tcp < kLeastTcpShare * all) return std::nullopt;
  // The followed connections are as many as they should be, but not those that send: ACKs of downloads do not
  // speak for uploads.
  if (one_in_ > 1 && followed * one_in_ < kLeastFollowedShare * tcp) return std::nullopt;
  return all / followed;
}

/// D over the last max(0.5 s, 2 base), or since acknowledgments began to flow when that is less, but an RTT
/// at least.
std::optional<Delivery> PathWindow::delivery_over_window(TimePoint now, double scale) const {
  if (ticks_.empty()) return std::nullopt;
  Bytes delivered;
  for (const TickSums& tick : ticks_) delivered += tick.delivered;
  const Duration over = now - ticks_.front().begin;
  if (over < std::max(base_, kCohortLength)) return std::nullopt;
  return Delivery{.rate = Rate::of(delivered, over) * scale, .over = over};
}

std::optional<QueueDelay> PathWindow::queue_of_tick() {
  if (samples_fresh_ == 0) return std::nullopt;
  const std::size_t wanted = std::min(samples_.size(), std::max<std::size_t>(samples_fresh_, kSamplesWanted));
  const auto first = samples_.end() - static_cast<std::ptrdiff_t>(wanted);

  std::vector<Weighted> order;
  std::vector<std::uint32_t> flows;
  order.reserve(wanted);
  flows.reserve(wanted);
  QueueDelay queue{.sent_from = first->sent, .sent_to = first->sent};
  for (auto sample = first; sample != samples_.end(); ++sample) {
    const std::uint64_t weight = std::max<std::uint64_t>(sample->weight.count(), 1);
    order.push_back({std::max(sample->rtt - sample->base, Duration::zero()), weight});
    flows.push_back(sample->flow);
    queue.sent_from = std::min(queue.sent_from, sample->sent);
    queue.sent_to = std::max(queue.sent_to, sample->sent);
  }
  std::sort(flows.begin(), flows.end());
  queue.flows = static_cast<std::uint32_t>(std::unique(flows.begin(), flows.end()) - flows.begin());
  queue.samples = static_cast<std::uint32_t>(wanted);
  if (queue.flows < kFlowsWanted && wanted < kSamplesLeast) return std::nullopt;

  sort_by_value(order);
  queue.q = percentile(order, 0.20);
  queue.p10 = percentile(order, 0.10);
  queue.p90 = percentile(order, 0.90);
  return queue;
}

SiteMeasurement PathWindow::close_tick(TimePoint now, bool capture_lost) {
  SiteMeasurement m;
  m.at = now;
  m.interval = ticked_ ? now - tick_began_ : std::max(now - epoch_, Duration::zero());
  m.valid = !capture_lost;
  m.sent = tick_.sent.all();
  m.sent_tcp = tick_.sent.tcp();
  m.one_in = one_in_;

  if (rtt_history_) {
    rtt_history_->advance_to(now);
    summary_.reset();
    const DurationHistogram rtt = RttHistory::sum_of(rtt_history_->rtt);
    if (rtt.total() > 0) {
      base_ = RttHistory::sum_of(rtt_history_->base).quantile(0.5);
      summary_ = RttSummary{.base = base_,
                            .p50 = rtt.quantile(0.5),
                            .p95 = rtt.quantile(0.95),
                            .samples = static_cast<std::uint32_t>(rtt.total())};
    }
  }
  m.rtt = summary_;

  tick_.end = now;
  if (std::exchange(reselected_, false)) {
    ticks_.clear();
    settled_from_ = now + std::max(summary_ ? summary_->p95 : kUnknownRtt, kCohortLength);
  }
  if (settled_from_ && now >= *settled_from_) settled_from_.reset();
  if (!settled_from_) keep_for_delivery(tick_);
  while (!ticks_.empty() && ticks_.front().end <= now - delivery_window()) ticks_.pop_front();
  scale_ = bytes_per_followed_byte();
  if (scale_ && !settled_from_) {
    m.delivered = delivery_over_window(now, *scale_);
    m.delivered_bytes =
        Bytes(static_cast<std::uint64_t>(static_cast<double>(tick_.delivered.count()) * *scale_));
  }

  if (capture_lost) void_open_cohorts(now);
  collect_mature(now, m.mature);

  const auto stale = std::find_if(samples_.begin(), samples_.end(),
                                  [&](const RttSample& s) { return s.taken > now - kSamplesKept; });
  samples_.erase(samples_.begin(), stale);
  samples_fresh_ = std::min(samples_fresh_, static_cast<std::uint32_t>(samples_.size()));
  m.queue = queue_of_tick();
  m.queue_by_way = queue_ways_.close_tick(now);
  samples_fresh_ = 0;
  if (samples_.size() < kMostSamples / 4) sample_stride_ = std::max(1U, sample_stride_ / 2);

  m.ece_echoes = ece_echoes_;
  const std::int64_t period = flow_period(now);
  m.flows = period == flows_period_       ? std::max(flows_this_period_, flows_last_period_)
            : period == flows_period_ + 1 ? flows_this_period_
                                          : 0;
  m.last_ack = unless_never(last_ack_);
  m.unanswered_since = unless_never(unanswered_since_);

  ece_echoes_ = 0;
  tick_ = TickSums{};
  tick_.begin = now;
  tick_began_ = now;
  ticked_ = true;
  return m;
}

}  // namespace weir
