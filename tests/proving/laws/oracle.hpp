/// The same shaper told the truth at every tick of Weir's, less the 2 % that a shaper needs to keep the queue
/// on its own side. Nobody who has to measure can do better.
#pragma once

#include "proving/laws/law.hpp"

namespace weir::proving {

class Oracle final : public Law {
 public:
  [[nodiscard]] Duration period() const override { return kCohortLength; }
  [[nodiscard]] std::optional<Rate> step(const LawInput& input) override { return 0.98 * input.capacity; }
};

}  // namespace weir::proving
