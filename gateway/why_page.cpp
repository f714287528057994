#include "gateway/why_page.hpp"

#include <ranges>
#include <string_view>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/json_view.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

std::string mbit(const json::value& bps) {
  return shown(bps, [](double v) { return fmt::format("{:.1f}", v / 1e6); });
}

/// Without the rate that the sentence begins with, which stands beside it: "46.1 Mbit/s, -31 %: so and so".
std::string because(const json::value& reason) {
  std::string sentence = text(reason);
  const std::size_t colon = sentence.find(": ");
  return colon == std::string::npos ? sentence : sentence.substr(colon + 2);
}

/// "2025-03-01 11:59:48": milliseconds and zone would only be in the way; the head of the column says UTC.
std::string short_time(const json::value& iso) {
  std::string time = text(iso);
  constexpr std::size_t kDay = 10;
  constexpr std::size_t kSeconds = 19;
  if (time.size() < kSeconds) return time;
  time[kDay] = ' ';
  return time.substr(0, kSeconds);
}

std::string headline(const json::value& site) {
  const std::string state = text(at(site, {"state"}));
  std::string line = fmt::format("{}: {} Mbit/s, {}", text(at(site, {"name"})),
                                 mbit(at(site, {"shaped_bps"})), text(at(site, {"mode"})));
  if (state != "hold") line += ", " + state;
  return fmt::format("{}; last change {} ago: {}\n", line, time_span(at(site, {"since_s"})),
                     because(at(site, {"reason"})));
}

std::string change(const json::value& decision) {
  const auto from = number(at(decision, {"from_bps"}));
  const auto to = number(at(decision, {"to_bps"}));
  if (!from || !to || *from <= 0 || *from == *to) return "";
  return fmt::format("{:+.0f} %", 100.0 * (*to / *from - 1.0));
}

std::string states(const json::value& decision) {
  const std::string before = text(at(decision, {"state_before"}));
  const std::string after = text(at(decision, {"state"}));
  return before == after ? after : before + " -> " + after;
}

}  // namespace

std::string render_why(const json::value& site, const json::value& decisions) {
  std::string out = headline(site);
  for (const json::value& d : list(at(site, {"degraded"})))
    out += "DEGRADED  " + text(at(d, {"text"})) + "\n";
  const json::array& all = list(at(decisions, {"decisions"}));
  if (all.empty()) return out;
  constexpr std::string_view kRow = "{:<19}  {:>7} -> {:<7}  {:>6}  {:<16}  {}\n";
  out += "\n" + fmt::format(fmt::runtime(kRow), "TIME (UTC)", "FROM", "Mbit/s", "BY", "STATE", "WHY");
  for (const json::value& d : std::views::reverse(all)) {
    out += fmt::format(fmt::runtime(kRow), short_time(at(d, {"time"})), mbit(at(d, {"from_bps"})),
                       mbit(at(d, {"to_bps"})), change(d), states(d), because(at(d, {"reason"})));
  }
  return out;
}

}  // namespace weir::gateway
