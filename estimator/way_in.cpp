#include "estimator/way_in.hpp"

#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Until our leaf has filled and its CoDel has dropped: the interval (RFC 8289, 4.3), and half of it.
constexpr Duration kLeafAnswers = 150ms;

}  // namespace

void WayIn::echoed(const Echo& echo) {
  meter_.rtt_sampled({.sent = echo.back - echo.waited - answers_,
                      .taken = echo.back,
                      .rtt = echo.base + echo.waited,
                      .base = echo.base,
                      .weight = echo.weight,
                      .flow = echo.flow});
}

/// Sites and ticks keep one grid of cohorts; a base that wavers does not move what was told.
void WayIn::learn_answer_time() {
  const Duration wanted = kLeafAnswers + (meter_.rtt() ? meter_.rtt()->base : Duration::zero());
  if (wanted <= answers_ && wanted > answers_ - 2 * kCohortLength) return;
  answers_ = (wanted + kCohortLength - Duration(1)) / kCohortLength * kCohortLength;
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

  learn_answer_time();
  m.mature = inbound.mature;
  for (Cohort& cohort : m.mature) {
    cohort.begin -= answers_;
    cohort.lost_before = 0;
    for (Slot& slot : cohort.slots) slot.delivered = slot.sent;
  }
  m.young = inbound.young;
  for (YoungCohort& cohort : m.young) cohort.begin -= answers_;
  return m;
}

}  // namespace weir
