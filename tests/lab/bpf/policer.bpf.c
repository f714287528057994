// A provider's policer: a token bucket without a queue, with optional random and bursty loss and exact
// counts.
//
// One bucket for all CPUs under a spin lock: two CPUs that forward at once can neither spend a token twice
// nor lose a count. Tokens are kept in 1e-9 bit, so `elapsed_ns * rate_bps` is the exact refill.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "policer.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct policer_settings);
} settings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct policer_state);
} state SEC(".maps");

#define TOKEN_UNITS_PER_BIT 1000000000ULL

// The code point of an IPv4 or IPv6 packet; 64 for anything else.
static __always_inline __u32 dscp_of(struct __sk_buff* skb) {
  __u8 first[2];
  if (bpf_skb_load_bytes(skb, ETH_HLEN, first, sizeof(first))) return 64;
  if (skb->protocol == bpf_htons(ETH_P_IP)) return first[1] >> 2;
  if (skb->protocol == bpf_htons(ETH_P_IPV6)) return ((first[0] & 0x0f) << 2) | (first[1] >> 6);
  return 64;
}

static __always_inline void count(struct policer_count* c, __u64 bytes) {
  c->packets += 1;
  c->bytes += bytes;
}

static __always_inline __u64 next_random(struct policer_state* s) {
  __u64 x = s->random;  // xorshift64, Marsaglia 2003
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  s->random = x;
  return x >> 32;
}

// The Gilbert-Elliott chain steps once per packet; every packet of the bad state is lost.
static __always_inline int falls_to_loss(struct policer_state* s, const struct policer_settings* cfg) {
  if (cfg->burst_enter) {
    const __u64 draw = next_random(s);
    if (s->in_burst)
      s->in_burst = draw >= cfg->burst_leave;
    else
      s->in_burst = draw < cfg->burst_enter;
    if (s->in_burst) return 1;
  }
  return cfg->loss_threshold && next_random(s) < cfg->loss_threshold;
}

static __always_inline void refill(struct policer_state* s, const struct policer_settings* cfg, __u64 now) {
  const __u64 full = cfg->bucket_bits * TOKEN_UNITS_PER_BIT;
  // The other CPU may have read its clock later and come first: then there is nothing to add.
  if (now > s->refilled_ns) {
    const __u64 elapsed = now - s->refilled_ns;
    const __u64 fills_in = full / cfg->rate_bps + 1;  // guards the product below against overflow
    s->tokens = elapsed >= fills_in ? full : s->tokens + elapsed * cfg->rate_bps;
    s->refilled_ns = now;
  }
  if (s->tokens > full) s->tokens = full;
}

static __always_inline int conforms(struct policer_state* s, const struct policer_settings* cfg, __u64 bytes,
                                    __u64 now) {
  if (!cfg->rate_bps) return 1;
  refill(s, cfg, now);
  const __u64 cost = bytes * 8 * TOKEN_UNITS_PER_BIT;
  if (s->tokens < cost) return 0;
  s->tokens -= cost;
  return 1;
}

SEC("tc")
int police(struct __sk_buff* skb) {
  const __u32 zero = 0;
  struct policer_settings* cfg_in_map = bpf_map_lookup_elem(&settings, &zero);
  struct policer_state* s = bpf_map_lookup_elem(&state, &zero);
  if (!cfg_in_map || !s) return TC_ACT_SHOT;
  const struct policer_settings cfg = *cfg_in_map;
  const __u64 bytes = skb->wire_len;
  const __u32 dscp = dscp_of(skb);
  const int is_ip = dscp < 64;
  struct policer_totals* per_dscp = &s->dscp[dscp & 63];
  const __u64 now = bpf_ktime_get_ns();
  int verdict = TC_ACT_SHOT;

  bpf_spin_lock(&s->lock);
  count(&s->total.offered, bytes);
  if (is_ip) count(&per_dscp->offered, bytes);
  if (falls_to_loss(s, &cfg)) {
    count(&s->total.lost, bytes);
    if (is_ip) count(&per_dscp->lost, bytes);
  } else if (!conforms(s, &cfg, bytes, now)) {
    count(&s->total.policed, bytes);
    if (is_ip) count(&per_dscp->policed, bytes);
  } else {
    count(&s->total.forwarded, bytes);
    if (is_ip) count(&per_dscp->forwarded, bytes);
    verdict = TC_ACT_OK;
  }
  bpf_spin_unlock(&s->lock);
  return verdict;
}

char LICENSE[] SEC("license") = "GPL";
