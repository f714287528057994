// lab_relay: a wire with a delay between two interfaces of the current network namespace, one delay per
// direction.
//
// Frames keep their order; memory is bounded and every frame that does not get through is counted. The relay
// sleeps until the next frame is due: while a direction holds frames, newly arrived ones wait in its socket,
// stamped by the kernel, and cost no wake-up of their own. Commands on standard input, one line each, each
// answered by one line of JSON:
//
//   read                               counts and lateness since the start
//   set a_to_b_ms=15 b_to_a_ms=0       changes the delays; order is kept
//
// It ends when its input does.
#include <algorithm>
#include <array>
#include <chrono>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include "delay_line.hpp"
#include "packet_port.hpp"

namespace weir::lab {
namespace {

namespace json = boost::json;
using std::chrono::microseconds;
using std::chrono::milliseconds;

/// Frames due within this time of each other leave together: bounds the wake-ups, and so the CPU, at any
/// packet rate.
constexpr Nanoseconds kGrain = microseconds(200);
/// While frames wait, newer ones may stay in the socket: they are due later anyway. But no longer than this,
/// or the socket's buffer would have to hold them all.
constexpr Nanoseconds kFetchInterval = milliseconds(2);

struct DirectionCounts {
  std::uint64_t forwarded = 0;
  std::uint64_t bytes = 0;
  std::uint64_t refused = 0;     ///< by the interface it should have left by
  std::uint64_t overrun = 0;     ///< by the receiving socket: line and socket buffer were full
  Nanoseconds worst_lateness{};  ///< beyond the delay asked for
};

/// From one port to the other.
struct Direction {
  PacketPort* from;
  PacketPort* to;
  DelayLine line;
  DirectionCounts counts{};
  Nanoseconds fetched{};
};

[[nodiscard]] Nanoseconds from_ms(double ms) {
  if (ms < 0.0 || ms > 10'000.0) throw std::invalid_argument("a delay is 0 to 10000 ms");
  return std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double, std::milli>(ms));
}

void forward_what_is_due(Direction& d) {
  if (d.line.empty() || monotonic_now() - d.fetched >= kFetchInterval) {
    d.from->receive_into(d.line);
    d.fetched = monotonic_now();
  }
  const Nanoseconds now = monotonic_now();
  const std::size_t due = d.line.due(now);
  if (due == 0) return;
  for (std::size_t i = 0; i < due; ++i) d.counts.bytes += d.line.waiting_frame(i).length;
  d.counts.worst_lateness = std::max(d.counts.worst_lateness, now - d.line.waiting_frame(0).due);
  const std::size_t taken = d.to->send_from(d.line, due);
  d.counts.forwarded += taken;
  d.counts.refused += due - taken;
}

/// How long nothing needs doing; nullopt: until something arrives.
[[nodiscard]] std::optional<Nanoseconds> time_to_sleep(std::array<Direction, 2>& directions) {
  std::optional<Nanoseconds> next;
  for (Direction& d : directions)
    if (const auto due = d.line.next_due(); due && (!next || *due < *next)) next = due;
  if (!next) return std::nullopt;
  return std::clamp(*next - monotonic_now(), kGrain, kFetchInterval);
}

/// Sleeps until the next deadline, or an arrival in a direction that holds nothing, or a command. True: a
/// command.
[[nodiscard]] bool sleep_until_needed(std::array<Direction, 2>& directions) {
  std::array<pollfd, 3> watched{};
  watched[0] = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  for (std::size_t i = 0; i < directions.size(); ++i) {
    // A negative descriptor is skipped by poll.
    const int fd = directions[i].line.empty() ? directions[i].from->descriptor() : -1;
    watched[i + 1] = {.fd = fd, .events = POLLIN, .revents = 0};
  }
  timespec timeout{};
  const auto sleep = time_to_sleep(directions);
  if (sleep) timeout.tv_nsec = static_cast<long>(sleep->count());  // always below one second
  ppoll(watched.data(), watched.size(), sleep ? &timeout : nullptr, nullptr);
  return watched[0].revents != 0;
}

[[nodiscard]] json::object to_json(Direction& d) {
  d.counts.overrun += d.from->take_socket_drops();
  return {{"forwarded", d.counts.forwarded},
          {"bytes", d.counts.bytes},
          {"refused", d.counts.refused},
          {"overrun", d.counts.overrun},
          {"oversized", d.from->oversized()},
          {"waiting", d.line.waiting()},
          {"worst_lateness_us", std::chrono::duration_cast<microseconds>(d.counts.worst_lateness).count()}};
}

[[nodiscard]] json::object obey(const std::string& line, std::array<Direction, 2>& directions) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  if (verb == "read") return {{"a_to_b", to_json(directions[0])}, {"b_to_a", to_json(directions[1])}};
  if (verb != "set") throw std::invalid_argument("unknown command " + verb);
  for (std::string word; words >> word;) {
    if (word.starts_with("a_to_b_ms="))
      directions[0].line.set_delay(from_ms(std::stod(word.substr(10))));
    else if (word.starts_with("b_to_a_ms="))
      directions[1].line.set_delay(from_ms(std::stod(word.substr(10))));
    else
      throw std::invalid_argument("unknown setting " + word);
  }
  return {{"ok", true}};
}

/// Reads what is there on standard input and answers each whole line. False: the input has ended.
[[nodiscard]] bool answer_commands(std::string& pending, std::array<Direction, 2>& directions) {
  std::array<char, 4096> buffer;
  const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
  if (n <= 0) return false;
  pending.append(buffer.data(), static_cast<std::size_t>(n));
  for (std::size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
    try {
      std::cout << obey(pending.substr(0, end), directions) << std::endl;
    } catch (const std::exception& e) {
      std::cout << json::object{{"error", e.what()}} << std::endl;
    }
  }
  return true;
}

/// The delay is only as exact as our wake-ups: ask for fine timers and to run before ordinary work. Without
/// the right to do so the relay still works; `worst_lateness_us` tells how well.
void wake_up_on_time() {
  prctl(PR_SET_TIMERSLACK, 5'000UL, 0UL, 0UL, 0UL);
  const sched_param lowest_realtime{.sched_priority = 1};
  sched_setscheduler(0, SCHED_FIFO, &lowest_realtime);
}

void relay(std::array<Direction, 2>& directions) {
  std::string pending_command;
  std::cout << json::object{{"ready", true}} << std::endl;
  while (true) {
    const bool commanded = sleep_until_needed(directions);
    for (Direction& d : directions) forward_what_is_due(d);
    if (commanded && !answer_commands(pending_command, directions)) return;
  }
}

}  // namespace
}  // namespace weir::lab

int main(int argc, char** argv) {
  using namespace weir::lab;
  CLI::App app{"A wire with a delay between two interfaces"};
  std::string a;
  std::string b;
  double a_to_b_ms = 0.0;
  double b_to_a_ms = 0.0;
  std::size_t slots = 16'384;
  app.add_option("--a", a, "first interface")->required();
  app.add_option("--b", b, "second interface")->required();
  app.add_option("--a-to-b-ms", a_to_b_ms, "delay of frames that arrive at a");
  app.add_option("--b-to-a-ms", b_to_a_ms, "delay of frames that arrive at b");
  app.add_option("--frames", slots, "most frames held per direction (2 KiB each)")
      ->check(CLI::Range(64, 1 << 20));
  CLI11_PARSE(app, argc, argv);
  try {
    PacketPort port_a(a);
    PacketPort port_b(b);
    std::array<Direction, 2> directions{Direction{&port_a, &port_b, DelayLine(slots, from_ms(a_to_b_ms))},
                                        Direction{&port_b, &port_a, DelayLine(slots, from_ms(b_to_a_ms))}};
    wake_up_on_time();
    relay(directions);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "lab_relay: " << e.what() << '\n';
    return 1;
  }
}
