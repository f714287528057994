#include "shaper/htb.hpp"

#include <algorithm>
#include <limits>

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

namespace weir::shaper::htb {
namespace {

constexpr std::uint64_t kMost32 = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint32_t kRateToQuantum =
    10;  // never used: every class has its quantum; zero would be refused

// A link layer other than "unaware" is what lets us leave out the 2 KB of rate table per class
// (sch_htb.c, htb_change_class: "keeping backward compatible with rate_table based iproute2 tc").
std::uint8_t wire(LinkLayer::Kind kind) {
  return kind == LinkLayer::Kind::atm ? std::uint8_t{TC_LINKLAYER_ATM} : std::uint8_t{TC_LINKLAYER_ETHERNET};
}

tc_ratespec rate_spec(const HtbClass& cls, Rate rate) {
  return {.cell_log = 0,
          .linklayer = wire(cls.link_layer),
          .overhead = cls.overhead,
          .cell_align = 0,
          .mpu = cls.mpu,
          .rate = static_cast<std::uint32_t>(std::min(rate.bytes_per_second(), kMost32))};
}

Rate rate_of(const tc_ratespec& spec, std::optional<std::uint64_t> wide) {
  const std::uint64_t bytes = std::max<std::uint64_t>(spec.rate, wide.value_or(0));
  return Rate::bps(std::min<std::uint64_t>(bytes, UINT64_MAX / 8) * 8);
}

}  // namespace

void encode(nlmsghdr* message, const HtbRoot& root) {
  encode_size_table(message, root);
  const Nest options(message, TCA_OPTIONS);
  const tc_htb_glob glob{.version = TC_HTB_PROTOVER,
                         .rate2quantum = kRateToQuantum,
                         .defcls = root.default_class,
                         .debug = 0,
                         .direct_pkts = 0};
  mnl_attr_put(message, TCA_HTB_INIT, sizeof glob, &glob);
}

// Overhead alone needs no table behind it (sch_api.c, __qdisc_calculate_pkt_len).
void encode_size_table(nlmsghdr* message, const HtbRoot& root) {
  if (root.size_overhead == 0) return;
  const Nest stab(message, TCA_STAB);
  tc_sizespec spec{};
  spec.linklayer = TC_LINKLAYER_ETHERNET;
  spec.overhead = root.size_overhead;
  mnl_attr_put(message, TCA_STAB_BASE, sizeof spec, &spec);
}

void encode(nlmsghdr* message, const HtbClass& cls) {
  const Nest options(message, TCA_OPTIONS);
  tc_htb_opt opt{};
  opt.rate = rate_spec(cls, cls.rate);
  opt.ceil = rate_spec(cls, cls.ceil);
  opt.buffer = cls.burst.count;
  opt.cbuffer = cls.cburst.count;
  opt.quantum = cls.quantum;
  opt.prio = cls.priority;
  mnl_attr_put(message, TCA_HTB_PARMS, sizeof opt, &opt);
  if (cls.rate.bytes_per_second() > kMost32)
    mnl_attr_put_u64(message, TCA_HTB_RATE64, cls.rate.bytes_per_second());
  if (cls.ceil.bytes_per_second() > kMost32)
    mnl_attr_put_u64(message, TCA_HTB_CEIL64, cls.ceil.bytes_per_second());
}

std::optional<HtbRoot> decode_root(const nlattr* options, const nlattr* size_table) {
  const Attributes<TCA_HTB_MAX> attributes(options);
  const auto glob = attributes.get<tc_htb_glob>(TCA_HTB_INIT);
  if (!glob) return std::nullopt;
  HtbRoot root{.default_class = glob->defcls};
  const Attributes<TCA_STAB_MAX> stab(size_table);
  if (const auto spec = stab.get<tc_sizespec>(TCA_STAB_BASE)) root.size_overhead = spec->overhead;
  return root;
}

std::optional<DecodedClass> decode_class(const nlattr* options) {
  const Attributes<TCA_HTB_MAX> attributes(options);
  const auto opt = attributes.get<tc_htb_opt>(TCA_HTB_PARMS);
  if (!opt) return std::nullopt;
  const bool atm = (opt->rate.linklayer & TC_LINKLAYER_MASK) == TC_LINKLAYER_ATM;
  return DecodedClass{.htb = {.rate = rate_of(opt->rate, attributes.get<std::uint64_t>(TCA_HTB_RATE64)),
                              .ceil = rate_of(opt->ceil, attributes.get<std::uint64_t>(TCA_HTB_CEIL64)),
                              .burst = {opt->buffer},
                              .cburst = {opt->cbuffer},
                              .quantum = opt->quantum,
                              .priority = opt->prio,
                              .link_layer = atm ? LinkLayer::Kind::atm : LinkLayer::Kind::ethernet,
                              .overhead = opt->rate.overhead,
                              .mpu = opt->rate.mpu},
                      .inner = opt->level > 0};
}

}  // namespace weir::shaper::htb
