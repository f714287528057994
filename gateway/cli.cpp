#include "gateway/cli.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <thread>

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "config/units.hpp"
#include "gateway/daemon.hpp"
#include "gateway/decision_log.hpp"
#include "gateway/version.hpp"

namespace weir::gateway {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done; 1 the policy or the input has problems; 2 wrong command line;\n"
    "3 the kernel or a file refused, or a right is missing; 4 the daemon is not running.";

/// Everything that a command line can say; each subcommand fills its own part and sets what to run.
struct Choices {
  RunOptions run;
  PortOptions port;
  ApplyOptions apply;
  std::string confirm_within;
  ChangeOptions change;
  DiffOptions diff;
  StatusOptions status;
  WhyOptions why;
  ExplainOptions explain;
  std::map<std::string, std::string> words;
  RulesOptions rules;
  RecordOptions record;
  ReplayOptions replay;
  ObserveOptions observe;
  double observe_for_s = 0;
  std::filesystem::path file;
  std::string interface;
  bool once = false;
  bool as_tc = false;
  std::function<int()> action;
};

void add_port_options(CLI::App& command, PortOptions& port) {
  command.add_option("--state-dir", port.state_dir, "Folder for locks and port state")->capture_default_str();
  command.add_option("--bpf-dir", port.bpf_dir, "Folder in the BPF file system")->capture_default_str();
}

/// "90", "90s", "5m", "1h".
Duration waiting_time(const std::string& text) {
  static const std::map<std::string, int> kUnits{{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}};
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  const auto unit = kUnits.find(text.substr(digits));
  constexpr std::size_t kMostDigits = 6;
  if (digits == 0 || digits > kMostDigits || unit == kUnits.end())
    throw CLI::ValidationError("--confirm", "'" + text + "' is not a time such as 90s, 5m or 1h");
  return std::chrono::seconds(std::stol(text.substr(0, digits)) * unit->second);
}

void add_run(CLI::App& app, Choices& c) {
  CLI::App& run =
      *app.add_subcommand("run", "Shape the WAN port and follow the path's capacity (the daemon)");
  run.add_option("--config", c.run.config, "Policy file")->required();
  run.add_option("--state-dir", c.run.state_dir, "Folder for locks and port state")->capture_default_str();
  run.add_option("--bpf-dir", c.run.bpf_dir, "Folder in the BPF file system")->capture_default_str();
  run.add_option("--library-dir", c.run.library_dir,
                 "Folder that keeps the last good policy and what is known of the sites")
      ->capture_default_str();
  run.add_flag("--clear-on-exit", c.run.clear_on_exit, "Remove the shaping when stopped (default: it stays)");
  run.add_flag("--replace", c.run.replace, "Take the port even if somebody else's root qdisc stands there");
  run.add_option("--log-level", c.run.log_level, "How much to log")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error"}))
      ->capture_default_str();
  run.footer(
      "SIGHUP reads the policy file anew (a bad one changes nothing); SIGTERM ends and leaves the shaping.\n"
      "Example: weir run --config /etc/weir/weir.yaml");
  run.callback([&c] { c.action = [&c] { return run_daemon(c.run); }; });
}

void add_policy_commands(CLI::App& app, Choices& c) {
  CLI::App& check = *app.add_subcommand("check", "Say everything that is wrong with a policy file");
  check.add_option("FILE", c.file, "Policy file")->required();
  check.footer("Touches nothing.\nExample: weir check /etc/weir/weir.yaml");
  check.callback([&c] { c.action = [&c] { return check_policy(c.file); }; });

  CLI::App& schema = *app.add_subcommand("schema", "Print the policy file's JSON Schema, for editors");
  schema.footer("Example: weir schema > weir.schema.json");
  schema.callback([&c] { c.action = print_schema; });

  CLI::App& manual = *app.add_subcommand("manual", "Print the policy file's manual page, weir.yaml(5)");
  manual.footer("Example: weir manual | man -l -");
  manual.callback([&c] { c.action = print_manual; });

  CLI::App& apply =
      *app.add_subcommand("apply", "Have the daemon put a policy in force; or, without one, program it once");
  apply.add_option("FILE", c.file, "Policy file (default: the daemon's own)");
  auto* confirm =
      apply.add_option("--confirm", c.confirm_within,
                       "Go back by itself unless `weir confirm` comes within this time (5m, 90s)");
  auto* comment = apply.add_option("--comment", c.apply.comment, "For the list of revisions");
  auto* socket =
      apply.add_option("--socket", c.apply.socket, "The daemon's API socket")->capture_default_str();
  apply
      .add_flag("--once", c.once,
                "Without a daemon: program the tree and leave; nobody will adapt the rates, every site gets "
                "its start rate")
      ->excludes(confirm)
      ->excludes(comment)
      ->excludes(socket);
  apply.add_flag("--replace", c.port.replace,
                 "Take the port even if somebody else's root qdisc stands there");
  add_port_options(apply, c.port);
  apply.footer(
      "Another FILE than the daemon's own takes its place, once the daemon has taken it.\n"
      "Example: weir apply new.yaml --confirm 5m --comment 'more for replication'");
  apply.callback([&c] {
    if (c.once && c.file.empty()) throw CLI::RequiredError("FILE (with --once)");
    c.apply.file = c.file;
    if (!c.confirm_within.empty()) c.apply.confirm_within = waiting_time(c.confirm_within);
    c.action = [&c] { return c.once ? apply_once(c.file, c.port) : apply_by_daemon(c.apply); };
  });

  CLI::App& plan = *app.add_subcommand("plan", "Show what applying a policy would change");
  plan.add_option("FILE", c.file, "Policy file")->required();
  plan.add_flag("--tc", c.as_tc, "As tc commands");
  add_port_options(plan, c.port);
  plan.footer("Touches nothing, also beside a running daemon.\nExample: weir plan /etc/weir/weir.yaml --tc");
  plan.callback([&c] { c.action = [&c] { return show_plan(c.file, c.port, c.as_tc); }; });

  CLI::App& clear = *app.add_subcommand("clear", "Remove what Weir made on a port, and only that");
  auto* file = clear.add_option("FILE", c.file, "Policy file that names the port");
  auto* interface = clear.add_option("--interface", c.interface, "The port");
  file->excludes(interface);
  add_port_options(clear, c.port);
  clear.footer("Example: weir clear --interface wan0");
  clear.callback([&c] {
    if (c.file.empty() && c.interface.empty()) throw CLI::RequiredError("FILE or --interface");
    c.action = [&c] {
      return c.interface.empty() ? clear_port_of(c.file, c.port) : clear_port(c.interface, c.port);
    };
  });
}

void add_change_commands(CLI::App& app, Choices& c) {
  const auto socket = [&c](CLI::App& command) {
    command.add_option("--socket", c.change.socket, "The daemon's API socket")->capture_default_str();
  };
  CLI::App& confirm = *app.add_subcommand("confirm", "Keep the policy that waits to be confirmed");
  socket(confirm);
  confirm.footer("Example: weir confirm");
  confirm.callback([&c] { c.action = [&c] { return confirm_change(c.change); }; });

  CLI::App& back = *app.add_subcommand("rollback", "Put the policy before in force again, or another one");
  back.add_option("REVISION", c.change.revision, "Which one")->check(CLI::PositiveNumber);
  socket(back);
  back.footer("Changes no file.\nExample: weir rollback 11");
  back.callback([&c] { c.action = [&c] { return roll_back(c.change); }; });

  CLI::App& revisions = *app.add_subcommand("revisions", "List what was in force, when and by whom");
  revisions.add_option("REVISION", c.change.revision, "Print this one's files")->check(CLI::PositiveNumber);
  revisions.add_option("--file", c.change.file, "Of REVISION, this one of its files alone");
  revisions.add_flag("--json", c.change.json, "The API's own document");
  socket(revisions);
  revisions.footer("Example: weir revisions 11 > weir.yaml");
  revisions.callback([&c] { c.action = [&c] { return show_revisions(c.change); }; });

  CLI::App& diff = *app.add_subcommand("diff", "Show how policies differ");
  diff.add_option("FROM", c.diff.from, "Revision (default: the one in force)")->check(CLI::PositiveNumber);
  diff.add_option("TO", c.diff.to, "Revision (default: the one in force; without FROM the policy file)")
      ->check(CLI::PositiveNumber);
  diff.add_option("--socket", c.diff.socket, "The daemon's API socket")->capture_default_str();
  diff.footer("Exit codes of its own: 0 they are the same, 1 they differ.\nExample: weir diff 11 12");
  diff.callback([&c] { c.action = [&c] { return show_difference(c.diff); }; });
}

void add_status(CLI::App& app, Choices& c) {
  CLI::App& status = *app.add_subcommand("status", "Show what the daemon does and why");
  status.add_flag("--json", c.status.json, "The API's own document");
  status.add_flag("--watch", c.status.watch, "Again every second, until Ctrl-C");
  status.add_flag("-v,--verbose", c.status.verbose, "Also every class of every site");
  status.add_option("--socket", c.status.socket, "The daemon's API socket")->capture_default_str();
  status.footer("Example: weir status --watch");
  status.callback([&c] { c.action = [&c] { return show_status(c.status); }; });
}

void add_why(CLI::App& app, Choices& c) {
  CLI::App& why = *app.add_subcommand("why", "Show why a site's rate is what it is: its last decisions");
  why.add_option("SITE", c.why.site, "Name of the site")->required();
  why.add_option("-n", c.why.most, "So many decisions")
      ->capture_default_str()
      ->check(CLI::Range(std::size_t{1}, DecisionLog::kCapacity));
  why.add_flag("--inbound", c.why.inbound, "Of what comes from the site, at the LAN port");
  why.add_flag("--json", c.why.json, "The API's own document");
  why.add_option("--socket", c.why.socket, "The daemon's API socket")->capture_default_str();
  why.footer("Example: weir why dc-coast");
  why.callback([&c] { c.action = [&c] { return show_why(c.why); }; });
}

void add_explain(CLI::App& app, Choices& c) {
  CLI::App& explain = *app.add_subcommand("explain", "Say which class a packet would get, and by which rule");
  const auto word = [&](const std::string& option, const std::string& name, const std::string& help) {
    return explain.add_option_function<std::string>(
        option, [&c, name](const std::string& value) { c.words[name] = value; }, help);
  };
  word("--from", "from", "Source address")->required();
  word("--to", "to", "Destination address")->required();
  word("--dscp", "dscp", "Code point (ef, af41, 0 to 63; default: 0)");
  word("--protocol,--proto", "protocol", "IP protocol (default: tcp)");
  word("--source-port", "source_port", "Source port (default: one that no rule names)");
  word("--port,--destination-port", "port", "Destination port (the same)");
  word("--vlan", "vlan", "VLAN id (default: untagged)");
  word("--fwmark", "fwmark", "Mark of this host's firewall (default: none)");
  word("--direction", "direction",
       "outbound or inbound (default: in, where it comes from a site and sites are shaped inbound)");
  explain.add_flag("--json", c.explain.json, "The API's own document");
  auto* socket =
      explain.add_option("--socket", c.explain.socket, "The daemon's API socket")->capture_default_str();
  auto* file = explain.add_option("--config", c.explain.file, "Ask this policy file, not the daemon");
  file->excludes(socket);
  explain.footer(
      "The daemon asks the classifier in the kernel; where none runs, /etc/weir/weir.yaml is asked.\n"
      "Example: weir explain --from 10.1.8.9 --to 10.20.0.1 --port 443 --dscp af41");
  explain.callback([&c, file] {
    c.explain.from_file = file->count() > 0;
    c.explain.words.assign(c.words.begin(), c.words.end());
    c.action = [&c] { return gateway::explain(c.explain); };
  });

  CLI::App& rules = *app.add_subcommand("rules", "Show what each rule of the policy has met");
  rules.add_option("SITE", c.rules.site, "This site alone");
  rules.add_flag("--json", c.rules.json, "The API's own document");
  rules.add_option("--socket", c.rules.socket, "The daemon's API socket")->capture_default_str();
  rules.footer("Counted since the policy was loaded, before any queue.\nExample: weir rules dc-coast");
  rules.callback([&c] { c.action = [&c] { return show_rules(c.rules); }; });
}

void add_recordings(CLI::App& app, Choices& c) {
  CLI::App& take = *app.add_subcommand("record", "Save what the controllers were told and decided of late");
  take.add_option("FILE", c.record.file, "Where to; - for standard output")->required();
  take.add_option("--site", c.record.site, "This site alone");
  take.add_option("--socket", c.record.socket, "The daemon's API socket")->capture_default_str();
  take.footer("How far back it goes: recording.mebibytes of the policy.\nExample: weir record weir.jsonl");
  take.callback([&c] { c.action = [&c] { return record(c.record); }; });

  CLI::App& again = *app.add_subcommand("replay", "Run a recording through this program's controllers");
  again.add_option("FILE", c.replay.file, "A recording of weir record")->required();
  again.add_option("--site", c.replay.site, "This site alone");
  again.add_flag("--json", c.replay.json, "As JSON, one document a line");
  again.footer(
      "Exit codes of its own: 0 all decisions as recorded, 1 one differs, 2 no sound recording.\n"
      "Example: weir replay weir.jsonl");
  again.callback([&c] { c.action = [&c] { return replay(c.replay); }; });
}

/// Each worker sees its own connections only: left to infer which side is ours, they would not agree.
void require_sensible_workers(const ObserveOptions& options) {
  if (options.workers == 1) return;
  if (options.inside.empty() && options.policy.empty())
    throw CLI::ValidationError("--workers", "more than one needs --inside or --policy");
  const std::size_t processors = std::max(std::thread::hardware_concurrency(), 1U);
  if (options.workers > processors) {
    throw CLI::ValidationError("--workers", fmt::format("{} are more than the {} processors that there are",
                                                        options.workers, processors));
  }
}

void add_observe(CLI::App& app, Choices& c) {
  CLI::App& command = *app.add_subcommand("observe", "Say what a capture shows, and the rate to set by hand");
  auto* read = command.add_option("--read", c.observe.read, "Capture file: pcap, pcapng, also .xz or .gz");
  auto* interface = command.add_option("--interface", c.observe.interface, "WAN or mirror port, live");
  read->excludes(interface);
  command.add_option("--inside", c.observe.inside, "Address blocks on our side (default: inferred)");
  command.add_option("--policy", c.observe.policy, "Policy file: its sites and link layer");
  command.add_flag("--json", c.observe.json, "As JSON; live: one document a line, every second");
  auto* flows =
      command.add_flag("--flows", c.observe.flows, "Also one row a TCP connection, the largest first");
  command.add_option("--most-flows", c.observe.most_flows, "Rows of --flows at most")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->needs(flows);
  command
      .add_option("--workers", c.observe.workers,
                  "Live: threads that share the connections; with --inside or --policy")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->excludes(read);
  command.add_option("--duration", c.observe_for_s, "Live: stop after so many seconds (default: at Ctrl-C)")
      ->check(CLI::PositiveNumber)
      ->excludes(read);
  command.footer(
      "Sends nothing and changes nothing.\n"
      "Example: weir observe --read wan.pcap.xz --inside 10.1.0.0/16");
  command.callback([&c] {
    if (c.observe.read.empty() && c.observe.interface.empty())
      throw CLI::RequiredError("--read or --interface");
    require_sensible_workers(c.observe);
    if (c.observe_for_s > 0) c.observe.duration = from_seconds(c.observe_for_s);
    c.action = [&c] { return observe(c.observe); };
  });
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app("Weir: holds the traffic of each site just under what its path really carries", "weir");
  app.set_version_flag("--version", std::string("weir ") + std::string(kVersion));
  app.require_subcommand(1);
  app.footer(std::string("Example: weir run --config /etc/weir/weir.yaml\n") + kExitCodes);
  Choices choices;
  add_run(app, choices);
  add_policy_commands(app, choices);
  add_change_commands(app, choices);
  add_observe(app, choices);
  add_status(app, choices);
  add_why(app, choices);
  add_explain(app, choices);
  add_recordings(app, choices);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 has a code for every kind of mistake; for a script they are all one. Help and --version are none.
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  try {
    return choices.action();
  } catch (const std::exception& failure) {
    fmt::print(stderr, "weir: {}\n", failure.what());
    return kExitSystem;
  }
}

}  // namespace weir::gateway
