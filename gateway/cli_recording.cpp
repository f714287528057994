#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "estimator/control_replay.hpp"
#include "gateway/cli.hpp"
#include "gateway/cli_answer.hpp"
#include "gateway/clock.hpp"
#include "gateway/decision_log.hpp"
#include "gateway/json_text.hpp"
#include "gateway/json_view.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

constexpr int kReplaySame = 0;
constexpr int kReplayDiffers = 1;
constexpr int kReplayBadFile = 2;

/// The lines of a file that may hold anything: none is kept beyond the longest that a recording has.
class Lines {
 public:
  explicit Lines(std::ifstream& file) : file_(file) {}

  /// False: there is none any more. A line that is too long comes cut, one byte longer than allowed.
  bool next(std::string& line) {
    line.clear();
    ended_ = false;
    bool any = false;
    while (fill()) {
      any = true;
      const char* const from = buffer_.data() + at_;
      const char* const end = std::find(from, from + (size_ - at_), '\n');
      const auto length = static_cast<std::size_t>(end - from);
      line.append(from, std::min(length, kLongestRecordLine + 1 - std::min(line.size(), kLongestRecordLine)));
      at_ += length;
      if (at_ < size_) {
        ++at_;
        ended_ = true;
        return true;
      }
      if (line.size() > kLongestRecordLine) return true;
    }
    return any;
  }
  /// The line had its end.
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  bool fill() {
    if (at_ < size_) return true;
    file_.read(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
    at_ = 0;
    size_ = static_cast<std::size_t>(file_.gcount());
    return size_ > 0;
  }

  std::ifstream& file_;
  std::array<char, 65536> buffer_{};
  std::size_t at_ = 0;
  std::size_t size_ = 0;
  bool ended_ = false;
};

json::object decision_of(Rate rate, ControlState state, PathMode mode, std::string_view reason) {
  return {{"rate_bps", rate.bps()},
          {"state", json::string(to_string(state))},
          {"mode", json::string(to_string(mode))},
          {"reason", json::string(reason)}};
}

std::string in_words(Rate rate, ControlState state, PathMode mode, std::string_view reason) {
  return fmt::format("{} bit/s, {}, {}: {}", rate.bps(), to_string(state), to_string(mode),
                     printable(reason));
}

/// Shows the decisions of a replay, and what came of it.
class ReplayPage {
 public:
  ReplayPage(const ReplayOptions& options, const ControlReplay& replay)
      : options_(options), replay_(replay) {}

  void show(const ReplayStep& step) const {
    if (!step.is_news) return;
    const RateDecision& d = *step.decided;
    if (options_.json) {
      json::object line{{"time", iso_utc(wall(step.now))}, {"site", *step.site}};
      for (auto& member : decision_of(d.rate, d.state, d.mode, d.reason)) line.insert(member);
      fmt::print("{}\n", to_text(line));
      return;
    }
    fmt::print("{}  {}  {:>8} -> {:<8}  {:<6}  {}\n", iso_utc(wall(step.now)), printable(*step.site),
               rate(step.rate_before.bps()), rate(d.rate.bps()), to_string(d.state),
               printable(because(sentence(d, step.state_before, step.says_why))));
  }

  [[nodiscard]] int differs(const ReplayStep& step) const {
    const RateDecision& d = *step.decided;
    const RecordedDecision& then = *step.recorded;
    const std::string reason = then.reason.value_or("");
    if (options_.json) {
      fmt::print("{}\n",
                 to_text(json::object{{"same", false},
                                      {"line", replay_.lines()},
                                      {"time", iso_utc(wall(step.now))},
                                      {"site", *step.site},
                                      {"here", decision_of(d.rate, d.state, d.mode, d.reason)},
                                      {"recorded", decision_of(then.rate, then.state, then.mode, reason)}}));
    } else {
      fmt::print("line {}, {}, {}: decided otherwise\n  recorded  {}\n  here      {}\n", replay_.lines(),
                 iso_utc(wall(step.now)), printable(*step.site),
                 in_words(then.rate, then.state, then.mode, reason),
                 in_words(d.rate, d.state, d.mode, d.reason));
    }
    return kReplayDiffers;
  }

  [[nodiscard]] int differs(const ReplayStateDiffers& where) const {
    if (options_.json) {
      fmt::print("{}\n", to_text(json::object{{"same", false},
                                              {"line", replay_.lines()},
                                              {"time", iso_utc(wall(where.now))},
                                              {"site", *where.site},
                                              {"here", nullptr},
                                              {"recorded", nullptr}}));
    } else {
      fmt::print("line {}, {}, {}: decided the same so far, but remembers other things than were recorded\n",
                 replay_.lines(), iso_utc(wall(where.now)), printable(*where.site));
    }
    return kReplayDiffers;
  }

  [[nodiscard]] int same() const {
    if (options_.json) {
      fmt::print("{}\n", to_text(json::object{
                             {"same", true}, {"ticks", replay_.ticks()}, {"sites", replay_.sites()}}));
    } else {
      fmt::print("{} ticks of {} site{}, all decisions as recorded\n", replay_.ticks(), replay_.sites(),
                 replay_.sites() == 1 ? "" : "s");
    }
    return kReplaySame;
  }

  [[nodiscard]] int bad(std::string_view what) const {
    fmt::print(stderr, "weir: {}: {}\n", options_.file.string(), what);
    return kReplayBadFile;
  }
  [[nodiscard]] int bad_line(std::uint64_t line, std::string_view why, bool ended) const {
    return bad(fmt::format("line {}: {}{}", line, printable(why),
                           ended ? "" : " (the file ends in the middle of it)"));
  }

 private:
  [[nodiscard]] WallTime wall(TimePoint t) const {
    // Both are a stranger's: the sum must not overflow.
    constexpr std::int64_t kMostNs = std::int64_t{1} << 61U;
    const RecordingHeader& h = *replay_.header();
    const std::int64_t base = std::clamp(h.wall_ns, -kMostNs, kMostNs);
    return WallTime(
        std::chrono::duration_cast<WallTime::duration>(std::chrono::nanoseconds(base) + (t - h.steady)));
  }

  const ReplayOptions& options_;
  const ControlReplay& replay_;
};

}  // namespace

int record(const RecordOptions& options) {
  const std::string target = options.site.empty() ? "/v1/recording" : site_target(options.site, "/recording");
  const auto got = body_of(options.socket, target, std::chrono::seconds(60));
  if (const auto* failure = std::get_if<HttpFailure>(&got)) return complain(*failure);
  const std::string& text = std::get<std::string>(got);
  if (options.file == "-") {
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0
               ? kExitOk
               : kExitSystem;
  }
  std::ofstream file(options.file, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  if (!file) {
    const std::error_code why(errno, std::generic_category());
    return complain({.text = fmt::format("cannot write {}: {}", options.file.string(), why.message())});
  }
  fmt::print("{}: {} lines, {:.1f} MB\n", options.file.string(), std::ranges::count(text, '\n'),
             static_cast<double>(text.size()) / 1e6);
  return kExitOk;
}

int replay(const ReplayOptions& options) {
  std::ifstream file(options.file, std::ios::binary);
  if (!file) {
    const std::error_code why(errno, std::generic_category());
    return complain({.text = fmt::format("cannot read {}: {}", options.file.string(), why.message())});
  }
  ControlReplay replay(options.site.empty() ? std::nullopt : std::optional(options.site));
  const ReplayPage page(options, replay);
  Lines lines(file);
  std::string line;
  while (lines.next(line)) {
    const ReplayOutcome outcome = replay.take(line);
    if (const auto* bad = std::get_if<BadRecordLine>(&outcome))
      return page.bad_line(replay.lines() + 1, bad->why, lines.ended());
    if (const auto* differs = std::get_if<ReplayStateDiffers>(&outcome)) return page.differs(*differs);
    if (const auto* step = std::get_if<ReplayStep>(&outcome)) {
      if (!step->same) return page.differs(*step);
      page.show(*step);
    }
  }
  if (file.bad()) return page.bad("it cannot be read to its end");
  if (const auto why = replay.cut_off()) return page.bad(*why);
  if (!options.site.empty() && replay.sites() == 0)
    return page.bad(fmt::format("it holds nothing of a site '{}'", printable(options.site)));
  return page.same();
}

}  // namespace weir::gateway
