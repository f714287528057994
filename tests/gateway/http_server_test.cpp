#include "gateway/http_server.hpp"

#include <array>
#include <atomic>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include "gateway/file_descriptor.hpp"
#include "gateway/http_client.hpp"

#include "scratch_folder.hpp"

namespace weir::gateway::test {
namespace {

using namespace std::chrono_literals;

/// A client that says exactly what a test wants, over either kind of socket. Reads give up after five
/// seconds.
class RawClient {
 public:
  static RawClient unix_socket(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.native().size());
    return RawClient(AF_UNIX, &address, sizeof address);
  }
  static RawClient tcp(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return RawClient(AF_INET, &address, sizeof address);
  }
  void send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  /// Everything until the server closes; nullopt: it did not within five seconds.
  std::optional<std::string> until_closed() {
    std::string all = std::exchange(unread_, {});
    for (;;) {
      const auto more = receive();
      if (!more) return std::nullopt;
      if (more->empty()) return all;
      all += *more;
    }
  }
  /// One response with a Content-Length; empty: closed or too late.
  std::string response(bool head_only = false) {
    for (;;) {
      const std::size_t head = unread_.find("\r\n\r\n");
      if (head != std::string::npos) {
        const std::size_t field = unread_.find("Content-Length: ");
        const std::size_t length = head_only ? 0 : std::stoul(unread_.substr(field + 16));
        if (unread_.size() >= head + 4 + length) {
          std::string one = unread_.substr(0, head + 4 + length);
          unread_.erase(0, head + 4 + length);
          return one;
        }
      }
      const auto more = receive();
      if (!more || more->empty()) return {};
      unread_ += *more;
    }
  }
  void shrink_receive_buffer() const {
    const int least = 1;
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
  }

 private:
  RawClient(int family, const void* address, socklen_t length) : socket_(::socket(family, SOCK_STREAM, 0)) {
    const timeval patience{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (::connect(socket_.get(), static_cast<const sockaddr*>(address), length) != 0) {
      throw std::system_error(errno, std::generic_category(), "connect");
    }
  }
  /// Bytes; empty: closed; nullopt: nothing came.
  std::optional<std::string> receive() const {
    std::array<char, 65536> buffer{};
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
    return std::string(buffer.data(), got < 0 ? 0 : static_cast<std::size_t>(got));
  }

  FileDescriptor socket_;
  std::string unread_;
};

struct HttpServerTest : testing::Test {
  ScratchFolder folder;
  std::filesystem::path socket = folder.path() / "weir.sock";
  boost::asio::io_context loop;
  std::atomic<int> asked = 0;
  std::optional<HttpServer> server;
  std::uint16_t port = 0;
  std::thread thread;

  void start(const HttpLimits& limits = {}) {
    server.emplace(
        loop,
        [this](const ApiRequest& request) {
          ++asked;
          if (request.target == "/big") return ApiResponse{.body = std::string(64U << 20U, 'x'), .allow = {}};
          if (request.target == "/parts") {
            const auto part =
                std::make_shared<const PackedText>(std::string(8U << 20U, 'p'), PackedText::How::deflated);
            return ApiResponse{
                .body = "first,",
                .more = {part, part, std::make_shared<const PackedText>(",last", PackedText::How::deflated)},
                .allow = {}};
          }
          if (request.target == "/throws") throw std::runtime_error("out of luck");
          return ApiResponse{.body = std::string(request.method) + " " + std::string(request.target),
                             .allow = {}};
        },
        limits);
    server->listen_unix(socket);
    port = server->listen_tcp({.address = *IpAddress::parse("127.0.0.1"), .port = 0});
    thread = std::thread([this] {
      const auto stay = boost::asio::make_work_guard(loop);
      loop.run();
    });
  }
  void TearDown() override {
    if (!thread.joinable()) return;
    boost::asio::post(loop, [this] {
      server->close();
      loop.stop();
    });
    thread.join();
  }
  template <class F>
  auto on_loop(F&& f) {
    std::promise<decltype(f())> result;
    boost::asio::post(loop, [&] { result.set_value(f()); });
    return result.get_future().get();
  }
  void wait_for_connections(std::size_t wanted) {
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (on_loop([&] { return server->connections(); }) != wanted &&
           std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
    EXPECT_EQ(on_loop([&] { return server->connections(); }), wanted);
  }
};

constexpr const char* kGet = "GET /a HTTP/1.1\r\nHost: weir\r\n\r\n";

TEST_F(HttpServerTest, AnswersOnBothSockets) {
  start();
  std::vector<RawClient> clients;
  clients.push_back(RawClient::unix_socket(socket));
  clients.push_back(RawClient::tcp(port));
  for (RawClient& client : clients) {
    client.send(kGet);
    const std::string response = client.response();
    EXPECT_TRUE(response.starts_with("HTTP/1.1 200 OK\r\n")) << response;
    EXPECT_TRUE(response.ends_with("GET /a")) << response;
    EXPECT_NE(response.find("Content-Type: application/json\r\n"), std::string::npos);
    EXPECT_NE(response.find("Cache-Control: no-store\r\n"), std::string::npos);
  }
}

TEST_F(HttpServerTest, TheConnectionIsKeptAndPipeliningKeepsOrder) {
  start();
  RawClient client = RawClient::tcp(port);
  std::string many;
  for (int i = 0; i < 200; ++i) many += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: weir\r\n\r\n";
  client.send(many);
  for (int i = 0; i < 200; ++i) {
    EXPECT_TRUE(client.response().ends_with("GET /" + std::to_string(i))) << i;
  }
}

TEST_F(HttpServerTest, HeadHasTheLengthButNoBody) {
  start();
  RawClient client = RawClient::tcp(port);
  client.send("HEAD /a HTTP/1.1\r\nHost: weir\r\n\r\n");
  const std::string response = client.response(true);
  EXPECT_NE(response.find("Content-Length: 7\r\n"), std::string::npos) << response;
  EXPECT_TRUE(response.ends_with("\r\n\r\n"));
  client.send(kGet);
  EXPECT_TRUE(client.response().ends_with("GET /a")) << "the connection goes on in step";
}

TEST_F(HttpServerTest, AnAnswerInPartsArrivesWholeAndTheConnectionIsKept) {
  start();
  RawClient client = RawClient::unix_socket(socket);
  client.send("HEAD /parts HTTP/1.1\r\nHost: weir\r\n\r\n");
  client.send(
      "GET /parts HTTP/1.1\r\nHost: weir\r\n\r\nGET /a HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n");
  const auto all = client.until_closed();
  ASSERT_TRUE(all);
  const std::size_t size = (16U << 20U) + 11;
  const std::string length = "Content-Length: " + std::to_string(size) + "\r\n";
  const std::size_t head = all->find(length);
  ASSERT_NE(head, std::string::npos);
  ASSERT_NE(all->find(length, head + 1), std::string::npos);
  const std::size_t begin = all->find("first,");
  ASSERT_NE(begin, std::string::npos);
  EXPECT_EQ(all->substr(begin + 6, 16U << 20U), std::string(16U << 20U, 'p'));
  EXPECT_EQ(all->substr(begin + size - 5, 14), ",lastHTTP/1.1 ");
  EXPECT_TRUE(all->ends_with("GET /a"));
}

TEST_F(HttpServerTest, CloseAndOldVersionsEndTheConnection) {
  start();
  RawClient closing = RawClient::tcp(port);
  closing.send("GET /a HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(closing.until_closed().value_or("").ends_with("GET /a"));
  RawClient old = RawClient::tcp(port);
  old.send("GET /a HTTP/1.0\r\n\r\n");
  const std::string response = old.until_closed().value_or("");
  EXPECT_TRUE(response.starts_with("HTTP/1.0 200")) << response;
}

struct BadRequest {
  const char* name;
  std::string bytes;
  const char* status;
};

TEST_F(HttpServerTest, BadRequestsGetTheirProblemAndAreClosed) {
  start();
  const std::string host = "Host: weir\r\n";
  const BadRequest cases[] = {
      {"not http", "what is this\r\n\r\n", "400"},
      {"tls hello", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 15), "400"},
      {"http 2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
      {"bad field", "GET /a HTTP/1.1\r\n" + host + "no colon here\r\n\r\n", "400"},
      {"space before colon", "GET /a HTTP/1.1\r\nHost : weir\r\n\r\n", "400"},
      {"no host", "GET /a HTTP/1.1\r\n\r\n", "400"},
      {"two hosts", "GET /a HTTP/1.1\r\n" + host + host + "\r\n", "400"},
      {"two lengths", "GET /a HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
       "400"},
      {"length and chunked",
       "GET /a HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
      {"bad length", "GET /a HTTP/1.1\r\n" + host + "Content-Length: many\r\n\r\n", "400"},
      {"bad chunk", "GET /a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nZZ\r\n", "400"},
      {"put", "PUT /a HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc", "405"},
      {"put with a huge body", "PUT /a HTTP/1.1\r\n" + host + "Content-Length: 999999999\r\n\r\n", "405"},
      {"post with a huge body", "POST /a HTTP/1.1\r\n" + host + "Content-Length: 999999999\r\n\r\n", "413"},
      {"get with a big body", "GET /a HTTP/1.1\r\n" + host + "Content-Length: 999999\r\n\r\n", "413"},
      {"chunks without end",
       "GET /a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n800\r\n" + std::string(0x800, 'x') +
           "\r\n",
       "413"},
      {"endless target", "GET /" + std::string(20'000, 'a'), "414"},
      {"endless field", "GET /a HTTP/1.1\r\n" + host + "X: " + std::string(20'000, 'a'), "431"},
      {"many fields",
       "GET /a HTTP/1.1\r\n" + host +
           [] {
             std::string fields;
             for (int i = 0; i < 2000; ++i) fields += "X-" + std::to_string(i) + ": y\r\n";
             return fields;
           }(),
       "431"},
  };
  for (const BadRequest& bad : cases) {
    RawClient client = RawClient::tcp(port);
    client.send(bad.bytes);
    const auto response = client.until_closed();
    ASSERT_TRUE(response) << bad.name << ": the connection was not closed";
    EXPECT_TRUE(response->starts_with(std::string("HTTP/1.1 ") + bad.status))
        << bad.name << ": " << *response;
    EXPECT_NE(response->find("application/problem+json"), std::string::npos) << bad.name;
    if (std::string_view(bad.status) == "405") {
      EXPECT_NE(response->find("Allow: GET, HEAD, POST\r\n"), std::string::npos) << bad.name;
    }
  }
  EXPECT_EQ(asked, 0) << "nothing of that may reach the API";
  wait_for_connections(0);
}

TEST_F(HttpServerTest, ASmallBodyIsReadAndIgnored) {
  start();
  RawClient client = RawClient::tcp(port);
  client.send("GET /a HTTP/1.1\r\nHost: weir\r\nContent-Length: 5\r\n\r\nhello" + std::string(kGet));
  EXPECT_TRUE(client.response().ends_with("GET /a"));
  EXPECT_TRUE(client.response().ends_with("GET /a")) << "what follows the body is the next request";
}

TEST_F(HttpServerTest, AnAnswerThatThrowsIsAServerErrorAndNothingMore) {
  start();
  RawClient client = RawClient::tcp(port);
  client.send("GET /throws HTTP/1.1\r\nHost: weir\r\n\r\n");
  EXPECT_TRUE(client.response().starts_with("HTTP/1.1 500"));
  client.send(kGet);
  EXPECT_TRUE(client.response().ends_with("GET /a"));
}

TEST_F(HttpServerTest, ADripOfBytesDoesNotHoldAConnectionOpen) {
  start({.header_time = 300ms});
  RawClient client = RawClient::tcp(port);
  const auto began = std::chrono::steady_clock::now();
  std::atomic<bool> over = false;
  std::thread drip([&] {
    client.send("GET /a HTTP/1.1\r\n");
    while (!over) {
      client.send("X: y\r\n");
      std::this_thread::sleep_for(20ms);  // the drip itself is the load under test
    }
  });
  const auto response = client.until_closed();
  over = true;
  drip.join();
  ASSERT_TRUE(response);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 3s);
  EXPECT_EQ(asked, 0);
}

TEST_F(HttpServerTest, AnIdleConnectionIsClosed) {
  start({.idle_time = 200ms});
  RawClient silent = RawClient::tcp(port);
  EXPECT_EQ(silent.until_closed(), "");
  RawClient once = RawClient::unix_socket(socket);
  once.send(kGet);
  EXPECT_TRUE(once.until_closed().value_or("").ends_with("GET /a"));
  wait_for_connections(0);
}

TEST_F(HttpServerTest, AClientThatDoesNotReadIsCut) {
  start({.write_time = 300ms});
  RawClient client = RawClient::tcp(port);
  client.shrink_receive_buffer();
  client.send("GET /big HTTP/1.1\r\nHost: weir\r\n\r\n");
  wait_for_connections(1);
  wait_for_connections(0);
}

TEST_F(HttpServerTest, AtTheLimitTheQuietestGivesWay) {
  start({.connections = 3});
  RawClient oldest = RawClient::tcp(port);
  wait_for_connections(1);
  RawClient second = RawClient::tcp(port);
  wait_for_connections(2);
  RawClient third = RawClient::tcp(port);
  wait_for_connections(3);
  oldest.send(kGet);  // no longer the longest unchanged
  EXPECT_FALSE(oldest.response().empty());
  RawClient fresh = RawClient::tcp(port);
  fresh.send(kGet);
  EXPECT_FALSE(fresh.response().empty());
  EXPECT_EQ(second.until_closed(), "") << "the quietest one was closed";
  oldest.send(kGet);
  EXPECT_FALSE(oldest.response().empty()) << "the others live on";
  wait_for_connections(3);
}

TEST_F(HttpServerTest, WithNobodyQuietNewcomersWait) {
  start({.connections = 2});
  RawClient first = RawClient::tcp(port);
  RawClient second = RawClient::tcp(port);
  for (RawClient* busy : {&first, &second}) {
    busy->shrink_receive_buffer();
    busy->send("GET /big HTTP/1.1\r\nHost: weir\r\n\r\n");
  }
  while (asked < 2) std::this_thread::yield();
  RawClient third = RawClient::tcp(port);
  third.send(kGet);
  EXPECT_EQ(on_loop([&] { return server->connections(); }), 2U);
  { const RawClient leaves = std::move(first); }
  EXPECT_TRUE(third.response().ends_with("GET /a")) << "let in once somebody left";
}

TEST_F(HttpServerTest, AnswersAreMadeOnePerTurnOfTheLoop) {
  start();
  std::vector<RawClient> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(RawClient::tcp(port));
  wait_for_connections(20);
  // While the loop is held all requests arrive; then something like a control tick is queued behind them.
  std::promise<void> held;
  boost::asio::post(loop, [&] { held.get_future().wait(); });
  for (const RawClient& client : clients) client.send(kGet);
  std::promise<int> answered_before;
  std::promise<void> posted;
  boost::asio::post(loop, [&] {
    // First turn after the hold: the requests become readable now, and this one queues behind their reading.
    boost::asio::post(loop, [&] { answered_before.set_value(asked); });
  });
  held.set_value();
  EXPECT_LE(answered_before.get_future().get(), 1) << "twenty answers stood in the way of one tick";
  for (RawClient& client : clients) EXPECT_FALSE(client.response().empty());
}

TEST_F(HttpServerTest, TheSocketFileIsTakenFromTheDeadNotFromTheLiving) {
  {
    const FileDescriptor dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket.c_str(), socket.native().size());
    const void* raw = &address;
    ASSERT_EQ(::bind(dead.get(), static_cast<const sockaddr*>(raw), sizeof address), 0);
  }
  start();
  EXPECT_EQ(std::filesystem::status(socket).permissions(), std::filesystem::perms(0660));
  boost::asio::io_context other;
  HttpServer rival(other, [](const ApiRequest&) { return ApiResponse{.body = {}, .allow = {}}; });
  EXPECT_THROW(rival.listen_unix(socket), std::system_error);
  RawClient client = RawClient::unix_socket(socket);
  client.send(kGet);
  EXPECT_FALSE(client.response().empty());
  on_loop([&] {
    server->close();
    return 0;
  });
  EXPECT_FALSE(std::filesystem::exists(socket));
}

TEST_F(HttpServerTest, ListeningFailuresNameTheAttempt) {
  start();
  boost::asio::io_context other;
  HttpServer rival(other, [](const ApiRequest&) { return ApiResponse{.body = {}, .allow = {}}; });
  try {
    rival.listen_unix(folder.path() / "missing" / "weir.sock");
    FAIL() << "bound a socket in a folder that is not there";
  } catch (const std::system_error& failure) {
    EXPECT_NE(std::string(failure.what()).find("missing/weir.sock"), std::string::npos);
  }
  EXPECT_THROW(rival.listen_unix(folder.path() / std::string(200, 'x')), std::system_error);
  try {
    rival.listen_tcp({.address = *IpAddress::parse("192.0.2.1"), .port = 80});
    FAIL() << "bound an address that is not ours";
  } catch (const std::system_error& failure) {
    EXPECT_NE(std::string(failure.what()).find("192.0.2.1 port 80"), std::string::npos);
  }
}

TEST_F(HttpServerTest, TheCommandLinesClientReadsIt) {
  start();
  const auto good = http_get(socket, "/v1/status");
  ASSERT_TRUE(std::holds_alternative<HttpAnswer>(good)) << std::get<HttpFailure>(good).text;
  EXPECT_EQ(std::get<HttpAnswer>(good).body, "GET /v1/status");
  const auto absent = http_get(folder.path() / "nobody.sock", "/v1/status");
  ASSERT_TRUE(std::holds_alternative<HttpFailure>(absent));
  EXPECT_TRUE(std::get<HttpFailure>(absent).not_running);
  // A socket whose owner never accepts.
  const std::filesystem::path mute = folder.path() / "mute.sock";
  const FileDescriptor listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, mute.c_str(), mute.native().size());
  const void* raw = &address;
  ASSERT_EQ(::bind(listener.get(), static_cast<const sockaddr*>(raw), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  const auto silent = http_get(mute, "/v1/status", 100ms);
  ASSERT_TRUE(std::holds_alternative<HttpFailure>(silent));
  EXPECT_FALSE(std::get<HttpFailure>(silent).not_running);
}

}  // namespace
}  // namespace weir::gateway::test
