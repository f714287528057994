// Request/response over UDP: what a voice call or a remote procedure call would feel on this path.
//
//   client   t1 ----------------> t2  server        round trip = (t4 - t1) - (t3 - t2)
//            t4 <---------------- t3
//
// t2 and t4 are the kernel's arrival times and the server reports t3 - t2, so a host too busy to run us at
// once does not pass for a slow network.
#include <algorithm>
#include <vector>

#include "roles.hpp"

namespace weir::lab {
namespace {

namespace json = boost::json;

// Payload: number (8 bytes), then the time the server held the request (8 bytes, ns).
constexpr std::size_t kNumberAt = 0;
constexpr std::size_t kHeldAt = 8;
constexpr std::size_t kLeastSize = 16;
/// A request unanswered for so long is lost.
constexpr Nanoseconds kPatience = std::chrono::seconds(1);

struct Request {
  Nanoseconds sent{};
  std::optional<Nanoseconds> round_trip;
};

[[nodiscard]] json::object summarise(const std::vector<Request>& requests, const Interval& interval) {
  const Nanoseconds now = monotonic_now();
  std::vector<Nanoseconds> round_trips;
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;
  for (const Request& r : requests) {
    if (!interval.contains(r.sent)) continue;
    ++sent;
    if (r.round_trip)
      round_trips.push_back(*r.round_trip);
    else if (now - r.sent > kPatience)
      ++lost;
  }
  return {{"sent", sent},
          {"answered", round_trips.size()},
          {"lost", lost},
          {"rtt_ms", distribution_ms(round_trips)}};
}

}  // namespace

void answer_requests(const Endpoint& local, unsigned dscp) {
  UdpSocket socket(local, dscp);
  std::uint64_t answered = 0;
  const auto answer_all = [&] {
    std::array<std::byte, 2048> buffer;
    while (const auto request = socket.receive(buffer)) {
      if (request->length < kLeastSize) continue;
      put(buffer, kHeldAt, (monotonic_now() - request->arrived).count());
      if (socket.send(request->sender, std::span(buffer).first(std::min(request->length, buffer.size()))))
        ++answered;
    }
  };
  run_until_input_ends(
      Nanoseconds::zero(), [] {},
      [&] {
        return std::vector<Watch>{{socket.descriptor(), answer_all}};
      },
      [&](const Interval&) {
        return json::object{{"answered", answered}};
      });
}

void send_requests(const RequestPlan& plan) {
  UdpSocket socket(plan.local, plan.dscp);
  std::vector<Request> requests;
  std::vector<std::byte> payload(std::max(plan.size, kLeastSize));
  const auto send_one = [&] {
    put(payload, kNumberAt, static_cast<std::uint64_t>(requests.size()));
    requests.push_back({.sent = monotonic_now(), .round_trip = std::nullopt});
    socket.send(plan.remote, payload);
  };
  const auto take_answers = [&] {
    std::array<std::byte, 2048> buffer;
    while (const auto answer = socket.receive(buffer)) {
      if (answer->length < kLeastSize) continue;
      const auto number = get<std::uint64_t>(buffer, kNumberAt);
      if (number >= requests.size() || requests[number].round_trip) continue;
      const Nanoseconds held(get<Nanoseconds::rep>(buffer, kHeldAt));
      requests[number].round_trip = answer->arrived - requests[number].sent - held;
    }
  };
  run_until_input_ends(
      plan.interval, send_one,
      [&] {
        return std::vector<Watch>{{socket.descriptor(), take_answers}};
      },
      [&](const Interval& interval) { return summarise(requests, interval); });
}

}  // namespace weir::lab
