/// Which HTB handle each class of a policy gets.
///
/// Names keep their handles across policy changes (a class in use is never deleted and re-made because a line
/// was inserted above it), and with no memory the same policy always gets the same handles, so that a restart
/// without its state file still finds its tree. Pure.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "config/policy.hpp"
#include "shaper/class_ids.hpp"

namespace weir::shaper {

/// (site, class) -> handle; an empty class name is the site's own class, and one within others has theirs
/// before its own: "bulk/copies/db", inner ones with a '/' behind.
using KnownHandles = std::map<std::pair<std::string, std::string>, Handle>;

/// The handles for `policy`, those in `known` kept. A handle of a name that is gone is not given to another
/// name. Throws std::length_error when the policy has more classes than one port can hold.
[[nodiscard]] ClassIds allocate_handles(const Policy& policy, const KnownHandles& known);
/// What to remember of `ids`.
[[nodiscard]] KnownHandles names_of(const Policy& policy, const ClassIds& ids);

}  // namespace weir::shaper
