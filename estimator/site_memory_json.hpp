/// A SiteMemory as members of a JSON object, in a recording's `start` line and in the file that outlives the
/// daemon. What is not known is left out; times are nanoseconds.
///
///   "mode":"policer","capacity":[bps,error in ppm,age],"loss_floor":[ppm,age],"phi":thousandths,
///   "noise":[mean,deviation],"base":ns,"probe":[wait,due in]
///
/// Pure. What is read is untrusted: no number outside what a controller can have learnt is let in.
#pragma once

#include "estimator/json_line.hpp"
#include "estimator/site_memory.hpp"

namespace weir {

/// Into the object that is open.
void write_memory(LineWriter& w, const SiteMemory& memory);
/// Faults go to the reader. Members that are not known are passed over.
[[nodiscard]] SiteMemory read_memory(LineReader& r, const boost::json::object& from);

}  // namespace weir
