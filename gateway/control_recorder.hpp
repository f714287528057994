/// The last minutes of every controller's inputs and decisions, kept in bounded memory and ready to be sent
/// as a recording (estimator/control_record.hpp).
///
///   site a   |checkpoint, ticks ............|checkpoint, ticks ............|checkpoint, ticks ...
///   site b          |checkpoint, ticks ............|checkpoint, ticks .......
///             segments; over the bound the oldest goes, whole: what is left begins with a checkpoint
///
/// Pure (the instant is an argument). Not thread-safe: the loop owns it. What was handed out stays valid
/// whatever happens here: blocks of text that are complete are packed, and shared, not copied.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "estimator/control_record.hpp"
#include "gateway/packed_text.hpp"

namespace weir::gateway {

using SharedText = std::shared_ptr<const PackedText>;

class ControlRecorder {
 public:
  /// What all segments together may take; 0: nothing is kept.
  explicit ControlRecorder(std::uint64_t most_bytes) : most_(most_bytes) {}

  /// A smaller bound lets go of the oldest at once.
  void set_bound(std::uint64_t most_bytes);
  [[nodiscard]] bool is_on() const { return most_ > 0; }

  /// Only these sites are there any more; what is held of others stays until it is the oldest.
  void keep_only(const std::vector<std::string>& sites);

  /// A controller was made for `site`.
  void start(const std::string& site, const ControlLimits& limits, const ControlStart& begun, TimePoint now);
  /// Before each tick and change of limits: begins a segment when one is due; `state` is then asked for the
  /// controller's, as it is before the step.
  void before_step(const std::string& site, TimePoint now, const std::function<std::string()>& state);
  void limits_changed(const std::string& site, const ControlLimits& limits, const RateDecision& decided,
                      TimePoint now);
  void tick(const std::string& site, const ControlInput& input, const RateDecision& decided, TimePoint now);

  /// The recording of one site, or of all: `header`, then site by site what is held, and the closing line.
  /// Completes the blocks that are being filled, so that any number of answers share one text.
  [[nodiscard]] std::vector<SharedText> recording(const RecordingHeader& header,
                                                  std::optional<std::string_view> site = std::nullopt);
  /// The same of several recorders, whose sites have names of their own: `site` of each, nullopt: all of its.
  struct Part {
    ControlRecorder* recorder = nullptr;
    std::optional<std::string> site;
  };
  [[nodiscard]] static std::vector<SharedText> recording(const RecordingHeader& header,
                                                         std::span<const Part> parts);
  /// Bytes held: of text, packed where its block is complete, and for each block what it takes besides.
  [[nodiscard]] std::uint64_t size() const { return size_; }

 private:
  struct Segment {
    std::string site;
    std::vector<SharedText> complete;
    std::string open;  ///< the block that is being filled
    std::uint64_t lines = 0;
    std::uint64_t bytes = 0;
  };
  struct Track {
    std::shared_ptr<Segment> segment;  ///< being written; nullptr: none
    TimePoint began;
    std::uint64_t steps = 0;            ///< of the controller since it was made
    std::optional<std::string> reason;  ///< last written in this segment
  };
  /// The site's track, one step on; nullptr: nothing of it is being written.
  [[nodiscard]] Track* next_step(const std::string& site);
  void begin_segment(const std::string& site, Track& track, TimePoint now);
  /// Site by site what is held; returns the number of lines.
  std::uint64_t collect(std::optional<std::string_view> site, std::vector<SharedText>& into);
  /// What was appended to the segment's open block since it had `before` bytes is one line more.
  void account(Segment& segment, std::size_t before);
  void complete_block(Segment& segment);
  [[nodiscard]] bool is_due(const Track& track, TimePoint now) const;
  [[nodiscard]] static std::optional<std::string_view> news(Track& track, const std::string& reason);
  void make_room();

  std::uint64_t most_;
  std::uint64_t size_ = 0;
  std::deque<std::shared_ptr<Segment>> segments_;  ///< of all sites, the oldest first
  std::unordered_map<std::string, Track> tracks_;
};

}  // namespace weir::gateway
