#include "gateway/control_recorder.hpp"

#include <algorithm>
#include <utility>

namespace weir::gateway {
namespace {

// A checkpoint of a busy site takes about 40 kB, a tick 1 kB: at a minute apart they are a sixteenth of it
// all.
constexpr Duration kSegment = std::chrono::seconds(60);
// Not even where all sites together fill the memory in less: it bounds what checkpoints cost.
constexpr Duration kLeastSegment = std::chrono::seconds(10);
/// What segments that are being written may take together, as a share of the bound.
constexpr std::uint64_t kShareOfOpen = 4;
/// A string, its counters and the pointer to it.
constexpr std::uint64_t kBesidesText = 96;
// Packed once it is so long; until then it is held as it is, for each site.
constexpr std::size_t kBlock = std::size_t{16} << 10U;

}  // namespace

void ControlRecorder::set_bound(std::uint64_t most_bytes) {
  most_ = most_bytes;
  if (!is_on()) tracks_.clear();
  make_room();
}

void ControlRecorder::keep_only(const std::vector<std::string>& sites) {
  std::erase_if(tracks_,
                [&](const auto& track) { return std::ranges::find(sites, track.first) == sites.end(); });
}

void ControlRecorder::start(const std::string& site, const ControlLimits& limits, const ControlStart& begun,
                            TimePoint now) {
  if (!is_on()) return;
  Track& track = tracks_[site];
  begin_segment(site, track, now);
  track.steps = 0;
  append_line(track.segment->open, RecordedStart{.site = site, .now = now, .limits = limits, .start = begun});
  account(*track.segment, 0);
}

bool ControlRecorder::is_due(const Track& track, TimePoint now) const {
  if (!track.segment) return now - track.began >= kLeastSegment;
  const Duration age = now - track.began;
  const std::uint64_t share = most_ / kShareOfOpen / std::max<std::size_t>(tracks_.size(), 1);
  return age >= kSegment || (age >= kLeastSegment && track.segment->bytes >= share);
}

void ControlRecorder::before_step(const std::string& site, TimePoint now,
                                  const std::function<std::string()>& state) {
  if (!is_on()) return;
  const auto [found, is_new] = tracks_.try_emplace(site);
  Track& track = found->second;
  if (!is_new && !is_due(track, now)) return;
  begin_segment(site, track, now);
  append_line(track.segment->open,
              RecordedCheckpoint{.site = site, .now = now, .steps = track.steps, .state = state()});
  account(*track.segment, 0);
}

void ControlRecorder::begin_segment(const std::string& site, Track& track, TimePoint now) {
  if (track.segment && !track.segment->open.empty()) complete_block(*track.segment);
  track.segment = std::make_shared<Segment>();
  track.segment->site = site;
  track.began = now;
  track.reason.reset();
  segments_.push_back(track.segment);
}

std::optional<std::string_view> ControlRecorder::news(Track& track, const std::string& reason) {
  if (track.reason == reason) return std::nullopt;
  track.reason = reason;
  return reason;
}

ControlRecorder::Track* ControlRecorder::next_step(const std::string& site) {
  const auto found = tracks_.find(site);
  if (found == tracks_.end()) return nullptr;
  ++found->second.steps;
  return found->second.segment ? &found->second : nullptr;
}

void ControlRecorder::limits_changed(const std::string& site, const ControlLimits& limits,
                                     const RateDecision& decided, TimePoint now) {
  Track* const track = next_step(site);
  if (track == nullptr) return;
  const std::size_t before = track->segment->open.size();
  RecordedLimits change{
      .now = now,
      .limits = limits,
      .decided = {.rate = decided.rate, .state = decided.state, .mode = decided.mode, .reason = {}}};
  change.decided.reason = news(*track, decided.reason);
  append_line(track->segment->open, change);
  account(*track->segment, before);
}

void ControlRecorder::tick(const std::string& site, const ControlInput& input, const RateDecision& decided,
                           TimePoint now) {
  Track* const track = next_step(site);
  if (track == nullptr) return;
  const std::size_t before = track->segment->open.size();
  append_tick_line(track->segment->open, now, input, decided, news(*track, decided.reason));
  account(*track->segment, before);
}

void ControlRecorder::account(Segment& segment, std::size_t before) {
  const std::size_t grown = segment.open.size() - before;
  ++segment.lines;
  segment.bytes += grown;
  size_ += grown;
  if (segment.open.size() >= kBlock) complete_block(segment);
  make_room();
}

void ControlRecorder::complete_block(Segment& segment) {
  const std::uint64_t open = segment.open.size();
  segment.complete.push_back(
      std::make_shared<const PackedText>(std::exchange(segment.open, {}), PackedText::How::deflated));
  const std::uint64_t complete = segment.complete.back()->held() + kBesidesText;
  segment.bytes = segment.bytes - open + complete;
  size_ = size_ - open + complete;
}

void ControlRecorder::make_room() {
  while (size_ > most_ && !segments_.empty()) {
    const std::shared_ptr<Segment> oldest = std::move(segments_.front());
    segments_.pop_front();
    size_ -= oldest->bytes;
    // Even the one that is being written: the site begins another when the least time is over.
    if (const auto track = tracks_.find(oldest->site);
        track != tracks_.end() && track->second.segment == oldest) {
      track->second.segment.reset();
    }
  }
}

std::vector<SharedText> ControlRecorder::recording(const RecordingHeader& header,
                                                   std::optional<std::string_view> site) {
  const Part whole{.recorder = this, .site = site ? std::optional<std::string>(*site) : std::nullopt};
  return recording(header, std::span(&whole, 1));
}

std::vector<SharedText> ControlRecorder::recording(const RecordingHeader& header,
                                                   std::span<const Part> parts) {
  std::vector<SharedText> texts;
  const auto add = [&texts](const auto& line) {
    std::string text;
    append_line(text, line);
    texts.push_back(std::make_shared<const PackedText>(std::move(text), PackedText::How::as_it_is));
  };
  add(header);
  std::uint64_t lines = 1;
  for (const Part& part : parts) lines += part.recorder->collect(part.site, texts);
  add(RecordingEnd{.lines = lines});
  return texts;
}

std::uint64_t ControlRecorder::collect(std::optional<std::string_view> site, std::vector<SharedText>& into) {
  for (const auto& segment : segments_) {
    if ((!site || segment->site == *site) && !segment->open.empty()) complete_block(*segment);
  }
  make_room();
  std::uint64_t lines = 0;
  // In the order in which they first stand there.
  std::vector<std::string_view> sites;
  std::unordered_map<std::string_view, std::vector<const Segment*>> of;
  for (const auto& segment : segments_) {
    if (site && segment->site != *site) continue;
    auto& list = of[segment->site];
    if (list.empty()) sites.push_back(segment->site);
    list.push_back(segment.get());
  }
  for (const std::string_view name : sites) {
    for (const Segment* segment : of[name]) {
      into.insert(into.end(), segment->complete.begin(), segment->complete.end());
      lines += segment->lines;
    }
  }
  return lines;
}

}  // namespace weir::gateway
