#include "estimator/group_measurement.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>

#include "estimator/cohort_sum.hpp"
#include "estimator/way_out.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLongestWait = 4s;
/// What an estimator may take beyond two RTT to call a cohort mature, and a tick.
constexpr Duration kMargin = 300ms;

/// Oldest of the first, newest of the second: a path is silent when all its members are.
template <class T, class Less>
void take(std::optional<T>& into, const std::optional<T>& one, Less less) {
  if (one && (!into || less(*one, *into))) into = one;
}

QueueDelay lower_median(std::vector<QueueDelay> queues) {
  const auto middle = queues.begin() + static_cast<std::ptrdiff_t>((queues.size() - 1) / 2);
  std::ranges::nth_element(queues, middle, {}, &QueueDelay::q);
  QueueDelay q = *middle;
  q.samples = 0;
  q.flows = 0;
  for (const QueueDelay& one : queues) {
    q.samples += one.samples;
    q.flows += one.flows;
  }
  return q;
}

}  // namespace

ControlInput GroupMeasurement::add(std::span<const ControlInput* const> members, TimePoint now) {
  members_.resize(members.size());
  ControlInput sum;
  SiteMeasurement& m = sum.measured;
  m.at = members.front()->measured.at;
  m.interval = members.front()->measured.interval;
  std::vector<QueueDelay> queues;
  Bytes delivered_bytes;
  Rate delivered;
  Duration delivered_over{};
  bool some_delivered = false;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const ControlInput& in = *members[i];
    const SiteMeasurement& one = in.measured;
    sum.sent = sum.sent + in.sent;
    sum.backlogged = sum.backlogged || in.backlogged;
    if (in.latency_room)
      sum.latency_room = std::min(sum.latency_room.value_or(*in.latency_room), *in.latency_room);
    m.valid = m.valid && one.valid;
    m.sent += one.sent;
    m.sent_tcp += one.sent_tcp;
    if (one.sent_tcp.count() > 0) members_[i].sent_last = now;
    m.one_in = std::max(m.one_in, one.one_in);
    // Of what nothing is known all that was sent counts: it is little (QUIC or ESP alone, or the first RTT).
    some_delivered = some_delivered || one.delivered_bytes.has_value();
    delivered_bytes += one.delivered_bytes.value_or(one.sent);
    delivered = delivered + (one.delivered ? one.delivered->rate : in.sent);
    if (one.delivered) delivered_over = std::max(delivered_over, one.delivered->over);
    if (const auto queue = queue_on_the_way_out(one)) queues.push_back(*queue);
    if (one.rtt && (!m.rtt || one.rtt->base > m.rtt->base)) m.rtt = one.rtt;
    m.young.insert(m.young.end(), one.young.begin(), one.young.end());
    m.ece_echoes += one.ece_echoes;
    m.flows += one.flows;
    take(m.last_ack, one.last_ack, std::greater<>());
    take(m.unanswered_since, one.unanswered_since, std::less<>());
  }
  if (some_delivered) {
    m.delivered_bytes = delivered_bytes;
    if (delivered_over > Duration::zero()) m.delivered = Delivery{.rate = delivered, .over = delivered_over};
  }
  if (!queues.empty()) m.queue = lower_median(std::move(queues));
  collect(members, now, m.mature);
  tell_young(waiting_, m.young);
  return sum;
}

void GroupMeasurement::collect(std::span<const ControlInput* const> members, TimePoint now,
                               std::vector<Cohort>& into) {
  Duration rtt{};
  for (std::size_t i = 0; i < members.size(); ++i) {
    const SiteMeasurement& one = members[i]->measured;
    if (one.rtt) rtt = std::max(rtt, one.rtt->p95);
    for (const Cohort& c : one.mature) {
      members_[i].told_until = c.begin;
      if (handed_on_ && c.begin <= *handed_on_) continue;
      const auto [found, is_new] = waiting_.try_emplace(c.begin, c);
      if (is_new) continue;
      const bool alike = c.slots.size() == found->second.slots.size();
      add_cohort(c, found->second);
      if (!alike) found->second.slots.clear();
    }
  }
  const Duration wait = std::min<Duration>(2 * rtt + kMargin, kLongestWait);
  while (!waiting_.empty()) {
    auto oldest = waiting_.begin();
    const TimePoint begin = oldest->first;
    const bool expected = std::ranges::any_of(members_, [&](const Member& member) {
      return member.sent_last && *member.sent_last >= begin &&
             (!member.told_until || *member.told_until < begin);
    });
    if (expected && now < begin + kCohortLength + wait) return;
    handed_on_ = begin;
    into.push_back(std::move(oldest->second));
    waiting_.erase(oldest);
  }
}

}  // namespace weir
