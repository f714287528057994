// lab_probe: the small flows of a lab that are measured rather than merely sent. Each role runs until its
// standard input ends and answers `read [FROM TO]` (seconds on CLOCK_MONOTONIC) with one line of JSON.
#include <iostream>
#include <string>

#include <sched.h>

#include <CLI/CLI.hpp>

#include "roles.hpp"

namespace {

using namespace weir::lab;

struct Arguments {
  std::string local;
  std::string remote;
  std::uint16_t port = 0;
  unsigned dscp = 0;
  double interval_ms = 10;
  std::size_t size = 160;
  int multiplier = 3;
  double hold_s = 3;
  double pps = 1000;
  unsigned processor = 0;

  [[nodiscard]] Endpoint here(std::uint16_t p) const { return Endpoint::parse(local, p); }
  [[nodiscard]] Endpoint there() const { return Endpoint::parse(remote, port); }
  [[nodiscard]] Nanoseconds interval() const {
    return Nanoseconds(static_cast<std::int64_t>(interval_ms * 1e6));
  }
};

CLI::App* add_role(CLI::App& app, Arguments& a, const std::string& name, const std::string& what,
                   bool has_remote) {
  CLI::App* role = app.add_subcommand(name, what);
  role->add_option("--local", a.local, "own address")->required();
  role->add_option("--port", a.port, "port of the side that is addressed")->required();
  role->add_option("--dscp", a.dscp, "code point of what is sent")->check(CLI::Range(0U, 63U));
  if (has_remote) role->add_option("--remote", a.remote, "address of the other side")->required();
  return role;
}

/// Ahead of ordinary work, so that a busy machine does not pass for a slow path. Without the right: as it
/// comes.
void run_on_time() {
  const sched_param low_realtime{.sched_priority = 2};
  sched_setscheduler(0, SCHED_FIFO, &low_realtime);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Measured flows for labs: request/response, hellos, a routing session, a numbered stream; "
      "and a witness of the host"};
  app.require_subcommand(1);
  Arguments a;
  const auto* answer = add_role(app, a, "answer", "answer requests", false);
  auto* request = add_role(app, a, "request", "send requests at a fixed pace", true);
  request->add_option("--interval-ms", a.interval_ms, "between two requests");
  request->add_option("--size", a.size, "UDP payload in bytes");
  auto* hello = add_role(app, a, "hello", "one end of a BFD-like session", true);
  hello->add_option("--interval-ms", a.interval_ms, "between two hellos");
  hello->add_option("--multiplier", a.multiplier, "missed hellos until the session is down");
  auto* listen = add_role(app, a, "session-listen", "the waiting end of a BGP-like session", false);
  listen->add_option("--hold-s", a.hold_s, "hold time");
  auto* connect = add_role(app, a, "session-connect", "the calling end of a BGP-like session", true);
  connect->add_option("--hold-s", a.hold_s, "hold time");
  auto* stream = add_role(app, a, "stream", "send numbered datagrams", true);
  stream->add_option("--pps", a.pps, "packets per second");
  stream->add_option("--size", a.size, "UDP payload in bytes");
  const auto* sink = add_role(app, a, "sink", "receive numbered datagrams", false);
  auto* witness = app.add_subcommand("witness", "record when a processor stood still");
  witness->add_option("--processor", a.processor, "its number")->required()->check(CLI::Range(0U, 1023U));
  CLI11_PARSE(app, argc, argv);
  try {
    run_on_time();
    const Nanoseconds hold(static_cast<std::int64_t>(a.hold_s * 1e9));
    if (answer->parsed()) answer_requests(a.here(a.port), a.dscp);
    if (request->parsed())
      send_requests({.local = a.here(0),
                     .remote = a.there(),
                     .dscp = a.dscp,
                     .interval = a.interval(),
                     .size = a.size});
    if (hello->parsed())
      exchange_hellos({.local = a.here(a.port),
                       .remote = a.there(),
                       .dscp = a.dscp,
                       .interval = a.interval(),
                       .multiplier = a.multiplier});
    if (listen->parsed())
      hold_session({.local = a.here(a.port), .remote = std::nullopt, .dscp = a.dscp, .hold = hold});
    if (connect->parsed())
      hold_session({.local = a.here(0), .remote = a.there(), .dscp = a.dscp, .hold = hold});
    if (stream->parsed())
      send_stream({.local = a.here(0),
                   .remote = a.there(),
                   .dscp = a.dscp,
                   .packets_per_second = a.pps,
                   .size = a.size});
    if (sink->parsed()) receive_stream(a.here(a.port));
    if (witness->parsed()) watch_processor(a.processor);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "lab_probe: " << e.what() << '\n';
    return 1;
  }
}
