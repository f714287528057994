// lab_policer: puts the test policer (bpf/policer.bpf.c) on a port of the current network namespace and obeys
// commands on its standard input, one line each, each answered by one line of JSON:
//
//   read                               the counts since the start
//   set rate_bps=45000000 bucket_bytes=56250 loss=0.01 loss_burst=10
//                                      changes what is named and keeps tokens and counts
//
// It ends, and takes the program off the port again, when its input does. The bucket starts full.
#include "bpf/policer.h"

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace weir::lab {
namespace {

namespace json = boost::json;

/// What the provider sells, in words a lab uses.
struct Contract {
  std::uint64_t rate_bps = 0;  ///< 0: no limit
  std::uint64_t bucket_bytes = 0;
  double loss = 0.0;        ///< mean share of packets lost at random, 0..1
  double loss_burst = 1.0;  ///< mean run of losses, packets; 1: independent losses
};

[[nodiscard]] std::uint64_t as_threshold(double probability) {
  return static_cast<std::uint64_t>(std::llround(probability * 0x1p32));
}

[[nodiscard]] policer_settings to_kernel(const Contract& c) {
  if (c.loss < 0.0 || c.loss >= 1.0) throw std::invalid_argument("loss must be in [0, 1)");
  if (c.loss_burst < 1.0) throw std::invalid_argument("loss_burst must be at least 1");
  if (c.rate_bps != 0 && c.bucket_bytes < 1514)
    throw std::invalid_argument("bucket_bytes must hold at least one full frame (1514)");
  policer_settings s{};
  s.rate_bps = c.rate_bps;
  s.bucket_bits = c.bucket_bytes * 8;
  if (c.loss_burst > 1.0 && c.loss > 0.0) {
    // A chain whose bad state lasts 1/leave packets on average and holds `loss` of all packets in the long
    // run.
    const double leave = 1.0 / c.loss_burst;
    s.burst_leave = as_threshold(leave);
    s.burst_enter = as_threshold(leave * c.loss / (1.0 - c.loss));
  } else {
    s.loss_threshold = as_threshold(c.loss);
  }
  return s;
}

[[noreturn]] void fail(int error, const std::string& attempt) {
  throw std::system_error(error, std::generic_category(), attempt);
}

/// The program in the kernel and its place on the port; both go with this object.
class AttachedPolicer {
 public:
  AttachedPolicer(const std::filesystem::path& object, const std::string& interface,
                  bpf_tc_attach_point where, const Contract& contract, std::uint64_t seed)
      : object_(bpf_object__open_file(object.c_str(), nullptr)) {
    if (!object_) fail(errno, "open " + object.string());
    if (const int e = bpf_object__load(object_.get()); e != 0) fail(-e, "load " + object.string());
    settings_fd_ = map_fd("settings");
    state_fd_ = map_fd("state");
    change(contract);
    start_with_full_bucket(contract, seed);
    attach(interface, where);
  }

  ~AttachedPolicer() {
    bpf_tc_opts which = options();
    bpf_tc_detach(&hook_, &which);
  }
  AttachedPolicer(const AttachedPolicer&) = delete;
  AttachedPolicer& operator=(const AttachedPolicer&) = delete;

  void change(const Contract& contract) {
    const std::uint32_t key = 0;
    const policer_settings value = to_kernel(contract);
    if (bpf_map_update_elem(settings_fd_, &key, &value, BPF_ANY) != 0)
      fail(errno, "write the policer's settings");
  }

  [[nodiscard]] policer_state read() const {
    const std::uint32_t key = 0;
    policer_state value{};
    // With the lock: packets and bytes of one answer belong together.
    if (bpf_map_lookup_elem_flags(state_fd_, &key, &value, BPF_F_LOCK) != 0)
      fail(errno, "read the policer's counts");
    return value;
  }

 private:
  static constexpr std::uint32_t kPriority = 60'000;  // behind whatever else a lab may put there

  // libbpf's own macro for these structs is not C++: the size field is what it fills in.
  [[nodiscard]] static bpf_tc_opts options() {
    bpf_tc_opts o{};
    o.sz = sizeof(o);
    o.handle = 1;
    o.priority = kPriority;
    return o;
  }

  [[nodiscard]] int map_fd(const char* name) const {
    const int fd = bpf_object__find_map_fd_by_name(object_.get(), name);
    if (fd < 0) fail(-fd, std::string("find map ") + name);
    return fd;
  }

  void start_with_full_bucket(const Contract& contract, std::uint64_t seed) {
    const std::uint32_t key = 0;
    policer_state value{};
    value.tokens = contract.bucket_bytes * 8 * 1'000'000'000ULL;
    value.random = seed | 1U;  // xorshift must not start at zero
    if (bpf_map_update_elem(state_fd_, &key, &value, BPF_ANY) != 0) fail(errno, "fill the policer's bucket");
  }

  void attach(const std::string& interface, bpf_tc_attach_point where) {
    const unsigned index = if_nametoindex(interface.c_str());
    if (index == 0) fail(errno, "find interface " + interface);
    hook_.sz = sizeof(hook_);
    hook_.ifindex = static_cast<int>(index);
    hook_.attach_point = where;
    if (const int e = bpf_tc_hook_create(&hook_); e != 0 && e != -EEXIST)
      fail(-e, "create clsact on " + interface);
    bpf_program* program = bpf_object__find_program_by_name(object_.get(), "police");
    bpf_tc_opts how = options();
    how.prog_fd = bpf_program__fd(program);
    if (const int e = bpf_tc_attach(&hook_, &how); e != 0) fail(-e, "attach the policer to " + interface);
  }

  struct CloseObject {
    void operator()(bpf_object* o) const { bpf_object__close(o); }
  };
  std::unique_ptr<bpf_object, CloseObject> object_;
  int settings_fd_ = -1;
  int state_fd_ = -1;
  bpf_tc_hook hook_{};
};

[[nodiscard]] json::object to_json(const policer_count& c) {
  return {{"packets", c.packets}, {"bytes", c.bytes}};
}

[[nodiscard]] json::object to_json(const policer_totals& t) {
  return {{"offered", to_json(t.offered)},
          {"forwarded", to_json(t.forwarded)},
          {"policed", to_json(t.policed)},
          {"lost", to_json(t.lost)}};
}

[[nodiscard]] json::object to_json(const policer_state& s) {
  json::object answer = to_json(s.total);
  json::object by_dscp;
  for (std::size_t dscp = 0; dscp < std::size(s.dscp); ++dscp)
    if (s.dscp[dscp].offered.packets != 0) by_dscp[std::to_string(dscp)] = to_json(s.dscp[dscp]);
  answer["dscp"] = std::move(by_dscp);
  return answer;
}

void assign(Contract& contract, std::string_view name, const std::string& value) {
  if (name == "rate_bps")
    contract.rate_bps = std::stoull(value);
  else if (name == "bucket_bytes")
    contract.bucket_bytes = std::stoull(value);
  else if (name == "loss")
    contract.loss = std::stod(value);
  else if (name == "loss_burst")
    contract.loss_burst = std::stod(value);
  else
    throw std::invalid_argument("unknown setting " + std::string(name));
}

[[nodiscard]] json::object obey(const std::string& line, AttachedPolicer& policer, Contract& contract) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  if (verb == "read") return to_json(policer.read());
  if (verb != "set") throw std::invalid_argument("unknown command " + verb);
  Contract changed = contract;
  for (std::string word; words >> word;) {
    const auto equals = word.find('=');
    if (equals == std::string::npos) throw std::invalid_argument("not NAME=VALUE: " + word);
    assign(changed, std::string_view(word).substr(0, equals), word.substr(equals + 1));
  }
  policer.change(changed);
  contract = changed;
  return {{"ok", true}};
}

void serve(AttachedPolicer& policer, Contract contract) {
  std::cout << json::object{{"ready", true}} << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << obey(line, policer, contract) << std::endl;
    } catch (const std::exception& e) {
      std::cout << json::object{{"error", e.what()}} << std::endl;
    }
  }
}

}  // namespace
}  // namespace weir::lab

int main(int argc, char** argv) {
  using namespace weir::lab;
  CLI::App app{"A provider's policer for labs: token bucket, random and bursty loss, exact counts"};
  std::string interface;
  std::filesystem::path object =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / "policer.bpf.o";
  bool ingress = false;
  std::uint64_t seed = 1;
  Contract contract;
  app.add_option("--interface", interface, "port to police")->required();
  app.add_flag("--ingress", ingress, "police what arrives at the port instead of what leaves by it");
  app.add_option("--rate-bps", contract.rate_bps, "0: no rate limit, only loss");
  app.add_option("--bucket-bytes", contract.bucket_bytes, "depth of the token bucket");
  app.add_option("--loss", contract.loss, "mean share of packets lost at random");
  app.add_option("--loss-burst", contract.loss_burst, "mean run of losses in packets");
  app.add_option("--seed", seed, "of the random losses");
  app.add_option("--object", object, "the compiled kernel program");
  CLI11_PARSE(app, argc, argv);
  try {
    AttachedPolicer policer(object, interface, ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS, contract, seed);
    serve(policer, contract);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "lab_policer: " << e.what() << '\n';
    return 1;
  }
}
