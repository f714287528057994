#include <cstdio>
#include <thread>
#include <variant>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/cli.hpp"
#include "gateway/cli_answer.hpp"
#include "gateway/status_table.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

/// The page or the document to show now.
std::variant<std::string, HttpFailure> look(const StatusOptions& options) {
  auto status = body_of(options.socket, "/v1/status");
  if (options.json || std::holds_alternative<HttpFailure>(status)) return status;
  json::value classes;
  boost::system::error_code malformed;
  if (options.verbose) {
    auto body = body_of(options.socket, "/v1/classes");
    if (auto* failure = std::get_if<HttpFailure>(&body)) return std::move(*failure);
    classes = json::parse(std::get<std::string>(body), malformed);
  }
  const json::value document = json::parse(std::get<std::string>(status), malformed);
  if (malformed) return HttpFailure{.text = "the daemon's answer is not JSON"};
  return render_status(document, classes, {.colour = wants_colour()});
}

}  // namespace

int show_status(const StatusOptions& options) {
  for (;;) {
    const auto page = look(options);
    if (const auto* failure = std::get_if<HttpFailure>(&page)) {
      // A daemon that restarts is back in a second: who watches wants to see that.
      if (!options.watch) return complain(*failure);
      fmt::print(stderr, "weir: {}\n", failure->text);
    } else {
      if (options.watch && !options.json && on_a_terminal()) fmt::print("\033[H\033[2J");
      fmt::print("{}", std::get<std::string>(page));
      if (options.watch && !options.json && !on_a_terminal()) fmt::print("\n");
    }
    if (std::fflush(stdout) != 0) return kExitSystem;  // nobody reads any more
    if (!options.watch) return kExitOk;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace weir::gateway
