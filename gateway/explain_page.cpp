#include "gateway/explain_page.hpp"

#include <string_view>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/json_view.hpp"
#include "gateway/text_table.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

std::string count(const json::value& value) {
  return shown(value, [](double v) { return fmt::format("{:.0f}", v); });
}

/// "10.1.8.9 -> 10.20.0.1, tcp, port 50000 -> 22, dscp ef, vlan 100, fwmark 16"; what is usual is left out.
std::string packet(const json::value& p) {
  std::string line =
      fmt::format("{} -> {}, {}", text(at(p, {"from"})), text(at(p, {"to"})), text(at(p, {"protocol"})));
  const auto port = [&](std::string_view key) {
    const std::string number = count(at(p, {key}));
    return number == "-" ? std::string("any") : number;
  };
  if (at(p, {"source_port"}).is_number() || at(p, {"port"}).is_number())
    line += fmt::format(", port {} -> {}", port("source_port"), port("port"));
  if (const std::string dscp = text(at(p, {"dscp"})); dscp != "default") line += ", dscp " + dscp;
  for (const char* key : {"vlan", "fwmark"})
    if (at(p, {key}).is_number()) line += fmt::format(", {} {}", key, count(at(p, {key})));
  return line + "\n";
}

bool is_inbound(const json::value& one) {
  return text(at(one, {"direction"})) == "inbound";
}

std::string why(const json::value& e) {
  const std::string way = text(at(e, {"way"}));
  if (way == "control") return "routing or link control: before all sites and their policies";
  if (way == "elsewhere")
    return is_inbound(e) ? "it comes from no site that is shaped inbound"
                         : "its destination is in no site's subnets";
  const json::value& rule = at(e, {"rule"});
  if (!rule.is_object()) return "no rule holds: the default class";
  return fmt::format("rule {}: {}", count(at(rule, {"number"})), text(at(rule, {"match"})));
}

}  // namespace

std::string render_explanation(const json::value& e) {
  std::string out = packet(at(e, {"packet"}));
  const auto line = [&](std::string_view key, const std::string& value) {
    out += fmt::format("  {:<10} {}\n", key, value);
  };
  line("port", fmt::format("{}, {}", text(at(e, {"interface"})), text(at(e, {"direction"}))));
  if (at(e, {"site"}).is_string()) {
    line("site", fmt::format("{}, by its subnet {}", text(at(e, {"site"})), text(at(e, {"subnet"}))));
    line("policy", text(at(e, {"policy"})));
  }
  line("because", why(e));
  line("class", fmt::format("{}, {}", text(at(e, {"class"})), text(at(e, {"handle"}))));
  line("rates", fmt::format("guarantee {}, ceiling {}, priority {}", bit_rate(at(e, {"guarantee_bps"})),
                            bit_rate(at(e, {"ceiling_bps"})), count(at(e, {"priority"}))));
  const std::string backlog = count(at(e, {"backlog_bytes"}));
  line("queue", text(at(e, {"leaf"})) + (backlog == "-" ? "" : fmt::format(", {} bytes wait", backlog)));
  if (at(e, {"set_dscp"}).is_string()) line("dscp", "is set to " + text(at(e, {"set_dscp"})));
  return out;
}

std::string render_rules(const json::value& rules, bool colour) {
  TextTable table("", {"SITE", "WAY", "RULE", "CLASS", "PACKETS", "BYTES", "MATCH"});
  for (const json::value& rule : list(at(rules, {"rules"}))) {
    const bool decided = at(rule, {"rule"}).is_number();
    table.row({{text(at(rule, {"site"})), style::kBold},
               {is_inbound(rule) ? "in" : "out"},
               {count(at(rule, {"rule"}))},
               {text(at(rule, {"class"}))},
               {count(at(rule, {"packets"}))},
               {count(at(rule, {"bytes"}))},
               {decided                          ? text(at(rule, {"match"}))
                : at(rule, {"site"}).is_string() ? "no rule held"
                                                 : "built in"}});
  }
  return table.print(colour);
}

}  // namespace weir::gateway
