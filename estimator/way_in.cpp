#include "estimator/way_in.hpp"

#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Until our leaf has filled and its CoDel has dropped: the interval (RFC 8289, 4.3), and half of it.
constexpr Duration kLeafAnswers = 150ms;

}  // namespace

void WayIn::echoed(const Echo& echo) {
  meter_.rtt_sampled({.sent = echo.left - kLeafAnswers,
                      .taken = echo.back,
                      .rtt = echo.base + echo.waited,
                      .base = echo.base,
                      .weight = echo.weight,
                      .flow = echo.flow});
}

Duration WayIn::answer_time() const {
  return kLeafAnswers + (meter_.rtt() ? meter_.rtt()->base : Duration::zero());
}

SiteMeasurement WayIn::close_tick(const SiteMeasurement& inbound, const SiteMeasurement& outbound) {
  SiteMeasurement m;
  m.at = inbound.at;
  m.interval = inbound.interval;
  m.valid = inbound.valid;
  m.sent = inbound.sent;
  m.sent_tcp = inbound.sent_tcp;
  m.one_in = inbound.one_in;
  m.flows = inbound.flows;
  m.last_ack = outbound.last_ack;
  m.unanswered_since = outbound.unanswered_since;
  m.ece_echoes = std::exchange(marks_, 0);

  // What arrived was delivered, at the moment at which it was seen.
  PathTick tick;
  tick.begin = m.at - m.interval;
  tick.end = m.at;
  tick.sent.add(FrameKind::followed_tcp, m.sent_tcp);
  tick.sent.add(FrameKind::no_tcp, m.sent - m.sent_tcp);
  tick.delivered = m.sent_tcp;
  tick.data = m.sent_tcp > Bytes();
  if (tick.data) tick.first_delivery = tick.begin;
  meter_.follow_one_in(m.one_in);
  meter_.close_tick(tick, 0, m);
  if (m.delivered_bytes) m.delivered_bytes = m.sent;
  if (m.queue) m.queue->p10 = m.queue->p90 = Duration::zero();

  const Duration answers = answer_time();
  m.mature = inbound.mature;
  for (Cohort& cohort : m.mature) {
    cohort.begin -= answers;
    cohort.lost_before = 0;
    for (Slot& slot : cohort.slots) slot.delivered = slot.sent;
  }
  m.young = inbound.young;
  for (YoungCohort& cohort : m.young) cohort.begin -= answers;
  return m;
}

}  // namespace weir
