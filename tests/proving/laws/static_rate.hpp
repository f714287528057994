/// What is done without any estimator: shape to what the provider guarantees.
#pragma once

#include "proving/laws/law.hpp"

namespace weir::proving {

class StaticRate final : public Law {
 public:
  explicit StaticRate(const LawSettings& settings) : rate_(settings.contract) {}

  [[nodiscard]] Duration period() const override { return std::chrono::seconds(1); }
  [[nodiscard]] std::optional<Rate> step(const LawInput&) override { return rate_; }

 private:
  Rate rate_;
};

}  // namespace weir::proving
