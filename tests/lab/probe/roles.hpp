/// The roles that lab_probe can take; each runs until its standard input ends.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "endpoint.hpp"

namespace weir::lab {

/// Answers every request at once, and says how long it held it.
void answer_requests(const Endpoint& local, unsigned dscp);

struct RequestPlan {
  Endpoint local;
  Endpoint remote;
  unsigned dscp = 46;
  Nanoseconds interval{};
  std::size_t size = 160;  ///< UDP payload, bytes
};
/// Sends requests at a fixed pace. `read` gives the round trips, without the time either host spent, and the
/// loss.
void send_requests(const RequestPlan& plan);

struct HelloPlan {
  Endpoint local;
  Endpoint remote;
  unsigned dscp = 48;
  Nanoseconds interval{};
  int multiplier = 3;  ///< silent intervals until the session counts as down (RFC 5880, 6.8.4)
};
/// One end of a BFD-like session in asynchronous mode; both ends run this.
void exchange_hellos(const HelloPlan& plan);

struct SessionPlan {
  Endpoint local;
  std::optional<Endpoint> remote;  ///< nullopt: waits for the other end
  unsigned dscp = 48;
  Nanoseconds hold{};  ///< RFC 4271: silence after which the session is dead; keepalives every third of it
};
/// One end of a BGP-like session: keepalives over TCP and a hold timer. A dead session stays dead.
void hold_session(const SessionPlan& plan);

struct StreamPlan {
  Endpoint local;
  Endpoint remote;
  unsigned dscp = 0;
  double packets_per_second = 1000;
  std::size_t size = 200;  ///< UDP payload, bytes
};
/// Sends numbered datagrams at an even pace.
void send_stream(const StreamPlan& plan);
/// Receives them: which numbers are missing, repeated or out of order, and the longest silence.
void receive_stream(const Endpoint& local);

/// Wakes every 2 ms on one processor, ahead of everything else. `read` gives the times, longer than 5 ms, in
/// which the machine did not run it: {"longest_ms", "stalls": [[end in seconds, length in ms], ...]}. Needs
/// the right to real-time priority.
void watch_processor(unsigned processor);

}  // namespace weir::lab
