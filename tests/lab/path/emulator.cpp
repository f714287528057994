#include "emulator.hpp"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ostream.h>

namespace weir::lab {
namespace {

namespace json = boost::json;

/// Taken from one port in a round at most: the other one and what is due have their turn, too.
constexpr std::size_t kMostAtOnce = 1024;
/// Until it is told to begin, the scenario lies so far ahead.
constexpr Duration kNotYet = std::chrono::hours(24 * 365);

[[nodiscard]] std::int64_t microseconds(Duration d) {
  return std::chrono::duration_cast<std::chrono::microseconds>(d).count();
}

}  // namespace

Emulator::Emulator(const proving::Scenario& scenario, const Settings& settings, std::ostream* drops)
    : scenario_(scenario),
      whose_(settings.whose),
      drops_(drops),
      pool_(settings.frames),
      near_(settings.near),
      far_(settings.far),
      zero_(monotonic_now() + kNotYet),
      directions_{
          Direction{&near_, &far_, Way(scenario, false, settings.frames, settings.rtts, settings.seed)},
          Direction{&far_, &near_, Way(scenario, true, settings.frames, settings.rtts, settings.seed + 1)}} {
  if (drops_ != nullptr)
    *drops_ << "time_s,link,reason,bytes,protocol,source,source_port,destination,destination_port\n";
}

bool Emulator::turn() {
  // All that is stamped until here has been fetched when the links are asked what became of it.
  const TimePoint now = scenario_time();
  bool came = false;
  for (std::size_t i = 0; i < directions_.size(); ++i) came = take_in(directions_[i], i == 1) || came;
  for (Direction& d : directions_) {
    d.way.run_until(now);
    settle(d);
    send_due(d);
  }
  return came;
}

bool Emulator::take_in(Direction& d, bool back) {
  arrived_.clear();
  d.from->receive(pool_, arrived_, kMostAtOnce);
  for (const FrameId id : arrived_) {
    FrameSlot& slot = pool_.at(id);
    d.way.arrive(whose_.passenger(slot.frame(), id, back), to_scenario(slot.arrived));
  }
  return !arrived_.empty();
}

/// What the links have done to frames: dropped, marked.
void Emulator::settle(Direction& d) {
  for (const std::uint32_t token : d.way.take_marked()) mark_congestion(pool_.at(token).frame());
  for (const LostFrame& lost : d.way.take_lost()) {
    ++d.dropped;
    if (drops_ != nullptr) {
      const Headers h = read_headers(pool_.at(lost.passenger.token).frame()).value_or(Headers{});
      fmt::print(*drops_, "{:.6f},{},{},{},{},{},{},{},{}\n", seconds(lost.at.time_since_epoch()),
                 scenario_.links[lost.link].name, lost.fate == proving::Fate::at_random ? "random" : "limit",
                 lost.passenger.bytes, h.protocol, h.source.to_string(), h.source_port,
                 h.destination.to_string(), h.destination_port);
    }
    pool_.give_back(lost.passenger.token);
  }
}

void Emulator::send_due(Direction& d) {
  leaving_.clear();
  due_.clear();
  const TimePoint now = scenario_time();
  while (const auto departure = d.way.take_due(now)) {
    leaving_.push_back(departure->passenger.token);
    due_.push_back(departure->due);
    d.bytes += departure->passenger.bytes;
  }
  if (leaving_.empty()) return;
  const std::size_t taken = d.to->send(pool_, leaving_);
  d.forwarded += taken;
  d.refused += leaving_.size() - taken;
  const TimePoint gone = scenario_time();
  for (const TimePoint due : due_) d.lateness.add(gone - due);
  for (const FrameId id : leaving_) pool_.give_back(id);
}

std::optional<Duration> Emulator::time_to_sleep() const {
  std::optional<TimePoint> first;
  for (const Direction& d : directions_) {
    const auto next = d.way.next();
    if (next && (!first || *next < *first)) first = next;
  }
  // Bins are closed and what is told of sites comes into them, frames or not.
  if (begun_ && !first) first = scenario_time() + proving::kBin / 2;
  if (!first) return std::nullopt;
  return std::max(*first - scenario_time(), Duration::zero());
}

void Emulator::begin(Duration at) {
  if (begun_) throw std::invalid_argument("it has begun already");
  begun_ = true;
  const Duration shift = zero_ - at;
  zero_ = at;
  for (Direction& d : directions_) d.way.shift_clock(shift);
}

void Emulator::set_delays(std::optional<Duration> out, std::optional<Duration> back) {
  if (out) directions_[0].way.set_delay(*out);
  if (back) directions_[1].way.set_delay(*back);
}

json::object Emulator::account_of(Direction& d) {
  d.overrun += d.from->take_socket_drops();
  return {{"forwarded", d.forwarded},
          {"bytes", d.bytes},
          {"dropped", d.dropped},
          {"refused", d.refused},
          {"overrun", d.overrun},
          {"oversized", d.from->oversized()},
          {"waiting", d.way.waiting()},
          {"lateness_p50_us", microseconds(d.lateness.quantile(0.5))},
          {"lateness_p99_us", microseconds(d.lateness.quantile(0.99))},
          {"worst_lateness_us", microseconds(d.lateness.worst())}};
}

json::object Emulator::account() {
  json::object out = account_of(directions_[0]);
  json::object back = account_of(directions_[1]);
  bool missing = false;
  for (const Direction& d : directions_) missing = missing || d.overrun + d.refused + d.from->oversized() > 0;
  return {{"out", std::move(out)}, {"back", std::move(back)}, {"void", missing}};
}

proving::Truth Emulator::truth() {
  proving::Truth truth;
  const TimePoint now = scenario_time();
  for (Direction& d : directions_) {
    d.way.run_until(now);
    d.way.add_to(truth);
  }
  return truth;
}

}  // namespace weir::lab
