#include "estimator/path_meter.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "estimator/weighted.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kDeliveryWindow = 500ms;
/// Under this share of the bytes TCP says nothing about the rest.
constexpr double kLeastTcpShare = 0.05;
/// Of the bytes that a sample of the connections should have had on average; below it the sample missed those
/// that matter.
constexpr double kLeastFollowedShare = 0.5;

constexpr std::size_t kMostSamples = 4096;
constexpr Duration kSamplesKept = 500ms;
/// Of a tick that has fewer, samples of those before it count as well; fewer are no percentile. (With 20 a
/// slow path's queue was seen half a second late.)
constexpr std::size_t kSamplesWanted = 8;
constexpr std::size_t kFlowsWanted = 3;

}  // namespace

void PathTick::add(const PathTick& other) {
  sent += other.sent;
  delivered += other.delivered;
  data = data || other.data;
  if (other.first_delivery && (!first_delivery || *other.first_delivery < *first_delivery)) {
    first_delivery = other.first_delivery;
    first_delivery_bytes = other.first_delivery_bytes;
  }
}

/// The last ten seconds in five slots, summed up once a tick.
struct PathMeter::RttHistory {
  static constexpr std::int64_t kSlots = 5;
  static constexpr Duration kSlotLength = 2s;

  std::array<DurationHistogram, kSlots> rtt{};
  std::array<DurationHistogram, kSlots> base{};
  std::int64_t newest = 0;
  std::size_t newest_at = 0;
  TimePoint newest_ends;

  [[nodiscard]] bool is_newest(TimePoint now) const { return now < newest_ends; }
  void advance_to(TimePoint now) {
    if (is_newest(now)) return;
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
  /// Of the newest slot.
  void add(Duration of_path, Duration of_flow, Bytes weight) {
    DurationHistogram& rtts = rtt[newest_at];
    DurationHistogram& bases = base[newest_at];
    rtts.add(of_path);
    bases.add(of_flow, static_cast<std::uint32_t>(1 + weight.count() / 1024));
  }
  [[nodiscard]] static DurationHistogram sum_of(const std::array<DurationHistogram, kSlots>& slots) {
    DurationHistogram sum;
    for (const DurationHistogram& slot : slots) {
      if (slot.total() > 0) sum.merge(slot);
    }
    return sum;
  }
};

void PathMeter::RttHistoryDeleter::operator()(RttHistory* history) const {
  std::default_delete<RttHistory>()(history);
}

void PathMeter::add_rtt(TimePoint taken, Duration rtt, Duration base, Bytes weight) {
  RttHistory* const history = rtt_history_.get();
  if (history == nullptr || !history->is_newest(taken)) [[unlikely]]
    return begin_slot_with(taken, rtt, base, weight);
  history->add(rtt, base, weight);
}

/// Apart, since a function that calls none saves no registers.
void PathMeter::begin_slot_with(TimePoint taken, Duration rtt, Duration base, Bytes weight) {
  if (!rtt_history_) rtt_history_.reset(std::make_unique<RttHistory>().release());
  rtt_history_->advance_to(taken);
  rtt_history_->add(rtt, base, weight);
}

void PathMeter::keep(const RttSample& sample) {
  samples_skipped_ = 0;
  if (samples_.size() >= kMostSamples) {  // keep every second one, from now on as well
    const std::size_t fresh_from = samples_.size() - samples_fresh_;
    std::size_t kept = 0;
    samples_fresh_ = 0;
    for (std::size_t i = 0; i < samples_.size(); i += 2) {
      samples_[kept++] = samples_[i];
      samples_fresh_ += i >= fresh_from ? 1 : 0;
    }
    samples_.resize(kept);
    sample_stride_ *= 2;
  }
  samples_.push_back(sample);
  ++samples_fresh_;
}

Duration PathMeter::delivery_window() const {
  return std::max(kDeliveryWindow, 2 * base_);
}

/// The ticks that a delivered rate is taken over: from the first ACK of a busy period on, whose own bytes had
/// arrived before and do not count. Silence with nothing in flight ends the period.
///
///   ticks     | idle | data, no ACK yet | first ACK  a1 a2 a3 ... |  ...  | this one |
///   kept                                             |------------|-------|----------|
void PathMeter::keep_for_delivery(PathTick tick, std::uint64_t in_flight) {
  if (!tick.data && tick.delivered == Bytes() && in_flight == 0) {
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

void PathMeter::follow_one_in(std::uint32_t n) {
  if (n == one_in_) return;
  one_in_ = n;
  reselected_ = true;
}

/// How much of all bytes the followed TCP stands for; nothing when TCP is too little to speak for the rest.
std::optional<double> PathMeter::bytes_per_followed_byte(const PathTick& tick) const {
  BytesByKind sent = ticks_.empty() ? tick.sent : BytesByKind();
  for (const PathTick& kept : ticks_) {
    sent += kept.sent;
  }
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
std::optional<Delivery> PathMeter::delivery_over_window(TimePoint now, double scale) const {
  if (ticks_.empty()) return std::nullopt;
  Bytes delivered;
  for (const PathTick& tick : ticks_) delivered += tick.delivered;
  const Duration over = now - ticks_.front().begin;
  if (over < std::max(base_, kCohortLength)) return std::nullopt;
  return Delivery{.rate = Rate::of(delivered, over) * scale, .over = over};
}

std::optional<QueueDelay> PathMeter::queue_of_tick() {
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
  if (queue.flows < kFlowsWanted && wanted < kSamplesWanted) return std::nullopt;

  sort_by_value(order);
  queue.q = percentile(order, 0.20);
  queue.p10 = percentile(order, 0.10);
  queue.p90 = percentile(order, 0.90);
  return queue;
}

void PathMeter::sum_up_rtt(TimePoint now) {
  if (!rtt_history_) return;
  rtt_history_->advance_to(now);
  summary_.reset();
  const DurationHistogram rtt = RttHistory::sum_of(rtt_history_->rtt);
  if (rtt.total() == 0) return;
  base_ = RttHistory::sum_of(rtt_history_->base).quantile(0.5);
  summary_ = RttSummary{.base = base_,
                        .p50 = rtt.quantile(0.5),
                        .p95 = rtt.quantile(0.95),
                        .samples = static_cast<std::uint32_t>(rtt.total())};
}

void PathMeter::close_tick(const PathTick& tick, std::uint64_t in_flight, SiteMeasurement& into) {
  const TimePoint now = tick.end;
  sum_up_rtt(now);
  into.rtt = summary_;

  if (std::exchange(reselected_, false)) {
    ticks_.clear();
    settled_from_ = now + std::max(summary_ ? summary_->p95 : kUnknownRtt, kCohortLength);
  }
  if (settled_from_ && now >= *settled_from_) settled_from_.reset();
  if (!settled_from_) keep_for_delivery(tick, in_flight);
  while (!ticks_.empty() && ticks_.front().end <= now - delivery_window()) ticks_.pop_front();
  scale_ = bytes_per_followed_byte(tick);
  if (scale_ && !settled_from_) {
    into.delivered = delivery_over_window(now, *scale_);
    into.delivered_bytes =
        Bytes(static_cast<std::uint64_t>(static_cast<double>(tick.delivered.count()) * *scale_));
  }

  const auto stale = std::find_if(samples_.begin(), samples_.end(),
                                  [&](const RttSample& s) { return s.taken > now - kSamplesKept; });
  samples_.erase(samples_.begin(), stale);
  samples_fresh_ = std::min(samples_fresh_, static_cast<std::uint32_t>(samples_.size()));
  into.queue = queue_of_tick();
  samples_fresh_ = 0;
  if (samples_.size() < kMostSamples / 4) sample_stride_ = std::max(1U, sample_stride_ / 2);
}

}  // namespace weir
