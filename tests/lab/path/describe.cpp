#include "describe.hpp"

namespace weir::lab {
namespace {

namespace json = boost::json;
using proving::Load;

[[nodiscard]] json::object describe_load(const Load& l, const proving::Scenario& scenario) {
  return {{"kind", l.kind == Load::Kind::tcp ? "tcp" : "udp"},
          {"back", l.way == Load::Way::back},
          {"site", scenario.sites[l.site].name},
          {"foreign", l.foreign},
          {"flows", l.flows},
          {"congestion", l.congestion},
          {"rate_bps", l.rate.bps()},
          {"frame", l.frame},
          {"priority", l.priority},
          {"bytes", l.bytes},
          {"pause_s", seconds(l.pause)},
          {"rtt_s", seconds(l.rtt)},
          {"from_s", seconds(l.from)},
          {"until_s", l.until ? json::value(seconds(*l.until)) : json::value(nullptr)}};
}

}  // namespace

json::object describe(const proving::Scenario& scenario) {
  json::array sites;
  for (const proving::SiteSetup& s : scenario.sites)
    sites.push_back(json::object{{"name", s.name},
                                 {"floor_bps", s.floor.bps()},
                                 {"ceiling_bps", s.ceiling.bps()},
                                 {"start_bps", s.start.bps()},
                                 {"contract_bps", s.contract.bps()}});
  json::array links;
  for (const proving::ScenarioLink& l : scenario.links)
    links.push_back(json::object{{"name", l.name},
                                 {"back", l.back},
                                 {"limited", !std::holds_alternative<proving::Unlimited>(l.settings.limit)}});
  json::array loads;
  for (const Load& l : scenario.loads) loads.push_back(describe_load(l, scenario));
  json::array restarts;
  for (const proving::BoxEvent& e : scenario.events) restarts.push_back(seconds(e.at));
  return {{"name", scenario.name},
          {"number", scenario.number},
          {"length_s", seconds(scenario.length)},
          {"warm_up_s", seconds(scenario.warm_up)},
          {"local_loss", scenario.local_loss},
          {"sites", std::move(sites)},
          {"links", std::move(links)},
          {"loads", std::move(loads)},
          {"restarts_s", std::move(restarts)},
          {"simulate_scale", scenario.simulate_scale}};
}

}  // namespace weir::lab
