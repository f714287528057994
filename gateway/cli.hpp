/// The command line: `weir SUBCOMMAND ...`.
///
/// Output for people goes to standard output, complaints to standard error; the exit code says which kind of
/// failure it was (also in `weir --help`).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/units.hpp"

namespace weir::gateway {

inline constexpr int kExitOk = 0;
inline constexpr int kExitPolicy = 1;      ///< the policy or the input has problems
inline constexpr int kExitUsage = 2;       ///< the command line is wrong
inline constexpr int kExitSystem = 3;      ///< the kernel or a file refused, or a right is missing
inline constexpr int kExitNotRunning = 4;  ///< nobody answers on the API socket

/// Parses and runs one command. Never throws.
[[nodiscard]] int run_command_line(int argc, char** argv);

struct PortOptions {
  std::filesystem::path state_dir = "/run/weir";
  std::filesystem::path bpf_dir = "/sys/fs/bpf/weir";
  bool replace = false;
};

int print_schema();
int print_manual();
int check_policy(const std::filesystem::path& file);
[[nodiscard]] int apply_once(const std::filesystem::path& file, const PortOptions& options);
[[nodiscard]] int show_plan(const std::filesystem::path& file, const PortOptions& options, bool as_tc);
[[nodiscard]] int clear_port(const std::string& interface, const PortOptions& options);
/// The port that a policy file names.
[[nodiscard]] int clear_port_of(const std::filesystem::path& file, const PortOptions& options);

struct ApplyOptions {
  std::filesystem::path socket = "/run/weir/weir.sock";
  std::filesystem::path file;  ///< empty: the daemon's own
  std::string comment;
  std::optional<Duration> confirm_within;
};
/// Another file than the daemon's own takes that one's place, if the daemon takes it.
[[nodiscard]] int apply_by_daemon(const ApplyOptions& options);

struct ChangeOptions {
  std::filesystem::path socket = "/run/weir/weir.sock";
  std::uint64_t revision = 0;  ///< 0: none was named
  std::string file;            ///< of a revision that has several; empty: all
  bool json = false;
};
[[nodiscard]] int confirm_change(const ChangeOptions& options);
[[nodiscard]] int roll_back(const ChangeOptions& options);
[[nodiscard]] int show_revisions(const ChangeOptions& options);

/// Two revisions; one against what is in force; none: what is in force against the files.
struct DiffOptions {
  std::filesystem::path socket = "/run/weir/weir.sock";
  std::uint64_t from = 0;
  std::uint64_t to = 0;
};
/// kExitPolicy: they differ.
[[nodiscard]] int show_difference(const DiffOptions& options);

struct StatusOptions {
  std::filesystem::path socket = "/run/weir/weir.sock";
  bool json = false;
  bool watch = false;
  bool verbose = false;
};
[[nodiscard]] int show_status(const StatusOptions& options);

struct WhyOptions {
  std::filesystem::path socket = "/run/weir/weir.sock";
  std::string site;
  std::size_t most = 10;
  bool inbound = false;
  bool json = false;
};
[[nodiscard]] int show_why(const WhyOptions& options);

/// A packet in words: gateway/explain.hpp says which there are.
struct ExplainOptions {
  std::filesystem::path socket = "/run/weir/weir.sock";
  std::filesystem::path file = "/etc/weir/weir.yaml";  ///< asked when the daemon does not run,
  bool from_file = false;                              ///< or when it is not to be asked
  std::vector<std::pair<std::string, std::string>> words;
  bool json = false;
};
[[nodiscard]] int explain(const ExplainOptions& options);

struct RulesOptions {
  std::filesystem::path socket = "/run/weir/weir.sock";
  std::string site;  ///< empty: all
  bool json = false;
};
[[nodiscard]] int show_rules(const RulesOptions& options);

struct RecordOptions {
  std::filesystem::path socket = "/run/weir/weir.sock";
  std::filesystem::path file;  ///< "-": standard output
  std::string site;            ///< empty: all
};
[[nodiscard]] int record(const RecordOptions& options);

struct ReplayOptions {
  std::filesystem::path file;
  std::string site;  ///< empty: all
  bool json = false;
};
/// Its exit codes are its own: 0 all decisions as recorded, 1 one differs, 2 no sound recording.
[[nodiscard]] int replay(const ReplayOptions& options);

/// Either `read` or `interface` is given.
struct ObserveOptions {
  std::filesystem::path read;
  std::string interface;
  std::vector<std::string> inside;
  std::filesystem::path policy;
  std::optional<std::chrono::nanoseconds> duration;
  std::size_t workers = 1;  ///< taps and threads; more than one: with `inside` or `policy`
  bool json = false;
  bool flows = false;
  std::size_t most_flows = 10'000;  ///< rows with `flows`
};
[[nodiscard]] int observe(const ObserveOptions& options);

}  // namespace weir::gateway
