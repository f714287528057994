/// The simulated world of one run: hosts, the box with the real estimator and a law, the provider's links.
///
///   our hosts -> SiteBox -> (local loss) -> tap -> links out -> extra delay -> far hosts
///             <- tap <- half the world away: the load's RTT <- links back <-
///
/// The tap's frames go into Weir's own estimator; every 100 ms its measurement, and as often as the law likes
/// whatever its design measures, go into the law, whose rate the box takes at once. One run is determined by
/// the scenario, the law's name and the seed. Runs inside ns-3's one thread; one World a process.
#pragma once

#include <array>
#include <deque>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <ns3/event-id.h>

#include "estimator/estimator.hpp"
#include "estimator/port_coordinator.hpp"

#include "proving/laws/law.hpp"
#include "proving/path/scenario.hpp"
#include "proving/path/truth.hpp"
#include "proving/sim/box.hpp"
#include "proving/sim/dsack.hpp"
#include "proving/sim/endpoints.hpp"

namespace weir::proving {

/// A change of what a law wants, with its reason.
struct Decision {
  TimePoint at;
  std::size_t site = 0;
  Rate rate;
  std::string reason;
};

class World {
 public:
  World(const Scenario& scenario, std::string law, std::uint32_t seed);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  void run();
  /// Writes what the tap sees to a pcap file, snapped: for tools that others wrote. Before `run`; throws
  /// std::runtime_error.
  void capture_to(const std::string& path);
  /// Likewise: what the estimator told of every tick, as CSV.
  void write_ticks_to(const std::string& path);

  [[nodiscard]] const Truth& truth() const { return truth_; }
  [[nodiscard]] const std::vector<Decision>& decisions() const { return decisions_; }

 private:
  struct Site;
  struct Wire;

  void build_hosts();
  void build_sites();
  void start_loads();
  [[nodiscard]] EstimatorSettings estimator_settings() const;
  [[nodiscard]] EstimatorSettings far_settings(std::size_t site) const;
  /// The daemon begins: it finds the rates in the kernel, and knows nothing else.
  void new_laws();

  // -- the way of a packet --
  /// A host sends: with what it tells as received twice.
  [[nodiscard]] Unit from_host(std::size_t load, ns3::Ptr<ns3::Packet> packet, bool back);
  void at_host(const Unit& unit, Host& host);
  void from_our_host(std::size_t load, ns3::Ptr<ns3::Packet> packet);
  void from_far_host(std::size_t load, ns3::Ptr<ns3::Packet> packet);
  void leaves_box(Unit unit);
  void cross_links(Unit unit);
  void over_link(std::size_t link, const Outcome& outcome);
  void serve(std::size_t link);
  void arrives_far(Unit unit);
  void delivered(Unit unit);
  void arrives_ours(const Unit& unit);
  void drop(const Unit& unit);
  void see(const Unit& unit, Estimator& estimator);
  void see_far(const Unit& unit);
  void send_udp(std::size_t load);
  void send_pings();

  // -- clocks --
  void tick();
  /// Weir's laws are those of one box: what several sites have in common is told to each.
  void coordinate(std::vector<ControlInput>& inputs);
  void ask(std::size_t site);
  void close_bin();
  void write_tick(std::size_t site, const ControlInput& input);

  [[nodiscard]] std::size_t site_of(const Unit& unit) const;
  /// Where no law shapes the port's own speed remains, here ten times what a site may have.
  [[nodiscard]] Rate unshaped(std::size_t site) const;

  Scenario scenario_;
  std::string law_name_;
  std::mt19937_64 random_;
  Truth truth_;
  std::vector<Decision> decisions_;
  std::vector<std::unique_ptr<Host>> ours_;  ///< by load
  std::vector<std::unique_ptr<Host>> far_;
  std::vector<std::unique_ptr<Site>> sites_;
  std::vector<std::unique_ptr<Wire>> wires_;
  DsackReceivers receivers_;
  std::unique_ptr<Estimator> estimator_;
  std::optional<PortCoordinator> coordinator_;  ///< of Weir's law
  std::ofstream capture_;
  std::ofstream ticks_;
  TimePoint last_arrival_;  ///< behind the extra delay: order is kept
  TimePoint last_tick_;
};

}  // namespace weir::proving
