/* What the loader writes and the program reads: the one description of the classifier's tables.
 *
 * Included by C (the BPF program) and by C++ (the loader): plain structs, fixed widths, no padding.
 * Everything is in host order but addresses, which are in network order. */
#ifndef WEIR_SHAPER_BPF_CLASSIFIER_LAYOUT_H
#define WEIR_SHAPER_BPF_CLASSIFIER_LAYOUT_H

#include <linux/types.h>

/* A rule is one match entry of a class set and owns one bit; the lowest bit that stays set names the first
 * that holds. The width of a vector is chosen at load (rodata `words`), so a small policy does not pay for
 * the largest. */
enum { WEIR_RULES_PER_WORD = 64, WEIR_MAX_WORDS = 16, WEIR_MAX_RULES = WEIR_RULES_PER_WORD * WEIR_MAX_WORDS };

/* Extension headers are a stranger's to write: the walk is bounded. Real packets carry two or three. */
enum { WEIR_MAX_EXTENSION_HEADERS = 6, WEIR_MAX_VLAN_TAGS = 2 };

/* Vector 0 has every bit set: the answer of a field that no rule of the set looks at. Port page 0 answers 0
 * throughout. */
enum { WEIR_VECTOR_ALL = 0, WEIR_PORT_PAGE_ALL = 0 };

/* weir_class_set.uses: fields whose lookup is worth doing for this set. */
enum {
  WEIR_USES_SOURCE = 1,
  WEIR_USES_DESTINATION = 2,
  WEIR_USES_PORTS = 4,
  WEIR_USES_VLAN = 8,
  WEIR_USES_FWMARK = 16
};

/* Slots of the arrivals table. From WEIR_ARRIVALS_FIRST_SITE on each site of the policy has one for what no
 * rule holds for, and one for each rule that can choose among its classes, in the order of matching. */
enum { WEIR_ARRIVALS_ELSEWHERE = 0, WEIR_ARRIVALS_CONTROL = 1, WEIR_ARRIVALS_FIRST_SITE = 2 };

/* Constants of one load: frozen before the verifier runs, so that it drops what they rule out. */
struct weir_constants {
  __u32 control_handle;
  __u32 elsewhere_handle;
  __u32 port_index; /* count only what really leaves by the port, not the questions of `explain` */
  __u32 words;      /* width of a vector in 64-bit words */
  __u32 by_source;  /* a packet is of the site that it comes from, not of the one it goes to */
};

/* What becomes of a packet. */
enum { WEIR_KEEP_DSCP = 64 };
struct weir_verdict {
  __u32 handle;
  __u32 dscp; /* written into the packet, unless it is WEIR_KEEP_DSCP */
};

/* Where packets to some prefixes go: a site, or one subnet of a site whose subnets are classes. */
enum { WEIR_NO_CLASS_SET = 0xffffffffu };
struct weir_site {
  __u32 class_set;               /* index of its weir_class_set, or WEIR_NO_CLASS_SET */
  __u32 first_verdict;           /* rule r of that set leads to rule_verdicts[first_verdict + r] */
  struct weir_verdict otherwise; /* when no rule holds */
  __u32 arrivals;                /* the site's first slot */
};

/* Every number in here names a vector, but for the pages: those name a weir_port_page. */
struct weir_class_set {
  __u32 uses;
  __u32 portless; /* rules that do not look at ports: what is left for a packet that has none */
  __u32 dscp[64];
  __u32 protocol[256];
  __u32 source_port_page[256]; /* by the port's upper byte */
  __u32 destination_port_page[256];
  __u32 either_port_page[256]; /* `port:`, true of the source or of the destination port */
  __u32 vlan_page[16];         /* by the id's upper four bits; 0 is a frame without an id */
  __u32 other_fwmark;          /* rules that do not look at a mark that `fwmarks` lacks */
};

struct weir_port_page {
  __u32 vector[256]; /* by the lower byte of a port or VLAN id */
};

/* Keys of the kernel's longest-prefix tries: struct bpf_lpm_trie_key, a length in bits, then the bits. */
struct weir_site_key4 {
  __u32 prefix_length;
  __u32 address;
};
struct weir_site_key6 {
  __u32 prefix_length;
  __u32 address[4];
};
/* The scope goes before the address and always matches in full: one trie serves every class set. */
struct weir_rule_key4 {
  __u32 prefix_length;
  __u32 scope;
  __u32 address;
};
struct weir_rule_key6 {
  __u32 prefix_length;
  __u32 scope;
  __u32 address[4];
};
/* Marks that a rule of the class set names. */
struct weir_fwmark_key {
  __u32 class_set;
  __u32 mark;
};
enum { WEIR_SCOPE_BITS = 32 };
#define WEIR_SOURCE_SCOPE(class_set) ((class_set)*2u)
#define WEIR_DESTINATION_SCOPE(class_set) ((class_set)*2u + 1u)

struct weir_arrivals {
  __u64 packets; /* wire packets: a super-packet counts its segments */
  __u64 bytes;   /* from the Ethernet header on, headers of each segment included */
};

#endif
