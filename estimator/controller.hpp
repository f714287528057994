/// From evidence to a rate: the control law of one site.
///
/// Pure and replayable: the same sequence of inputs gives the same decisions; no clock, no allocation that
/// grows. Not thread-safe: one owner. States, equations and constants are explained in docs/CONTROLLER.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "config/units.hpp"
#include "estimator/measurement.hpp"
#include "estimator/site_memory.hpp"

namespace weir {

/// contend: the provider's queue is somebody else's, the rate does not yield to it.
enum class ControlState : std::uint8_t { hold, drain, verify, probe, outage, contend };
/// What kind of limit the path shows: from where loss sits relative to queueing delay.
enum class PathMode : std::uint8_t { unknown, policer, buffer, lossy, blind };

[[nodiscard]] std::string_view to_string(ControlState state);
[[nodiscard]] std::string_view to_string(PathMode mode);

struct ControlLimits {
  Rate floor;
  Rate ceiling;
  bool adapt = true;  ///< false: the rate stays where it is, estimates go on
  bool paced = true;  ///< what comes to the limit is what our queues let go; false: senders' bursts
  bool operator==(const ControlLimits&) const = default;
};

/// What the path is believed to carry.
struct CapacityEstimate {
  Rate rate;
  Rate low;  ///< interval
  Rate high;
  TimePoint measured;  ///< when the evidence was sent
  bool operator==(const CapacityEstimate&) const = default;
};

/// Everything the operator and the shaper need of one tick.
struct RateDecision {
  Rate rate;             ///< to be shaped from now on; within the limits
  bool changed = false;  ///< differs from the previous decision's
  ControlState state = ControlState::hold;
  PathMode mode = PathMode::unknown;
  std::optional<CapacityEstimate> capacity;
  TimePoint since;           ///< of the last change of rate
  std::string reason;        ///< one English sentence with the numbers behind the last change
  double loss_beyond = 0.0;  ///< over the last 10 s
  double loss_before = 0.0;
  std::uint64_t loss_segments = 0;  ///< segments behind these ratios
  double evidence = 0.0;            ///< L of the sequential loss test
  // Of the last tick alone: from_state() does not bring them back.
  std::optional<Duration> queue;  ///< what waits at the provider on the way out; nullopt: not seen
  bool probes_held = false;       ///< no probe begins: that is more than the latency goals leave to it
};

/// What a site may have of a path that it shares with other sites (PortCoordinator).
struct GroupShare {
  Rate rate;                ///< its own part
  Rate whole;               ///< of them all
  std::uint32_t sites = 0;  ///< this one included
  bool operator==(const GroupShare&) const = default;
};

/// Input of one tick: what was measured, and whether the site had more to send than it was let.
struct ControlInput {
  SiteMeasurement measured;
  Rate sent;                ///< S over the tick from the shaper's own counters (all protocols, charged)
  bool backlogged = false;  ///< our own leaves of this site hold packets
  /// What the latency goals of the site's classes leave to the provider's queue; nullopt: there is no goal.
  std::optional<Duration> latency_room{};
  std::optional<GroupShare> share{};  ///< set: the rate is that, and nothing is decided from its own evidence
  bool operator==(const ControlInput&) const = default;
};

class SiteController {
 public:
  /// Begins at `start`, with what is known of the site from before: its ages count back from `now`.
  SiteController(ControlLimits limits, const ControlStart& start, TimePoint now);
  ~SiteController();
  SiteController(SiteController&&) noexcept;
  SiteController& operator=(SiteController&&) noexcept;

  /// One tick. `now` never goes back; a tick may be late or missing.
  [[nodiscard]] const RateDecision& step(const ControlInput& input, TimePoint now);
  /// New limits from a reloaded policy: the rate is clamped into them at once, what was learnt stays.
  void set_limits(ControlLimits limits, TimePoint now);
  [[nodiscard]] const RateDecision& decision() const;
  /// What of it is worth keeping for another controller, made after this one's run.
  [[nodiscard]] SiteMemory memory(TimePoint now) const;

  /// All that it remembers, as one line of text: from_state() makes a controller of it that decides as this
  /// one will.
  [[nodiscard]] std::string state() const;
  /// nullopt: no such text (it is untrusted), or one of another version of the controller.
  [[nodiscard]] static std::optional<SiteController> from_state(std::string_view text);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir
