#include "gateway/api.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include <boost/json.hpp>
#include <boost/url.hpp>

#include "gateway/api_json.hpp"
#include "gateway/explain.hpp"
#include "gateway/json_text.hpp"
#include "gateway/metrics.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;
namespace urls = boost::urls;

constexpr std::uint64_t kMostEvents = 1000;
constexpr std::uint64_t kUsualEvents = 100;
constexpr std::uint64_t kUsualDecisions = 10;
constexpr const char* kJsonLines = "application/jsonl";
constexpr Duration kTickIsLate = std::chrono::seconds(2);

std::string_view title_of(unsigned status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 422:
      return "Unprocessable Content";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

ApiResponse ok(const json::value& body) {
  return {.body = to_text(body) + "\n", .allow = {}};
}

ApiResponse with_allow(ApiResponse response) {
  response.allow = "GET, HEAD";
  return response;
}

using Segments = std::vector<std::string>;

struct Query {
  std::vector<std::pair<std::string, std::string>> parameters;
};

struct Target {
  Segments path;
  Query query;
};

/// RFC 9112, 3.2: origin form, and absolute form because a server must take it too. Decoding happens after
/// splitting, so that %2F never becomes a separator.
std::optional<Target> parse_target(std::string_view text) {
  const auto parsed = text.starts_with('/') ? urls::parse_origin_form(text) : urls::parse_absolute_uri(text);
  if (!parsed) return std::nullopt;
  Target target;
  for (const auto segment : parsed->segments()) target.path.emplace_back(segment);
  for (const auto parameter : parsed->params()) {
    target.query.parameters.emplace_back(std::string(parameter.key), std::string(parameter.value));
  }
  return target;
}

/// A parameter that a path does not have is a typing error that would otherwise pass silently.
std::optional<ApiResponse> unknown_parameter(const Query& query,
                                             std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : query.parameters) {
    if (std::ranges::find(known, key) != known.end()) continue;
    return problem(400, known.size() == 0
                            ? fmt::format("this path takes no parameters, but '{}' was given", key)
                            : fmt::format("unknown parameter '{}'; known: {}", key, fmt::join(known, ", ")));
  }
  return std::nullopt;
}

/// The parameter as a number, or `fallback` without one; nullopt: not a number in the range.
std::optional<std::uint64_t> number(const Query& query, std::string_view key, std::uint64_t fallback,
                                    std::uint64_t least, std::uint64_t most) {
  const auto found = std::ranges::find(query.parameters, key, &std::pair<std::string, std::string>::first);
  if (found == query.parameters.end()) return fallback;
  const std::string& text = found->second;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value >= least && value <= most ? std::optional(value) : std::nullopt;
}

ApiResponse sites(const ApiView& view) {
  return ok(json::object{{"sites", sites_json(view.status)}});
}

ApiResponse no_such_site(std::string_view name) {
  return problem(404, fmt::format("the policy has no site '{}'", name));
}

ApiResponse site(std::string_view name, const ApiView& view) {
  const SiteStatus* const found = find_site(view.status.sites, name);
  return found == nullptr ? no_such_site(name)
                          : ok(site_json(*found, find_site(view.status.inbound, name), view.status.lan));
}

/// The parameter of that name; out without one; nullopt: it is neither.
std::optional<Direction> direction(const Query& query) {
  const auto found =
      std::ranges::find(query.parameters, "direction", &std::pair<std::string, std::string>::first);
  return found == query.parameters.end() ? Direction::outbound : parse_direction(found->second);
}

/// What is kept of a site in the direction that is asked for; `kept_at(port)` is it at that port.
template <class Kept, class KeptAt>
std::variant<const Kept*, ApiResponse> kept_of(std::string_view name, const Query& query, const ApiView& view,
                                               KeptAt&& kept_at) {
  const auto wanted = direction(query);
  if (!wanted) return problem(400, "'direction' must be outbound or inbound");
  const Kept* const outbound = kept_at(view.wan);
  if (outbound == nullptr) return no_such_site(name);
  if (*wanted == Direction::outbound) return outbound;
  const Kept* const inbound = view.lan ? kept_at(*view.lan) : nullptr;
  if (inbound == nullptr) return problem(404, fmt::format("what comes from site '{}' is not shaped", name));
  return inbound;
}

ApiResponse history(std::string_view name, const Query& query, const ApiView& view) {
  const auto seconds = number(query, "seconds", 600, 1, History::kCapacity);
  if (!seconds)
    return problem(400, fmt::format("'seconds' must be a number from 1 to {}", History::kCapacity));
  const auto history =
      kept_of<History>(name, query, view, [&](const PortView& port) { return port.history_of(name); });
  if (const auto* wrong = std::get_if<ApiResponse>(&history)) return *wrong;
  return ok(
      history_json(name, std::get<const History*>(history)->newest(static_cast<std::size_t>(*seconds))));
}

ApiResponse decisions(std::string_view name, const Query& query, const ApiView& view) {
  const auto limit = number(query, "limit", kUsualDecisions, 1, DecisionLog::kCapacity);
  if (!limit)
    return problem(400, fmt::format("'limit' must be a number from 1 to {}", DecisionLog::kCapacity));
  const auto log =
      kept_of<DecisionLog>(name, query, view, [&](const PortView& port) { return port.decisions_of(name); });
  if (const auto* wrong = std::get_if<ApiResponse>(&log)) return *wrong;
  json::array all;
  for (const Decision* one : std::get<const DecisionLog*>(log)->newest(static_cast<std::size_t>(*limit)))
    all.push_back(decision_json(*one));
  return ok(json::object{{"site", json::string(name)}, {"decisions", std::move(all)}});
}

ApiResponse recording(std::optional<std::string_view> site, const ApiView& view) {
  if (site && find_site(view.status.sites, *site) == nullptr) return no_such_site(*site);
  auto parts = view.recording_of(site);
  if (!parts) return problem(404, "nothing is recorded: the policy has recording.mebibytes: 0");
  return {.content_type = kJsonLines, .body = {}, .more = *std::move(parts), .allow = {}};
}

ApiResponse classes(const Query& query, const ApiView& view) {
  const auto wanted =
      std::ranges::find(query.parameters, "site", &std::pair<std::string, std::string>::first);
  const bool all_sites = wanted == query.parameters.end();
  json::array all;
  view.for_each_port([&](const PortView& port, Direction way) {
    for (const ClassStatus& one : port.classes) {
      if (all_sites || one.counters.site == wanted->second) all.push_back(class_json(one, way));
    }
  });
  return ok(json::object{{"classes", std::move(all)}});
}

constexpr const char* kNotLoaded = "no classifier of this policy is loaded";

ApiResponse explain(const Query& query, const ApiView& view) {
  const auto read = parse_query(query.parameters);
  if (const auto* wrong = std::get_if<std::string>(&read)) return problem(400, *wrong);
  const auto& packet = std::get<shaper::PacketQuery>(read);
  const Policy* const inside = view.lan ? &view.lan->policy : nullptr;
  const PortView* const port = view.port(direction_of(query.parameters, view.wan.policy, inside, packet));
  if (port == nullptr) return problem(404, kNothingInbound);
  try {
    const auto verdict = port->explain(packet);
    if (!verdict) return problem(503, kNotLoaded);
    return ok(explain_json(port->policy, packet, *verdict, AnsweredBy::program, port->classes));
  } catch (const std::exception& failure) {
    return problem(503, failure.what());
  }
}

/// What the LAN port's classifier counted, where that is known.
std::optional<shaper::ArrivalCounters> inbound_arrivals(const ApiView& view) {
  try {
    return view.lan ? view.lan->arrivals() : std::nullopt;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

ApiResponse rules(const Query& query, const ApiView& view) {
  const auto wanted =
      std::ranges::find(query.parameters, "site", &std::pair<std::string, std::string>::first);
  const bool all_sites = wanted == query.parameters.end();
  if (!all_sites && std::ranges::find(view.wan.policy.sites, wanted->second, &SitePolicy::name) ==
                        view.wan.policy.sites.end())
    return no_such_site(wanted->second);
  try {
    json::array all;
    const auto add = [&](const Policy& policy, const shaper::ArrivalCounters& arrived) {
      for (const RuleStatus& rule : rules_of_policy(policy, arrived)) {
        if (all_sites || (rule.site != nullptr && rule.site->name == wanted->second))
          all.push_back(rule_json(policy, rule));
      }
    };
    const auto arrived = view.wan.arrivals();
    if (!arrived) return problem(503, kNotLoaded);
    add(view.wan.policy, *arrived);
    if (const auto inbound = inbound_arrivals(view)) add(view.lan->policy, *inbound);
    return ok(json::object{{"rules", std::move(all)}});
  } catch (const std::exception& failure) {
    return problem(503, failure.what());
  }
}

ApiResponse revisions(const ApiView& view) {
  json::array all;
  for (const Revision& r : view.revisions.all()) all.push_back(revision_json(r));
  return ok(json::object{{"in_force", view.status.policy.revision}, {"revisions", std::move(all)}});
}

ApiResponse revision(std::string_view number, const ApiView& view) {
  std::uint64_t wanted = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), wanted);
  if (error != std::errc() || end != number.data() + number.size())
    return problem(404, "a revision is named by its number");
  const auto files = view.revisions.files(wanted);
  if (const auto* why = std::get_if<std::string>(&files)) return problem(404, *why);
  json::object document = revision_json(*view.revisions.find(wanted));
  json::array all;
  for (const PolicyFile& file : std::get<std::vector<PolicyFile>>(files))
    all.push_back({{"path", json::string(file.path.string())}, {"text", json::string(file.text)}});
  document["files"] = std::move(all);
  return ok(document);
}

ApiResponse events(const Query& query, const ApiView& view) {
  const auto limit = number(query, "limit", kUsualEvents, 1, kMostEvents);
  if (!limit) return problem(400, fmt::format("'limit' must be a number from 1 to {}", kMostEvents));
  const auto since = number(query, "since", 0, 0, UINT64_MAX);
  if (!since) return problem(400, "'since' must be the id of an event");
  const bool from_there =
      std::ranges::find(query.parameters, "since", &std::pair<std::string, std::string>::first) !=
      query.parameters.end();
  const auto found = from_there ? view.events.after(*since, static_cast<std::size_t>(*limit))
                                : view.events.newest(static_cast<std::size_t>(*limit));
  json::array all;
  for (const Event* event : found) all.push_back(event_json(*event));
  const std::uint64_t last = found.empty() ? view.events.newest_id() : found.back()->id;
  return ok(json::object{{"events", std::move(all)},
                         {"last_id", last},
                         {"newest_id", view.events.newest_id()},
                         {"oldest_id", view.events.oldest_id()}});
}

/// Alive: that it answers at all is the proof.
ApiResponse healthz() {
  return ok(json::object{{"status", "ok"}});
}

/// Ready: the tree stands, and rates follow measurements.
ApiResponse readyz(const GatewayStatus& status) {
  std::vector<std::string> missing;
  if (!status.shaper.in_place) missing.emplace_back("the queue tree does not stand");
  if (status.lan && !status.lan->shaper.in_place)
    missing.push_back("the queue tree of " + status.lan->interface + " does not stand");
  if (!status.capture.up)
    missing.push_back("the capture is down: " + status.capture.why_down);
  else if (!status.capture.last_tick_age || *status.capture.last_tick_age > kTickIsLate) {
    missing.emplace_back("no measurement arrived in the last two seconds");
  }
  if (missing.empty()) return ok(json::object{{"status", "ready"}});
  return problem(503, fmt::format("{}", fmt::join(missing, "; ")));
}

ApiResponse index() {
  json::array paths;
  for (const char* path :
       {"/v1/status", "/v1/sites", "/v1/sites/{name}", "/v1/sites/{name}/history",
        "/v1/sites/{name}/decisions", "/v1/sites/{name}/recording", "/v1/classes", "/v1/rules", "/v1/explain",
        "/v1/events", "/v1/policy/revisions", "/v1/policy/revisions/{number}", "/v1/recording", "/healthz",
        "/readyz", "/metrics"}) {
    paths.push_back(path);
  }
  return ok(json::object{{"paths", std::move(paths)}});
}

/// The parameters that each path takes, and its answer.
ApiResponse route(const Target& target, const ApiView& view) {
  const Segments& path = target.path;
  const auto is = [&](std::initializer_list<std::string_view> wanted) {
    return std::ranges::equal(path, wanted);
  };
  const auto checked = [&](std::initializer_list<std::string_view> parameters, auto&& answer) {
    const auto wrong = unknown_parameter(target.query, parameters);
    return wrong ? *wrong : answer();
  };
  const bool below_sites = path.size() >= 3 && path[0] == "v1" && path[1] == "sites";

  if (is({}) || is({""})) return checked({}, [] { return index(); });
  if (is({"v1", "status"})) return checked({}, [&] { return ok(status_json(view.status)); });
  if (is({"v1", "sites"})) return checked({}, [&] { return sites(view); });
  if (below_sites && path.size() == 3) return checked({}, [&] { return site(path[2], view); });
  if (below_sites && path.size() == 4 && path[3] == "history") {
    return checked({"seconds", "direction"}, [&] { return history(path[2], target.query, view); });
  }
  if (below_sites && path.size() == 4 && path[3] == "decisions") {
    return checked({"limit", "direction"}, [&] { return decisions(path[2], target.query, view); });
  }
  if (below_sites && path.size() == 4 && path[3] == "recording") {
    return checked({}, [&] { return recording(path[2], view); });
  }
  if (is({"v1", "recording"})) return checked({}, [&] { return recording(std::nullopt, view); });
  if (is({"v1", "classes"})) return checked({"site"}, [&] { return classes(target.query, view); });
  if (is({"v1", "policy", "revisions"})) return checked({}, [&] { return revisions(view); });
  if (path.size() == 4 && path[0] == "v1" && path[1] == "policy" && path[2] == "revisions")
    return checked({}, [&] { return revision(path[3], view); });
  if (is({"v1", "policy", "apply"}) || is({"v1", "policy", "confirm"}) || is({"v1", "policy", "rollback"})) {
    ApiResponse post_only = problem(405, "this path changes something: POST");
    post_only.allow = "POST";
    return post_only;
  }
  if (is({"v1", "rules"})) return checked({"site"}, [&] { return rules(target.query, view); });
  if (is({"v1", "explain"})) return explain(target.query, view);
  if (is({"v1", "events"})) return checked({"since", "limit"}, [&] { return events(target.query, view); });
  if (is({"healthz"})) return checked({}, [] { return healthz(); });
  if (is({"readyz"})) return checked({}, [&] { return readyz(view.status); });
  if (is({"metrics"}))
    return checked({}, [&] {
      return ApiResponse{
          .content_type = std::string(kMetricsContentType), .body = metrics_text(view), .allow = {}};
    });
  return problem(404, "no such path; / lists those there are");
}

}  // namespace

ApiResponse problem(unsigned status, std::string_view detail) {
  return {.status = status,
          .content_type = "application/problem+json",
          .body = to_text(json::object{{"type", "about:blank"},
                                       {"title", json::string(title_of(status))},
                                       {"status", status},
                                       {"detail", json::string(detail)}}) +
                  "\n",
          .allow = {}};
}

ApiResponse respond(const ApiRequest& request, const ApiView& view) {
  if (request.method != "GET" && request.method != "HEAD") {
    return with_allow(problem(405, "known methods: GET, HEAD, and POST where something is changed"));
  }
  if (request.target.size() > kLongestTarget) {
    return problem(414, fmt::format("the target is longer than {} bytes", kLongestTarget));
  }
  const auto target = parse_target(request.target);
  if (!target) return problem(400, "the request target is not a valid path");
  return route(*target, view);
}

}  // namespace weir::gateway
