/// What to do when the capture cannot keep up: of how many connections one is followed.
///
/// Pure; one owner, which reads the tap and tells it of each turn. Whole connections are chosen, by the hash
/// of both their ends (RFC 7014, hash-based flow filtering; FlowTable::follows), because the fate of a
/// segment shows later and in the other direction: every second packet would say nothing. The share halves
/// with the first frames that are dropped, and after each tenth of a second that was too much; it doubles
/// when there has been room for twice the work for five seconds.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "config/units.hpp"

namespace weir {

/// Which connections are followed: those whose hash begins with as many zero bits as `one_in` has behind its
/// one. Simple enough for a classic BPF program to compute (sampling_filter).
struct FlowSample {
  std::uint32_t one_in = 1;  ///< a power of two
  std::uint32_t seed =
      0;  ///< random: strangers cannot know which of their connections are among the followed
  /// Of the connections that are left out, the tap hands over one in kThinning frames that it can tell to be
  /// theirs (sampling_filter, "plain"); each stands for so many.
  bool thinned = false;

  static constexpr std::uint32_t kThinning = 8;
  static constexpr std::uint32_t kAddressFactor = 0x9e3779b1;
  static constexpr std::uint32_t kPortFactor = 0x85ebca6b;
  static constexpr std::uint32_t kFactor = 0xc2b2ae35;

  /// `addresses`, `ports`: all words of both ends' addresses, in host order, XORed; both ports XORed. Either
  /// direction gives the same.
  [[nodiscard]] std::uint32_t hash(std::uint32_t addresses, std::uint32_t ports) const {
    return ((addresses ^ seed) * kAddressFactor + ports * kPortFactor) * kFactor;
  }
  [[nodiscard]] std::uint32_t passed_over() const { return ~(0xffffffffU / one_in); }
  [[nodiscard]] bool follows(std::uint32_t addresses, std::uint32_t ports) const {
    return one_in == 1 || (hash(addresses, ports) & passed_over()) == 0;
  }
  bool operator==(const FlowSample&) const = default;
};

class FlowSampling {
 public:
  /// Below this share too little would be known of a path to act on.
  static constexpr std::uint32_t kMostOneIn = 64;

  /// One reading of the tap.
  struct Turn {
    TimePoint began;  ///< both by the clock on the wall of the reader, not by the frames' times
    TimePoint ended;
    bool emptied = false;       ///< it took fewer frames than it might have: no more were there
    std::uint64_t dropped = 0;  ///< by the kernel for want of room, since the tap was opened
  };
  explicit FlowSampling(std::uint32_t seed) : seed_(seed) {}

  /// After each turn: when it is time for a new sample, `follow(sample)` gives it to the tap and says whether
  /// the tap thins by it. `now` reads the clock that turns are told in.
  template <typename Follow, typename Now>
  void adjust(const Turn& turn, Follow&& follow, Now&& now) {
    auto sample = on_turn(turn);
    if (!sample) return;
    const TimePoint at = now();  // before: a thread that has used up its share is held up behind calls
    sample->thinned = follow(*sample);
    began(*sample, at);
  }

  // -- the two halves of it --
  /// A new sample, when it is time for one: to be given to the tap, then to `began`.
  [[nodiscard]] std::optional<FlowSample> on_turn(const Turn& turn);
  /// The tap applies it to frames from `at` on; what it holds by then is of the sample before.
  void began(const FlowSample& sample, TimePoint at) { begun_.push_back({sample, at}); }
  /// The sample to follow from this frame on, when it is another one than before.
  [[nodiscard]] std::optional<FlowSample> due(TimePoint frame);

  /// Of the newest sample; 1: all connections are followed.
  [[nodiscard]] std::uint32_t one_in() const { return one_in_; }

 private:
  /// What was seen since `began`.
  struct Window {
    TimePoint began;
    Duration busy{};
    bool emptied = false;
    bool dropped = false;
  };
  struct Begun {
    FlowSample sample;
    TimePoint at;
  };
  void close(const Window& window, TimePoint now);

  std::uint32_t seed_;
  std::uint32_t one_in_ = 1;
  std::deque<Begun> begun_;  ///< not due yet
  std::uint64_t dropped_ = 0;
  std::optional<Window> window_;
  bool was_too_much_ = false;  ///< the window before
  TimePoint roomy_since_;
};

}  // namespace weir
