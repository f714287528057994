#include "gateway/rate_law.hpp"

namespace weir::gateway {
namespace {

class ControllerLaw final : public RateLaw {
 public:
  ControllerLaw(const ControlLimits& limits, const ControlStart& start, TimePoint now)
      : controller_(limits, start, now) {}

  const RateDecision& step(const ControlInput& input, TimePoint now) override {
    return controller_.step(input, now);
  }
  void set_limits(const ControlLimits& limits, TimePoint now) override {
    controller_.set_limits(limits, now);
  }
  const RateDecision& decision() const override { return controller_.decision(); }
  SiteMemory memory(TimePoint now) const override { return controller_.memory(now); }
  std::string state() const override { return controller_.state(); }

 private:
  SiteController controller_;
};

}  // namespace

MakeRateLaw site_controllers() {
  return [](const ControlLimits& limits, const ControlStart& start, TimePoint now) {
    return std::make_unique<ControllerLaw>(limits, start, now);
  };
}

}  // namespace weir::gateway
