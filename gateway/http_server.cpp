#include "gateway/http_server.hpp"

#include <algorithm>
#include <deque>
#include <list>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "gateway/http_session.hpp"

namespace weir::gateway {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Unix = asio::local::stream_protocol;
using Tcp = asio::ip::tcp;

constexpr auto kAcceptPause = std::chrono::milliseconds(100);

[[noreturn]] void fail(const std::string& attempt, const error_code& error) {
  throw std::system_error(error.value(), std::generic_category(), attempt);
}

bool somebody_listens(asio::io_context& loop, const Unix::endpoint& endpoint) {
  Unix::socket probe(loop);
  error_code refused;
  probe.connect(endpoint, refused);
  return !refused;
}

}  // namespace

struct HttpServer::Impl : std::enable_shared_from_this<Impl> {
  using Session = std::shared_ptr<HttpSession>;
  using Socket = HttpSession::Socket;
  struct Newcomer {
    Socket socket;
    std::optional<Peer> peer;
    std::function<void()> accept_on;
  };

  Impl(asio::io_context& the_loop, HttpHandler the_handler, HttpLimits the_limits)
      : loop(the_loop), handler(std::move(the_handler)), limits(the_limits) {}

  template <class Protocol>
  void accept_on(const std::shared_ptr<typename Protocol::acceptor>& acceptor) {
    acceptor->async_accept(
        [self = shared_from_this(), acceptor](error_code error, typename Protocol::socket socket) {
          if (error == asio::error::operation_aborted || self->closed) return;
          // Out of descriptors or memory: the connection still waits in the backlog, so do not spin on it.
          if (error) return self->pause_then([self, acceptor] { self->accept_on<Protocol>(acceptor); });
          if constexpr (std::is_same_v<Protocol, Tcp>) {
            error_code ignored;
            socket.set_option(Tcp::no_delay(true), ignored);
          }
          std::optional<Peer> peer;
          if constexpr (std::is_same_v<Protocol, Unix>) peer = peer_of(socket.native_handle());
          self->admit({Socket(std::move(socket)), std::move(peer),
                       [self, acceptor] { self->accept_on<Protocol>(acceptor); }});
        });
  }

  void pause_then(std::function<void()> next) {
    auto timer = std::make_shared<asio::steady_timer>(loop, kAcceptPause);
    timer->async_wait([self = shared_from_this(), timer, next = std::move(next)](error_code) {
      if (!self->closed) next();
    });
  }

  /// Begins a session for `socket`, then accepts on. With no room the socket is parked and nothing more is
  /// accepted there until somebody leaves: the kernel's backlog holds the others back.
  void admit(Newcomer one) {
    if (sessions.size() >= limits.connections && !make_room()) {
      parked.push_back(std::move(one));
      return;
    }
    begin(std::move(one.socket), std::move(one.peer));
    one.accept_on();
  }

  void begin(Socket socket, std::optional<Peer> peer) {
    const std::weak_ptr<Impl> weak = weak_from_this();
    auto session = std::make_shared<HttpSession>(std::move(socket), limits, std::move(peer),
                                                 HttpSession::Owner{
                                                     .answer_me =
                                                         [weak](const Session& s) {
                                                           if (const auto self = weak.lock())
                                                             self->queue_answer(s);
                                                         },
                                                     .ended =
                                                         [weak](const Session& s) {
                                                           if (const auto self = weak.lock()) self->forget(s);
                                                         },
                                                     .next_turn = [turn = turns] { return ++*turn; },
                                                 });
    sessions.push_back(session);
    session->start();
  }

  bool make_room() {
    const auto quietest =
        std::ranges::min_element(sessions, {}, [](const Session& session) { return session->quietness(); });
    if (quietest == sessions.end() || !(*quietest)->is_quiet()) return false;
    const Session chosen = *quietest;
    chosen->cut();
    return true;
  }

  void forget(const Session& session) {
    sessions.remove(session);
    if (closed || parked.empty() || sessions.size() >= limits.connections) return;
    auto next = std::move(parked.front());
    parked.pop_front();
    asio::post(loop, [self = shared_from_this(), next = std::move(next)]() mutable {
      if (!self->closed) self->admit(std::move(next));
    });
  }

  void queue_answer(const Session& session) {
    waiting.push_back(session);
    if (waiting.size() == 1) schedule_answer();
  }

  void schedule_answer() {
    asio::post(loop, [self = shared_from_this()] { self->answer_one(); });
  }

  /// One answer per turn of the loop; whatever became ready meanwhile, a control tick above all, comes in
  /// between.
  void answer_one() {
    if (waiting.empty()) return;
    const Session session = std::move(waiting.front());
    waiting.pop_front();
    if (!waiting.empty()) schedule_answer();
    session->answer(handler);
  }

  asio::io_context& loop;
  HttpHandler handler;
  HttpLimits limits;
  std::shared_ptr<std::uint64_t> turns = std::make_shared<std::uint64_t>(0);
  std::vector<std::shared_ptr<Unix::acceptor>> unix_acceptors;
  std::vector<std::shared_ptr<Tcp::acceptor>> tcp_acceptors;
  std::list<Session> sessions;
  std::deque<Newcomer> parked;
  std::deque<Session> waiting;
  std::filesystem::path socket_file;
  bool closed = false;
};

HttpServer::HttpServer(asio::io_context& loop, HttpHandler handler, HttpLimits limits)
    : impl_(std::make_shared<Impl>(loop, std::move(handler), limits)) {}

HttpServer::~HttpServer() {
  close();
}

void HttpServer::listen_unix(const std::filesystem::path& path) {
  const std::string attempt = "listen on " + path.string();
  if (path.native().size() >= sizeof(sockaddr_un{}.sun_path)) {
    fail(attempt, make_error_code(boost::system::errc::filename_too_long));
  }
  const Unix::endpoint endpoint(path.string());
  if (somebody_listens(impl_->loop, endpoint)) fail(attempt, asio::error::address_in_use);
  std::error_code ignored;
  if (std::filesystem::is_socket(path, ignored)) std::filesystem::remove(path, ignored);
  auto acceptor = std::make_shared<Unix::acceptor>(impl_->loop);
  error_code error;
  acceptor->open(endpoint.protocol(), error);
  if (!error) acceptor->bind(endpoint, error);
  if (error) fail(attempt, error);
  impl_->socket_file = path;
  // Before listen(), so that nobody can connect while the mode is still what the umask made it.
  if (::chmod(path.c_str(), 0660) != 0) fail("set the mode of " + path.string(), {errno, error.category()});
  acceptor->listen(asio::socket_base::max_listen_connections, error);
  if (error) fail(attempt, error);
  impl_->unix_acceptors.push_back(acceptor);
  impl_->accept_on<Unix>(acceptor);
}

std::uint16_t HttpServer::listen_tcp(const TcpEndpoint& endpoint) {
  error_code error;
  const Tcp::endpoint where(asio::ip::make_address(endpoint.address.to_string()), endpoint.port);
  auto acceptor = std::make_shared<Tcp::acceptor>(impl_->loop);
  acceptor->open(where.protocol(), error);
  if (!error) acceptor->set_option(Tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor->bind(where, error);
  if (!error) acceptor->listen(asio::socket_base::max_listen_connections, error);
  if (error) fail(fmt::format("listen on {} port {}", endpoint.address.to_string(), endpoint.port), error);
  impl_->tcp_acceptors.push_back(acceptor);
  impl_->accept_on<Tcp>(acceptor);
  return acceptor->local_endpoint().port();
}

void HttpServer::close() {
  if (impl_->closed) return;
  impl_->closed = true;
  error_code ignored;
  for (const auto& acceptor : impl_->unix_acceptors) acceptor->close(ignored);
  for (const auto& acceptor : impl_->tcp_acceptors) acceptor->close(ignored);
  impl_->parked.clear();
  impl_->waiting.clear();
  for (const auto sessions = impl_->sessions; const auto& session : sessions) session->cut();
  if (std::error_code no_file; !impl_->socket_file.empty())
    std::filesystem::remove(impl_->socket_file, no_file);
}

std::size_t HttpServer::connections() const {
  return impl_->sessions.size();
}

}  // namespace weir::gateway
