/// What the estimator tells the controller: one SiteMeasurement per site and direction, ten times a second.
///
/// Pure values, copied between threads. Rates and charged bytes in the one unit (config/units.hpp). Segment
/// counts are wire segments: a super-packet of n MSS counts n.
///
///        send time ->   |  cohort i  | cohort i+1 | cohort i+2 |
///                        100 ms of sending each; a loss is charged to the cohort its bytes were *sent* in
///        known at ->            i is mature (>= 95 % resolved, or older than 2 RTT + 100 ms) ...^ emitted
///        once
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "config/units.hpp"

namespace weir {

inline constexpr Duration kCohortLength = std::chrono::milliseconds(100);
inline constexpr Duration kSlotLength = std::chrono::milliseconds(2);
inline constexpr std::size_t kSlotsPerCohort = kCohortLength / kSlotLength;

/// A slot of a cohort: fine enough to see a limit at work between the first losses and the senders' silence.
struct Slot {
  std::uint32_t bytes = 0;      ///< charged bytes that left in it, all protocols
  std::uint16_t sent = 0;       ///< TCP segments; what was neither delivered nor lost has no fate yet
  std::uint16_t delivered = 0;  ///< of these, ACKed or SACKed
  std::uint16_t lost =
      0;  ///< of these, lost beyond or in suspense; inbound: of what never came, beside these
  bool operator==(const Slot&) const = default;
};

/// The fate of the TCP segments that one site was sent in one 100 ms interval. Emitted once, when mature.
struct Cohort {
  TimePoint begin;                ///< first instant of the interval of *send* time
  std::uint32_t segments = 0;     ///< resolved segments n: ACKed, SACKed or lost
  std::uint32_t lost_beyond = 0;  ///< k: lost on the WAN side of the tap, spurious ones already taken off
  std::uint32_t lost_before = 0;  ///< holes: bytes first seen below the high-water mark (LAN, our own queues)
  Bytes sent;                     ///< charged bytes of the TCP segments sent in it, retransmissions included
  std::uint32_t one_in = 1;       ///< of so many connections one is counted here (Estimator::follow)
  std::vector<Slot> slots;        ///< kSlotsPerCohort from `begin` on, or none where they are not kept
  bool operator==(const Cohort&) const = default;
};

/// What is known so far of a cohort that is not mature. Losses may turn out to be spurious, and more may
/// follow.
struct YoungCohort {
  TimePoint begin;
  std::uint32_t segments = 0;     ///< sent, whether or not their fate is known
  std::uint32_t lost_beyond = 0;  ///< retransmissions have passed for
  bool operator==(const YoungCohort&) const = default;
};

/// The provider's queue as the tap sees it: RTT over each flow's own base, over the ticks's fresh samples.
struct QueueDelay {
  Duration q{};    ///< weighted 20th percentile of RTT - base(flow)
  Duration p10{};  ///< spread of the same samples
  Duration p90{};
  std::uint32_t samples = 0;
  std::uint32_t flows = 0;
  TimePoint sent_from;  ///< oldest and newest send time among the samples
  TimePoint sent_to;
  bool operator==(const QueueDelay&) const = default;
};

/// The same queue by the way on which it waited, over those of its samples that could be split
/// (remote_clock).
struct QueueByWay {
  Duration
      forward{};  ///< weighted 20th percentile: from the tap to the receivers, who may have taken time too
  Duration reverse{};  ///< the same: from the receivers to the tap
  Duration within{};   ///< mean of what each of them may be wrong by
  std::uint32_t samples = 0;
  bool operator==(const QueueByWay&) const = default;
};

struct RttSummary {
  Duration base{};  ///< weighted median of the flows' bases
  Duration p50{};
  Duration p95{};
  std::uint32_t samples = 0;  ///< over the last 10 s
  bool operator==(const RttSummary&) const = default;
};

/// What the path handed over: TCP bytes newly ACKed or SACKed, or told as received twice, scaled to all
/// protocols by all bytes over those of followed connections.
struct Delivery {
  Rate rate;
  Duration over{};  ///< length of the sliding window: max(0.5 s, 2 base)
  bool operator==(const Delivery&) const = default;
};

/// One site, one direction, one tick.
struct SiteMeasurement {
  TimePoint at;                ///< end of the tick
  Duration interval{};         ///< its length
  bool valid = true;           ///< false: the capture lost frames or stalled; nothing in here is evidence
  Bytes sent;                  ///< charged bytes that left in the tick, all protocols that the tap saw
  Bytes sent_tcp;              ///< of these, TCP
  std::uint32_t one_in = 1;    ///< of so many connections one is followed: nothing seen may mean nothing then
  std::vector<Cohort> mature;  ///< cohorts that became mature in this tick, oldest first
  std::vector<YoungCohort> young;  ///< all that are not, while any of them is known to have lost; several of
                                   ///< one interval where workers or sites were put together
  std::optional<Delivery> delivered;  ///< nullopt: unknown (TCP under 5 % of the bytes, or no ACKs)
  std::optional<Bytes>
      delivered_bytes;              ///< the same scaled bytes, newly ACKed or SACKed within this tick alone
  std::optional<QueueDelay> queue;  ///< nullopt: no fresh sample in this tick
  std::optional<QueueByWay> queue_by_way;  ///< nullopt: no queue, or too few samples that could be split
  std::optional<RttSummary> rtt;
  std::uint32_t ece_echoes = 0;       ///< ACKs with ECE for data that left us ECT and not CE
  std::uint32_t flows = 0;            ///< followed flows with data in the last second
  std::optional<TimePoint> last_ack;  ///< newest ACK from any remote
  std::optional<TimePoint>
      unanswered_since;  ///< oldest data sent after last_ack; nullopt: nothing is waiting
  bool operator==(const SiteMeasurement&) const = default;
};

}  // namespace weir
