// A stream of numbered datagrams: shows each single packet that a change of the box costs.
#include <algorithm>
#include <vector>

#include "roles.hpp"

namespace weir::lab {
namespace {

namespace json = boost::json;

constexpr std::size_t kNumberAt = 0;
constexpr std::size_t kLeastSize = 8;
/// After a stall of the sender's host the schedule is caught up in bursts no longer than this.
constexpr std::uint64_t kLongestBurst = 64;

struct Arrival {
  std::uint64_t number = 0;
  Nanoseconds at{};
};

[[nodiscard]] json::object summarise(const std::vector<Arrival>& arrivals, const Interval& interval) {
  std::uint64_t received = 0;
  std::uint64_t reordered = 0;
  std::optional<std::uint64_t> first;
  std::uint64_t last = 0;
  Nanoseconds longest_silence{};
  std::optional<Nanoseconds> before;
  std::vector<std::uint64_t> numbers;
  for (const Arrival& a : arrivals) {
    if (!interval.contains(a.at)) continue;
    ++received;
    if (before) longest_silence = std::max(longest_silence, a.at - *before);
    before = a.at;
    if (first && a.number < last) ++reordered;
    first = std::min(first.value_or(a.number), a.number);
    last = std::max(last, a.number);
    numbers.push_back(a.number);
  }
  std::sort(numbers.begin(), numbers.end());
  const auto distinct =
      static_cast<std::uint64_t>(std::unique(numbers.begin(), numbers.end()) - numbers.begin());
  return {{"received", received},
          {"first", first.value_or(0)},
          {"last", last},
          {"missing", first ? last - *first + 1 - distinct : 0},
          {"repeated", received - distinct},
          {"reordered", reordered},
          {"longest_silence_ms", to_ms(longest_silence)}};
}

}  // namespace

void send_stream(const StreamPlan& plan) {
  UdpSocket socket(plan.local, plan.dscp);
  std::vector<std::byte> payload(std::max(plan.size, kLeastSize));
  std::uint64_t sent = 0;
  std::uint64_t refused = 0;
  std::uint64_t scheduled = 0;  // what the plan has asked for so far; what a long stall cost is not made up
  const Nanoseconds begin = monotonic_now();
  const auto send_what_is_due = [&] {
    const double elapsed = std::chrono::duration<double>(monotonic_now() - begin).count();
    const auto due = static_cast<std::uint64_t>(elapsed * plan.packets_per_second);
    for (std::uint64_t n = std::min(due - scheduled, kLongestBurst); n > 0; --n) {
      put(payload, kNumberAt, sent++);
      if (!socket.send(plan.remote, payload)) ++refused;
    }
    scheduled = due;
  };
  run_until_input_ends(
      std::chrono::milliseconds(1), send_what_is_due, [] { return std::vector<Watch>{}; },
      [&](const Interval&) {
        return json::object{{"sent", sent}, {"refused", refused}};
      });
}

void receive_stream(const Endpoint& local) {
  UdpSocket socket(local, 0);
  std::vector<Arrival> arrivals;
  const auto take_all = [&] {
    std::array<std::byte, 16> buffer;
    while (const auto d = socket.receive(buffer))
      if (d->length >= kLeastSize) arrivals.push_back({get<std::uint64_t>(buffer, kNumberAt), d->arrived});
  };
  run_until_input_ends(
      Nanoseconds::zero(), [] {},
      [&] {
        return std::vector<Watch>{{socket.descriptor(), take_all}};
      },
      [&](const Interval& interval) { return summarise(arrivals, interval); });
}

}  // namespace weir::lab
