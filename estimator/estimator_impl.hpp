/// What an Estimator is made of. Private to the estimator: estimator.cpp has what its owner asks,
/// estimator_packets.cpp what is done with each frame.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "estimator/accounts.hpp"
#include "estimator/duration_sums.hpp"
#include "estimator/echo_times.hpp"
#include "estimator/estimator.hpp"
#include "estimator/flow_table.hpp"
#include "estimator/frame_clock.hpp"
#include "estimator/parse.hpp"
#include "estimator/path_window.hpp"
#include "estimator/remote_bases.hpp"
#include "estimator/remote_clocks.hpp"
#include "estimator/sides.hpp"
#include "estimator/way_in.hpp"

namespace weir {

struct Estimator::Impl {
  explicit Impl(EstimatorSettings s)
      : settings(std::move(s)),
        sides(settings.sites, settings.inside),
        flows(FlowLimits{.flows = settings.max_flows}, settings.hash_seed),
        charged_as_it_is(settings.link_layer == LinkLayer{}) {
    windows.resize(2 * (settings.sites.size() + 1));
    for (std::size_t site = 0; site < settings.watch_way_in.size(); ++site) {
      ways_in.resize(settings.sites.size());
      if (settings.watch_way_in[site]) ways_in.at(site).emplace();
    }
    if (settings.keep_accounts) {
      accounts =
          std::make_unique<Accounts>(settings.sites.size() + 1, settings.keep_flows, settings.in_parts);
    }
  }

  EstimatorSettings settings;
  Sides sides;
  FlowTable flows;
  bool charged_as_it_is;  ///< the link layer adds nothing
  RemoteBases bases;
  RemoteClocks clocks;
  EchoTimes echoes;
  std::vector<std::optional<WayIn>> ways_in;  ///< by site; empty: nobody asks
  /// By number of the path; made with the first frame, since most sites of a large policy may be silent.
  std::vector<std::unique_ptr<PathWindow>> windows;
  /// [direction]. Without accounts; these sum up the same by site and DSCP, and are asked instead.
  std::array<DurationSums, 2> rtt;
  std::array<SegmentTotals, 2> segments;
  std::array<DurationSums, 2> retransmission_delay;  ///< [direction]
  EstimatorTotals totals;
  std::unique_ptr<Accounts> accounts;
  CaptureGap gap{.begin = TimePoint::max(), .end = TimePoint::min()};
  FlowSample chosen;
  bool follows_fewer = false;  ///< than at the last tick
  std::optional<TimePoint> epoch;
  FrameClock clock;
  TimePoint last_tick;

  /// The number of a site's path, as Flow::path_of has it.
  [[nodiscard]] static std::uint32_t path_number(Direction direction, std::uint32_t site) {
    return site << 1U | static_cast<std::uint32_t>(direction);
  }
  [[nodiscard]] static Direction direction_of(std::uint32_t path) {
    return static_cast<Direction>(path & 1U);
  }
  [[nodiscard]] static std::uint32_t site_of(std::uint32_t path) { return path >> 1U; }
  [[nodiscard]] static std::uint32_t opposite(std::uint32_t path) { return path ^ 1U; }
  [[nodiscard, gnu::always_inline]] PathWindow& window(std::uint32_t path) {
    PathWindow* const made = windows[path].get();
    if (made == nullptr) [[unlikely]]
      return make_window(path);
    return *made;
  }
  [[nodiscard]] PathWindow& window_of(const Flow& flow, End end) { return window(flow.path_of(end)); }
  /// Direction of the data that `end` of the flow sends.
  [[nodiscard]] static Direction direction_of(const Flow& flow, End end) {
    return direction_of(flow.path_of(end));
  }
  [[nodiscard]] static Account account_of(const Flow& flow, End end) {
    return {.direction = direction_of(flow, end),
            .site = flow.site(),
            .dscp = flow.halves[end].dscp(),
            .flow = flow.number,
            .end = end};
  }

  /// What a frame is on the wire.
  struct OnWire {
    std::uint32_t segments = 0;  ///< of payload
    Bytes charged;
  };
  /// A packet of a connection: who sent it, and where what the sender sends is summed up.
  struct Passing {
    const PacketRecord& record;
    Flow& flow;
    End sender{};
    Direction direction = Direction::outbound;
    PathWindow* path = nullptr;
    std::uint16_t mss = 0;  ///< agreed on by both ends; 0: not seen
    OnWire wire{};

    [[nodiscard]] HalfFlow& half() const { return flow.halves[sender]; }
    [[nodiscard]] HalfFlow& peer() const { return flow.halves[1U - sender]; }
    [[nodiscard]] End receiver() const { return static_cast<End>(1U - sender); }
  };
  [[nodiscard]] static DataSegment segment_of(const PacketRecord& record, SequenceRange range,
                                              const OnWire& wire) {
    return {.time = record.time,
            .range = range,
            .payload = record.payload,
            .wire_segments = wire.segments,
            .charged = wire.charged,
            .ip_id = record.ip_id,
            .has_timestamp = record.has_timestamp,
            .timestamp = record.timestamp_value,
            .ecn = static_cast<std::uint8_t>(record.traffic_class & kEcnMask)};
  }
  void find_path(Passing& packet) {
    packet.direction = direction_of(packet.flow, packet.sender);
    packet.path = &window_of(packet.flow, packet.sender);
  }

  struct alignas(64) Pending {
    PacketRecord record;
    FlowKey key;
    ParseOutcome outcome = ParseOutcome::malformed;
    enum Mark : std::uint8_t {
      kFollowed = 1,  ///< TCP of a connection that is
      kFetched = 2,   ///< the memory of its connection is asked for, step by step
      kAgain = 4,     ///< its connection is that of the packet just before, in the same group
      kBegun = 8,     ///< taken by parse_usual: complete_usual is to come before the long way
      kUsual = 16,    ///< ... with nothing special on it
    };
    std::uint8_t marks = 0;
    [[nodiscard]] bool is(Mark mark) const { return (marks & mark) != 0; }
  };
  /// Frames on their way, in groups: while one is parsed the memory of those before it is fetched, each a
  /// step further, and the oldest is worked on. A step lasts longer than main memory takes to answer.
  ///
  ///   parsed, index asked for --> flow asked for --> its tracking --> the ends of its ring --> worked on
  static constexpr std::size_t kGroup = 8;
  static constexpr std::size_t kSteps = 5;
  std::array<std::array<Pending, kGroup>, kSteps> groups;
  Pending nothing;          ///< stands before the first of a group
  std::size_t newest = 0;   ///< the group that is filled
  std::size_t pending = 0;  ///< of its places, those filled
  std::size_t behind = 0;   ///< full groups before it, kSteps - 1 at most

  /// The group that was filled so many steps before the newest.
  [[nodiscard]] std::span<Pending, kGroup> group(std::size_t before) {
    return groups[newest >= before ? newest - before : newest + kSteps - before];
  }

  /// The addresses that decide a packet's site.
  struct Ends {
    const IpAddress& source;
    const IpAddress& destination;
  };
  [[nodiscard]] Ends deciding_ends(const PacketRecord& record) const;

  void take(std::span<const Frame> frames);
  void collect(std::span<const Frame> frames);
  void step();
  void work_off();
  void work_on(std::span<Pending> items);
  void work_on(Pending& item);
  void forget_found();
  [[nodiscard]] bool take_usual(const PacketRecord& record, Flow& flow, End sender);
  void take_ip(const PacketRecord& record);
  void take_unsampled(const PacketRecord& record);
  void pass_over(const PacketRecord& record, std::uint32_t times);
  std::uint32_t count_bytes(const PacketRecord& record, Bytes charged);
  void take_tcp(const PacketRecord& record, const FlowKey& key);
  static void see(Flow& flow, const PacketRecord& record, End sender) {
    flow.last_seen = SlowTime(record.time);
    if (sender != flow.first_sender) flow.answered = true;
  }
  [[nodiscard]] Flow* reach_flow(const PacketRecord& record, const FlowKey& key);
  [[nodiscard]] bool take_in_turn(const PacketRecord& record, Flow& flow, End sender, HalfFlow& half,
                                  const HalfFlow& peer);
  [[nodiscard]] bool take_lone_ack(const PacketRecord& record, Flow& flow, End sender, const HalfFlow& half,
                                   HalfFlow& peer);
  void take_any_tcp(const PacketRecord& record, Flow& flow, End sender);
  [[nodiscard]] FlowWork work_for(const Flow& flow, End end) {
    return {.trackings = flows.trackings(), .path = window_of(flow, end), .mss = flow.mss()};
  }
  /// Who tells what becomes of the data that `end` sends, where that has to be borne out by others.
  [[nodiscard]] RemoteKey witness_of(const Flow& flow, End end) {
    if (!settings.corroborate || direction_of(flow, end) != Direction::outbound) return kNobody;
    return flows.remote_of(flow, static_cast<End>(1U - end));
  }
  void place(Flow& flow, const PacketRecord& record, End sender);
  void retire(Flow& flow);
  void forget(Flow& flow);
  void open_anew_if_reused(Flow& flow, const PacketRecord& record, End sender);
  [[nodiscard]] Bytes charged_whole(const PacketRecord& record) const;
  /// `mss` 0: not known.
  [[nodiscard]] OnWire on_wire(const PacketRecord& record, std::uint16_t mss) const;
  void measure(Passing& packet) const;
  void tell_accounts(const Passing& packet);
  void take_syn(const Passing& packet);
  void take_ack(const Passing& packet, PathWindow& path);
  void take_losses_back(const UndoneLosses& undone, const Flow& flow, End owner);
  void use_any(const AckVerdict& verdict, const PacketRecord& record, Flow& flow, End sender,
               PathWindow& path);
  void use(const AckVerdict& verdict, const PacketRecord& record, Flow& flow, End sender, HalfFlow& half,
           PathWindow& path);
  void split_queue(const RttSample& sample, const PacketRecord& record, const Flow& flow, End sender,
                   PathWindow& path);
  void watch_way_in(const PacketRecord& record, Flow& flow, End sender);
  void take_empty(const Passing& packet);
  void take_data(const Passing& packet);
  void count_data(const Passing& packet, const SegmentVerdict& verdict, bool lone_fin);
  void reconsider_sides(const PacketRecord& record, Flow& flow, End sender, Duration answered_after);
  void begin_at(TimePoint first);
  [[nodiscard]] PathWindow& make_window(std::uint32_t path);
};

}  // namespace weir
