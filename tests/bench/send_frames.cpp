// bench_sender: sends small frames of many TCP connections out of an interface at a given rate, as fast as
// the kernel takes them when asked for more.
//
// Each connection sends two segments, then its peer acknowledges both; all frames leave the same way, as on a
// mirror port. IP headers are complete, TCP checksums are left to a card that is not there. Prints one line
// of JSON: how many frames the kernel took, and in what time.
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <string>
#include <system_error>
#include <vector>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatch = 32;
constexpr std::uint8_t kAck = 0x10;

struct Options {
  std::string interface;
  double rate = 100'000;
  double seconds = 5;
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

/// RFC 1071 over an IP header without options, whose field is 0.
[[nodiscard]] std::uint16_t checksum(const std::uint8_t* header) {
  std::uint32_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += static_cast<std::uint32_t>(header[i]) << 8U | header[i + 1];
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
  put16(ip + 10, checksum(ip));
  std::uint8_t* const tcp = ip + 20;
  put16(tcp, outbound ? 20'000 + flow % 40'000U : 443);
  put16(tcp + 2, outbound ? 443 : 20'000 + flow % 40'000U);
  tcp[12] = 5U << 4U;
  tcp[13] = kAck;
  put16(tcp + 14, 60'000);
  return f;
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
  /// Writes the next frame's number into it; valid until as many frames as there are connections have passed.
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

 private:
  std::uint32_t payload_;
  std::vector<Frame> data_;
  std::vector<Frame> acks_;
  std::vector<std::uint32_t> next_;  ///< [connection], the sequence number to send
  std::size_t flow_ = 0;
  unsigned step_ = 0;
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

void send(const Options& options) {
  const Socket socket(options.interface);
  Traffic traffic(options);
  std::array<mmsghdr, kBatch> messages{};
  std::array<iovec, kBatch> parts{};
  for (std::size_t i = 0; i < kBatch; ++i) {
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  const auto began = Clock::now();
  const auto end = began + std::chrono::duration<double>(options.seconds);
  std::uint64_t sent = 0;
  std::uint64_t offered = 0;
  auto now = began;
  for (; now < end; now = Clock::now()) {
    const double due = std::chrono::duration<double>(now - began).count() * options.rate;
    if (static_cast<double>(offered) > due) continue;  // the core is ours: waiting is turning
    for (iovec& part : parts) {
      const Frame& frame = traffic.next();
      part = {.iov_base = const_cast<std::uint8_t*>(frame.data()), .iov_len = frame.size()};
    }
    sent += socket.send(messages);
    offered += kBatch;
  }
  std::printf("{\"sent\": %llu, \"refused\": %llu, \"seconds\": %.6f}\n",
              static_cast<unsigned long long>(sent), static_cast<unsigned long long>(offered - sent),
              std::chrono::duration<double>(now - began).count());
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Sends small frames of many TCP connections.");
  app.add_option("--interface", options.interface)->required();
  app.add_option("--rate", options.rate, "frames a second");
  app.add_option("--seconds", options.seconds);
  app.add_option("--flows", options.flows)->check(CLI::Range(32U, 1'000'000U));
  app.add_option("--bytes", options.bytes, "of a frame, without the checksum behind it")
      ->check(CLI::Range(55U, 1514U));
  CLI11_PARSE(app, argc, argv);
  try {
    send(options);
  } catch (const std::exception& failure) {
    std::cerr << "bench_sender: " << failure.what() << "\n";
    return 1;
  }
  return 0;
}
