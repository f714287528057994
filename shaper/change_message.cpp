#include "shaper/change_message.hpp"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "shaper/bfifo.hpp"
#include "shaper/fq_codel.hpp"
#include "shaper/htb.hpp"
#include "shaper/tc_message.hpp"

namespace weir::shaper {
namespace {

constexpr int kAdd = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
constexpr int kReplace = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
constexpr int kModify = NLM_F_REQUEST;

// What one message needs to be addressed; the overloads below fill in one kind of change each.
struct Envelope {
  std::span<std::byte> room;
  int index = 0;
  std::uint32_t sequence = 0;

  [[nodiscard]] nlmsghdr* open(std::uint16_t type, int flags, Handle handle, Handle parent) const {
    return start_tc_message(room, type, flags, sequence,
                            {.index = index, .handle = handle, .parent = parent});
  }
};

nlmsghdr* put(const Envelope& to, const SetRoot& change) {
  const int flags = change.how == SetRoot::How::add       ? kAdd
                    : change.how == SetRoot::How::replace ? kReplace
                                                          : kModify;
  nlmsghdr* message = to.open(RTM_NEWQDISC, flags, kRoot, TC_H_ROOT);
  mnl_attr_put_strz(message, TCA_KIND, htb::kKind);
  if (change.how == SetRoot::How::modify) {
    htb::encode_size_table(message, change.root);
  } else {
    htb::encode(message, change.root);
  }
  return message;
}

nlmsghdr* put(const Envelope& to, const RemoveRoot&) {
  return to.open(RTM_DELQDISC, kModify, kRoot, TC_H_ROOT);
}

nlmsghdr* put(const Envelope& to, const SetClass& change) {
  nlmsghdr* message = to.open(RTM_NEWTCLASS, change.create ? kAdd : kModify, change.handle, change.parent);
  mnl_attr_put_strz(message, TCA_KIND, htb::kKind);
  htb::encode(message, change.htb);
  return message;
}

nlmsghdr* put(const Envelope& to, const RemoveClass& change) {
  return to.open(RTM_DELTCLASS, kModify, change.handle, change.parent);
}

nlmsghdr* put(const Envelope& to, const SetLeaf& change) {
  nlmsghdr* message =
      to.open(RTM_NEWQDISC, change.create ? kAdd : kModify, change.leaf.handle, change.leaf.parent);
  mnl_attr_put_strz(message, TCA_KIND, kind_of(change.leaf.parameters));
  if (const auto* fq = std::get_if<FqCodel>(&change.leaf.parameters)) {
    fq_codel::encode(message, *fq, change.create);
  } else {
    bfifo::encode(message, std::get<ByteFifo>(change.leaf.parameters));
  }
  return message;
}

nlmsghdr* put(const Envelope& to, const RemoveLeaf& change) {
  return to.open(RTM_DELQDISC, kModify, change.handle, change.parent);
}

}  // namespace

nlmsghdr* encode(std::span<std::byte> room, int interface_index, std::uint32_t sequence,
                 const Change& change) {
  const Envelope envelope{.room = room, .index = interface_index, .sequence = sequence};
  return std::visit([&](const auto& c) { return put(envelope, c); }, change);
}

nlmsghdr* encode_fq_codel_question(std::span<std::byte> room, int interface_index, std::uint32_t sequence) {
  // CREATE | EXCL | REPLACE without a handle goes straight to making a new root, whatever stands there
  // (sch_api.c, tc_modify_qdisc), and fails before anything is attached.
  const Envelope envelope{.room = room, .index = interface_index, .sequence = sequence};
  nlmsghdr* message = envelope.open(RTM_NEWQDISC, kAdd | kReplace | NLM_F_ACK, 0, TC_H_ROOT);
  mnl_attr_put_strz(message, TCA_KIND, fq_codel::kKind);
  fq_codel::encode_impossible(message);
  return message;
}

}  // namespace weir::shaper
