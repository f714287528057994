/// weir.yaml(5): the manual page of the policy file, as roff with the man macros. Made of the keys that the
/// reader knows (config/policy_keys.hpp).
#pragma once

#include <string>

namespace weir {

[[nodiscard]] std::string policy_manual();

}  // namespace weir
