// bench_sender: sends small frames of many TCP connections out of an interface at a given rate, as fast as
// the kernel takes them when asked for more.
//
// Each connection sends two segments, then its peer acknowledges both; all frames leave the same way, as on a
// mirror port. With --to the connections go to the addresses that a file lists, one each, and
// acknowledgments, if there are any, come from the other side (--back). IP headers are complete, TCP
// checksums are left to a card that is not there. Prints one line of JSON: how many frames the kernel took,
// in what time, of which how much was ours.
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <fstream>
#include <iostream>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatch = 32;
constexpr std::uint8_t kAck = 0x10;

struct Options {
  std::string interface;
  std::string to;
  std::string back;
  std::string back_namespace;
  double rate = 100'000;
  double seconds = 5;
  double warm = 0;
  std::uint32_t flows = 1000;
  std::uint32_t bytes = 64;
};

[[noreturn]] void fail(const std::string& attempt) {
  throw std::system_error(errno, std::generic_category(), attempt);
}

void put16(std::uint8_t* at, std::uint32_t value) {
  const std::uint16_t network = htons(static_cast<std::uint16_t>(value));
  std::memcpy(at, &network, sizeof network);
}
void put32(std::uint8_t* at, std::uint32_t value) {
  const std::uint32_t network = htonl(value);
  std::memcpy(at, &network, sizeof network);
}

/// RFC 1071: the words of an IP header without options, whose field is 0, added up.
[[nodiscard]] std::uint32_t sum_of(const std::uint8_t* header) {
  std::uint32_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += static_cast<std::uint32_t>(header[i]) << 8U | header[i + 1];
  return sum;
}
[[nodiscard]] std::uint32_t sum_of(std::uint32_t address) {
  return (address >> 16U) + (address & 0xffffU);
}
[[nodiscard]] std::uint16_t checksum(std::uint32_t sum) {
  while (sum >> 16U != 0) sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(~sum);
}

using Frame = std::vector<std::uint8_t>;

/// All but sequence and acknowledgment numbers. To hardware addresses that are nobody's: the far end of a
/// veth shows it to its taps and forgets it.
[[nodiscard]] Frame frame_of(std::uint32_t flow, bool outbound, std::uint32_t bytes) {
  Frame f(bytes);
  f[0] = f[6] = 2;
  f[5] = 0xee;
  f[11] = 0xdd;
  put16(&f[12], 0x0800);
  std::uint8_t* const ip = &f[14];
  ip[0] = 0x45;
  put16(ip + 2, outbound ? bytes - 14 : 40);  // what is behind an ACK is padding
  put16(ip + 4, 1 + flow);
  put16(ip + 6, 0x4000);
  ip[8] = 64;
  ip[9] = 6;
  const std::uint32_t ours = 0x0a010000U + flow % 50'000U;         // 10.1.0.0/16
  const std::uint32_t theirs = 0x0a140000U + flow / 50'000U + 1U;  // 10.20.0.0/16
  put32(ip + 12, outbound ? ours : theirs);
  put32(ip + 16, outbound ? theirs : ours);
  put16(ip + 10, checksum(sum_of(ip)));
  std::uint8_t* const tcp = ip + 20;
  put16(tcp, outbound ? 20'000 + flow % 40'000U : 443);
  put16(tcp + 2, outbound ? 443 : 20'000 + flow % 40'000U);
  tcp[12] = 5U << 4U;
  tcp[13] = kAck;
  put16(tcp + 14, 60'000);
  return f;
}

using Parts = std::array<iovec, kBatch>;
enum class Way : std::uint8_t { kOut, kBack };

[[nodiscard]] iovec part_of(const Frame& frame) {
  return {.iov_base = const_cast<std::uint8_t*>(frame.data()), .iov_len = frame.size()};
}

/// The frames of all connections in turn: segment, segment, acknowledgment.
class Traffic {
 public:
  explicit Traffic(const Options& options) : payload_(options.bytes - 54), next_(options.flows, 1) {
    for (std::uint32_t flow = 0; flow < options.flows; ++flow) {
      data_.push_back(frame_of(flow, true, options.bytes));
      acks_.push_back(frame_of(flow, false, options.bytes));
    }
  }
  /// The next frames; valid until as many frames as there are connections have passed.
  [[nodiscard]] Way fill(Parts& parts) {
    for (iovec& part : parts) part = part_of(next());
    return Way::kOut;
  }

 private:
  [[nodiscard]] const Frame& next() {
    if (++flow_ >= data_.size()) {
      flow_ = 0;
      step_ = (step_ + 1) % 3;
    }
    std::uint32_t& sequence = next_[flow_];
    if (step_ == 2) {
      put32(&acks_[flow_][14 + 20 + 4], 1);
      put32(&acks_[flow_][14 + 20 + 8], sequence);
      return acks_[flow_];
    }
    put32(&data_[flow_][14 + 20 + 4], sequence);
    put32(&data_[flow_][14 + 20 + 8], 1);
    sequence += payload_;
    return data_[flow_];
  }

  std::uint32_t payload_;
  std::vector<Frame> data_;
  std::vector<Frame> acks_;
  std::vector<std::uint32_t> next_;  ///< [connection], the sequence number to send
  std::size_t flow_ = 0;
  unsigned step_ = 0;
};

/// IPv4 addresses, one a line.
[[nodiscard]] std::vector<std::uint32_t> read_addresses(const std::string& path) {
  std::ifstream in(path);
  if (!in) fail("open " + path);
  std::vector<std::uint32_t> addresses;
  for (std::string line; std::getline(in, line);) {
    in_addr address{};
    if (::inet_pton(AF_INET, line.c_str(), &address) != 1) throw std::runtime_error(line + " is no address");
    addresses.push_back(ntohl(address.s_addr));
  }
  if (addresses.empty()) throw std::runtime_error(path + " lists no address");
  return addresses;
}

/// A connection to each of the addresses, from 198.18.0.0/15 (RFC 2544), in turn. A batch of frames is
/// written anew each time: what sending costs does not depend on how many addresses there are. With a way
/// back each batch of connections sends two segments and then receives an acknowledgment; without it, one
/// segment.
class Spread {
 public:
  explicit Spread(const Options& options)
      : payload_(options.bytes - 54),
        acknowledged_(!options.back.empty()),
        to_(read_addresses(options.to)),
        next_(to_.size(), 1),
        data_(kBatch, frame_of(0, true, options.bytes)),
        acks_(kBatch, frame_of(0, false, 60)) {
    for (Frame& ack : acks_) {  // the other way, from the other port
      ack[5] = 0xdd;
      ack[11] = 0xee;
    }
    for (auto* frames : {&data_, &acks_}) {
      for (Frame& frame : *frames) std::memset(&frame[14 + 10], 0, 10);
    }
    data_sum_ = sum_of(&data_[0][14]);
    ack_sum_ = sum_of(&acks_[0][14]);
  }
  [[nodiscard]] Way fill(Parts& parts) {
    const bool back = step_ == 2;
    std::size_t flow = first_;
    for (std::size_t i = 0; i < kBatch; ++i) {
      Frame& frame = back ? acks_[i] : data_[i];
      write(frame, flow, back);
      parts[i] = part_of(frame);
      if (++flow == to_.size()) flow = 0;
    }
    if (!acknowledged_ || back) first_ = flow;
    if (acknowledged_) step_ = (step_ + 1) % 3;
    return back ? Way::kBack : Way::kOut;
  }

 private:
  void write(Frame& frame, std::size_t flow, bool back) {
    const std::uint32_t ours = 0xc6120000U + static_cast<std::uint32_t>(flow & 0x1ffffU);
    const std::uint32_t theirs = to_[flow];
    std::uint8_t* const ip = &frame[14];
    std::uint8_t* const tcp = ip + 20;
    put16(ip + 10, checksum((back ? ack_sum_ : data_sum_) + sum_of(ours) + sum_of(theirs)));
    put32(ip + 12, back ? theirs : ours);
    put32(ip + 16, back ? ours : theirs);
    put16(back ? tcp + 2 : tcp, 20'000 + static_cast<std::uint32_t>(flow % 40'000U));
    put32(back ? tcp + 8 : tcp + 4, next_[flow]);
    put32(back ? tcp + 4 : tcp + 8, 1);
    if (!back) next_[flow] += payload_;
  }

  std::uint32_t payload_;
  bool acknowledged_;
  std::vector<std::uint32_t> to_;    ///< [connection]
  std::vector<std::uint32_t> next_;  ///< [connection], the sequence number to send
  std::vector<Frame> data_;          ///< one batch of frames
  std::vector<Frame> acks_;
  std::uint32_t data_sum_ = 0;  ///< of the header's words, its addresses and sum left out
  std::uint32_t ack_sum_ = 0;
  std::size_t first_ = 0;  ///< connection of the batch
  unsigned step_ = 0;
};

/// Another network namespace, for as long as it lives.
class Visit {
 public:
  explicit Visit(const std::string& path) : home_(open_namespace("/proc/self/ns/net")) {
    const int there = open_namespace(path);
    if (::setns(there, CLONE_NEWNET) != 0) fail("enter " + path);
    ::close(there);
  }
  ~Visit() {
    if (::setns(home_, CLONE_NEWNET) != 0) std::terminate();
    ::close(home_);
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

 private:
  [[nodiscard]] static int open_namespace(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail("open " + path);
    return fd;
  }
  int home_;
};

class Socket {
 public:
  explicit Socket(const std::string& interface) : fd_(::socket(AF_PACKET, SOCK_RAW, 0)) {
    if (fd_ < 0) fail("open a packet socket");
    const int yes = 1;
    if (::setsockopt(fd_, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes) != 0) fail("pass by the queues");
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    if (to.sll_ifindex == 0) fail("find " + interface);
    if (::bind(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fail("bind to " + interface);
  }
  ~Socket() { ::close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  /// How many of the messages the kernel took.
  [[nodiscard]] std::size_t send(std::array<mmsghdr, kBatch>& messages) const {
    const int sent = ::sendmmsg(fd_, messages.data(), kBatch, 0);
    if (sent < 0 && errno != ENOBUFS && errno != EAGAIN) fail("send frames");
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }

 private:
  int fd_;
};

[[nodiscard]] double cpu_seconds() {
  timespec used{};
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0) fail("read our own CPU time");
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

struct Account {
  std::uint64_t sent = 0;
  std::uint64_t out = 0;  ///< of these, by the first interface
  std::uint64_t offered = 0;
  double seconds = 0;
  double cpu_s = 0;
};

template <class Frames>
[[nodiscard]] Account send_for(double seconds, double rate, Frames& frames,
                               std::span<const Socket*> sockets) {
  std::array<mmsghdr, kBatch> messages{};
  Parts parts{};
  for (std::size_t i = 0; i < kBatch; ++i) {
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  Account account;
  const double cpu_before = cpu_seconds();
  const auto began = Clock::now();
  const auto end = began + std::chrono::duration<double>(seconds);
  auto now = began;
  for (; now < end; now = Clock::now()) {
    const double due = std::chrono::duration<double>(now - began).count() * rate;
    if (static_cast<double>(account.offered) > due) continue;  // the core is ours: waiting is turning
    const auto way = static_cast<std::size_t>(frames.fill(parts));
    const std::size_t taken = sockets[way]->send(messages);
    account.sent += taken;
    if (way == 0) account.out += taken;
    account.offered += kBatch;
  }
  account.seconds = std::chrono::duration<double>(now - began).count();
  account.cpu_s = cpu_seconds() - cpu_before;
  return account;
}

template <class Frames>
void send(const Options& options, Frames frames) {
  const Socket out(options.interface);
  std::optional<Socket> back;
  if (!options.back.empty()) {
    std::optional<Visit> visit;
    if (!options.back_namespace.empty()) visit.emplace(options.back_namespace);
    back.emplace(options.back);
  }
  std::array<const Socket*, 2> sockets{&out, back ? &*back : &out};
  const Account warm = send_for(options.warm, options.rate, frames, sockets);
  const Account measured = send_for(options.seconds, options.rate, frames, sockets);
  const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf("{\"sent\": %llu, \"out\": %llu, \"refused\": %llu, \"seconds\": %.6f, \"cpu_s\": %.6f, ",
              number(measured.sent), number(measured.out), number(measured.offered - measured.sent),
              measured.seconds, measured.cpu_s);
  std::printf("\"warm\": %llu, \"warm_out\": %llu}\n", number(warm.sent), number(warm.out));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Sends small frames of many TCP connections.");
  app.add_option("--interface", options.interface)->required();
  app.add_option("--rate", options.rate, "frames a second");
  app.add_option("--seconds", options.seconds);
  app.add_option("--warm", options.warm, "seconds of sending before what is counted");
  app.add_option("--flows", options.flows)->check(CLI::Range(32U, 1'000'000U));
  app.add_option("--bytes", options.bytes, "of a frame, without the checksum behind it")
      ->check(CLI::Range(55U, 1514U));
  auto* to = app.add_option("--to", options.to, "file of IPv4 addresses, one a line: a connection to each");
  app.add_option("--back", options.back, "interface that acknowledgments come in by")->needs(to);
  app.add_option("--back-namespace", options.back_namespace, "file of the network namespace where that is");
  CLI11_PARSE(app, argc, argv);
  try {
    if (options.to.empty()) {
      send(options, Traffic(options));
    } else {
      send(options, Spread(options));
    }
  } catch (const std::exception& failure) {
    std::cerr << "bench_sender: " << failure.what() << "\n";
    return 1;
  }
  return 0;
}
