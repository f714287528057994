#include "gateway/daemon.hpp"

#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include "gateway/api.hpp"
#include "gateway/api_changes.hpp"
#include "gateway/bounded_queue.hpp"
#include "gateway/capture_worker.hpp"
#include "gateway/cli.hpp"
#include "gateway/clock.hpp"
#include "gateway/gateway.hpp"
#include "gateway/http_server.hpp"
#include "gateway/kernel_watch.hpp"
#include "gateway/log.hpp"
#include "gateway/memory_file.hpp"
#include "gateway/service_notifier.hpp"
#include "gateway/version.hpp"
#include "shaper/port_shaper.hpp"
#include "shaper/state_file.hpp"

namespace weir::gateway {
namespace {

namespace asio = boost::asio;

// Eight ticks: the loop may hang for most of a second (a policy with thousands of classes being applied)
// before a measurement is thrown away.
constexpr std::size_t kTicksInFlight = 8;
constexpr auto kSecond = std::chrono::seconds(1);
constexpr unsigned kSecondsBetweenMemories = 60;
constexpr unsigned kSecondsBetweenTrims = 10;

/// A timer that calls `action` at a steady rhythm until the loop stops.
class Every {
 public:
  Every(asio::io_context& loop, std::chrono::microseconds interval, std::function<void()> action)
      : timer_(loop), interval_(interval), action_(std::move(action)) {
    timer_.expires_after(interval_);
    wait();
  }

 private:
  void wait() {
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      action_();
      // On the beat, but after a stall one turn is enough.
      const auto next = timer_.expiry() + interval_;
      const auto now = std::chrono::steady_clock::now();
      timer_.expires_at(next > now ? next : now + interval_);
      wait();
    });
  }

  asio::steady_timer timer_;
  std::chrono::microseconds interval_;
  std::function<void()> action_;
};

/// Members stand in the order in which they are needed, so that they end in reverse: first the capture
/// thread, then the sockets, last the port, whose tree stays in the kernel.
class Daemon {
 public:
  Daemon(const RunOptions& options, BootPolicy boot, const PolicyLibrary& library, RevisionLog& revisions)
      : options_(options),
        events_(kEventsKept, log_event),
        wan_(boot.loaded.policy.wan.interface, options),
        lan_(lan_of(boot.loaded.policy, options)),
        gateway_({.version = std::string(kVersion), .policy_file = options.config}, std::move(boot),
                 {.wan = *wan_.port, .lan = lan_ ? lan_->port.get() : nullptr}, library, revisions,
                 site_controllers(), events_, instant_now()),
        signals_(loop_, SIGTERM, SIGINT, SIGHUP),
        memory_(options.library_dir),
        http_(loop_, [this](const ApiRequest& request) { return answer(request); }),
        notifier_(ServiceNotifier::from_environment()) {}

  int run() {
    const Instant now = instant_now();
    const shaper::ApplyReport report =
        gateway_.start(now, memory_.load(gateway_.policy().wan.interface, now.wall));
    if (!report.ok()) {
      spdlog::error("nothing is controlled: {}", describe(*report.fault));
      return kExitSystem;
    }
    tell_of_unattended_ports(now);
    await_signal();
    open_api();
    begin_capture();
    begin_keeping_memory();
    watch_kernel(wan_);
    if (lan_) watch_kernel(*lan_);
    Every second(loop_, kSecond, [this] { on_second(); });
    std::optional<Every> watchdog;
    if (const auto interval = watchdog_interval()) {
      // A third of the interval: one turn may come late without the manager's losing patience.
      watchdog.emplace(loop_, *interval / 3, [this] { feed_watchdog(); });
    }
    loop_.run();
    return stop();
  }

 private:
  static constexpr std::size_t kEventsKept = 4096;

  /// A port of ours in the kernel.
  struct KernelSide {
    KernelSide(const std::string& name, const RunOptions& options)
        : interface(name),
          shaper(name, {.replace_foreign = options.replace,
                        .state_dir = options.state_dir,
                        .bpf_dir = options.bpf_dir}),
          port(kernel_port(shaper)) {}
    std::string interface;
    shaper::PortShaper shaper;
    std::unique_ptr<Port> port;
    std::optional<KernelWatch> watch;
  };

  static std::unique_ptr<KernelSide> lan_of(const Policy& policy, const RunOptions& options) {
    return policy.lan ? std::make_unique<KernelSide>(policy.lan->interface, options) : nullptr;
  }

  /// A port that an earlier policy named goes on shaping as it was left. Ours are held by now.
  void tell_of_unattended_ports(const Instant& now) {
    for (const std::string& port : shaper::unattended_ports(options_.state_dir)) {
      events_.record(
          EventKind::left_behind, Severity::warning, "",
          fmt::format("{} has queues of an earlier policy, which nobody keeps: weir clear --interface {} "
                      "takes them away",
                      port, port),
          now.wall);
    }
  }

  /// Does what may change the policy; a capture that measures for another one is told.
  template <class Change>
  auto following_estimator(Change&& make) {
    const std::uint64_t before = gateway_.estimator_generation();
    auto made = make();
    if (gateway_.estimator_generation() != before)
      capture_->use(estimator_settings(gateway_.policy()), gateway_.estimator_generation());
    return made;
  }

  ApiResponse answer(const ApiRequest& request) {
    return request.method == "POST" ? change(request, policy_changes()) : respond(request, view());
  }

  PolicyChanges policy_changes() {
    return {
        .apply =
            [this](const ChangeRequest& request) {
              return following_estimator([&] { return gateway_.changes().apply(request, instant_now()); });
            },
        .confirm = [this](const std::string& by) { return gateway_.changes().confirm(by, instant_now()); },
        .roll_back =
            [this](std::optional<std::uint64_t> to, const std::string& by) {
              return following_estimator([&] { return gateway_.changes().roll_back(to, by, instant_now()); });
            }};
  }

  ApiView view() {
    return {
        .wan = {.policy = gateway_.policy(),
                .classes = gateway_.classes(),
                .explain = [this](const shaper::PacketQuery& query) { return gateway_.explain(query); },
                .arrivals = [this] { return gateway_.arrivals(); },
                .history_of = [this](std::string_view site) { return gateway_.history_of(site); },
                .decisions_of = [this](std::string_view site) { return gateway_.decisions_of(site); }},
        .lan = lan_view(),
        .status = gateway_.status(instant_now()),
        .events = events_,
        .recording_of =
            [this](std::optional<std::string_view> site) { return gateway_.recording(site, instant_now()); },
        .revisions = gateway_.changes().revisions()};
  }

  std::optional<PortView> lan_view() {
    const Policy* const policy = gateway_.inbound_policy();
    if (policy == nullptr) return std::nullopt;
    return PortView{
        .policy = *policy,
        .classes = gateway_.inbound_classes(),
        .explain = [this](const shaper::PacketQuery& query) { return gateway_.explain_inbound(query); },
        .arrivals = [this] { return gateway_.inbound_arrivals(); },
        .history_of = [this](std::string_view site) { return gateway_.inbound_history_of(site); },
        .decisions_of = [this](std::string_view site) { return gateway_.inbound_decisions_of(site); }};
  }

  void open_api() {
    const ApiSettings& api = gateway_.policy().api;
    try {
      if (api.socket.has_parent_path()) std::filesystem::create_directories(api.socket.parent_path());
      http_.listen_unix(api.socket);
      if (api.listen) http_.listen_tcp(*api.listen);
    } catch (const std::system_error& failure) {
      // The API is for looking on: without it the rates follow the path all the same.
      gateway_.on_api_failure(failure.what(), instant_now());
    }
  }

  void begin_capture() {
    // Both are called on the capture thread and only hand over.
    CaptureWorker::Listener listener{
        .on_tick =
            [this](CaptureTick tick) {
              if (ticks_.push(std::move(tick))) asio::post(loop_, [this] { handle_ticks(); });
            },
        .on_change =
            [this](CaptureChange change) {
              asio::post(loop_, [this, change = std::move(change)] { handle_capture_change(change); });
            },
    };
    capture_.emplace(live_capture_on(gateway_.policy().wan.interface), std::move(listener),
                     estimator_settings(gateway_.policy()), gateway_.estimator_generation());
  }

  void begin_keeping_memory() {
    memory_writer_.emplace([this](const KeptMemories& kept) { memory_.store(kept); },
                           [this](std::optional<std::string> failure) {
                             asio::post(loop_, [this, failure = std::move(failure)] {
                               gateway_.on_memories_kept(failure, instant_now());
                             });
                           });
  }

  void handle_capture_change(const CaptureChange& change) {
    gateway_.on_capture(change, instant_now());
    // Ready once it is known whether the rates will follow; either way the tree stands and forwarding goes
    // on.
    if (!std::exchange(told_ready_, true)) notifier_.ready(summary());
  }

  void watch_kernel(KernelSide& side) {
    try {
      side.watch.emplace(loop_, side.interface, side.shaper.netlink_port(), [this](const std::string& what) {
        spdlog::debug("the kernel tells: {}", what);
        gateway_.on_kernel_change(what, instant_now());
        capture_->retry_now();  // the port may be back
      });
    } catch (const std::system_error& failure) {
      // The tree is looked at every few seconds all the same; only the repair is slower.
      spdlog::warn("no notices from the kernel: {}", failure.what());
    }
  }

  void handle_ticks() {
    auto taken = ticks_.take_all();
    const Instant now = instant_now();
    if (taken.dropped > 0) gateway_.on_ticks_dropped(taken.dropped, now);
    for (const CaptureTick& tick : taken.items) gateway_.on_tick(tick, now);
  }

  void await_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int number) {
      if (error) return;
      if (number != SIGHUP) return loop_.stop();
      reload();
      await_signal();
    });
  }

  void reload() {
    notifier_.reloading(monotonic_now());
    following_estimator([this] { return gateway_.reload(instant_now()); });
    notifier_.ready(summary());
  }

  void on_second() {
    following_estimator([this] {
      gateway_.every_second(instant_now());
      return true;
    });
    if (++seconds_ % 5 == 0) notifier_.status(summary());
    // What a large tree's dumps and plans leave lies between what stays: the library alone never gives it
    // back.
    if (seconds_ % kSecondsBetweenTrims == 1) malloc_trim(0);
    if (seconds_ % kSecondsBetweenMemories == 0) {
      if (auto kept = gateway_.memories_to_keep(instant_now())) memory_writer_->store(*std::move(kept));
    }
  }

  /// That this runs shows that the loop turns; the capture thread must have turned as well.
  void feed_watchdog() {
    const std::uint64_t progress = capture_->progress();
    if (progress == capture_progress_) {
      spdlog::warn("the capture thread does not move: the watchdog is not fed");
      return;
    }
    capture_progress_ = progress;
    notifier_.watchdog();
  }

  std::string summary() {
    const GatewayStatus status = gateway_.status(instant_now());
    std::string text = fmt::format(
        "{} on {}", status.sites.size() == 1 ? "1 site" : fmt::format("{} sites", status.sites.size()),
        status.interface);
    for (std::size_t i = 0; i < status.sites.size() && i < 3; ++i) {
      text += fmt::format(", {} {:.1f} Mbit/s {}", status.sites[i].name, status.sites[i].shaped.mbps(),
                          to_string(status.sites[i].state));
    }
    for (const Degradation& d : status.degraded) text += "; DEGRADED: " + d.text;
    return text;
  }

  int stop() {
    notifier_.stopping();
    events_.record(
        EventKind::stopping, Severity::info, "",
        options_.clear_on_exit ? "stopping, the shaping is removed" : "stopping, the shaping stays",
        wall_now());
    capture_.reset();
    http_.close();
    keep_memory_for_the_next();
    if (!options_.clear_on_exit) return kExitOk;
    const bool cleared = clear(*wan_.port);
    return (lan_ == nullptr || clear(*lan_->port)) && cleared ? kExitOk : kExitSystem;
  }

  static bool clear(Port& port) {
    const shaper::ApplyReport cleared = port.clear();
    if (!cleared.ok()) spdlog::error("the shaping could not be removed: {}", describe(*cleared.fault));
    return cleared.ok();
  }

  /// Nothing waits for the loop any more: this may wait for the disk.
  void keep_memory_for_the_next() {
    memory_writer_.reset();
    try {
      if (const auto kept = gateway_.memories_to_keep(instant_now())) memory_.store(*kept);
    } catch (const std::exception& failure) {
      spdlog::warn("what is known of the sites could not be saved: {}", failure.what());
    }
  }

  RunOptions options_;
  asio::io_context loop_;
  EventLog events_;
  KernelSide wan_;
  std::unique_ptr<KernelSide> lan_;  ///< nullptr: the policy names no LAN port
  Gateway gateway_;
  asio::signal_set signals_;
  MemoryFile memory_;
  HttpServer http_;
  ServiceNotifier notifier_;
  BoundedQueue<CaptureTick> ticks_{kTicksInFlight};
  std::optional<CaptureWorker> capture_;
  std::optional<MemoryWriter> memory_writer_;
  std::uint64_t capture_progress_ = 0;
  unsigned seconds_ = 0;
  bool told_ready_ = false;
};

}  // namespace

int run_daemon(const RunOptions& given) {
  RunOptions options = given;
  // Revisions know their files by name: it must be the same wherever the daemon is started.
  options.config = std::filesystem::absolute(options.config).lexically_normal();
  set_up_log(options.log_level);
  const PolicyLibrary library(options.library_dir);
  RevisionLog revisions(options.library_dir);
  auto boot = load_boot_policy(options.config, library, revisions);
  if (const auto* failure = std::get_if<LoadFailure>(&boot)) {
    spdlog::error("no policy to run with:\n{}", failure->rendered);
    return kExitPolicy;
  }
  try {
    return Daemon(options, std::get<BootPolicy>(std::move(boot)), library, revisions).run();
  } catch (const std::system_error& failure) {
    spdlog::error("{}", failure.what());
    return kExitSystem;
  }
}

}  // namespace weir::gateway
