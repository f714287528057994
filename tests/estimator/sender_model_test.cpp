// Random losses with a known answer: a small TCP sender (SACK, fast retransmission, timer) sends through a
// LAN and a path that lose, reorder and duplicate at random, and the tap between the two must say what was
// lost where.
#include <deque>
#include <functional>
#include <queue>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "wire.hpp"

namespace weir {
namespace {

using namespace weir::test;

struct Loss {
  double lan = 0.0;   ///< between sender and tap
  double path = 0.0;  ///< behind the tap
  double acks = 0.0;
};

/// What really happened, in segments.
struct Truth {
  std::uint64_t lan_lost = 0;
  std::uint64_t path_lost = 0;
  std::uint64_t resent = 0;
  std::uint64_t by_timer = 0;
};

/// Segments of 1000 bytes; the event queue is ordered by time, ties by order of creation.
class Model {
 public:
  Model(std::uint32_t seed, std::uint32_t base, Loss loss, unsigned per_packet = 1)
      : random_(seed), loss_(loss), per_packet_(per_packet) {
    wire.base = base;
    wire.open(0, kPathMs, 1000);
  }

  void run(std::uint32_t segments) {
    total_ = segments;
    at(30.0, [this] { send_more(); });
    while (!events_.empty()) {
      Event event = events_.top();
      events_.pop();
      while (wire.ticked + 100.0 <= event.ms) collect(wire.cohorts_until(wire.ticked + 100.0));
      now_ = event.ms;
      event.act();
    }
    collect(wire.cohorts_until(wire.ticked + 15'000.0));
    EXPECT_EQ(una_, total_) << "the model itself is stuck";
  }

  Wire wire;
  Truth truth;
  Cohort sum;

 private:
  static constexpr double kPathMs = 20.0;
  static constexpr double kRto = 300.0;
  static constexpr std::uint32_t kWindow = 40;

  struct Event {
    double ms;
    std::uint64_t order;
    std::function<void()> act;
    bool operator>(const Event& o) const { return std::pair(ms, order) > std::pair(o.ms, o.order); }
  };

  void at(double ms, std::function<void()> act) { events_.push({ms, order_++, std::move(act)}); }
  bool happens(double p) { return std::uniform_real_distribution<double>()(random_) < p; }
  void collect(const std::vector<Cohort>& cohorts) {
    for (const Cohort& c : cohorts) {
      sum.segments += c.segments;
      sum.lost_beyond += c.lost_beyond;
      sum.lost_before += c.lost_before;
    }
  }

  void send_more() {
    while (next_ < total_ && next_ - una_ < kWindow) {
      const std::uint32_t count = std::min({per_packet_, total_ - next_, kWindow - (next_ - una_)});
      transmit(next_, count, false);
      next_ += count;
    }
    if (!timer_set_) arm_timer();
  }

  void arm_timer() {
    timer_set_ = true;
    const std::uint32_t una = una_;
    at(now_ + kRto, [this, una] {
      timer_set_ = false;
      if (una_ >= total_) return;
      if (una_ == una && next_ > una_) {
        resent_.clear();
        ++truth.by_timer;
        transmit(una_, 1, true);
        resent_.insert(una_);
      }
      arm_timer();
    });
  }

  void transmit(std::uint32_t first, std::uint32_t count, bool again) {
    truth.resent += again ? count : 0;
    clock_ = std::max(clock_ + 0.01, now_);
    if (happens(loss_.lan)) {  // the whole packet, as a queue would drop it
      truth.lan_lost += count;
      return;
    }
    at(clock_ + 0.05, [this, first, count] {
      wire.data(now_, first * 1000, count * 1000);
      for (std::uint32_t i = first; i < first + count; ++i) {
        if (happens(loss_.path)) {
          ++truth.path_lost;
        } else {
          at(now_ + kPathMs / 2, [this, i] { arrive(i); });
        }
      }
    });
  }

  void arrive(std::uint32_t segment) {
    std::vector<SequenceRange> blocks;
    if (segment < received_ || held_.contains(segment)) {
      blocks.push_back({segment * 1000, segment * 1000 + 1000});  // D-SACK
    }
    held_.insert(segment);
    while (held_.contains(received_)) held_.erase(received_++);
    // The block with the newest segment first, then others from the top (RFC 2018).
    std::deque<SequenceRange> ranges;
    for (std::uint32_t s : held_) {
      if (!ranges.empty() && ranges.back().end == s * 1000) {
        ranges.back().end += 1000;
      } else {
        ranges.push_back({s * 1000, s * 1000 + 1000});
      }
    }
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      if (ranges[i].begin <= segment * 1000 && segment * 1000 < ranges[i].end && blocks.empty()) {
        blocks.push_back(ranges[i]);
      }
    }
    for (auto r = ranges.rbegin(); r != ranges.rend() && blocks.size() < 3; ++r) {
      if (blocks.empty() || !(blocks[0] == *r)) blocks.push_back(*r);
    }
    const std::uint32_t number = received_;
    if (happens(loss_.acks)) return;
    at(now_ + kPathMs / 2, [this, number, blocks] {
      wire.ack(now_, number * 1000, blocks);
      at(now_ + 0.05, [this, number, blocks] { acknowledged(number, blocks); });
    });
  }

  void acknowledged(std::uint32_t number, const std::vector<SequenceRange>& blocks) {
    una_ = std::max(una_, number);
    for (const SequenceRange& b : blocks) {
      for (std::uint32_t s = b.begin / 1000; s < b.end / 1000; ++s) sacked_.insert(s);
    }
    sacked_.erase(sacked_.begin(), sacked_.lower_bound(una_));
    resent_.erase(resent_.begin(), resent_.lower_bound(una_));
    for (std::uint32_t s = una_; s < next_; ++s) {
      const auto above = std::distance(sacked_.upper_bound(s), sacked_.end());
      if (above < 3) break;
      if (sacked_.contains(s) || resent_.contains(s)) continue;
      resent_.insert(s);
      transmit(s, 1, true);
    }
    send_more();
  }

  std::mt19937 random_;
  Loss loss_;
  unsigned per_packet_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t order_ = 0;
  double now_ = 0.0;
  double clock_ = 0.0;
  std::uint32_t total_ = 0;
  std::uint32_t next_ = 0;
  std::uint32_t una_ = 0;
  std::set<std::uint32_t> sacked_;
  std::set<std::uint32_t> resent_;
  bool timer_set_ = false;
  std::uint32_t received_ = 0;
  std::set<std::uint32_t> held_;
};

class SenderModel : public testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, SenderModel, testing::Range(1U, 9U));

std::uint32_t base_for(std::uint32_t seed) {
  return seed * 0x20000000U - 700'000U;
}  // wraps in some of the runs

TEST_P(SenderModel, LossBehindTheTapIsBeyond) {
  Model model(GetParam(), base_for(GetParam()), {.path = 0.02});
  model.run(20'000);
  const SegmentTotals& t = model.wire.outbound();
  EXPECT_EQ(t.retransmitted + t.spurious, model.truth.resent);
  EXPECT_EQ(t.retransmitted, model.truth.path_lost);
  EXPECT_EQ(t.fast + t.timeout, t.retransmitted);
  EXPECT_NEAR(static_cast<double>(t.timeout), static_cast<double>(model.truth.by_timer), 2.0);
  EXPECT_EQ(t.hole_fill, 0U);
  // Cohorts miss only what a timer told later than 2 RTT + 100 ms.
  EXPECT_LE(model.sum.lost_beyond, model.truth.path_lost);
  EXPECT_GE(model.sum.lost_beyond, model.truth.path_lost * 94 / 100);
  EXPECT_EQ(model.sum.lost_before, 0U);
}

TEST_P(SenderModel, LossInFrontOfTheTapIsBefore) {
  Model model(GetParam(), base_for(GetParam()), {.lan = 0.02});
  model.run(20'000);
  const SegmentTotals& t = model.wire.outbound();
  EXPECT_EQ(t.retransmitted + t.spurious, 0U);
  // A segment lost at the very end, or twice, leaves less to see than was lost.
  EXPECT_LE(t.hole_fill, model.truth.lan_lost);
  EXPECT_GE(t.hole_fill, model.truth.lan_lost * 95 / 100);
  EXPECT_EQ(model.sum.lost_beyond, 0U);
}

TEST_P(SenderModel, BothAreToldApart) {
  Model model(GetParam(), base_for(GetParam()), {.lan = 0.01, .path = 0.02, .acks = 0.05});
  model.run(20'000);
  const SegmentTotals& t = model.wire.outbound();
  const auto path = static_cast<double>(model.truth.path_lost);
  const auto lan = static_cast<double>(model.truth.lan_lost);
  EXPECT_NEAR(static_cast<double>(t.retransmitted), path, 0.02 * path + 4);
  EXPECT_NEAR(static_cast<double>(t.hole_fill), lan, 0.06 * lan + 4);
  // Every transmission but the LAN's losses passed the tap, and is one of these.
  EXPECT_EQ(t.data, t.fresh + t.retransmitted + t.spurious + t.hole_fill + t.reordered);
}

TEST_P(SenderModel, WithoutLossNothingIsLost) {
  Model model(GetParam(), base_for(GetParam()), {.acks = 0.2});
  model.run(5'000);
  EXPECT_EQ(model.wire.outbound().fresh, 5'000U);
  EXPECT_GE(model.sum.segments, 4'990U);  // the last ACK may be lost: what it covered has no fate
  EXPECT_EQ(model.sum.lost_beyond + model.sum.lost_before, 0U);
}

// The same traffic in super-packets of four: the same count of wire segments, the same losses.
TEST_P(SenderModel, SuperPacketsChangeNoCount) {
  Model model(GetParam(), base_for(GetParam()), {.path = 0.02}, 4);
  model.run(20'000);
  const SegmentTotals& t = model.wire.outbound();
  EXPECT_EQ(t.data, 20'000U + model.truth.resent);
  EXPECT_EQ(t.retransmitted, model.truth.path_lost);
}

TEST(SenderModelRtt, IsThePathsOwn) {
  Model model(5, 1000, {.path = 0.01});
  model.run(10'000);
  const RttTotals rtt = model.wire.estimator.rtt_totals(Direction::outbound);
  EXPECT_GT(rtt.samples, 1000U);
  EXPECT_NEAR(milliseconds(rtt.min), 20.0, 0.1);
  EXPECT_NEAR(milliseconds(rtt.p50), 20.0, 0.7);
  EXPECT_NEAR(milliseconds(rtt.p99), 20.0, 1.0);
}

}  // namespace
}  // namespace weir
