/// The members of what a controller's state is made of, listed for state_text.hpp: the types that have
/// headers of their own. (Those of the controller itself: controller_state.hpp.)
#pragma once

#include "estimator/control_window.hpp"
#include "estimator/controller.hpp"
#include "estimator/known_capacity.hpp"
#include "estimator/loss_test.hpp"
#include "estimator/measurement.hpp"
#include "estimator/state_text.hpp"

namespace weir::control {

/// A friend of the classes whose members are private.
struct StateFields {
  template <class A>
  static void of(A& archive, ControlWindow& window) {
    auto& [ticks, cohorts] = window;
    archive(ticks, cohorts);
    for (const auto& tick : ticks)
      archive.require(tick.end - tick.begin >= kLeastTick && tick.delivered_in >= kLeastTick / 4);
  }
  template <class A>
  static void of(A& archive, ControlWindow::Tick& tick) {
    auto& [begin, end, sent, delivered, delivered_in, reverse, queue, queue_sent, middle, middle_sent,
           backlogged] = tick;
    archive(begin, end, sent, delivered, delivered_in, reverse, queue, queue_sent, middle, middle_sent,
            backlogged);
  }
  template <class A>
  static void of(A& archive, LossTest& test) {
    auto& [evidence, floor, floor_learnt, dispersion, losses, events, quiet] = test;
    archive(evidence, floor, floor_learnt, dispersion, losses, events, quiet);
    archive.require(floor >= 0 && floor <= 0.5 && dispersion >= 1 && losses >= 0 && events >= 1);
  }
  template <class A>
  static void of(A& archive, LossTest::Quiet& quiet) {
    auto& [since, cohorts, sum, square] = quiet;
    archive(since, cohorts, sum, square);
  }
  template <class A>
  static void of(A& archive, KnownCapacity& capacity) {
    auto& [known] = capacity;
    archive(known);
  }
};

template <class A, class T>
auto list(A& archive, T& value) -> decltype(StateFields::of(archive, value)) {
  StateFields::of(archive, value);
}
template <class A>
void list(A& archive, Capacity& capacity) {
  auto& [rate, relative_error, measured] = capacity;
  archive(rate, relative_error, measured);
}

}  // namespace weir::control

namespace weir {

// The last of each enumeration and one.
constexpr std::uint32_t count_of(ControlState) {
  return static_cast<std::uint32_t>(ControlState::contend) + 1;
}
constexpr std::uint32_t count_of(PathMode) {
  return static_cast<std::uint32_t>(PathMode::blind) + 1;
}
constexpr std::uint32_t count_of(StartedFrom) {
  return static_cast<std::uint32_t>(StartedFrom::memory) + 1;
}

template <class A>
void list(A& archive, ControlLimits& limits) {
  auto& [floor, ceiling, adapt, paced] = limits;
  archive(floor, ceiling, adapt, paced);
}
template <class A>
void list(A& archive, CapacityEstimate& estimate) {
  auto& [rate, low, high, measured] = estimate;
  archive(rate, low, high, measured);
}
template <class A>
void list(A& archive, RateDecision& decision) {
  // `queue` and `probes_held` are of one tick.
  [[maybe_unused]] auto& [rate, changed, state, mode, capacity, since, reason, loss_beyond, loss_before,
                          loss_segments, evidence, queue, probes_held] = decision;
  archive(rate, changed, state, mode, capacity, since, reason, loss_beyond, loss_before, loss_segments,
          evidence);
}
template <class A>
void list(A& archive, Cohort& cohort) {
  auto& [begin, segments, lost_beyond, lost_before, sent, one_in, slots] = cohort;
  archive(begin, segments, lost_beyond, lost_before, sent, one_in, slots);
}

}  // namespace weir
