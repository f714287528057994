/// The policy's life: from the file into force, kept or rolled back.
///
///   start      the file; its last good copy where the file is bad, or holds what was rolled back
///   reload     the file again: good at once
///   apply      the file again; with a time to confirm it is `waiting`, and goes back by itself when that is
///   up roll_back  to the policy before, or to any revision that is kept
///
/// Whatever fails leaves the policy in force that was. A daemon that ends while a revision waits starts with
/// the one before. Not thread-safe: the daemon's loop owns it. The policy file itself is never written here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/load.hpp"
#include "gateway/clock.hpp"
#include "gateway/event_log.hpp"
#include "gateway/policy_library.hpp"
#include "gateway/revision_log.hpp"
#include "gateway/status.hpp"

namespace weir::gateway {

/// What of `next` takes a restart to change, one sentence each; empty: `next` can be taken over while
/// running. `lan`: the LAN port that the process was started with; empty: none.
[[nodiscard]] std::vector<std::string> restart_only_changes(const Policy& current, const std::string& lan,
                                                            const Policy& next);

struct ChangeRequest {
  std::string by;
  std::string comment;
  std::optional<Duration> confirm_within;  ///< nullopt: good at once
};

/// What became of a request.
struct ChangeOutcome {
  enum class Result : std::uint8_t {
    done,
    bad_policy,  ///< the file has problems, or what changed takes a restart
    not_now,     ///< another revision waits, or none does
    no_such,     ///< revision
    refused,     ///< by the kernel
  };
  Result result = Result::done;
  std::string text;                    ///< one sentence, or the file's problems ready to print
  std::uint64_t revision = 0;          ///< in force now; 0: it could not be kept
  std::vector<std::string> changes{};  ///< made in the kernel, in their order
  std::optional<WallTime> confirm_by{};
};

class ChangeControl {
 public:
  /// What putting a policy in force came to.
  struct InForce {
    std::optional<std::string> why_not;  ///< nullopt: it is
    std::vector<std::string> changes;
  };
  using PutInForce = std::function<InForce(const Policy& next, const Instant& now)>;

  /// `library`, `revisions` and `events` must outlive it.
  ChangeControl(std::filesystem::path policy_file, BootPolicy boot, const PolicyLibrary& library,
                RevisionLog& revisions, EventLog& events, PutInForce put_in_force, const Instant& now);

  /// The boot's policy is in force.
  void started(const Instant& now);
  /// False: it changed nothing, and status().reload_error says why.
  bool reload(const Instant& now);
  ChangeOutcome apply(const ChangeRequest& request, const Instant& now);
  ChangeOutcome confirm(const std::string& by, const Instant& now);
  /// Without a number: to the policy before the one that waits, or before the one in force.
  ChangeOutcome roll_back(std::optional<std::uint64_t> to, const std::string& by, const Instant& now);
  void every_second(const Instant& now);

  [[nodiscard]] const Policy& policy() const { return loaded_.policy; }
  [[nodiscard]] const PolicyStatus& status() const { return status_; }
  [[nodiscard]] const RevisionLog& revisions() const { return revisions_; }
  void add_degradations(std::vector<Degradation>& to) const;

 private:
  struct Waiting {
    std::uint64_t number = 0;  ///< 0: it could not be kept
    LoadedPolicy before;
    std::uint64_t before_number = 0;
    TimePoint until;
  };

  [[nodiscard]] bool file_holds_what_serves() const;
  [[nodiscard]] std::optional<ChangeOutcome> read_file(LoadedPolicy& next) const;
  [[nodiscard]] ChangeOutcome bring(LoadedPolicy next, const Instant& now);
  /// Writes down that `loaded_` is in force; 0: it could not be.
  std::uint64_t keep_revision(const std::string& by, const std::string& comment, RevisionState state,
                              const Instant& now);
  void settle(std::uint64_t number, RevisionState state, const std::string& note, const Instant& now);
  void keep_as_last_good(const Instant& now);
  ChangeOutcome back_to_before(const std::string& why, const Instant& now);
  void tell_not_kept(const std::string& why, const Instant& now);
  [[nodiscard]] std::optional<std::uint64_t> good_before() const;

  std::filesystem::path file_;
  LoadedPolicy loaded_;
  std::string lan_at_start_;  ///< empty: none
  const PolicyLibrary& library_;
  RevisionLog& revisions_;
  EventLog& events_;
  PutInForce put_in_force_;
  PolicyStatus status_;
  std::optional<Waiting> waiting_;
  std::optional<TimePoint> looked_;       ///< at the file, while another policy serves
  std::optional<std::string> not_saved_;  ///< why the last good policy is not on disk
  std::optional<std::string> not_kept_;   ///< why the list of revisions is not what it should be
  std::uint64_t stands_for_ = 0;          ///< the revision that the one in force went back to; 0: none
};

}  // namespace weir::gateway
