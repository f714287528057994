#include "shaper/tc_message.hpp"

#include <algorithm>
#include <cerrno>

#include <linux/gen_stats.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "shaper/bfifo.hpp"
#include "shaper/fq_codel.hpp"
#include "shaper/htb.hpp"
#include "shaper/netlink_attributes.hpp"

namespace weir::shaper {
namespace {

constexpr int kMostErrno = 4095;  // MAX_ERRNO, include/linux/err.h

std::optional<tcmsg> tc_header(const nlmsghdr* message, std::uint16_t type) {
  tcmsg header{};
  if (message->nlmsg_type != type || mnl_nlmsg_get_payload_len(message) < sizeof header) return std::nullopt;
  std::memcpy(&header, mnl_nlmsg_get_payload(message), sizeof header);
  return header;
}

struct CommonStats {
  gnet_stats_basic basic;
  gnet_stats_queue queue;
  std::uint64_t packets = 0;
  const nlattr* app = nullptr;
};

CommonStats common_stats(const nlattr* nest) {
  const Attributes<TCA_STATS_MAX> stats(nest);
  CommonStats common{.basic = stats.get_padded<gnet_stats_basic>(TCA_STATS_BASIC),
                     .queue = stats.get_padded<gnet_stats_queue>(TCA_STATS_QUEUE),
                     .app = stats[TCA_STATS_APP]};
  // The 32-bit packet counter is complemented by a 64-bit one once it no longer suffices (gen_stats.c).
  common.packets = stats.get<std::uint64_t>(TCA_STATS_PKT64).value_or(common.basic.packets);
  return common;
}

}  // namespace

nlmsghdr* start_tc_message(std::span<std::byte> room, std::uint16_t type, int flags, std::uint32_t sequence,
                           const TcAddress& address) {
  std::fill(room.begin(), room.end(), std::byte{});
  nlmsghdr* message = mnl_nlmsg_put_header(room.data());
  message->nlmsg_type = type;
  message->nlmsg_flags = static_cast<std::uint16_t>(flags);
  message->nlmsg_seq = sequence;
  auto* header = static_cast<tcmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(tcmsg)));
  header->tcm_family = AF_UNSPEC;
  header->tcm_ifindex = address.index;
  header->tcm_handle = address.handle;
  header->tcm_parent = address.parent;
  return message;
}

std::vector<const nlmsghdr*> messages_in(std::span<const std::byte> bytes) {
  std::vector<const nlmsghdr*> messages;
  // Not mnl_nlmsg_ok(): it compares lengths as signed numbers and lets one of 2 GB and more pass.
  while (bytes.size() >= sizeof(nlmsghdr)) {
    const auto* message = static_cast<const nlmsghdr*>(static_cast<const void*>(bytes.data()));
    const std::size_t length = message->nlmsg_len;
    if (length < sizeof(nlmsghdr) || length > bytes.size()) break;
    messages.push_back(message);
    bytes = bytes.subspan(std::min(aligned(length), bytes.size()));
  }
  return messages;
}

KernelAnswer answer_to(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(nlmsgerr)) return {.error = EBADMSG, .text = {}};
  nlmsgerr header{};
  std::memcpy(&header, mnl_nlmsg_get_payload(message), sizeof header);
  // An errno is negated in here; anything else is not from a kernel, and INT_MIN has no negative.
  if (header.error > 0 || header.error < -kMostErrno) return {.error = EBADMSG, .text = {}};
  KernelAnswer answer{.error = -header.error, .text = {}};
  if ((message->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return answer;
  // The request stands in front of the attributes, unless the kernel was asked to cap it.
  std::size_t offset = sizeof header;
  if ((message->nlmsg_flags & NLM_F_CAPPED) == 0 && header.msg.nlmsg_len > sizeof(nlmsghdr)) {
    offset += aligned(header.msg.nlmsg_len - sizeof(nlmsghdr));
  }
  answer.text = Attributes<NLMSGERR_ATTR_MSG>(message, offset).text(NLMSGERR_ATTR_MSG);
  return answer;
}

std::optional<DecodedQdisc> decode_qdisc(const nlmsghdr* message) {
  const auto header = tc_header(message, RTM_NEWQDISC);
  if (!header) return std::nullopt;
  const Attributes<TCA_STAB> attributes(message, sizeof(tcmsg));
  DecodedQdisc qdisc{.interface_index = header->tcm_ifindex,
                     .handle = header->tcm_handle,
                     .parent = header->tcm_parent,
                     .kind = attributes.text(TCA_KIND)};
  const nlattr* options = attributes[TCA_OPTIONS];
  if (qdisc.kind == htb::kKind) {
    qdisc.root = htb::decode_root(options, attributes[TCA_STAB]);
  } else if (qdisc.kind == fq_codel::kKind) {
    qdisc.leaf = fq_codel::decode(options);
  } else if (qdisc.kind == bfifo::kKind) {
    qdisc.leaf = bfifo::decode(options);
  }
  const auto stats = common_stats(attributes[TCA_STATS2]);
  qdisc.stats = {.kind = qdisc.kind,
                 .drops = stats.queue.drops,
                 .ecn_marks = qdisc.kind == fq_codel::kKind ? fq_codel::decode_ecn_marks(stats.app) : 0,
                 .backlog = stats.queue.backlog,
                 .queued = stats.queue.qlen};
  return qdisc;
}

std::optional<DecodedTcClass> decode_class(const nlmsghdr* message) {
  const auto header = tc_header(message, RTM_NEWTCLASS);
  if (!header || header->tcm_handle >> 16U != kMajor) return std::nullopt;
  const Attributes<TCA_STATS2> attributes(message, sizeof(tcmsg));
  const auto options = htb::decode_class(attributes[TCA_OPTIONS]);
  if (!options) return std::nullopt;
  const auto stats = common_stats(attributes[TCA_STATS2]);
  // HTB shows a class without a parent class as a child of "root", whatever its qdisc's handle.
  const Handle parent = header->tcm_parent == TC_H_ROOT ? kRoot : header->tcm_parent;
  return DecodedTcClass{.interface_index = header->tcm_ifindex,
                        .handle = header->tcm_handle,
                        .stats = {.parent = parent,
                                  .inner = options->inner,
                                  .htb = options->htb,
                                  .bytes = stats.basic.bytes,
                                  .packets = stats.packets,
                                  .overlimits = stats.queue.overlimits,
                                  .backlog = options->inner ? 0 : stats.queue.backlog,
                                  .queued = options->inner ? 0 : stats.queue.qlen}};
}

}  // namespace weir::shaper
