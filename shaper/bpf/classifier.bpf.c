/* The classifier at clsact egress: one packet in, skb->priority = its HTB class out.
 *
 *   control?  --yes--> the control class
 *      | no
 *   destination in a site?  --no--> the elsewhere class      (at a LAN port: the source)
 *      | yes
 *   rules of the site's class set, a bit each:  dscp & protocol & source & destination & ports -> lowest bit
 *      | none left
 *   the set's default class
 *
 * HTB takes a priority whose upper half is its own handle as a class id and runs no filter of its own
 * (net/sched/sch_htb.c, htb_classify). The verdict is always TC_ACT_UNSPEC: whoever else has a filter here is
 * still asked. Where a policy says so the packet's DSCP is written. Headers are read with bpf_skb_load_bytes,
 * never pulled: a pull would copy every TCP packet, which are clones.
 *
 * The tables are never changed once the program runs; a new policy comes as a new program with new tables,
 * and the swap of the one for the other in the filter is what makes a policy change atomic
 * (docs/CLASSIFIER.md). */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "classifier_layout.h"

const volatile struct weir_constants constants = {};

/* Sizes marked 1 are set by the loader from the policy. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct weir_address_table);
} address_tables SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct weir_address_slot);
} address_slots SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct weir_range4);
} ranges4 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct weir_range6);
} ranges6 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct weir_site);
} sites SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct weir_verdict);
} rule_verdicts SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct weir_class_set);
} class_sets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);
  __type(key, struct weir_fwmark_key);
  __type(value, __u32);
} fwmarks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct weir_port_page);
} port_pages SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __uint(key_size, sizeof(__u32));
  __uint(value_size, sizeof(__u64)); /* the loader makes it words x 8 */
} vectors SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct weir_arrivals);
} arrivals SEC(".maps");

enum ethertype {
  TYPE_IPV4 = 0x0800,
  TYPE_IPV6 = 0x86dd,
  TYPE_VLAN = 0x8100,
  TYPE_QINQ = 0x88a8,
  TYPE_QINQ_LEGACY = 0x9100,
  TYPE_PPPOE_SESSION = 0x8864,
  TYPE_MPLS_UNICAST = 0x8847,
  TYPE_MPLS_MULTICAST = 0x8848,
  TYPE_MACSEC = 0x88e5,
  TYPE_PROVIDER_BACKBONE = 0x88e7,
  TYPE_TRILL = 0x22f3,
  TYPE_NSH = 0x894f,
  TYPE_FCOE = 0x8906,
  TYPE_ATA = 0x88a2,
  TYPE_ROCE = 0x8915,
};

enum protocol {
  PROTOCOL_HOP_BY_HOP = 0,
  PROTOCOL_IGMP = 2,
  PROTOCOL_TCP = 6,
  PROTOCOL_UDP = 17,
  PROTOCOL_ROUTING = 43,
  PROTOCOL_FRAGMENT = 44,
  PROTOCOL_AH = 51,
  PROTOCOL_ICMPV6 = 58,
  PROTOCOL_DESTINATION_OPTIONS = 60,
  PROTOCOL_EIGRP = 88,
  PROTOCOL_OSPF = 89,
  PROTOCOL_PIM = 103,
  PROTOCOL_VRRP = 112,
  PROTOCOL_SCTP = 132,
};

enum way { TO_CONTROL, TO_ELSEWHERE, TO_SITE };

struct packet {
  __u32 family; /* 4 or 6 */
  __u32 header_at;
  __u32 vlan; /* id of the outermost tag, 0: none */
  __u32 fwmark;
  __u32 dscp;
  __u32 protocol;
  __u32 payload_at;  /* offset of the transport header */
  __u32 has_payload; /* its first four bytes are in the frame and in this fragment */
  __u8 payload[4];
  __u32 source[4]; /* IPv4: the first word */
  __u32 destination[4];
};

#define inlined static __attribute__((always_inline)) inline
/* A function that the verifier judges by itself, once, whatever led to its call: what it is given may hold
 * anything. Without such seams it would follow every way through the headers into every way through the
 * rules, a hundred times the work (Documentation/bpf/verifier.rst, "Function calls"). Pointers to such a
 * function may be null, for all it knows. */
#define verified_apart __attribute__((noinline))

inlined int is_vlan_tag(__u32 type) {
  return type == TYPE_VLAN || type == TYPE_QINQ || type == TYPE_QINQ_LEGACY;
}

/* Frame formats that carry users' data in something we do not look through. Everything else that is not IP is
 * the link or the routing talking about itself: ARP, LLDP, LACP, spanning tree, IS-IS, 802.1X, CFM, PTP. */
inlined int carries_data(__u32 type) {
  switch (type) {
    case TYPE_MPLS_UNICAST:
    case TYPE_MPLS_MULTICAST:
    case TYPE_MACSEC:
    case TYPE_PROVIDER_BACKBONE:
    case TYPE_TRILL:
    case TYPE_NSH:
    case TYPE_FCOE:
    case TYPE_ATA:
    case TYPE_ROCE:
      return 1;
    default:
      return is_vlan_tag(type); /* one more tag than we go through */
  }
}

/* RFC 2516 over RFC 1661: six bytes of PPPoE, then PPP's protocol, whose upper half (NCPs from 0x8000, LCP
 * and authentication from 0xc000) is the link's own business. */
inlined enum way pppoe_session_way(struct __sk_buff* skb, __u32 at) {
  __u16 ppp_protocol = 0;
  if (bpf_skb_load_bytes(skb, at + 6, &ppp_protocol, sizeof(ppp_protocol))) return TO_ELSEWHERE;
  return bpf_ntohs(ppp_protocol) >= 0x8000 ? TO_CONTROL : TO_ELSEWHERE;
}

inlined void read_payload(struct __sk_buff* skb, struct packet* p) {
  p->has_payload = bpf_skb_load_bytes(skb, p->payload_at, p->payload, sizeof(p->payload)) == 0;
}

verified_apart int parse_ipv4(struct __sk_buff* skb, __u32 at, struct packet* p) {
  __u32 header[5];
  if (!p) return -1;
  if (bpf_skb_load_bytes(skb, at, header, sizeof(header))) return -1;
  const __u8* bytes = (const __u8*)header;
  const __u32 header_length = (bytes[0] & 0x0fu) * 4u;
  if (bytes[0] >> 4 != 4 || header_length < sizeof(header)) return -1;
  p->family = 4;
  p->header_at = at;
  p->dscp = bytes[1] >> 2;
  p->protocol = bytes[9];
  p->source[0] = header[3];
  p->destination[0] = header[4];
  p->payload_at = at + header_length;
  const __u32 fragment_offset = (bytes[6] & 0x1fu) << 8 | bytes[7];
  if (fragment_offset == 0) read_payload(skb, p);
  return 0;
}

inlined int is_extension(__u32 protocol) {
  return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING ||
         protocol == PROTOCOL_DESTINATION_OPTIONS || protocol == PROTOCOL_FRAGMENT || protocol == PROTOCOL_AH;
}

/* Walks from the IPv6 header to the transport header (RFC 8200, 4). A later fragment ends the walk: what its
 * next-header field names is not there. So does the bound; the protocol is then the header that we stopped
 * at. */
verified_apart int parse_ipv6(struct __sk_buff* skb, __u32 at, struct packet* p) {
  __u32 header[10];
  if (!p) return -1;
  if (bpf_skb_load_bytes(skb, at, header, sizeof(header))) return -1;
  const __u8* bytes = (const __u8*)header;
  if (bytes[0] >> 4 != 6) return -1;
  p->family = 6;
  p->header_at = at;
  p->dscp = (bytes[0] & 0x0fu) << 2 | bytes[1] >> 6;
  for (int i = 0; i < 4; ++i) {
    p->source[i] = header[2 + i];
    p->destination[i] = header[6 + i];
  }
  __u32 next = bytes[6];
  at += sizeof(header);
  for (int i = 0; i < WEIR_MAX_EXTENSION_HEADERS && is_extension(next); ++i) {
    __u8 extension[4];
    if (bpf_skb_load_bytes(skb, at, extension, sizeof(extension))) return -1;
    const __u32 kind = next;
    next = extension[0];
    if (kind == PROTOCOL_FRAGMENT) {
      at += 8;
      const __u32 fragment_offset = extension[2] << 8 | (extension[3] & 0xf8u);
      if (fragment_offset != 0) {
        p->protocol = next;
        return 0;
      }
    } else if (kind == PROTOCOL_AH) {
      at += (extension[1] + 2u) * 4u; /* RFC 4302, 2.2: counted in words, less two */
    } else {
      at += (extension[1] + 1u) * 8u;
    }
  }
  p->protocol = next;
  p->payload_at = at;
  if (!is_extension(next)) read_payload(skb, p);
  return 0;
}

inlined int has_ports(const struct packet* p) {
  return p->has_payload &&
         (p->protocol == PROTOCOL_TCP || p->protocol == PROTOCOL_UDP || p->protocol == PROTOCOL_SCTP);
}
inlined __u32 source_port(const struct packet* p) {
  return p->payload[0] << 8 | p->payload[1];
}
inlined __u32 destination_port(const struct packet* p) {
  return p->payload[2] << 8 | p->payload[3];
}

inlined int is_bfd_port(__u32 port) {
  return port == 3784 || port == 3785 || port == 4784 || port == 6784; /* RFC 5881, 5883, 7130 */
}

/* Routing and link control inside IP. CS6 and CS7 are what routers mark their own packets with (RFC 4594). */
verified_apart int is_control(const struct packet* p) {
  if (!p) return 0;
  if (p->dscp == 48 || p->dscp == 56) return 1;
  switch (p->protocol) {
    case PROTOCOL_OSPF:
    case PROTOCOL_VRRP:
    case PROTOCOL_EIGRP:
    case PROTOCOL_IGMP:
      return 1;
    case PROTOCOL_PIM: /* a Register (type 1) is a tunnel full of users' data (RFC 7761, 4.9.3) */
      return p->has_payload && (p->payload[0] & 0x0fu) != 1;
    case PROTOCOL_ICMPV6: /* multicast listeners 130-132 and 143, neighbours 133-137 */
      return p->family == 6 && p->has_payload &&
             ((p->payload[0] >= 130 && p->payload[0] <= 137) || p->payload[0] == 143);
    case PROTOCOL_TCP:
      return has_ports(p) && (source_port(p) == 179 || destination_port(p) == 179);
    case PROTOCOL_UDP: /* a BFD packet goes *to* its well-known port */
      return has_ports(p) && is_bfd_port(destination_port(p));
    default:
      return 0;
  }
}

verified_apart int find_way(struct __sk_buff* skb, struct packet* p) {
  if (!p) return TO_ELSEWHERE;
  __u16 raw = 0;
  __u32 at = 12;
  if (bpf_skb_load_bytes(skb, at, &raw, sizeof(raw))) return TO_ELSEWHERE;
  /* A tag in the skb's metadata is the outermost one and not in these bytes: nothing to step over. */
  int outermost = !skb->vlan_present;
  if (skb->vlan_present) p->vlan = skb->vlan_tci & 0x0fffu;
  for (int i = 0; i < WEIR_MAX_VLAN_TAGS && is_vlan_tag(bpf_ntohs(raw)); ++i) {
    __u16 tag = 0;
    if (outermost && bpf_skb_load_bytes(skb, at + 2, &tag, sizeof(tag)) == 0)
      p->vlan = bpf_ntohs(tag) & 0x0fffu;
    outermost = 0;
    at += 4;
    if (bpf_skb_load_bytes(skb, at, &raw, sizeof(raw))) return TO_ELSEWHERE;
  }
  at += sizeof(raw);
  const __u32 type = bpf_ntohs(raw);
  if (type == TYPE_IPV4) {
    if (parse_ipv4(skb, at, p)) return TO_ELSEWHERE;
  } else if (type == TYPE_IPV6) {
    if (parse_ipv6(skb, at, p)) return TO_ELSEWHERE;
  } else if (type == TYPE_PPPOE_SESSION) {
    return pppoe_session_way(skb, at);
  } else {
    return carries_data(type) ? TO_ELSEWHERE : TO_CONTROL;
  }
  return is_control(p) ? TO_CONTROL : TO_SITE;
}

/* The slot that has this key, in the table or one within it. */
inlined const struct weir_address_slot* slot_of(__u32 table_number, __u64 key) {
  for (__u32 level = 0; level < WEIR_MAX_INDEX_LEVELS; ++level) {
    if (level >= constants.index_levels) break;
    const struct weir_address_table* table = bpf_map_lookup_elem(&address_tables, &table_number);
    if (!table) break;
    __u64 in_table = key < table->base ? 0 : (key - table->base) >> (table->shift & 63u);
    if (in_table >= table->slots) in_table = table->slots - 1u;
    const __u32 number = table->first_slot + (__u32)in_table;
    const struct weir_address_slot* slot = bpf_map_lookup_elem(&address_slots, &number);
    if (!slot || slot->ranges) return slot;
    table_number = slot->first;
  }
  return 0;
}

/* The last range of the slot that begins at the address or before it; its first always does. Of an uneven
 * number the half that is left keeps one range too many, which begins behind the address. */
verified_apart __u32 value_of_ipv4(__u32 table_number, __u32 address) {
  const struct weir_address_slot* slot = slot_of(table_number, address);
  if (!slot) return WEIR_NO_VALUE;
  __u32 at = slot->first, left = slot->ranges;
  const struct weir_range4* range;
  for (__u32 step = 0; step < WEIR_MAX_SEARCH_STEPS && left > 1; ++step) {
    if (step >= constants.search_steps) break;
    const __u32 half = left / 2, middle = at + half;
    range = bpf_map_lookup_elem(&ranges4, &middle);
    if (!range) return WEIR_NO_VALUE;
    if (range->start <= address) at = middle;
    left -= half;
  }
  range = bpf_map_lookup_elem(&ranges4, &at);
  return range ? range->value : WEIR_NO_VALUE;
}

inlined int begins_behind(const struct weir_range6* range, __u64 upper, __u64 lower) {
  return range->start_upper > upper || (range->start_upper == upper && range->start_lower > lower);
}

verified_apart __u32 value_of_ipv6(__u32 table_number, __u64 upper, __u64 lower) {
  const struct weir_address_slot* slot = slot_of(table_number, upper);
  if (!slot) return WEIR_NO_VALUE;
  __u32 at = slot->first, left = slot->ranges;
  const struct weir_range6* range;
  for (__u32 step = 0; step < WEIR_MAX_SEARCH_STEPS && left > 1; ++step) {
    if (step >= constants.search_steps) break;
    const __u32 half = left / 2, middle = at + half;
    range = bpf_map_lookup_elem(&ranges6, &middle);
    if (!range) return WEIR_NO_VALUE;
    if (!begins_behind(range, upper, lower)) at = middle;
    left -= half;
  }
  range = bpf_map_lookup_elem(&ranges6, &at);
  return range ? range->value : WEIR_NO_VALUE;
}

/* What the longest prefix around the address has, in this pair of tables. */
inlined __u32 value_of_address(const struct packet* p, __u32 tables, const __u32* address) {
  if (p->family == 4) return value_of_ipv4(tables, bpf_ntohl(address[0]));
  return value_of_ipv6(tables + 1, (__u64)bpf_ntohl(address[0]) << 32 | bpf_ntohl(address[1]),
                       (__u64)bpf_ntohl(address[2]) << 32 | bpf_ntohl(address[3]));
}

inlined const struct weir_site* site_of(const struct packet* p) {
  const __u32 number =
      value_of_address(p, WEIR_SITE_TABLES, constants.by_source ? p->source : p->destination);
  return bpf_map_lookup_elem(&sites, &number);
}

inlined const __u64* vector(__u32 number) {
  return bpf_map_lookup_elem(&vectors, &number);
}

inlined const __u64* paged_vector(__u32 page_number, __u32 value) {
  const struct weir_port_page* page = bpf_map_lookup_elem(&port_pages, &page_number);
  return page ? vector(page->vector[value & 0xffu]) : 0;
}

inlined const __u64* port_vector(const __u32* pages, __u32 port) {
  return paged_vector(pages[port >> 8 & 0xffu], port);
}

/* The ones below the lowest bit, counted. Written out, since a bit scan is not in the instruction set, and
 * without a branch, since the verifier would follow each one of every word. */
inlined __u32 lowest_bit(__u64 v) {
  __u64 below = (v & -v) - 1;
  below -= below >> 1 & 0x5555555555555555ull;
  below = (below & 0x3333333333333333ull) + (below >> 2 & 0x3333333333333333ull);
  below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0full;
  return (__u32)(below * 0x0101010101010101ull >> 56);
}

inlined const __u64* fwmark_vector(const struct packet* p, const struct weir_class_set* set,
                                   __u32 set_number) {
  const struct weir_fwmark_key key = {.class_set = set_number, .mark = p->fwmark};
  const __u32* number = bpf_map_lookup_elem(&fwmarks, &key);
  return vector(number ? *number : set->other_fwmark);
}

/* The first rule of the set that holds, or -1, also when there is no such set. Vectors of unused fields are
 * vector 0, all ones; dscp and protocol are always looked up, so bits beyond the set's last rule never
 * survive. */
verified_apart int first_rule(const struct packet* p, __u32 set_number) {
  const struct weir_class_set* set = bpf_map_lookup_elem(&class_sets, &set_number);
  if (!p || !set) return -1;
  const __u64* all = vector(WEIR_VECTOR_ALL);
  const __u64* dscp = vector(set->dscp[p->dscp & 63u]);
  const __u64* protocol = vector(set->protocol[p->protocol & 255u]);
  if (!all || !dscp || !protocol) return -1;
  /* Each is tested where it is fetched: known to be there, all are alike to the verifier, and ways join
   * again. */
  const __u64 *source = all, *destination = all;
  if (set->uses & WEIR_USES_SOURCE) {
    source = vector(value_of_address(p, set->source_tables, p->source));
    if (!source) return -1;
  }
  if (set->uses & WEIR_USES_DESTINATION) {
    destination = vector(value_of_address(p, set->destination_tables, p->destination));
    if (!destination) return -1;
  }
  const __u64 *vlan = all, *fwmark = all;
  if (set->uses & WEIR_USES_VLAN) {
    vlan = paged_vector(set->vlan_page[p->vlan >> 8 & 0x0fu], p->vlan);
    if (!vlan) return -1;
  }
  if (set->uses & WEIR_USES_FWMARK) {
    fwmark = fwmark_vector(p, set, set_number);
    if (!fwmark) return -1;
  }
  const __u64 *from_port = all, *to_port = all, *either_from = all, *either_to = all;
  if (set->uses & WEIR_USES_PORTS) {
    if (has_ports(p)) {
      from_port = port_vector(set->source_port_page, source_port(p));
      to_port = port_vector(set->destination_port_page, destination_port(p));
      either_from = port_vector(set->either_port_page, source_port(p));
      either_to = port_vector(set->either_port_page, destination_port(p));
    } else {
      from_port = vector(set->portless);
    }
    if (!from_port || !to_port || !either_from || !either_to) return -1;
  }
  for (__u32 w = 0; w < WEIR_MAX_WORDS; ++w) {
    if (w >= constants.words) break;
    const __u64 holds = dscp[w] & protocol[w] & vlan[w] & fwmark[w] & source[w] & destination[w] &
                        from_port[w] & to_port[w] & (either_from[w] | either_to[w]);
    if (holds) return (int)(w * WEIR_RULES_PER_WORD + lowest_bit(holds));
  }
  return -1;
}

inlined const struct weir_verdict* verdict_of(const struct weir_site* site, int rule) {
  const __u32 at = site->first_verdict + (__u32)rule;
  const struct weir_verdict* verdict = rule < 0 ? 0 : bpf_map_lookup_elem(&rule_verdicts, &at);
  return verdict ? verdict : &site->otherwise;
}

/* The two ECN bits stay (RFC 3168, 5), and so does all else of the first two bytes. What is read back from
 * the packet is what is changed: a packet that cannot be written keeps its mark. */
inlined void set_dscp(struct __sk_buff* skb, const struct packet* p, __u32 dscp) {
  __u8 now[2], then[2];
  if (bpf_skb_load_bytes(skb, p->header_at, now, sizeof(now))) return;
  if (p->family == 4) {
    then[0] = now[0];
    then[1] = (__u8)(dscp << 2 | (now[1] & 0x03u));
    /* The header's sum goes with it, so that what the kernel knows of the packet's sum stays true. */
    const __u32 checksum_at = p->header_at + 10;
    if (bpf_l3_csum_replace(skb, checksum_at, *(const __u16*)now, *(const __u16*)then, sizeof(then))) return;
    bpf_skb_store_bytes(skb, p->header_at, then, sizeof(then), 0);
  } else {
    then[0] = (__u8)((now[0] & 0xf0u) | dscp >> 2);
    then[1] = (__u8)((now[1] & 0x3fu) | (dscp & 0x03u) << 6);
    bpf_skb_store_bytes(skb, p->header_at, then, sizeof(then), BPF_F_RECOMPUTE_CSUM);
  }
}

/* A packet that does not leave by the port is a question: it is told the slot instead. */
inlined void count_arrival(struct __sk_buff* skb, __u32 slot) {
  if (skb->ifindex != constants.port_index) {
    skb->cb[0] = slot;
    return;
  }
  struct weir_arrivals* counter = bpf_map_lookup_elem(&arrivals, &slot);
  if (!counter) return;
  counter->packets += skb->gso_segs ? skb->gso_segs : 1;
  counter->bytes += skb->wire_len; /* len plus the headers that segmentation will repeat, as HTB charges it */
}

SEC("tc")
int weir_classify(struct __sk_buff* skb) {
  struct packet p = {.fwmark = skb->mark};
  __u32 handle = constants.elsewhere_handle;
  __u32 slot = WEIR_ARRIVALS_ELSEWHERE;
  const int way = find_way(skb, &p);
  if (way == TO_CONTROL) {
    handle = constants.control_handle;
    slot = WEIR_ARRIVALS_CONTROL;
  } else if (way == TO_SITE) {
    const struct weir_site* site = site_of(&p);
    if (site) {
      const int rule = first_rule(&p, site->class_set);
      const struct weir_verdict* verdict = verdict_of(site, rule);
      handle = verdict->handle;
      slot = site->arrivals + (__u32)(rule + 1);
      if (verdict->dscp < WEIR_KEEP_DSCP && verdict->dscp != p.dscp) set_dscp(skb, &p, verdict->dscp);
    }
  }
  skb->priority = handle;
  count_arrival(skb, slot);
  return TC_ACT_UNSPEC;
}
