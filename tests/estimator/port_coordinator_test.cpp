// Sites on one port in a fluid model, their own controllers and the coordinator between them.
#include "estimator/port_coordinator.hpp"

#include <cmath>
#include <deque>
#include <functional>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "any_record.hpp"
#include "controller_ticks.hpp"

namespace weir::test {
namespace {

constexpr double kTickS = 0.1;
constexpr double kRttS = 0.02;

/// A buffer that some sites' traffic waits in, ten ticks a second.
struct Buffer {
  std::function<double(double)> mbps;
  std::vector<std::size_t> sites;
  double queue_s = 0;
};

class FluidPort {
 public:
  FluidPort(std::vector<Buffer> path, const std::vector<double>& starts, bool coordinated = true)
      : buffers(std::move(path)), coordinator_(starts.size()), coordinated_(coordinated) {
    for (const double start : starts) {
      demand.emplace_back([](double) { return 1e9; });
      controllers_.emplace_back(kLimits, Rate::kbps(static_cast<std::uint64_t>(start * 1000)), time(0));
    }
  }
  static constexpr ControlLimits kLimits{.floor = Rate::mbps(5), .ceiling = Rate::mbps(60)};

  void run_until(double end) {
    for (; now < end; now += kTickS) tick();
  }
  [[nodiscard]] double mbps(std::size_t site) const { return controllers_[site].decision().rate.mbps(); }
  [[nodiscard]] const PortCoordinator& coordinator() const { return coordinator_; }
  [[nodiscard]] std::optional<RememberedCapacity> part_of_capacity(std::size_t site) const {
    return coordinator_.part_of_capacity(site, time(now));
  }

  std::vector<Buffer> buffers;
  std::vector<std::function<double(double)>> demand;  ///< Mbit/s, of time
  double now = 0;
  double most_queue_ms = 0;
  std::size_t shares_told = 0;

 private:
  static TimePoint time(double s) { return TimePoint(from_seconds(1000 + s)); }
  void tick() {
    const std::size_t n = controllers_.size();
    std::vector<double> sent(n);
    std::vector<double> delivered(n);
    std::vector<double> waits(n, 0.0);
    for (std::size_t i = 0; i < n; ++i) sent[i] = delivered[i] = std::min(mbps(i), demand[i](now));
    for (Buffer& b : buffers) {
      const double capacity = b.mbps(now);
      double offered = 0;
      for (const std::size_t i : b.sites) offered += delivered[i];
      const double before = b.queue_s;
      b.queue_s = std::max(0.0, b.queue_s + (offered / capacity - 1) * kTickS);
      const double carried = std::min(capacity, offered + before * capacity / kTickS);
      for (const std::size_t i : b.sites) {
        if (offered > 0) delivered[i] *= carried / offered;
        waits[i] += b.queue_s;
      }
      most_queue_ms = std::max(most_queue_ms, b.queue_s * 1e3);
    }
    std::vector<ControlInput> inputs;
    std::vector<PortCoordinator::SiteOnPort> on_port;
    for (std::size_t i = 0; i < n; ++i) {
      inputs.push_back(input(i, sent[i], delivered[i], waits[i]));
      on_port.push_back({.limits = kLimits, .rate = controllers_[i].decision().rate});
    }
    if (coordinated_) {
      coordinator_.look(inputs, on_port, time(now));
      coordinator_.decide(inputs, on_port, time(now));
    }
    for (std::size_t i = 0; i < n; ++i) {
      const RateDecision& d = controllers_[i].step(inputs[i], time(now));
      if (!inputs[i].share) continue;
      ++shares_told;
      EXPECT_EQ(d.rate, inputs[i].share->rate);
    }
  }
  ControlInput input(std::size_t i, double sent, double delivered, double wait) {
    SiteMeasurement m;
    m.at = time(now);
    m.interval = kCohortLength;
    m.sent = Rate::bps(static_cast<std::uint64_t>(sent * 1e6)).in(kCohortLength);
    m.sent_tcp = m.sent;
    m.last_ack = m.at;
    m.rtt = RttSummary{.base = from_seconds(kRttS), .p50 = from_seconds(kRttS), .p95 = from_seconds(kRttS)};
    if (sent > 0.1) {
      const auto segments = static_cast<std::uint32_t>(sent * 1e6 * kTickS / 12'000) + 1;
      const double noise = std::exponential_distribution<double>(5000)(random_);
      m.delivered_bytes = Rate::bps(static_cast<std::uint64_t>(delivered * 1e6)).in(kCohortLength);
      m.delivered = Delivery{.rate = Rate::bps(static_cast<std::uint64_t>(delivered * 1e6)),
                             .over = std::chrono::milliseconds(500)};
      m.queue = QueueDelay{.q = from_seconds(wait + noise),
                           .samples = segments / 2,
                           .flows = 5,
                           .sent_from = time(now - kTickS - kRttS),
                           .sent_to = time(now - kRttS)};
      Cohort c;
      c.begin = time(now - 2 * kTickS);
      c.segments = segments;
      c.sent = m.sent;
      m.mature.push_back(c);
    }
    static_cast<void>(i);
    return {.measured = m,
            .sent = Rate::bps(static_cast<std::uint64_t>(sent * 1e6)),
            .backlogged = demand[i](now) > mbps(i)};
  }

  std::vector<SiteController> controllers_;
  PortCoordinator coordinator_;
  bool coordinated_;
  std::mt19937 random_{1};
};

std::function<double(double)> always(double mbps) {
  return [mbps](double) { return mbps; };
}

TEST(PortCoordinator, SitesThatShareABufferComeToEqualParts) {
  const std::vector<Buffer> path{{.mbps = always(60), .sites = {0, 1, 2}}};
  FluidPort alone(path, {40, 10, 10}, false);
  alone.run_until(30);  // in a minute they come near one another
  EXPECT_GT(alone.mbps(0), 2 * alone.mbps(1)) << "the test shows nothing: they do so by themselves";
  FluidPort port(path, {40, 10, 10});
  port.run_until(30);
  EXPECT_EQ(port.coordinator().members().size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(port.mbps(i), 19.6, 1.0) << i;
  const auto part = port.part_of_capacity(0);
  ASSERT_TRUE(part);
  EXPECT_NEAR(part->rate.mbps(), 20, 1.0);
  EXPECT_FALSE(port.part_of_capacity(3)) << "no member";
}

TEST(PortCoordinator, SitesWithBuffersOfTheirOwnDecideAsWithoutIt) {
  const std::vector<Buffer> path{{.mbps = always(12), .sites = {0}},
                                 {.mbps = always(20), .sites = {1}},
                                 {.mbps = always(31), .sites = {2}}};
  FluidPort alone(path, {20, 20, 20}, false);
  FluidPort port(path, {20, 20, 20});
  for (double end = 1; end <= 120; ++end) {
    alone.run_until(end);
    port.run_until(end);
    for (std::size_t i = 0; i < 3; ++i) ASSERT_EQ(port.mbps(i), alone.mbps(i)) << i << " at " << end;
  }
  EXPECT_EQ(port.shares_told, 0U);
}

TEST(PortCoordinator, OneSiteIsToldNothing) {
  FluidPort port({{.mbps = always(30), .sites = {0}}}, {20});
  port.run_until(60);
  EXPECT_EQ(port.shares_told, 0U);
  EXPECT_NEAR(port.mbps(0), 29.4, 1.5);
}

TEST(PortCoordinator, WhatOneDoesNotUseTheOthersHave) {
  FluidPort port({{.mbps = always(60), .sites = {0, 1, 2}}}, {20, 20, 20});
  port.demand[2] = [](double t) { return t < 60 || t > 100 ? 1e9 : 3.0; };
  port.run_until(59);
  ASSERT_EQ(port.coordinator().members().size(), 3U);
  port.run_until(95);
  EXPECT_GT(port.mbps(0) + port.mbps(1), 52);
  port.run_until(103);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(port.mbps(i), 19.6, 1.5) << i << ": back at once";
}

TEST(PortCoordinator, AMemberThatMeetsALimitOfItsOwnLeavesAndTheOthersHaveTheRest) {
  FluidPort port({{.mbps = [](double t) { return t < 60 ? 100.0 : 10.0; }, .sites = {2}},
                  {.mbps = always(60), .sites = {0, 1, 2}}},
                 {20, 20, 20});
  port.run_until(59);
  ASSERT_EQ(port.coordinator().members().size(), 3U);
  port.run_until(62);
  EXPECT_EQ(port.coordinator().members(), (std::vector<std::size_t>{0, 1}));
  port.run_until(85);
  EXPECT_LT(port.mbps(2), 11);
  EXPECT_GT(port.mbps(0) + port.mbps(1), 44);
}

/// They begin alike, so that their queues come and go together: only the trial tells.
TEST(PortCoordinator, BuffersThatAreAlikeAreToldApartByTheTrial) {
  std::vector<Buffer> path;
  for (std::size_t i = 0; i < 4; ++i) path.push_back({.mbps = always(20), .sites = {i}});
  FluidPort port(path, {20, 20, 20, 20});
  port.run_until(300);
  EXPECT_GT(port.shares_told, 0U) << "the test shows nothing: no group was tried";
  EXPECT_LT(port.shares_told, 4U * 300U) << "and it lasted";
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(port.mbps(i), 19.6, 1.5) << i;
}

// A cohort waits until the last member has told its own; what one of them lost of it is known before.
TEST(GroupMeasurement, LossesAreToldBeforeAllMembersHaveToldTheirs) {
  GroupMeasurement group;
  std::vector<ControlInput> inputs = {tick(0.1, 20, 100, 4), tick(0.1, 20, 100, 0)};
  inputs[1].measured.mature.clear();
  inputs[1].measured.young = {{.begin = at(0), .segments = 100, .lost_beyond = 2}};
  const SiteMeasurement m =
      group.add(std::vector<const ControlInput*>{&inputs[0], &inputs[1]}, at(0.1)).measured;
  EXPECT_TRUE(m.mature.empty());
  std::uint32_t lost = 0;
  for (const YoungCohort& c : m.young) {
    EXPECT_EQ(c.begin, at(0));
    lost += c.lost_beyond;
  }
  EXPECT_EQ(lost, 6U);
}

/// Whatever is measured, a share is within the site's limits, and shares of sites that are held back add up
/// to no more than the whole and what the floors take.
// They wait in one queue: who has the least room for it decides for all.
TEST(GroupMeasurement, OfTheLatencyGoalsTheLeastRoomCounts) {
  GroupMeasurement group;
  std::vector<ControlInput> inputs(3);
  const auto room = [&] {
    return group
        .add(std::vector<const ControlInput*>{&inputs[0], &inputs[1], &inputs[2]},
             TimePoint(std::chrono::seconds(1)))
        .latency_room;
  };
  EXPECT_FALSE(room());
  inputs[1].latency_room = std::chrono::milliseconds(30);
  EXPECT_EQ(room(), std::chrono::milliseconds(30));
  inputs[2].latency_room = std::chrono::milliseconds(12);
  EXPECT_EQ(room(), std::chrono::milliseconds(12));
}

TEST(PortCoordinator, AnyInputIsSurvivedAndSharesKeepTheLimits) {
  Any any(7);
  std::mt19937 random(7);
  PortCoordinator coordinator(5);
  PortCoordinator again(5);
  std::vector<PortCoordinator::SiteOnPort> sites(5, {.limits = FluidPort::kLimits, .rate = Rate::mbps(20)});
  std::size_t told = 0;
  for (int i = 1; i <= 20'000; ++i) {
    const TimePoint now(std::chrono::milliseconds(100 * i));
    std::vector<ControlInput> inputs(5);
    // Half of the time something like a queue that they share, so that groups come about.
    const bool wild = (i / 600) % 2 == 1;
    for (ControlInput& in : inputs) {
      if (wild) in = any.input();
      in.share.reset();
      in.measured.at = now;
      in.measured.interval = kCohortLength;
      in.sent = Rate::mbps(20);
      if (!wild)
        in.measured.queue = QueueDelay{.q = std::chrono::milliseconds(i % 20 < 10 ? 9 : 0),
                                       .samples = 50,
                                       .sent_from = now - 2 * kCohortLength,
                                       .sent_to = now - kCohortLength};
    }
    std::vector<ControlInput> copies = inputs;
    coordinator.look(inputs, sites, now);
    coordinator.decide(inputs, sites, now);
    again.look(copies, sites, now);
    again.decide(copies, sites, now);
    for (std::size_t s = 0; s < inputs.size(); ++s) {
      ASSERT_EQ(inputs[s].share, copies[s].share) << "not to be replayed";
      if (!inputs[s].share) continue;
      ++told;
      ASSERT_GE(inputs[s].share->rate, sites[s].limits.floor);
      ASSERT_LE(inputs[s].share->rate, sites[s].limits.ceiling);
      sites[s].rate = inputs[s].share->rate;
    }
  }
  EXPECT_GT(told, 1000U);
}

}  // namespace
}  // namespace weir::test
