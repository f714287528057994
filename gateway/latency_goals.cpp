#include "gateway/latency_goals.hpp"

#include <algorithm>
#include <utility>

namespace weir::gateway {
namespace {

constexpr Duration kWindow = std::chrono::seconds(1);
constexpr std::size_t kMostReadings = 100;  // ten in practice

}  // namespace

LatencyGoals::LatencyGoals(const std::vector<SiteClass>& classes) {
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const ClassPolicy& one = *classes[i].policy;
    if (!one.latency) continue;
    goals_.push_back({.name = classes[i].name,
                      .most = *one.latency,
                      .guarantee = guarantee_of_site(classes, i),
                      .sent = {},
                      .readings = {}});
  }
}

void LatencyGoals::read(std::span<const shaper::QueueCounters> queues, TimePoint at) {
  for (std::size_t i = 0; i < goals_.size(); ++i) {
    Goal& goal = goals_[i];
    if (queues.size() != goals_.size()) {
      goal.sent.reset();
      goal.readings.clear();
      continue;
    }
    goal.sent.read(queues[i].sent, at);
    goal.readings.push_back({.backlog = queues[i].backlog, .at = at});
    while (at - goal.readings.front().at >= kWindow || goal.readings.size() > kMostReadings)
      goal.readings.pop_front();
  }
}

// Little's law: what waits on average is the rate at which it leaves times how long each of it waits. While
// it waits a class leaves at its guarantee at the least. (The backlog is without the link layer's overhead: a
// few percent too short.)
Duration LatencyGoals::Goal::wait(Rate shaped) const {
  if (readings.empty()) return Duration::zero();
  std::uint64_t waiting = 0;
  for (const Reading& reading : readings) waiting += reading.backlog.count();
  const Rate leaves = std::max(sent.of_last_second(), resolve(guarantee, shaped));
  return leaves.time_for(Bytes(waiting / readings.size()));
}

std::optional<Duration> LatencyGoals::room(Rate shaped) const {
  std::optional<Duration> least;
  for (const Goal& goal : goals_) {
    const Duration left = std::max(goal.most - goal.wait(shaped), goal.most / 2);
    least = std::min(least.value_or(left), left);
  }
  return least;
}

std::optional<LatencyStatus> LatencyGoals::status(Rate shaped, std::optional<Duration> provider) const {
  std::optional<LatencyStatus> worst;
  double worst_share = 0;
  for (const Goal& goal : goals_) {
    LatencyStatus s{
        .class_name = goal.name, .goal = goal.most, .own = goal.wait(shaped), .provider = provider};
    const Duration there = provider.value_or(Duration::zero());
    if (s.own + there > s.goal) s.missed = there > s.goal / 2 ? LatencyMissed::provider : LatencyMissed::own;
    const double share = seconds(s.own + there) / seconds(s.goal);
    if (worst && std::pair(s.missed, share) <= std::pair(worst->missed, worst_share)) continue;
    worst_share = share;
    worst = std::move(s);
  }
  return worst;
}

}  // namespace weir::gateway
