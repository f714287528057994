/// What several subcommands share: asking the daemon, complaining, a terminal. Internal to the command line.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <boost/json/value.hpp>

#include "config/policy.hpp"
#include "gateway/http_client.hpp"

namespace weir::gateway {

/// The body of a 200 answer, or what went wrong: for a problem document its detail.
[[nodiscard]] std::variant<std::string, HttpFailure> body_of(
    const std::filesystem::path& socket, std::string_view target,
    std::chrono::milliseconds patience = std::chrono::seconds(5));

/// The JSON document of such an answer.
[[nodiscard]] std::variant<boost::json::value, HttpFailure> document_of(
    std::variant<std::string, HttpFailure> answer);

/// The same of a change that is asked for with this JSON body. It may take as long as queues take to run
/// empty.
[[nodiscard]] std::variant<std::string, HttpFailure> answer_to_change(const std::filesystem::path& socket,
                                                                      std::string_view target,
                                                                      const std::string& body);

/// Says it on standard error; returns the exit code.
[[nodiscard]] int complain(const HttpFailure& failure);

/// Whatever stands in the text, as a part of a target.
[[nodiscard]] std::string encoded(std::string_view text);
/// "/v1/sites/NAME" + `below`, whatever stands in the name.
[[nodiscard]] std::string site_target(std::string_view site, std::string_view below = {});

/// Prints what is wrong with a policy file; empty when something is.
[[nodiscard]] std::optional<Policy> load_or_complain(const std::filesystem::path& file);

/// Where the sites' rates stand at a first start.
[[nodiscard]] std::vector<Rate> start_rates(const Policy& policy);

[[nodiscard]] bool on_a_terminal();
/// Standard output is a terminal, and nobody asked for none (NO_COLOR, no-color.org).
[[nodiscard]] bool wants_colour();

}  // namespace weir::gateway
