/// The command line as a test runs it.
#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "gateway/cli.hpp"

namespace weir::gateway::test {

struct Outcome {
  int code = 0;
  std::string out;
  std::string complaint;
};

inline Outcome weir(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "weir");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = run_command_line(static_cast<int>(argv.size()), argv.data());
  return {.code = code,
          .out = testing::internal::GetCapturedStdout(),
          .complaint = testing::internal::GetCapturedStderr()};
}

}  // namespace weir::gateway::test
