/// A scenario as JSON, for a harness that is to drive its loads: the YAML is read in one place only.
///
/// Pure. Times in seconds, rates in bits per second; what there is not, is null.
#pragma once

#include <boost/json.hpp>

#include "proving/path/scenario.hpp"

namespace weir::lab {

[[nodiscard]] boost::json::object describe(const proving::Scenario& scenario);

}  // namespace weir::lab
