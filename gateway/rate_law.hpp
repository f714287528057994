/// What decides one site's rate, as the loop drives it: the seam that lets tests drive the loop with rates of
/// their own. The product's only law is SiteController (estimator/controller.hpp), whose rules hold here too.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "estimator/controller.hpp"

namespace weir::gateway {

class RateLaw {
 public:
  RateLaw() = default;
  RateLaw(const RateLaw&) = delete;
  RateLaw& operator=(const RateLaw&) = delete;
  virtual ~RateLaw() = default;

  virtual const RateDecision& step(const ControlInput& input, TimePoint now) = 0;
  virtual void set_limits(const ControlLimits& limits, TimePoint now) = 0;
  [[nodiscard]] virtual const RateDecision& decision() const = 0;
  /// What of it should outlive the daemon (SiteController::memory).
  [[nodiscard]] virtual SiteMemory memory(TimePoint now) const = 0;
  /// For the recording (SiteController::state).
  [[nodiscard]] virtual std::string state() const = 0;
};

using MakeRateLaw = std::function<std::unique_ptr<RateLaw>(const ControlLimits& limits,
                                                           const ControlStart& start, TimePoint now)>;

/// Makes SiteControllers.
[[nodiscard]] MakeRateLaw site_controllers();

}  // namespace weir::gateway
