#include "path_simulator.hpp"

#include <algorithm>
#include <cmath>

namespace weir::test {
namespace {

constexpr std::uint32_t kPacket = 1514;
constexpr double kBits = kPacket * 8;

}  // namespace

PathSimulator::PathSimulator(PathSetup setup, ControlLimits limits, double start_mbps)
    : setup_(std::move(setup)),
      limits_(limits),
      controller_(limits, Rate::bps(static_cast<std::uint64_t>(start_mbps * 1e6)), at(0)),
      random_(setup_.seed),
      flows_(static_cast<std::size_t>(setup_.flows)) {}

void PathSimulator::run_for(double seconds) {
  const double end = now_ + seconds;
  while (now_ < end) step(0.00025);
}

std::int64_t PathSimulator::cohort_of(double t) {
  return static_cast<std::int64_t>(t * 10);
}

std::size_t PathSimulator::slot_of(double t) {
  const double into = t * 10 - static_cast<double>(cohort_of(t));
  return std::min(static_cast<std::size_t>(into * kSlotsPerCohort), kSlotsPerCohort - 1);
}

void PathSimulator::offer() {
  // Round robin over the senders; our own queue holds 200 ms, what exceeds it is dropped before the tap.
  const auto limit = static_cast<std::size_t>(
      std::max(50.0, static_cast<double>(controller_.decision().rate.bps()) * 0.2 / kBits));
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    const std::size_t index = (turn_ + i) % flows_.size();
    Flow& f = flows_[index];
    while (now_ >= f.paused_until && f.inflight < static_cast<int>(f.cwnd) && demand_credit_ >= kBits) {
      demand_credit_ -= kBits;
      ++f.inflight;
      Packet p{.flow = static_cast<int>(index), .queued = now_};
      const bool dropped_here =
          local_.size() >= limit || std::uniform_real_distribution<>(0, 1)(random_) < setup_.local_loss;
      if (dropped_here) {
        ++cohorts_[cohort_of(now_)].holes;
        p.lost = true;
        p.sent = -1;
        returning_.emplace(now_ + setup_.rtt_s, p);
      } else {
        local_.push_back(p);
      }
    }
  }
  ++turn_;
}

void PathSimulator::leave_box(Packet p) {
  p.sent = now_;
  if (now_ >= next_sample_) {
    shares_.sampled(static_cast<RemoteKey>(p.flow + 1), Bytes(kPacket));
    next_sample_ = now_ + std::uniform_real_distribution<>(0, 0.004)(sampling_);
  }
  auto& cohort = cohorts_[cohort_of(now_)];
  ++cohort.sent;
  Slot& slot = cohort.slots[slot_of(now_)];
  ++slot.sent;
  slot.bytes += kPacket;
  ++tick_sent_;
  if (!unanswered_) unanswered_ = now_;
  const double capacity = setup_.capacity_mbps(now_) * 1e6;
  if (burst_left_ == 0 &&
      std::uniform_real_distribution<>(0, 1)(random_) < setup_.random_loss / setup_.loss_burst) {
    burst_left_ = setup_.loss_burst;
  }
  if (burst_left_ > 0) {
    --burst_left_;
    p.lost = true;
  }
  if (setup_.provider == Provider::policer) {
    held_back_.push_back(p);
    if (!setup_.stalled(now_)) police();
    return;
  }
  if (!p.lost && static_cast<double>(provider_.size()) * kBits > setup_.buffer_s * capacity) p.lost = true;
  if (!p.lost) return provider_.push_back(p);
  ++tick_lost_;
  // Its loss is told by what left the queue behind it.
  come_back(p, capacity > 0 ? static_cast<double>(provider_.size()) * kBits / capacity : 0.0);
}

auto PathSimulator::next_in_turn() -> std::deque<Packet>::iterator {
  const auto behind = [this](const Packet& p) {
    return (p.flow - last_served_ - 1 + setup_.flows) % setup_.flows;
  };
  const auto next = std::min_element(local_.begin(), local_.end(),
                                     [&](const Packet& a, const Packet& b) { return behind(a) < behind(b); });
  last_served_ = next->flow;
  return next;
}

/// What a stall held back comes at once; the bucket holds no more than it holds.
void PathSimulator::police() {
  for (; !held_back_.empty(); held_back_.pop_front()) {
    Packet& p = held_back_.front();
    if (!p.lost && tokens_ < kBits) p.lost = true;
    if (!p.lost) tokens_ -= kBits;
    if (p.lost) ++tick_lost_;
    come_back(p, 0);
  }
}

void PathSimulator::come_back(const Packet& p, double waited) {
  returning_.emplace(now_ + waited + setup_.rtt_s + setup_.extra_delay_s(now_) + setup_.foreign_queue_s(now_),
                     p);
}

std::optional<bool> PathSimulator::told_lost(const Packet& p) {
  const bool forged =
      p.flow == 0 && std::uniform_real_distribution<>(0, 1)(forging_) < setup_.forged_loss(now_);
  if (!p.lost && !forged) return false;
  const auto remote = static_cast<RemoteKey>(p.flow + 1);
  if (setup_.corroborate && !losses_.hears(remote, at(p.sent), shares_)) return std::nullopt;
  return true;
}

void PathSimulator::acknowledge(const Packet& p) {
  Flow& f = flows_[static_cast<std::size_t>(p.flow)];
  --f.inflight;
  if (p.sent >= 0) {
    const auto it = cohorts_.find(cohort_of(p.sent));
    if (it != cohorts_.end()) {
      Slot& slot = it->second.slots[slot_of(p.sent)];
      if (const auto lost = told_lost(p)) {
        ++it->second.resolved;
        if (*lost) ++it->second.lost;
        ++(*lost ? slot.lost : slot.delivered);
      } else {
        --it->second.sent;
        --slot.sent;
      }
    }
  }
  if (p.lost) {
    if (f.cwnd <= 2) {
      f.paused_until = now_ + f.backoff;  // nothing left to be acknowledged: the retransmission timer
      f.backoff = std::min(f.backoff * 2, 3.0);
      return;
    }
    if (p.queued > f.last_cut) {
      f.last_cut = now_;
      f.w_max = f.cwnd;
      f.cwnd = f.ssthresh = std::max(2.0, f.cwnd * 0.7);
      f.epoch = -1;
    }
    return;
  }
  f.backoff = 0.2;
  ++tick_delivered_;
  last_ack_ = now_;
  unanswered_.reset();
  rtts_.emplace_back(p.sent, now_ - p.sent);
  if (f.cwnd < f.ssthresh) {
    f.cwnd += 1;
    return;
  }
  if (f.epoch < 0) {
    f.epoch = now_;
    f.k = std::cbrt(f.w_max * 0.3 / 0.4);
  }
  const double t = now_ - f.epoch;
  const double cubic = 0.4 * std::pow(t - f.k, 3) + f.w_max;
  f.cwnd += cubic > f.cwnd ? std::min(0.5, (cubic - f.cwnd) / f.cwnd) : 0.5 / f.cwnd;
}

void PathSimulator::step(double dt) {
  now_ += dt;
  const double capacity = setup_.capacity_mbps(now_) * 1e6;
  tokens_ = std::min(tokens_ + capacity * dt, std::max(capacity * setup_.bucket_s, kBits));
  demand_credit_ = std::min(demand_credit_ + setup_.demand_mbps * 1e6 * dt, 1e9);
  while (!returning_.empty() && returning_.begin()->first <= now_) {
    const Packet p = returning_.begin()->second;
    returning_.erase(returning_.begin());
    if (!setup_.silent(now_)) {
      acknowledge(p);
    } else {
      returning_.emplace(now_ + 0.2, p);
    }
  }
  offer();
  shaper_credit_ =
      std::min(shaper_credit_ + static_cast<double>(controller_.decision().rate.bps()) * dt, 2 * kBits + 1e5);
  while (!local_.empty() && shaper_credit_ >= kBits) {
    shaper_credit_ -= kBits;
    const auto next = setup_.fair_leaves ? next_in_turn() : local_.begin();
    const Packet p = *next;
    local_.erase(next);
    leave_box(p);
  }
  if (local_.empty()) shaper_credit_ = std::min(shaper_credit_, kBits);
  if (!setup_.stalled(now_)) provider_credit_ += capacity * dt;
  while (!provider_.empty() && provider_credit_ >= kBits) {
    provider_credit_ -= kBits;
    come_back(provider_.front(), 0);
    provider_.pop_front();
  }
  if (provider_.empty())
    provider_credit_ = std::min(provider_credit_, kBits);  // an idle link saves nothing up
  if (now_ + 1e-9 >= next_tick_) tick();
}

void PathSimulator::tick() {
  const double begin = next_tick_ - 0.1;
  next_tick_ += 0.1;
  SiteMeasurement m;
  m.at = at(now_);
  m.interval = std::chrono::milliseconds(100);
  m.one_in = one_in_;
  m.sent = m.sent_tcp = Bytes(tick_sent_ * kPacket);
  m.delivered_bytes = Bytes(tick_delivered_ * kPacket);
  for (const auto& [sent, rtt] : rtts_) base_ = std::min(base_, rtt);
  const double rtt_now = rtts_.empty() ? base_ : rtts_.back().second;
  for (auto it = cohorts_.begin(); it != cohorts_.end();) {
    const double start = static_cast<double>(it->first) / 10;
    const OpenCohort& c = it->second;
    const bool ended = start + 0.1 <= now_;
    const bool mature = ended && (c.resolved >= 0.95 * c.sent || now_ > start + 0.2 + 2 * rtt_now);
    if (!mature) break;
    m.mature.push_back({.begin = at(start),
                        .segments = c.resolved,
                        .lost_beyond = c.lost,
                        .lost_before = c.holes,
                        .sent = Bytes(c.sent * kPacket),
                        .slots = c.slots});
    it = cohorts_.erase(it);
  }
  if (rtts_.size() >= 3) {
    std::vector<double> q;
    double from = 1e18;
    double to = 0;
    for (const auto& [sent, rtt] : rtts_) {
      q.push_back(rtt - base_);
      from = std::min(from, sent);
      to = std::max(to, sent);
    }
    std::sort(q.begin(), q.end());
    const auto pick = [&](double share) {
      return from_seconds(q[static_cast<std::size_t>(share * static_cast<double>(q.size() - 1))]);
    };
    m.queue = QueueDelay{.q = pick(0.2),
                         .p10 = pick(0.1),
                         .p90 = pick(0.9),
                         .samples = static_cast<std::uint32_t>(q.size()),
                         .flows = static_cast<std::uint32_t>(setup_.flows),
                         .sent_from = at(from),
                         .sent_to = at(to)};
  }
  if (base_ < 1e8)
    m.rtt = RttSummary{
        .base = from_seconds(base_), .p50 = from_seconds(base_), .p95 = from_seconds(base_), .samples = 1};
  if (last_ack_ > 0) m.last_ack = at(last_ack_);
  if (unanswered_) m.unanswered_since = at(*unanswered_);
  const auto room = setup_.latency_room_s(now_);
  const ControlInput input{.measured = std::move(m),
                           .sent = Rate::of(Bytes(tick_sent_ * kPacket), std::chrono::milliseconds(100)),
                           .backlogged = local_.size() > 2,
                           .latency_room = room ? std::optional(from_seconds(*room)) : std::nullopt};
  inputs_.push_back(input);
  const RateDecision& d = controller_.step(input, at(now_));
  const double capacity = setup_.capacity_mbps(begin);
  trace_.push_back({.at = begin,
                    .shaped_mbps = d.rate.mbps(),
                    .capacity_mbps = capacity,
                    .queue_ms = static_cast<double>(provider_.size()) * kBits / (capacity * 1e6) * 1e3,
                    .sent_mbps = static_cast<double>(tick_sent_) * kBits / 0.1 / 1e6,
                    .sent = tick_sent_,
                    .lost = tick_lost_,
                    .state = d.state});
  shares_.close_tick();
  losses_.close_tick();
  tick_sent_ = tick_lost_ = tick_delivered_ = 0;
  rtts_.clear();
}

double PathSimulator::utilisation(double from, double to) const {
  double forwarded = 0;
  double possible = 0;
  for (const TraceTick& t : trace_) {
    if (t.at < from || t.at >= to) continue;
    forwarded += static_cast<double>(t.sent - t.lost) * kBits;
    possible += t.capacity_mbps * 1e6 * 0.1;
  }
  return possible > 0 ? forwarded / possible : 0;
}

double PathSimulator::loss(double from, double to) const {
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;
  for (const TraceTick& t : trace_) {
    if (t.at < from || t.at >= to) continue;
    sent += t.sent;
    lost += t.lost;
  }
  return sent > 0 ? static_cast<double>(lost) / static_cast<double>(sent) : 0;
}

double PathSimulator::queue_ms_percentile(double from, double to, double q) const {
  std::vector<double> all;
  for (const TraceTick& t : trace_) {
    if (t.at >= from && t.at < to) all.push_back(t.queue_ms);
  }
  if (all.empty()) return 0;
  std::sort(all.begin(), all.end());
  return all[static_cast<std::size_t>(q * static_cast<double>(all.size() - 1))];
}

std::optional<double> PathSimulator::settles(double from, double share, double hold) const {
  double since = -1;
  for (const TraceTick& t : trace_) {
    if (t.at < from) continue;
    const bool inside = std::abs(t.shaped_mbps - t.capacity_mbps) <= share * t.capacity_mbps;
    if (!inside) {
      since = -1;
    } else if (since < 0) {
      since = t.at;
    }
    if (since >= 0 && t.at - since >= hold) return since - from;
  }
  return std::nullopt;
}

int PathSimulator::rate_cuts(double from, double to) const {
  int cuts = 0;
  for (std::size_t i = 1; i < trace_.size(); ++i) {
    if (trace_[i].at >= from && trace_[i].at < to &&
        trace_[i].shaped_mbps < trace_[i - 1].shaped_mbps * 0.995)
      ++cuts;
  }
  return cuts;
}

}  // namespace weir::test
