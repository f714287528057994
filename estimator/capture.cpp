#include "estimator/capture.hpp"

#include <cerrno>
#include <cstring>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <linux/filter.h>
#include <linux/if_packet.h>
#include <pcap/pcap.h>
#include <sys/socket.h>
#include <time.h>

#include "estimator/fanout_program.hpp"
#include "estimator/sampling_filter.hpp"

namespace weir {
namespace {

/// How long the kernel may hold a block that is not full: the most that a quiet port's frames are late.
constexpr int kBlockTimeoutMs = 10;

/// IP, PPPoE sessions, MPLS, 802.3 frames with LLC, and whatever is tagged. `vlan` stands last: behind it
/// libpcap reads every offset as that of a tagged frame.
constexpr const char* kEthernetFilter =
    "ip or ip6 or ether proto 0x8864 or ether proto 0x8847 or ether proto 0x8848 or ether[12:2] <= 1500 or "
    "vlan";

struct PcapCloser {
  void operator()(pcap_t* handle) const { pcap_close(handle); }
};
using PcapHandle = std::unique_ptr<pcap_t, PcapCloser>;

[[nodiscard]] std::int64_t nanoseconds_of(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

/// The kernel stamps frames with the wall clock, which may be set at any time; Weir lives on CLOCK_MONOTONIC.
/// Sampled for each batch of frames, which are milliseconds old: a clock that is set moves one batch at most.
[[nodiscard]] Duration wall_to_monotonic() {
  const std::int64_t before = nanoseconds_of(CLOCK_MONOTONIC);
  const std::int64_t wall = nanoseconds_of(CLOCK_REALTIME);
  const std::int64_t after = nanoseconds_of(CLOCK_MONOTONIC);
  return Duration(before + (after - before) / 2 - wall);
}

/// Setup failures carry libpcap's own words behind what was attempted.
[[noreturn]] void fail(const std::string& attempt, const std::string& interface, const std::string& why) {
  throw std::runtime_error(attempt + " on " + interface + ": " + why);
}

void require(int status, pcap_t* handle, const char* attempt, const std::string& interface) {
  if (status == 0) return;
  const char* detail = pcap_geterr(handle);
  fail(attempt, interface, detail != nullptr && *detail != '\0' ? detail : pcap_statustostr(status));
}

/// Optional features: a kernel or driver without them is still good for capture.
void prefer(int status) {
  static_cast<void>(status);
}

[[nodiscard]] PcapHandle open_live(const std::string& interface, const LiveCapture::Options& options) {
  char error[PCAP_ERRBUF_SIZE] = {};
  PcapHandle handle(pcap_create(interface.c_str(), error));
  if (!handle) fail("cannot open a capture", interface, error);
  pcap_t* p = handle.get();
  require(pcap_set_snaplen(p, options.snap_length), p, "cannot set the snap length", interface);
  require(pcap_set_promisc(p, 1), p, "cannot set promiscuous mode", interface);
  require(pcap_set_timeout(p, kBlockTimeoutMs), p, "cannot set the block timeout", interface);
  require(pcap_set_buffer_size(p, static_cast<int>(options.ring_bytes)), p, "cannot set the ring size",
          interface);
  prefer(pcap_set_tstamp_precision(p, PCAP_TSTAMP_PRECISION_NANO));
  if (const int status = pcap_activate(p); status < 0)
    require(status, p, "cannot start capturing", interface);
  if (pcap_setnonblock(p, 1, error) != 0) fail("cannot make the capture non-blocking", interface, error);
  return handle;
}

/// What a socket of a group is called (packet(7), PACKET_FANOUT): its number, and how frames are dealt out.
constexpr unsigned kFanoutType = PACKET_FANOUT_CBPF;
constexpr unsigned kFanoutTypeShift = 16;
constexpr unsigned kFanoutNumberMask = 0xffff;

/// Returns the program.
[[nodiscard]] std::vector<sock_filter> install_filter(pcap_t* handle, const std::string& filter,
                                                      const std::string& interface) {
  bpf_program program{};
  require(pcap_compile(handle, &program, filter.c_str(), 1, PCAP_NETMASK_UNKNOWN), handle,
          "cannot compile the capture filter", interface);
  const int status = pcap_setfilter(handle, &program);
  std::vector<sock_filter> code;
  for (const bpf_insn& i : std::span(program.bf_insns, program.bf_len))
    code.push_back({.code = i.code, .jt = i.jt, .jf = i.jf, .k = i.k});
  pcap_freecode(&program);
  require(status, handle, "cannot install the capture filter", interface);
  return code;
}

}  // namespace

struct LiveCapture::Impl {
  std::string interface;
  PcapHandle handle;
  int link_type = 1;
  std::int64_t fraction_ns = 1;  ///< of one unit in a stamp's fraction
  CaptureCounters counters;
  std::vector<sock_filter> filter;
  bool thins = false;  ///< a filter of follow() is in the kernel
};

LiveCapture::LiveCapture(const std::string& interface, const Options& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->interface = interface;
  impl_->handle = open_live(interface, options);
  pcap_t* p = impl_->handle.get();
  impl_->filter = install_filter(
      p, options.filter.value_or(pcap_datalink(p) == DLT_EN10MB ? kEthernetFilter : ""), interface);
  impl_->link_type = pcap_datalink(p);
  impl_->fraction_ns = pcap_get_tstamp_precision(p) == PCAP_TSTAMP_PRECISION_NANO ? 1 : 1000;
  if (pcap_get_selectable_fd(p) < 0)
    fail("cannot wait for frames", interface, "the capture has no descriptor");
}

LiveCapture::~LiveCapture() = default;
LiveCapture::LiveCapture(LiveCapture&&) noexcept = default;
LiveCapture& LiveCapture::operator=(LiveCapture&&) noexcept = default;

int LiveCapture::descriptor() const {
  return pcap_get_selectable_fd(impl_->handle.get());
}

std::vector<LiveCapture> LiveCapture::share(const std::string& interface, const Options& options,
                                            std::size_t count) {
  std::vector<LiveCapture> taps;
  for (std::size_t i = 0; i < count; ++i) {
    LiveCapture tap(interface, options);
    if (tap.impl_->link_type != DLT_EN10MB)
      fail("cannot share the frames of several taps", interface, "it is no Ethernet port");
    tap.join(taps);
    taps.push_back(std::move(tap));
  }
  std::vector<sock_filter> code = fanout_program(std::random_device()());
  const sock_fprog program{.len = static_cast<unsigned short>(code.size()), .filter = code.data()};
  if (::setsockopt(taps.front().descriptor(), SOL_PACKET, PACKET_FANOUT_DATA, &program, sizeof program) != 0)
    fail("cannot deal out frames to several taps", interface, std::strerror(errno));
  return taps;
}

/// The first one makes a group under a number that nobody has (Linux 4.12); the others find it by that.
void LiveCapture::join(std::vector<LiveCapture>& group) {
  unsigned joined = (kFanoutType | PACKET_FANOUT_FLAG_UNIQUEID) << kFanoutTypeShift;
  socklen_t length = sizeof joined;
  if (!group.empty()) {
    if (::getsockopt(group.front().descriptor(), SOL_PACKET, PACKET_FANOUT, &joined, &length) != 0)
      fail("cannot find the group of taps", impl_->interface, std::strerror(errno));
    joined = (joined & kFanoutNumberMask) | kFanoutType << kFanoutTypeShift;
  }
  if (::setsockopt(descriptor(), SOL_PACKET, PACKET_FANOUT, &joined, sizeof joined) != 0)
    fail("cannot join a group of taps", impl_->interface, std::strerror(errno));
}

namespace {

struct Batch {
  const FrameHandler* handler;
  Duration to_monotonic;
  std::int64_t fraction_ns;
  int link_type;
};

void hand_over(u_char* user, const pcap_pkthdr* header, const u_char* bytes) {
  const auto& batch = *reinterpret_cast<const Batch*>(user);
  const Duration wall =
      std::chrono::seconds(header->ts.tv_sec) + Duration(header->ts.tv_usec * batch.fraction_ns);
  (*batch.handler)(Frame{.time = TimePoint(wall + batch.to_monotonic),
                         .wire_length = header->len,
                         .bytes = std::as_bytes(std::span(bytes, header->caplen)),
                         .link_type = batch.link_type});
}

}  // namespace

std::size_t LiveCapture::dispatch(std::size_t most, const FrameHandler& handler) {
  Batch batch{.handler = &handler,
              .to_monotonic = wall_to_monotonic(),
              .fraction_ns = impl_->fraction_ns,
              .link_type = impl_->link_type};
  const int count = pcap_dispatch(impl_->handle.get(), static_cast<int>(most), hand_over,
                                  reinterpret_cast<u_char*>(&batch));
  if (count == PCAP_ERROR_BREAK) return 0;
  if (count < 0) fail("cannot read frames", impl_->interface, pcap_geterr(impl_->handle.get()));
  return static_cast<std::size_t>(count);
}

/// What pcap_stats does, less the two files of /sys that it also reads each time. The kernel's counters begin
/// anew with each reading (packet(7), PACKET_STATISTICS), and those dropped are among those received.
CaptureCounters LiveCapture::counters() {
  tpacket_stats_v3 since{};
  socklen_t length = sizeof since;
  if (::getsockopt(descriptor(), SOL_PACKET, PACKET_STATISTICS, &since, &length) != 0)
    throw std::system_error(errno, std::generic_category(),
                            "cannot read the capture's counters on " + impl_->interface);
  impl_->counters.received += since.tp_packets;
  impl_->counters.dropped += since.tp_drops;
  return impl_->counters;
}

/// Past libpcap, which would close the tap for a moment: the kernel replaces a socket's filter at once.
bool LiveCapture::follow(const FlowSample& sample) {
  if (impl_->link_type != DLT_EN10MB) return false;
  std::vector<sock_filter> code = with_sampling(sample, impl_->filter);
  const sock_fprog program{.len = static_cast<unsigned short>(code.size()), .filter = code.data()};
  if (::setsockopt(descriptor(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0)
    return impl_->thins = true;
  // The filter before it stays: with one that thins already, nobody would know what the frames stand for.
  if (impl_->thins) fail("cannot replace the capture filter", impl_->interface, std::strerror(errno));
  return false;
}

}  // namespace weir
