/// The control loop of one port: measurements in, one batch of rates out. There is one for what goes out to
/// sites, at the WAN port, and one for what comes from them, at the LAN port.
///
///   a tick's ---+-> ControlInput per site -> RateLaw::step -> wanted rates -+-> Port::set_rates (one batch,
///   measurements       |   (S and backlog)  |                                      |    differs from what is
///   in force)                               +-> PortCoordinator: shares
///                                                                           +-> events, history, status,
///                                                                               decisions, recording
///
/// Knows no socket and no clock. Not thread-safe: the daemon's loop owns it. Never throws because of the
/// kernel: a refused batch is remembered and tried again at the next tick, unreadable counters hold the
/// rates.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/policy.hpp"
#include "estimator/estimator.hpp"
#include "estimator/port_coordinator.hpp"
#include "gateway/control_recorder.hpp"
#include "gateway/decision_log.hpp"
#include "gateway/event_log.hpp"
#include "gateway/history.hpp"
#include "gateway/port.hpp"
#include "gateway/rate_law.hpp"
#include "gateway/site_memories.hpp"
#include "gateway/status.hpp"

namespace weir::gateway {

/// Where each of them begins.
[[nodiscard]] std::vector<Rate> rates_of(std::span<const ControlStart> starts);

/// What comes from a site is called by the site's name and this wherever both directions are kept together.
/// No site is called so: names have no spaces.
inline constexpr std::string_view kInboundSuffix = " inbound";

class SiteLoop {
 public:
  /// `events` must outlive the loop. `direction`: of what the port shapes.
  SiteLoop(MakeRateLaw make_law, EventLog& events, Direction direction = Direction::outbound);
  ~SiteLoop();

  /// Where each site of `policy` should be when `policy` takes over: a known site keeps its own rate, clamped
  /// into its new limits; a new one begins as start_of() has it, with what the kernel has for it (`adopted`)
  /// and what is remembered of it, aged up to now. A site that does not adapt always gets its start.
  [[nodiscard]] std::vector<ControlStart> starts_for(const Policy& policy,
                                                     std::span<const std::optional<Rate>> adopted = {},
                                                     const SiteMemories& remembered = {}) const;
  /// Takes over `policy`, whose sites have the rates of `starts` in the kernel now. Sites known by name keep
  /// what they learnt.
  void take_over(const Policy& policy, std::span<const ControlStart> starts, const Instant& now);
  /// The kernel holds these rates now (after a repair).
  void rates_written(std::span<const Rate> in_force);

  /// One tick of what goes out. A result with another number of sites belongs to a policy before this one and
  /// is ignored.
  void tick(const TickResult& measured, Port& port, const Instant& now);
  /// One tick: what was measured of what is shaped, and what came the other way, of each site in the order of
  /// the policy.
  void tick(std::span<const SiteMeasurement> shaped, std::span<const Bytes> opposite, Port& port,
            const Instant& now);
  /// The port's counters alone. False: they could not be read, and unreadable() says why.
  bool read_counters(Port& port, TimePoint now);
  /// Adds one sample of every site to its history; once a second.
  void sample_history(const Instant& now);

  [[nodiscard]] std::vector<Rate> wanted_rates() const;
  /// What of each site should outlive the daemon.
  [[nodiscard]] SiteMemories memories(TimePoint now) const;
  [[nodiscard]] std::vector<SiteStatus> site_status(TimePoint now) const;
  /// nullptr: no such site.
  [[nodiscard]] const History* history_of(std::string_view site) const;
  /// nullptr: no such site.
  [[nodiscard]] const DecisionLog* decisions_of(std::string_view site) const;
  [[nodiscard]] ControlRecorder& recorder() { return recorder_; }
  /// What a site is called there, and among memories: both directions may stand together.
  [[nodiscard]] std::string recorded_name(std::string_view site) const;
  /// What the kernel refuses at present; nullopt: everything wanted is in force.
  [[nodiscard]] const std::optional<shaper::KernelFault>& fault() const { return fault_; }
  /// Why the port's counters could not be read at the last tick; nullopt: they could.
  [[nodiscard]] const std::optional<std::string>& unreadable() const { return unreadable_; }
  [[nodiscard]] std::uint64_t batches() const { return batches_; }
  [[nodiscard]] std::uint64_t batches_failed() const { return batches_failed_; }
  [[nodiscard]] std::uint64_t messages() const { return messages_; }

 private:
  struct Site;
  void change_limits(Site& site, const ControlLimits& limits, const Instant& now);
  void make_law(Site& site, const ControlLimits& limits, const ControlStart& start, const Instant& now);
  [[nodiscard]] const Site* find(std::string_view name) const;
  [[nodiscard]] ControlLimits limits_of(const SitePolicy& site) const;
  [[nodiscard]] std::string told(std::string text) const;
  [[nodiscard]] std::vector<ControlInput> inputs_of(std::span<const SiteMeasurement> measured) const;
  /// Tells the sites that share a bottleneck what each may have of it.
  void coordinate(std::vector<ControlInput>& inputs, const Instant& now);
  void note_group(const std::vector<std::size_t>& before, const Instant& now);
  void step(Site& site, const ControlInput& input, Bytes opposite, const Instant& now);
  void write_changed_rates(Port& port, const Instant& now);
  /// For people; nullopt: it shares none, as far as is known.
  [[nodiscard]] std::optional<std::string> shares_with(std::size_t site) const;
  [[nodiscard]] SiteStatus status_of(std::size_t site, TimePoint now) const;

  MakeRateLaw make_law_;
  EventLog& events_;
  Direction direction_;
  ControlRecorder recorder_{0};  ///< its bound comes with the policy
  std::vector<std::unique_ptr<Site>> sites_;
  PortCoordinator coordinator_{0};  ///< of these sites
  std::optional<shaper::KernelFault> fault_;
  std::optional<std::string> unreadable_;
  std::uint64_t batches_ = 0;
  std::uint64_t batches_failed_ = 0;
  std::uint64_t messages_ = 0;
};

}  // namespace weir::gateway
