/// One HTTP connection: reads a request at a time, hands it over, writes the answer, and ends when it should.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "gateway/http_server.hpp"
#include "gateway/shared_body.hpp"

namespace weir::gateway {

class HttpSession : public std::enable_shared_from_this<HttpSession> {
  /// In the order of quietness.
  enum class Phase : std::uint8_t { idle, reading, waiting, writing, lingering, ended };

 public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  struct Owner {
    std::function<void(const std::shared_ptr<HttpSession>&)>
        answer_me;                                                   ///< a request waits: call answer() later
    std::function<void(const std::shared_ptr<HttpSession>&)> ended;  ///< called once
    std::function<std::uint64_t()> next_turn;                        ///< ever-growing, orders activity
  };

  /// `peer`: who is at the other end, where that is known.
  HttpSession(Socket socket, const HttpLimits& limits, std::optional<Peer> peer, Owner owner);

  void start();
  /// Answers the request that waits.
  void answer(const HttpHandler& handler);
  /// Cuts the connection at once.
  void cut();
  /// Quiet: waits for the client, so that cutting it loses no answer.
  [[nodiscard]] bool is_quiet() const { return phase_ <= Phase::reading; }
  /// Orders sessions by how little is lost with them: idle before reading before the rest, the longest first.
  [[nodiscard]] auto quietness() const { return std::pair(phase_, turn_); }

 private:
  using ErrorCode = boost::beast::error_code;

  void enter(Phase phase);
  void await_request();
  void read_head();
  void on_head(ErrorCode error);
  void on_unreadable(ErrorCode error);
  void read_body();
  void refuse(unsigned status, std::string_view detail);
  void write(ApiResponse answer, bool keep_alive);
  void linger();
  void discard();
  void end();
  /// A handler whose operation was done before the connection was cut still runs: it has nothing to do any
  /// more.
  [[nodiscard]] bool has_ended() const { return phase_ == Phase::ended; }

  HttpLimits limits_;
  std::optional<Peer> peer_;
  Owner owner_;
  boost::beast::basic_stream<boost::asio::generic::stream_protocol> stream_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  boost::beast::http::response<SharedBody> response_;
  std::size_t discarded_ = 0;
  std::uint64_t turn_ = 0;
  Phase phase_ = Phase::idle;
};

}  // namespace weir::gateway
