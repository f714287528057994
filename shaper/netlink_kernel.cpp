#include "shaper/netlink_kernel.hpp"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <limits>
#include <system_error>
#include <thread>

#include <linux/gen_stats.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "shaper/change_message.hpp"
#include "shaper/netlink_attributes.hpp"
#include "shaper/tc_message.hpp"

namespace weir::shaper {
namespace {

// One batch stays well under the socket's send buffer (212 992 bytes by default), and its answers, should all
// of its messages fail, under the receive buffer.
constexpr std::size_t kBatchBytes = 48U << 10U;
constexpr std::size_t kBatchMessages = 256;
constexpr std::size_t kLargestMessage = 1024;
constexpr int kReceiveBuffer = 4 << 20;
constexpr std::size_t kDumpBuffer = 64U << 10U;
constexpr int kDumpRetries = 20;
/// linux/if_link.h of kernels since 6.3: IFLA_GRO_IPV4_MAX_SIZE. Older ones ignore it.
constexpr std::uint16_t kGroIpv4MaxSize = 64;
constexpr auto kReadQueues = "read the queues";
constexpr auto kReadClasses = "read the classes";
constexpr timeval kPatience{.tv_sec = 5, .tv_usec = 0};  // the kernel answers at once or has lost the answer

[[noreturn]] void fail(const std::string& attempt, int error = errno) {
  throw std::system_error(error, std::generic_category(), attempt);
}

void set_option(mnl_socket* socket, int option) {
  int on = 1;
  mnl_socket_setsockopt(socket, option, &on, sizeof on);  // older kernels without it only explain less
}

void note_qdisc(const nlmsghdr* message, int interface_index, Observed& seen) {
  auto qdisc = decode_qdisc(message);
  if (!qdisc || qdisc->interface_index != interface_index) return;
  if (qdisc->parent == TC_H_ROOT) {
    seen.root = ObservedRoot{.kind = qdisc->kind, .handle = qdisc->handle, .htb = qdisc->root};
  } else if (qdisc->parent >> 16U == kMajor) {
    seen.leaves.emplace(qdisc->parent, ObservedLeaf{.handle = qdisc->handle,
                                                    .parent = qdisc->parent,
                                                    .kind = qdisc->kind,
                                                    .parameters = qdisc->leaf});
  }
}

void note_class(const nlmsghdr* message, int interface_index, Observed& seen) {
  const auto cls = decode_class(message);
  if (!cls || cls->interface_index != interface_index) return;
  seen.classes.emplace(cls->handle, ObservedClass{.handle = cls->handle,
                                                  .parent = cls->stats.parent,
                                                  .htb = cls->stats.htb,
                                                  .inner = cls->stats.inner});
}

}  // namespace

NetlinkKernel::NetlinkKernel()
    : socket_(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC)), buffer_(kDumpBuffer) {
  if (!socket_) fail("open a netlink socket");
  if (mnl_socket_bind(socket_.get(), 0, MNL_SOCKET_AUTOPID) < 0) fail("bind a netlink socket");
  set_option(socket_.get(), NETLINK_EXT_ACK);
  set_option(socket_.get(), NETLINK_CAP_ACK);
  const int fd = mnl_socket_get_fd(socket_.get());
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer) != 0) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  }
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience) != 0)
    fail("set a netlink time limit");
}

std::span<const std::byte> NetlinkKernel::receive(const std::string& attempt) {
  for (;;) {
    const auto n = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
    if (n >= 0) return {buffer_.data(), static_cast<std::size_t>(n)};
    if (errno != EINTR) fail(attempt + ": no answer from the kernel");
  }
}

bool NetlinkKernel::dump_once(std::uint16_t type, int interface_index, Handle parent,
                              const std::string& attempt, const Visitor& visit) {
  const std::uint32_t sequence = ++sequence_;
  alignas(nlmsghdr) std::array<std::byte, kLargestMessage> room{};
  const nlmsghdr* request = start_tc_message(room, type, NLM_F_REQUEST | NLM_F_DUMP, sequence,
                                             {.index = interface_index, .parent = parent});
  if (mnl_socket_sendto(socket_.get(), request, request->nlmsg_len) < 0) fail(attempt);
  bool interrupted = false;
  for (;;) {
    for (const auto* message : messages_in(receive(attempt))) {
      if (message->nlmsg_seq != sequence) continue;  // a late answer to something that was given up
      interrupted = interrupted || (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (message->nlmsg_type == NLMSG_ERROR) fail(attempt, answer_to(message).error);
      if (message->nlmsg_type == NLMSG_DONE) return !interrupted;
      visit(message);
    }
  }
}

void NetlinkKernel::dump(std::uint16_t type, int interface_index, Handle parent, const std::string& attempt,
                         const std::function<void()>& begin, const Visitor& visit) {
  for (int tries = 0; tries < kDumpRetries; ++tries) {
    begin();
    if (dump_once(type, interface_index, parent, attempt, visit)) return;
  }
  fail(attempt + ": the tree kept changing while it was read", EBUSY);
}

std::vector<NetlinkKernel::Answer> NetlinkKernel::exchange(std::span<const std::byte> bytes,
                                                           std::uint32_t first, std::uint32_t last,
                                                           const std::string& attempt, const Visitor& visit) {
  if (mnl_socket_sendto(socket_.get(), bytes.data(), bytes.size()) < 0) fail(attempt);
  std::vector<Answer> answers;
  for (;;) {
    for (const auto* message : messages_in(receive(attempt))) {
      if (message->nlmsg_seq < first || message->nlmsg_seq > last) continue;
      if (message->nlmsg_type != NLMSG_ERROR) {
        visit(message);
        continue;
      }
      const auto [error, text] = answer_to(message);
      if (error != 0) answers.push_back({.sequence = message->nlmsg_seq, .error = error, .text = text});
      if (message->nlmsg_seq == last) return answers;
    }
  }
}

// The numbers of a batch rise, so that an answer's place in it is known: five days at ten times a thousand a
// second wrap them.
std::uint32_t NetlinkKernel::first_of_batch() {
  if (sequence_ > std::numeric_limits<std::uint32_t>::max() - kBatchMessages) sequence_ = 0;
  return sequence_ + 1;
}

WriteResult NetlinkKernel::write(int interface_index, std::span<const Change> changes) {
  WriteResult result;
  std::vector<std::byte> batch(kBatchBytes + kLargestMessage);
  std::size_t done = 0;
  while (done < changes.size()) {
    const std::uint32_t first = first_of_batch();
    std::size_t used = 0;
    std::size_t count = 0;
    nlmsghdr* newest = nullptr;
    do {
      newest = encode(std::span(batch).subspan(used, kLargestMessage), interface_index, ++sequence_,
                      changes[done + count]);
      used += aligned(newest->nlmsg_len);
      ++count;
    } while (done + count < changes.size() && count < kBatchMessages && used < kBatchBytes);
    newest->nlmsg_flags |=
        NLM_F_ACK;  // errors are answered in any case: one acknowledgement closes the batch
    const auto refused = exchange(std::span(batch).first(used), first, sequence_, "change the queue tree",
                                  [](const nlmsghdr*) {});
    result.accepted += count - refused.size();
    if (!refused.empty() && !result.refusal) {
      result.refusal = Refusal{.index = done + (refused.front().sequence - first),
                               .error = refused.front().error,
                               .kernel_says = refused.front().text};
    }
    done += count;
  }
  return result;
}

bool NetlinkKernel::has_fq_codel(int interface_index) {
  const std::uint32_t sequence = ++sequence_;
  alignas(nlmsghdr) std::array<std::byte, kLargestMessage> room{};
  const auto* request = encode_fq_codel_question(room, interface_index, sequence);
  const auto answers = exchange(std::span(room).first(request->nlmsg_len), sequence, sequence,
                                "ask whether the kernel has fq_codel", [](const nlmsghdr*) {});
  return answers.empty() || answers.front().error != ENOENT;
}

std::optional<LinkFacts> NetlinkKernel::link(const std::string& interface) {
  if (interface.empty() || interface.size() >= IFNAMSIZ) return std::nullopt;
  const std::uint32_t sequence = ++sequence_;
  alignas(nlmsghdr) std::array<std::byte, kLargestMessage> room{};
  nlmsghdr* request = mnl_nlmsg_put_header(room.data());
  request->nlmsg_type = RTM_GETLINK;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request->nlmsg_seq = sequence;
  mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg));
  mnl_attr_put_strz(request, IFLA_IFNAME, interface.c_str());
  std::optional<LinkFacts> facts;
  const auto answers = exchange(
      std::span(room).first(request->nlmsg_len), sequence, sequence, "look up " + interface,
      [&](const nlmsghdr* message) {
        if (message->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(message) < sizeof(ifinfomsg))
          return;
        const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
        const Attributes<kGroIpv4MaxSize> attributes(message, sizeof(ifinfomsg));
        const auto number = [&](std::size_t type) { return attributes.get<std::uint32_t>(type).value_or(0); };
        facts =
            LinkFacts{.index = header->ifi_index,
                      .mtu = number(IFLA_MTU),
                      .merge = {.bytes = number(IFLA_GRO_MAX_SIZE), .ipv4_bytes = number(kGroIpv4MaxSize)}};
      });
  if (!answers.empty() && answers.front().error != ENODEV)
    fail("look up " + interface, answers.front().error);
  return facts;
}

int NetlinkKernel::set_merge_limit(int interface_index, const MergeLimit& limit) {
  const std::uint32_t sequence = ++sequence_;
  alignas(nlmsghdr) std::array<std::byte, kLargestMessage> room{};
  nlmsghdr* request = mnl_nlmsg_put_header(room.data());
  request->nlmsg_type = RTM_NEWLINK;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request->nlmsg_seq = sequence;
  auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg)));
  header->ifi_index = interface_index;
  // In this order: up to 64 KB the first sets IPv4's as well (net/core/dev.c, netif_set_gro_max_size).
  mnl_attr_put_u32(request, IFLA_GRO_MAX_SIZE, limit.bytes);
  if (limit.ipv4_bytes != 0) mnl_attr_put_u32(request, kGroIpv4MaxSize, limit.ipv4_bytes);
  const auto answers = exchange(std::span(room).first(request->nlmsg_len), sequence, sequence,
                                "bound what an interface merges", [](const nlmsghdr*) {});
  return answers.empty() ? 0 : answers.front().error;
}

std::vector<NetlinkKernel::Answer> NetlinkKernel::ask_for(std::uint16_t type,
                                                          std::span<const TcAddress> these,
                                                          const std::string& attempt, const Visitor& visit) {
  std::vector<Answer> refused;
  std::vector<std::byte> batch(kBatchMessages * kLargestMessage);
  for (std::size_t done = 0; done < these.size();) {
    const std::uint32_t first = first_of_batch();
    std::size_t used = 0;
    const std::size_t end = std::min(these.size(), done + kBatchMessages);
    for (; done < end; ++done) {
      // Without ECHO the kernel tells the answer to everybody but us (sch_api.c, tclass_notify).
      const int ack = done + 1 == end ? NLM_F_ACK : 0;
      const auto* request = start_tc_message(std::span(batch).subspan(used, kLargestMessage), type,
                                             NLM_F_REQUEST | NLM_F_ECHO | ack, ++sequence_, these[done]);
      used += aligned(request->nlmsg_len);
    }
    auto answers = exchange(std::span(batch).first(used), first, sequence_, attempt, visit);
    std::move(answers.begin(), answers.end(), std::back_inserter(refused));
  }
  return refused;
}

Observed NetlinkKernel::observe(int interface_index) {
  Observed seen;
  // This dump covers every interface.
  dump(
      RTM_GETQDISC, interface_index, 0, kReadQueues, [&] { seen = {}; },
      [&](const nlmsghdr* message) { note_qdisc(message, interface_index, seen); });
  if (!seen.is_ours()) {
    seen.leaves.clear();
    return seen;
  }
  dump(
      RTM_GETTCLASS, interface_index, kRoot, kReadClasses, [&] { seen.classes.clear(); },
      [&](const nlmsghdr* message) { note_class(message, interface_index, seen); });
  return seen;
}

Observed NetlinkKernel::observe(int interface_index, std::span<const Handle> only) {
  std::vector<TcAddress> classes;
  std::vector<TcAddress> queues{{.index = interface_index, .parent = TC_H_ROOT}};
  for (const Handle handle : only) {
    classes.push_back({.index = interface_index, .handle = handle, .parent = kRoot});
    queues.push_back({.index = interface_index, .parent = handle});
  }
  Observed seen;
  const auto ask = [&](std::uint16_t type, std::span<const TcAddress> these, const char* attempt,
                       const auto& note) {
    const auto refused =
        ask_for(type, these, attempt, [&](const nlmsghdr* message) { note(message, interface_index, seen); });
    for (const Answer& answer : refused) {
      // Of what is not there; a queue of the kernel's own gives no answer at all.
      if (answer.error != ENOENT && answer.error != EINVAL) fail(attempt, answer.error);
    }
  };
  ask(RTM_GETQDISC, queues, kReadQueues, note_qdisc);
  ask(RTM_GETTCLASS, classes, kReadClasses, note_class);
  return seen;
}

std::map<Handle, ClassStats> NetlinkKernel::class_stats(int interface_index) {
  std::map<Handle, ClassStats> stats;
  dump(
      RTM_GETTCLASS, interface_index, kRoot, "read the class counters", [&] { stats.clear(); },
      [&](const nlmsghdr* message) {
        const auto cls = decode_class(message);
        if (cls && cls->interface_index == interface_index) stats.emplace(cls->handle, cls->stats);
      });
  return stats;
}

std::map<Handle, ClassStats> NetlinkKernel::class_stats(int interface_index, std::span<const Handle> only) {
  std::vector<TcAddress> classes;
  for (const Handle handle : only)
    classes.push_back({.index = interface_index, .handle = handle, .parent = kRoot});
  std::map<Handle, ClassStats> stats;
  ask_for(RTM_GETTCLASS, classes, "read class counters", [&](const nlmsghdr* message) {
    if (const auto cls = decode_class(message)) stats.emplace(cls->handle, cls->stats);
  });
  return stats;
}

std::map<Handle, LeafStats> NetlinkKernel::leaf_stats(int interface_index) {
  std::map<Handle, LeafStats> stats;
  dump(
      RTM_GETQDISC, interface_index, 0, "read the queue counters", [&] { stats.clear(); },
      [&](const nlmsghdr* message) {
        const auto qdisc = decode_qdisc(message);
        if (qdisc && qdisc->interface_index == interface_index && qdisc->parent >> 16U == kMajor)
          stats.emplace(qdisc->parent, qdisc->stats);
      });
  return stats;
}

void NetlinkKernel::pause(std::chrono::milliseconds how_long) {
  std::this_thread::sleep_for(how_long);
}

}  // namespace weir::shaper
