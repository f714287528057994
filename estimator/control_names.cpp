// What the API, the log and people call states and modes.
#include "estimator/controller.hpp"

namespace weir {

std::string_view to_string(ControlState state) {
  switch (state) {
    case ControlState::hold:
      return "hold";
    case ControlState::drain:
      return "drain";
    case ControlState::verify:
      return "verify";
    case ControlState::probe:
      return "probe";
    case ControlState::outage:
      return "outage";
    case ControlState::contend:
      return "contend";
  }
  return "?";
}

std::string_view to_string(PathMode mode) {
  switch (mode) {
    case PathMode::unknown:
      return "unknown";
    case PathMode::policer:
      return "policer";
    case PathMode::buffer:
      return "buffer";
    case PathMode::lossy:
      return "lossy";
    case PathMode::blind:
      return "blind";
  }
  return "?";
}

std::string_view to_string(StartedFrom from) {
  switch (from) {
    case StartedFrom::policy:
      return "policy";
    case StartedFrom::kernel:
      return "kernel";
    case StartedFrom::memory:
      return "memory";
  }
  return "?";
}

}  // namespace weir
