/// The inside of a SiteController: its states and what it remembers. Internal to the controller's own files:
/// controller.cpp (what one tick teaches, HOLD, OUTAGE), controller_loss.cpp (the loss evidence, VERIFY),
/// controller_queue.cpp (the delay evidence, DRAIN), controller_probe.cpp (PROBE), controller_memory.cpp
/// (what outlives it), controller_state.cpp (all of it as text).
#pragma once

#include <string_view>
#include <variant>

#include "estimator/control_constants.hpp"
#include "estimator/control_window.hpp"
#include "estimator/controller.hpp"
#include "estimator/known_capacity.hpp"
#include "estimator/loss_test.hpp"

namespace weir {
namespace control {

/// The rate stands; the loss test and the delay test listen; with demand a probe starts at `next_probe`.
struct Hold {
  TimePoint next_probe;
};
/// The rate is under the capacity until the provider's queue is predicted to be empty.
struct Drain {
  Capacity capacity;
  bool known = false;  ///< from before; false: measured while the queue stood
  Duration queue_before{};
  TimePoint since{};  ///< its first rate
  TimePoint empty_at{};
  Rate before;                 ///< to go back to if the queue does not answer
  double least = kDrainLeast;  ///< share of C to go down to at the most
  int ineffective = 0;         ///< drains in a row that did less than half of what they should
  Duration probe_wait{};       ///< from the end of the drain to the next probe
  double fall = 0.0;           ///< share of itself that the capacity loses in a second, as was seen last
  /// The first of the queue that was sent at this rate: from there on it has to fall.
  std::optional<Duration> first_queue{};
  TimePoint first_sent{};
  int unmoved = 0;   ///< rates at which the queue did not fall while all that was sent came through
  Duration pause{};  ///< how long the same queue was not yielded to before; 0: it was not
  [[nodiscard]] bool is_trial() const { return pause > Duration::zero(); }
};
/// The provider's queue is somebody else's: no rate of ours would empty it, so our flows take their share of
/// it as they would without a shaper. Neither it nor the loss in it is evidence.
struct Contend {
  TimePoint until;      ///< then it is tried again
  int empty_ticks = 0;  ///< in a row without a queue
  Duration least{};     ///< of the queue since `steady_since`
  Duration most{};
  TimePoint steady_since{};
};
/// The rate was cut for loss: did the loss answer?
struct Verify {
  Rate before;
  double loss_before = 0.0;
  int cuts = 0;
  Duration probe_wait{};  ///< from its end to the next probe
};
/// The rate is raised a step; clean rounds follow one another at once.
struct Probe {
  Rate run_start;
  Rate clean;            ///< rate of the last round without evidence
  std::size_t step = 0;  ///< of kProbeSteps, the next one
  TimePoint since;       ///< of the run
};
/// A probe met loss: back at a clean rate, waiting for the rest of what it sent, which measures the capacity.
struct Settle {
  Rate run_start;
  Rate clean;       ///< rate of the last round without evidence
  Rate tried;       ///< rate of the lossy round
  TimePoint since;  ///< of the run
  TimePoint from;   ///< send times of the lossy round
  TimePoint until;
};
/// No ACK from any remote: nothing is evidence until one comes.
struct Outage {
  TimePoint since;
};
using State = std::variant<Hold, Drain, Verify, Probe, Settle, Outage, Contend>;

/// Everything but the public face: its members are one site's memory, its functions what may become of them.
struct Controller {
  Controller(ControlLimits l, const ControlStart& start, TimePoint now);

  // ---- what one tick teaches, whatever the state ----

  void step(const ControlInput& input, TimePoint now);
  void judge_silence(const SiteMeasurement& m, TimePoint now);
  void in_hold(Hold& s, const SiteMeasurement& m, TimePoint now);
  void in_outage(Outage& s, const SiteMeasurement& m, TimePoint now);
  void follow(const GroupShare& share, TimePoint now);
  void hold(TimePoint next_probe);
  void start_afresh(TimePoint from);
  /// Sets the rate within the limits, says why, and starts the evidence afresh.
  void change_rate(Rate target, std::string_view why, TimePoint now);
  void learn_capacity(const Capacity& c, PathMode how);
  /// +-40 %, so that the boxes of a path do not probe in step. A fixed linear congruence: replay gives the
  /// same waits.
  Duration jittered(Duration d);
  void show(TimePoint now);

  // ---- from one run to the next ----

  void remember(const SiteMemory& before, TimePoint now);
  [[nodiscard]] SiteMemory memory(TimePoint now) const;
  /// The rate that stands when what is being tried is left out.
  [[nodiscard]] Rate settled_rate() const;

  // ---- loss ----

  /// Cohorts sent at today's rate only: what was sent before the last change answers to another rate.
  void weigh_losses(const SiteMeasurement& m);
  /// The test is on its way to a cut. One that is undecided for long would have been decided by a limit that
  /// we overrun: a probe will tell more.
  [[nodiscard]] bool loss_is_suspicious(TimePoint now) const;
  /// An AQM that drops by a queue's average (RED) goes on for a while once the queue is gone.
  [[nodiscard]] bool queue_is_remembered(TimePoint now) const;
  /// Losses in which something stood out are no measure of quiet times.
  void forget_as_quiet(const LossCount& count);
  void cut_for_loss(Rate before, int cuts, TimePoint now);
  /// A path that stood still for a moment drops the burst that follows, and a burst of somebody else's may
  /// hit a site that sends little: once that is no news, unless it contradicts what is known while our rate
  /// is what limits us. A limit that did move shows the same again.
  [[nodiscard]] bool is_doubtful(const Capacity& measured, TimePoint now);
  /// By what share of itself a capacity that falls slowly will have fallen within a second.
  [[nodiscard]] double drift_towards(const Capacity& measured, PathMode by) const;
  void in_verify(Verify& s, const SiteMeasurement& m, TimePoint now);
  /// What a probe may lose without a meaning. No more than the loss test itself takes for harmless: on a slow
  /// path it needs seconds to see congestion, and these must not teach that it is usual.
  [[nodiscard]] double usual_loss() const;

  // ---- queueing delay ----

  void weigh_queue(const ControlInput& input, TimePoint now);
  void learn_noise(bool high);
  void start_drain(Rate before, TimePoint now);
  /// More than a rate so near the known capacity can have made: the path has changed or stood still for a
  /// moment.
  [[nodiscard]] bool queue_is_sudden() const;
  /// Which of the two it was, this one tick cannot tell, and the drain will. A gentle one is right for both.
  void drain_sudden_queue(Rate before, Duration next_probe, TimePoint now);
  /// A path that stood still for a moment lost the whole of it in one tick, or hands it over in the next:
  /// less in each of two is the path's new capacity.
  [[nodiscard]] bool has_slowed() const;
  void drain(Drain s, TimePoint now);
  void in_drain(Drain& s, TimePoint now);
  void end_drain(Drain& s, TimePoint now);
  [[nodiscard]] bool is_no_standstill(const Drain& s, TimePoint now) const;
  [[nodiscard]] bool fell_short(const Drain& s, double share) const;
  [[nodiscard]] bool can_fall(const Drain& s) const;
  /// D of what was sent since the last change of rate, while there is a queue; nullopt: not seen yet.
  [[nodiscard]] std::optional<Rate> delivered_fresh() const;
  [[nodiscard]] bool is_stuck(const Drain& s, TimePoint now) const;
  [[nodiscard]] std::optional<Rate> capacity_by_growth(const Drain& s) const;
  /// What we send comes through, it is less than what the path carried, and the queue does not fall: our
  /// packets are not what fills it. (Or the path carries just what we send now; so two rates have to show
  /// it; several small steps stand for the first.)
  [[nodiscard]] bool is_unmoved(const Drain& s) const;
  void answer_unmoved(Drain s, TimePoint now);
  /// At the floor, which the path owes us, a queue of ours stands at the worst: one that grows or overflows
  /// is somebody else's, at a first rate already.
  [[nodiscard]] bool outgrows_floor(const Drain& s, TimePoint now) const;
  void contend(Rate rate, Duration pause_before, TimePoint now);
  void in_contend(Contend& s, const SiteMeasurement& m, TimePoint now);
  /// The tick's queue as far as it is on the way out, less what a longer route adds.
  void take_queue(const SiteMeasurement& m);
  [[nodiscard]] Duration q_bound(Duration least, double of_base, double sigmas) const;

  // ---- latency goals of the site's classes ----

  void weigh_latency(const ControlInput& input, TimePoint now);
  /// A probe would be at the cost of a class that misses its goal already, for what waits at the provider.
  [[nodiscard]] bool probes_held(TimePoint now) const;
  /// The provider's queue takes more than the goals leave to it, and more than it is wrong by.
  [[nodiscard]] bool is_late() const;

  // ---- probing ----

  void start_probe(TimePoint now);
  /// Where a run slows down: the known capacity, its error, and a little.
  [[nodiscard]] std::optional<Rate> just_past_known() const;
  /// A limit is known, and this rate went through clean above it.
  [[nodiscard]] bool has_outgrown_known(Rate clean) const;
  void raise(Probe& s, TimePoint now);
  void in_probe(Probe& s, const SiteMeasurement& m, TimePoint now);
  /// The senders are on their way to the rate that they were given.
  [[nodiscard]] bool demand_grows(TimePoint now) const;
  [[nodiscard]] bool knows_no_limit() const;
  [[nodiscard]] double least_used() const;
  /// More than the usual ratio explains.
  [[nodiscard]] bool is_unusual(const LossesInEvents& losses) const;
  /// With what is told of cohorts that are not mature.
  [[nodiscard]] LossesInEvents told_losses(const SiteMeasurement& m, LossesInEvents losses) const;
  /// A little more than a policer was seen to pass: its bucket hides that for a while.
  [[nodiscard]] bool near_known_limit() const;
  [[nodiscard]] Duration round_near_limit() const;
  [[nodiscard]] bool stands(const Capacity& limit, Rate run_start) const;
  void learn_bucket(const Settle& s, const Capacity& limit, TimePoint now);
  void end_probe_clean(Probe& s, std::string_view why, TimePoint now);
  void end_probe_on_queue(Probe& s, TimePoint now);
  /// Of the provider's queue in a probe's last round: dq/dt = (all that arrives - C)/C.
  struct QueueGrowth {
    Rate sent;
    double share = 0.0;  ///< dq/dt: what arrives beyond C, as a share of C
    double over = 0.0;   ///< s
  };
  [[nodiscard]] std::optional<QueueGrowth> growth_in_round() const;
  /// The same excess of ours makes less of a queue where less of the path is ours.
  void learn_response(const Probe& s, const QueueGrowth& growth);
  void end_probe_on_loss(Probe& s, const LossCount& count, TimePoint now);
  void in_settle(Settle& s, TimePoint now);
  [[nodiscard]] bool met_no_limit(const Settle& s, const Capacity& measured) const;
  /// 2, then 4 s (3 s under a buffer) while probes find nothing; from the beginning once one gained
  /// something.
  Duration wait_after_run(Rate start, Rate end);

  // ---- bounds of the queueing delay ----

  [[nodiscard]] bool fresh_queue() const { return queue && queue->sent_from >= queue_from; }
  [[nodiscard]] bool queue_stands() const { return high_ticks >= kQueueTicks; }
  [[nodiscard]] Duration q_high() const { return q_bound(kQueueHigh, kQueueHighOfBase, 4); }
  [[nodiscard]] Duration q_target() const { return q_bound(kQueueTarget, kQueueTargetOfBase, 1); }
  /// Of what a policer lets through: what the rate is set to.
  [[nodiscard]] double policer_gain() const { return limits.paced ? kGain : kGainUnpaced; }
  [[nodiscard]] Duration q_clean() const { return q_bound(kQueueClean, kQueueCleanOfBase, 2); }
  [[nodiscard]] Duration q_probe() const { return q_bound(kQueueProbe, kQueueProbeOfBase, 3); }

  ControlLimits limits;
  State state;
  RateDecision decision;
  ControlWindow window;
  LossTest loss_test;
  KnownCapacity capacity;
  PathMode mode = PathMode::unknown;
  TimePoint fresh_from;      ///< of the last change of rate: evidence was sent after it
  TimePoint queue_from;      ///< the same of the queue: earlier, where the rate was raised since
  TimePoint evidence_since;  ///< first cohort of the loss evidence that stands
  TimePoint queue_since;     ///< first tick of the delay evidence that stands
  std::optional<TimePoint> high_queue_drained;  ///< last: when a drain of one above q_hi was begun
  TimePoint doubted;  ///< loss evidence that did not contradict the known capacity came last
  TimePoint last_tcp;
  Duration base = std::chrono::milliseconds(50);  ///< until the first RTT is known
  Duration probe_wait = kProbeWaitLeast;
  bool young_misled = false;  ///< the last probe that losses ended had none when its cohorts were mature
  Duration bucket{};      ///< what a policer let pass beyond its limit and hid it by, in time at the limit
  double response = 1.0;  ///< of the queue to a step of ours, over that on a path which is all ours
  bool outgrown = false;  ///< a run ended above the known capacity without having met a limit
  bool bounded = false;   ///< a run met loss at once that measured nothing: the limit is near
  int high_ticks = 0;
  Rate contended;  ///< the rate at which somebody else's queue was stood
  Duration contended_pause{};
  TimePoint contended_until;        ///< a queue at a rate that stood still is taken for the same until then
  std::optional<QueueDelay> queue;  ///< of the present tick, see take_queue
  Duration route{};                 ///< by which the route has become longer than the flows' bases
  int short_ticks = 0;              ///< in a row whose queue was less than that
  std::optional<Duration> latency_room;  ///< of the present tick: what the latency goals leave to the queue
  std::optional<TimePoint> late_since;   ///< it takes more; a probe that was tried all the same counts anew
  double noise_mean = 0, noise_variance = 0;    ///< of q in quiet times, ms and ms^2
  std::optional<double> quiet_queue;            ///< q of the tick before, if that was quiet, ms
  double quiet_segments = 0, quiet_losses = 0;  ///< of HOLD, forgotten over ~20 s
  std::uint64_t jitter = 1;
};

}  // namespace control

struct SiteController::Impl : control::Controller {
  using Controller::Controller;
};

}  // namespace weir
