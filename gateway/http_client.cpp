#include "gateway/http_client.hpp"

#include <memory>

#include <fmt/format.h>
#include <sys/un.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

namespace weir::gateway {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Unix = asio::local::stream_protocol;

constexpr std::uint64_t kMostBody = 4ULL << 30U;  // the longest recording has about a fifth

/// Connect, write, read: one chain under one deadline, its first error kept.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(asio::io_context& loop, std::string_view target, const std::optional<std::string>& body,
           std::chrono::milliseconds patience)
      : stream_(loop),
        request_(body ? http::verb::post : http::verb::get, beast::string_view(target.data(), target.size()),
                 11) {
    if (body) {
      request_.set(http::field::content_type, "application/json");
      request_.body() = *body;
      request_.prepare_payload();
    }
    request_.set(http::field::host, "weir");
    request_.keep_alive(false);
    parser_.body_limit(kMostBody);
    stream_.expires_after(patience);
  }

  void begin(const Unix::endpoint& endpoint) {
    stream_.async_connect(endpoint, [self = shared_from_this()](beast::error_code refused) {
      if (refused) return self->fail("connect to", refused);
      http::async_write(self->stream_, self->request_, [self](beast::error_code failed, std::size_t) {
        if (failed) return self->fail("write to", failed);
        http::async_read(self->stream_, self->buffer_, self->parser_,
                         [self](beast::error_code broken, std::size_t) {
                           if (broken) self->fail("read from", broken);
                         });
      });
    });
  }

  beast::error_code error;
  std::string_view attempt;
  HttpAnswer answer() {
    auto response = parser_.release();
    return {.status = response.result_int(), .body = std::move(response.body())};
  }

 private:
  void fail(std::string_view what, beast::error_code why) {
    attempt = what;
    error = why;
  }

  beast::basic_stream<Unix> stream_;
  http::request<http::string_body> request_;
  http::response_parser<http::string_body> parser_;
  beast::flat_buffer buffer_;
};

}  // namespace

std::variant<HttpAnswer, HttpFailure> http_get(const std::filesystem::path& socket, std::string_view target,
                                               std::chrono::milliseconds patience) {
  return http_request(socket, target, std::nullopt, patience);
}

std::variant<HttpAnswer, HttpFailure> http_request(const std::filesystem::path& socket,
                                                   std::string_view target,
                                                   const std::optional<std::string>& body,
                                                   std::chrono::milliseconds patience) {
  if (socket.native().size() >= sizeof(sockaddr_un{}.sun_path)) {
    return HttpFailure{.text = socket.string() + " is too long a name for a socket"};
  }
  asio::io_context loop;
  const auto exchange = std::make_shared<Exchange>(loop, target, body, patience);
  exchange->begin(Unix::endpoint(socket.string()));
  loop.run();
  if (!exchange->error) return exchange->answer();
  const bool absent = exchange->error == asio::error::connection_refused ||
                      exchange->error == boost::system::errc::no_such_file_or_directory;
  if (absent) {
    return HttpFailure{
        .not_running = true,
        .refused = false,
        .text = fmt::format("the daemon is not running: nobody listens on {}", socket.string())};
  }
  return HttpFailure{
      .text = fmt::format("cannot {} {}: {}", exchange->attempt, socket.string(), exchange->error.message())};
}

}  // namespace weir::gateway
