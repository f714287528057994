/// A small packet-level model of: senders -> our shaper -> the provider -> receivers -> ACKs, for the
/// controller's unit tests. It closes the loop with a real SiteController and knows the truth. Not real TCP:
/// the labs have that.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "estimator/controller.hpp"
#include "estimator/corroboration.hpp"

namespace weir::test {

/// Of most controllers under test.
inline constexpr ControlLimits kUsualLimits{
    .floor = Rate::mbps(10), .ceiling = Rate::mbps(500), .adapt = true};

[[nodiscard]] inline TimePoint at(double s) {
  return TimePoint(from_seconds(s));
}

enum class Provider { policer, buffer };

struct PathSetup {
  Provider provider = Provider::buffer;
  std::function<double(double)> capacity_mbps = [](double) { return 45.0; };  ///< of time in seconds
  double bucket_s = 0.010;  ///< policer: bucket in seconds of capacity
  double buffer_s = 0.100;  ///< buffer: depth in seconds of capacity
  double rtt_s = 0.030;
  int flows = 8;
  double random_loss = 0.0;  ///< beyond the box, whatever the rate
  int loss_burst = 1;        ///< random losses come so many in a row
  double local_loss = 0.0;   ///< before the tap: shows as holes
  /// Each flow is to a remote host of its own; that of the first tells so much loss that never was, of time,
  /// and its sender does not care.
  std::function<double(double)> forged_loss = [](double) { return 0.0; };
  bool corroborate = false;  ///< as the estimator does it for the daemon
  bool fair_leaves = false;  ///< our own queue serves the flows in turn, as fq_codel does
  double demand_mbps = 1e9;  ///< what the senders offer at most
  std::function<double(double)> extra_delay_s = [](double) { return 0.0; };  ///< added to the path, of time
  std::function<double(double)> foreign_queue_s = [](double) {
    return 0.0;
  };                                                                   ///< somebody else's queue ahead of us
  std::function<bool(double)> stalled = [](double) { return false; };  ///< nothing gets on
  std::function<bool(double)> silent = [](double) { return false; };   ///< an outage: nothing comes back
  /// What latency goals leave to the provider's queue, of time.
  std::function<std::optional<double>(double)> latency_room_s = [](double) { return std::nullopt; };
  std::uint32_t seed = 1;
};

struct TraceTick {
  double at;
  double shaped_mbps;
  double capacity_mbps;
  double queue_ms;
  double sent_mbps;
  std::uint64_t sent, lost;  ///< packets beyond the box, in this tick
  ControlState state;
};

class PathSimulator {
 public:
  PathSimulator(PathSetup setup, ControlLimits limits, double start_mbps);
  void run_for(double seconds);
  /// The daemon is started again while the traffic goes on: another controller. (Its estimator is the old
  /// one.)
  void restart(const ControlStart& start) { controller_ = SiteController(limits_, start, at(now_)); }
  [[nodiscard]] SiteMemory memory() const { return controller_.memory(at(now_)); }
  void set_limits(ControlLimits limits) {
    limits_ = limits;
    controller_.set_limits(limits, at(now_));
  }
  /// What the measurements say from now on of how much the capture follows; the model follows all.
  void follow_one_in(std::uint32_t n) { one_in_ = n; }
  /// What the senders offer at most from now on.
  void set_demand(double mbps) {
    setup_.demand_mbps = mbps;
    demand_credit_ = 0;
  }

  [[nodiscard]] const std::vector<TraceTick>& trace() const { return trace_; }
  [[nodiscard]] const RateDecision& decision() const { return controller_.decision(); }
  [[nodiscard]] const std::vector<ControlInput>& inputs() const { return inputs_; }

  /// Over ticks in [from, to): bytes forwarded / capacity.
  [[nodiscard]] double utilisation(double from, double to) const;
  [[nodiscard]] double loss(double from, double to) const;
  [[nodiscard]] double queue_ms_percentile(double from, double to, double q) const;
  /// First time from which the shaped rate stays within `share` of the capacity for `hold` seconds.
  [[nodiscard]] std::optional<double> settles(double from, double share, double hold) const;
  [[nodiscard]] int rate_cuts(double from, double to) const;

 private:
  struct Packet {
    int flow;
    double sent = 0;    ///< left the shaper
    double queued = 0;  ///< entered our queue
    bool lost = false;
  };
  struct Flow {
    double cwnd = 10, ssthresh = 1e9, w_max = 0, epoch = -1, k = 0;
    int inflight = 0;
    double last_cut = -1, paused_until = 0, backoff = 0.2;
  };
  struct OpenCohort {
    std::uint32_t sent = 0, resolved = 0, lost = 0, holes = 0;
    std::vector<Slot> slots = std::vector<Slot>(kSlotsPerCohort);
  };
  void step(double dt);
  void offer();
  /// Of our own queue: the oldest packet of the flow whose turn it is.
  [[nodiscard]] std::deque<Packet>::iterator next_in_turn();
  void leave_box(Packet p);
  void police();
  void come_back(const Packet& p, double waited);
  void acknowledge(const Packet& p);
  /// Whether a packet is in its cohort as one that was lost; nullopt: it is in none.
  [[nodiscard]] std::optional<bool> told_lost(const Packet& p);
  [[nodiscard]] static std::int64_t cohort_of(double t);
  [[nodiscard]] static std::size_t slot_of(double t);
  void tick();

  PathSetup setup_;
  ControlLimits limits_;
  SiteController controller_;
  std::mt19937 random_;
  double now_ = 0, next_tick_ = 0.1;
  double shaper_credit_ = 0, provider_credit_ = 0, tokens_ = 0;
  int burst_left_ = 0;
  std::vector<Flow> flows_;
  std::size_t turn_ = 0;
  std::deque<Packet> local_, provider_, held_back_;
  std::multimap<double, Packet> returning_;
  std::map<std::int64_t, OpenCohort> cohorts_;
  double demand_credit_ = 0;
  std::uint32_t one_in_ = 1;
  RemoteShares shares_;
  Corroboration losses_{std::chrono::milliseconds(10)};
  std::mt19937 sampling_, forging_;
  double next_sample_ = 0;
  int last_served_ = 0;

  // of the current tick
  std::uint64_t tick_sent_ = 0, tick_lost_ = 0, tick_delivered_ = 0;
  std::vector<std::pair<double, double>> rtts_;  ///< send time, RTT
  double base_ = 1e9;
  double last_ack_ = 0;
  std::optional<double> unanswered_;
  std::vector<TraceTick> trace_;
  std::vector<ControlInput> inputs_;
};

}  // namespace weir::test
