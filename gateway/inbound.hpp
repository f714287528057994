/// What comes from sites, shaped at the LAN port: at the rates that the policy says, which do not adapt.
///
///   the whole policy --lan_policy--> the LAN port's own: sites of `inbound`, by the packets' source
///     has sites:  its tree is kept there
///     has none:   nothing of ours stands there; what an earlier policy left is taken away
///
/// Not thread-safe. No call throws for what the kernel does.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/meter.hpp"
#include "gateway/port_tree.hpp"

namespace weir::gateway {

class Inbound {
 public:
  /// `port` and `events` must outlive it.
  Inbound(Port& port, EventLog& events) : port_(port), events_(events), tree_(port, events) {}

  /// Of `whole`, which names this LAN port or none. On a fault what stood before may be gone: restore().
  [[nodiscard]] shaper::ApplyReport put_in_force(const Policy& whole, const Instant& now);
  /// Takes over `whole` though the kernel refused it: it is tried again every second.
  void keep_trying(const Policy& whole, const Instant& now);
  /// There is to be a tree, and none stands: whatever is wrong was so before.
  [[nodiscard]] bool is_missing() const { return policy_ && !tree_.status().in_place; }
  /// Why a tree that nobody wants any more still stands; nullopt: none does.
  [[nodiscard]] const std::optional<std::string>& left_over() const { return left_over_; }
  /// Puts back what was put in force last.
  void restore(const Instant& now);
  /// Looks whether the tree stands, and puts it back; `suspicion` as PortTree says.
  void look(const std::string& suspicion, const Instant& now);
  void every_second(const Instant& now);

  /// The LAN port's own policy that is in force; nullptr: nothing is shaped there.
  [[nodiscard]] const Policy* policy() const { return policy_ ? &*policy_ : nullptr; }
  [[nodiscard]] const PortTree& tree() const { return tree_; }
  /// nullopt: what comes from that site is not shaped.
  [[nodiscard]] std::optional<InboundStatus> status_of(std::string_view site) const;
  [[nodiscard]] std::optional<LanStatus> status() const;
  [[nodiscard]] Port& port() { return port_; }

 private:
  struct Site {
    RateMeter sent;
    Bytes backlog;
  };
  void take_over(Policy lan);
  [[nodiscard]] shaper::ApplyReport take_away(const Instant& now);

  Port& port_;
  EventLog& events_;
  PortTree tree_;
  std::optional<Policy> policy_;
  std::vector<Rate> rates_;
  std::vector<Site> sites_;  ///< as policy_->sites
  std::optional<std::string> left_over_;
};

}  // namespace weir::gateway
