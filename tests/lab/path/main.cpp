// lab_path: a provider's path between two interfaces of the current network namespace: the scenario's links
// and delays on real frames, out from --near to --far and back. Without a scenario a wire with a delay.
//
// Frames keep their order within a way (but for what the scenario lets overtake, and between hosts of
// different RTTs); memory is bounded, and every frame that does not get through is counted. Commands on
// standard input, one line each, each answered by one line of JSON:
//
//   read                                   counts and lateness since the start
//   start [SECONDS]                        the scenario begins now, or at that instant of CLOCK_MONOTONIC;
//   until then
//                                          nothing but delays is in force
//   set out_ms=15 back_ms=0                delays on top of the scenario's; order is kept
//   site NAME shaped_bps=1e6 demand=1      for the score: what is true of the site from now on
//   available                              what each site may have now: for a law that is to know it
//
// It ends when its input does or when it is told to terminate, and closes with one line: its account and, of
// a scenario that has begun, the score.
#include <array>
#include <cmath>
#include <csignal>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include "describe.hpp"
#include "emulator.hpp"

namespace weir::lab {
namespace {

namespace json = boost::json;

volatile std::sig_atomic_t g_told_to_end = 0;

struct Options {
  std::string scenario;
  bool describe = false;
  double scale = 1.0;
  double seconds = 0.0;
  std::vector<std::string> sites, foreign, rtts;
  double out_ms = 0.0, back_ms = 0.0;
  double grain_us = 100.0;
  std::string series, drops;
  Emulator::Settings emulator;
};

[[nodiscard]] double number(const std::string& text) {
  std::size_t used = 0;
  double value = 0.0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size() || !(std::abs(value) < 1e15))
    throw std::invalid_argument("'" + text + "' is no number");
  return value;
}

[[nodiscard]] Duration from_ms(double ms) {
  if (!(ms >= 0.0 && ms <= 10'000.0)) throw std::invalid_argument("a delay is 0 to 10000 ms");
  return from_seconds(ms / 1e3);
}

[[nodiscard]] Prefix prefix(const std::string& text) {
  const auto p = Prefix::parse(text);
  if (!p) throw std::invalid_argument("'" + text + "' is no prefix");
  return *p;
}

/// "left=right".
[[nodiscard]] std::pair<std::string, std::string> halves(const std::string& text) {
  const std::size_t at = text.find('=');
  if (at == std::string::npos) throw std::invalid_argument("'" + text + "' has no '='");
  return {text.substr(0, at), text.substr(at + 1)};
}

[[nodiscard]] std::size_t site_index(const proving::Scenario& scenario, const std::string& name) {
  for (std::size_t i = 0; i < scenario.sites.size(); ++i) {
    if (scenario.sites[i].name == name) return i;
  }
  throw std::invalid_argument("there is no site '" + name + "'");
}

/// Whose frames are whose, as the command line says.
void read_prefixes(const Options& o, const proving::Scenario& scenario, Emulator::Settings& settings) {
  for (const std::string& text : o.sites) {
    const auto [name, where] = halves(text);
    settings.whose.sites.emplace_back(prefix(where), site_index(scenario, name));
  }
  for (const std::string& text : o.foreign) settings.whose.foreign.push_back(prefix(text));
  for (const std::string& text : o.rtts) {
    const auto [where, ms] = halves(text);
    settings.whose.rtts.emplace_back(prefix(where), settings.rtts.size());
    settings.rtts.push_back(from_ms(number(ms)));
  }
}

[[nodiscard]] json::object start(Emulator& emulator, std::istringstream& words) {
  std::string when;
  const Duration at = words >> when ? from_seconds(number(when)) : monotonic_now();
  emulator.begin(at);
  return {{"at", seconds(at)}};
}

[[nodiscard]] json::object set(Emulator& emulator, std::istringstream& words) {
  for (std::string word; words >> word;) {
    const auto [name, value] = halves(word);
    if (name == "out_ms")
      emulator.set_delays(from_ms(number(value)), std::nullopt);
    else if (name == "back_ms")
      emulator.set_delays(std::nullopt, from_ms(number(value)));
    else
      throw std::invalid_argument("unknown setting " + name);
  }
  return {{"ok", true}};
}

[[nodiscard]] json::object tell(Emulator& emulator, const proving::Scenario& scenario,
                                std::istringstream& words) {
  std::string site;
  words >> site;
  double shaped = 0.0;
  bool demand = false;
  for (std::string word; words >> word;) {
    const auto [name, value] = halves(word);
    if (name == "shaped_bps")
      shaped = number(value);
    else if (name == "demand")
      demand = number(value) != 0.0;
    else
      throw std::invalid_argument("unknown setting " + name);
  }
  emulator.tell(site_index(scenario, site), shaped, demand);
  return {{"ok", true}};
}

[[nodiscard]] json::object tell_available(const Emulator& emulator, const proving::Scenario& scenario) {
  const TimePoint now = emulator.scenario_time();
  json::object sites;
  for (std::size_t i = 0; i < scenario.sites.size(); ++i)
    sites[scenario.sites[i].name] = proving::available(scenario, i, now).bps();
  return {{"time_s", seconds(now.time_since_epoch())}, {"bps", std::move(sites)}};
}

[[nodiscard]] json::object obey(const std::string& line, Emulator& emulator,
                                const proving::Scenario& scenario) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  if (verb == "read") return emulator.account();
  if (verb == "start") return start(emulator, words);
  if (verb == "set") return set(emulator, words);
  if (verb == "site") return tell(emulator, scenario, words);
  if (verb == "available") return tell_available(emulator, scenario);
  throw std::invalid_argument("unknown command " + verb);
}

/// Reads what is there on standard input and answers each whole line. False: the input has ended.
[[nodiscard]] bool answer_commands(std::string& pending, Emulator& emulator,
                                   const proving::Scenario& scenario) {
  std::array<char, 4096> buffer;
  const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
  if (n <= 0) return false;
  pending.append(buffer.data(), static_cast<std::size_t>(n));
  for (std::size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
    try {
      std::cout << obey(pending.substr(0, end), emulator, scenario) << std::endl;
    } catch (const std::exception& e) {
      std::cout << json::object{{"error", e.what()}} << std::endl;
    }
  }
  return true;
}

/// Until a command, or a frame unless `deaf`, or the timeout; nullopt: for ever. True: a command.
[[nodiscard]] bool wait_for(const Emulator& emulator, bool deaf, std::optional<Duration> timeout,
                            const sigset_t& signals) {
  const auto ports = emulator.descriptors();
  std::array<pollfd, 3> watched{{{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                                 // A negative descriptor is skipped by poll.
                                 {.fd = deaf ? -1 : ports[0], .events = POLLIN, .revents = 0},
                                 {.fd = deaf ? -1 : ports[1], .events = POLLIN, .revents = 0}}};
  timespec t{};
  if (timeout) {
    t.tv_sec = timeout->count() / 1'000'000'000;
    t.tv_nsec = timeout->count() % 1'000'000'000;
  }
  const int ready = ppoll(watched.data(), watched.size(), timeout ? &t : nullptr, &signals);
  return ready > 0 && watched[0].revents != 0;
}

/// The path is only as exact as our wake-ups: ask for fine timers and to run before ordinary work. Without
/// the right to do so it still works; the lateness tells how well.
void wake_up_on_time() {
  prctl(PR_SET_TIMERSLACK, 1'000UL, 0UL, 0UL, 0UL);
  const sched_param lowest_realtime{.sched_priority = 1};
  sched_setscheduler(0, SCHED_FIFO, &lowest_realtime);
}

/// SIGTERM and SIGINT are only heard while we wait. Returns the mask for the wait.
[[nodiscard]] sigset_t listen_for_the_end() {
  struct sigaction action {};
  action.sa_handler = [](int) { g_told_to_end = 1; };
  sigset_t ours;
  sigset_t before;
  sigemptyset(&ours);
  for (const int number : {SIGTERM, SIGINT}) {
    sigaction(number, &action, nullptr);
    sigaddset(&ours, number);
  }
  sigprocmask(SIG_BLOCK, &ours, &before);
  return before;
}

void run(Emulator& emulator, const proving::Scenario& scenario, Duration grain) {
  const sigset_t signals = listen_for_the_end();
  std::string pending_command;
  std::cout << json::object{{"ready", true}} << std::endl;
  while (g_told_to_end == 0) {
    // After a round with frames those that come within a grain are left to collect: bounds the rounds, and so
    // the CPU, at any packet rate.
    const bool came = emulator.turn();
    const std::optional<Duration> timeout = came ? grain : emulator.time_to_sleep();
    if (wait_for(emulator, came, timeout, signals) && !answer_commands(pending_command, emulator, scenario))
      return;
  }
}

void close_account(Emulator& emulator, const proving::Scenario& scenario, const Options& o) {
  json::object account{{"path", emulator.account()}};
  if (emulator.begun()) {
    const proving::Truth truth = emulator.truth();
    if (!o.series.empty()) proving::write_csv(scenario, truth, o.series);
    account["score"] = json::parse(proving::to_json(proving::score(scenario, truth)));
  }
  std::cout << account << std::endl;
}

[[nodiscard]] proving::Scenario scenario_of(const Options& o) {
  proving::Scenario scenario;
  if (!o.scenario.empty()) scenario = proving::scaled(proving::load_scenario(o.scenario), o.scale);
  if (o.seconds > 0.0) scenario.length = std::min(scenario.length, from_seconds(o.seconds));
  if (!o.scenario.empty() && scenario.warm_up >= scenario.length)
    throw std::invalid_argument("nothing is left behind the warm-up");
  return scenario;
}

void add_options(CLI::App& app, Options& o) {
  app.add_option("--near", o.emulator.near, "interface on our side");
  app.add_option("--far", o.emulator.far, "interface on the far side");
  app.add_option("--scenario", o.scenario, "YAML file of the proving ground");
  app.add_flag("--describe", o.describe, "print the scenario as JSON and end");
  app.add_option("--scale", o.scale, "all rates of the scenario times this")
      ->check(CLI::Range(0.001, 1000.0));
  app.add_option("--seconds", o.seconds, "no more of the scenario than so long");
  app.add_option("--site", o.sites, "NAME=PREFIX of the far side; repeatable");
  app.add_option("--foreign", o.foreign, "PREFIX of others, who only meet the shared links; repeatable");
  app.add_option("--rtt", o.rtts, "PREFIX=MS: delay on the way back to these hosts of our side; repeatable");
  app.add_option("--out-ms", o.out_ms, "delay on the way out");
  app.add_option("--back-ms", o.back_ms, "delay on the way back");
  app.add_option("--seed", o.emulator.seed, "of all that is random");
  app.add_option("--frames", o.emulator.frames, "most frames held (2 KiB each)")
      ->check(CLI::Range(64, 1 << 20));
  app.add_option("--grain-us", o.grain_us, "frames that arrive so soon after others are fetched together")
      ->check(CLI::Range(1.0, 5000.0));
  app.add_option("--series", o.series, "write what happened, a row every 10 ms, as CSV at the end");
  app.add_option("--drops", o.drops, "write every frame that a link drops, as CSV");
}

int run_program(Options& o) {
  const proving::Scenario scenario = scenario_of(o);
  if (o.describe) {
    std::cout << describe(scenario) << std::endl;
    return 0;
  }
  if (o.emulator.near.empty() || o.emulator.far.empty())
    throw std::invalid_argument("--near and --far are needed");
  read_prefixes(o, scenario, o.emulator);
  std::vector<char> room(1 << 20);  // outlives the stream that writes through it
  std::ofstream drops;
  if (!o.drops.empty()) {
    drops.rdbuf()->pubsetbuf(room.data(), static_cast<std::streamsize>(room.size()));
    drops.open(o.drops);
    if (!drops) throw std::runtime_error("cannot write " + o.drops);
  }
  Emulator emulator(scenario, o.emulator, o.drops.empty() ? nullptr : &drops);
  emulator.set_delays(from_ms(o.out_ms), from_ms(o.back_ms));
  wake_up_on_time();
  run(emulator, scenario, from_seconds(o.grain_us / 1e6));
  drops.flush();
  if (!o.drops.empty() && !drops) throw std::runtime_error("cannot write " + o.drops);
  close_account(emulator, scenario, o);
  return 0;
}

}  // namespace
}  // namespace weir::lab

int main(int argc, char** argv) {
  CLI::App app{"A provider's path between two interfaces"};
  weir::lab::Options options;
  weir::lab::add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  try {
    return weir::lab::run_program(options);
  } catch (const std::exception& e) {
    std::cerr << "lab_path: " << e.what() << '\n';
    return 1;
  }
}
