/// A policy's files as one JSON text, as they are kept on disk. Pure; what is read back is untrusted.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/problem.hpp"

namespace weir::gateway {

/// A control character takes six bytes of JSON; paths come on top.
inline constexpr std::size_t kLargestKept = std::size_t{64} << 20U;

[[nodiscard]] std::string to_kept_text(const std::vector<PolicyFile>& files);
/// At least one file; nullopt: not what to_kept_text writes.
[[nodiscard]] std::optional<std::vector<PolicyFile>> from_kept_text(std::string_view text);

}  // namespace weir::gateway
