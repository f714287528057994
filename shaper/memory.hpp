/// What a tree and a classifier take of the kernel's memory, roughly. Pure.
///
/// Sizes of structures differ from kernel to kernel: measured on 6.18 (tests/bench/shaper.py: 3.6 kB for a
/// class with a FIFO), fq_codel's from its source (net/sched/sch_fq_codel.c, fq_codel_init). What waits in
/// the queues comes on top: at most their depth.
#pragma once

#include <cstddef>

#include "config/units.hpp"
#include "shaper/classifier_tables.hpp"
#include "shaper/tree.hpp"

namespace weir::shaper {

[[nodiscard]] Bytes kernel_memory(const Tree& tree);
/// The counters are there once for each processor.
[[nodiscard]] Bytes kernel_memory(const ClassifierTables& tables, std::size_t processors);

}  // namespace weir::shaper
