/// The part of the HTTP API that changes something: POST below /v1/policy (docs/API.md).
///
/// Only for those who may, over the Unix socket. Any bytes may stand in target and body.
#pragma once

#include <functional>
#include <string>

#include "gateway/api.hpp"
#include "gateway/change_control.hpp"

namespace weir::gateway {

struct PolicyChanges {
  std::function<ChangeOutcome(const ChangeRequest& request)> apply;
  std::function<ChangeOutcome(const std::string& by)> confirm;
  std::function<ChangeOutcome(std::optional<std::uint64_t> to, const std::string& by)> roll_back;
};

/// The answer to a POST request.
[[nodiscard]] ApiResponse change(const ApiRequest& request, const PolicyChanges& changes);

}  // namespace weir::gateway
