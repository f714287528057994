/// HTTP/1.1 on a Unix socket and a loopback TCP port, for clients that may be slow, endless or hostile.
///
/// Everything runs on the given io_context's one thread. Answers are made one per turn of the loop, whatever
/// the number of clients that wait: a control tick never waits behind more than one of them. Connections are
/// few and bounded: at the limit the one that has been quiet for longest gives way, and if none is quiet
/// nobody new is let in.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include <boost/asio/io_context.hpp>

#include "config/policy.hpp"
#include "gateway/api.hpp"

namespace weir::gateway {

struct HttpLimits {
  std::uint32_t header_bytes = 8192;
  std::uint64_t body_bytes = 1024;  ///< of a change; that of a question is read and ignored
  std::size_t connections = 256;
  std::chrono::milliseconds header_time{10'000};  ///< from the first byte of a request to its last
  std::chrono::milliseconds idle_time{30'000};    ///< between requests
  std::chrono::milliseconds write_time{10'000};   ///< for the client to take the whole answer
};

using HttpHandler = std::function<ApiResponse(const ApiRequest&)>;

class HttpServer {
 public:
  HttpServer(boost::asio::io_context& loop, HttpHandler handler, HttpLimits limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Takes the place of a dead daemon's socket file, never of a living one's. Mode 0660. Throws
  /// std::system_error.
  void listen_unix(const std::filesystem::path& path);
  /// Returns the port (useful when `endpoint.port` is 0). Throws std::system_error naming the attempt.
  std::uint16_t listen_tcp(const TcpEndpoint& endpoint);
  /// Closes all, removes the socket file.
  void close();
  [[nodiscard]] std::size_t connections() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir::gateway
