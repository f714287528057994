#include "shaper/classifier_kernel.hpp"

#include <array>
#include <cstdarg>
#include <cstdio>
#include <system_error>

namespace weir::shaper {
namespace {

std::string& collected_log() {
  thread_local std::string collected;
  return collected;
}

int collect(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  std::array<char, 4096> line{};
  const int length = std::vsnprintf(line.data(), line.size(), format, arguments);
  collected_log() += line.data();
  return length;
}

}  // namespace

LibbpfLog::LibbpfLog() : previous_(libbpf_set_print(&collect)) {
  collected_log().clear();
}
LibbpfLog::~LibbpfLog() {
  libbpf_set_print(previous_);
}

std::string LibbpfLog::with_tail(const std::string& attempt) {
  constexpr std::size_t kEnough = 1000;  // a verifier's log is long and ends with what it did not like
  const auto& all = collected_log();
  if (all.empty()) return attempt;
  return attempt + " (" + (all.size() <= kEnough ? all : "..." + all.substr(all.size() - kEnough)) + ")";
}

void fail_classifier(int error, const std::string& attempt) {
  throw std::system_error(error, std::generic_category(), attempt);
}

}  // namespace weir::shaper
