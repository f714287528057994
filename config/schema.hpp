/// The policy file as JSON Schema (draft 2020-12), for editors that complete and check YAML by one.
///
/// Made of the keys that the reader knows. It says how each value is written, and nothing of how values fit
/// together: what it refuses the reader refuses, and not the other way round. It fits included files as well.
#pragma once

#include <string>

namespace weir {

[[nodiscard]] std::string policy_schema();

}  // namespace weir
