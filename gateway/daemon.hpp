/// `weir run`: the loop, the threads, the sockets and the signals around a Gateway.
#pragma once

#include <filesystem>
#include <string>

namespace weir::gateway {

struct RunOptions {
  std::filesystem::path config;
  std::filesystem::path state_dir = "/run/weir";
  std::filesystem::path bpf_dir = "/sys/fs/bpf/weir";
  std::filesystem::path library_dir = "/var/lib/weir";
  bool clear_on_exit = false;
  bool replace = false;
  std::string log_level = "info";
};

/// Runs until SIGTERM or SIGINT; returns the process's exit code (cli.hpp).
[[nodiscard]] int run_daemon(const RunOptions& given);

}  // namespace weir::gateway
