#include "estimator/path_window.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Cohorts kept at most: the longest wait for a fate, with room for ticks that come late.
constexpr std::size_t kMostOpenCohorts = 128;
constexpr Duration kLongestWait = 10s;
constexpr Duration kMaturityMargin = 100ms;
constexpr double kResolvedShare = 0.95;
/// Of the median RTT: whoever answers later than that is waited for no longer, where one remote alone is not
/// to be believed. Half of the samples would have to be its own.
constexpr int kLateTimes = 4;
/// A receiver that got both tells so (D-SACK) when the retransmission arrives: reordering looks like loss
/// until then. At least this long, for what held the original up may hold up the retransmission as well.
constexpr Duration kLeastTimeToUndo = 10ms;

}  // namespace

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

void PathWindow::unmarked_data_echoed(TimePoint at, RemoteKey by) {
  if (witnesses_ && !witnesses_->marks.hears(by, at, witnesses_->shares)) return;
  ++ece_echoes_;
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

void PathWindow::turn_to(TimePoint at) {
  book();
  now_place_ = make(at);
  // Most packets ask for nothing but whether they are in this place: so the sample is the first that is not.
  if (witnesses_ && witnesses_->sample_at > at)
    now_place_.end = std::min(now_place_.end, witnesses_->sample_at);
}

void PathWindow::sample(TimePoint at, Bytes charged, RemoteKey remote) {
  Witnesses& w = *witnesses_;
  w.shares.sampled(remote, charged);
  w.random = w.random * 6364136223846793005ULL + 1442695040888963407ULL;
  w.sample_at = at + Duration(static_cast<std::int64_t>(w.random >> 42U));  // up to 4 ms: 500 a second
}

void PathWindow::book() {
  const Unbooked all = std::exchange(unbooked_, {});
  const Bytes bytes = all.charged + all.without_data;
  tick_.sent.add(FrameKind::followed_tcp, bytes);
  if (all.segments > 0) tick_.data = true;
  in_flight_ += all.segments;
  const Place& p = now_place_;
  if (p.cohort == nullptr) return;
  add(p.slot->bytes, bytes.count());
  p.cohort->charged += all.charged;
  p.book_sent(all.segments, all.rtt);
}

/// Than of those that are booked.
void PathWindow::more_fates_told(std::uint32_t segments) {
  book();
  in_flight_ -= std::min<std::uint64_t>(in_flight_, segments);
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

bool PathWindow::segments_lost_after_tap(TimePoint sent, std::uint32_t segments, TimePoint told,
                                         RemoteKey by) {
  if (witnesses_ && !witnesses_->losses.hears(by, sent, witnesses_->shares)) {
    witnesses_->set_aside += segments;
    segments_forgotten(sent, segments);
    return false;
  }
  fates_told(segments);
  if (const Place& p = open(sent); p.cohort) {
    p.cohort->lost_after += segments;
    p.cohort->lost_at = told;
    if (direction_ == Direction::outbound) add(p.slot->lost, segments);
  }
  return true;
}

void PathWindow::loss_told_again(TimePoint sent, TimePoint told) {
  if (const Place& p = open(sent); p.cohort) p.cohort->lost_at = told;
}

void PathWindow::loss_undone(TimePoint sent, std::uint32_t segments) {
  if (const Place& p = open(sent); p.cohort) {
    const std::uint32_t undone = std::min(p.cohort->lost_after, segments);
    p.cohort->lost_after -= undone;
    p.cohort->delivered += undone;
    if (direction_ == Direction::outbound) take_off(p.slot->lost, undone);
    add(p.slot->delivered, undone);
  }
}

void PathWindow::segments_forgotten(TimePoint sent, std::uint32_t segments) {
  fates_told(segments);
  book();
  if (const Place& p = open(sent); p.cohort) {
    take_off(p.cohort->sent, segments);
    take_off(p.slot->sent, segments);
  }
}

bool PathWindow::segments_doubtful(TimePoint sent, std::uint32_t segments, RemoteKey by) {
  if (witnesses_ && !witnesses_->losses.believes(by, witnesses_->shares)) return false;
  if (const Place& p = open(sent); p.cohort) {
    p.cohort->doubtful += segments;
    if (direction_ == Direction::outbound) add(p.slot->lost, segments);
  }
  return true;
}

void PathWindow::segments_undoubted(TimePoint sent, std::uint32_t segments) {
  if (const Place& p = open(sent); p.cohort) {
    take_off(p.cohort->doubtful, segments);
    if (direction_ == Direction::outbound) take_off(p.slot->lost, segments);
  }
}

void PathWindow::hole_opened(TimePoint at) {
  if (const Place& p = reach(at); p.cohort) p.cohort->holes_open += 1;
}

void PathWindow::hole_closed(TimePoint opened) {
  if (const Place& p = open(opened); p.cohort) take_off(p.cohort->holes_open, 1);
}

void PathWindow::hole_filled_late(TimePoint opened, std::uint32_t segments) {
  if (const Place& p = open(opened); p.cohort) {
    p.cohort->lost_before_tap += segments;
    if (direction_ == Direction::inbound) add(p.slot->lost, segments);
  }
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
  const auto& usual = meter_.rtt();
  const Duration most =
      witnesses_ && usual ? std::max(kUnknownRtt, kLateTimes * usual->p50) : Duration::max();
  const Duration own = std::min(cohort.rtt, most);
  const Duration rtt = usual ? std::max(own, std::min(usual->p95, most)) : own;
  const Duration whole = cohort.holes_open > 0 ? std::max(rtt, holes_filled_within_) : rtt;
  if (now >= end + std::min(2 * whole + kMaturityMargin, kLongestWait)) return true;
  if (cohort.doubtful > 0 || cohort.holes_open > 0) return false;
  if (cohort.lost_after > 0 && now < cohort.lost_at + std::max(rtt, kLeastTimeToUndo)) return false;
  const std::uint32_t resolved = cohort.delivered + cohort.lost_after;
  if (resolved >= cohort.sent) return true;
  return now >= end + own && resolved >= kResolvedShare * cohort.sent;
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
/// `whole`: with the bytes of those in which no segment met a fate; they are part of what others sent.
void PathWindow::collect_mature(TimePoint now, bool whole, std::vector<Cohort>& into) {
  while (open_cohorts_ > 0) {
    const OpenCohort& oldest = cohort(first_cohort_);
    const bool crowded_out = open_cohorts_ > kMostOpenCohorts;
    if (!crowded_out && !is_mature(oldest, first_cohort_, now)) break;
    if (!oldest.voided && (whole || !oldest.untouched())) {
      Cohort finished = finish(oldest, first_cohort_);
      if (whole || finished.segments > 0 || finished.lost_before > 0) into.push_back(std::move(finished));
    }
    forget_places();
    --open_cohorts_;
    ++first_cohort_;
  }
}

void PathWindow::tell_young(std::vector<YoungCohort>& into) {
  bool any = false;
  for (CohortId id = first_cohort_; id != first_cohort_ + open_cohorts_; ++id) {
    const OpenCohort& c = cohort(id);
    const std::uint32_t lost = direction_ == Direction::outbound ? c.lost_after : c.lost_before_tap;
    if (c.voided || c.sent == 0) continue;
    into.push_back({.begin = begin_of(id), .segments = c.sent, .lost_beyond = lost});
    any = any || lost > 0;
  }
  if (!any) into.clear();
}

/// A lost frame may have been data (a hole that is none), a retransmission (a loss unseen) or an ACK: nothing
/// that was in flight at the time can be believed.
void PathWindow::void_open_cohorts(TimePoint now) {
  reach(now);
  for (std::uint32_t i = 0; i < open_cohorts_; ++i) cohort(first_cohort_ + i).voided = true;
}

void PathWindow::follow_one_in(std::uint32_t n) {
  if (n == one_in_) return;
  one_in_ = n;
  meter_.follow_one_in(n);
  unanswered_since_ = kNever;
}

SiteMeasurement PathWindow::close_tick(TimePoint now, bool capture_lost, PathPart* part) {
  book();
  SiteMeasurement m;
  m.at = now;
  m.interval = ticked_ ? now - tick_began_ : std::max(now - epoch_, Duration::zero());
  m.valid = !capture_lost;
  m.sent = tick_.sent.all();
  m.sent_tcp = tick_.sent.tcp();
  m.one_in = one_in_;

  tick_.end = now;
  if (part != nullptr) {
    const auto fresh = meter_.fresh_samples();
    part->samples.assign(fresh.begin(), fresh.end());
    part->watched = true;
    part->tick = tick_;
    part->in_flight = in_flight_;
  }
  meter_.close_tick(tick_, in_flight_, m);

  if (capture_lost) void_open_cohorts(now);
  collect_mature(now, part != nullptr, m.mature);
  tell_young(m.young);
  if (part != nullptr && open_cohorts_ > 0) part->open_since = begin_of(first_cohort_);

  m.queue_by_way = queue_ways_.close_tick(now);
  m.ece_echoes = ece_echoes_;
  const std::int64_t period = flow_period(now);
  const std::uint32_t this_period = period == flows_period_ ? flows_this_period_ : 0;
  const std::uint32_t last_period = period == flows_period_       ? flows_last_period_
                                    : period == flows_period_ + 1 ? flows_this_period_
                                                                  : 0;
  m.flows = std::max(this_period, last_period);
  if (part != nullptr) part->flows = {this_period, last_period};
  m.last_ack = unless_never(last_ack_);
  m.unanswered_since = unless_never(unanswered_since_);

  if (witnesses_) witnesses_->close_tick();
  ece_echoes_ = 0;
  tick_ = PathTick{};
  tick_.begin = now;
  tick_began_ = now;
  ticked_ = true;
  return m;
}

}  // namespace weir
