/// The sites of one port that share a bottleneck, governed as one.
///
///   measurements of all sites -> SharedBottleneck -> a group -> its sum -> SiteController -> one rate
///                                                                             | divided by the floors
///   ControlInput::share of each member <--------------------------------------'
///
/// A site alone, or with evidence of its own, is told nothing and decides as it would without a coordinator.
/// Whatever a member is told stands in its input, and so in a recording of it. Rules, and why:
/// docs/CONTROLLER.md, "Several sites".
///
/// Pure; bounded. Not thread-safe: one owner.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "estimator/controller.hpp"
#include "estimator/group_measurement.hpp"
#include "estimator/shared_bottleneck.hpp"

namespace weir {

class PortCoordinator {
 public:
  /// With more sites on a port no groups are looked for: each two of them are compared.
  static constexpr std::size_t kMostSites = 256;

  explicit PortCoordinator(std::size_t sites);

  struct SiteOnPort {
    ControlLimits limits;
    Rate rate;  ///< in force
  };
  /// One tick of all sites, before their controllers'. `look`: who shares a bottleneck, and what was measured
  /// of them together.
  void look(std::span<const ControlInput> inputs, std::span<const SiteOnPort> sites, TimePoint now);
  /// Then: sets the members' `share`.
  void decide(std::span<ControlInput> inputs, std::span<const SiteOnPort> sites, TimePoint now);

  /// Indices, ascending; empty: no group.
  [[nodiscard]] const std::vector<std::size_t>& members() const { return members_; }

  /// What a member would have of what is known of the shared path; nullopt: nothing is, or it is no member.
  [[nodiscard]] std::optional<RememberedCapacity> part_of_capacity(std::size_t member, TimePoint now) const;

  // -- the group's own controller: what it was told and decided --
  /// It was made in this tick, with this rate.
  [[nodiscard]] const std::optional<Rate>& start() const { return start_; }
  [[nodiscard]] const ControlLimits& limits() const { return limits_; }
  [[nodiscard]] const ControlInput& input() const { return input_; }
  /// nullptr: there is no group.
  [[nodiscard]] const RateDecision* decision() const { return law_ ? &law_->decision() : nullptr; }
  /// SiteController::state; empty: there is no group.
  [[nodiscard]] std::string state() const { return law_ ? law_->state() : std::string(); }

 private:
  struct Member {
    Rate share;
    Rate before;  ///< it was a member of this group: until that has proved itself, parts stay in proportion
    /// While it has not had its part of the whole before, its share grows in small steps: a limit of its own
    /// shows before much is lost to it. nullopt: it has.
    std::optional<Rate> bound;  ///< and of the group's surplus it has its part besides
    TimePoint bound_raised;
    TimePoint wants_until;
    std::vector<Rate> sent;  ///< of the last second's ticks, a ring
    std::size_t next = 0;
    int alone = 0;  ///< ticks in a row with a queue that the others have not
    std::optional<Duration> queue;
    TimePoint queue_at;
  };
  /// A new group has to prove itself before anything moves between its members: one half of it is raised at
  /// the other's expense, then the other way round. A shared bottleneck notices nothing, as the sum stays;
  /// limits of their own would be exceeded.
  struct Trial {
    enum class Phase : std::uint8_t { waiting, first_up, second_up, judging, passed };
    Phase phase = Phase::waiting;
    TimePoint since;  ///< of the phase
    TimePoint first_began;
    TimePoint second_began;
  };
  void advance_trial(TimePoint now);
  void tilt(std::vector<double>& shares) const;
  void judge_trial(TimePoint now);
  [[nodiscard]] bool raised(std::size_t member) const;
  void watch(std::span<const ControlInput> inputs, std::span<const SiteOnPort> sites, TimePoint now);
  void bar_who_stands_alone(TimePoint now);
  void regroup(std::span<const SiteOnPort> sites, TimePoint now);
  void divide(std::span<const SiteOnPort> sites, TimePoint now);
  void make_law(Rate start, TimePoint now);
  [[nodiscard]] ControlLimits sum_of_limits(std::span<const SiteOnPort> sites) const;

  SharedBottleneck shared_;
  std::vector<Member> sites_;
  std::vector<std::size_t> members_;
  GroupMeasurement measurement_;
  std::optional<SiteController> law_;
  std::optional<Rate> start_;
  ControlLimits limits_;
  ControlInput input_;
  Trial trial_;
};

}  // namespace weir
