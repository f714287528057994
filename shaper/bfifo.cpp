#include "shaper/bfifo.hpp"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

namespace weir::shaper::bfifo {

void encode(nlmsghdr* message, const ByteFifo& leaf) {
  const tc_fifo_qopt opt{.limit = static_cast<std::uint32_t>(leaf.limit.count())};
  mnl_attr_put(message, TCA_OPTIONS, sizeof opt, &opt);
}

std::optional<ByteFifo> decode(const nlattr* options) {
  tc_fifo_qopt opt{};
  if (options == nullptr || mnl_attr_get_payload_len(options) < sizeof opt) return std::nullopt;
  std::memcpy(&opt, mnl_attr_get_payload(options), sizeof opt);
  return ByteFifo{.limit = Bytes(opt.limit)};
}

}  // namespace weir::shaper::bfifo
