#include "gateway/api_changes.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <variant>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/json_text.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

constexpr double kLongestConfirm_s = 86'400;
constexpr std::size_t kLongestComment = 500;

/// The body's members, of which each must be known and of its type.
class BodyReader {
 public:
  explicit BodyReader(std::string_view body) {
    if (body.empty()) return;
    boost::system::error_code malformed;
    document_ = json::parse(body, malformed);
    if (malformed || !document_.is_object()) complaint_ = "the body must be a JSON object";
  }

  void allow(std::initializer_list<std::string_view> known) {
    if (!document_.is_object()) return;
    for (const auto& member : document_.get_object()) {
      if (std::ranges::find(known, std::string_view(member.key())) == known.end())
        complain(fmt::format("unknown member '{}'; known: {}", std::string_view(member.key()),
                             fmt::join(known, ", ")));
    }
  }
  std::optional<double> number(std::string_view key, double least, double most) {
    const json::value* found = member(key);
    if (found == nullptr) return std::nullopt;
    boost::system::error_code wrong;
    const auto value = found->to_number<double>(wrong);
    if (wrong || !(value >= least && value <= most)) {
      complain(fmt::format("'{}' must be a number from {} to {}", key, least, most));
      return std::nullopt;
    }
    return value;
  }
  std::string text(std::string_view key, std::size_t longest) {
    const json::value* found = member(key);
    if (found == nullptr) return "";
    const json::string* value = found->if_string();
    if (value == nullptr || value->size() > longest) {
      complain(fmt::format("'{}' must be a text of at most {} bytes", key, longest));
      return "";
    }
    return std::string(*value);
  }
  [[nodiscard]] const std::optional<std::string>& complaint() const { return complaint_; }

 private:
  const json::value* member(std::string_view key) const {
    const json::object* top = document_.if_object();
    const json::value* found = top == nullptr ? nullptr : top->if_contains(key);
    return found == nullptr || found->is_null() ? nullptr : found;
  }
  void complain(std::string why) {
    if (!complaint_) complaint_ = std::move(why);
  }

  json::value document_;
  std::optional<std::string> complaint_;
};

unsigned status_of(ChangeOutcome::Result result) {
  switch (result) {
    case ChangeOutcome::Result::done:
      return 200;
    case ChangeOutcome::Result::bad_policy:
      return 422;
    case ChangeOutcome::Result::not_now:
      return 409;
    case ChangeOutcome::Result::no_such:
      return 404;
    case ChangeOutcome::Result::refused:
      break;
  }
  return 503;
}

ApiResponse answer(const ChangeOutcome& outcome) {
  if (outcome.result != ChangeOutcome::Result::done) return problem(status_of(outcome.result), outcome.text);
  json::array made;
  for (const std::string& one : outcome.changes) made.push_back(json::string(one));
  return {.body = to_text(json::object{
                      {"text", outcome.text},
                      {"revision", outcome.revision},
                      {"confirm_by",
                       outcome.confirm_by ? json::value(iso_utc(*outcome.confirm_by)) : json::value(nullptr)},
                      {"changes", std::move(made)}}) +
                  "\n",
          .allow = {}};
}

ApiResponse apply(BodyReader& body, const std::string& by, const PolicyChanges& changes) {
  body.allow({"confirm_s", "comment"});
  ChangeRequest request{.by = by, .comment = body.text("comment", kLongestComment), .confirm_within = {}};
  if (const auto s = body.number("confirm_s", 1, kLongestConfirm_s))
    request.confirm_within = from_seconds(*s);
  return body.complaint() ? problem(400, *body.complaint()) : answer(changes.apply(request));
}

ApiResponse confirm(BodyReader& body, const std::string& by, const PolicyChanges& changes) {
  body.allow({});
  return body.complaint() ? problem(400, *body.complaint()) : answer(changes.confirm(by));
}

ApiResponse roll_back(BodyReader& body, const std::string& by, const PolicyChanges& changes) {
  constexpr double kMostRevisions = 9e15;
  body.allow({"to"});
  std::optional<std::uint64_t> to;
  if (const auto number = body.number("to", 1, kMostRevisions)) to = static_cast<std::uint64_t>(*number);
  return body.complaint() ? problem(400, *body.complaint()) : answer(changes.roll_back(to, by));
}

}  // namespace

ApiResponse change(const ApiRequest& request, const PolicyChanges& changes) {
  using Action = ApiResponse (*)(BodyReader&, const std::string&, const PolicyChanges&);
  constexpr std::array<std::pair<std::string_view, Action>, 3> kActions{
      {{"/v1/policy/apply", apply}, {"/v1/policy/confirm", confirm}, {"/v1/policy/rollback", roll_back}}};
  const auto* const action =
      std::ranges::find(kActions, request.target, &std::pair<std::string_view, Action>::first);
  if (action == kActions.end()) {
    ApiResponse refused = problem(405, "this path is read-only: GET and HEAD");
    refused.allow = "GET, HEAD";
    return refused;
  }
  if (!request.peer)
    return problem(403, "changes are made over the Unix socket only, where the kernel says who asks");
  if (!request.peer->may_change) {
    return problem(403, fmt::format("{} may look, not change: that is for root", name_of(*request.peer)));
  }
  BodyReader body(request.body);
  return action->second(body, name_of(*request.peer), changes);
}

}  // namespace weir::gateway
