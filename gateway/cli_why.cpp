#include <cstdio>
#include <variant>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/cli.hpp"
#include "gateway/cli_answer.hpp"
#include "gateway/json_view.hpp"
#include "gateway/why_page.hpp"

namespace weir::gateway {

namespace json = boost::json;

int show_why(const WhyOptions& options) {
  const auto decisions = body_of(
      options.socket, site_target(options.site, fmt::format("/decisions?limit={}{}", options.most,
                                                            options.inbound ? "&direction=inbound" : "")));
  if (const auto* failure = std::get_if<HttpFailure>(&decisions)) return complain(*failure);
  if (options.json) {
    fmt::print("{}", std::get<std::string>(decisions));
    return kExitOk;
  }
  const auto present = document_of(body_of(options.socket, site_target(options.site)));
  if (const auto* failure = std::get_if<HttpFailure>(&present)) return complain(*failure);
  const auto past = document_of(decisions);
  if (const auto* failure = std::get_if<HttpFailure>(&past)) return complain(*failure);
  const json::value& site = std::get<json::value>(present);
  json::value shown = options.inbound ? at(site, {"inbound"}) : site;
  if (options.inbound && shown.is_object()) shown.as_object()["name"] = options.site + ", inbound";
  fmt::print("{}", render_why(shown, std::get<json::value>(past)));
  return kExitOk;
}

}  // namespace weir::gateway
