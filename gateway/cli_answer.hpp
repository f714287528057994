/// What the daemon answers to a subcommand that asks it. Internal to the command line.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>

#include "gateway/http_client.hpp"

namespace weir::gateway {

/// The body of a 200 answer, or what went wrong: for a problem document its detail.
[[nodiscard]] std::variant<std::string, HttpFailure> body_of(
    const std::filesystem::path& socket, std::string_view target,
    std::chrono::milliseconds patience = std::chrono::seconds(5));

/// Says it on standard error; returns the exit code.
[[nodiscard]] int complain(const HttpFailure& failure);

/// "/v1/sites/NAME" + `below`, whatever stands in the name.
[[nodiscard]] std::string site_target(std::string_view site, std::string_view below = {});

}  // namespace weir::gateway
