// A BFD-like session (RFC 5880, asynchronous mode): each end sends a hello every interval and declares the
// other down after `multiplier` intervals of silence.
//
// A silence that the sender itself caused, because its host did not run it, is told apart by the send times
// in the hellos: it is counted as a host stall, not against the network.
#include <algorithm>
#include <vector>

#include "roles.hpp"

namespace weir::lab {
namespace {

namespace json = boost::json;

constexpr std::size_t kNumberAt = 0;
constexpr std::size_t kSentAt = 8;
constexpr std::size_t kSize = 24;  // as long as a BFD control packet

struct Hello {
  std::uint64_t number = 0;
  Nanoseconds sent{};
  Nanoseconds arrived{};
};

struct Silences {
  std::uint64_t down = 0;
  std::uint64_t host_stalls = 0;
  Nanoseconds longest{};
};

void judge(Silences& s, const Hello& before, const Hello& after, const HelloPlan& plan) {
  const Nanoseconds silence = after.arrived - before.arrived;
  s.longest = std::max(s.longest, silence);
  if (silence <= plan.interval * plan.multiplier) return;
  // What the sender spent beyond its schedule between the two; hellos lost on the way do not stretch that.
  const auto steps = static_cast<Nanoseconds::rep>(after.number - before.number);
  const Nanoseconds sender_late = (after.sent - before.sent) - plan.interval * steps;
  if (silence - std::max(sender_late, Nanoseconds::zero()) > plan.interval * plan.multiplier)
    ++s.down;
  else
    ++s.host_stalls;
}

[[nodiscard]] json::object summarise(const std::vector<Hello>& hellos, std::uint64_t sent,
                                     const HelloPlan& plan, const Interval& interval) {
  Silences silences;
  std::uint64_t received = 0;
  std::uint64_t missing = 0;
  const Hello* before = nullptr;
  for (const Hello& h : hellos) {
    if (before != nullptr && interval.contains(h.arrived)) {
      judge(silences, *before, h, plan);
      if (h.number > before->number) missing += h.number - before->number - 1;
    }
    if (interval.contains(h.arrived)) ++received;
    before = &h;
  }
  // The last hello of all may be the last because the session is down right now.
  const Nanoseconds end = std::min(interval.to, monotonic_now());
  const bool silent_now = before == nullptr || end - before->arrived > plan.interval * plan.multiplier;
  return {{"sent", sent},
          {"received", received},
          {"missing", missing},
          {"down_events", silences.down + (silent_now ? 1 : 0)},
          {"host_stalls", silences.host_stalls},
          {"longest_silence_ms", to_ms(silences.longest)}};
}

}  // namespace

void exchange_hellos(const HelloPlan& plan) {
  UdpSocket socket(plan.local, plan.dscp);
  std::vector<Hello> hellos;
  std::uint64_t sent = 0;
  const auto send_one = [&] {
    std::array<std::byte, kSize> payload{};
    put(payload, kNumberAt, sent++);
    put(payload, kSentAt, monotonic_now().count());
    socket.send(plan.remote, payload);
  };
  const auto take_hellos = [&] {
    std::array<std::byte, kSize> buffer{};
    while (const auto d = socket.receive(buffer))
      if (d->length == kSize)
        hellos.push_back({.number = get<std::uint64_t>(buffer, kNumberAt),
                          .sent = Nanoseconds(get<Nanoseconds::rep>(buffer, kSentAt)),
                          .arrived = d->arrived});
  };
  run_until_input_ends(
      plan.interval, send_one,
      [&] {
        return std::vector<Watch>{{socket.descriptor(), take_hellos}};
      },
      [&](const Interval& interval) { return summarise(hellos, sent, plan, interval); });
}

}  // namespace weir::lab
