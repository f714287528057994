#include "proving/path/scenario.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <initializer_list>
#include <set>
#include <sstream>
#include <stdexcept>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "config/load.hpp"
#include "config/spelling.hpp"

namespace weir::proving {
namespace {

constexpr double kLongest = 1e6;  // seconds

[[noreturn]] void fail(const YAML::Node& node, const std::string& what) {
  throw std::runtime_error(fmt::format("line {}: {}", node.Mark().line + 1, what));
}

/// What has to be there; `node[key]` of a missing key would only say that something is invalid somewhere.
YAML::Node required(const YAML::Node& node, const char* key) {
  YAML::Node value = node[key];
  if (!value) fail(node, fmt::format("'{}' is missing", key));
  return value;
}

YAML::Node list(const YAML::Node& node) {
  if (node && !node.IsSequence()) fail(node, "a list is expected");
  return node;
}

std::string text_of(const YAML::Node& node) {
  if (!node.IsScalar()) fail(node, "one value is expected");
  return node.Scalar();
}

double number(const YAML::Node& node, std::string_view text) {
  std::size_t used = 0;
  double value = 0.0;
  try {
    value = std::stod(std::string(text), &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size() || !std::isfinite(value))
    fail(node, fmt::format("'{}' is no number", text));
  return value;
}

Duration duration(const YAML::Node& node) {
  const std::string text = text_of(node);
  for (const auto& [unit, scale] : {std::pair{"ms", 1e-3}, {"us", 1e-6}, {"s", 1.0}}) {
    if (!text.ends_with(unit)) continue;
    const double s = scale * number(node, text.substr(0, text.size() - std::string_view(unit).size()));
    if (s < 0.0 || s > kLongest)
      fail(node, fmt::format("'{}' is not between 0s and {:.0f}s", text, kLongest));
    return Duration(std::llround(s * 1e9));
  }
  fail(node, fmt::format("'{}' is no time: 30ms, 1.5s", text));
}

Rate rate(const YAML::Node& node) {
  const auto value = parse_rate(text_of(node));
  if (!value) fail(node, fmt::format("'{}' is no rate: 45mbit", node.Scalar()));
  return *value;
}

double share(const YAML::Node& node) {
  const auto value = parse_percent(text_of(node));
  if (!value || *value > 1.0) fail(node, fmt::format("'{}' is no percentage up to 100: 0.1%", node.Scalar()));
  return *value;
}

std::uint32_t count(const YAML::Node& node) {
  const auto value = parse_integer(text_of(node), 0, 1'000'000'000);
  if (!value) fail(node, fmt::format("'{}' is no whole number", node.Scalar()));
  return static_cast<std::uint32_t>(*value);
}

bool flag(const YAML::Node& node) {
  if (text_of(node) == "true") return true;
  if (text_of(node) == "false") return false;
  fail(node, "true or false is expected");
}

void expect_keys(const YAML::Node& node, std::initializer_list<std::string_view> known) {
  if (!node.IsMap()) fail(node, "a mapping is expected");
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const std::string key = text_of(entry.first);
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail(entry.first, fmt::format("unknown key '{}'; known are {}", key, fmt::join(known, ", ")));
    if (!seen.insert(key).second) fail(entry.first, fmt::format("'{}' is there twice", key));
  }
}

Load::Way way(const YAML::Node& node) {
  if (text_of(node) == "out") return Load::Way::out;
  if (text_of(node) == "back") return Load::Way::back;
  fail(node, "out or back is expected");
}

/// One value, a list of [time, value] pairs, or {mean, swing, period}.
template <class Value>
Schedule schedule(const YAML::Node& node, Value&& value) {
  if (node.IsScalar()) return Schedule(value(node));
  if (node.IsMap()) {
    expect_keys(node, {"mean", "swing", "period"});
    const Schedule::Sine sine{value(required(node, "mean")), share(required(node, "swing")),
                              duration(required(node, "period"))};
    if (sine.period == Duration::zero()) fail(node["period"], "a period is longer than nothing");
    return Schedule(sine);
  }
  std::vector<Schedule::Step> steps;
  for (const YAML::Node& step : list(node)) {
    if (!step.IsSequence() || step.size() != 2) fail(step, "[time, value] is expected");
    steps.push_back({duration(step[0]), value(step[1])});
    if (steps.size() > 1 && steps[steps.size() - 2].at >= steps.back().at)
      fail(step, "the times have to grow");
  }
  if (steps.empty()) fail(node, "a value, or a list of [time, value], is expected");
  return Schedule(std::move(steps));
}

double bps(const YAML::Node& node) {
  return static_cast<double>(rate(node).bps());
}
double in_seconds(const YAML::Node& node) {
  return seconds(duration(node));
}

Depth depth(const YAML::Node& node) {
  const std::string text = text_of(node);
  if (!text.ends_with("s")) return Bytes(count(node));
  return duration(node);
}

Buffer buffer(const YAML::Node& node) {
  expect_keys(node, {"depth", "aqm", "red", "ecn"});
  Buffer b{.depth = depth(required(node, "depth")), .aqm = DropTail{}};
  if (const auto red = node["red"]) {
    if (!red.IsSequence() || red.size() != 2) fail(red, "[least, most] is expected");
    b.aqm = Red{duration(red[0]), duration(red[1])};
  }
  if (const auto aqm = node["aqm"]) {
    if (text_of(aqm) != "codel") fail(aqm, "the one aqm by name is codel");
    b.aqm = CoDel{};
  }
  if (const auto ecn = node["ecn"]) b.ecn = flag(ecn);
  return b;
}

RandomLoss random_loss(const YAML::Node& node) {
  expect_keys(node, {"ratio", "burst", "below"});
  RandomLoss loss{.ratio = schedule(required(node, "ratio"), share)};
  if (const auto burst = node["burst"]) loss.burst = number(burst, text_of(burst));
  if (const auto below = node["below"]) loss.below = count(below);
  return loss;
}

class Reader {
 public:
  explicit Reader(const YAML::Node& root) : root_(root) {}

  Scenario scenario() {
    expect_keys(root_, {"name", "number", "about", "length", "warm_up", "sites", "links", "extra_delay",
                        "jitter", "reorder", "local_loss", "loads", "events", "simulate"});
    for (const char* key : {"sites", "links", "loads"}) list(required(root_, key));
    result_.name = text_of(required(root_, "name"));
    result_.length = duration(required(root_, "length"));
    if (const auto n = root_["number"]) result_.number = static_cast<int>(count(n));
    if (const auto n = root_["warm_up"]) result_.warm_up = duration(n);
    if (const auto n = root_["extra_delay"]) result_.extra_delay = schedule(n, in_seconds);
    if (const auto n = root_["jitter"]) result_.jitter = schedule(n, in_seconds);
    if (const auto n = root_["reorder"]) result_.reorder = share(n);
    if (const auto n = root_["local_loss"]) result_.local_loss = share(n);
    for (const YAML::Node& n : root_["sites"]) site(n);
    for (const YAML::Node& n : root_["links"]) link(n);
    for (const YAML::Node& n : root_["loads"]) load(n);
    for (const YAML::Node& n : list(root_["events"])) event(n);
    if (const auto n = root_["simulate"]) simulate(n);
    if (result_.sites.empty()) fail(root_["sites"], "no site");
    if (result_.warm_up >= result_.length)
      fail(root_["warm_up"], "nothing is left of the length to be scored");
    return std::move(result_);
  }

 private:
  std::size_t site_index(const YAML::Node& node) {
    const auto found = std::find_if(result_.sites.begin(), result_.sites.end(),
                                    [&](const SiteSetup& s) { return s.name == text_of(node); });
    if (found == result_.sites.end()) fail(node, fmt::format("there is no site '{}'", node.Scalar()));
    return static_cast<std::size_t>(found - result_.sites.begin());
  }

  void site(const YAML::Node& node) {
    expect_keys(node, {"name", "floor", "ceiling", "start", "contract"});
    SiteSetup s{.name = text_of(required(node, "name")),
                .floor = rate(required(node, "floor")),
                .ceiling = rate(required(node, "ceiling")),
                .start = rate(required(node, "start")),
                .contract = rate(node["floor"])};
    if (s.floor > s.start || s.start > s.ceiling) fail(node, "floor <= start <= ceiling is expected");
    if (std::any_of(result_.sites.begin(), result_.sites.end(),
                    [&](const SiteSetup& o) { return o.name == s.name; }))
      fail(node["name"], fmt::format("there are two sites '{}'", s.name));
    if (const auto contract = node["contract"]) s.contract = rate(contract);
    result_.sites.push_back(std::move(s));
  }

  void link(const YAML::Node& node) {
    expect_keys(node, {"name", "site", "way", "capacity", "policer", "buffer", "loss"});
    ScenarioLink l{.name = text_of(required(node, "name"))};
    if (const auto site = node["site"]) l.site = site_index(site);
    if (const auto n = node["way"]) l.back = way(n) == Load::Way::back;
    if (const auto capacity = node["capacity"]) l.settings.capacity = schedule(capacity, bps);
    if (const auto policer = node["policer"]) {
      expect_keys(policer, {"bucket"});
      l.settings.limit = Policer{depth(required(policer, "bucket"))};
    }
    if (const auto b = node["buffer"]) l.settings.limit = buffer(b);
    if (const auto loss = node["loss"]) l.settings.loss = random_loss(loss);
    if (!std::holds_alternative<Unlimited>(l.settings.limit) && !node["capacity"])
      fail(node, "a limit needs a capacity");
    result_.links.push_back(std::move(l));
  }

  void load(const YAML::Node& node) {
    expect_keys(node, {"kind", "way", "site", "foreign", "flows", "congestion", "rate", "frame", "priority",
                       "bytes", "pause", "rtt", "from", "until"});
    Load l;
    const std::string kind = text_of(required(node, "kind"));
    if (kind != "tcp" && kind != "udp") fail(node["kind"], "tcp or udp is expected");
    l.kind = kind == "tcp" ? Load::Kind::tcp : Load::Kind::udp;
    if (const auto n = node["way"]) l.way = way(n);
    if (const auto n = node["site"]) l.site = site_index(n);
    if (const auto n = node["foreign"]) l.foreign = flag(n);
    if (const auto n = node["flows"]) l.flows = count(n);
    if (const auto n = node["congestion"]) l.congestion = text_of(n);
    if (const auto n = node["rate"]) l.rate = rate(n);
    if (const auto n = node["frame"]) l.frame = count(n);
    if (const auto n = node["priority"]) l.priority = flag(n);
    if (const auto n = node["bytes"]) l.bytes = count(n);
    if (const auto n = node["pause"]) l.pause = duration(n);
    if (const auto n = node["rtt"]) l.rtt = duration(n);
    if (const auto n = node["from"]) l.from = duration(n);
    if (const auto n = node["until"]) l.until = duration(n);
    if (l.kind == Load::Kind::udp && (l.rate == Rate() || l.frame < 64))
      fail(node, "udp needs a rate and a frame");
    const auto known = {"cubic", "bbr", "newreno"};
    if (std::find(known.begin(), known.end(), l.congestion) == known.end())
      fail(node["congestion"], fmt::format("known are {}", fmt::join(known, ", ")));
    if (l.until && *l.until <= l.from) fail(node["until"], "it ends before it begins");
    result_.loads.push_back(std::move(l));
  }

  void event(const YAML::Node& node) {
    expect_keys(node, {"at", "do"});
    if (text_of(required(node, "do")) != "restart") fail(node["do"], "the one thing to do is restart");
    result_.events.push_back({duration(required(node, "at")), BoxEvent::Kind::restart});
  }

  void simulate(const YAML::Node& node) {
    expect_keys(node, {"scale"});
    const YAML::Node scale = required(node, "scale");
    result_.simulate_scale = number(scale, text_of(scale));
    if (result_.simulate_scale < 0.001 || result_.simulate_scale > 1000.0)
      fail(scale, fmt::format("'{}' is not between 0.001 and 1000", scale.Scalar()));
  }

  YAML::Node root_;
  Scenario result_;
};

}  // namespace

Rate available(const Scenario& scenario, std::size_t site, TimePoint now) {
  Rate least = scenario.sites[site].ceiling;
  for (const ScenarioLink& link : scenario.links) {
    if (!link.carries(site) || std::holds_alternative<Unlimited>(link.settings.limit)) continue;
    Rate left = Rate::bps(static_cast<std::uint64_t>(std::max(link.settings.capacity.at(now), 0.0)));
    for (const Load& load : scenario.loads) {
      const Duration t = now.time_since_epoch();
      const bool active = t >= load.from && (!load.until || t < *load.until);
      if (!link.site && load.foreign && load.kind == Load::Kind::udp && load.way == Load::Way::out && active)
        left = left - load.rate * load.flows;
    }
    least = std::min(least, left);
  }
  return std::max(least, scenario.sites[site].floor);
}

Scenario scaled(Scenario scenario, double factor) {
  for (SiteSetup& s : scenario.sites) {
    for (Rate* r : {&s.floor, &s.ceiling, &s.start, &s.contract}) *r = *r * factor;
  }
  for (ScenarioLink& l : scenario.links) l.settings.capacity = l.settings.capacity.scaled(factor);
  for (Load& l : scenario.loads) l.rate = l.rate * factor;
  return scenario;
}

Scenario parse_scenario(std::string_view text, std::string_view file) {
  try {
    return Reader(YAML::Load(std::string(text))).scenario();
  } catch (const YAML::Exception& e) {
    throw std::runtime_error(fmt::format("{}: {}", file, e.what()));
  } catch (const std::runtime_error& e) {
    throw std::runtime_error(fmt::format("{}: {}", file, e.what()));
  }
}

Scenario load_scenario(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(fmt::format("cannot read {}", path.string()));
  std::ostringstream text;
  text << file.rdbuf();
  return parse_scenario(text.str(), path.string());
}

}  // namespace weir::proving
