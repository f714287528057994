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

[[nodiscard]] Nanoseconds to_nanoseconds(const timespec& t) {
  return std::chrono::seconds(t.tv_sec) + Nanoseconds(t.tv_nsec);
}

[[nodiscard]] Nanoseconds clock_now(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return to_nanoseconds(t);
}

struct Arrival {
  std::optional<Nanoseconds> realtime;
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

  Batch() {
    for (std::size_t i = 0; i < kBatch; ++i) {
      messages[i].msg_hdr.msg_iov = &areas[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
  }
};

Nanoseconds monotonic_now() {
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

std::size_t PacketPort::receive_into(DelayLine& line) {
  std::size_t total = 0;
  while (const std::size_t batch = std::min(kBatch, line.room())) {
    auto& [messages, areas, ancillary] = *batch_;
    for (std::size_t i = 0; i < batch; ++i) {
      const auto area = line.free_slot(i).receive_area();
      areas[i] = {.iov_base = area.data(), .iov_len = area.size()};
      messages[i].msg_hdr.msg_control = ancillary[i].bytes.data();
      messages[i].msg_hdr.msg_controllen = ancillary[i].bytes.size();
    }
    const int received =
        recvmmsg(descriptor_, messages.data(), static_cast<unsigned>(batch), MSG_DONTWAIT, nullptr);
    if (received <= 0) break;
    // Arrival times come on CLOCK_REALTIME, which may be set at any time: only the age of a frame is taken
    // from them.
    const Nanoseconds realtime = clock_now(CLOCK_REALTIME);
    const Nanoseconds monotonic = monotonic_now();
    for (std::size_t i = 0; i < static_cast<std::size_t>(received); ++i) {
      if ((messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0) {
        // Its slot is the first free one no longer at index 0 for those behind it: they are copied down
        // below.
        ++oversized_;
        continue;
      }
      const Arrival arrival = read_ancillary(messages[i].msg_hdr);
      FrameSlot& slot = line.free_slot(0);
      const auto* bytes = static_cast<const std::byte*>(areas[i].iov_base);
      if (bytes != slot.receive_area().data())
        std::memcpy(slot.receive_area().data(), bytes, messages[i].msg_len);
      slot.begin = FrameSlot::kTagRoom;
      slot.length = messages[i].msg_len;
      if (arrival.vlan_tag) put_tag_back(slot, *arrival.vlan_tag);
      line.admit(arrival.realtime ? monotonic - (realtime - *arrival.realtime) : monotonic);
      ++total;
    }
    if (static_cast<std::size_t>(received) < batch) break;
  }
  return total;
}

std::size_t PacketPort::send_from(DelayLine& line, std::size_t count) {
  std::size_t taken = 0;
  while (count > 0) {
    const std::size_t batch = std::min(kBatch, count);
    auto& [messages, areas, ancillary] = *batch_;
    for (std::size_t i = 0; i < batch; ++i) {
      const auto frame = line.waiting_frame(i).frame();
      areas[i] = {.iov_base = frame.data(), .iov_len = frame.size()};
      messages[i].msg_hdr.msg_control = nullptr;
      messages[i].msg_hdr.msg_controllen = 0;
    }
    const int sent = sendmmsg(descriptor_, messages.data(), static_cast<unsigned>(batch), MSG_DONTWAIT);
    // A refused frame is lost as on any full link; the next one gets its own chance.
    const std::size_t done = sent > 0 ? static_cast<std::size_t>(sent) : 1;
    if (sent > 0) taken += done;
    line.release(done);
    count -= done;
  }
  return taken;
}

std::uint64_t PacketPort::take_socket_drops() {
  tpacket_stats stats{};
  socklen_t length = sizeof(stats);
  if (getsockopt(descriptor_, SOL_PACKET, PACKET_STATISTICS, &stats, &length) != 0)
    fail("read socket statistics");
  return stats.tp_drops;
}

}  // namespace weir::lab
