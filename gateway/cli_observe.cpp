#include <array>
#include <cerrno>
#include <cstdio>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "config/load.hpp"
#include "estimator/capture.hpp"
#include "estimator/flow_sampling.hpp"
#include "estimator/merged_observer.hpp"
#include "estimator/observation.hpp"
#include "estimator/observe_file.hpp"
#include "gateway/cli.hpp"
#include "gateway/clock.hpp"
#include "gateway/file_descriptor.hpp"
#include "gateway/gateway.hpp"
#include "gateway/json_text.hpp"
#include "gateway/live_source.hpp"
#include "gateway/observe_workers.hpp"

namespace weir::gateway {
namespace {

constexpr Duration kPage = std::chrono::seconds(1);
/// Connections followed at a time: a tool of its own may take more memory than the daemon, 160 bytes each.
constexpr std::size_t kMostFlows = 1U << 21U;
/// Rows of flows on a page that is drawn again every second; the last page has them all.
constexpr std::size_t kRowsWhileLive = 20;

/// Ctrl-C and SIGTERM as something to poll, for as long as it lives.
class StopSignals {
 public:
  StopSignals() {
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &wanted, &before_);
    descriptor_ = FileDescriptor(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!descriptor_) throw std::system_error(errno, std::generic_category(), "wait for signals");
  }
  ~StopSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  [[nodiscard]] int descriptor() const { return descriptor_.get(); }

 private:
  sigset_t before_{};
  FileDescriptor descriptor_;
};

/// What the estimator is told of sites and sides, and what the sites are called.
struct ObserverSettings {
  EstimatorSettings estimator;
  std::vector<std::string> site_names;
};

/// nullopt: something was wrong with the options and has been said.
std::optional<ObserverSettings> settings_of(const ObserveOptions& options) {
  ObserverSettings settings;
  if (!options.policy.empty()) {
    const auto read = load_policy(options.policy);
    if (const auto* failure = std::get_if<LoadFailure>(&read)) {
      fmt::print(stderr, "{}", failure->rendered);
      return std::nullopt;
    }
    const Policy& policy = std::get<LoadedPolicy>(read).policy;
    settings.estimator = estimator_settings(policy);
    for (const SitePolicy& site : policy.sites) settings.site_names.push_back(site.name);
  }
  for (const std::string& text : options.inside) {
    const auto prefix = Prefix::parse(text);
    if (!prefix) {
      fmt::print(stderr, "weir: --inside {}: not an address block such as 10.1.0.0/16\n", text);
      return std::nullopt;
    }
    settings.estimator.inside.push_back(*prefix);
  }
  if (options.flows) settings.estimator.keep_flows = options.most_flows;
  settings.estimator.max_flows = kMostFlows;
  // Nobody can aim at a file's table; without a seed the same file gives the same answer.
  settings.estimator.hash_seed = options.read.empty() ? std::random_device()() : 0;
  return settings;
}

std::string shown(const Observation& observation, bool json) {
  return json ? to_text(boost::json::value(to_json(observation))) + "\n" : weir::to_text(observation);
}

int observe_capture_file(const ObserveOptions& options, ObserverSettings settings) {
  try {
    const Observation observation =
        observe_file(options.read, std::move(settings.estimator), std::move(settings.site_names));
    fmt::print("{}", shown(observation, options.json));
    return kExitOk;
  } catch (const std::exception& failure) {
    fmt::print(stderr, "weir: {}\n", failure.what());
    return kExitPolicy;
  }
}

/// What a live observation prints.
class Pages {
 public:
  explicit Pages(const ObserveOptions& options)
      : options_(options), redraw_(!options.json && ::isatty(STDOUT_FILENO) == 1) {}

  void show(const Observation& observation) const {
    fmt::print("{}{}{}", redraw_ ? "\033[H\033[2J" : "", shown(observation, options_.json),
               redraw_ || options_.json ? "" : "\n");
    std::fflush(stdout);
  }
  /// One that the next will take the place of.
  void show_for_now(Observation observation) const {
    if (redraw_ && observation.flows && observation.flows->rows.size() > kRowsWhileLive) {
      observation.flows->omitted += observation.flows->rows.size() - kRowsWhileLive;
      observation.flows->rows.resize(kRowsWhileLive);
    }
    show(observation);
  }

 private:
  const ObserveOptions& options_;
  bool redraw_;
};

/// Waits for either (-1: none), or for the end of a tick. True: `stop` is readable.
bool wait_for(int descriptor, int stop) {
  std::array<pollfd, 2> watched{
      {{.fd = descriptor, .events = POLLIN, .revents = 0}, {.fd = stop, .events = POLLIN, .revents = 0}}};
  constexpr int kTickMs = static_cast<int>(kCohortLength / std::chrono::milliseconds(1));
  ::poll(watched.data(), watched.size(), kTickMs);
  return (watched[1].revents & POLLIN) != 0;
}

/// One live observation: a page every second, until a signal or the end of the wanted time.
class LiveObservation {
 public:
  LiveObservation(const ObserveOptions& options, ObserverSettings settings)
      : options_(options),
        pages_(options),
        capture_(options.interface, LiveCapture::Options{}),
        observer_(std::move(settings.estimator), options.interface, std::move(settings.site_names)) {}

  int run() {
    const TimePoint began = monotonic_now();
    TimePoint next_page = began + kPage;
    for (;;) {
      const bool stopped = wait_for(capture_.descriptor(), stop_.descriptor());
      const TimePoint now = read_frames();
      observer_.on_time(now);
      if (stopped || (options_.duration && now - began >= *options_.duration)) break;
      if (now < next_page) continue;
      next_page = now + kPage;
      pages_.show_for_now(observer_.summary());
    }
    pages_.show(observer_.finish());
    return kExitOk;
  }

 private:
  /// Returns the time at its end.
  TimePoint read_frames() {
    const TimePoint began = monotonic_now();
    const std::size_t frames = capture_.dispatch(kFramesATurn, [this](const Frame& frame) {
      if (const auto due = sampling_.due(frame.time)) observer_.follow(*due);
      observer_.on_frame(frame);
    });
    const TimePoint ended = monotonic_now();
    const std::uint64_t dropped = capture_.counters().dropped;
    if (dropped > dropped_) observer_.on_kernel_drops(dropped - dropped_);
    dropped_ = dropped;
    sampling_.adjust(
        {.began = began, .ended = ended, .emptied = frames < kFramesATurn, .dropped = dropped},
        [this](const FlowSample& sample) { return capture_.follow(sample); }, &monotonic_now);
    return ended;
  }

  const ObserveOptions& options_;
  Pages pages_;
  StopSignals stop_;
  LiveCapture capture_;
  Observer observer_;
  FlowSampling sampling_{std::random_device()()};
  std::uint64_t dropped_ = 0;
};

/// The same by several workers, which share the connections.
class SharedObservation {
 public:
  SharedObservation(const ObserveOptions& options, const ObserverSettings& settings)
      : options_(options),
        pages_(options),
        observer_(settings.estimator, options.interface, settings.site_names),
        workers_(shared_taps(options.interface, options.workers),
                 of_each(settings.estimator, options.workers)) {}

  int run() {
    const TimePoint began = monotonic_now();
    while (!workers_.ended()) {
      const bool stopped = wait_for(workers_.descriptor(), stopping_ ? -1 : stop_.descriptor());
      if (stopped || (options_.duration && monotonic_now() - began >= *options_.duration)) {
        workers_.stop();
        stopping_ = true;
      }
      while (const auto ticks = workers_.take()) {
        observer_.add(*ticks);
        if (ticks->front().findings && !stopping_) pages_.show_for_now(observer_.summary());
      }
    }
    pages_.show(observer_.finish());
    return kExitOk;
  }

 private:
  /// All of them together follow as many connections as one would.
  static EstimatorSettings of_each(EstimatorSettings settings, std::size_t workers) {
    settings.max_flows = settings.max_flows / workers + 1;
    return settings;
  }

  const ObserveOptions& options_;
  Pages pages_;
  StopSignals stop_;  ///< before the workers: they inherit that signals are not for them
  MergedObserver observer_;
  ObserveWorkers workers_;
  bool stopping_ = false;
};

}  // namespace

int observe(const ObserveOptions& options) {
  auto settings = settings_of(options);
  if (!settings) return kExitPolicy;
  if (!options.read.empty()) return observe_capture_file(options, std::move(*settings));
  if (options.workers > 1) return SharedObservation(options, *settings).run();
  return LiveObservation(options, std::move(*settings)).run();
}

}  // namespace weir::gateway
