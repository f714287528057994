/// One direction of a scenario's path, frame by frame: its links in their order, then the delay.
///
///   arrive -> [link] -> [link] -> extra delay, jitter, overtaking (out) | the RTT of whose frame it is
///   (back) -> due
///
/// Pure: time is an argument and never goes back. Zero is the scenario's beginning; before it nothing but
/// delays is in force. Frames are tokens here; one stays with the way until it is handed out as due or
/// dropped. Counts what happens into the bins of a Truth. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "config/units.hpp"

#include "proving/path/link.hpp"
#include "proving/path/scenario.hpp"
#include "proving/path/truth.hpp"

namespace weir::lab {

/// What a way has to know of a frame.
struct Passenger {
  std::uint32_t token = 0;  ///< below the number of places
  std::uint32_t bytes = 0;
  bool ecn_capable = false;
  bool free_ride = false;             ///< no IP: past links and delays
  std::optional<std::size_t> site{};  ///< nullopt: of none, the shared links only
  bool foreign = false;
  std::optional<std::size_t> delay{};  ///< index of its RTT on the way back; nullopt: the way's own
};

struct Departure {
  TimePoint due;
  std::uint64_t number = 0;  ///< order among those that are due together
  Passenger passenger;
};

struct LostFrame {
  Passenger passenger;
  std::size_t link = 0;
  TimePoint at;
  proving::Fate fate{};
};

class Way {
 public:
  /// `scenario` outlives the way; `places`: tokens are below. `rtts`: by Passenger::delay.
  Way(const proving::Scenario& scenario, bool back, std::size_t places, std::vector<Duration> rtts,
      std::uint64_t seed);

  void arrive(const Passenger& passenger, TimePoint now);
  /// What happens within the links until `now`.
  void run_until(TimePoint now);
  /// The next frame that is due at `now`.
  [[nodiscard]] std::optional<Departure> take_due(TimePoint now);
  /// When something happens next if nothing else comes.
  [[nodiscard]] std::optional<TimePoint> next() const;

  /// A delay on top of the scenario's. A shortened one lets no frame overtake.
  void set_delay(Duration delay) { delay_ = delay; }
  /// All that waits was told in another clock: `shift` is added. Only before the scenario begins.
  void shift_clock(Duration shift);

  /// Since the last call.
  [[nodiscard]] std::vector<LostFrame> take_lost() { return std::exchange(lost_, {}); }
  [[nodiscard]] std::vector<std::uint32_t> take_marked() { return std::exchange(marked_, {}); }
  [[nodiscard]] std::size_t waiting() const { return waiting_; }

  /// What is told of a site from now on: for the bins of the way out.
  void tell(std::size_t site, double shaped_bps, bool demand);
  /// Its links' bins and, of the way out, its sites', of the time that is over.
  void add_to(proving::Truth& truth) const;

 private:
  void enter(const Passenger& passenger, std::size_t link, TimePoint now);
  void over_link(std::size_t link, const proving::Outcome& outcome);
  void lose(const Passenger& passenger, std::size_t link, TimePoint now, proving::Fate fate);
  void leave(const Passenger& passenger, TimePoint now);
  void push(const Passenger& passenger, TimePoint due);
  [[nodiscard]] Duration drawn_delay(TimePoint now);
  void close_bins(TimePoint now);
  [[nodiscard]] proving::LinkBin* bin_of(std::size_t link, TimePoint at);
  [[nodiscard]] proving::SiteBin* site_bin_of(std::size_t site, TimePoint at);

  struct Told {
    double shaped_bps = 0.0;
    bool demand = false;
  };

  const proving::Scenario& scenario_;
  bool back_;
  std::vector<proving::Link> links_;  ///< by the scenario's index; those of the other direction stay unused
  std::vector<Passenger> by_token_;
  std::vector<Duration> rtts_;
  std::vector<TimePoint> last_due_;  ///< by RTT, the way's own at the end
  std::mt19937_64 random_;
  Duration delay_{};
  TimePoint clock_ = TimePoint::min();

  std::vector<Departure> departures_;  ///< a heap, the earliest on top
  std::uint64_t departed_ = 0;
  std::size_t waiting_ = 0;  ///< frames within: in a link or in departures_
  std::vector<proving::Outcome> outcomes_;
  std::vector<LostFrame> lost_;
  std::vector<std::uint32_t> marked_;

  std::vector<std::vector<proving::LinkBin>> link_bins_;
  std::vector<std::vector<proving::SiteBin>> site_bins_;
  std::vector<Told> told_;
  std::size_t closed_ = 0;  ///< bins
};

}  // namespace weir::lab
