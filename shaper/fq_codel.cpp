#include "shaper/fq_codel.hpp"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

namespace weir::shaper::fq_codel {

void encode(nlmsghdr* message, const FqCodel& leaf, bool create) {
  const Nest options(message, TCA_OPTIONS);
  mnl_attr_put_u32(message, TCA_FQ_CODEL_LIMIT, leaf.limit);
  mnl_attr_put_u32(message, TCA_FQ_CODEL_MEMORY_LIMIT, static_cast<std::uint32_t>(leaf.memory_limit.count()));
  mnl_attr_put_u32(message, TCA_FQ_CODEL_TARGET, leaf.target_us);
  mnl_attr_put_u32(message, TCA_FQ_CODEL_INTERVAL, leaf.interval_us);
  mnl_attr_put_u32(message, TCA_FQ_CODEL_QUANTUM, leaf.quantum);
  mnl_attr_put_u32(message, TCA_FQ_CODEL_ECN, leaf.ecn ? 1 : 0);
  if (create) mnl_attr_put_u32(message, TCA_FQ_CODEL_FLOWS, leaf.flows);
}

void encode_impossible(nlmsghdr* message) {
  const Nest options(message, TCA_OPTIONS);
  mnl_attr_put_u32(message, TCA_FQ_CODEL_FLOWS, 0);
}

std::optional<FqCodel> decode(const nlattr* options) {
  const Attributes<TCA_FQ_CODEL_MAX> attributes(options);
  const auto u32 = [&](std::size_t type) { return attributes.get<std::uint32_t>(type); };
  const auto limit = u32(TCA_FQ_CODEL_LIMIT);
  const auto target = u32(TCA_FQ_CODEL_TARGET);
  const auto interval = u32(TCA_FQ_CODEL_INTERVAL);
  if (!limit || !target || !interval) return std::nullopt;
  return FqCodel{.limit = *limit,
                 .memory_limit = Bytes(u32(TCA_FQ_CODEL_MEMORY_LIMIT).value_or(0)),
                 .target_us = *target,
                 .interval_us = *interval,
                 .flows = u32(TCA_FQ_CODEL_FLOWS).value_or(0),
                 .quantum = u32(TCA_FQ_CODEL_QUANTUM).value_or(0),
                 .ecn = u32(TCA_FQ_CODEL_ECN).value_or(0) != 0};
}

std::uint64_t decode_ecn_marks(const nlattr* app_statistics) {
  if (app_statistics == nullptr || mnl_attr_get_payload_len(app_statistics) < sizeof(std::uint32_t)) return 0;
  tc_fq_codel_xstats stats{};
  std::memcpy(&stats, mnl_attr_get_payload(app_statistics),
              std::min<std::size_t>(mnl_attr_get_payload_len(app_statistics), sizeof stats));
  return stats.type == TCA_FQ_CODEL_XSTATS_QDISC ? stats.qdisc_stats.ecn_mark : 0;
}

}  // namespace weir::shaper::fq_codel
