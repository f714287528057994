/// The classifier program in the kernel: loaded with its tables filled, asked, counted. Not attached, not
/// pinned.
///
/// Needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (pointer arithmetic of the verifier's kind). Errors:
/// std::system_error naming the attempt, with the end of the verifier's log where there is one. Not
/// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "shaper/class_ids.hpp"
#include "shaper/classifier_kernel.hpp"
#include "shaper/classifier_tables.hpp"

namespace weir::shaper {

/// The compiled program that this binary carries.
[[nodiscard]] std::span<const std::byte> embedded_classifier_object();

inline constexpr const char* kProgramName = "weir_classify";

/// Descriptors of one loaded program. Its tables live as long as the program does; only the counters need a
/// name of their own.
struct ClassifierProgram {
  Descriptor program;
  Descriptor arrivals;
  std::size_t writes = 0;  ///< system calls that filled its tables, and the one that loaded it
};

/// Loads the program, its tables filled from `tables`, for the port with this index.
[[nodiscard]] ClassifierProgram load_program(const ClassifierTables& tables, unsigned port_index);

/// The kernel's number for a loaded program.
[[nodiscard]] std::uint32_t program_id(const Descriptor& program);

/// Runs the program over a frame that goes nowhere. nullopt: the kernel does not take such a frame (too
/// short).
struct TrialRun {
  Handle handle = 0;
  std::uint32_t slot = 0;          ///< of the arrivals table, where such a packet would be counted
  std::uint32_t nanoseconds = 0;   ///< mean time of one run
  std::vector<std::byte> frame{};  ///< as it left: its DSCP may be another one
};
[[nodiscard]] std::optional<TrialRun> try_frame(const Descriptor& program, std::span<const std::byte> frame,
                                                unsigned repeat = 1, std::uint32_t fwmark = 0);

/// What arrived since this program was loaded: slots as in bpf/classifier_layout.h, summed over the
/// processors.
[[nodiscard]] std::vector<weir_arrivals> read_arrivals(const Descriptor& arrivals);

}  // namespace weir::shaper
