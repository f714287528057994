#include "packet_port.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

namespace weir::lab {
namespace {

constexpr std::size_t kBatch = 64;

/// Ancillary data of one frame: arrival time and, when the kernel cut one out, the VLAN tag.
union alignas(cmsghdr) Ancillary {
  std::array<char, CMSG_SPACE(sizeof(timespec)) + CMSG_SPACE(sizeof(tpacket_auxdata))> bytes;
};

[[noreturn]] void fail(const std::string& attempt) {
  throw std::system_error(errno, std::generic_category(), attempt);
}

template <typename Value>
void set_option(int fd, int level, int option, const Value& value, const std::string& attempt) {
  if (setsockopt(fd, level, option, &value, sizeof(value)) != 0) fail(attempt);
}

[[nodiscard]] Duration to_nanoseconds(const timespec& t) {
  return std::chrono::seconds(t.tv_sec) + Duration(t.tv_nsec);
}

[[nodiscard]] Duration clock_now(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return to_nanoseconds(t);
}

struct Arrival {
  std::optional<Duration> realtime;
  std::optional<std::array<std::byte, 4>> vlan_tag;
};

[[nodiscard]] std::array<std::byte, 4> tag_bytes(const tpacket_auxdata& aux) {
  const std::uint16_t ethertype =
      (aux.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? aux.tp_vlan_tpid : ETH_P_8021Q;
  return {std::byte(ethertype >> 8U), std::byte(ethertype & 0xffU), std::byte(aux.tp_vlan_tci >> 8U),
          std::byte(aux.tp_vlan_tci & 0xffU)};
}

[[nodiscard]] Arrival read_ancillary(msghdr& header) {
  Arrival arrival;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
      timespec t{};
      std::memcpy(&t, CMSG_DATA(c), sizeof(t));
      arrival.realtime = to_nanoseconds(t);
    } else if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA) {
      tpacket_auxdata aux{};
      std::memcpy(&aux, CMSG_DATA(c), sizeof(aux));
      if ((aux.tp_status & TP_STATUS_VLAN_VALID) != 0) arrival.vlan_tag = tag_bytes(aux);
    }
  }
  return arrival;
}

/// Both MAC addresses move forward by the room of one tag, and the tag goes where it was on the wire.
void put_tag_back(FrameSlot& slot, const std::array<std::byte, 4>& tag) {
  constexpr std::size_t kAddresses = 12;
  std::memmove(slot.room.data(), slot.room.data() + FrameSlot::kTagRoom, kAddresses);
  std::memcpy(slot.room.data() + kAddresses, tag.data(), tag.size());
  slot.begin = 0;
  slot.length += FrameSlot::kTagRoom;
}

}  // namespace

struct PacketPort::Batch {
  std::array<mmsghdr, kBatch> messages{};
  std::array<iovec, kBatch> areas{};
  std::array<Ancillary, kBatch> ancillary{};
  std::array<FrameId, kBatch> taken{};

  Batch() {
    for (std::size_t i = 0; i < kBatch; ++i) {
      messages[i].msg_hdr.msg_iov = &areas[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
  }
};

Duration monotonic_now() {
  return clock_now(CLOCK_MONOTONIC);
}

PacketPort::PacketPort(const std::string& interface)
    : descriptor_(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
      batch_(std::make_unique<Batch>()) {
  if (descriptor_ < 0) fail("open a packet socket");
  const unsigned index = if_nametoindex(interface.c_str());
  if (index == 0) fail("find interface " + interface);
  // Our own frames, seen again on their way out, would go round for ever.
  set_option(descriptor_, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "ignore own frames on " + interface);
  set_option(descriptor_, SOL_PACKET, PACKET_AUXDATA, 1, "ask for VLAN tags on " + interface);
  set_option(descriptor_, SOL_PACKET, PACKET_QDISC_BYPASS, 1, "bypass queues on " + interface);
  set_option(descriptor_, SOL_SOCKET, SO_TIMESTAMPNS, 1, "ask for arrival times on " + interface);
  set_option(descriptor_, SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20, "enlarge the receive buffer on " + interface);
  packet_mreq everything{};
  everything.mr_ifindex = static_cast<int>(index);
  everything.mr_type = PACKET_MR_PROMISC;
  set_option(descriptor_, SOL_PACKET, PACKET_ADD_MEMBERSHIP, everything,
             "receive all frames of " + interface);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(index);
  if (bind(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    fail("bind to " + interface);
}

PacketPort::~PacketPort() {
  if (descriptor_ >= 0) close(descriptor_);
}

void PacketPort::receive(FramePool& pool, std::vector<FrameId>& ids, std::size_t most) {
  while (const std::size_t batch = std::min({kBatch, most, pool.room()})) {
    auto& [messages, areas, ancillary, taken] = *batch_;
    for (std::size_t i = 0; i < batch; ++i) {
      taken[i] = pool.take();
      const auto area = pool.at(taken[i]).receive_area();
      areas[i] = {.iov_base = area.data(), .iov_len = area.size()};
      messages[i].msg_hdr.msg_control = ancillary[i].bytes.data();
      messages[i].msg_hdr.msg_controllen = ancillary[i].bytes.size();
    }
    const int n = recvmmsg(descriptor_, messages.data(), static_cast<unsigned>(batch), MSG_DONTWAIT, nullptr);
    const std::size_t received = n > 0 ? static_cast<std::size_t>(n) : 0;
    for (std::size_t i = batch; i > received; --i) pool.give_back(taken[i - 1]);
    if (received == 0) return;
    // Arrival times come on CLOCK_REALTIME, which may be set at any time: only the age of a frame is taken
    // from them.
    const Duration realtime = clock_now(CLOCK_REALTIME);
    const Duration monotonic = monotonic_now();
    for (std::size_t i = 0; i < received; ++i) {
      if ((messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0) {
        ++oversized_;
        pool.give_back(taken[i]);
        continue;
      }
      const Arrival arrival = read_ancillary(messages[i].msg_hdr);
      FrameSlot& slot = pool.at(taken[i]);
      slot.begin = FrameSlot::kTagRoom;
      slot.length = messages[i].msg_len;
      if (arrival.vlan_tag) put_tag_back(slot, *arrival.vlan_tag);
      const Duration age = arrival.realtime ? realtime - *arrival.realtime : Duration::zero();
      // Order is the socket's; the two clocks are read one after the other.
      newest_ = std::max(newest_, monotonic - std::max(age, Duration::zero()));
      slot.arrived = newest_;
      ids.push_back(taken[i]);
    }
    most -= received;
    if (received < batch) return;
  }
}

std::size_t PacketPort::send(FramePool& pool, std::span<const FrameId> ids) {
  std::size_t taken_by_port = 0;
  while (!ids.empty()) {
    const std::size_t batch = std::min(kBatch, ids.size());
    auto& [messages, areas, ancillary, taken] = *batch_;
    for (std::size_t i = 0; i < batch; ++i) {
      const auto frame = pool.at(ids[i]).frame();
      areas[i] = {.iov_base = frame.data(), .iov_len = frame.size()};
      messages[i].msg_hdr.msg_control = nullptr;
      messages[i].msg_hdr.msg_controllen = 0;
    }
    const int sent = sendmmsg(descriptor_, messages.data(), static_cast<unsigned>(batch), MSG_DONTWAIT);
    // A refused frame is lost as on any full link; the next one gets its own chance.
    const std::size_t done = sent > 0 ? static_cast<std::size_t>(sent) : 1;
    if (sent > 0) taken_by_port += done;
    ids = ids.subspan(done);
  }
  return taken_by_port;
}

std::uint64_t PacketPort::take_socket_drops() {
  tpacket_stats stats{};
  socklen_t length = sizeof(stats);
  if (getsockopt(descriptor_, SOL_PACKET, PACKET_STATISTICS, &stats, &length) != 0)
    fail("read socket statistics");
  return stats.tp_drops;
}

}  // namespace weir::lab
