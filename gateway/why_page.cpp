#include "gateway/why_page.hpp"

#include <string_view>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/decision_log.hpp"
#include "gateway/json_view.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

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
  const std::string mode = text(at(site, {"mode"}));
  std::string line = fmt::format("{}: {}, {}", text(at(site, {"name"})), bit_rate(at(site, {"shaped_bps"})),
                                 mode == "unknown" ? "limit unknown" : mode);
  if (state != "hold") line += ", " + state;
  return fmt::format("{}; last change {} ago: {}\n", line, time_span(at(site, {"since_s"})),
                     because(text(at(site, {"reason"}))));
}

/// "latency: voice waits 0.4 ms here + 2.7 ms at the provider, of 20.0 ms"; empty where no class has a goal.
std::string latency(const json::value& site) {
  const json::value& found = at(site, {"latency"});
  if (!found.is_object()) return "";
  const auto time = [&](std::string_view key) {
    return shown(at(found, {key}), [](double v) { return fmt::format("{:.1f} ms", v); });
  };
  return fmt::format("latency: {} waits {} here + {} at the provider, of {}{}\n", text(at(found, {"class"})),
                     time("own_ms"), time("provider_ms"), time("goal_ms"),
                     truth(at(found, {"probes_held"})) ? "; no probe begins meanwhile" : "");
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
  std::string out = headline(site) + latency(site);
  if (at(site, {"sharing"}).is_string())
    out += fmt::format("{} {}\n", text(at(site, {"name"})), text(at(site, {"sharing"})));
  for (const json::value& d : list(at(site, {"degraded"})))
    out += "DEGRADED  " + text(at(d, {"text"})) + "\n";
  const json::array& all = list(at(decisions, {"decisions"}));
  if (all.empty()) return out;
  constexpr std::string_view kRow = "{:<19}  {:>8} -> {:<8}  {:>6}  {:<16}  {}\n";
  out += "\n" + fmt::format(fmt::runtime(kRow), "TIME (UTC)", "FROM", "TO", "BY", "STATE", "WHY");
  for (auto next = all.rbegin(); next != all.rend(); ++next) {
    const json::value& d = *next;
    out += fmt::format(fmt::runtime(kRow), short_time(at(d, {"time"})), rate(at(d, {"from_bps"})),
                       rate(at(d, {"to_bps"})), change(d), states(d), because(text(at(d, {"reason"}))));
  }
  return out;
}

}  // namespace weir::gateway
