#include "gateway/cli_answer.hpp"

#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <boost/url/encode.hpp>
#include <boost/url/rfc/unreserved_chars.hpp>

#include "config/load.hpp"
#include "gateway/cli.hpp"
#include "gateway/json_view.hpp"

namespace weir::gateway {

namespace json = boost::json;

namespace {

std::variant<std::string, HttpFailure> body_or_failure(std::variant<HttpAnswer, HttpFailure> got,
                                                       std::string_view target) {
  if (auto* failure = std::get_if<HttpFailure>(&got)) return std::move(*failure);
  auto& answer = std::get<HttpAnswer>(got);
  if (answer.status == 200) return std::move(answer.body);
  boost::system::error_code malformed;
  const json::value problem = json::parse(answer.body, malformed);
  const std::string detail = malformed ? "-" : text(at(problem, {"detail"}));
  constexpr unsigned kForbidden = 403;  // a right is missing: the question made sense
  return HttpFailure{.refused = answer.status >= 400 && answer.status < 500 && answer.status != kForbidden,
                     .text = detail == "-" ? fmt::format("{} answered {}", target, answer.status) : detail};
}

}  // namespace

std::variant<std::string, HttpFailure> body_of(const std::filesystem::path& socket, std::string_view target,
                                               std::chrono::milliseconds patience) {
  return body_or_failure(http_get(socket, target, patience), target);
}

std::variant<json::value, HttpFailure> document_of(std::variant<std::string, HttpFailure> answer) {
  if (auto* failure = std::get_if<HttpFailure>(&answer)) return std::move(*failure);
  boost::system::error_code malformed;
  json::value document = json::parse(std::get<std::string>(answer), malformed);
  if (malformed) return HttpFailure{.text = "the daemon's answer is not JSON"};
  return document;
}

std::variant<std::string, HttpFailure> answer_to_change(const std::filesystem::path& socket,
                                                        std::string_view target, const std::string& body) {
  constexpr std::chrono::seconds kPatience{60};
  return body_or_failure(http_request(socket, target, body, kPatience), target);
}

int complain(const HttpFailure& failure) {
  fmt::print(stderr, "weir: {}\n", failure.text);
  if (failure.not_running) return kExitNotRunning;
  return failure.refused ? kExitPolicy : kExitSystem;
}

std::optional<Policy> load_or_complain(const std::filesystem::path& file) {
  auto read = load_policy(file);
  if (const auto* failure = std::get_if<LoadFailure>(&read)) {
    fmt::print(stderr, "{}", failure->rendered);
    return std::nullopt;
  }
  return std::get<LoadedPolicy>(std::move(read)).policy;
}

std::vector<Rate> start_rates(const Policy& policy) {
  std::vector<Rate> rates;
  rates.reserve(policy.sites.size());
  for (const SitePolicy& site : policy.sites) rates.push_back(site.rate.start);
  return rates;
}

bool on_a_terminal() {
  return ::isatty(STDOUT_FILENO) == 1;
}

bool wants_colour() {
  const char* no_colour = std::getenv("NO_COLOR");  // NOLINT(concurrency-mt-unsafe): one thread
  return on_a_terminal() && (no_colour == nullptr || *no_colour == '\0');
}

std::string encoded(std::string_view text) {
  return boost::urls::encode(text, boost::urls::unreserved_chars);
}

std::string site_target(std::string_view site, std::string_view below) {
  return fmt::format("/v1/sites/{}{}", encoded(site), below);
}

}  // namespace weir::gateway
