/// A match entry as one line, spelled as in the policy file. Pure.
#pragma once

#include <string>

#include "config/policy.hpp"

namespace weir {

/// "dscp: [af41, af42], protocol: tcp, port: 22"; of a long list its first values and how many more there
/// are.
[[nodiscard]] std::string rule_to_string(const MatchRule& rule);

}  // namespace weir
