/// The part of the HTTP API that only looks, as a pure function: request and view in, response out. No
/// sockets, no clock, no state.
///
/// Any bytes may stand in the target; the answer is then a problem document (RFC 9457). Paths and fields:
/// docs/API.md.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/control_recorder.hpp"
#include "gateway/decision_log.hpp"
#include "gateway/event_log.hpp"
#include "gateway/history.hpp"
#include "gateway/peer.hpp"
#include "gateway/revision_log.hpp"
#include "gateway/status.hpp"
#include "shaper/arrivals.hpp"
#include "shaper/packet_query.hpp"

namespace weir::gateway {

struct ApiRequest {
  std::string_view method;  ///< "GET"
  std::string_view target;  ///< as it stood in the request line: "/v1/sites/dc-coast/history?seconds=60"
  std::string_view body{};
  std::optional<Peer> peer{};  ///< nullopt: not over the Unix socket
};

struct ApiResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<SharedText> more{};  ///< goes out behind `body`; shared, so that a large answer costs no copy
  std::string allow;               ///< for 405: the Allow header; otherwise empty
};

/// A port and what is shaped there.
struct PortView {
  const Policy& policy;  ///< its own
  std::span<const ClassStatus> classes;
  /// Of the classifier that is loaded; nullopt: none is. Both may throw std::system_error.
  std::function<std::optional<shaper::Verdict>(const shaper::PacketQuery& query)> explain;
  std::function<std::optional<shaper::ArrivalCounters>()> arrivals;
  /// nullptr, of both: no such site is shaped there.
  std::function<const History*(std::string_view site)> history_of;
  std::function<const DecisionLog*(std::string_view site)> decisions_of;
};

/// What a response may draw on; valid while the request is answered.
struct ApiView {
  PortView wan;
  std::optional<PortView> lan{};  ///< nullopt: what comes from sites is not shaped
  GatewayStatus status;
  const EventLog& events;
  /// Of one site that there is, or of all; nullopt: none is kept.
  std::function<std::optional<std::vector<SharedText>>(std::optional<std::string_view> site)> recording_of;
  const RevisionLog& revisions;

  /// Where what goes that way is shaped; nullptr: nowhere.
  [[nodiscard]] const PortView* port(Direction way) const {
    if (way == Direction::outbound) return &wan;
    return lan ? &*lan : nullptr;
  }
  /// `action(const PortView&, Direction)`.
  template <class Action>
  void for_each_port(Action&& action) const {
    for (const Direction way : {Direction::outbound, Direction::inbound})
      if (const PortView* const one = port(way)) action(*one, way);
  }
};

inline constexpr std::size_t kLongestTarget = 2048;

/// The answer to any request but POST (gateway/api_changes.hpp). A HEAD request gets the response of its GET;
/// leaving out the body is the sender's task.
[[nodiscard]] ApiResponse respond(const ApiRequest& request, const ApiView& view);

/// An application/problem+json response.
[[nodiscard]] ApiResponse problem(unsigned status, std::string_view detail);

}  // namespace weir::gateway
