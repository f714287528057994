// Properties that hold of any conversation: its losses come out as they were made, and what changes nothing
// on the wire changes nothing in the answer. Each seed is another conversation, always the same one.
#include <functional>
#include <random>

#include <gtest/gtest.h>

#include "conversation.hpp"

namespace weir {
namespace {

using namespace weir::test;

constexpr std::uint32_t kSeeds = 40;

/// How a conversation is put on the wire.
struct Staging {
  std::uint32_t base = 1'000'000;       ///< sequence number of our first byte
  std::uint32_t peer_base = 5'000'000;  ///< and of the far host's
  Duration from = Duration::zero();     ///< when it begins
  bool far_side_is_ours = false;
  bool accounts = false;
  std::size_t rows = 0;  ///< of flows, kept with the accounts
};

struct Sums {
  std::uint32_t segments = 0;
  std::uint32_t lost_beyond = 0;
  std::uint32_t lost_before = 0;
  std::uint64_t bytes = 0;
};

struct Result {
  SegmentTotals outbound;
  SegmentTotals inbound;
  RttTotals rtt;
  std::vector<Cohort> cohorts;  ///< of the data's direction
  Bytes sent;                   ///< and what left in it
  Bytes delivered;
  std::uint64_t one_way = 0;

  [[nodiscard]] Sums sums() const {
    Sums all;
    for (const Cohort& c : cohorts) {
      all.segments += c.segments;
      all.lost_beyond += c.lost_beyond;
      all.lost_before += c.lost_before;
      all.bytes += c.sent.count();
    }
    return all;
  }
};

/// The estimator, fed one conversation.
class Play {
 public:
  explicit Play(Staging staging = {}) : staging_(staging), estimator_(settings(staging)) {
    static_cast<void>(estimator_.tick(at(0.0), false));
  }

  void frame(const Passing& p) {
    while (ticked_ + 100.0 <= p.ms) tick();
    TcpSpec s = p.spec;
    const bool ours = s.source == address("10.1.0.1");
    const std::uint32_t own = ours ? staging_.base : staging_.peer_base;
    const std::uint32_t other = ours ? staging_.peer_base : staging_.base;
    s.seq += own;
    if ((s.flags & kTcpAck) != 0) s.ack += other;
    for (SequenceRange& r : s.sack) r = {r.begin + other, r.end + other};
    const Bytes8 bytes = ethernet_frame(s);
    estimator_.on_frame(as_frame(bytes, at(p.ms), 14 + ip_length(s)));
  }

  Result finish() {
    const double end = ticked_ + 15'000.0;
    while (ticked_ < end) tick();
    result_.outbound = estimator_.totals().outbound;
    result_.inbound = estimator_.totals().inbound;
    result_.one_way = estimator_.totals().one_way;
    result_.rtt = estimator_.rtt_totals(datas_way());
    return result_;
  }

  [[nodiscard]] const SegmentTotals& outbound() const { return estimator_.totals().outbound; }

 private:
  static EstimatorSettings settings(const Staging& staging) {
    EstimatorSettings s;
    s.sites = {{prefix(staging.far_side_is_ours ? "10.1.0.0/16" : "10.20.0.0/16")}};
    s.keep_accounts = staging.accounts;
    s.keep_flows = staging.rows;
    return s;
  }
  [[nodiscard]] Direction datas_way() const {
    return staging_.far_side_is_ours ? Direction::inbound : Direction::outbound;
  }
  /// Steps of 64 ns, in which the estimator keeps times: a shift by any number of them changes no rounding.
  [[nodiscard]] TimePoint at(double ms) const {
    return TimePoint(Duration(static_cast<std::int64_t>(ms * 1e6) / 64 * 64) + staging_.from + kEpoch);
  }
  void tick() {
    ticked_ += 100.0;
    const TickResult r = estimator_.tick(at(ticked_), false);
    const SiteMeasurement& m = (staging_.far_side_is_ours ? r.inbound : r.outbound)[0];
    result_.cohorts.insert(result_.cohorts.end(), m.mature.begin(), m.mature.end());
    result_.sent += m.sent;
    result_.delivered += m.delivered_bytes.value_or(Bytes());
  }

  static constexpr Duration kEpoch = std::chrono::microseconds(64'000'000);
  Staging staging_;
  Estimator estimator_;
  double ticked_ = 0.0;
  Result result_;
};

Result played(const std::vector<Passing>& frames, const Staging& staging = {}) {
  Play play(staging);
  for (const Passing& p : frames) play.frame(p);
  return play.finish();
}

/// The same in every respect; cohorts may begin elsewhere.
void expect_same(Result a, Result b) {
  EXPECT_EQ(a.outbound, b.outbound);
  EXPECT_EQ(a.inbound, b.inbound);
  EXPECT_EQ(a.sent, b.sent);
  EXPECT_EQ(a.delivered, b.delivered);
  EXPECT_EQ(a.rtt.samples, b.rtt.samples);
  EXPECT_EQ(a.rtt.min, b.rtt.min);
  EXPECT_EQ(a.rtt.p95, b.rtt.p95);
  ASSERT_FALSE(a.cohorts.empty());
  ASSERT_EQ(a.cohorts.size(), b.cohorts.size());
  const Duration shift = b.cohorts[0].begin - a.cohorts[0].begin;
  for (Cohort& c : a.cohorts) c.begin += shift;
  EXPECT_EQ(a.cohorts, b.cohorts);
}

class AnyConversation : public testing::TestWithParam<std::uint32_t> {
 protected:
  [[nodiscard]] static std::uint32_t seed() { return GetParam(); }
  std::mt19937 random{GetParam() + 1000};
};
INSTANTIATE_TEST_SUITE_P(Seeds, AnyConversation, testing::Range(1U, kSeeds + 1));

TEST_P(AnyConversation, IsToldAsItWas) {
  const Conversation made = conversation(seed());
  const Result r = played(made.frames);
  const SegmentTotals& t = r.outbound;
  EXPECT_EQ(t.fresh, made.answer.fresh);
  EXPECT_EQ(t.retransmitted, made.answer.retransmitted);
  EXPECT_EQ(t.spurious, made.answer.spurious);
  EXPECT_EQ(t.hole_fill, made.answer.hole_fill);
  EXPECT_EQ(t.reordered, made.answer.reordered);
  EXPECT_EQ(t.data, t.fresh + t.retransmitted + t.spurious + t.hole_fill + t.reordered);
  EXPECT_EQ(r.sums().lost_before, made.answer.hole_fill);
}

TEST_P(AnyConversation, ChargesEachLossOnce) {
  const Conversation made = conversation(seed(), {.late = 0.0, .recut = 0.0});
  const Sums sums = played(made.frames).sums();
  EXPECT_EQ(sums.lost_beyond, made.answer.lost_beyond);
  EXPECT_EQ(sums.lost_before, made.answer.hole_fill);
  const Answer& a = made.answer;
  EXPECT_EQ(sums.segments, a.fresh + a.retransmitted + a.spurious + a.hole_fill + a.reordered);
}

/// The share of what the path carried that is told as delivered.
double told_of_carried(const Conversation& made, const std::vector<Passing>& frames) {
  return static_cast<double>(played(frames).delivered.count()) /
         static_cast<double>(made.answer.carried.count());
}

// A tenth of it for nothing, told by D-SACKs.
TEST_P(AnyConversation, DeliversWhatThePathCarriedForNothingAsWell) {
  const Conversation made = conversation(seed(), {.early = 0.06, .late = 0.06});
  EXPECT_NEAR(told_of_carried(made, made.frames), 1.0, 0.001);
}

// With more sent twice than is remembered, retransmissions that are lost, and so are acknowledgments.
TEST_P(AnyConversation, NeverDeliversMoreThanThePathCarried) {
  const Conversation made =
      conversation(seed(), {.lost_beyond = 0.1, .early = 0.25, .late = 0.25, .again_lost = 0.5});
  std::vector<Passing> some;
  for (const Passing& p : made.frames) {
    if (p.is_data() || p.ms < 30.0 || random() % 3 != 0) some.push_back(p);
  }
  for (const auto& frames : {made.frames, some}) {
    const double told = told_of_carried(made, frames);
    EXPECT_LE(told, 1.001);
    EXPECT_GE(told, 0.85);
  }
}

// Where rows of flows are kept every packet goes the long way.
TEST_P(AnyConversation, ReadsTheSameByTheShortWays) {
  const Conversation made = conversation(seed(), {.most_segments_a_packet = 4});
  const Result by_long_ways = played(made.frames, {.accounts = true, .rows = 4});
  expect_same(by_long_ways, played(made.frames, {.accounts = true}));
  expect_same(by_long_ways, played(made.frames));
}

TEST_P(AnyConversation, ReadsTheSameWhereverTheNumbersWrap) {
  const Conversation made = conversation(seed());
  const Result there = played(made.frames);
  const std::uint32_t bytes = 600 * 2500;
  for (int i = 0; i < 6; ++i) {
    const std::uint32_t edge = i % 2 == 0 ? 0U : 0x80000000U;  // of the numbers, and of their differences
    const std::uint32_t base = edge - static_cast<std::uint32_t>(random() % bytes);
    expect_same(there,
                played(made.frames, {.base = base, .peer_base = static_cast<std::uint32_t>(random())}));
  }
}

TEST_P(AnyConversation, ReadsTheSameAtAnyHour) {
  const Conversation made = conversation(seed());
  const Result there = played(made.frames);
  constexpr std::int64_t kStep = 64;
  const std::int64_t wrap = kStep << 32U;  // of the times in flow records
  for (const std::int64_t around : {std::int64_t{0}, wrap, wrap / 2, 1000 * wrap}) {
    const std::int64_t earlier = static_cast<std::int64_t>(random() % 400'000'000U) / kStep * kStep;
    expect_same(there, played(made.frames, {.from = Duration(around + 2 * wrap - earlier) / kStep * kStep}));
  }
}

TEST_P(AnyConversation, IsTheSameInItsMirror) {
  const Conversation made = conversation(seed());
  const Result out = played(made.frames);
  const Result in = played(made.frames, {.far_side_is_ours = true});
  EXPECT_EQ(in.inbound, out.outbound);
  EXPECT_EQ(in.outbound, out.inbound);
  EXPECT_EQ(in.sent, out.sent);
  EXPECT_EQ(in.rtt.min, out.rtt.min);
  EXPECT_EQ(in.rtt.samples, out.rtt.samples);
  // Along the way of the data before and after the tap are the same; beyond and ours have changed places.
  EXPECT_EQ(in.sums().lost_before, out.sums().lost_beyond);
  EXPECT_EQ(in.sums().lost_beyond, out.sums().lost_before);
  EXPECT_EQ(in.sums().segments, out.sums().segments + out.sums().lost_before);
}

/// Each super-packet as the segments that it becomes on the wire.
std::vector<Passing> split(const std::vector<Passing>& frames) {
  std::vector<Passing> all;
  for (const Passing& p : frames) {
    Passing piece = p;
    for (std::uint32_t done = 0; done < p.spec.payload; done += piece.spec.payload) {
      piece.spec.seq = p.spec.seq + done;
      piece.spec.payload = std::min(1000U, p.spec.payload - done);
      piece.spec.ip_id = static_cast<std::uint16_t>(p.spec.ip_id + 7919U * (done / 1000U));
      all.push_back(piece);
    }
    if (!p.is_data()) all.push_back(p);
  }
  return all;
}

// Retransmissions are cut where segments begin: of a part of one it is not known which of its parts it is.
TEST_P(AnyConversation, CountsSuperPacketsAsTheirSegments) {
  const Conversation made = conversation(seed(), {.recut = 0.0, .most_segments_a_packet = 16});
  const Result whole = played(made.frames);
  const Result pieces = played(split(made.frames));
  EXPECT_EQ(whole.outbound, pieces.outbound);
  EXPECT_EQ(whole.sent, pieces.sent);
  EXPECT_EQ(whole.rtt.min, pieces.rtt.min);
  ASSERT_EQ(whole.cohorts.size(), pieces.cohorts.size());
  for (std::size_t i = 0; i < whole.cohorts.size(); ++i) {
    EXPECT_EQ(whole.cohorts[i].begin, pieces.cohorts[i].begin);
    EXPECT_EQ(whole.cohorts[i].segments, pieces.cohorts[i].segments);
    EXPECT_EQ(whole.cohorts[i].lost_beyond, pieces.cohorts[i].lost_beyond);
    EXPECT_EQ(whole.cohorts[i].lost_before, pieces.cohorts[i].lost_before);
    EXPECT_EQ(whole.cohorts[i].sent, pieces.cohorts[i].sent);
    EXPECT_EQ(whole.cohorts[i].slots, pieces.cohorts[i].slots);
  }
}

TEST_P(AnyConversation, IsNotChangedByCopiesThatTheCaptureMakes) {
  const Conversation made = conversation(seed());
  std::vector<Passing> twice;
  std::uint64_t copies = 0;
  for (const Passing& p : made.frames) {
    twice.push_back(p);
    if (random() % 3 != 0) continue;
    twice.push_back(p);
    twice.back().ms += 0.001;
    copies += (p.spec.payload + 999) / 1000;
  }
  std::stable_sort(twice.begin(), twice.end(), [](auto& a, auto& b) { return a.ms < b.ms; });
  const Result once = played(made.frames);
  Result with_copies = played(twice);
  EXPECT_EQ(with_copies.outbound.duplicate, copies);
  with_copies.outbound.data -= copies;
  with_copies.outbound.duplicate = 0;
  EXPECT_EQ(with_copies.outbound, once.outbound);
  EXPECT_EQ(with_copies.rtt.min, once.rtt.min);
  EXPECT_EQ(with_copies.sums().segments, once.sums().segments);
  EXPECT_EQ(with_copies.sums().lost_beyond, once.sums().lost_beyond);
  EXPECT_EQ(with_copies.sums().lost_before, once.sums().lost_before);
}

/// What the class of a frame's segments says of losses.
enum class Told { nothing, after, before, overtaken };

Told told(const SegmentTotals& before, const SegmentTotals& after) {
  if (after.retransmitted + after.spurious > before.retransmitted + before.spurious) return Told::after;
  if (after.hole_fill > before.hole_fill) return Told::before;
  if (after.reordered > before.reordered) return Told::overtaken;
  return Told::nothing;
}

std::vector<Told> told_of_each(const std::vector<Passing>& frames, std::size_t from, Result* result) {
  Play play;
  std::vector<Told> all(from, Told::nothing);
  for (std::size_t i = from; i < frames.size(); ++i) {
    const SegmentTotals before = play.outbound();
    play.frame(frames[i]);
    all.push_back(told(before, play.outbound()));
  }
  *result = play.finish();
  return all;
}

TEST_P(AnyConversation, JoinedLateShowsNoLossThatTheWholeDoesNot) {
  const Conversation made = conversation(seed());
  Result result;
  const std::vector<Told> whole = told_of_each(made.frames, 0, &result);
  for (int n = 0; n < 8; ++n) {
    const std::size_t from = 3 + random() % (made.frames.size() - 100);
    const std::vector<Told> part = told_of_each(made.frames, from, &result);
    std::uint64_t after = 0;
    std::uint64_t before = 0;
    for (std::size_t i = from; i < part.size(); ++i) {
      if (part[i] == Told::nothing) continue;
      EXPECT_EQ(part[i], whole[i]) << "frame " << i << " of a view from " << from;
      if (part[i] == Told::after) ++after;
      if (part[i] == Told::before) ++before;
    }
    EXPECT_LE(result.sums().lost_beyond, after);
    EXPECT_LE(result.sums().lost_before, before);
  }
}

// Only one SYN is seen, so that nothing tells the MSS: packets of one segment.
TEST_P(AnyConversation, WithoutItsAnswersShowsTheSameBytesTwiceAndChargesNone) {
  const Conversation made = conversation(seed(), {.most_segments_a_packet = 1});
  std::vector<Passing> ours;
  for (const Passing& p : made.frames) {
    if (p.spec.source == address("10.1.0.1")) ours.push_back(p);
  }
  const Result r = played(ours);
  EXPECT_EQ(r.outbound.retransmitted + r.outbound.spurious, made.answer.retransmitted + made.answer.spurious);
  EXPECT_EQ(r.outbound.hole_fill, made.answer.hole_fill);
  EXPECT_EQ(r.outbound.reordered, made.answer.reordered);
  EXPECT_EQ(r.one_way, r.outbound.data);
  EXPECT_TRUE(r.cohorts.empty());
}

TEST_P(AnyConversation, OfManyAtOnceEachCountsAsIfItWereAlone) {
  std::vector<Passing> all;
  Sums alone;
  SegmentTotals totals;
  for (std::uint16_t i = 0; i < 5; ++i) {
    const Conversation one =
        conversation(seed() * 100 + i, {.packets = 200, .port = static_cast<std::uint16_t>(41000 + i)});
    all.insert(all.end(), one.frames.begin(), one.frames.end());
    const Result r = played(one.frames);
    alone.segments += r.sums().segments;
    alone.lost_beyond += r.sums().lost_beyond;
    alone.lost_before += r.sums().lost_before;
    totals.fresh += r.outbound.fresh;
    totals.retransmitted += r.outbound.retransmitted;
    totals.spurious += r.outbound.spurious;
    totals.hole_fill += r.outbound.hole_fill;
    totals.reordered += r.outbound.reordered;
  }
  std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.ms < b.ms; });
  const Result together = played(all);
  EXPECT_EQ(together.outbound.fresh, totals.fresh);
  EXPECT_EQ(together.outbound.retransmitted, totals.retransmitted);
  EXPECT_EQ(together.outbound.spurious, totals.spurious);
  EXPECT_EQ(together.outbound.hole_fill, totals.hole_fill);
  EXPECT_EQ(together.outbound.reordered, totals.reordered);
  EXPECT_EQ(together.sums().segments, alone.segments);
  EXPECT_EQ(together.sums().lost_beyond, alone.lost_beyond);
  EXPECT_EQ(together.sums().lost_before, alone.lost_before);
}

}  // namespace
}  // namespace weir
