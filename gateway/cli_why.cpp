#include <cstdio>
#include <variant>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/cli.hpp"
#include "gateway/cli_answer.hpp"
#include "gateway/why_page.hpp"

namespace weir::gateway {

namespace json = boost::json;

int show_why(const WhyOptions& options) {
  const auto decisions =
      body_of(options.socket, site_target(options.site, fmt::format("/decisions?limit={}", options.most)));
  if (const auto* failure = std::get_if<HttpFailure>(&decisions)) return complain(*failure);
  if (options.json) {
    fmt::print("{}", std::get<std::string>(decisions));
    return kExitOk;
  }
  const auto site = body_of(options.socket, site_target(options.site));
  if (const auto* failure = std::get_if<HttpFailure>(&site)) return complain(*failure);
  boost::system::error_code malformed;
  const json::value present = json::parse(std::get<std::string>(site), malformed);
  if (malformed) return complain({.text = "the daemon's answer is not JSON"});
  const json::value past = json::parse(std::get<std::string>(decisions), malformed);
  if (malformed) return complain({.text = "the daemon's answer is not JSON"});
  fmt::print("{}", render_why(present, past));
  return kExitOk;
}

}  // namespace weir::gateway
