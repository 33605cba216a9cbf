/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the stages of the slow path pass on. Stages are weak global functions that take nothing but,
 * where they need it, the packet's context, and find this in a slot of their CPU: the verifier then
 * looks at each stage once, on old kernels too. Programs run to their end on one CPU, so the slot
 * is theirs; what calls no stage does not touch it.
 *
 * Weak, or the compiler leaves out arguments that a stage ignores and the verifier refuses the
 * call.
 */
#pragma once
#include "decision.h"
#include "maps.h"
#include "service.h"

#define STAGE __weak
#define SOLICITATION_OPTIONS 104 /* more than anybody sends: address, nonce, and room */

/* One end of a connection, as the maps know it. */
struct end {
	struct addr addr;
	__u32 endpoint; /* of this node, or 0 */
	__u32 identity;
	__u16 node;  /* another node's row in weir_nodes, or 0 */
	__u8 host;   /* an address of this node itself */
	__u8 tunnel; /* another node has it */
	__u8 member; /* an address of the cluster: a pod's, or one out of a pod CIDR */
	__u8 pad[3];
	__u32 epoch; /* that a verdict about it hangs on */
};

/* What is sent back in a packet's place, from the IP header on. */
struct answer {
	union {
		struct {
			struct iphdr ip;
			union {
				struct tcphdr tcp;
				struct {
					__u8 type, code;
					__u16 checksum;
					__u32 unused;
					__u8 quoted[28]; /* RFC 792: IP header and 8 octets */
				} icmp;
			};
		} v4;
		struct {
			struct ipv6hdr ip;
			union {
				struct tcphdr tcp;
				struct {
					__u8 type, code;
					__u16 checksum;
					__u32 unused;
					__u8 quoted[48]; /* RFC 4443: IPv6 header and 8 octets */
				} icmp;
			};
		} v6;
	};
};

_Static_assert(sizeof(struct answer) == 96, "answer");

/* RFC 4861 sections 4.3 and 4.4 with one link-layer address option, from the IPv6 header on. */
struct neighbour {
	struct ipv6hdr ip6;
	__u8 type, code;
	__u16 checksum;
	__u32 flags;
	struct addr target;
	__u8 option, option_len;
	struct mac mac;
};

_Static_assert(sizeof(struct neighbour) == 72, "neighbour");

/* A neighbour solicitation with options, from the ICMPv6 header on. */
struct solicitation {
	__u8 type, code;
	__u16 checksum;
	__u32 unused;
	struct addr target;
	__u8 options[SOLICITATION_OPTIONS];
};

/*
 * How a packet is translated. In both directions the destination changes before the connection is
 * judged, and the source after that: so it is judged by the opener's own address and the backend's.
 */
struct translation {
	struct addr asked;  /* whom the packet was for; of an answer, whom the opener has asked */
	struct addr client; /* the opener's own address, when it is written down */
	__u32 backend, generation, frontend;
	__u16 asked_port, client_port;
	__u16 port; /* of the opener beyond this node, network byte order */
	__u16 row;  /* of weir_nodes: the address that takes the opener's place, see source_addr */
	__u8 is;    /* CT_IS_FORWARD, CT_IS_REVERSE, or 0: it is not */
	__u8 source;
	__u8 known;	  /* an entry says so */
	__u8 keep_client; /* no address takes the client's place */
	__u8 dsr;	  /* the backend's node is to answer, if it is another */
	__u8 left;	  /* the asked node's service: see service_elsewhere */
	__u8 pad[2];
};

/* A packet's addresses and ports, as struct packet has them. */
struct tuple {
	struct addr src, dst;
	__u16 sport, dport;
};

/* An entry's verdict and way: what struct ct_entry ends with, from rule on. */
struct verdict {
	__u32 rule[2];
	__u32 seen, stamp;
	__u16 out[2];
	__u8 way[2];
	__u8 flags, opener;
};

_Static_assert(__builtin_offsetof(struct ct_entry, rule) + sizeof(struct verdict) ==
		       sizeof(struct ct_entry),
	       "verdict");
_Static_assert(__builtin_offsetof(struct ct_forward, rule) ==
		       __builtin_offsetof(struct ct_entry, rule),
	       "verdict");

struct work {
	struct packet p;
	struct ct_key key;
	struct bpf_fib_lookup fib;
	struct packet quoted;  /* by an ICMP error */
	struct packet arrived; /* of a packet that is followed: see walk.h */
	struct step step;
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
		struct answer answer;
		struct neighbour neighbour;
	};
	struct ipcache_key prefix; /* keys of lookups: the stack of all stages is 512 octets */
	struct policy_rule_key rule_key;
	struct policy_row_key row_key;
	struct policy_range_key range_key;
	struct source_range source_key;
	struct l2_key l2_key;
	struct solicitation asked;
	struct choice choice;
	struct mac macs[2];
	struct translation nat;
	struct ct_key
		inner; /* of a translated connection, by the addresses that the other end knows */
	struct ct_key ended;  /* of one that has ended, as its opener knows it */
	struct ct_entry next; /* one that is being made: the stack allows no index */
	struct end ends[2];   /* the opener, the other */
	struct tuple came;    /* w->p before it was translated */
	struct verdict was;   /* the connection's entry had before; all 0: there was none */
	__u32 stamp;
	__u32 rule[2];	/* that allowed it: egress, ingress */
	__u32 from;	/* endpoint on whose device the packet came in, or 0 */
	__u32 vni;	/* identity that came with the packet, or 0 */
	__u32 dsr;	/* key of weir_dsr: answers come from this service; or 0 */
	__u32 mtu;	/* what fits, with DROP_FRAG_NEEDED; 0: unknown */
	__u32 claimed;	/* the sender's, as its node says, where the ipcache says another; or 0 */
	__u32 segments; /* packets on the wire */
	__u32 bytes;	/* from the Ethernet header on */
	__u32 news;	/* of a packet of a known connection: is_news */
	__u32 out;	/* endpoint or node that the connection's packets go to, or 0 */
	__u16 dport;	/* of the opener's packets */
	__u8 dir;	/* of this packet: 0 the opener's */
	__u8 side;	/* of its sender: 0 is a */
	__u8 keep;	/* 1: the connection has an entry, or gets one */
	__u8 place;
	__u8 reason;
	__u8 reject;	 /* the sender is to be told */
	__u8 fib_answer; /* DROP_FIB: enum fib_answer */
	/* The policy stage: what it is asked, and what it found. */
	__u32 policy_class;
	__u32 identity;	    /* of the peer */
	__u32 set;	    /* of selectors, to be tried */
	__u32 denied_by;    /* rule, or 0 */
	__u32 denied_at;    /* endpoint whose policy denied */
	__u32 allowed_by;   /* rule, or 0 */
	__u32 range;	    /* number of the port's range, or 0 */
	__u64 rows[LEVELS]; /* selectors that have a rule */
	__u16 selector;	    /* to be tried */
	__u8 ingress;
	__u8 local;   /* 1: what is not a pod's is for this node, whatever its address */
	__u8 outside; /* the peer is no member of the cluster */
	__u8 denied;  /* enum rule_flag of the rule that denied */
	__u8 stack;   /* 1: the stack forwards what the opener sends: see kubeproxy.h */
	__u8 flags;   /* enum ct_flag, after this packet */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct work);
	__uint(max_entries, 1);
} work SEC(".maps");

static __always_inline struct work *work_slot(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&work, &zero);
}

/*
 * The packet that a program is about to parse, which lies in the slot from the beginning: what the
 * verifier reads from there is any number to it, so that it walks each path once and not once for
 * every way to parse a packet.
 */
static __always_inline struct packet *packet_begin(void)
{
	struct work *w = work_slot();

	if (!w)
		return 0;
	__builtin_memset(&w->p, 0, sizeof(w->p));
	return &w->p;
}

/* The slot in which such a packet lies: as its first member. */
static __always_inline struct work *work_of(struct packet *p)
{
	return (struct work *)p;
}

/* What the reason alone does not say: fib and mtu of struct event and struct step. */
static __always_inline __u8 cause_fib(const struct work *w, __u8 reason)
{
	return reason == DROP_FIB ? w->fib_answer : 0;
}

static __always_inline __u16 cause_mtu(const struct work *w, __u8 reason)
{
	return reason == DROP_FRAG_NEEDED ? w->mtu : 0;
}

/* Notes the packet as it came. */
static __always_inline void came_set(struct work *w)
{
	w->came.src = w->p.src;
	w->came.dst = w->p.dst;
	w->came.sport = w->p.sport;
	w->came.dport = w->p.dport;
}
