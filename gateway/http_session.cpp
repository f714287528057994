#include "gateway/http_session.hpp"

#include <string_view>
#include <utility>

#include <boost/asio/buffer.hpp>

namespace weir::gateway {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;

constexpr std::size_t kReadChunk = 4096;
constexpr std::chrono::milliseconds kLingerTime{1000};
constexpr std::size_t kLingerBytes = std::size_t{64} * 1024;

bool has_whole_request_line(const beast::flat_buffer& buffer) {
  const auto data = buffer.data();
  return std::string_view(static_cast<const char*>(data.data()), data.size()).find('\n') !=
         std::string_view::npos;
}

constexpr const char* kMethods = "known methods: GET, HEAD, and POST where something is changed";

bool is_known(http::verb method) {
  return method == http::verb::get || method == http::verb::head || method == http::verb::post;
}

}  // namespace

HttpSession::HttpSession(Socket socket, const HttpLimits& limits, std::optional<Peer> peer, Owner owner)
    : limits_(limits),
      peer_(std::move(peer)),
      owner_(std::move(owner)),
      stream_(std::move(socket)),
      buffer_(limits.header_bytes + static_cast<std::size_t>(limits.body_bytes) + kReadChunk) {}

void HttpSession::start() {
  await_request();
}

void HttpSession::enter(Phase phase) {
  phase_ = phase;
  turn_ = owner_.next_turn();
}

void HttpSession::await_request() {
  if (buffer_.size() > 0) return read_head();  // pipelined behind the request before
  enter(Phase::idle);
  stream_.expires_after(limits_.idle_time);
  stream_.async_read_some(buffer_.prepare(kReadChunk),
                          [self = shared_from_this()](ErrorCode error, std::size_t bytes) {
                            if (self->has_ended()) return;
                            if (error) return self->end();
                            self->buffer_.commit(bytes);
                            self->read_head();
                          });
}

void HttpSession::read_head() {
  enter(Phase::reading);
  parser_.emplace();
  parser_->header_limit(limits_.header_bytes);
  parser_->body_limit(limits_.body_bytes);
  // One deadline for the whole request: a client that sends a byte now and then gains nothing by it.
  stream_.expires_after(limits_.header_time);
  http::async_read_header(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](ErrorCode error, std::size_t) { self->on_head(error); });
}

void HttpSession::on_head(ErrorCode error) {
  if (has_ended()) return;
  if (error) return on_unreadable(error);
  const auto& request = parser_->get();
  // What follows the head of a method that is not served need not be read: refused, then closed.
  if (!is_known(request.method())) return refuse(405, kMethods);
  if (request.version() == 11 && request.count(http::field::host) != 1) {
    return refuse(400, "an HTTP/1.1 request needs exactly one Host field");  // RFC 9112, 3.2
  }
  if (parser_->is_done()) return owner_.answer_me((enter(Phase::waiting), shared_from_this()));
  read_body();
}

void HttpSession::read_body() {
  http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](ErrorCode error, std::size_t) {
    if (self->has_ended()) return;
    if (error) return self->on_unreadable(error);
    self->enter(Phase::waiting);
    self->owner_.answer_me(self);
  });
}

void HttpSession::on_unreadable(ErrorCode error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    if (!has_whole_request_line(buffer_) && parser_->get().target().empty()) {
      return refuse(414, "the request line is too long");
    }
    return refuse(431, "the header fields are too long");
  }
  if (error == http::error::body_limit) {
    if (!is_known(parser_->get().method())) return refuse(405, kMethods);
    return refuse(413, "the request body is too long");
  }
  // Of the http category, but not an error in the request: the client left, or was too slow.
  if (error == http::error::end_of_stream || error == http::error::partial_message) return end();
  if (error.category() == make_error_code(http::error::bad_method).category()) {
    return refuse(400, "not a valid HTTP request: " + error.message());
  }
  end();
}

void HttpSession::refuse(unsigned status, std::string_view detail) {
  ApiResponse response = problem(status, detail);
  if (status == 405) response.allow = "GET, HEAD, POST";
  write(std::move(response), false);
}

void HttpSession::answer(const HttpHandler& handler) {
  if (phase_ != Phase::waiting) return;  // cut in the meantime
  const auto& request = parser_->get();
  const auto method = request.method_string();
  const auto target = request.target();
  ApiResponse response;
  try {
    response = handler({.method = {method.data(), method.size()},
                        .target = {target.data(), target.size()},
                        .body = request.body(),
                        .peer = peer_});
  } catch (const std::exception& failure) {
    response = problem(500, failure.what());
  }
  write(std::move(response), request.keep_alive());
}

void HttpSession::write(ApiResponse answer, bool keep_alive) {
  enter(Phase::writing);
  const bool head_only = parser_->get().method() == http::verb::head;
  response_ = {};
  response_.result(answer.status);
  // The version of the client's own request, but never a later one than we speak.
  response_.version(parser_->get().version() == 10 ? 10 : 11);
  response_.set(http::field::server, "weir");
  response_.set(http::field::content_type, answer.content_type);
  response_.set(http::field::cache_control, "no-store");
  response_.set("X-Content-Type-Options", "nosniff");
  if (!answer.allow.empty()) response_.set(http::field::allow, answer.allow);
  response_.keep_alive(keep_alive);
  std::vector<SharedText> parts;
  if (!answer.body.empty())
    parts.push_back(std::make_shared<const PackedText>(std::move(answer.body), PackedText::How::as_it_is));
  for (SharedText& part : answer.more) parts.push_back(std::move(part));
  response_.content_length(SharedBody::size(parts));
  if (!head_only) response_.body() = std::move(parts);
  stream_.expires_after(limits_.write_time);
  http::async_write(stream_, response_,
                    [self = shared_from_this(), keep_alive](ErrorCode error, std::size_t) {
                      self->response_.body().clear();  // a quiet connection keeps no recording in memory
                      if (error) return self->end();
                      keep_alive ? self->await_request() : self->linger();
                    });
}

/// Closing while unread bytes stand in the receive buffer makes the kernel reset the connection, and the
/// client may lose the answer that says what it did wrong (RFC 9112, 9.6): so read on for a moment.
void HttpSession::linger() {
  enter(Phase::lingering);
  ErrorCode ignored;
  stream_.socket().shutdown(boost::asio::socket_base::shutdown_send, ignored);
  stream_.expires_after(kLingerTime);
  buffer_.clear();
  discard();
}

void HttpSession::discard() {
  stream_.async_read_some(buffer_.prepare(kReadChunk),
                          [self = shared_from_this()](ErrorCode error, std::size_t bytes) {
                            if (self->has_ended()) return;
                            self->discarded_ += bytes;
                            if (error || self->discarded_ > kLingerBytes) return self->end();
                            self->discard();
                          });
}

void HttpSession::cut() {
  stream_.close();
  end();
}

void HttpSession::end() {
  if (has_ended()) return;
  phase_ = Phase::ended;
  stream_.close();
  owner_.ended(shared_from_this());
}

}  // namespace weir::gateway
