/* What the loader writes and the program reads: the one description of the classifier's tables.
 *
 * Included by C (the BPF program) and by C++ (the loader): plain structs, fixed widths, no padding,
 * everything in host order. */
#ifndef WEIR_SHAPER_BPF_CLASSIFIER_LAYOUT_H
#define WEIR_SHAPER_BPF_CLASSIFIER_LAYOUT_H

#include <linux/types.h>

/* A rule is one match entry of a class set and owns one bit; the lowest bit that stays set names the first
 * that holds. The width of a vector is chosen at load (rodata `words`), so a small policy does not pay for
 * the largest. */
enum { WEIR_RULES_PER_WORD = 64, WEIR_MAX_WORDS = 16, WEIR_MAX_RULES = WEIR_RULES_PER_WORD * WEIR_MAX_WORDS };

/* Extension headers are a stranger's to write: the walk is bounded. Real packets carry two or three. */
enum { WEIR_MAX_EXTENSION_HEADERS = 6, WEIR_MAX_VLAN_TAGS = 2 };

/* Each step halves the ranges that an address can be in: two million at most. */
enum { WEIR_MAX_SEARCH_STEPS = 21 };

/* Address tables within one another. */
enum { WEIR_MAX_INDEX_LEVELS = 4 };

/* What an address of no prefix has, and the number of nothing in any table. */
enum { WEIR_NO_VALUE = 0xffffffffu };

/* The address tables of the sites; those of the class sets come behind them. */
enum { WEIR_SITE_TABLES = 0 };

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
  __u32 port_index;   /* count only what really leaves by the port, not the questions of `explain` */
  __u32 words;        /* width of a vector in 64-bit words */
  __u32 by_source;    /* a packet is of the site that it comes from, not of the one it goes to */
  __u32 index_levels; /* address tables within one another, in this policy */
  __u32 search_steps; /* that the longest search takes in it */
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

/* Every number in here names a vector, but for the pages, which name a weir_port_page, and the tables. */
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
  __u32 source_tables;         /* a pair of address tables, whose values name vectors; unused: anything */
  __u32 destination_tables;
};

struct weir_port_page {
  __u32 vector[256]; /* by the lower byte of a port or VLAN id */
};

/* Where an address is looked for (shaper/address_tables.hpp). Tables come in pairs: the number of one is that
 * of IPv4's, the next is that of IPv6's. The key of an address is the number that it is, of an IPv6 address
 * its upper half. A table's slots are equal parts of the keys from `base` on; the first also has all below,
 * the last all above. */
struct weir_address_table {
  __u64 base;
  __u32 shift; /* a slot has 2^shift keys */
  __u32 slots; /* at least one */
  __u32 first_slot;
  __u32 unused;
};
/* The ranges that have addresses of the slot, in order; the first begins at or below it. Where there are many
 * the slot is a table of its own. */
struct weir_address_slot {
  __u32 first;  /* in the ranges of the table's family, or the number of that table */
  __u32 ranges; /* 0: a table */
};
/* From its start to the next one's. */
struct weir_range4 {
  __u32 start;
  __u32 value;
};
struct weir_range6 {
  __u64 start_upper;
  __u64 start_lower;
  __u32 value;
  __u32 unused;
};

/* Marks that a rule of the class set names. */
struct weir_fwmark_key {
  __u32 class_set;
  __u32 mark;
};

struct weir_arrivals {
  __u64 packets; /* wire packets: a super-packet counts its segments */
  __u64 bytes;   /* from the Ethernet header on, headers of each segment included */
};

#endif
