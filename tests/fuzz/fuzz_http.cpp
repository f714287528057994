/// Any bytes as a request line's target, and as the body of a change: the answer is always a whole response,
/// JSON or metrics, never a crash.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <boost/json.hpp>

#include "gateway/api.hpp"
#include "gateway/api_changes.hpp"

using namespace weir::gateway;

namespace {

weir::Policy fuzzed_policy() {
  weir::Policy policy;
  policy.class_sets.resize(1);
  auto& classes = policy.class_sets[0].classes;
  classes.resize(2);
  classes[0] = {.name = "voice", .match = {{.dscp = {46}}, {.port = {{22, 443}}}}};
  classes[1] = {.name = "rest", .match = {}, .is_default = true};
  policy.sites.push_back({.name = "dc-coast", .subnets = {*weir::Prefix::parse("10.0.0.0/8")}, .rate = {}});
  return policy;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static EventLog events;
  static const RevisionLog revisions("/nonexistent");
  static const History history;
  GatewayStatus status;
  status.sites.emplace_back().name = "dc-coast";
  status.inbound = status.sites;
  static const DecisionLog decisions;
  static ControlRecorder recorder(1'000'000);
  static const weir::Policy policy = fuzzed_policy();
  const PortView view_of_port{
      .policy = policy,
      .classes = {},
      .explain =
          [](const weir::shaper::PacketQuery& query) {
            return std::optional(weir::shaper::judge(policy, query));
          },
      .arrivals = [] { return std::optional(weir::shaper::ArrivalCounters()); },
      .history_of = [](std::string_view site) { return site == "dc-coast" ? &history : nullptr; },
      .decisions_of = [](std::string_view site) { return site == "dc-coast" ? &decisions : nullptr; }};
  const ApiView view{
      .wan = view_of_port,
      .lan = view_of_port,
      .status = status,
      .events = events,
      .recording_of =
          [](std::optional<std::string_view> site) { return std::optional(recorder.recording({}, site)); },
      .revisions = revisions};
  const std::string_view target(reinterpret_cast<const char*>(data), size);
  static const PolicyChanges changes{
      .apply = [](const ChangeRequest& request) { return ChangeOutcome{.text = request.comment}; },
      .confirm = [](const std::string& by) { return ChangeOutcome{.text = by}; },
      .roll_back = [](std::optional<std::uint64_t>,
                      const std::string& by) { return ChangeOutcome{.text = by}; }};
  for (const char* path : {"/v1/policy/apply", "/v1/policy/confirm", "/v1/policy/rollback"}) {
    const ApiResponse changed = change({.method = "POST",
                                        .target = path,
                                        .body = target,
                                        .peer = Peer{.uid = 0, .pid = 0, .may_change = true}},
                                       changes);
    boost::system::error_code not_json;
    boost::json::parse(changed.body, not_json);
    if (not_json) std::abort();
  }
  const ApiResponse response = respond({.method = "GET", .target = target}, view);
  if (response.status < 200 || response.status > 599) std::abort();
  if (response.content_type.find("json") == std::string::npos) return 0;
  if (response.content_type == "application/jsonl") return 0;  // a document a line
  boost::system::error_code malformed;
  boost::json::parse(response.body, malformed);
  if (malformed) std::abort();
  return 0;
}
