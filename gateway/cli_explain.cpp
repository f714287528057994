#include <cstdio>
#include <cstdlib>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/cli.hpp"
#include "gateway/cli_answer.hpp"
#include "gateway/explain.hpp"
#include "gateway/explain_page.hpp"
#include "gateway/json_text.hpp"
#include "shaper/class_allocation.hpp"
#include "shaper/plan.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

std::string explain_target(const QueryWords& words) {
  std::string target = "/v1/explain";
  char before = '?';
  for (const auto& [word, value] : words) {
    target += fmt::format("{}{}={}", before, word, encoded(value));
    before = '&';
  }
  return target;
}

/// The classes that a first start with this policy would make, where every kernel has what it needs.
std::vector<ClassStatus> classes_at_start(const Policy& policy) {
  const shaper::Tree tree =
      shaper::plan(policy, start_rates(policy), {.has_fq_codel = true}, shaper::allocate_handles(policy, {}));
  std::vector<ClassStatus> classes;
  classes.reserve(tree.classes.size());
  for (const shaper::ClassSpec& spec : tree.classes) {
    classes.push_back({.counters = {.site = spec.site,
                                    .name = spec.name,
                                    .handle = spec.handle,
                                    .leaf = spec.leaf ? shaper::kind_of(spec.leaf->parameters) : "",
                                    .rate = spec.htb.rate,
                                    .ceil = spec.htb.ceil,
                                    .priority = static_cast<std::uint8_t>(spec.htb.priority)},
                       .sent = {}});
  }
  return classes;
}

int print_explanation(const json::value& document, bool as_json, const std::string& answered) {
  if (as_json) {
    fmt::print("{}\n", to_text(document));
  } else {
    fmt::print("{}  {:<10} {}\n", render_explanation(document), "answered", answered);
  }
  return kExitOk;
}

int explain_by_file(const ExplainOptions& options, const std::string& why) {
  const auto query = parse_query(options.words);
  if (const auto* wrong = std::get_if<std::string>(&query))
    return complain({.refused = true, .text = *wrong});
  const auto policy = load_or_complain(options.file);
  if (!policy) return kExitPolicy;
  const auto& packet = std::get<shaper::PacketQuery>(query);
  const auto lan = lan_policy(*policy);
  const bool shaped = lan && !lan->sites.empty();
  const bool inbound =
      direction_of(options.words, *policy, shaped ? &*lan : nullptr, packet) == Direction::inbound;
  if (inbound && !shaped) return complain({.refused = true, .text = kNothingInbound});
  const Policy& of_port = inbound ? *lan : *policy;
  json::value document = explain_json(of_port, packet, shaper::judge(of_port, packet), AnsweredBy::policy,
                                      classes_at_start(of_port));
  document.as_object()["backlog_bytes"] = nullptr;
  return print_explanation(document, options.json,
                           fmt::format("by {}{}; rates as at a first start", options.file.string(), why));
}

}  // namespace

int explain(const ExplainOptions& options) {
  if (options.from_file) return explain_by_file(options, "");
  const auto answer = document_of(body_of(options.socket, explain_target(options.words)));
  if (const auto* failure = std::get_if<HttpFailure>(&answer)) {
    return failure->not_running ? explain_by_file(options, ", since the daemon does not run")
                                : complain(*failure);
  }
  return print_explanation(std::get<json::value>(answer), options.json, "by the classifier in the kernel");
}

int show_rules(const RulesOptions& options) {
  const auto body =
      body_of(options.socket, options.site.empty() ? "/v1/rules" : "/v1/rules?site=" + encoded(options.site));
  if (const auto* failure = std::get_if<HttpFailure>(&body)) return complain(*failure);
  if (options.json) {
    fmt::print("{}", std::get<std::string>(body));
    return kExitOk;
  }
  const auto document = document_of(body);
  if (const auto* failure = std::get_if<HttpFailure>(&document)) return complain(*failure);
  fmt::print("{}", render_rules(std::get<json::value>(document), wants_colour()));
  return kExitOk;
}

}  // namespace weir::gateway
