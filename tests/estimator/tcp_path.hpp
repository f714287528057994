/// Many TCP-like senders over one limited path, packet by packet, as the SiteMeasurements that a perfect
/// estimator would make of them: known truth for what is read off losses and queues.
///
/// Windows grow by one segment an ACK up to ssthresh, then by one a round trip, and fall to 0.7 of themselves
/// once a round trip with loss (RFC 5681, CUBIC's factor); from windows under four segments only a timer
/// recovers. A lost segment is known to be lost a round trip after it was sent. Not real TCP: the labs and
/// the captures have that.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <queue>
#include <random>
#include <vector>

#include "estimator/measurement.hpp"

namespace weir::test {

struct TcpPathSetup {
  double rate_mbps = 0.0;       ///< of policer or buffer; 0: no limit
  double bucket_bytes = 0.0;    ///< policer
  double buffer_bytes = 0.0;    ///< buffer; 0: a policer
  double loss = 0.0;            ///< at random
  double loss_burst = 1.0;      ///< segments in a row, on average (Gilbert's model)
  double outage_s = 0.0;        ///< so long everything is lost, each
  double outage_every_s = 5.0;  ///< ... so often, at regular times or
  bool regular = true;          ///< at times between half and one and a half of that
  double rtt_s = 0.05;
  double jitter_s = 0.0;  ///< of each round trip
  int flows = 1;
  double flow_mbps = 0.0;       ///< what each has to send, evenly; 0: as much as goes
  double transfer_bytes = 0.0;  ///< each flow pauses after so much; 0: never
  double pause_s = 1.0;
  double line_mbps = 1000.0;  ///< of the senders' port
  double seconds = 60.0;
  std::uint32_t seed = 1;
};

class TcpPath {
 public:
  explicit TcpPath(const TcpPathSetup& setup) : setup_(setup), random_(setup.seed) {
    tokens_ = setup_.bucket_bytes;
    flows_.resize(static_cast<std::size_t>(setup_.flows));
    for (std::size_t i = 0; i < flows_.size(); ++i) events_.push({setup_.rtt_s * uniform(), i, true, false});
  }

  /// The whole run, one measurement each 100 ms.
  [[nodiscard]] std::vector<SiteMeasurement> run() {
    const auto cohorts = static_cast<std::size_t>(setup_.seconds * 10.0);
    ticks_.resize(cohorts);
    for (std::size_t i = 0; i < cohorts; ++i) {
      ticks_[i].cohort.begin = instant(static_cast<double>(i) * 0.1);
      ticks_[i].cohort.slots.resize(kSlotsPerCohort);
    }
    while (!events_.empty() && events_.top().at < setup_.seconds) {
      const Event e = events_.top();
      events_.pop();
      e.wake ? wake(e) : answer(e);
    }
    std::vector<SiteMeasurement> measurements;
    for (Tick& t : ticks_) measurements.push_back(measurement(t));
    return measurements;
  }

 private:
  static constexpr double kSegment = 1514.0;
  static constexpr double kTimeout = 0.2;

  struct Event {
    double at = 0.0;
    std::size_t flow = 0;
    bool wake = false;  ///< may send again; else the answer to a segment
    bool lost = false;
    double sent = 0.0;
    double queued = 0.0;
    bool operator<(const Event& other) const { return at > other.at; }
  };
  struct Flow {
    double window = 10.0;
    double ssthresh = 1e9;
    double in_flight = 0.0;
    double reduced = -1.0;  ///< losses of what was sent before are of the same event
    double due = 0.0;       ///< a paced flow's next segment
    double left = 0.0;      ///< of the transfer
    bool waiting = false;   ///< a wake is in the queue
  };
  struct Tick {
    Cohort cohort;
    double delivered = 0.0;
    std::vector<double> queues;
  };

  static TimePoint instant(double s) { return TimePoint(std::chrono::microseconds(std::llround(s * 1e6))); }
  double uniform() { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); }

  void wake(const Event& e) {
    Flow& flow = flows_[e.flow];
    flow.waiting = false;
    if (setup_.transfer_bytes > 0.0 && flow.left <= 0.0) {
      flow.left = setup_.transfer_bytes;
      flow.window = 10.0;
    }
    send(flow, e.flow, e.at);
  }

  void send(Flow& flow, std::size_t number, double now) {
    const double pace = setup_.flow_mbps > 0.0 ? kSegment * 8e-6 / setup_.flow_mbps : 0.0;
    while (flow.in_flight < std::floor(flow.window)) {
      if (setup_.transfer_bytes > 0.0 && flow.left <= 0.0) return;
      if (flow.due > now) {
        if (!flow.waiting) events_.push({flow.due, number, true, false});
        flow.waiting = true;
        return;
      }
      // A paced sender catches up at most what 16 segments make up for.
      if (pace > 0.0) flow.due = std::max(flow.due, now - 16.0 * pace) + pace;
      flow.left -= kSegment;
      flow.in_flight += 1.0;
      port_free_ = std::max(port_free_, now) + kSegment * 8e-6 / setup_.line_mbps;
      transmit(number, port_free_);
    }
  }

  void transmit(std::size_t number, double at) {
    const auto index = static_cast<std::size_t>(at * 10.0);
    if (index >= ticks_.size()) return;
    Slot& slot = ticks_[index].cohort.slots[std::min<std::size_t>(
        kSlotsPerCohort - 1, static_cast<std::size_t>((at * 10.0 - static_cast<double>(index)) * 50.0))];
    slot.bytes += static_cast<std::uint32_t>(kSegment);
    ++slot.sent;
    double queued = 0.0;
    const bool lost = !limit_passes(at, queued) || is_lost_at_random(at);
    ++(lost ? slot.lost : slot.delivered);
    ++ticks_[index].cohort.segments;
    if (lost) ++ticks_[index].cohort.lost_beyond;
    events_.push({at + setup_.rtt_s + queued + setup_.jitter_s * uniform(), number, false, lost, at, queued});
  }

  bool limit_passes(double at, double& queued) {
    if (setup_.rate_mbps <= 0.0) return true;
    const double rate = setup_.rate_mbps * 1e6 / 8.0;
    if (setup_.buffer_bytes > 0.0) {
      queued = std::max(0.0, served_until_ - at);
      if (queued * rate + kSegment > setup_.buffer_bytes) return false;
      served_until_ = at + queued + kSegment / rate;
      return true;
    }
    tokens_ = std::min(setup_.bucket_bytes, tokens_ + rate * (at - filled_));
    filled_ = at;
    if (tokens_ < kSegment) return false;
    tokens_ -= kSegment;
    return true;
  }

  bool is_lost_at_random(double at) {
    if (setup_.outage_s > 0.0) {
      if (at >= next_outage_ + setup_.outage_s) {
        next_outage_ += setup_.outage_every_s * (setup_.regular ? 1.0 : 0.5 + uniform());
      }
      if (at >= next_outage_) return true;
    }
    if (setup_.loss <= 0.0) return false;
    const double leave = 1.0 / setup_.loss_burst;
    const double enter = leave * setup_.loss / (1.0 - setup_.loss);
    bad_ = bad_ ? uniform() >= leave : uniform() < enter;
    return bad_;
  }

  void answer(const Event& e) {
    Flow& flow = flows_[e.flow];
    flow.in_flight -= 1.0;
    if (e.lost) {
      if (e.sent > flow.reduced) {
        // Too few segments for duplicate ACKs: the sender waits for its timer.
        if (flow.window < 4.0) flow.due = e.at + kTimeout;
        flow.ssthresh = std::max(2.0, flow.window * 0.7);
        flow.window = flow.window < 4.0 ? 1.0 : flow.ssthresh;
        flow.reduced = e.at;
      }
      flow.left += kSegment;
    } else {
      flow.window += flow.window < flow.ssthresh ? 1.0 : 1.0 / flow.window;
      const auto index = static_cast<std::size_t>(e.at * 10.0);
      ticks_[index].delivered += kSegment;
      ticks_[index].queues.push_back(e.queued);
    }
    if (setup_.transfer_bytes > 0.0 && flow.left <= 0.0) {
      if (flow.in_flight <= 0.0) events_.push({e.at + setup_.pause_s * uniform() * 2.0, e.flow, true, false});
      return;
    }
    send(flow, e.flow, e.at);
  }

  [[nodiscard]] SiteMeasurement measurement(Tick& t) const {
    SiteMeasurement m;
    m.at = t.cohort.begin + kCohortLength;
    m.interval = kCohortLength;
    m.delivered_bytes = Bytes(static_cast<std::uint64_t>(t.delivered));
    const auto rtt = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(setup_.rtt_s));
    m.rtt = RttSummary{.base = rtt, .p50 = rtt, .p95 = rtt, .samples = 100};
    if (!t.queues.empty()) {
      const auto at = t.queues.begin() + static_cast<std::ptrdiff_t>(t.queues.size() / 5);
      std::nth_element(t.queues.begin(), at, t.queues.end());
      m.queue.emplace().q = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*at));
    }
    if (t.cohort.segments > 0) m.mature.push_back(t.cohort);
    return m;
  }

  TcpPathSetup setup_;
  std::mt19937 random_;
  std::priority_queue<Event> events_;
  std::vector<Flow> flows_;
  std::vector<Tick> ticks_;
  double port_free_ = 0.0;
  double served_until_ = 0.0;
  double tokens_ = 0.0;
  double filled_ = 0.0;
  double next_outage_ = 1.0;
  bool bad_ = false;
};

}  // namespace weir::test
