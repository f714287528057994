#include "gateway/change_control.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "gateway/read_whole.hpp"

namespace weir::gateway {
namespace {

// A file that was mended is noticed so soon, and looked for no more often.
constexpr Duration kLookAtFile = std::chrono::seconds(10);
// When the kernel refuses to go back.
constexpr Duration kTryAgain = std::chrono::seconds(10);

std::string by_whom(const std::string& by) {
  return by.empty() ? "" : " by " + by;
}

std::string numbered(std::uint64_t number) {
  return number == 0 ? std::string("a policy that could not be kept") : fmt::format("revision {}", number);
}

ChangeOutcome refusal(ChangeOutcome::Result result, std::string text, std::uint64_t in_force) {
  return {.result = result, .text = std::move(text), .revision = in_force};
}

}  // namespace

std::vector<std::string> restart_only_changes(const Policy& current, const std::string& lan,
                                              const Policy& next) {
  std::vector<std::string> changes;
  const auto restart = [&](std::string_view key, const std::string& from, const std::string& to) {
    changes.push_back(fmt::format("{} changed from {} to {}: this takes a restart", key, from, to));
  };
  const auto endpoint = [](const std::optional<TcpEndpoint>& e) {
    return e ? fmt::format("{}:{}", e->address.to_string(), e->port) : std::string("none");
  };
  if (current.wan.interface != next.wan.interface) {
    restart("wan.interface", current.wan.interface, next.wan.interface);
  }
  // One that is no longer named is given up while running, and may come back.
  if (next.lan && next.lan->interface != lan)
    restart("lan.interface", lan.empty() ? "none" : lan, next.lan->interface);
  if (current.api.socket != next.api.socket) {
    restart("api.socket", current.api.socket.string(), next.api.socket.string());
  }
  if (current.api.listen != next.api.listen) {
    restart("api.listen", endpoint(current.api.listen), endpoint(next.api.listen));
  }
  return changes;
}

ChangeControl::ChangeControl(std::filesystem::path policy_file, BootPolicy boot, const PolicyLibrary& library,
                             RevisionLog& revisions, EventLog& events, PutInForce put_in_force,
                             const Instant& now)
    : file_(std::move(policy_file)),
      loaded_(std::move(boot.loaded)),
      lan_at_start_(loaded_.policy.lan ? loaded_.policy.lan->interface : ""),
      library_(library),
      revisions_(revisions),
      events_(events),
      put_in_force_(std::move(put_in_force)),
      status_{.file = file_.string(),
              .last_good = boot.why_not_the_file.has_value(),
              .loaded = now.wall,
              .reload_error = boot.why_not_the_file} {
  if (status_.last_good) {
    events_.record(
        EventKind::last_good_used, Severity::error, "",
        "the policy file is not used, the last good policy serves instead:\n" + *boot.why_not_the_file,
        now.wall);
  }
}

void ChangeControl::started(const Instant& now) {
  if (revisions_.trouble()) tell_not_kept("the revisions before are lost: " + *revisions_.trouble(), now);
  std::vector<std::uint64_t> waited;
  for (const Revision& r : revisions_.all())
    if (r.state == RevisionState::waiting) waited.push_back(r.number);
  for (const std::uint64_t number : waited)
    settle(number, RevisionState::rolled_back, "the daemon ended before it was confirmed", now);
  if (status_.last_good) {
    const Revision* const same = revisions_.with_files(loaded_.files);
    status_.revision = same == nullptr ? 0 : same->number;
    return;
  }
  status_.revision = keep_revision("start", "", RevisionState::good, now);
  keep_as_last_good(now);
}

std::optional<ChangeOutcome> ChangeControl::read_file(LoadedPolicy& next) const {
  auto read = load_policy(file_);
  if (auto* failure = std::get_if<LoadFailure>(&read))
    return refusal(ChangeOutcome::Result::bad_policy, std::move(failure->rendered), status_.revision);
  next = std::get<LoadedPolicy>(std::move(read));
  const auto restart_only = restart_only_changes(loaded_.policy, lan_at_start_, next.policy);
  if (restart_only.empty()) return std::nullopt;
  return refusal(ChangeOutcome::Result::bad_policy, fmt::format("{}", fmt::join(restart_only, "; ")),
                 status_.revision);
}

ChangeOutcome ChangeControl::bring(LoadedPolicy next, const Instant& now) {
  InForce made = put_in_force_(next.policy, now);
  if (made.why_not) {
    return refusal(ChangeOutcome::Result::refused, "the kernel refused it: " + *made.why_not,
                   status_.revision);
  }
  loaded_ = std::move(next);
  stands_for_ = 0;
  status_.loaded = now.wall;
  status_.last_good = false;
  status_.reload_error.reset();
  return {.result = ChangeOutcome::Result::done, .text = {}, .changes = std::move(made.changes)};
}

bool ChangeControl::reload(const Instant& now) {
  LoadedPolicy next;
  std::optional<ChangeOutcome> failed;
  if (waiting_) {
    failed = refusal(ChangeOutcome::Result::not_now,
                     numbered(waiting_->number) + " waits: `weir confirm` it or `weir rollback` first",
                     status_.revision);
  } else {
    failed = read_file(next);
  }
  ChangeOutcome outcome = failed ? *std::move(failed) : bring(std::move(next), now);
  if (outcome.result != ChangeOutcome::Result::done) {
    events_.record(EventKind::reload_failed, Severity::error, "",
                   "reload changed nothing, the policy before it serves on: " + outcome.text, now.wall);
    status_.reload_error = std::move(outcome.text);
    return false;
  }
  events_.record(EventKind::reloaded, Severity::info, "",
                 fmt::format("policy reloaded with {} change(s) in the kernel", outcome.changes.size()),
                 now.wall);
  status_.revision = keep_revision("reload", "", RevisionState::good, now);
  keep_as_last_good(now);
  return true;
}

ChangeOutcome ChangeControl::apply(const ChangeRequest& request, const Instant& now) {
  if (waiting_) {
    return refusal(ChangeOutcome::Result::not_now,
                   numbered(waiting_->number) + " waits to be confirmed: confirm it or roll it back first",
                   status_.revision);
  }
  LoadedPolicy next;
  if (auto failed = read_file(next)) return *std::move(failed);
  if (request.confirm_within && next.files == loaded_.files) {
    status_.last_good = false;
    status_.reload_error.reset();
    return {.text = "the file holds what is in force: nothing waits to be confirmed",
            .revision = status_.revision};
  }
  Waiting waiting{.number = 0,
                  .before = loaded_,
                  .before_number = status_.revision,
                  .until = now.steady + request.confirm_within.value_or(Duration::zero())};
  if (request.confirm_within) {
    // First on disk, and what it goes back to: a daemon that ends at any point from here on must find both.
    try {
      library_.store(loaded_.files);
      waiting.number = revisions_.add(next.files, request.by, request.comment, RevisionState::waiting,
                                      now.wall, status_.revision);
    } catch (const std::exception& failure) {
      return refusal(ChangeOutcome::Result::refused,
                     fmt::format("it could not be kept as one to confirm: {}", failure.what()),
                     status_.revision);
    }
  }
  ChangeOutcome outcome = bring(std::move(next), now);
  if (outcome.result != ChangeOutcome::Result::done) {
    if (waiting.number != 0) settle(waiting.number, RevisionState::rolled_back, outcome.text, now);
    return outcome;
  }
  if (request.confirm_within) {
    status_.revision = waiting.number;
    status_.confirm_by = now.wall + std::chrono::duration_cast<WallTime::duration>(*request.confirm_within);
    waiting_ = std::move(waiting);
  } else {
    status_.revision = keep_revision(request.by, request.comment, RevisionState::good, now);
    keep_as_last_good(now);
  }
  outcome.revision = status_.revision;
  outcome.confirm_by = status_.confirm_by;
  outcome.text = fmt::format("{} is in force{}{}", numbered(status_.revision), by_whom(request.by),
                             status_.confirm_by ? "; it goes back by itself unless it is confirmed by " +
                                                      iso_utc(*status_.confirm_by)
                                                : "");
  events_.record(EventKind::policy_applied, Severity::info, "", outcome.text, now.wall);
  return outcome;
}

ChangeOutcome ChangeControl::confirm(const std::string& by, const Instant& now) {
  if (!waiting_)
    return refusal(ChangeOutcome::Result::not_now, "nothing waits to be confirmed", status_.revision);
  // On disk first: a start must not go back from what was confirmed.
  try {
    revisions_.settle(waiting_->number, RevisionState::good, "");
  } catch (const std::exception& failure) {
    return refusal(ChangeOutcome::Result::refused,
                   fmt::format("it could not be kept, and still waits: {}", failure.what()),
                   status_.revision);
  }
  waiting_.reset();
  status_.confirm_by.reset();
  status_.reload_error.reset();
  keep_as_last_good(now);
  ChangeOutcome outcome{.text = fmt::format("{} is confirmed{}", numbered(status_.revision), by_whom(by)),
                        .revision = status_.revision};
  events_.record(EventKind::policy_confirmed, Severity::info, "", outcome.text, now.wall);
  return outcome;
}

ChangeOutcome ChangeControl::back_to_before(const std::string& why, const Instant& now) {
  ChangeOutcome outcome = bring(waiting_->before, now);
  if (outcome.result != ChangeOutcome::Result::done) {
    waiting_->until = now.steady + kTryAgain;
    events_.record(EventKind::policy_rolled_back, Severity::error, "",
                   fmt::format("{} could not be rolled back, trying again: {}", numbered(waiting_->number),
                               outcome.text),
                   now.wall);
    return outcome;
  }
  const Waiting done = *std::exchange(waiting_, std::nullopt);
  status_.confirm_by.reset();
  status_.revision = done.before_number;
  status_.last_good = true;
  status_.reload_error = fmt::format("{} was rolled back: {}", numbered(done.number), why);
  settle(done.number, RevisionState::rolled_back, why, now);
  outcome.revision = status_.revision;
  outcome.text = fmt::format("{}; {} serves again", *status_.reload_error, numbered(status_.revision));
  events_.record(EventKind::policy_rolled_back, Severity::warning, "", outcome.text, now.wall);
  return outcome;
}

ChangeOutcome ChangeControl::roll_back(std::optional<std::uint64_t> to, const std::string& by,
                                       const Instant& now) {
  if (waiting_) {
    if (!to || *to == waiting_->before_number) return back_to_before("rolled back" + by_whom(by), now);
    return refusal(ChangeOutcome::Result::not_now,
                   numbered(waiting_->number) + " waits to be confirmed: confirm it or roll it back first",
                   status_.revision);
  }
  if (!to) {
    to = good_before();
    if (!to)
      return refusal(ChangeOutcome::Result::no_such, "there is no good revision before", status_.revision);
  }
  auto files = revisions_.files(*to);
  if (const auto* why = std::get_if<std::string>(&files))
    return refusal(ChangeOutcome::Result::no_such, *why, status_.revision);
  auto read = load_kept(std::get<std::vector<PolicyFile>>(std::move(files)));
  if (auto* failure = std::get_if<LoadFailure>(&read))
    return refusal(ChangeOutcome::Result::bad_policy, std::move(failure->rendered), status_.revision);
  auto& next = std::get<LoadedPolicy>(read);
  if (const auto restart_only = restart_only_changes(loaded_.policy, lan_at_start_, next.policy);
      !restart_only.empty()) {
    return refusal(ChangeOutcome::Result::bad_policy, fmt::format("{}", fmt::join(restart_only, "; ")),
                   status_.revision);
  }
  ChangeOutcome outcome = bring(std::move(next), now);
  if (outcome.result != ChangeOutcome::Result::done) return outcome;
  const std::uint64_t left = status_.revision;
  status_.revision = keep_revision(by, fmt::format("back to revision {}", *to), RevisionState::good, now);
  stands_for_ = *to;
  keep_as_last_good(now);
  status_.last_good = true;
  status_.reload_error = fmt::format("{} was gone back to; the policy file may hold another", numbered(*to));
  outcome.revision = status_.revision;
  outcome.text = fmt::format("back from {} to {}{}: {} is in force", numbered(left), numbered(*to),
                             by_whom(by), numbered(status_.revision));
  events_.record(EventKind::policy_rolled_back, Severity::warning, "", outcome.text, now.wall);
  return outcome;
}

void ChangeControl::every_second(const Instant& now) {
  if (waiting_ && now.steady >= waiting_->until) {
    back_to_before("it was not confirmed in time", now);
    return;
  }
  if (waiting_ || (looked_ && now.steady - *looked_ < kLookAtFile)) return;
  looked_ = now.steady;
  if (not_saved_) keep_as_last_good(now);
  if (!status_.last_good || !file_holds_what_serves()) return;
  status_.last_good = false;
  status_.reload_error.reset();
}

/// The newest good one before what is in force, or before what that went back to.
std::optional<std::uint64_t> ChangeControl::good_before() const {
  const std::uint64_t from = stands_for_ != 0 ? stands_for_ : status_.revision;
  const auto& all = revisions_.all();
  const auto before = std::find_if(all.rbegin(), all.rend(), [&](const Revision& r) {
    return r.state == RevisionState::good && (from == 0 || r.number < from);
  });
  return before == all.rend() ? std::nullopt : std::optional(before->number);
}

bool ChangeControl::file_holds_what_serves() const {
  return std::ranges::all_of(loaded_.files, [this](const PolicyFile& file) {
    // The first is the operator's own, wherever the copy that serves was read from.
    const auto& path = &file == &loaded_.files.front() ? file_ : file.path;
    const auto read = read_whole(path, file.text.size());
    const auto* text = std::get_if<std::string>(&read);
    return text != nullptr && *text == file.text;
  });
}

std::uint64_t ChangeControl::keep_revision(const std::string& by, const std::string& comment,
                                           RevisionState state, const Instant& now) {
  try {
    const Revision* const same = revisions_.with_files(loaded_.files);
    const bool newest = same != nullptr && same == &revisions_.all().back();
    if (newest && same->state == state) return same->number;
    const std::uint64_t number =
        revisions_.add(loaded_.files, by, comment, state, now.wall, status_.revision);
    not_kept_.reset();
    return number;
  } catch (const std::exception& failure) {
    tell_not_kept(fmt::format("this revision could not be kept: {}", failure.what()), now);
    return 0;
  }
}

void ChangeControl::settle(std::uint64_t number, RevisionState state, const std::string& note,
                           const Instant& now) {
  try {
    revisions_.settle(number, state, note);
  } catch (const std::exception& failure) {
    tell_not_kept(
        fmt::format("that revision {} is {} could not be kept: {}", number, to_string(state), failure.what()),
        now);
  }
}

void ChangeControl::keep_as_last_good(const Instant& now) {
  try {
    library_.store(loaded_.files);
    not_saved_.reset();
  } catch (const std::exception& failure) {
    std::string why = fmt::format("the last good policy could not be saved: {}", failure.what());
    if (not_saved_ == why) return;  // tried again
    not_saved_ = std::move(why);
    events_.record(EventKind::last_good_not_saved, Severity::warning, "", *not_saved_, now.wall);
  }
}

void ChangeControl::tell_not_kept(const std::string& why, const Instant& now) {
  not_kept_ = why;
  events_.record(EventKind::last_good_not_saved, Severity::warning, "", why, now.wall);
}

void ChangeControl::add_degradations(std::vector<Degradation>& to) const {
  if (status_.last_good) {
    to.push_back(
        {"last_good_policy", "the policy file is not in force, the last good policy serves instead"});
  }
  if (status_.reload_error && !status_.last_good) {
    to.push_back({"reload_failed", "the last reload changed nothing; the policy before it serves on"});
  }
  if (not_saved_) to.push_back({"last_good_not_saved", *not_saved_});
  if (not_kept_) to.push_back({"revision_not_kept", *not_kept_});
}

}  // namespace weir::gateway
