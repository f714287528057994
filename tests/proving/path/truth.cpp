#include "proving/path/truth.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <stdexcept>

#include <fmt/format.h>

#include <boost/json.hpp>

namespace weir::proving {
namespace {

constexpr double kSettled = 0.05;
constexpr Duration kStays = std::chrono::seconds(1);
constexpr double kBackOff = 0.95;
constexpr Duration kBackOffMemory = std::chrono::seconds(10);
constexpr Duration kBackOffApart = std::chrono::seconds(1);
constexpr Duration kCalledForWithin = std::chrono::seconds(1);
constexpr double kCalledForQueueMs = 5.0;
constexpr Duration kUnderWay = std::chrono::seconds(1);

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0.0;
  const auto at = static_cast<std::size_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

std::size_t bin_of(Duration t) {
  return static_cast<std::size_t>(t / kBin);
}

LinkScore score_link(const Scenario& scenario, const Truth& truth, std::size_t l) {
  LinkScore s{.name = scenario.links[l].name};
  std::vector<double> queues;
  double capacity = 0.0;
  double forwarded = 0.0;
  double offered = 0.0;
  double dropped = 0.0;
  double at_random = 0.0;
  const std::vector<LinkBin>& bins = truth.links[l];
  for (std::size_t b = bin_of(scenario.warm_up); b < bins.size(); ++b) {
    const LinkBin& bin = bins[b];
    offered += bin.offered;
    dropped += bin.over_limit;
    at_random += bin.at_random;
    bool demand = scenario.links[l].back;
    for (std::size_t i = 0; i < truth.sites.size() && !demand; ++i)
      demand = scenario.links[l].carries(i) && truth.sites[i][b].demand;
    if (!demand) continue;
    queues.push_back(bin.queue_ms);
    capacity += bin.capacity_bps * seconds(kBin);
    forwarded += 8.0 * static_cast<double>(bin.forwarded_bytes);
  }
  if (capacity > 0) s.utilisation = forwarded / capacity;
  if (offered > 0) {
    s.loss = dropped / offered;
    s.random_loss = at_random / offered;
  }
  s.queue_p50_ms = quantile(queues, 0.5);
  s.queue_p95_ms = quantile(queues, 0.95);
  s.queue_most_ms = quantile(queues, 1.0);
  return s;
}

std::vector<Settling> settlings(const Scenario& scenario, const Truth& truth, std::size_t site) {
  const std::vector<SiteBin>& bins = truth.sites[site];
  if (bins.empty()) return {};
  std::vector<double> limit(bins.size());
  for (std::size_t b = 0; b < bins.size(); ++b) {
    limit[b] =
        static_cast<double>(available(scenario, site, TimePoint(static_cast<std::int64_t>(b) * kBin)).bps());
  }
  std::vector<Settling> found;
  std::vector<std::size_t> jumps{0};
  for (std::size_t b = 1; b < bins.size(); ++b) {
    const bool restarted = std::any_of(scenario.events.begin(), scenario.events.end(),
                                       [&](const BoxEvent& e) { return bin_of(e.at) == b; });
    if (restarted || std::abs(limit[b] / limit[b - 1] - 1.0) > 2 * kSettled) jumps.push_back(b);
  }
  const std::size_t stays = bin_of(kStays);
  for (std::size_t j = 0; j < jumps.size(); ++j) {
    const std::size_t end = j + 1 < jumps.size() ? jumps[j + 1] : bins.size();
    Settling s{.at = static_cast<std::int64_t>(jumps[j]) * kBin,
               .from_bps = jumps[j] == 0 ? static_cast<double>(scenario.sites[site].start.bps())
                                         : limit[jumps[j] - 1],
               .to_bps = limit[jumps[j]]};
    std::size_t within = 0;
    for (std::size_t b = jumps[j]; b < end; ++b) {
      within = std::abs(bins[b].shaped_bps / limit[b] - 1.0) <= kSettled ? within + 1 : 0;
      if (within < stays) continue;
      s.seconds = seconds(static_cast<std::int64_t>(b + 1 - stays - jumps[j]) * kBin);
      break;
    }
    found.push_back(s);
  }
  return found;
}

std::vector<Duration> back_offs(const Scenario& scenario, const std::vector<SiteBin>& bins) {
  constexpr std::size_t kStride = 10;  // the rate changes ten times a second at most
  const std::size_t memory = bin_of(kBackOffMemory);
  std::vector<Duration> found;
  bool below = false;
  for (std::size_t b = bin_of(scenario.warm_up); b < bins.size(); b += kStride) {
    std::vector<double> before;
    for (std::size_t i = b > memory ? b - memory : 0; i < b; i += kStride)
      before.push_back(bins[i].shaped_bps);
    const bool now_below = !before.empty() && bins[b].shaped_bps < kBackOff * quantile(before, 0.5);
    const Duration at = static_cast<std::int64_t>(b) * kBin;
    if (now_below && !below && (found.empty() || at - found.back() > kBackOffApart)) found.push_back(at);
    below = now_below;
  }
  return found;
}

/// Whether the way out gave a reason to back off just before.
bool called_for(const Scenario& scenario, const Truth& truth, std::size_t site, Duration at) {
  const std::size_t end = bin_of(at);
  const std::size_t first = end - std::min(end, bin_of(kCalledForWithin));
  for (std::size_t b = first; b < end; ++b) {
    const TimePoint then(static_cast<std::int64_t>(b) * kBin);
    if (truth.sites[site][b].shaped_bps > static_cast<double>(available(scenario, site, then).bps()))
      return true;
  }
  for (std::size_t l = 0; l < truth.links.size(); ++l) {
    if (scenario.links[l].back || !scenario.links[l].carries(site)) continue;
    for (std::size_t b = first; b < end; ++b) {
      if (truth.links[l][b].queue_ms >= kCalledForQueueMs || truth.links[l][b].over_limit > 0) return true;
    }
  }
  return false;
}

SiteScore score_site(const Scenario& scenario, const Truth& truth, std::size_t site) {
  SiteScore s{.name = scenario.sites[site].name};
  const std::vector<SiteBin>& bins = truth.sites[site];
  double sent = 0.0;
  double received = 0.0;
  const std::size_t first = bin_of(scenario.warm_up);
  if (first >= bins.size()) return s;  // nothing was scored
  s.shaped_least_bps = bins[first].shaped_bps;
  for (std::size_t b = first; b < bins.size(); ++b) {
    sent += 8.0 * static_cast<double>(bins[b].sent_bytes);
    received += 8.0 * static_cast<double>(bins[b].received_bytes);
    s.shaped_least_bps = std::min(s.shaped_least_bps, bins[b].shaped_bps);
    s.shaped_most_bps = std::max(s.shaped_most_bps, bins[b].shaped_bps);
  }
  const double time = seconds(kBin) * static_cast<double>(bins.size() - std::min(first, bins.size()));
  if (time > 0) {
    s.sent_bps = sent / time;
    s.received_bps = received / time;
  }
  s.back_offs = back_offs(scenario, bins);
  for (const Duration at : s.back_offs)
    if (!called_for(scenario, truth, site, at)) s.false_back_offs.push_back(at);
  s.settlings = settlings(scenario, truth, site);
  return s;
}

}  // namespace

Score score(const Scenario& scenario, const Truth& truth) {
  Score result;
  for (std::size_t l = 0; l < scenario.links.size(); ++l)
    result.links.push_back(score_link(scenario, truth, l));
  for (std::size_t i = 0; i < scenario.sites.size(); ++i)
    result.sites.push_back(score_site(scenario, truth, i));
  std::vector<double> delays;
  std::size_t sent = 0;
  for (const PriorityPacket& p : truth.priority) {
    if (p.sent.time_since_epoch() < scenario.warm_up) continue;
    // What was sent last may still be under way.
    if (!p.delay && p.sent.time_since_epoch() >= scenario.length - kUnderWay) continue;
    ++sent;
    if (p.delay) delays.push_back(milliseconds(*p.delay));
  }
  if (sent > 0) result.priority_loss = 1.0 - static_cast<double>(delays.size()) / static_cast<double>(sent);
  if (!delays.empty()) {
    const double least = quantile(delays, 0.0);
    result.priority_p50_ms = quantile(delays, 0.5) - least;
    result.priority_p99_ms = quantile(delays, 0.99) - least;
  }
  return result;
}

std::string to_json(const Score& score) {
  namespace json = boost::json;
  json::array links;
  for (const LinkScore& l : score.links) {
    links.push_back(json::object{{"name", l.name},
                                 {"utilisation", l.utilisation},
                                 {"loss", l.loss},
                                 {"random_loss", l.random_loss},
                                 {"queue_p50_ms", l.queue_p50_ms},
                                 {"queue_p95_ms", l.queue_p95_ms},
                                 {"queue_most_ms", l.queue_most_ms}});
  }
  json::array sites;
  for (const SiteScore& s : score.sites) {
    json::array jumps;
    for (const Settling& j : s.settlings) {
      jumps.push_back(json::object{{"at_s", seconds(j.at)},
                                   {"from_bps", j.from_bps},
                                   {"to_bps", j.to_bps},
                                   {"seconds", j.seconds ? json::value(*j.seconds) : json::value(nullptr)}});
    }
    const auto instants = [](const std::vector<Duration>& all) {
      json::array told;
      for (const Duration at : all) told.push_back(seconds(at));
      return told;
    };
    sites.push_back(json::object{{"name", s.name},
                                 {"sent_bps", s.sent_bps},
                                 {"received_bps", s.received_bps},
                                 {"shaped_least_bps", s.shaped_least_bps},
                                 {"shaped_most_bps", s.shaped_most_bps},
                                 {"back_offs", s.back_offs.size()},
                                 {"back_offs_at_s", instants(s.back_offs)},
                                 {"false_back_offs_at_s", instants(s.false_back_offs)},
                                 {"settlings", std::move(jumps)}});
  }
  const auto optional = [](const std::optional<double>& v) {
    return v ? json::value(*v) : json::value(nullptr);
  };
  return json::serialize(json::object{{"links", std::move(links)},
                                      {"sites", std::move(sites)},
                                      {"priority", json::object{{"p50_ms", optional(score.priority_p50_ms)},
                                                                {"p99_ms", optional(score.priority_p99_ms)},
                                                                {"loss", score.priority_loss}}}});
}

void write_csv(const Scenario& scenario, const Truth& truth, const std::filesystem::path& path) {
  std::ofstream out(path);
  out << "time_s";
  for (const ScenarioLink& l : scenario.links)
    out << fmt::format(
        ",{0}_capacity_bps,{0}_queue_ms,{0}_offered,{0}_over_limit,{0}_at_random,{0}_forwarded_bytes",
        l.name);
  for (const SiteSetup& s : scenario.sites)
    out << fmt::format(",{0}_shaped_bps,{0}_sent_bytes,{0}_received_bytes,{0}_demand", s.name);
  out << '\n';
  const std::size_t bins = truth.sites.empty() ? 0 : truth.sites.front().size();
  for (std::size_t b = 0; b < bins; ++b) {
    out << fmt::format("{:.2f}", seconds(static_cast<std::int64_t>(b) * kBin));
    for (const auto& link : truth.links) {
      const LinkBin& l = link[b];
      out << fmt::format(",{:.0f},{:.2f},{},{},{},{}", l.capacity_bps, l.queue_ms, l.offered, l.over_limit,
                         l.at_random, l.forwarded_bytes);
    }
    for (const auto& site : truth.sites) {
      const SiteBin& s = site[b];
      out << fmt::format(",{:.0f},{},{},{}", s.shaped_bps, s.sent_bytes, s.received_bytes, s.demand ? 1 : 0);
    }
    out << '\n';
  }
  out.flush();
  if (!out) throw std::runtime_error(fmt::format("cannot write {}", path.string()));
}

}  // namespace weir::proving
