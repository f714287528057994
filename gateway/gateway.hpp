/// The daemon without its sockets, threads and clock: policy life cycle, control loop, repair, and what to
/// show.
///
///   boot:    adopted_rates, else what is remembered -> apply (writes nothing if the tree is already so) ->
///   controllers start there
///   change:  ChangeControl says which policy -> apply -> take over by site name; anything wrong: the old
///   policy serves on and `status` says why repair:  tree not in place -> apply again with the rates in
///   force; tried every second until it stands
///
/// Not thread-safe: the daemon's loop owns it. No call throws for what a file, the kernel or a packet holds.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/policy.hpp"
#include "estimator/estimator.hpp"
#include "gateway/capture_events.hpp"
#include "gateway/change_control.hpp"
#include "gateway/event_log.hpp"
#include "gateway/inbound.hpp"
#include "gateway/memory_file.hpp"
#include "gateway/policy_library.hpp"
#include "gateway/port.hpp"
#include "gateway/port_tree.hpp"
#include "gateway/site_loop.hpp"
#include "gateway/status.hpp"

namespace weir::gateway {

/// What a policy means to the estimator.
[[nodiscard]] EstimatorSettings estimator_settings(const Policy& policy);

class Gateway {
 public:
  struct Settings {
    std::string version;
    std::filesystem::path policy_file;
  };
  /// The WAN port, and the LAN port where the boot's policy names one.
  struct Ports {
    Port& wan;
    Port* lan = nullptr;
  };
  /// The ports, `library`, `revisions` and `events` must outlive the gateway.
  Gateway(Settings settings, BootPolicy boot, Ports ports, const PolicyLibrary& library,
          RevisionLog& revisions, MakeRateLaw make_law, EventLog& events, const Instant& now);
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  /// Adopts or builds the tree. With a fault in the report nothing is controlled and the daemon should give
  /// up. `remembered`: what was known of the sites when the daemon last ended.
  [[nodiscard]] shaper::ApplyReport start(const Instant& now, const RememberedSites& remembered = {});
  /// Reads the policy file anew. False: it changed nothing, and status().policy.reload_error says why.
  bool reload(const Instant& now) { return changes_.reload(now); }
  /// Everything else that may become of the policy.
  [[nodiscard]] ChangeControl& changes() { return changes_; }

  void on_tick(const CaptureTick& tick, const Instant& now);
  void on_ticks_dropped(std::uint64_t count, const Instant& now);
  void on_capture(const CaptureChange& change, const Instant& now);
  /// The kernel told of a change on one of our ports that may not be ours; `what` is for people.
  void on_kernel_change(const std::string& what, const Instant& now);
  /// Something of the API could not be set up: shown as a degradation for good.
  void on_api_failure(const std::string& what, const Instant& now);
  /// What is to outlive the daemon, if it is not what was handed out before, some time older.
  [[nodiscard]] std::optional<KeptMemories> memories_to_keep(const Instant& now);
  /// What became of it on the disk: why it is not there, or nullopt. What is not is handed out again.
  void on_memories_kept(const std::optional<std::string>& failure, const Instant& now);
  /// History, class counters, and another try at whatever does not stand; once a second.
  void every_second(const Instant& now);

  [[nodiscard]] const Policy& policy() const { return changes_.policy(); }
  /// Rises whenever the estimator must be made anew from estimator_settings(policy()).
  [[nodiscard]] std::uint64_t estimator_generation() const { return estimator_generation_; }
  [[nodiscard]] GatewayStatus status(const Instant& now) const;
  [[nodiscard]] const std::vector<ClassStatus>& classes() const { return tree_.classes(); }
  /// Of the LAN port, and its own policy; none and nullptr: nothing is shaped there.
  [[nodiscard]] std::span<const ClassStatus> inbound_classes() const;
  [[nodiscard]] const Policy* inbound_policy() const { return inbound_ ? inbound_->policy() : nullptr; }
  [[nodiscard]] const History* inbound_history_of(std::string_view site) const {
    return inbound_ ? inbound_->loop().history_of(site) : nullptr;
  }
  [[nodiscard]] const DecisionLog* inbound_decisions_of(std::string_view site) const {
    return inbound_ ? inbound_->loop().decisions_of(site) : nullptr;
  }
  [[nodiscard]] const EventLog& events() const { return events_; }
  [[nodiscard]] const History* history_of(std::string_view site) const { return loop_.history_of(site); }
  [[nodiscard]] const DecisionLog* decisions_of(std::string_view site) const {
    return loop_.decisions_of(site);
  }
  /// As Port says.
  [[nodiscard]] std::optional<shaper::Verdict> explain(const shaper::PacketQuery& query) {
    return port_.explain(query);
  }
  [[nodiscard]] std::optional<shaper::ArrivalCounters> arrivals() { return port_.arrivals(); }
  /// The same of the LAN port.
  [[nodiscard]] std::optional<shaper::Verdict> explain_inbound(const shaper::PacketQuery& query);
  [[nodiscard]] std::optional<shaper::ArrivalCounters> inbound_arrivals();
  /// Of one site, or of all; nullopt: the policy keeps none.
  [[nodiscard]] std::optional<std::vector<SharedText>> recording(std::optional<std::string_view> site,
                                                                 const Instant& now);

 private:
  [[nodiscard]] ChangeControl::InForce put_in_force(const Policy& next, const Instant& now);
  void put_in_force_inbound(const Policy& next, shaper::ApplyReport& report, const Instant& now);
  void bound_recordings(const Policy& policy);
  void restore(const Instant& now);
  [[nodiscard]] std::vector<Degradation> degradations(TimePoint now) const;

  std::string version_;
  Port& port_;
  EventLog& events_;
  SiteLoop loop_;
  PortTree tree_;                   ///< of the WAN port
  std::optional<Inbound> inbound_;  ///< there is a LAN port
  ChangeControl changes_;
  Instant started_;

  CaptureStatus capture_;
  std::uint64_t estimator_generation_ = 1;
  std::optional<TimePoint> last_tick_;
  std::optional<TimePoint> ticks_dropped_told_;
  std::optional<TimePoint> capture_lost_;  ///< when the capture last dropped frames
  std::vector<std::string> api_failures_;
  std::optional<SiteMemories> kept_;  ///< handed out last,
  TimePoint kept_at_;                 ///< then
  std::optional<std::string> memory_not_saved_;
};

}  // namespace weir::gateway
