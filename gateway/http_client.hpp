/// One request over the daemon's Unix socket, for the command line. Blocking, with a deadline.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace weir::gateway {

struct HttpAnswer {
  unsigned status = 0;
  std::string body;
};

/// Why there is no answer; `not_running`: nobody listens on the socket.
struct HttpFailure {
  bool not_running = false;
  bool refused = false;  ///< the answer was that the question makes no sense
  std::string text;
};

/// With a body it is a POST, without a GET.
[[nodiscard]] std::variant<HttpAnswer, HttpFailure> http_request(
    const std::filesystem::path& socket, std::string_view target, const std::optional<std::string>& body,
    std::chrono::milliseconds patience = std::chrono::seconds(5));
[[nodiscard]] std::variant<HttpAnswer, HttpFailure> http_get(
    const std::filesystem::path& socket, std::string_view target,
    std::chrono::milliseconds patience = std::chrono::seconds(5));

}  // namespace weir::gateway
