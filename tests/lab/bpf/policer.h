/* What the policer's kernel program and its user-space half share: the layout of its two map values.
 *
 * Charged bytes are Weir's one unit without link-layer overhead: each wire segment's frame from its Ethernet
 * header on (the kernel's qdisc_pkt_len, which is skb->len for everything that is not a super-packet).
 */
#ifndef WEIR_TESTS_LAB_BPF_POLICER_H
#define WEIR_TESTS_LAB_BPF_POLICER_H

#include <linux/bpf.h>
#include <linux/types.h>

/* Every field is one aligned word, so a single change is seen whole without a lock. */
struct policer_settings {
  __u64 rate_bps;       /* 0: no rate limit, only loss */
  __u64 bucket_bits;    /* depth of the token bucket */
  __u64 loss_threshold; /* a packet is lost when a 32-bit random number is below it (outside bursts) */
  __u64 burst_enter;    /* the same scale: good -> bad state of the Gilbert-Elliott chain */
  __u64 burst_leave;    /* bad -> good */
};

struct policer_count {
  __u64 packets;
  __u64 bytes;
};

struct policer_totals {
  struct policer_count offered;
  struct policer_count forwarded;
  struct policer_count policed; /* dropped for want of tokens */
  struct policer_count lost;    /* dropped by the random or bursty loss */
};

struct policer_state {
  struct bpf_spin_lock lock;
  __u32 in_burst;
  __u64 tokens; /* in 1e-9 bit, so that no refill is ever rounded away */
  __u64 refilled_ns;
  __u64 random; /* xorshift64 state: the run's seed decides which packets are lost */
  struct policer_totals total;
  struct policer_totals dscp[64]; /* IPv4 and IPv6 only */
};

#endif
