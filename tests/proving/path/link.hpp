/// One bottleneck of a provider's path in one direction, packet by packet: what the simulator and the
/// emulator for real packets both consist of, so that they cannot differ.
///
///   offer -> random loss -> limit: none | policer (token bucket) | buffer (FIFO with drop-tail, RED or
///   CoDel) -> out
///
/// Pure: time is an argument and never goes back; random numbers come from the seed. Sizes are charged bytes
/// (config/units.hpp). Not thread-safe. Sources: RED, Floyd and Jacobson 1993 with the gentle variant; CoDel,
/// RFC 8289; bursts, Gilbert 1960.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <variant>
#include <vector>

#include "config/units.hpp"

#include "proving/path/schedule.hpp"

namespace weir::proving {

/// As the owner of the packet knows it: the link gives the token back and looks at nothing else.
struct Item {
  std::uint64_t token = 0;
  std::uint32_t bytes = 0;
  bool ecn_capable = false;
};

/// marked: it is to carry CE and waits on, to be forwarded later.
enum class Fate : std::uint8_t { forwarded, marked, over_limit, at_random };
struct Outcome {
  Item item;
  TimePoint at;
  Fate fate{};
};

/// A length of time at the present capacity, or bytes; a buffer or bucket holds a full packet at least.
using Depth = std::variant<Duration, Bytes>;

struct Unlimited {};
struct Policer {
  Depth bucket = Bytes(15'000);
};
struct DropTail {};
struct Red {
  Duration least{};  ///< average queue at which drops begin, and the one at which a tenth is dropped
  Duration most{};
};
struct CoDel {
  Duration target = std::chrono::milliseconds(5);
  Duration interval = std::chrono::milliseconds(100);
};
struct Buffer {
  Depth depth = Duration(std::chrono::milliseconds(100));
  std::variant<DropTail, Red, CoDel> aqm;
  bool ecn = false;  ///< CoDel marks what can be marked
};

struct RandomLoss {
  Schedule ratio{};         ///< share of the packets
  double burst = 1.0;       ///< mean length of the runs in which it comes; 1: every packet by itself
  std::uint32_t below = 0;  ///< only packets of fewer bytes; 0: all
};

struct LinkSettings {
  Schedule capacity;  ///< bits per second; of an unlimited link not looked at
  std::variant<Unlimited, Policer, Buffer> limit{};
  RandomLoss loss{};
};

class Link {
 public:
  Link(LinkSettings settings, std::uint64_t seed);

  /// What becomes of it at once; nullopt: it waits in the buffer. What was due before `now` has to be taken
  /// out by `advance` first, or it would count as still waiting.
  [[nodiscard]] std::optional<Outcome> offer(const Item& item, TimePoint now);
  /// When the next packet leaves if nothing else comes: the time for `advance`; nullopt: nothing waits.
  [[nodiscard]] std::optional<TimePoint> next(TimePoint now) const;
  /// What has left the buffer until `now`, appended to `out`.
  void advance(TimePoint now, std::vector<Outcome>& out);

  [[nodiscard]] Rate capacity(TimePoint now) const {
    return Rate::bps(static_cast<std::uint64_t>(settings_.capacity.at(now)));
  }
  /// What a packet that comes now would wait for, through all that the capacity is going to do meanwhile; an
  /// hour when it stays at zero.
  [[nodiscard]] Duration queue(TimePoint now) const;
  [[nodiscard]] const LinkSettings& settings() const { return settings_; }

 private:
  struct Waiting {
    Item item;
    TimePoint since;
  };
  [[nodiscard]] bool lost_at_random(const Item& item, TimePoint now);
  [[nodiscard]] double most_tokens(const Policer& policer, TimePoint now) const;
  void fill(const Policer& policer, TimePoint now);
  [[nodiscard]] bool passes(const Policer& policer, const Item& item, TimePoint now);
  [[nodiscard]] bool enters(const Buffer& buffer, const Item& item, TimePoint now);
  [[nodiscard]] bool red_hits(const Red& red, TimePoint now);
  [[nodiscard]] bool codel_hits(const CoDel& codel, const Waiting& head, TimePoint now);
  void start_service(TimePoint now, std::vector<Outcome>& out);
  [[nodiscard]] double bytes_of(const Depth& depth, TimePoint now) const;

  LinkSettings settings_;
  std::mt19937_64 random_;
  bool in_burst_ = false;

  double tokens_ = 0.0;  ///< bits
  TimePoint filled_;
  bool bucket_begun_ = false;

  std::deque<Waiting> queue_;
  std::uint64_t waiting_bytes_ = 0;
  double left_of_head_ = 0.0;  ///< bits of the packet in service
  TimePoint served_until_;

  double red_average_ = 0.0;  ///< seconds
  TimePoint red_idle_since_;
  int red_since_hit_ = -1;
  struct {
    std::optional<TimePoint> above_since;
    TimePoint next;
    std::uint32_t count = 0;
    std::uint32_t last_count = 0;
    bool dropping = false;
  } codel_;
};

}  // namespace weir::proving
