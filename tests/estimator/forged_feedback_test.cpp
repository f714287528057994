// Remote hosts that tell losses and marks which never were, frame by frame as the tap sees them: what of it
// is in the cohorts that the control law goes by. (On the wire a segment that was lost and one that is only
// said to be look the same.)
#include <algorithm>
#include <functional>
#include <optional>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "packet_builder.hpp"

namespace weir {
namespace {

using namespace weir::test;

/// Our host sends each of some remotes of one site a segment at a time, in turn. A segment that a remote says
/// it misses is SACKed around, and sent again when three above it have arrived.
class Site {
 public:
  struct Remote {
    std::string address;
    std::function<bool()> misses = [] { return false; };
    std::function<bool()> marks = [] { return false; };
    bool finds_again = false;              ///< says in the end that what was sent again came twice (D-SACK)
    std::uint32_t next = 0;                ///< segment
    std::uint32_t newest = 0;              ///< that has arrived
    std::vector<std::uint32_t> missing{};  ///< in order; those sent again in front
    std::size_t sent_again = 0;            ///< of these
  };

  explicit Site(int remotes, bool corroborate = true, bool v6 = false) {
    EstimatorSettings settings;
    settings.sites = {{prefix(v6 ? "2001:db8:20::/48" : "10.20.0.0/16")}};
    settings.corroborate = corroborate;
    estimator_.emplace(settings);
    static_cast<void>(estimator_->tick(at_ms(0), false));
    for (int i = 0; i < remotes; ++i) {
      Remote r;
      r.address = v6 ? "2001:db8:20:" + std::to_string(i + 1) + "::1" : "10.20.0." + std::to_string(i + 1);
      remotes_.push_back(std::move(r));
    }
    v6_ = v6;
  }

  Remote& remote(std::size_t i) { return remotes_[i]; }
  /// A segment to the next in turn each `every_ms`, until `until_ms`; a tick each 100 ms.
  void run(double until_ms, double every_ms = 0.5) {
    for (; now_ < until_ms; now_ += every_ms) {
      work_off();
      if (now_ >= next_tick_) tick();
      const std::size_t to = turn_++ % remotes_.size();
      Remote& r = remotes_[to];
      data(to, r.next);
      arrives(to, r.next++, r.misses());
    }
  }

  std::uint64_t lost = 0;       ///< in cohorts
  std::uint64_t segments = 0;   ///< the same
  std::uint64_t told_lost = 0;  ///< by the remotes
  std::uint64_t marks = 0;      ///< counted
  [[nodiscard]] const EstimatorTotals& totals() const { return estimator_->totals(); }

 private:
  static constexpr std::uint32_t kSegment = 1000;
  static constexpr double kRtt = 20.0;

  void arrives(std::size_t from, std::uint32_t segment, bool missed) {
    later_.push({now_ + kRtt, [this, from, segment, missed] {
                   Remote& r = remotes_[from];
                   if (missed) {
                     r.missing.push_back(segment);
                     ++told_lost;
                     return;
                   }
                   answer(from, segment);
                 }});
  }
  void answer(std::size_t from, std::uint32_t segment) {
    Remote& r = remotes_[from];
    r.newest = segment;
    acknowledge(from);
    if (r.sent_again == r.missing.size() || segment < r.missing.back() + 3) return;
    const std::size_t some = r.missing.size() - r.sent_again;
    for (std::size_t i = r.sent_again; i < r.missing.size(); ++i) data(from, r.missing[i]);
    r.sent_again = r.missing.size();
    later_.push({now_ + kRtt, [this, from, some] {
                   Remote& to = remotes_[from];
                   const std::uint32_t twice = to.missing.front();
                   to.missing.erase(to.missing.begin(),
                                    to.missing.begin() + static_cast<std::ptrdiff_t>(some));
                   to.sent_again -= some;
                   if (to.finds_again && to.missing.empty()) {
                     ack(from, to.newest + 1, {{twice * kSegment, (twice + 1) * kSegment}});
                   } else {
                     acknowledge(from);
                   }
                 }});
  }
  void acknowledge(std::size_t from) {
    const Remote& r = remotes_[from];
    if (r.missing.empty()) return ack(from, r.newest + 1, {});
    std::vector<SequenceRange> sack;
    if (r.newest > r.missing.back())
      sack.push_back({(r.missing.back() + 1) * kSegment, (r.newest + 1) * kSegment});
    ack(from, r.missing.front(), std::move(sack));
  }
  void data(std::size_t to, std::uint32_t segment) {
    send({.source = ours(),
          .destination = address(remotes_[to].address),
          .source_port = static_cast<std::uint16_t>(40000 + to),
          .seq = 1000 + segment * kSegment,
          .ack = 1,
          .payload = kSegment,
          .traffic_class = 2,
          .ip_id = next_id_++});
  }
  void ack(std::size_t from, std::uint32_t edge, std::vector<SequenceRange> sack) {
    for (SequenceRange& r : sack) r = {r.begin + 1000, r.end + 1000};
    send({.source = address(remotes_[from].address),
          .destination = ours(),
          .source_port = 5001,
          .destination_port = static_cast<std::uint16_t>(40000 + from),
          .seq = 1,
          .ack = 1000 + edge * kSegment,
          .flags = remotes_[from].marks() ? unsigned{kTcpAck} | unsigned{kTcpEce} : unsigned{kTcpAck},
          .ip_id = next_id_++,
          .sack = std::move(sack)});
  }
  void send(const TcpSpec& s) {
    const Bytes8 bytes = ethernet_frame(s);
    estimator_->on_frame(as_frame(bytes, at_ms(now_), 14 + ip_length(s)));
  }
  [[nodiscard]] IpAddress ours() const { return address(v6_ ? "2001:db8:1::1" : "10.1.0.1"); }
  void work_off() {
    while (!later_.empty() && later_.top().at <= now_) {
      const auto what = later_.top().what;
      later_.pop();
      what();
    }
  }
  void tick() {
    const TickResult closed = estimator_->tick(at_ms(next_tick_), false);
    next_tick_ += 100.0;
    for (const Cohort& c : closed.outbound[0].mature) {
      lost += c.lost_beyond;
      segments += c.segments;
      std::uint64_t in_slots = 0;
      for (const Slot& slot : c.slots) in_slots += slot.lost;
      EXPECT_EQ(in_slots, c.lost_beyond);
    }
    marks += closed.outbound[0].ece_echoes;
  }

  struct Later {
    double at;
    std::function<void()> what;
    bool operator<(const Later& other) const { return at > other.at; }
  };
  std::optional<Estimator> estimator_;
  std::vector<Remote> remotes_;
  std::priority_queue<Later> later_;
  double now_ = 1.0;
  double next_tick_ = 100.0;
  std::size_t turn_ = 0;
  std::uint16_t next_id_ = 1;
  bool v6_ = false;
};

std::function<bool()> with_chance(double chance, std::uint32_t seed) {
  return [random = std::mt19937(seed), chance]() mutable {
    return std::uniform_real_distribution<double>(0.0, 1.0)(random) < chance;
  };
}

TEST(ForgedFeedback, LossesThatOneOfTwentyTellsAloneAreInNoCohort) {
  for (const bool v6 : {false, true}) {
    Site site(20, true, v6);
    site.run(2'000);
    site.remote(7).misses = with_chance(0.3, 1);
    site.run(12'000);
    EXPECT_GT(site.told_lost, 250U) << "this proves nothing";
    EXPECT_LE(site.lost, 6U) << "one event of a few";
    EXPECT_GT(site.segments, 23'000U);
    EXPECT_GE(site.totals().set_aside + site.lost + 10, site.told_lost);
    EXPECT_GE(site.totals().outbound.retransmitted + 5, site.told_lost) << "the totals stay what was seen";
  }
}

// Observing, nobody is slowed down by it: what was told is told.
TEST(ForgedFeedback, WhoDoesNotAskForItCountsThemAll) {
  Site site(20, false);
  site.remote(7).misses = with_chance(0.3, 1);
  site.run(10'000);
  EXPECT_GE(site.lost + 20, site.told_lost);
  EXPECT_EQ(site.totals().set_aside, 0U);
}

TEST(ForgedFeedback, WhatAllLoseIsCounted) {
  Site site(20);
  for (std::size_t i = 0; i < 20; ++i)
    site.remote(i).misses = with_chance(0.03, 1 + static_cast<unsigned>(i));
  site.run(20'000);
  EXPECT_GT(site.told_lost, 1000U);
  EXPECT_GE(static_cast<double>(site.lost), 0.95 * static_cast<double>(site.told_lost));
}

// Replication from host to host: there is nobody else to ask.
TEST(ForgedFeedback, OfOneAndOfTwoRemotesAllIsCounted) {
  for (const int remotes : {1, 2}) {
    Site site(remotes);
    site.remote(0).misses = with_chance(0.05, 1);
    site.run(10'000);
    EXPECT_GT(site.told_lost, 300U);
    EXPECT_GE(static_cast<double>(site.lost), 0.97 * static_cast<double>(site.told_lost)) << remotes;
  }
}

// Claimed and taken back in turn, it would take away from what others really lost.
TEST(ForgedFeedback, WhatWasSetAsideAndIsTakenBackLeavesTheOthersLosses) {
  Site site(20);
  for (std::size_t i = 1; i < 20; ++i)
    site.remote(i).misses = with_chance(0.004, 1 + static_cast<unsigned>(i));
  site.remote(0).misses = with_chance(0.0, 1);
  site.run(10'000);
  const std::uint64_t honest = site.lost;
  Site with_liar(20);
  for (std::size_t i = 1; i < 20; ++i)
    with_liar.remote(i).misses = with_chance(0.004, 1 + static_cast<unsigned>(i));
  with_liar.remote(0).misses = with_chance(0.3, 1);
  with_liar.remote(0).finds_again = true;
  with_liar.run(10'000);
  EXPECT_GT(honest, 60U);
  EXPECT_GE(static_cast<double>(with_liar.lost), 0.9 * static_cast<double>(honest));
}

TEST(ForgedFeedback, MarksThatOneOfTwentyEchoesAloneDoNotCount) {
  Site site(20);
  site.run(2'000);
  site.remote(3).marks = [] { return true; };
  site.run(12'000);
  EXPECT_LE(site.marks, 25U) << "of two tenths of a second, of a thousand";
  EXPECT_GE(site.marks, 1U);
}

TEST(ForgedFeedback, MarksThatAllEchoCount) {
  Site site(20);
  for (std::size_t i = 0; i < 20; ++i) site.remote(i).marks = [] { return true; };
  site.run(10'000);
  EXPECT_GE(site.marks, 18'000U);
}

}  // namespace
}  // namespace weir
