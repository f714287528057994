/// One row a TCP connection, for `weir observe --flows`: kept beside the flow table, whose records stay
/// small.
///
/// Pure; bounded: rows of live flows as many as the table has, of forgotten ones the largest by bytes. Bytes
/// in the one unit (config/units.hpp), segments are wire segments.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "config/address.hpp"
#include "config/units.hpp"
#include "estimator/half_flow.hpp"
#include "estimator/parse.hpp"

namespace weir {

enum class FlowState : std::uint8_t {
  open,
  closed,     ///< a RST, or a FIN from both ends
  one_way,    ///< only one end was seen
  half_open,  ///< only one end was seen, and only its SYN
};
[[nodiscard]] std::string_view to_string(FlowState state);

struct FlowDirectionRow {
  std::uint8_t dscp = 0;  ///< of its data (or SYN), as last seen
  Bytes sent;
  std::uint64_t segments = 0;
  std::uint64_t retransmitted = 0;
  std::uint64_t spurious = 0;
  std::uint64_t hole_fill = 0;
  Duration least_rtt{};  ///< zero: no sample
  Duration smoothed_rtt{};
};

struct FlowRow {
  IpAddress inside;  ///< our side
  IpAddress far;
  std::uint16_t inside_port = 0;
  std::uint16_t far_port = 0;
  std::uint32_t site = 0;
  FlowState state = FlowState::open;
  TimePoint first;  ///< its first and last packet
  TimePoint last;
  FlowDirectionRow outbound;
  FlowDirectionRow inbound;
  [[nodiscard]] Bytes sent() const { return outbound.sent + inbound.sent; }
};

struct FlowListing {
  std::vector<FlowRow> rows;  ///< the largest first
  std::uint64_t omitted = 0;  ///< smaller ones, not kept
};

/// Of several workers, the largest `most` rows.
[[nodiscard]] FlowListing merged(std::span<const FlowListing* const> listings, std::size_t most);

class FlowLog {
 public:
  /// `most` rows are listed; greater than 0.
  explicit FlowLog(std::size_t most) : most_(most) {}

  struct Packet {
    std::uint32_t flow = 0;  ///< number of the connection
    std::uint8_t end = 0;    ///< 0 or 1: who sent it
    bool end_inside = true;  ///< ... and whether that is our side
    std::uint32_t site = 0;
    std::uint8_t dscp = 0;  ///< of the data that `end` sends
    Bytes charged;
  };
  void packet(const Packet& packet, const PacketRecord& record);
  // Of the data that `end` of the flow sends; a flow that had no packet is passed over.
  void classified(std::uint32_t flow, std::uint8_t end, std::uint32_t segments,
                  const SegmentVerdict& verdict);
  void losses_undone(std::uint32_t flow, std::uint8_t end, std::uint32_t segments);
  void rtt_sampled(std::uint32_t flow, std::uint8_t end, Duration rtt);
  /// The flow is forgotten; its number may come again with another connection.
  void ended(std::uint32_t flow);

  [[nodiscard]] FlowListing listing() const;
  [[nodiscard]] std::size_t most() const { return most_; }

 private:
  struct Half {
    IpAddress address;
    std::uint16_t port = 0;
    bool seen = false;
    bool finished = false;
    FlowDirectionRow row;
    SmoothedRtt rtt;
  };
  struct Live {
    std::array<Half, 2> halves;
    std::uint32_t site = 0;
    std::uint8_t inside = 0;  ///< the end on our side
    bool reset = false;
    bool only_syns = true;
    TimePoint first;
    TimePoint last;
  };
  [[nodiscard]] static FlowState state_of(const Live& flow);
  [[nodiscard]] static FlowRow row_of(const Live& flow);
  [[nodiscard]] Half* find(std::uint32_t flow, std::uint8_t end);

  std::size_t most_;
  boost::unordered_flat_map<std::uint32_t, Live> live_;  ///< by number
  std::vector<FlowRow> ended_;                           ///< a heap, the smallest in front
  std::uint64_t omitted_ = 0;
};

}  // namespace weir
