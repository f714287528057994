/// A network namespace of the test's own, entered by the calling thread and left again at the end.
///
/// It has no name: the kernel removes it with everything in it when the last user leaves, however the test
/// ends.
#pragma once

#include <array>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

namespace weir::shaper::testing {

/// What `command` prints; throws when it fails.
inline std::string output_of(const std::string& command) {
  const auto close = [](std::FILE* file) { return pclose(file); };
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot run " + command);
  std::string text;
  std::array<char, 4096> chunk{};
  while (const auto n = std::fread(chunk.data(), 1, chunk.size(), pipe)) text.append(chunk.data(), n);
  if (close(pipe) != 0) throw std::runtime_error(command + ": " + text);
  return text;
}

class TestNamespace {
 public:
  TestNamespace() : before_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    if (before_ < 0 || unshare(CLONE_NEWNET) != 0)
      throw std::runtime_error("cannot make a network namespace");
    output_of(
        "ip link add wan0 mtu 1500 type veth peer name far0 && ip link set wan0 up && ip link set far0 up");
  }
  ~TestNamespace() {
    if (setns(before_, CLONE_NEWNET) != 0) std::abort();  // the next test would run in a strange place
    close(before_);
  }
  TestNamespace(const TestNamespace&) = delete;
  TestNamespace& operator=(const TestNamespace&) = delete;

 private:
  int before_;
};

/// Base of tests that need the real kernel: a visible skip without root.
class NamespaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root for a network namespace";
    place_ = std::make_unique<TestNamespace>();
  }
  void TearDown() override { place_.reset(); }

 private:
  std::unique_ptr<TestNamespace> place_;
};

}  // namespace weir::shaper::testing
