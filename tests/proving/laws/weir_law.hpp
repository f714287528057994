/// Weir's own law: the SiteController of the product, fed the measurement of each tick.
/// Source: docs/CONTROLLER.md.
#pragma once

#include "proving/laws/law.hpp"

namespace weir::proving {

class WeirLaw : public Law {
 public:
  WeirLaw(const LawSettings& settings, TimePoint now, bool paced = true)
      : controller_({.floor = settings.floor, .ceiling = settings.ceiling, .paced = paced},
                    start_of(settings), now) {}

  [[nodiscard]] Duration period() const override { return kCohortLength; }
  [[nodiscard]] std::optional<Rate> step(const LawInput& input) override {
    if (input.control != nullptr) return controller_.step(*input.control, input.now).rate;
    return controller_.decision().rate;
  }
  [[nodiscard]] std::string_view reason() const override { return controller_.decision().reason; }
  [[nodiscard]] std::optional<SiteMemory> memory(TimePoint now) const override {
    return controller_.memory(now);
  }

 private:
  /// Started again, it finds its rate in the kernel.
  static ControlStart start_of(const LawSettings& settings) {
    return {settings.start, settings.memory ? StartedFrom::kernel : StartedFrom::policy, settings.memory};
  }

  SiteController controller_;
};

/// The same at the LAN port of the box that what comes over the path is meant for (estimator/way_in.hpp).
class WeirInboundLaw final : public WeirLaw {
 public:
  WeirInboundLaw(const LawSettings& settings, TimePoint now) : WeirLaw(settings, now, false) {}
  [[nodiscard]] bool behind_the_bottleneck() const override { return true; }
};

}  // namespace weir::proving
