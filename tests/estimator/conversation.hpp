// A conversation between our side and a far host as the tap saw it, made at random but with a known answer:
// which segments were lost on which side of the tap, overtook each other, or were sent again for nothing.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <vector>

#include "wire.hpp"

namespace weir::test {

/// A frame and when it passed. Sequence numbers are those of the connection: 0 is each side's first byte.
struct Passing {
  double ms = 0.0;
  TcpSpec spec;
  [[nodiscard]] bool is_data() const { return spec.payload > 0; }
};

/// What really happened, in wire segments of the side that sends data.
struct Answer {
  std::uint64_t fresh = 0;
  std::uint64_t retransmitted = 0;  ///< lost behind the tap, as often as they were sent again
  std::uint64_t spurious = 0;
  std::uint64_t hole_fill = 0;  ///< lost in front of the tap
  std::uint64_t reordered = 0;
  std::uint64_t lost_beyond = 0;  ///< transmissions; each is told by the next one of its bytes
  Bytes carried;                  ///< what arrived, as often as it did, as it was charged
};

struct Conversation {
  std::vector<Passing> frames;  ///< by time
  Answer answer;
};

struct Happenings {
  double lost_before = 0.02;
  double lost_beyond = 0.03;
  double overtaken = 0.02;  ///< in front of the tap, by less than a retransmission could take
  double early = 0.01;      ///< sent again before its ACK came
  double late = 0.01;       ///< ... and after
  double again_lost = 0.0;  ///< of both: lost beyond, so that nobody knows
  double recut = 0.3;       ///< a retransmission is cut elsewhere than the lost bytes were
  std::uint32_t most_segments_a_packet = 4;
  std::uint32_t packets = 600;
  std::uint16_t port = 40000;
};

/// Nothing but `seed` decides. Both sides of the tap are scripted: the sender knows at once what was lost.
class ConversationMaker {
 public:
  ConversationMaker(std::uint32_t seed, const Happenings& happen) : random_(seed), happen_(happen) {}

  Conversation make() {
    shake_hands();
    double ms = 30.0;
    std::uint32_t next = 0;
    for (std::uint32_t i = 0; i < happen_.packets; ++i) {
      const bool quiet = i < 10 || i + 80 > happen_.packets;  // the RTT is learnt, and every fate is told
      const std::uint32_t length = packet_length();
      send_first(ms, {next, next + length}, quiet);
      next += length;
      ms += happens(0.1) ? 1.5 : 0.05 + 0.5 * fraction();
    }
    answer_arrivals();
    std::stable_sort(frames_.begin(), frames_.end(),
                     [](auto& a, auto& b) { return a.passing.ms < b.passing.ms; });
    return finished();
  }

 private:
  static constexpr std::uint32_t kMss = 1000;
  static constexpr std::uint32_t kHeaders = 54;  ///< of Ethernet, IPv4 and TCP
  static constexpr double kLanMs = 0.2;
  static constexpr double kPathMs = 10.0;  ///< one way

  enum class Kind { other, original, overtaken, fill, again, for_nothing };
  struct Tagged {
    Passing passing;
    Kind kind = Kind::other;
  };

  double fraction() { return std::uniform_real_distribution<double>()(random_); }
  bool happens(double p) { return fraction() < p; }
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }

  /// One segment of any length, or a super-packet whose last segment may be short.
  std::uint32_t packet_length() {
    const std::uint32_t segments = 1 + below(happen_.most_segments_a_packet);
    const std::uint32_t missing = happens(0.5) ? 0 : below(kMss);
    return segments * kMss - missing;
  }

  TcpSpec from_us(SequenceRange range) {
    return {.source_port = happen_.port, .seq = range.begin, .payload = range.size(), .ip_id = next_id()};
  }
  TcpSpec from_far(std::uint32_t ack, std::vector<SequenceRange> sack) {
    return {.source = address("10.20.0.1"),
            .destination = address("10.1.0.1"),
            .source_port = 5001,
            .destination_port = happen_.port,
            .ack = ack,
            .ip_id = next_id(),
            .sack = std::move(sack)};
  }
  std::uint16_t next_id() { return ++id_ == 0 ? ++id_ : id_; }

  void shake_hands() {
    TcpSpec syn = from_us({});
    syn.seq = 0U - 1U;
    syn.flags = kTcpSyn;
    syn.mss = kMss;
    pass(0.0, syn, Kind::other);
    TcpSpec answer = from_far(0, {});
    answer.seq = 0U - 1U;
    answer.flags = kTcpSyn | kTcpAck;
    answer.mss = kMss;
    pass(2 * kPathMs, answer, Kind::other);
    pass(2 * kPathMs + kLanMs, from_us({}), Kind::other);
  }

  void pass(double ms, TcpSpec spec, Kind kind) { frames_.push_back({{ms, std::move(spec)}, kind}); }

  void send_first(double ms, SequenceRange range, bool quiet) {
    if (!quiet && happens(happen_.lost_before)) {
      send_pieces(ms + resent_after(), range, Kind::fill);
      return;
    }
    const bool overtaken = !quiet && happens(happen_.overtaken);
    const double at = ms + kLanMs + (overtaken ? 0.5 + 1.5 * fraction() : 0.0);
    pass(at, from_us(range), overtaken ? Kind::overtaken : Kind::original);
    for (std::uint32_t begin = range.begin; begin != range.end;) {
      const SequenceRange segment{begin, std::min(begin + kMss, range.end)};
      beyond_the_tap(at, segment, quiet);
      begin = segment.end;
    }
  }

  void beyond_the_tap(double at, SequenceRange segment, bool quiet) {
    if (!quiet && happens(happen_.lost_beyond)) {
      ++lost_beyond_;
      send_pieces(at + resent_after(), segment, Kind::again);
      return;
    }
    arrivals_.emplace(at + kPathMs, segment);
    if (quiet) return;
    if (happens(happen_.early)) send_for_nothing(at + 5.0, segment);
    if (happens(happen_.late)) send_for_nothing(at + 2 * kPathMs + 10.0, segment);
  }

  /// A retransmission need not be cut where the lost bytes were.
  void send_pieces(double ms, SequenceRange range, Kind kind) {
    for (std::uint32_t begin = range.begin; begin != range.end;) {
      const std::uint32_t left = range.end - begin;
      const std::uint32_t length = std::min({left, kMss, happens(happen_.recut) ? 1 + below(kMss) : kMss});
      const SequenceRange piece{begin, begin + length};
      ms += 0.01;
      pass(ms + kLanMs, from_us(piece), kind);
      if (happens(2 * happen_.lost_beyond)) {
        ++lost_beyond_;
        send_pieces(ms + resent_after(), piece, Kind::again);
      } else {
        arrivals_.emplace(ms + kLanMs + kPathMs, piece);
      }
      begin = piece.end;
    }
  }

  void send_for_nothing(double ms, SequenceRange segment) {
    pass(ms + kLanMs, from_us(segment), Kind::for_nothing);
    if (happen_.again_lost > 0.0 && happens(happen_.again_lost)) return;
    arrivals_.emplace(ms + kLanMs + kPathMs, segment);
  }

  double resent_after() { return 2 * kPathMs + 3.0 + 4.0 * fraction(); }

  /// An ACK for each arrival; SACK blocks as RFC 2018 and RFC 2883 order them.
  void answer_arrivals() {
    std::map<std::uint32_t, std::uint32_t> held;  // begin -> end, disjoint, not touching
    std::uint32_t received = 0;
    for (const auto& [ms, segment] : arrivals_) {
      std::vector<SequenceRange> blocks;
      SequenceRange around = segment;
      auto i = held.upper_bound(segment.begin);
      if (i != held.begin() && std::prev(i)->second >= segment.begin) --i;
      const bool had = segment.begin < received ||
                       (i != held.end() && i->first <= segment.begin && i->second >= segment.end);
      if (had) {
        blocks.push_back(segment);
        if (segment.begin >= received) blocks.push_back({i->first, i->second});
      } else {
        while (i != held.end() && i->first <= around.end) {
          around = {std::min(around.begin, i->first), std::max(around.end, i->second)};
          i = held.erase(i);
        }
        if (around.begin == received) {
          received = around.end;
        } else {
          held[around.begin] = around.end;
          blocks.push_back(around);
        }
      }
      for (auto h = held.rbegin(); h != held.rend() && blocks.size() < 3; ++h) {
        const SequenceRange block{h->first, h->second};
        if (std::find(blocks.begin(), blocks.end(), block) == blocks.end()) blocks.push_back(block);
      }
      pass(ms + kPathMs, from_far(received, std::move(blocks)), Kind::other);
    }
  }

  Conversation finished() {
    Conversation made;
    made.answer.lost_beyond = lost_beyond_;
    const LinkLayer link_layer = one_site().link_layer;
    for (const auto& [ms, segment] : arrivals_)
      made.answer.carried += link_layer.charged(kHeaders + segment.size());
    std::uint32_t high = 0;
    for (Tagged& t : frames_) {
      const TcpSpec& s = t.passing.spec;
      const std::uint64_t segments = (s.payload + kMss - 1) / kMss;
      Answer& a = made.answer;
      switch (t.kind) {
        case Kind::overtaken:  // unless nothing was near enough to overtake it
          (s.seq < high ? a.reordered : a.fresh) += segments;
          break;
        case Kind::original:
          a.fresh += segments;
          break;
        case Kind::fill:
          a.hole_fill += segments;
          break;
        case Kind::again:
          a.retransmitted += segments;
          break;
        case Kind::for_nothing:
          a.spurious += segments;
          break;
        case Kind::other:
          break;
      }
      high = std::max(high, t.passing.is_data() ? s.seq + s.payload : 0U);
      made.frames.push_back(std::move(t.passing));
    }
    return made;
  }

  std::mt19937 random_;
  Happenings happen_;
  std::uint16_t id_ = 0;
  std::uint64_t lost_beyond_ = 0;
  std::vector<Tagged> frames_;
  std::multimap<double, SequenceRange> arrivals_;
};

inline Conversation conversation(std::uint32_t seed, const Happenings& happen = {}) {
  return ConversationMaker(seed, happen).make();
}

}  // namespace weir::test
