#include "estimator/observe_file.hpp"

#include <span>
#include <utility>

#include "estimator/capture.hpp"

namespace weir {
namespace {

constexpr std::uint64_t kFramesForSides = 200'000;
constexpr std::uint64_t kFramesPerProgress = 65'536;

}  // namespace

Observation observe_file(const std::filesystem::path& path, EstimatorSettings settings,
                         std::vector<std::string> site_names,
                         const std::function<void(std::uint64_t)>& progress) {
  SideFinding sides;
  if (settings.sites.empty() && settings.inside.empty()) {
    Estimator scout(settings);
    read_capture_file(
        path, [&](std::span<const Frame> some) { scout.on_frames(some); }, nullptr, kFramesForSides);
    sides = scout.sides();
    for (const IpAddress& address : sides.inside) {
      settings.inside.push_back({.address = address, .length = static_cast<std::uint8_t>(address.width())});
    }
  }

  const bool inferred = !sides.inside.empty();
  Observer observer(std::move(settings), path.filename().string(), std::move(site_names));
  std::uint64_t frames = 0;
  bool truncated = false;
  read_capture_file(
      path,
      [&](std::span<const Frame> some) {
        observer.on_frames(some);
        const std::uint64_t before = std::exchange(frames, frames + some.size());
        if (progress && frames / kFramesPerProgress != before / kFramesPerProgress) progress(frames);
      },
      &truncated);
  if (truncated) observer.on_truncated();
  Observation observation = observer.finish();
  if (inferred) {
    observation.sides = std::move(sides);
    observation.sides_configured = false;
  }
  return observation;
}

}  // namespace weir
