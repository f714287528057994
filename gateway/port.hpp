/// A port as the control loop needs it: the seam between deciding rates and writing them into a kernel.
///
/// The product has one implementation, over shaper::PortShaper; tests bring their own. One owner, one thread.
/// Reading calls may throw std::system_error naming the attempt; writing calls report refusals.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/policy.hpp"
#include "shaper/class_ids.hpp"
#include "shaper/port_shaper.hpp"

namespace weir::gateway {

class Port {
 public:
  Port() = default;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;
  virtual ~Port() = default;

  [[nodiscard]] virtual std::optional<std::vector<std::optional<Rate>>> adopted_rates(
      const Policy& policy) = 0;
  [[nodiscard]] virtual shaper::ApplyReport apply(const Policy& policy, std::span<const Rate> shaped) = 0;
  [[nodiscard]] virtual shaper::ApplyReport set_rates(std::span<const Rate> shaped) = 0;
  [[nodiscard]] virtual std::vector<shaper::SiteCounters> site_counters() = 0;
  [[nodiscard]] virtual std::vector<shaper::ClassCounters> class_counters() = 0;
  /// nullopt, of both: nothing that could be asked is loaded.
  [[nodiscard]] virtual std::optional<shaper::Verdict> explain(const shaper::PacketQuery& query) = 0;
  [[nodiscard]] virtual std::optional<shaper::ArrivalCounters> arrivals() = 0;
  [[nodiscard]] virtual bool in_place() = 0;
  /// Takes away what is ours; nothing was: no message and no fault.
  [[nodiscard]] virtual shaper::ApplyReport clear() = 0;
};

/// "create class 7e17:10 on wan0: No such device (load the module sch_htb)".
[[nodiscard]] std::string describe(const shaper::KernelFault& fault);

/// "7e17:11", of a qdisc "7e17:", as tc prints them.
[[nodiscard]] std::string handle_text(shaper::Handle handle);

/// `shaper` must outlive the port.
[[nodiscard]] std::unique_ptr<Port> kernel_port(shaper::PortShaper& shaper);

}  // namespace weir::gateway
