#include "gateway/decision_log.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace weir::gateway {

std::string sentence(const RateDecision& decided, ControlState state_before, bool says_why) {
  if (says_why) return decided.reason;
  return fmt::format("{:.1f} Mbit/s stands: {} is over, now {}", decided.rate.mbps(), to_string(state_before),
                     to_string(decided.state));
}

std::string because(std::string_view sentence) {
  const std::size_t colon = sentence.find(": ");
  return std::string(colon == std::string_view::npos ? sentence : sentence.substr(colon + 2));
}

void DecisionLog::begin(const RateDecision& first, WallTime at) {
  add({.at = at,
       .from = first.rate,
       .to = first.rate,
       .state_before = first.state,
       .state = first.state,
       .mode = first.mode,
       .reason = first.reason});
  reason_ = first.reason;
}

void DecisionLog::note(const RateDecision& decided, WallTime at) {
  if (decided.rate == rate_ && decided.state == state_) return;
  std::string reason = sentence(decided, state_, decided.reason != reason_ || decided.rate != rate_);
  add({.at = at,
       .from = rate_,
       .to = decided.rate,
       .state_before = state_,
       .state = decided.state,
       .mode = decided.mode,
       .reason = std::move(reason)});
  reason_ = decided.reason;
}

void DecisionLog::add(Decision decision) {
  rate_ = decision.to;
  state_ = decision.state;
  if (decisions_.size() == kCapacity) decisions_.pop_front();
  decisions_.push_back(std::move(decision));
}

std::vector<const Decision*> DecisionLog::newest(std::size_t most) const {
  std::vector<const Decision*> found;
  for (std::size_t i = decisions_.size() - std::min(most, decisions_.size()); i < decisions_.size(); ++i)
    found.push_back(&decisions_[i]);
  return found;
}

}  // namespace weir::gateway
