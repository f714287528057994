/// What comes from sites, shaped at the LAN port: at the rates that the policy says, or, where it says a
/// floor, at what the path is found to carry towards us.
///
///   the whole policy --lan_policy--> the LAN port's own: sites of `inbound`, by the packets' source
///     has sites:  its tree is kept there, and a control loop of its own sets the rates
///     has none:   nothing of ours stands there; what an earlier policy left is taken away
///
///   TickResult::way_in, of the sites that have `inbound` ---> SiteLoop ---> the LAN port
///
/// Not thread-safe. No call throws for what the kernel does.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "estimator/estimator.hpp"
#include "gateway/port_tree.hpp"
#include "gateway/site_loop.hpp"

namespace weir::gateway {

class Inbound {
 public:
  /// `port` and `events` must outlive it.
  Inbound(Port& port, MakeRateLaw make_law, EventLog& events)
      : port_(port),
        events_(events),
        tree_(port, events),
        loop_(std::move(make_law), events, Direction::inbound) {}

  /// Of `whole`, which names this LAN port or none. On a fault what stood before may be gone: restore().
  /// `remembered`: of a first start, what is known of what comes from the sites.
  [[nodiscard]] shaper::ApplyReport put_in_force(const Policy& whole, const Instant& now,
                                                 const SiteMemories& remembered = {});
  /// Takes over `whole` though the kernel refused it: it is tried again every second.
  void keep_trying(const Policy& whole, const Instant& now, const SiteMemories& remembered = {});
  /// There is to be a tree, and none stands: whatever is wrong was so before.
  [[nodiscard]] bool is_missing() const { return policy_ && !tree_.status().in_place; }
  /// Why a tree that nobody wants any more still stands; nullopt: none does.
  [[nodiscard]] const std::optional<std::string>& left_over() const { return left_over_; }
  /// Puts back what was put in force last.
  void restore(const Instant& now);
  /// Looks whether the tree stands, and puts it back; `suspicion` as PortTree says.
  void look(const std::string& suspicion, const Instant& now);
  void on_tick(const TickResult& measured, const Instant& now);
  void every_second(const Instant& now);

  /// The LAN port's own policy that is in force; nullptr: nothing is shaped there.
  [[nodiscard]] const Policy* policy() const { return policy_ ? &*policy_ : nullptr; }
  [[nodiscard]] const PortTree& tree() const { return tree_; }
  [[nodiscard]] SiteLoop& loop() { return loop_; }
  [[nodiscard]] const SiteLoop& loop() const { return loop_; }
  [[nodiscard]] std::optional<LanStatus> status() const;
  [[nodiscard]] Port& port() { return port_; }

 private:
  void take_over(Policy lan, const Policy& whole, const std::vector<ControlStart>& starts,
                 const Instant& now);
  [[nodiscard]] std::optional<std::vector<std::optional<Rate>>> rates_that_stand(const Policy& lan);
  [[nodiscard]] shaper::ApplyReport take_away(const Instant& now);
  void give_up(const Instant& now);

  Port& port_;
  EventLog& events_;
  PortTree tree_;
  SiteLoop loop_;
  std::optional<Policy> policy_;
  std::vector<std::size_t> places_;  ///< of policy_->sites, in the whole policy
  std::size_t all_sites_ = 0;        ///< of the whole policy
  bool adapts_ = false;              ///< any rate follows the path
  std::optional<std::string> left_over_;
};

}  // namespace weir::gateway
