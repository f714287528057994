/// What one site's controller decided, change by change, for `weir why`: bounded for each site by itself, so
/// that a site that probes pushes nobody else's past out.
///
/// Pure. Not thread-safe: the loop owns it.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "estimator/controller.hpp"
#include "gateway/clock.hpp"

namespace weir::gateway {

/// A change of rate or of state, or both.
struct Decision {
  WallTime at;
  Rate from;
  Rate to;
  ControlState state_before = ControlState::hold;
  ControlState state = ControlState::hold;
  PathMode mode = PathMode::unknown;
  std::string reason;  ///< one sentence that begins with the rate
};

/// Why a step ended where it did: the controller's own sentence, unless only the state changed and that
/// sentence is still about what came before (`says_why`: it is a new one).
[[nodiscard]] std::string sentence(const RateDecision& decided, ControlState state_before, bool says_why);
/// The same without the rate that it begins with: "46.1 Mbit/s, -31 %: so and so" -> "so and so".
[[nodiscard]] std::string because(std::string_view sentence);

class DecisionLog {
 public:
  static constexpr std::size_t kCapacity = 200;

  /// The site's controller was made.
  void begin(const RateDecision& first, WallTime at);
  /// After each step; notes it if something changed since the one before.
  void note(const RateDecision& decided, WallTime at);
  /// The newest `most`, oldest first.
  [[nodiscard]] std::vector<const Decision*> newest(std::size_t most) const;

 private:
  void add(Decision decision);

  std::deque<Decision> decisions_;
  Rate rate_;
  ControlState state_ = ControlState::hold;
  std::string reason_;
};

}  // namespace weir::gateway
