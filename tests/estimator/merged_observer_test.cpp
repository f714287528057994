// Several workers, each with its share of the connections, tell together what one estimator tells that sees
// them all: the same conversations, made at random, are played to both.
#include "estimator/merged_observer.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "conversation.hpp"

namespace weir {
namespace {

using namespace weir::test;

/// A frame, whose share of the traffic it is of, and when it passed.
struct Passed {
  TimePoint at;
  Packet packet;
  std::uint32_t connection = 0;
};

struct Traffic {
  std::vector<Passed> frames;  ///< by time
  [[nodiscard]] TimePoint begin() const { return frames.front().at; }
};

EstimatorSettings two_sites() {
  EstimatorSettings settings;
  settings.sites = {{prefix("10.20.0.0/16")}, {prefix("10.30.0.0/16")}};
  settings.keep_accounts = true;
  settings.keep_flows = 10;
  return settings;
}

/// Conversations with hosts of two sites and of none, some marked EF, and datagrams between them.
Traffic traffic(std::uint32_t seed) {
  std::mt19937 numbers(seed);
  const auto random = [&] { return static_cast<std::uint32_t>(numbers()); };
  Traffic made;
  const auto at = [](double ms) { return at_ms(1000.0 + ms); };
  constexpr std::uint32_t kConnections = 12;
  for (std::uint32_t c = 0; c < kConnections; ++c) {
    const Conversation one = conversation(seed * 100 + c, {.late = 0.0, .recut = 0.0, .packets = 300});
    const IpAddress far = address((c % 3 == 0   ? "10.20.0."
                                   : c % 3 == 1 ? "10.30.0."
                                                : "192.0.2.") +
                                  std::to_string(1 + c));
    const double from = static_cast<double>(random() % 3000);
    const std::uint32_t base = random();
    for (const Passing& p : one.frames) {
      TcpSpec s = p.spec;
      const bool ours = s.source == address("10.1.0.1");
      (ours ? s.destination : s.source) = far;
      (ours ? s.source_port : s.destination_port) = static_cast<std::uint16_t>(40'000 + c);
      if (ours && c % 2 == 0) s.traffic_class = 46U << kEcnBits;
      s.seq += base;
      s.ack += base;
      for (SequenceRange& r : s.sack) r = {r.begin + base, r.end + base};
      made.frames.push_back({at(from + p.ms), {ethernet_frame(s), 14 + ip_length(s)}, c});
    }
  }
  for (std::uint32_t i = 0; i < 400; ++i) {
    const bool out = random() % 2 == 0;
    OuterSpec ends{.source = address("10.1.0.9"), .destination = address("10.20.0.9")};
    if (!out) std::swap(ends.source, ends.destination);
    const Packet datagram = in_ip(ends, 17, in_udp(443, Packet{{}, 1 + random() % 1200U}));
    made.frames.push_back(
        {at(static_cast<double>(random() % 3500)), behind_ethernet(0x0800, datagram), 1000 + i});
  }
  std::stable_sort(made.frames.begin(), made.frames.end(), [](auto& a, auto& b) { return a.at < b.at; });
  return made;
}

/// Workers that see the frames of a connection all in one of them, and what comes of it.
class Workers {
 public:
  Workers(std::size_t count, TimePoint begin, const EstimatorSettings& settings = two_sites())
      : merged(settings, "test") {
    for (std::size_t i = 0; i < count; ++i) workers_.emplace_back(settings, begin);
    dropped_.resize(count);
  }
  void frame(const Passed& p) {
    while (workers_[0].tick_ends() <= p.at) tick();
    const std::uint32_t hash = p.connection * 0x9e3779b1U >> 16U;
    workers_[hash % workers_.size()].on_frame(as_frame(p.packet, p.at));
  }
  void follow(const FlowSample& sample) {
    for (ShareObserver& worker : workers_) worker.follow(sample);
  }
  void drop(std::size_t worker) { ++dropped_[worker]; }
  void tick() {
    std::vector<ShareTick> closed;
    for (std::size_t i = 0; i < workers_.size(); ++i) closed.push_back(workers_[i].close_tick(dropped_[i]));
    merged.add(closed);
    ticks.push_back(merged.last_tick());
  }
  Observation finish() {
    for (int i = 0; i < 150 || workers_[0].ticks() % kTicksPerAccount != 0; ++i) tick();
    return merged.finish();
  }

  MergedObserver merged;
  std::vector<TickResult> ticks;

 private:
  std::vector<ShareObserver> workers_;
  std::vector<std::uint64_t> dropped_;
};

/// The single one that it must be like.
class One {
 public:
  explicit One(TimePoint begin) : estimator_(two_sites()), ends_(begin) {
    static_cast<void>(estimator_.tick(ends_, false));
  }
  void frame(const Passed& p) {
    while (ends_ + kCohortLength <= p.at) tick();
    estimator_.on_frame(as_frame(p.packet, p.at));
  }
  void follow(const FlowSample& sample) { estimator_.follow(sample); }
  void drop() { lost_ = true; }
  void tick() { ticks.push_back(estimator_.tick(ends_ += kCohortLength, std::exchange(lost_, false))); }
  std::vector<TickResult> ticks;

 private:
  Estimator estimator_;
  TimePoint ends_;
  bool lost_ = false;
};

/// All but the moment at which a cohort is told: the slowest worker's is that of all.
void expect_same(const SiteMeasurement& merged, const SiteMeasurement& single) {
  EXPECT_EQ(merged.at, single.at);
  EXPECT_EQ(merged.interval, single.interval);
  EXPECT_EQ(merged.valid, single.valid);
  EXPECT_EQ(merged.sent, single.sent);
  EXPECT_EQ(merged.sent_tcp, single.sent_tcp);
  EXPECT_EQ(merged.one_in, single.one_in);
  EXPECT_EQ(merged.delivered, single.delivered);
  EXPECT_EQ(merged.delivered_bytes, single.delivered_bytes);
  EXPECT_EQ(merged.queue, single.queue);
  EXPECT_EQ(merged.rtt, single.rtt);
  EXPECT_EQ(merged.ece_echoes, single.ece_echoes);
  EXPECT_EQ(merged.flows, single.flows);
  EXPECT_EQ(merged.last_ack, single.last_ack);
}

struct Path {
  Direction direction = Direction::outbound;
  std::size_t site = 0;
  [[nodiscard]] const SiteMeasurement& of(const TickResult& tick) const {
    return (direction == Direction::outbound ? tick.outbound : tick.inbound)[site];
  }
};

std::vector<Path> paths() {
  std::vector<Path> all;
  for (std::size_t site = 0; site < 3; ++site) {
    for (const Direction d : {Direction::outbound, Direction::inbound}) all.push_back({d, site});
  }
  return all;
}

std::vector<Cohort> cohorts(const std::vector<TickResult>& ticks, const Path& path) {
  std::vector<Cohort> all;
  for (const TickResult& tick : ticks) {
    const auto& mature = path.of(tick).mature;
    all.insert(all.end(), mature.begin(), mature.end());
  }
  return all;
}

/// By cohort, what is known to be lost of it at the end of each tick, mature or not.
std::vector<std::map<TimePoint, std::uint32_t>> losses_told(const std::vector<TickResult>& ticks,
                                                            const Path& path) {
  std::vector<std::map<TimePoint, std::uint32_t>> told;
  std::map<TimePoint, std::uint32_t> mature;
  for (const TickResult& tick : ticks) {
    for (const Cohort& c : path.of(tick).mature)
      if (c.lost_beyond > 0) mature[c.begin] += c.lost_beyond;
    told.push_back(mature);
    for (const YoungCohort& c : path.of(tick).young)
      if (c.lost_beyond > 0) told.back()[c.begin] += c.lost_beyond;
  }
  return told;
}

/// A path that nothing had passed yet is not void in one estimator, though its first cohort began in that
/// tick.
std::vector<Cohort> sent_after(TimePoint void_until, std::vector<Cohort> all) {
  std::erase_if(
      all, [&](const Cohort& c) { return c.begin <= void_until && c.begin > void_until - kCohortLength; });
  return all;
}

class Shares : public testing::TestWithParam<std::tuple<std::uint32_t, std::size_t>> {
 protected:
  [[nodiscard]] static std::uint32_t seed() { return std::get<0>(GetParam()); }
  [[nodiscard]] static std::size_t workers() { return std::get<1>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Seeds, Shares,
                         testing::Combine(testing::Range(1U, 7U), testing::Values(1U, 2U, 3U, 8U)));

TEST_P(Shares, TellTheSameTicksAndCohortsTogether) {
  const Traffic made = traffic(seed());
  Workers together(workers(), made.begin());
  One single(made.begin());
  for (const Passed& p : made.frames) {
    together.frame(p);
    single.frame(p);
  }
  static_cast<void>(together.finish());
  while (single.ticks.size() < together.ticks.size()) single.tick();
  ASSERT_EQ(single.ticks.size(), together.ticks.size());
  for (const Path& path : paths()) {
    for (std::size_t i = 0; i < single.ticks.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "tick " << i << ", site " << path.site);
      expect_same(path.of(together.ticks[i]), path.of(single.ticks[i]));
    }
    const std::vector<Cohort> all = cohorts(together.ticks, path);
    EXPECT_EQ(all, cohorts(single.ticks, path)) << "site " << path.site;
    EXPECT_FALSE(path.direction == Direction::outbound && all.empty()) << "there is nothing to compare";
    for (std::size_t i = 1; i < all.size(); ++i) EXPECT_LT(all[i - 1].begin, all[i].begin);
    EXPECT_EQ(losses_told(together.ticks, path), losses_told(single.ticks, path)) << "site " << path.site;
  }
}

TEST_P(Shares, MakeTheSameObservationTogether) {
  const Traffic made = traffic(seed());
  Workers together(workers(), made.begin());
  Observer single(two_sites(), "test");
  for (const Passed& p : made.frames) {
    together.frame(p);
    single.on_frame(as_frame(p.packet, p.at));
  }
  Observation merged = together.finish();
  const Observation one = single.finish();
  EXPECT_FALSE(merged.flows->rows.empty());
  // One estimator begins to compare marks with the second one; workers cannot know when that comes.
  ASSERT_EQ(merged.sites.size(), one.sites.size());
  for (std::size_t site = 0; site < merged.sites.size(); ++site) {
    for (std::size_t d = 0; d < 2; ++d) {
      auto& honoured = merged.sites[site].directions[d].dscp_honoured;
      if (!honoured) continue;
      const std::uint32_t windows = one.sites[site].directions[d].dscp_honoured.value().windows;
      EXPECT_NEAR(honoured->windows, windows, 1);
      honoured->windows = windows;
    }
  }
  EXPECT_EQ(boost::json::serialize(to_json(merged)), boost::json::serialize(to_json(one)));
}

// Who is not followed any more leaves a table within ten ticks, but in another order: what is in flight until
// then may keep a busy period open for longer, and with it the window of the delivered rate.
TEST_P(Shares, FollowTheSameConnectionsUnderOverload) {
  constexpr std::size_t kTicksOfChange = 20;
  const Traffic made = traffic(seed());
  Workers together(workers(), made.begin());
  One single(made.begin());
  for (std::size_t i = 0; i < made.frames.size(); ++i) {
    if (i == made.frames.size() / 3) {
      together.follow({.one_in = 2, .seed = seed()});
      single.follow({.one_in = 2, .seed = seed()});
    }
    together.frame(made.frames[i]);
    single.frame(made.frames[i]);
  }
  static_cast<void>(together.finish());
  while (single.ticks.size() < together.ticks.size()) single.tick();
  for (const Path& path : paths()) {
    std::size_t changed = single.ticks.size();
    for (std::size_t i = 0; i < single.ticks.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "tick " << i << ", site " << path.site);
      SiteMeasurement merged = path.of(together.ticks[i]);
      const SiteMeasurement& one = path.of(single.ticks[i]);
      if (!one.valid) changed = i;
      if (i > changed && i < changed + kTicksOfChange) {
        merged.delivered = one.delivered;
        merged.delivered_bytes = one.delivered_bytes;
      }
      expect_same(merged, one);
    }
    ASSERT_LT(changed, single.ticks.size()) << "nothing was left out";
    const TimePoint void_until = single.ticks[changed].outbound[0].at;
    EXPECT_EQ(cohorts(together.ticks, path), sent_after(void_until, cohorts(single.ticks, path)))
        << "site " << path.site;
  }
}

// The others saw all of theirs, but what was sent in the meantime is not whole without the rest.
TEST_P(Shares, VoidATickOfAllWhenOneOfThemLosesFrames) {
  const Traffic made = traffic(seed());
  Workers together(workers(), made.begin());
  One single(made.begin());
  const std::size_t half = made.frames.size() / 2;
  for (std::size_t i = 0; i < made.frames.size(); ++i) {
    together.frame(made.frames[i]);
    single.frame(made.frames[i]);
    if (i == half) {
      together.drop(0);
      single.drop();
    }
  }
  static_cast<void>(together.finish());
  while (single.ticks.size() < together.ticks.size()) single.tick();
  std::size_t void_ticks = 0;
  for (const Path& path : paths()) {
    std::optional<TimePoint> void_until;
    for (std::size_t i = 0; i < single.ticks.size(); ++i) {
      const SiteMeasurement& merged = path.of(together.ticks[i]);
      EXPECT_EQ(merged.valid, path.of(single.ticks[i]).valid) << "tick " << i;
      if (!merged.valid) {
        ++void_ticks;
        void_until = merged.at;
        EXPECT_TRUE(merged.mature.empty());
      }
      for (const Cohort& cohort : merged.mature) EXPECT_FALSE(void_until && cohort.begin <= *void_until);
    }
    const auto begins = [](const std::vector<Cohort>& all) {
      std::vector<TimePoint> times;
      for (const Cohort& c : all) times.push_back(c.begin);
      return times;
    };
    ASSERT_TRUE(void_until);
    EXPECT_EQ(begins(cohorts(together.ticks, path)),
              begins(sent_after(*void_until, cohorts(single.ticks, path))));
  }
  EXPECT_EQ(void_ticks, paths().size());
}

// A mean of the workers' rates would be wrong where one of them has all the datagrams.
TEST(MergedTicks, ScalesWhatWasDeliveredByTheBytesOfAllWorkers) {
  const Traffic made = traffic(77);
  std::vector<Passed> frames = made.frames;
  for (Passed& p : frames) p.connection = p.connection >= 1000 ? 1 : 0;  // which go to different workers
  Workers together(2, made.begin());
  One single(made.begin());
  for (const Passed& p : frames) {
    together.frame(p);
    single.frame(p);
  }
  std::size_t rates = 0;
  for (std::size_t i = 0; i < std::min(single.ticks.size(), together.ticks.size()); ++i) {
    const SiteMeasurement& merged = together.ticks[i].outbound[0];
    EXPECT_EQ(merged.delivered, single.ticks[i].outbound[0].delivered);
    rates += merged.delivered && merged.sent > merged.sent_tcp ? 1U : 0U;
  }
  EXPECT_GE(rates, 3U) << "there is nothing to compare";
}

/// One path's events, all to one comparison and each to that of one worker.
class Compared {
 public:
  explicit Compared(std::uint32_t seed, double favour) : random_(seed), favour_(favour) {
    for (int second = 0; second < 120; ++second) run_second(second);
  }
  [[nodiscard]] DscpFinding single() const { return single_.finding(true); }
  [[nodiscard]] DscpFinding merged() const { return merged_.finding(true); }

 private:
  static TimePoint at(int tenth) { return TimePoint(std::chrono::milliseconds(5000 + 100 * tenth + 50)); }
  void run_second(int second) {
    std::uniform_real_distribution<double> fraction;
    for (int tenth = 10 * second; tenth < 10 * second + 10; ++tenth) {
      for (std::uint32_t i = 0; i < 40; ++i) {
        const std::uint8_t dscp = i % 4 == 0 ? 46 : 0;
        DscpComparison& worker = workers_[random_() % workers_.size()];
        const auto to_both = [&](auto told) {
          told(single_);
          told(worker);
        };
        to_both([&](DscpComparison& c) { c.sent(dscp, at(tenth), 1); });
        const int sent = std::max(0, tenth - static_cast<int>(random_() % 3));
        const double loss = dscp == 46 ? 0.05 * favour_ : 0.05;
        if (fraction(random_) < loss) to_both([&](DscpComparison& c) { c.lost(dscp, at(sent), 1); });
        const auto queue = std::chrono::milliseconds(random_() % 40);
        to_both([&](DscpComparison& c) { c.queued(dscp, at(sent), queue, std::chrono::milliseconds(20)); });
      }
    }
    const TimePoint now = at(10 * second + 9) + std::chrono::milliseconds(40);
    std::vector<DscpComparison::Part> parts;
    for (DscpComparison& worker : workers_) parts.push_back(worker.part(now));
    merged_.add(parts, now, TimePoint::min());
  }

  std::mt19937 random_;
  double favour_;
  DscpComparison single_;
  DscpComparison merged_;
  std::array<DscpComparison, 3> workers_;
};

TEST(MergedDscp, ComparesTheWindowsOfAllWorkersTogether) {
  std::set<DscpVerdict> verdicts;
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    for (const double favour : {0.0, 1.0}) {
      const Compared compared(seed, favour);
      const DscpFinding merged = compared.merged();
      const DscpFinding single = compared.single();
      EXPECT_EQ(merged.verdict, single.verdict);
      EXPECT_DOUBLE_EQ(merged.confidence, single.confidence);
      EXPECT_EQ(merged.windows, single.windows);
      EXPECT_EQ(merged.favoured, single.favoured);
      verdicts.insert(merged.verdict);
    }
  }
  EXPECT_GE(verdicts.size(), 2U) << "the loads tell nothing apart";
}

TEST(MergedDscp, OpenWindowsOfAVoidTickAreNoEvidence) {
  DscpComparison worker;
  DscpComparison merged;
  const TimePoint sent(std::chrono::seconds(100));
  worker.sent(46, sent, 100);
  worker.sent(0, sent, 100);
  worker.lost(0, sent, 10);
  const auto part = worker.part(sent + std::chrono::seconds(1));
  merged.add(std::span(&part, 1), sent + std::chrono::seconds(1), TimePoint::min());
  EXPECT_EQ(merged.finding(true).windows, 1U);
  merged.add(std::span(&part, 1), sent + std::chrono::seconds(1), sent + kCohortLength);
  EXPECT_EQ(merged.finding(true).windows, 0U);
}

}  // namespace
}  // namespace weir
