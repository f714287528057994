// What the shaper takes for a policy, on a port of the namespace it is started in (tests/bench/shaper.py
// makes one): from nothing, the same again, one subnet changed, all rates changed, one site's rate changed.
// One JSON object on standard output. Needs root.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include "config/load.hpp"
#include "shaper/port_shaper.hpp"

namespace {

namespace json = boost::json;
using weir::Policy;
using weir::Rate;
using Seconds = std::chrono::duration<double>;

struct Spent {
  double wall_s = 0;
  double user_s = 0;
  double system_s = 0;
};

double seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
}

/// Wall time, and this process's own.
template <class Work>
Spent spent(Work&& work) {
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_SELF, &before);
  const auto began = std::chrono::steady_clock::now();
  work();
  const auto ended = std::chrono::steady_clock::now();
  getrusage(RUSAGE_SELF, &after);
  return {.wall_s = Seconds(ended - began).count(),
          .user_s = seconds(after.ru_utime) - seconds(before.ru_utime),
          .system_s = seconds(after.ru_stime) - seconds(before.ru_stime)};
}

json::object to_json(const Spent& s) {
  return {{"wall_s", s.wall_s}, {"user_s", s.user_s}, {"system_s", s.system_s}};
}

Policy read(const std::string& file) {
  auto loaded = weir::load_policy(file);
  if (const auto* failure = std::get_if<weir::LoadFailure>(&loaded))
    throw std::runtime_error(failure->rendered);
  return std::get<weir::LoadedPolicy>(std::move(loaded)).policy;
}

std::vector<Rate> rates(const Policy& policy, double share) {
  std::vector<Rate> all;
  for (const auto& site : policy.sites) all.push_back(site.rate.start * share);
  return all;
}

weir::shaper::ApplyReport require(weir::shaper::ApplyReport report) {
  if (report.fault)
    throw std::runtime_error(report.fault->attempt + ": errno " + std::to_string(report.fault->error));
  return report;
}

class Bench {
 public:
  Bench(const std::string& file, weir::shaper::PortShaper::Options options, int rounds)
      : policy_(read(file)), port_(policy_.wan.interface, options), rounds_(rounds) {}

  json::object run(const std::string& other) {
    json::object out;
    std::size_t messages = 0;
    const auto apply = [&](const Policy& policy) {
      return spent([&] { messages = require(port_.apply(policy, rates(policy, 1.0))).messages; });
    };
    const auto note = [&](const char* name, const Spent& s) {
      out[name] = to_json(s);
      out[name].as_object()["messages"] = messages;
    };
    note("from_nothing", apply(policy_));
    note("the_same_again", apply(policy_));
    if (!other.empty()) out["one_subnet"] = one_subnet(read(other), messages);
    out["messages_of_one_subnet"] = messages;
    static_cast<void>(apply(policy_));
    out["all_rates"] = all_rates(messages);
    out["messages_of_all_rates"] = messages;
    out["one_site_s"] = one_site();
    out["site_counters_s"] = repeated([&] { static_cast<void>(port_.site_counters()); });
    return out;
  }

 private:
  /// There and back.
  json::array one_subnet(const Policy& other, std::size_t& messages) {
    json::array times;
    for (int i = 0; i < rounds_; ++i) {
      const Policy& next = i % 2 == 0 ? other : policy_;
      const auto shaped = rates(next, 1.0);
      times.push_back(to_json(spent([&] { messages = require(port_.apply(next, shaped)).messages; })));
    }
    return times;
  }
  json::array all_rates(std::size_t& messages) {
    json::array times;
    for (int i = 0; i < rounds_; ++i) {
      const auto next = rates(policy_, i % 2 == 0 ? 0.97 : 1.0);
      times.push_back(to_json(spent([&] { messages = require(port_.set_rates(next)).messages; })));
    }
    return times;
  }
  json::array one_site() {
    auto now = rates(policy_, 1.0);
    require(port_.set_rates(now));
    std::size_t turn = 0;
    return repeated([&] {
      Rate& one = now[turn % now.size()];
      one = policy_.sites[turn % now.size()].rate.start * (turn / now.size() % 2 == 0 ? 0.97 : 1.0);
      ++turn;
      require(port_.set_rates(now));
    });
  }
  template <class Work>
  json::array repeated(Work&& work) {
    constexpr int kTimes = 400;
    json::array times;
    for (int i = 0; i < kTimes; ++i) times.push_back(spent(work).wall_s);
    return times;
  }

  Policy policy_;
  weir::shaper::PortShaper port_;
  int rounds_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What the shaper takes for a policy, on a real port");
  std::string file;
  std::string other;
  weir::shaper::PortShaper::Options options;
  int rounds = 10;
  app.add_option("POLICY", file)->required();
  app.add_option("--other", other, "The same with one subnet changed");
  app.add_option("--state-dir", options.state_dir)->required();
  app.add_option("--bpf-dir", options.bpf_dir)->required();
  app.add_option("--rounds", rounds);
  CLI11_PARSE(app, argc, argv);
  try {
    std::printf("%s\n", json::serialize(Bench(file, options, rounds).run(other)).c_str());
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "bench_shaper: %s\n", failure.what());
    return 1;
  }
  return 0;
}
