/// No shaper at all: the provider's queue or policer does what it does.
#pragma once

#include "proving/laws/law.hpp"

namespace weir::proving {

class NoShaper final : public Law {
 public:
  [[nodiscard]] Duration period() const override { return std::chrono::seconds(1); }
  [[nodiscard]] std::optional<Rate> step(const LawInput&) override { return std::nullopt; }
};

}  // namespace weir::proving
