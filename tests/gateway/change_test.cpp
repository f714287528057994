// The policy's life: applied, confirmed or not, gone back to, and what a daemon that ends at any point begins
// with; by the commands, over a real socket.
#include <fstream>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>

#include "gateway/api_changes.hpp"
#include "gateway/change_control.hpp"
#include "gateway/http_client.hpp"
#include "gateway/http_server.hpp"

#include "fakes.hpp"
#include "run_weir.hpp"
#include "scratch_folder.hpp"

namespace weir::gateway::test {
namespace {

namespace json = boost::json;
using Result = ChangeOutcome::Result;

std::string policy_text(int floor_mbit, const std::string& more = "") {
  return "wan: {interface: wan0, rate: 622mbit}\nsites:\n  - name: coast\n    subnets: [10.20.0.0/16]\n    "
         "rate: {floor: " +
         std::to_string(floor_mbit) + "mbit, ceiling: 500mbit}\n" + more;
}

struct ChangeTest : testing::Test {
  ScratchFolder folder;
  std::filesystem::path file = folder.path() / "weir.yaml";
  PolicyLibrary library{folder.path() / "library"};
  std::optional<RevisionLog> revisions;
  EventLog events;
  std::optional<ChangeControl> control;
  std::optional<std::string> refusal;  ///< by the kernel
  std::vector<int> brought;            ///< floors of the policies put in force, in their order

  void SetUp() override {
    write(policy_text(10));
    boot();
  }
  void write(const std::string& text) const { std::ofstream(file, std::ios::trunc) << text; }
  /// As a daemon begins, whatever was before.
  void boot(double s = 0) {
    control.reset();
    revisions.emplace(folder.path() / "library");
    auto found = load_boot_policy(file, library, *revisions);
    ASSERT_TRUE(std::holds_alternative<BootPolicy>(found)) << std::get<LoadFailure>(found).rendered;
    control.emplace(
        file, std::get<BootPolicy>(std::move(found)), library, *revisions, events,
        [this](const Policy& next, const Instant&) -> ChangeControl::InForce {
          if (refusal) return {.why_not = refusal, .changes = {}};
          brought.push_back(floor_of(next));
          return {.why_not = std::nullopt, .changes = {"change class 7e17:10"}};
        },
        at(s));
    control->started(at(s));
  }
  static int floor_of(const Policy& policy) {
    return static_cast<int>(policy.sites.at(0).rate.floor.bps() / 1'000'000);
  }
  [[nodiscard]] int in_force() const { return floor_of(control->policy()); }
  [[nodiscard]] RevisionState state(std::uint64_t number) const { return revisions->find(number)->state; }
  [[nodiscard]] bool last_good_serves() const { return control->status().last_good; }
  ChangeOutcome apply(double s, std::optional<int> confirm_s = std::nullopt) {
    ChangeRequest request{.by = "root", .comment = "more", .confirm_within = {}};
    if (confirm_s) request.confirm_within = std::chrono::seconds(*confirm_s);
    return control->apply(request, at(s));
  }
};

TEST_F(ChangeTest, AStartIsTheFirstRevisionAndAnotherStartIsNone) {
  ASSERT_EQ(revisions->all().size(), 1U);
  EXPECT_EQ(revisions->all()[0].by, "start");
  EXPECT_EQ(control->status().revision, 1U);
  boot();
  EXPECT_EQ(revisions->all().size(), 1U);
  EXPECT_EQ(control->status().revision, 1U);
}

TEST_F(ChangeTest, WhatIsAppliedIsGoodAtOnceAndKept) {
  write(policy_text(20));
  const auto outcome = apply(1);
  EXPECT_EQ(outcome.result, Result::done);
  EXPECT_EQ(outcome.revision, 2U);
  EXPECT_EQ(outcome.changes, (std::vector<std::string>{"change class 7e17:10"}));
  EXPECT_EQ(in_force(), 20);
  EXPECT_EQ(revisions->find(2)->by, "root");
  EXPECT_EQ(revisions->find(2)->comment, "more");
  EXPECT_EQ(state(2), RevisionState::good);
  boot();
  EXPECT_EQ(in_force(), 20);
}

TEST_F(ChangeTest, WhatIsNotConfirmedGoesBackByItself) {
  write(policy_text(20));
  const auto outcome = apply(1, 300);
  EXPECT_EQ(outcome.result, Result::done);
  EXPECT_EQ(outcome.confirm_by, at(301).wall);
  EXPECT_EQ(in_force(), 20);
  EXPECT_EQ(state(2), RevisionState::waiting);
  control->every_second(at(300.9));
  EXPECT_EQ(in_force(), 20);
  control->every_second(at(301));
  EXPECT_EQ(in_force(), 10);
  EXPECT_EQ(state(2), RevisionState::rolled_back);
  EXPECT_EQ(revisions->find(2)->note, "it was not confirmed in time");
  EXPECT_EQ(control->status().revision, 1U);
  EXPECT_TRUE(last_good_serves()) << "the file still holds the other";
  EXPECT_EQ(control->status().confirm_by, std::nullopt);
  EXPECT_EQ(control->confirm("root", at(302)).result, Result::not_now);
  // The file is not what a boot takes, either, until it is another one.
  boot();
  EXPECT_EQ(in_force(), 10);
  EXPECT_TRUE(last_good_serves());
  EXPECT_NE(control->status().reload_error->find("holds revision 2, which was rolled back"),
            std::string::npos);
  write(policy_text(30));
  boot();
  EXPECT_EQ(in_force(), 30);
  EXPECT_FALSE(last_good_serves());
}

TEST_F(ChangeTest, WhatIsConfirmedStays) {
  write(policy_text(20));
  ASSERT_EQ(apply(1, 300).result, Result::done);
  EXPECT_EQ(control->confirm("alice", at(5)).result, Result::done);
  control->every_second(at(1000));
  EXPECT_EQ(in_force(), 20);
  EXPECT_EQ(state(2), RevisionState::good);
  boot();
  EXPECT_EQ(in_force(), 20);
}

TEST_F(ChangeTest, ADaemonThatEndsWhileOneWaitsBeginsWithTheOneBefore) {
  write(policy_text(20));
  ASSERT_EQ(apply(1, 300).result, Result::done);
  boot(2);
  EXPECT_EQ(in_force(), 10);
  EXPECT_EQ(state(2), RevisionState::rolled_back);
  EXPECT_EQ(revisions->find(2)->note, "the daemon ended before it was confirmed");
  EXPECT_TRUE(last_good_serves());
  // Asked for again it is taken, and good.
  EXPECT_TRUE(control->reload(at(3)));
  EXPECT_EQ(in_force(), 20);
  EXPECT_EQ(control->status().revision, 3U);
  boot(4);
  EXPECT_EQ(in_force(), 20);
}

TEST_F(ChangeTest, NothingElseChangesWhileOneWaits) {
  write(policy_text(20));
  ASSERT_EQ(apply(1, 300).result, Result::done);
  write(policy_text(30));
  EXPECT_EQ(apply(2).result, Result::not_now);
  EXPECT_FALSE(control->reload(at(2)));
  EXPECT_NE(control->status().reload_error->find("revision 2 waits"), std::string::npos);
  EXPECT_EQ(control->roll_back(7, "root", at(2)).result, Result::not_now);
  EXPECT_EQ(in_force(), 20);
  EXPECT_EQ(control->roll_back(std::nullopt, "root", at(3)).result, Result::done);
  EXPECT_EQ(in_force(), 10);
  EXPECT_EQ(revisions->find(2)->note, "rolled back by root");
}

TEST_F(ChangeTest, ABadFileAndARefusingKernelChangeNothing) {
  write(policy_text(20, "surprise: 1\n"));
  const auto bad = apply(1, 300);
  EXPECT_EQ(bad.result, Result::bad_policy);
  EXPECT_NE(bad.text.find("surprise"), std::string::npos);
  write("wan: {interface: wan1, rate: 622mbit}\nsites: []\n");
  EXPECT_EQ(apply(1).result, Result::bad_policy);
  EXPECT_EQ(revisions->all().size(), 1U);
  write(policy_text(20));
  refusal = "no memory";
  const auto refused = apply(1, 300);
  EXPECT_EQ(refused.result, Result::refused);
  EXPECT_NE(refused.text.find("no memory"), std::string::npos);
  EXPECT_EQ(in_force(), 10);
  EXPECT_EQ(state(2), RevisionState::rolled_back);
  refusal.reset();
  EXPECT_EQ(apply(2).result, Result::done) << "nothing waits";
  EXPECT_EQ(control->status().revision, 3U);
}

TEST_F(ChangeTest, GoingBackIsTriedAgainWhileTheKernelRefuses) {
  write(policy_text(20));
  ASSERT_EQ(apply(1, 60).result, Result::done);
  refusal = "busy";
  control->every_second(at(61));
  EXPECT_EQ(in_force(), 20);
  EXPECT_EQ(state(2), RevisionState::waiting);
  refusal.reset();
  control->every_second(at(62));
  EXPECT_EQ(in_force(), 20) << "not at once";
  control->every_second(at(71));
  EXPECT_EQ(in_force(), 10);
}

TEST_F(ChangeTest, AnyRevisionCanBeGoneBackTo) {
  for (const int floor : {20, 30, 40}) {
    write(policy_text(floor));
    ASSERT_EQ(apply(floor).result, Result::done);
  }
  const auto far = control->roll_back(2, "root", at(50));
  EXPECT_EQ(far.result, Result::done);
  EXPECT_EQ(far.revision, 5U);
  EXPECT_EQ(in_force(), 20);
  EXPECT_EQ(revisions->find(5)->comment, "back to revision 2");
  EXPECT_TRUE(last_good_serves());
  boot(51);
  EXPECT_EQ(in_force(), 40) << "the file was good and is what the operator left";
  EXPECT_EQ(control->roll_back(99, "root", at(52)).result, Result::no_such);
}

TEST_F(ChangeTest, TheOneBeforeIsTheNewestThatWasGood) {
  write(policy_text(20));
  ASSERT_EQ(apply(1, 60).result, Result::done);
  ASSERT_EQ(control->roll_back(std::nullopt, "root", at(2)).result, Result::done);
  write(policy_text(30));
  ASSERT_EQ(apply(3).result, Result::done);
  ASSERT_EQ(control->roll_back(std::nullopt, "root", at(4)).result, Result::done);
  EXPECT_EQ(in_force(), 10) << "not revision 2, which was rolled back";
  EXPECT_EQ(control->roll_back(1, "root", at(5)).result, Result::done);
}

TEST_F(ChangeTest, AFileThatHoldsAgainWhatServesIsNoticed) {
  write(policy_text(20));
  ASSERT_EQ(apply(1, 60).result, Result::done);
  control->every_second(at(61));
  ASSERT_TRUE(last_good_serves());
  control->every_second(at(62));
  EXPECT_TRUE(last_good_serves());
  write(policy_text(10));
  control->every_second(at(63));
  EXPECT_TRUE(last_good_serves()) << "looked for every ten seconds";
  control->every_second(at(73));
  EXPECT_FALSE(last_good_serves());
  EXPECT_EQ(control->status().reload_error, std::nullopt);
}

TEST_F(ChangeTest, WhatCannotBeKeptIsNotConfirmedAndStillWaits) {
  write(policy_text(20));
  ASSERT_EQ(apply(1, 60).result, Result::done);
  const auto list = folder.path() / "library" / "revisions.json";
  std::filesystem::remove(list);
  std::filesystem::create_directory(list);  // nothing can take its place
  EXPECT_EQ(control->confirm("root", at(2)).result, Result::refused);
  EXPECT_EQ(state(2), RevisionState::waiting);
  std::filesystem::remove(list);
  EXPECT_EQ(control->confirm("root", at(3)).result, Result::done);
  boot(4);
  EXPECT_EQ(in_force(), 20);
}

TEST_F(ChangeTest, TheOneBeforeIsOnDiskWhateverWentWrongWithItEarlier) {
  const auto kept = library.last_good();
  std::filesystem::remove(kept);
  std::filesystem::create_directory(kept);
  write(policy_text(20));
  ASSERT_EQ(apply(1).result, Result::done);
  std::vector<Degradation> degraded;
  control->add_degradations(degraded);
  ASSERT_EQ(degraded.size(), 1U);
  EXPECT_EQ(degraded[0].code, "last_good_not_saved");
  std::filesystem::remove(kept);
  write(policy_text(30));
  ASSERT_EQ(apply(2, 60).result, Result::done);
  boot(3);
  EXPECT_EQ(in_force(), 20) << "not 10, which was the last that the disk took by itself";
}

TEST_F(ChangeTest, ALastGoodPolicyThatCouldNotBeSavedIsTriedAgain) {
  const auto kept = library.last_good();
  std::filesystem::remove(kept);
  std::filesystem::create_directory(kept);
  write(policy_text(20));
  ASSERT_EQ(apply(1).result, Result::done);
  std::filesystem::remove(kept);
  control->every_second(at(20));
  std::vector<Degradation> degraded;
  control->add_degradations(degraded);
  EXPECT_TRUE(degraded.empty());
  EXPECT_TRUE(std::filesystem::is_regular_file(kept));
}

TEST_F(ChangeTest, WhatIsInForceAlreadyNeedsNoConfirmation) {
  const auto same = apply(1, 60);
  EXPECT_EQ(same.result, Result::done);
  EXPECT_EQ(same.confirm_by, std::nullopt);
  EXPECT_EQ(revisions->all().size(), 1U);
}

TEST_F(ChangeTest, AGoodPolicyStaysGoodThoughItWasOnceRolledBack) {
  write(policy_text(20));
  ASSERT_EQ(apply(1, 60).result, Result::done);
  control->every_second(at(61));
  EXPECT_EQ(apply(62).result, Result::done) << "asked for without a condition";
  write(policy_text(30));
  ASSERT_EQ(apply(63).result, Result::done);
  write(policy_text(20));
  boot(64);
  EXPECT_EQ(in_force(), 20);
  EXPECT_FALSE(last_good_serves());
}

TEST_F(ChangeTest, GoingBackTwiceGoesFurtherBack) {
  for (const int floor : {20, 30}) {
    write(policy_text(floor));
    ASSERT_EQ(apply(floor).result, Result::done);
  }
  ASSERT_EQ(control->roll_back(std::nullopt, "root", at(40)).result, Result::done);
  EXPECT_EQ(in_force(), 20);
  ASSERT_EQ(control->roll_back(std::nullopt, "root", at(41)).result, Result::done);
  EXPECT_EQ(in_force(), 10);
  EXPECT_EQ(control->roll_back(std::nullopt, "root", at(42)).result, Result::no_such);
}

TEST_F(ChangeTest, AReloadThatWasRefusedIsForgottenWithTheConfirmation) {
  write(policy_text(20));
  ASSERT_EQ(apply(1, 60).result, Result::done);
  EXPECT_FALSE(control->reload(at(2)));
  ASSERT_EQ(control->confirm("root", at(3)).result, Result::done);
  EXPECT_EQ(control->status().reload_error, std::nullopt);
}

TEST_F(ChangeTest, AListThatIsNotUtf8IsRefusedSinceNoCopyCouldBeRead) {
  std::ofstream(folder.path() / "list.txt") << "10.30.0.0/16  # Caf\xe9\n";
  write(
      "wan: {interface: wan0, rate: 622mbit}\nsites:\n  - name: coast\n    subnets: [\"@list.txt\"]\n"
      "    rate: {floor: 20mbit}\n");
  const auto refused = apply(1);
  EXPECT_EQ(refused.result, Result::bad_policy);
  EXPECT_NE(refused.text.find("list.txt:1:1: this is not UTF-8 text"), std::string::npos) << refused.text;
}

TEST_F(ChangeTest, WithoutADiskNothingIsAppliedThatWouldHaveToGoBack) {
  std::filesystem::remove_all(folder.path() / "library");
  std::ofstream(folder.path() / "library") << "a file";
  write(policy_text(20));
  EXPECT_EQ(apply(1, 60).result, Result::refused);
  EXPECT_EQ(in_force(), 10);
  EXPECT_EQ(apply(2).result, Result::done) << "without a way back it needs no disk";
  EXPECT_EQ(control->status().revision, 0U);
  std::vector<Degradation> degraded;
  control->add_degradations(degraded);
  ASSERT_EQ(degraded.size(), 2U);
  EXPECT_EQ(degraded[0].code, "last_good_not_saved");
  EXPECT_EQ(degraded[1].code, "revision_not_kept");
}

/// The API's changes without a socket.
struct ChangeApi : ChangeTest {
  Peer root{.uid = 0, .pid = 0, .may_change = true};
  PolicyChanges changes{
      .apply = [this](const ChangeRequest& r) { return control->apply(r, at(1)); },
      .confirm = [this](const std::string& by) { return control->confirm(by, at(2)); },
      .roll_back = [this](std::optional<std::uint64_t> to,
                          const std::string& by) { return control->roll_back(to, by, at(3)); }};

  ApiResponse post(std::string_view target, std::string_view body, std::optional<Peer> peer) {
    return change({.method = "POST", .target = target, .body = body, .peer = std::move(peer)}, changes);
  }
};

TEST_F(ChangeApi, AnswersWithWhatCameOfIt) {
  write(policy_text(20));
  const auto applied = post("/v1/policy/apply", R"({"confirm_s": 60, "comment": "try"})", root);
  ASSERT_EQ(applied.status, 200U) << applied.body;
  const json::value document = json::parse(applied.body);
  EXPECT_EQ(document.at("revision").to_number<int>(), 2);
  EXPECT_EQ(document.at("confirm_by").as_string(), "2023-11-14T22:14:21.000Z");
  EXPECT_EQ(document.at("changes").as_array().size(), 1U);
  EXPECT_EQ(post("/v1/policy/apply", "", root).status, 409U);
  EXPECT_EQ(post("/v1/policy/confirm", "", root).status, 200U);
  EXPECT_EQ(post("/v1/policy/confirm", "{}", root).status, 409U);
  EXPECT_EQ(post("/v1/policy/rollback", R"({"to": 1})", root).status, 200U);
  EXPECT_EQ(in_force(), 10);
  EXPECT_EQ(post("/v1/policy/rollback", R"({"to": 77})", root).status, 404U);
  write("nonsense: 1");
  EXPECT_EQ(post("/v1/policy/apply", "", root).status, 422U);
}

TEST_F(ChangeApi, RefusesWhoMayNotAndWhatMakesNoSense) {
  write(policy_text(20));
  EXPECT_EQ(post("/v1/policy/apply", "", std::nullopt).status, 403U) << "not over the Unix socket";
  const Peer alice{.uid = 4242, .pid = 0, .may_change = false};
  const auto refused = post("/v1/policy/apply", "", alice);
  EXPECT_EQ(refused.status, 403U);
  EXPECT_NE(refused.body.find("uid 4242 may look, not change"), std::string::npos);
  for (const char* body : {"nonsense", "[]", "{\"confirm_s\": 0}", "{\"confirm_s\": \"5m\"}",
                           "{\"confirm_s\": 1e9}", "{\"comment\": 5}", "{\"x\": 1}"})
    EXPECT_EQ(post("/v1/policy/apply", body, root).status, 400U) << body;
  EXPECT_EQ(post("/v1/policy/confirm", "{\"to\": 1}", root).status, 400U);
  EXPECT_EQ(post("/v1/policy/rollback", "{\"to\": -1}", root).status, 400U);
  EXPECT_EQ(post("/v1/status", "", root).status, 405U);
  EXPECT_EQ(in_force(), 10);
}

/// The commands, against a server on a socket of the test's own.
struct ChangeCommands : ChangeApi {
  boost::asio::io_context loop;
  std::optional<HttpServer> server;
  std::thread thread;
  std::string socket = (folder.path() / "weir.sock").string();

  void SetUp() override {
    ChangeApi::SetUp();
    server.emplace(loop, [this](const ApiRequest& request) {
      if (request.method == "POST") return change(request, changes);
      GatewayStatus status;
      status.policy = control->status();
      return respond(request, {.wan = {.policy = control->policy(),
                                       .classes = {},
                                       .explain = [](const shaper::PacketQuery&) { return std::nullopt; },
                                       .arrivals = [] { return std::nullopt; },
                                       .history_of = [](std::string_view) { return nullptr; },
                                       .decisions_of = [](std::string_view) { return nullptr; }},
                               .status = status,
                               .events = events,
                               .recording_of = [](std::optional<std::string_view>) { return std::nullopt; },
                               .revisions = *revisions});
    });
    server->listen_unix(socket);
    thread = std::thread([this] { loop.run(); });
  }
  void TearDown() override {
    boost::asio::post(loop, [this] {
      server->close();
      loop.stop();
    });
    thread.join();
  }
  Outcome run(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--socket", socket});
    return weir(std::move(arguments));
  }
  [[nodiscard]] std::string on_disk() const {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

TEST_F(ChangeCommands, ApplyConfirmRollBackAndTheirList) {
  write(policy_text(20));
  const Outcome differs = run({"diff"});
  EXPECT_EQ(differs.code, 1);
  const Outcome applied = run({"apply", "--confirm", "5m", "--comment", "more for replication"});
  ASSERT_EQ(applied.code, kExitOk) << applied.complaint;
  EXPECT_NE(applied.out.find("change class 7e17:10\n"), std::string::npos);
  EXPECT_NE(applied.out.find("revision 2 is in force by "), std::string::npos) << applied.out;
  EXPECT_NE(applied.out.find("unless it is confirmed by 2023-11-14T22:18:21.000Z"), std::string::npos);
  EXPECT_EQ(run({"diff"}).code, 0);
  EXPECT_EQ(run({"confirm"}).code, kExitOk);
  const Outcome again = run({"confirm"});
  EXPECT_EQ(again.code, kExitPolicy);
  EXPECT_EQ(again.complaint, "weir: nothing waits to be confirmed\n");
  ASSERT_EQ(run({"rollback", "1"}).code, kExitOk);
  EXPECT_EQ(in_force(), 10);
  const Outcome list = run({"revisions"});
  EXPECT_NE(list.out.find("2         2023-11-14T22:13:21  good   "), std::string::npos) << list.out;
  EXPECT_NE(list.out.find("more for replication"), std::string::npos);
  EXPECT_NE(list.out.find("*  3"), std::string::npos) << list.out;
  EXPECT_EQ(run({"revisions", "2"}).out, policy_text(20));
  EXPECT_EQ(run({"revisions", "9"}).code, kExitPolicy);
  EXPECT_EQ(run({"diff", "1", "2"}).code, 1);
  EXPECT_EQ(run({"diff", "1", "3"}).code, 0);
}

TEST_F(ChangeCommands, AnotherFileTakesThePlaceOnceItIsTaken) {
  std::filesystem::permissions(file, std::filesystem::perms::owner_read |
                                         std::filesystem::perms::owner_write |
                                         std::filesystem::perms::group_read);
  const auto mode = std::filesystem::status(file).permissions();
  const auto candidate = folder.path() / "new" / "weir.yaml";
  std::filesystem::create_directory(candidate.parent_path());
  std::ofstream(candidate) << policy_text(25);
  const Outcome applied = run({"apply", candidate.string()});
  ASSERT_EQ(applied.code, kExitOk) << applied.complaint;
  EXPECT_EQ(in_force(), 25);
  EXPECT_EQ(on_disk(), policy_text(25));
  EXPECT_EQ(std::filesystem::status(file).permissions(), mode);

  std::ofstream(candidate, std::ios::trunc) << policy_text(35);
  refusal = "no memory";
  EXPECT_EQ(run({"apply", candidate.string()}).code, kExitSystem);
  EXPECT_EQ(on_disk(), policy_text(25)) << "put back";
  refusal.reset();

  std::ofstream(candidate, std::ios::trunc) << "nonsense: 1\n";
  const Outcome bad = run({"apply", candidate.string()});
  EXPECT_EQ(bad.code, kExitPolicy);
  EXPECT_NE(bad.complaint.find("nonsense"), std::string::npos);

  std::ofstream(candidate.parent_path() / "more.yaml") << "api: {socket: /run/weir/weir.sock}\n";
  std::ofstream(candidate, std::ios::trunc) << policy_text(35, "include: [more.yaml]\n");
  const Outcome torn = run({"apply", candidate.string()});
  EXPECT_EQ(torn.code, kExitPolicy);
  EXPECT_NE(torn.complaint.find("means something else in the place of"), std::string::npos) << torn.complaint;
  EXPECT_EQ(on_disk(), policy_text(25));

  // A pattern that matches nothing beside the candidate, and something beside the daemon's own.
  std::filesystem::create_directory(folder.path() / "sites.d");
  std::ofstream(folder.path() / "sites.d" / "far.yaml")
      << "sites: [{name: far, subnets: [10.99.0.0/16], rate: {floor: 1mbit}}]\n";
  std::ofstream(candidate, std::ios::trunc) << policy_text(35, "include: [sites.d/*.yaml]\n");
  EXPECT_EQ(run({"apply", candidate.string()}).code, kExitPolicy);
  EXPECT_EQ(on_disk(), policy_text(25));

  // Where the daemon's own is gone, it comes back.
  std::filesystem::remove(file);
  std::ofstream(candidate, std::ios::trunc) << policy_text(45);
  EXPECT_EQ(run({"apply", candidate.string()}).code, kExitOk);
  EXPECT_EQ(on_disk(), policy_text(45));

  const auto real = folder.path() / "real.yaml";
  std::filesystem::rename(file, real);
  std::filesystem::create_symlink(real, file);
  std::ofstream(candidate, std::ios::trunc) << policy_text(15);
  const Outcome link = run({"apply", candidate.string()});
  EXPECT_EQ(link.code, kExitSystem);
  EXPECT_NE(link.complaint.find("is a link"), std::string::npos) << link.complaint;
}

}  // namespace
}  // namespace weir::gateway::test
