#include "gateway/status_table.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/json_view.hpp"
#include "gateway/text_table.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

std::string capacity(const json::value& site) {
  const json::value& found = at(site, {"capacity"});
  if (!found.is_object()) return "unknown";
  return fmt::format("{} ({} - {})", rate(at(found, {"bps"})), rate(at(found, {"low_bps"})),
                     rate(at(found, {"high_bps"})));
}

std::string rtt(const json::value& site) {
  const auto base = number(at(site, {"rtt_ms", "base"}));
  const auto p95 = number(at(site, {"rtt_ms", "p95"}));
  return base && p95 ? fmt::format("{:.1f} / {:.1f} ms", *base, *p95) : std::string("-");
}

std::string_view colour_of_state(std::string_view state) {
  if (state == "hold") return style::kGreen;
  return state == "outage" ? style::kRed : style::kYellow;
}

class Renderer {
 public:
  Renderer(const json::value& status, const json::value& classes, const TableStyle& style)
      : status_(status), classes_(classes), style_(style) {}

  std::string render() const {
    std::string out = headline();
    for (const json::value& d : list(at(status_, {"degraded"}))) {
      out += paint(style::kRed, "DEGRADED") + "  " + text(at(d, {"text"})) + "\n";
    }
    if (const json::value& error = at(status_, {"policy", "reload_error"}); error.is_string()) {
      std::istringstream lines(std::string(error.get_string()));
      for (std::string line; std::getline(lines, line);) {
        out += paint(style::kRed, "POLICY FILE") + "  " + printable(line) + "\n";
      }
    }
    return out + "\n" + sites();
  }

 private:
  std::string paint(std::string_view colour, std::string_view what) const {
    return style_.colour ? fmt::format("{}{}{}", colour, what, style::kPlain) : std::string(what);
  }

  std::string headline() const {
    return fmt::format("{}  {}  up {}  weir {}\n", paint(style::kBold, text(at(status_, {"interface"}))),
                       bit_rate(at(status_, {"port_bps"})), time_span(at(status_, {"uptime_s"})),
                       text(at(status_, {"version"})));
  }

  std::string sites() const {
    TextTable table("", {"SITE", "SHAPED", "CAPACITY (bit/s)", "STATE", "MODE", "LOST BEYOND", "BEFORE",
                         "RTT BASE / P95", "SENT", "DELIVERED", "WANTS MORE", "AGE"});
    for (const json::value& site : list(at(status_, {"sites"}))) {
      const std::string state = text(at(site, {"state"}));
      table.row({{text(at(site, {"name"})), style::kBold},
                 {rate(at(site, {"shaped_bps"}))},
                 {capacity(site)},
                 {state, colour_of_state(state)},
                 {text(at(site, {"mode"}))},
                 {percent(at(site, {"loss", "beyond"}))},
                 {percent(at(site, {"loss", "before"}))},
                 {rtt(site)},
                 {rate(at(site, {"sent_bps"}))},
                 {rate(at(site, {"delivered_bps"}))},
                 {truth(at(site, {"demand"})) ? "yes" : "no"},
                 {time_span(at(site, {"since_s"}))}},
                below(site));
    }
    return table.print(style_.colour);
  }

  /// Under each site: why its rate is what it is, what is wrong with it, and its classes if wanted.
  std::string below(const json::value& site) const {
    std::string out;
    if (const std::string why = text(at(site, {"reason"})); why != "-" && !why.empty()) {
      out += "  " + paint(style::kDim, why) + "\n";
    }
    if (at(site, {"sharing"}).is_string()) {
      out += "  " + paint(style::kDim, text(at(site, {"sharing"}))) + "\n";
    }
    for (const json::value& d : list(at(site, {"degraded"}))) {
      out += "  " + paint(style::kRed, "DEGRADED") + "  " + text(at(d, {"text"})) + "\n";
    }
    if (!classes_.is_null()) out += classes_of(text(at(site, {"name"})), false);
    const json::value& inbound = at(site, {"inbound"});
    if (!inbound.is_object()) return out;
    const std::string line =
        fmt::format("inbound: shaped to {}, hands on {}, {} bytes wait",
                    bit_rate(at(inbound, {"shaped_bps"})), bit_rate(at(inbound, {"sent_bps"})),
                    shown(at(inbound, {"backlog_bytes"}), [](double v) { return fmt::format("{:.0f}", v); }));
    out += "  " + paint(style::kDim, line) + "\n";
    if (truth(at(inbound, {"adapt"}))) {
      out += "    " +
             paint(style::kDim, fmt::format("{}, path carries {}: {}", text(at(inbound, {"state"})),
                                            capacity(inbound), text(at(inbound, {"reason"})))) +
             "\n";
    }
    for (const json::value& d : list(at(inbound, {"degraded"}))) {
      out += "    " + paint(style::kRed, "DEGRADED") + "  " + text(at(d, {"text"})) + "\n";
    }
    if (!classes_.is_null()) out += classes_of(text(at(site, {"name"})), true);
    return out;
  }

  std::string classes_of(const std::string& site, bool inbound) const {
    TextTable table("    ",
                    {"CLASS", "PRIO", "SENT", "GUARANTEE", "CEILING", "WAITING", "DROPS", "MARKS", "LEAF"});
    bool any = false;
    for (const json::value& one : list(at(classes_, {"classes"}))) {
      const std::string name = text(at(one, {"name"}));
      const bool comes_in = text(at(one, {"direction"})) == "inbound";
      if (text(at(one, {"site"})) != site || name.empty() || comes_in != inbound) continue;
      const auto count = [&](std::string_view key) {
        return shown(at(one, {key}), [](double v) { return fmt::format("{:.0f}", v); });
      };
      any = true;
      table.row({{name},
                 {count("priority")},
                 {rate(at(one, {"sent_bps"}))},
                 {rate(at(one, {"guarantee_bps"}))},
                 {rate(at(one, {"ceiling_bps"}))},
                 {count("backlog_packets")},
                 {count("drops")},
                 {count("ecn_marks")},
                 {text(at(one, {"leaf"}))}});
    }
    return any ? table.print(style_.colour) : std::string();
  }

  const json::value& status_;
  const json::value& classes_;
  const TableStyle& style_;
};

}  // namespace

std::string render_status(const json::value& status, const json::value& classes, const TableStyle& style) {
  return Renderer(status, classes, style).render();
}

}  // namespace weir::gateway
