/// The path between two interfaces: takes frames from each, lets them through the two ways of a scenario,
/// sends what is due by the other, and keeps account.
///
/// Owns its sockets. One thread: call `turn` as often as `time_to_sleep` says. Throws std::system_error for
/// what the kernel refuses at the start.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <boost/json.hpp>

#include "config/units.hpp"

#include "frame_pool.hpp"
#include "lateness.hpp"
#include "packet_port.hpp"
#include "proving/path/scenario.hpp"
#include "way.hpp"
#include "whose.hpp"

namespace weir::lab {

class Emulator {
 public:
  struct Settings {
    std::string near, far;  ///< interfaces: of the side from which the way out leads, and of the other
    std::size_t frames = 32'768;
    std::uint64_t seed = 1;
    Whose whose;
    std::vector<Duration> rtts;
  };

  /// `scenario` and `drops` outlive the emulator; `drops`, if any, gets a line of CSV for each frame dropped.
  Emulator(const proving::Scenario& scenario, const Settings& settings, std::ostream* drops);

  /// One round of all that is to be done. True: frames came, so more are to be expected.
  bool turn();
  /// From the end of a round; nullopt: until a frame arrives.
  [[nodiscard]] std::optional<Duration> time_to_sleep() const;
  [[nodiscard]] std::array<int, 2> descriptors() const { return {near_.descriptor(), far_.descriptor()}; }

  /// The scenario's zero is `at` (CLOCK_MONOTONIC). Once.
  void begin(Duration at);
  [[nodiscard]] bool begun() const { return begun_; }
  /// Negative before it has begun.
  [[nodiscard]] TimePoint scenario_time() const { return to_scenario(monotonic_now()); }
  void set_delays(std::optional<Duration> out, std::optional<Duration> back);
  void tell(std::size_t site, double shaped_bps, bool demand) {
    directions_[0].way.tell(site, shaped_bps, demand);
  }

  /// Counts and lateness since the start. `void`: frames went missing that no link dropped.
  [[nodiscard]] boost::json::object account();
  [[nodiscard]] proving::Truth truth();

 private:
  struct Direction {
    PacketPort* from;
    PacketPort* to;
    Way way;
    Lateness lateness{};
    std::uint64_t forwarded = 0;
    std::uint64_t bytes = 0;
    std::uint64_t dropped = 0;  ///< by the links
    std::uint64_t refused = 0;  ///< by the interface it should have left by
    std::uint64_t overrun = 0;  ///< by the receiving socket: pool and socket buffer were full
  };

  [[nodiscard]] TimePoint to_scenario(Duration monotonic) const { return TimePoint(monotonic - zero_); }
  [[nodiscard]] bool take_in(Direction& d, bool back);
  void settle(Direction& d);
  void send_due(Direction& d);
  [[nodiscard]] boost::json::object account_of(Direction& d);

  const proving::Scenario& scenario_;
  Whose whose_;
  std::ostream* drops_;
  FramePool pool_;
  PacketPort near_;
  PacketPort far_;
  Duration zero_;
  bool begun_ = false;
  std::array<Direction, 2> directions_;
  std::vector<FrameId> arrived_;
  std::vector<FrameId> leaving_;
  std::vector<TimePoint> due_;
};

}  // namespace weir::lab
