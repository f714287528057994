/// A whole capture file through the estimator: what `weir observe --read` does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "estimator/observation.hpp"

namespace weir {

/// Reads `path` (any format of read_capture_file) and sums it up. Where neither sites nor `inside` are given,
/// the start of the file is read once before, to learn which side is ours before the first segment is
/// counted. `site_names` as for Observer. `progress`, when given, is told the frames so far, now and then.
/// Throws as read_capture_file does.
[[nodiscard]] Observation observe_file(const std::filesystem::path& path, EstimatorSettings settings,
                                       std::vector<std::string> site_names = {},
                                       const std::function<void(std::uint64_t)>& progress = {});

}  // namespace weir
